SELECT count(*) FROM trades;
