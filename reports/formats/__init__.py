"""A table as text: Markdown, LaTeX, CSV and HTML, there and back."""
