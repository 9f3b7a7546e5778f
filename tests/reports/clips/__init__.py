"""Tests of reports/clips."""
