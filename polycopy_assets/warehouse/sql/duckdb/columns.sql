-- Of the table that a statement means by that name: in any case, and in no other schema or file.
SELECT lower(column_name)
FROM duckdb_columns()
WHERE lower(table_name) = $table
  AND schema_name = current_schema()
  AND database_name = current_database();
