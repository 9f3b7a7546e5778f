"""Tests of published numbers."""
