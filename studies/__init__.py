"""Studies, plans, searches, workers, reports and the command line: the layer that decides which runs to execute."""
