-- The columns of the tables $names that have no comment.
SELECT lower(table_name), lower(column_name)
FROM duckdb_columns()
WHERE lower(table_name) IN (SELECT unnest($names::VARCHAR[]))
  AND schema_name = current_schema()
  AND database_name = current_database()
  AND comment IS NULL;
