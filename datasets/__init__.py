"""Data sets: from a folder of media files to clips that can be opened."""
