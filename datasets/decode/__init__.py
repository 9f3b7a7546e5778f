"""Media files: their containers, and all streams of a clip decoded together."""
