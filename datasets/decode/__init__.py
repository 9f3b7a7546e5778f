"""Decoders of media files: video frames, log-mel energies and words."""
