"""Promises of the statistics."""
