-- Makes `$name` hold, inside the claims of the staged batch, exactly the batch's rows. A staged
-- row is a $row, or, where claim_until is set, a claim. Claims of one batch do not overlap, so a
-- row of the table is matched once at most. `low` and `high` bound the rows to delete, so that no
-- other partition is read. A staged $row is joined by a key of its own that no row has: by its
-- wallet, a whale's $rows would be compared with each other, and all NULL keys would go to one
-- worker.
MERGE INTO `$table` AS T
USING `$staging` AS S
ON T.wallet_address = IF(S.claim_until IS NULL, CONCAT('$row ', S.id), S.wallet_address)
    AND T.timestamp >= S.claim_start
    AND T.timestamp < S.claim_until
    AND T.timestamp >= @low
    AND T.timestamp <= @high
    AND T.wallet_address >= @first
    AND T.wallet_address <= @last
    AND (@many OR T.wallet_address IN UNNEST(@wallets))
WHEN MATCHED THEN DELETE
WHEN NOT MATCHED BY TARGET AND S.claim_until IS NULL THEN
    INSERT (
        $into
    )
    VALUES (
        $staged
    )
