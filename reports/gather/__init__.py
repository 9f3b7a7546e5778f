"""What each figure of a report shows, gathered from its runs."""
