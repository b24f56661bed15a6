-- No file but the attached one can be read or written, and no setting changed, from here on.
SET enable_external_access = false;

SET lock_configuration = true;
