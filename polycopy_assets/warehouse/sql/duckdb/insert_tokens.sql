INSERT INTO tokens BY NAME
SELECT
    token_id,
    condition_id,
    outcome_index,
    outcome,
    clob_index,
    opposite_token_id,
    module,
    structural_condition_id,
    neg_risk,
    neg_risk_market_id,
    question_index,
    title,
    market_slug,
    event_id,
    event_slug,
    resolved,
    final_price,
    valid_from,
    valid_until
FROM read_parquet($file);
