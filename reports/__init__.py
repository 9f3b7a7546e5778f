"""Pure functions from records to text and pictures; nothing here imports torch."""
