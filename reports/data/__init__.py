"""The page and the tables of a data set."""
