"""Tests of the runs that a report is about."""
