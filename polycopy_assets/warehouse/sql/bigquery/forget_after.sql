-- An earlier version has loaded batches again, up to batch @last: later ones must be loaded again.
DELETE FROM `$batches` WHERE batch > @last
