"""Data sets: from a folder of media to clips that can be opened."""
