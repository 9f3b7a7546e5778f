"""Differences, intervals and tests that promise no more than the number of runs and clips allows."""
