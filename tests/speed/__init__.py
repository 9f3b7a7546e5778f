"""Benchmarks, run by `make speed`; seconds depend on machine and load, so compare ratios within one run."""
