"""Tests of what figures are given to show."""
