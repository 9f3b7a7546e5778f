"""Tests of what a written report is made of, and whether it still is."""
