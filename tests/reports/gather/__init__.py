"""Tests of the data of figures."""
