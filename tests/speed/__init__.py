"""Benchmarks, run by `make speed`; seconds hold for one machine at one time, so compare ratios taken in one run."""
