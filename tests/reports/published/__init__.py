"""Tests of what is printed elsewhere."""
