-- Inserts only rows inside the claims: other rows of a file do not belong to the batch.
INSERT INTO trades BY NAME
SELECT
    wallet_address,
    id,
    as_stored(timestamp) AS timestamp,
    side,
    price,
    shares_normalized,
    token_id,
    token_label,
    condition_id,
    tx_hash,
    order_hash,
    taker,
    market_slug,
    title,
    source,
    sequence,
    outcome_index,
    event_slug,
    notional_usdc
FROM read_parquet($parts) AS parts
SEMI JOIN claims
    ON parts.wallet_address = claims.wallet_address
    AND as_stored(parts.timestamp) >= claims.start
    AND as_stored(parts.timestamp) < claims.until;
