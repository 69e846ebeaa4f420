"""What pillar.example says of each setting, taken from the comments above it."""

from __future__ import annotations

import re
from typing import NamedTuple

# Settings that show a default are commented out, and so are explanations; these lines are settings.
COMMENTED_OUT = re.compile(r"(?m)^( *)# ( *[\w.]+:(?: .*)?)$")
SETTING = re.compile(r"( *)([\w.-]+):(?: .*)?")
COMMENT = re.compile(r"[ #]*# ?(.*)")


class Explained(NamedTuple):
    """The words above a setting, and the settings below it."""

    words: str
    below: dict[str, Explained]


def in_force(text: str) -> str:
    """The example with every setting that it has commented out."""
    return COMMENTED_OUT.sub(r"\1\2", text)


def explained(text: str) -> Explained:
    """
    The explanations as a tree of settings.

    text
        The text of pillar.example.
    """
    root = Explained("", {})
    above = [(-1, root)]
    words: list[str] = []
    for line in in_force(text).splitlines():
        if setting := SETTING.fullmatch(line):
            depth, name = len(setting[1]), setting[2]
            while above[-1][0] >= depth:
                above.pop()
            entry = above[-1][1].below[name] = Explained(_sentences(words), {})
            above.append((depth, entry))
        comment = COMMENT.fullmatch(line)
        words = [*words, comment[1]] if comment and not setting else []
    return root


def _sentences(lines: list[str]) -> str:
    """Lines of a comment as running text; a word with its meaning (``audit    reports ...``) begins a sentence."""
    text = ""
    for line in lines:
        defined = re.fullmatch(r"(\S+) {2,}(\S.*)", line)
        line = f"{defined[1]}: {defined[2]}" if defined else line.strip()
        text = line if not text else f"{text}{_join(text, bool(defined) or line[:1].isupper())}{line}"
    return text


def _join(text: str, begins: bool) -> str:
    return ". " if begins and text[-1] not in ".:;," else " "
