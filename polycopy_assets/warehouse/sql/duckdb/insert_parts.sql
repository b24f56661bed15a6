INSERT INTO trades BY NAME SELECT * FROM read_parquet($parts);
