"""The runs that a report is about, under its names for them."""
