"""The text forms of a table: what they look like, that nothing breaks them, and that a change is named."""
