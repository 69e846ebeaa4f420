"""HTML and SVG as a tree of elements. Text goes in as text: nothing that is said can become markup."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from html import escape
from typing import NamedTuple

# Characters from which a cell is long.
_LONG = 24
# HTML elements that have no end.
_VOID = {"meta", "br"}
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
# What XML and HTML have no character for, and what turns the direction of text around.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


class Element(NamedTuple):
    """One element. Names are the code's own and attributes' values are escaped like text."""

    name: str
    attributes: dict[str, str]
    content: tuple[Element | str, ...]

    def __str__(self) -> str:
        return "".join(_written(self))


def element(name: str, /, *content: Element | str, **attributes: str | int | float) -> Element:
    """An element. In attributes' names ``_`` is ``-``, and one at the end goes: ``class_`` is ``class``."""
    named = {key.rstrip("_").replace("_", "-"): str(value) for key, value in attributes.items()}
    for word in (name, *named):
        if not _WORD.fullmatch(word):
            raise ValueError(f"{word!r} is no name of markup")
    return Element(name, named, content)


def _written(item: Element | str) -> Iterable[str]:
    if isinstance(item, str):
        yield _text(item)
        return
    yield f"<{item.name}"
    for key, value in item.attributes.items():
        yield f' {key}="{_text(value)}"'
    yield ">"
    if item.name in _VOID:
        return
    for each in item.content:
        yield from _written(each)
    yield f"</{item.name}>"


def _text(text: str) -> str:
    return escape(_UNPRINTABLE.sub("\ufffd", text))


def page(title: str, style: str, *body: Element) -> str:
    """A whole page that needs nothing else, and to which a browser lets nothing else come."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = (
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
    )
    # The style is ours, and is no text: a browser takes it byte for byte.
    styled = "".join(map(str, head)) + f"<style>{style}</style>"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{styled}</head>{element("body", *body)}</html>\n'


# Tables


def table(caption: str, columns: Iterable[str], rows: Iterable[Iterable[Element | str]]) -> Element:
    """A table whose first column names its rows, in a frame that scrolls by itself, also by keyboard."""
    head = element("tr", *(element("th", name, scope="col") for name in columns))
    body = [_row(list(row)) for row in rows]
    made = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", made, class_="frame", tabindex=0, role="region", aria_label=caption)


def _row(cells: list[Element | str]) -> Element:
    first, *others = cells
    return element("tr", _cell("th", first, scope="row"), *(_cell("td", cell) for cell in others))


def _cell(name: str, content: Element | str, **attributes: str) -> Element:
    """Long text has the class ``long``, so that a narrow screen does not fold it into a column of single words."""
    long = {"class_": "long"} if isinstance(content, str) and len(content) > _LONG else {}
    return element(name, content, **attributes, **long)
