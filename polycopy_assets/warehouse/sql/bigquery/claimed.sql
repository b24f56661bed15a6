-- The table's rows inside the claims of the staged batch: how many, and from when to when. Also how
-- many staged $rows there are, and how many of them lie outside all of its claims: there must be
-- none.
SELECT H.row_count, H.low, H.high, U.staged, U.unclaimed
FROM (
    SELECT COUNT(*) AS row_count, MIN(T.timestamp) AS low, MAX(T.timestamp) AS high
    FROM `$table` AS T
    JOIN `$staging` AS S
    ON S.claim_until IS NOT NULL
        AND T.wallet_address = S.wallet_address
        AND T.timestamp >= S.claim_start
        AND T.timestamp < S.claim_until
    WHERE T.timestamp >= @low
        AND T.timestamp <= @high
        AND T.wallet_address >= @first
        AND T.wallet_address <= @last
        AND (@many OR T.wallet_address IN UNNEST(@wallets))
) AS H
CROSS JOIN (
    SELECT COUNT(*) AS staged, COUNTIF(C.wallet_address IS NULL) AS unclaimed
    FROM (SELECT wallet_address, timestamp FROM `$staging` WHERE claim_until IS NULL) AS N
    LEFT JOIN (
        SELECT wallet_address, claim_start, claim_until
        FROM `$staging`
        WHERE claim_until IS NOT NULL
    ) AS C
    ON N.wallet_address = C.wallet_address
        AND N.timestamp >= C.claim_start
        AND N.timestamp < C.claim_until
) AS U
