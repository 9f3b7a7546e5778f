"""Tests of macros, details and the document of a paper."""
