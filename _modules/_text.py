"""Text for people."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with an escape for each character that a terminal would take for a command."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
