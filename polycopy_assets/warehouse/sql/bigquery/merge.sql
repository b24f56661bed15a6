-- Makes `trades` hold, inside the claims of the staged batch, exactly the batch's rows. A staged
-- row is a trade, or, where claim_until is set, a claim. Claims of one batch do not overlap, so a
-- row of the table is matched once at most. `low` and `high` bound the rows to delete, so that no
-- other partition is read. A staged trade is joined by a key of its own that no row has: by its
-- wallet, a whale's trades would be compared with each other, and all NULL keys would go to one
-- worker.
MERGE INTO `$trades` AS T
USING `$staging` AS S
ON T.wallet_address = IF(S.claim_until IS NULL, CONCAT('trade ', S.id), S.wallet_address)
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
        wallet_address, id, timestamp, side, price, shares_normalized, token_id, token_label,
        condition_id, tx_hash, order_hash, taker, market_slug, title, source,
        sequence, outcome_index, event_slug, notional_usdc
    )
    VALUES (
        S.wallet_address, S.id, S.timestamp, S.side, S.price, S.shares_normalized, S.token_id,
        S.token_label, S.condition_id, S.tx_hash, S.order_hash, S.taker, S.market_slug, S.title,
        S.source, S.sequence, S.outcome_index, S.event_slug, S.notional_usdc
    )
