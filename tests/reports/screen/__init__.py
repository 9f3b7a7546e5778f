"""Tests of reports/screen."""
