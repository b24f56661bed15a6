-- The columns of the table that this name resolves to; an error if there is none.
SELECT lower(name) FROM pragma_table_info($table);
