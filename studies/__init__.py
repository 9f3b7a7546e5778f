"""The layer that decides which runs are made: studies, plans, searches, workers, reports and the command line."""
