-- The columns of the table that $table resolves to, in upper or lower case, but in no other schema
-- or file; and the constraints of each column.
SELECT
    lower(columns.column_name),
    columns.data_type,
    columns.is_nullable = 'NO',
    columns.is_generated = 'ALWAYS',
    columns.column_default IS NOT NULL,
    tables.table_type = 'VIEW'
FROM information_schema.columns AS columns
JOIN information_schema.tables AS tables USING (table_catalog, table_schema, table_name)
WHERE lower(columns.table_name) = $table
  AND columns.table_schema = current_schema()
  AND columns.table_catalog = current_database()
ORDER BY columns.ordinal_position;
