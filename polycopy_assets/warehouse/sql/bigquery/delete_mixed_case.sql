-- Deletes an older job's rows inside the claims whose address is not in lower case; claims are
-- packed as in tally.sql.
DELETE FROM `$table` AS T
WHERE T.wallet_address != LOWER(TRIM(T.wallet_address))
    AND EXISTS (
        SELECT 1
        FROM UNNEST(SPLIT(@claims, ',')) AS packed
        WHERE LOWER(TRIM(T.wallet_address)) = SUBSTR(packed, 1, 42)
            AND T.timestamp >= TIMESTAMP_SECONDS(0)
            AND T.timestamp < TIMESTAMP_SECONDS(CAST(SUBSTR(packed, 43, 10) AS INT64))
    )
