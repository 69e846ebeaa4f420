"""Text, and text for people."""

from __future__ import annotations

import re

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def lines(text: str) -> list[str]:
    """The lines of a file, each with its end. Python ends one at a form feed and others as well, and no parser does."""
    return _LINE.findall(text)


def printable(text: str) -> str:
    """The text with an escape for each character that a terminal would take for a command."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


_SHOWN = 20


def some(names: list[str]) -> str:
    """The first of many names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
