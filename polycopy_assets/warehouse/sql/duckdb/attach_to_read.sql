-- The file, as the database that our statements mean, unless they change it.
ATTACH $path AS warehouse (READ_ONLY);
