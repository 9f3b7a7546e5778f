"""Tests of tables before they are text."""
