-- The statement that would create the table: only there can a collation be seen.
SELECT sql
FROM duckdb_tables()
WHERE lower(table_name) = $table
  AND schema_name = current_schema()
  AND database_name = current_database();
