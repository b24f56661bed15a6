-- The same for a table whose column has no zone: earlier versions made such tables.
CREATE OR REPLACE TEMP MACRO moment(micros) AS make_timestamp(micros);

CREATE OR REPLACE TEMP MACRO as_stored(instant) AS make_timestamp(epoch_us(instant));
