-- Puts the staged $rows into `$name`: for a batch that replaces no row. It reads no partition of
-- `$name`, and bills the staged rows alone. A staged row is a $row if it has no claim_until.
INSERT INTO `$table` (
    $into
)
SELECT
    $staged
FROM `$staging` AS S
WHERE S.claim_until IS NULL
