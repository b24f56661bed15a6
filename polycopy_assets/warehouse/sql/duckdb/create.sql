-- The tables of the warehouse. An older `trades` with fewer columns is widened, never dropped.
CREATE TABLE IF NOT EXISTS traders (wallet_address VARCHAR);

CREATE TABLE IF NOT EXISTS trades (
    wallet_address VARCHAR,
    id VARCHAR,
    timestamp TIMESTAMP WITH TIME ZONE,
    side VARCHAR,
    price DOUBLE,
    shares_normalized DOUBLE,
    token_id VARCHAR,
    token_label VARCHAR,
    condition_id VARCHAR,
    tx_hash VARCHAR,
    order_hash VARCHAR,
    taker VARCHAR,
    market_slug VARCHAR,
    title VARCHAR,
    source VARCHAR,
    sequence BIGINT,
    outcome_index BIGINT,
    event_slug VARCHAR,
    notional_usdc DOUBLE
);

-- Which batches `trades` holds, and of which store; written in the transaction that loads them.
CREATE TABLE IF NOT EXISTS polycopy_batches (
    batch BIGINT,
    rows BIGINT,
    loaded_at TIMESTAMP,
    store VARCHAR
);

ALTER TABLE polycopy_batches ADD COLUMN IF NOT EXISTS store VARCHAR;

ALTER TABLE trades ADD COLUMN IF NOT EXISTS wallet_address VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS id VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS timestamp TIMESTAMP WITH TIME ZONE;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS side VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS price DOUBLE;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS shares_normalized DOUBLE;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS token_id VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS token_label VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS condition_id VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS tx_hash VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS order_hash VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS taker VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS market_slug VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS title VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS source VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS sequence BIGINT;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS outcome_index BIGINT;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS event_slug VARCHAR;
ALTER TABLE trades ADD COLUMN IF NOT EXISTS notional_usdc DOUBLE;
