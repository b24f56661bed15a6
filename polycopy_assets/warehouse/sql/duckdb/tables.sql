-- The names of the tables.
SELECT lower(table_name)
FROM duckdb_tables()
WHERE schema_name = current_schema()
  AND database_name = current_database();
