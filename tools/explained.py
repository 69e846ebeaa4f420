"""What pillar.example says of each setting, taken from the comments above it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

# Settings that show a default are commented out, and so are explanations; these lines are settings.
COMMENTED_OUT = re.compile(r"(?m)^( *)# ( *[\w.]+:(?: .*)?)$")
SETTING = re.compile(r"( *)([\w.-]+):( .*)?")
COMMENT = re.compile(r"[ #]*# ?(.*)")


class Explained(NamedTuple):
    """The words above a setting, the default that it shows where it is commented out, and the settings below it."""

    words: str
    default: Any
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
    root = Explained("", None, {})
    above = [(-1, root)]
    words: list[str] = []
    for line, as_given in zip(in_force(text).splitlines(), text.splitlines()):
        if setting := SETTING.fullmatch(line):
            depth, name = len(setting[1]), setting[2]
            while above[-1][0] >= depth:
                above.pop()
            default = yaml.safe_load(setting[3] or "") if as_given != line else None
            above[-1][1].below[name] = Explained(_sentences(words), default, {})
            above.append((depth, above[-1][1].below[name]))
        comment = COMMENT.fullmatch(line)
        words = [*words, comment[1]] if comment and not setting else []
    return root


def _sentences(lines: list[str]) -> str:
    """Lines of a comment as running text; a word with its meaning (``audit    reports ...``) begins a sentence."""
    text = ""
    for line in lines:
        defined = re.fullmatch(r"(\S+) {2,}(\S.*)", line)
        line = f"{defined[1]}: {defined[2]}" if defined else line.strip()
        ended = not defined or text[-1:] in (".", ":")
        text = f"{text}{' ' if ended else '. '}{line}" if text else line
    return text
