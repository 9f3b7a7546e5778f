"""Tests of writing and checking reports."""
