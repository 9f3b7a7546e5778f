"""Pictures of what a finished run says of clips."""
