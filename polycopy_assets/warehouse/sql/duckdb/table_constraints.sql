-- The constraints that may refuse rows of the table that $table resolves to: text and columns of
-- each.
SELECT constraint_text, constraint_column_names
FROM duckdb_constraints()
WHERE lower(table_name) = $table
  AND schema_name = current_schema()
  AND database_name = current_database()
  AND constraint_type != 'NOT NULL'
UNION ALL
SELECT sql, regexp_extract_all(expressions, '\w+')
FROM duckdb_indexes()
WHERE lower(table_name) = $table
  AND schema_name = current_schema()
  AND database_name = current_database()
  AND is_unique
  AND NOT is_primary;
