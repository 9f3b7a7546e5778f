"""Checks that a rebuild keeps what works: old results, scores, kills and speed. `make guard` runs them."""
