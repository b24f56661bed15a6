-- The statement that would make the table: the only place that tells a collation.
SELECT sql
FROM duckdb_tables()
WHERE lower(table_name) = $table
  AND schema_name = current_schema()
  AND database_name = current_database();
