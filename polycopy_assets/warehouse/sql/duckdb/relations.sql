-- What has one of the names $names: whether it is a view, and its comment.
SELECT lower(table_name) AS name, FALSE AS is_view, comment
FROM duckdb_tables()
WHERE lower(table_name) IN (SELECT unnest($names::VARCHAR[]))
  AND schema_name = current_schema()
  AND database_name = current_database()
UNION ALL
SELECT lower(view_name), TRUE, comment
FROM duckdb_views()
WHERE lower(view_name) IN (SELECT unnest($names::VARCHAR[]))
  AND schema_name = current_schema()
  AND database_name = current_database();
