"""The account rules as a picture: a box for each, and an arrow for where its answers lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from _page import Element, element

# Pixels of the picture; a character of its text is about so wide.
_WIDE, _HIGH, _GAP, _INDENT, _CHARACTER = 560, 46, 34, 22, 7.4
_LANE, _MARGIN, _LABEL, _END = 14, 12, 250, 170


def drawn(number: int, stack: Sequence[Mapping[str, Any]]) -> Element:
    """The picture of one stack. ``number`` tells its names from those of others on the page."""
    jumps = [
        (index, target, label)
        for index, rule in enumerate(stack)
        for target, label in rule["leads"]
        if index + 1 < target <= len(stack)
    ]
    right = _MARGIN + _WIDE + max((_indent(rule) for rule in stack), default=0)
    width = right + _LANE * (len(jumps) + 1) + _LABEL
    height = _top(len(stack)) + _HIGH + _MARGIN
    drawing = [_marker(number)]
    for index, rule in enumerate(stack):
        drawing += _box(index, rule)
        for target, label in rule["leads"]:
            drawing += _down(rule, index, label) if target == index + 1 else []
    for lane, (index, target, label) in enumerate(jumps, 1):
        drawing += _aside(number, stack, index, target, label, right + _LANE * lane)
    drawing += _end(len(stack))
    title = element("title", "The account rules, in the order in which they are asked", id=f"stack-{number}")
    text = "The table below says the same in words."
    return element(
        "svg",
        title,
        element("desc", text, id=f"stack-{number}-desc"),
        *drawing,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"stack-{number} stack-{number}-desc",
    )


def _top(index: int) -> int:
    return _MARGIN + index * (_HIGH + _GAP)


def _indent(rule: Mapping[str, Any]) -> int:
    return _INDENT * min(rule["level"], 8)


def _fit(text: str, pixels: float) -> str:
    most = int(pixels / _CHARACTER)
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _marker(number: int) -> Element:
    tip = element("path", d="M0 0 L8 4 L0 8 z", class_="tip")
    size = {"markerWidth": 8, "markerHeight": 8, "refX": 7, "refY": 4, "orient": "auto"}
    return element("defs", element("marker", tip, id=f"tip-{number}", **size), class_="defs")


def _box(index: int, rule: Mapping[str, Any]) -> list[Element]:
    left, top = _MARGIN + _indent(rule), _top(index)
    words = f"{index + 1}. {rule['control']} {rule['module']}"
    return [
        element("rect", x=left, y=top, width=_WIDE, height=_HIGH, rx=5, class_="rule"),
        element("text", _fit(words, _WIDE - 16), x=left + 8, y=top + 19, class_="words"),
        element("text", _fit(rule["where"], _WIDE - 16), x=left + 8, y=top + 37, class_="place"),
    ]


def _end(index: int) -> list[Element]:
    box = element("rect", x=_MARGIN, y=_top(index), width=_END, height=_HIGH, rx=23, class_="end")
    return [box, element("text", "the end: the answer", x=_MARGIN + 14, y=_top(index) + 28, class_="words")]


def _down(rule: Mapping[str, Any], index: int, label: str) -> list[Element]:
    """To the next one."""
    x, top = _MARGIN + 40 + _indent(rule), _top(index) + _HIGH
    arrow = element("path", d=f"M{x} {top} V{top + _GAP}", class_="arrow next")
    return [arrow, element("text", _fit(label, _WIDE - 60), x=x + 8, y=top + 22, class_="label")]


def _aside(
    number: int, stack: Sequence[Mapping[str, Any]], index: int, target: int, label: str, lane: int
) -> list[Element]:
    """Past others: out at the right, down a lane of its own, and in again."""
    out = _MARGIN + _WIDE + _indent(stack[index])
    into = _MARGIN + _WIDE + _indent(stack[target]) if target < len(stack) else _MARGIN + _END
    # Those that leave or reach the same box do it side by side.
    start, end = _top(index) + 14 + lane % 5 * 5, _top(target) + 10 + lane % 7 * 4
    way = f"M{out} {start} H{lane} V{end} H{into}"
    arrow = element("path", d=way, class_="arrow", marker_end=f"url(#tip-{number})")
    return [arrow, element("text", _fit(label, _LABEL), x=lane + 5, y=start + 4, class_="label")]
