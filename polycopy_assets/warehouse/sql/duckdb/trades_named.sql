-- Every row, with what the source says now of its token and its market. A condition without its
-- last byte, which is 0, is the same one.
SELECT
    T.wallet_address,
    T.id,
    T."timestamp",
    T.side,
    T.price,
    T.shares_normalized,
    T.token_id,
    T.token_label,
    T.condition_id,
    T.tx_hash,
    T.order_hash,
    T.taker,
    coalesce(T.market_slug, M.market_slug) AS market_slug,
    coalesce(T.title, M.question) AS title,
    T.source,
    T.sequence,
    coalesce(T.outcome_index, O.outcome_index) AS outcome_index,
    coalesce(T.event_slug, M.event_slug) AS event_slug,
    T.notional_usdc,
    O.outcome,
    M.category,
    M.tags,
    M.event_id,
    M.neg_risk,
    M.end_date,
    M.closed,
    O.resolved AS is_resolved,
    O.final_price AS payout
FROM {table} AS T
LEFT JOIN tokens AS O ON T.token_id = O.token_id AND O.valid_until IS NULL
LEFT JOIN markets AS M
    ON lower(rpad(T.condition_id, 66, '0')) = M.condition_id AND M.valid_until IS NULL
