"""The prepared store: clips decoded once, read at random."""
