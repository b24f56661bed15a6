-- The intervals that the batch answers for, from the file $claims.
CREATE OR REPLACE TEMP TABLE claims AS
SELECT wallet_address, moment(start * 1000000) AS start, moment(until * 1000000) AS until
FROM read_parquet($claims);
