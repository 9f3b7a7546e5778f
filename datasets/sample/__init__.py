"""The built-in sample: drawn clips that stand in where there are no data."""
