"""Tests of the runs of a report."""
