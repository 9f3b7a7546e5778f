"""Streams of a clip, one module each: how it is decoded, checked and opened."""
