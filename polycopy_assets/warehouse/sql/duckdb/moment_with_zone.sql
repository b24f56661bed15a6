-- Times of `{table}` as its column `timestamp` stores them: a number of microseconds since 1970, and
-- a time with a zone. The conversions of DuckDB between the two kinds of time are slow.
CREATE OR REPLACE TEMP MACRO moment(micros) AS make_timestamptz(micros);

CREATE OR REPLACE TEMP MACRO as_stored(instant) AS instant;
