"""Regression checks of old results, scores, robustness to kills, and speed; run by `make guard`."""
