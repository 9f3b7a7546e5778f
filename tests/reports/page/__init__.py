"""What a reader does with the page of a report, in a browser that logs all that goes wrong."""
