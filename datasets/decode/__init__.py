"""Decoders: media files to frames and log-mel frames."""
