-- What every connection begins with: times without a zone are UTC, whatever the machine's zone is, and
-- an address is what `parse_wallet` makes of it. Our `trim` takes only spaces; Python's takes these.
SET TimeZone = 'UTC';

CREATE OR REPLACE TEMP MACRO address(text) AS lower(
    trim(
        text,
        ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)
        || chr(28) || chr(29) || chr(30) || chr(31) || chr(133) || chr(160)
    )
);
