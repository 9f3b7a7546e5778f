"""Text of unknown origin made harmless: clip names, class names, messages."""

from __future__ import annotations

from html import escape


def printable(text: str) -> str:
    """A text of unknown origin with control, direction and undecodable characters spelt out."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def text(content: str) -> str:
    """A text of unknown origin as HTML."""
    return escape(printable(content))
