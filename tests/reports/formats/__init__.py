"""Tests of the formats of a table: their text, their escaping, and finding edited cells."""
