"""Encoders of picture, sound and words, and their fusion."""
