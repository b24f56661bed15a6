-- What each wallet holds. A row of the ledger that names a token moves shares of that one; a split
-- or merge moves both of its condition. If a redemption of a condition names no token, all that
-- was held of it until the last redemption is gone. A conversion names neither questions nor
-- tokens: they are told in the order of conversions, from how much No of each question was held
-- before.
WITH RECURSIVE ledger AS (
    SELECT
        wallet_address,
        UNIX_MICROS(timestamp) + sequence AS moment,
        type,
        side,
        token_id,
        LOWER(RPAD(condition_id, 66, '0')) AS condition_id,
        shares,
        price,
        usdc,
        is_combo
    FROM `$table`
),

outcomes AS (
    SELECT
        *,
        DENSE_RANK() OVER (
            PARTITION BY neg_risk_market_id ORDER BY question_index, condition_id
        ) AS place
    FROM `$tokens`
    WHERE valid_until IS NULL
),

moved AS (
    SELECT
        wallet_address,
        moment,
        condition_id,
        token_id,
        is_combo,
        CASE WHEN type = 'TRADE' AND side = 'BUY' THEN shares ELSE -shares END AS shares
    FROM ledger
    WHERE token_id IS NOT NULL AND (type = 'REDEEM' OR type = 'TRADE' AND side IN ('BUY', 'SELL'))
    UNION ALL
    SELECT
        L.wallet_address,
        L.moment,
        L.condition_id,
        O.token_id,
        L.is_combo,
        CASE WHEN L.type = 'SPLIT' THEN L.usdc ELSE -L.usdc END
    FROM ledger AS L
    INNER JOIN outcomes AS O ON L.condition_id = O.condition_id
    WHERE L.type IN ('SPLIT', 'MERGE')
),

cleared AS (
    SELECT wallet_address, condition_id, MAX(moment) AS moment
    FROM ledger
    WHERE type = 'REDEEM'
    GROUP BY wallet_address, condition_id
    HAVING LOGICAL_OR(token_id IS NULL)
),

events AS (
    SELECT condition_id AS named, neg_risk_market_id AS event
    FROM outcomes
    WHERE neg_risk_market_id IS NOT NULL
    UNION DISTINCT
    SELECT neg_risk_market_id, neg_risk_market_id
    FROM outcomes
    WHERE neg_risk_market_id IS NOT NULL
),

conversions AS (
    SELECT
        L.wallet_address,
        E.event,
        L.moment,
        L.shares,
        L.usdc,
        ROW_NUMBER() OVER (PARTITION BY L.wallet_address, E.event ORDER BY L.moment) AS number
    FROM ledger AS L
    INNER JOIN events AS E ON L.condition_id = E.named
    WHERE L.type = 'CONVERSION' AND (L.shares > 0 OR L.shares IS NULL)
),

places AS (
    SELECT DISTINCT neg_risk_market_id AS event, place
    FROM outcomes
),

-- How much No of each question is held at each conversion, but for what conversions took.
changes AS (
    SELECT M.wallet_address, O.neg_risk_market_id AS event, O.place, M.moment, M.shares, 0 AS number
    FROM moved AS M
    INNER JOIN outcomes AS O ON M.token_id = O.token_id AND O.outcome_index = 1
    INNER JOIN conversions AS C
        ON M.wallet_address = C.wallet_address
        AND O.neg_risk_market_id = C.event
        AND C.number = 1
    UNION ALL
    SELECT C.wallet_address, C.event, O.place, C.moment, 0, C.number
    FROM conversions AS C
    INNER JOIN places AS O ON C.event = O.event
),

held AS (
    SELECT
        wallet_address,
        event,
        place,
        number,
        SUM(shares) OVER (
            PARTITION BY wallet_address, event, place
            ORDER BY moment
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS shares
    FROM changes
),

steps AS (
    SELECT
        C.wallet_address,
        C.event,
        C.number,
        C.shares,
        C.usdc,
        ARRAY_AGG(H.shares ORDER BY H.place) AS held
    FROM conversions AS C
    INNER JOIN held AS H
        ON C.wallet_address = H.wallet_address AND C.event = H.event AND C.number = H.number
    GROUP BY C.wallet_address, C.event, C.number, C.shares, C.usdc
),

-- A conversion is told if so much No was held of exactly as many questions as its cash says.
told AS (
    SELECT
        wallet_address,
        event,
        number,
        ARRAY(
            SELECT IF(held[ORDINAL(i)] >= shares, shares, 0)
            FROM UNNEST(GENERATE_ARRAY(1, ARRAY_LENGTH(held))) AS i
            ORDER BY i
        ) AS taken,
        ARRAY(
            SELECT IF(held[ORDINAL(i)] >= shares, 1, 0)
            FROM UNNEST(GENERATE_ARRAY(1, ARRAY_LENGTH(held))) AS i
            ORDER BY i
        ) AS chosen,
        (SELECT COUNT(*) FROM UNNEST(held) AS h WHERE h >= shares) * shares
            = usdc + shares AS is_told
    FROM steps
    WHERE number = 1
    UNION ALL
    SELECT
        S.wallet_address,
        S.event,
        S.number,
        ARRAY(
            SELECT
                T.taken[ORDINAL(i)]
                + IF(S.held[ORDINAL(i)] - T.taken[ORDINAL(i)] >= S.shares, S.shares, 0)
            FROM UNNEST(GENERATE_ARRAY(1, ARRAY_LENGTH(S.held))) AS i
            ORDER BY i
        ),
        ARRAY(
            SELECT IF(S.held[ORDINAL(i)] - T.taken[ORDINAL(i)] >= S.shares, 1, 0)
            FROM UNNEST(GENERATE_ARRAY(1, ARRAY_LENGTH(S.held))) AS i
            ORDER BY i
        ),
        (
            SELECT COUNT(*)
            FROM UNNEST(GENERATE_ARRAY(1, ARRAY_LENGTH(S.held))) AS i
            WHERE S.held[ORDINAL(i)] - T.taken[ORDINAL(i)] >= S.shares
        ) * S.shares = S.usdc + S.shares
    FROM told AS T
    INNER JOIN steps AS S
        ON T.wallet_address = S.wallet_address AND T.event = S.event AND T.number + 1 = S.number
    WHERE T.is_told AND S.number <= 400
),

effects AS (
    SELECT wallet_address, moment, condition_id, token_id, is_combo, shares
    FROM moved
    UNION ALL
    SELECT
        T.wallet_address,
        C.moment,
        O.condition_id,
        O.token_id,
        FALSE,
        IF(O.outcome_index = 1, -C.shares, C.shares)
    FROM told AS T
    INNER JOIN conversions AS C
        ON T.wallet_address = C.wallet_address AND T.event = C.event AND T.number = C.number
    INNER JOIN outcomes AS O ON T.event = O.neg_risk_market_id
    WHERE T.is_told AND T.chosen[ORDINAL(O.place)] = O.outcome_index
),

holdings AS (
    SELECT
        E.wallet_address,
        MAX(E.condition_id) AS condition_id,
        E.token_id,
        LOGICAL_OR(E.is_combo) AS is_combo,
        LOGICAL_OR(E.shares IS NULL) AS is_untold,
        SUM(E.shares) AS shares
    FROM effects AS E
    LEFT JOIN cleared AS C
        ON E.wallet_address = C.wallet_address AND E.condition_id = C.condition_id
    WHERE C.moment IS NULL OR E.moment > C.moment
    GROUP BY E.wallet_address, E.token_id
    HAVING SUM(E.shares) != 0 OR LOGICAL_OR(E.shares IS NULL)
),

untold AS (
    SELECT DISTINCT C.wallet_address, C.event
    FROM conversions AS C
    LEFT JOIN told AS T
        ON C.wallet_address = T.wallet_address
        AND C.event = T.event
        AND C.number = T.number
        AND T.is_told
    WHERE T.number IS NULL
),

prices AS (
    SELECT token_id, ANY_VALUE(price HAVING MAX moment) AS price
    FROM ledger
    WHERE type = 'TRADE' AND token_id IS NOT NULL AND price IS NOT NULL
    GROUP BY token_id
)

SELECT
    H.wallet_address,
    H.token_id,
    H.condition_id,
    O.outcome_index,
    O.outcome,
    O.title,
    O.market_slug,
    O.event_slug,
    H.is_combo,
    H.shares,
    IFNULL(O.resolved, FALSE) AS is_resolved,
    IFNULL(O.final_price, SAFE_CAST(P.price AS NUMERIC)) AS price,
    H.shares * IFNULL(O.final_price, SAFE_CAST(P.price AS NUMERIC)) AS value_usdc,
    U.event IS NULL AND O.token_id IS NOT NULL AND NOT H.is_untold AS is_exact
FROM holdings AS H
LEFT JOIN outcomes AS O ON H.token_id = O.token_id
LEFT JOIN untold AS U ON H.wallet_address = U.wallet_address AND O.neg_risk_market_id = U.event
LEFT JOIN prices AS P ON H.token_id = P.token_id
