"""Catalog of the known data sets: one module each, with its facts and its rules for clip names."""
