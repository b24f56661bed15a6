-- The file, as the database that our statements mean (see connected.sql).
ATTACH $path AS warehouse;
