-- Whether the times of `{table}` have a zone.
SELECT data_type = 'TIMESTAMP WITH TIME ZONE'
FROM duckdb_columns()
WHERE lower(table_name) = '{table}'
  AND lower(column_name) = 'timestamp'
  AND schema_name = current_schema()
  AND database_name = current_database();
