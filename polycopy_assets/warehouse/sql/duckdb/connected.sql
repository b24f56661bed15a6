-- Run on every new connection. Times without a zone are UTC, whatever the machine's zone is.
-- Addresses are normalised as by `parse_wallet`: DuckDB's `trim` removes only spaces, Python's
-- `strip` all of these.
USE warehouse;

SET TimeZone = 'UTC';

CREATE OR REPLACE TEMP MACRO address(text) AS lower(
    trim(
        text,
        ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)
        || chr(28) || chr(29) || chr(30) || chr(31) || chr(133) || chr(160)
    )
);
