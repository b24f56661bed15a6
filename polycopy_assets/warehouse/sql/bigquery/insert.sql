-- Puts the staged trades into `trades`: for a batch that replaces no row. It reads no partition of
-- `trades`, and bills the staged rows alone. A staged row is a trade if it has no claim_until.
INSERT INTO `$trades` (
    wallet_address, id, timestamp, side, price, shares_normalized, token_id, token_label,
    condition_id, tx_hash, order_hash, taker, market_slug, title, source,
    sequence, outcome_index, event_slug, notional_usdc
)
SELECT
    S.wallet_address, S.id, S.timestamp, S.side, S.price, S.shares_normalized, S.token_id,
    S.token_label, S.condition_id, S.tx_hash, S.order_hash, S.taker, S.market_slug, S.title,
    S.source, S.sequence, S.outcome_index, S.event_slug, S.notional_usdc
FROM `$staging` AS S
WHERE S.claim_until IS NULL
