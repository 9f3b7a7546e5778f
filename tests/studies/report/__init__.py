"""Tests of selecting and labelling the runs of a report."""
