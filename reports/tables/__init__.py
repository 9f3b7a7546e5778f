"""Tables of a report: scores, differences, costs and published numbers."""
