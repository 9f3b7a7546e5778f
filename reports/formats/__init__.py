"""Tables as text: LaTeX, HTML, Markdown, CSV."""

from __future__ import annotations
