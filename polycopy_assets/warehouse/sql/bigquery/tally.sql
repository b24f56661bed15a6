-- The rows of every wallet, and those inside its claims, which start at the beginning. A packed
-- claim is an address (42 characters) and the second at which the claim ends (ten digits). $own
-- decides how the rows that we loaded are counted: every row, or distinct ids.
-- $within is TRUE, or bounds of one of several queries whose counts are added up.
WITH claims AS (
    SELECT
        SUBSTR(packed, 1, 42) AS wallet_address,
        TIMESTAMP_SECONDS(CAST(SUBSTR(packed, 43, 10) AS INT64)) AS until
    FROM UNNEST(SPLIT(@claims, ',')) AS packed
    WHERE packed != ''
)
SELECT
    LOWER(TRIM(T.wallet_address)) AS wallet,
    COUNT(*) AS row_count,
    COUNTIF(T.timestamp >= TIMESTAMP_SECONDS(0) AND T.timestamp < C.until) AS inside,
    COUNT($distinct IF(
        T.timestamp >= TIMESTAMP_SECONDS(0) AND T.timestamp < C.until
            AND $source IS NOT NULL AND T.wallet_address = C.wallet_address,
        $own,
        NULL
    )) AS ours,
    COUNTIF(T.wallet_address != LOWER(TRIM(T.wallet_address))) AS mixed_case
FROM `$table` AS T
LEFT JOIN claims AS C ON LOWER(TRIM(T.wallet_address)) = C.wallet_address
WHERE $within
GROUP BY wallet
