-- What the source said of the outcomes' tokens, and when.
CREATE TABLE tokens (
    token_id VARCHAR,
    condition_id VARCHAR,
    outcome_index BIGINT,
    outcome VARCHAR,
    clob_index BIGINT,
    opposite_token_id VARCHAR,
    module VARCHAR,
    structural_condition_id VARCHAR,
    neg_risk BOOLEAN,
    neg_risk_market_id VARCHAR,
    question_index BIGINT,
    title VARCHAR,
    market_slug VARCHAR,
    event_id VARCHAR,
    event_slug VARCHAR,
    resolved BOOLEAN,
    final_price DECIMAL(38, 9),
    valid_from TIMESTAMP WITH TIME ZONE,
    valid_until TIMESTAMP WITH TIME ZONE
);
