-- {Rows} to a file. The order of the rows is not kept: for that they would be held back in memory.
COPY (
    SELECT {columns}
    FROM {table}
    WHERE {whose} AND {since}
) TO $path ({form});
