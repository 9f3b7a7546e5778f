"""What a paper takes from a report beside its tables and figures."""
