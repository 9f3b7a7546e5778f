"""Tests of which runs answer a study, and under which names."""
