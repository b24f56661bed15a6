INSERT INTO trades BY NAME
SELECT
    wallet_address,
    id,
    make_timestamp(epoch_us(timestamp)) AS timestamp,
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
FROM read_parquet($parts);
