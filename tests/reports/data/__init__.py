"""Tests of the summary and the page of a data set."""
