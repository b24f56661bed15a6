-- A view by that name, which need not work.
SELECT 1
FROM duckdb_views()
WHERE lower(view_name) = $table
  AND schema_name = current_schema()
  AND database_name = current_database();
