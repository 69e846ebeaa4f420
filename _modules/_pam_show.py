"""A stack as a table and as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import _pam_expand
from _pam_dispatch import Ways, action, ways
from _pam_errors import PamError, PamUsageError
from _pam_expand import Content, Handler
from _pam_grammar import RETURN_CODES, TYPES, Action, Libpam
from _pam_words import place
from _text import printable


def _check(value: Any, kind: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise PamUsageError(f"{value!r} is not a {kind}; there are {', '.join(allowed)}")


def _expanded(service: str, **reading: Any) -> dict[str, Any]:
    """The service's expansion; one that libpam aborts on raises."""
    found = _pam_expand.expand(service, **reading)
    if abort := found["abort"]:
        where = f"{abort['file']}:{abort['line']}: " if abort["file"] else ""
        raise PamError(f"libpam cannot start {service}: {where}{abort['reason']}")
    return found


def _control(handler: Handler) -> str:
    return handler["control"] or "(no control)"


# A table


def show(
    service: str,
    type: str | None = None,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> str:
    """A service's effective stack, of one type or of all: each line that libpam runs, with its file and line."""
    if type is not None:
        _check(type, "type", TYPES)
    found = _expanded(service, confdirs=confdirs, libpam=libpam, files=files)
    return "\n".join(_table(name, found["types"][name], found["from"][name]) for name in TYPES if type in (None, name))


def _table(type_: str, handlers: list[Handler], origin: str | None) -> str:
    rows = [
        [
            f"{number:>4}",
            "  " * handler["level"] + ("-" if handler["silent"] else "") + printable(_control(handler)),
            printable(" ".join([handler["module"] or "(no module)", *handler["args"]])),
            printable(place(handler) + (f"  ! {handler['reason']}" if handler["reason"] else "")),
        ]
        for number, handler in enumerate(handlers, 1)
    ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([f"{type_} ({f'from {origin}' if origin else 'nothing, so it is denied'})", *lines, ""])


# A picture

_END = "finish"  # Mermaid keeps "end" for itself
_SHAPES = {
    "mermaid": {
        "head": "flowchart TD",
        "node": '  {name}["{label}"]',
        "round": '  {name}(["{label}"])',
        "open": '  subgraph {name}["{label}"]',
        "close": "  end",
        "edge": '  {source} -->|"{label}"| {target}',
        "plain": "  {source} --> {target}",
        "foot": "",
        "break": "<br/>",
        "escapes": {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "\\": "#92;"},
    },
    "dot": {
        "head": 'digraph stack {\n  node [shape=box fontname="sans-serif"]\n  edge [fontname="sans-serif"]',
        "node": '  {name} [label="{label}"]',
        "round": '  {name} [label="{label}" shape=oval]',
        "open": '  subgraph cluster_{name} {{\n  label="{label}"',
        "close": "  }",
        "edge": '  {source} -> {target} [label="{label}"]',
        "plain": "  {source} -> {target}",
        "foot": "}",
        "break": "\\n",
        "escapes": {"\\": "\\\\", '"': '\\"'},
    },
}


def diagram(
    service: str,
    type: str,
    format: str = "mermaid",
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> str:
    """A picture of a service's stack of one type, as text for Mermaid or Graphviz."""
    _check(format, "format", _SHAPES)
    _check(type, "type", TYPES)
    shape = _SHAPES[format]
    handlers = _expanded(service, confdirs=confdirs, libpam=libpam, files=files)["types"][type]
    escapes = str.maketrans(shape["escapes"])

    def escaped(text: str) -> str:
        return printable(text).translate(escapes)

    def line(kind: str, label: Iterable[str] = (), **names: str) -> str:
        return shape[kind].format(label=shape["break"].join(map(escaped, label)), **names)

    lines, level = [shape["head"], line("round", [f"{service} {type}"], name="start")], 0
    for index, handler in enumerate(handlers):
        lines += [shape["close"]] * (level - handler["level"])
        level = handler["level"]
        mark = [f"! {handler['reason']}"] if handler["reason"] else []
        lines.append(line("node", [f"{index + 1}. {_words(handler)}", place(handler), *mark], name=f"n{index}"))
        if index + 1 < len(handlers) and handlers[index + 1]["level"] > level:
            lines.append(line("open", [f"substack {handler['module']}"], name=f"s{index}"))
    lines += [shape["close"]] * level
    names = [*(f"n{index}" for index in range(len(handlers))), _END]
    edges = [line("plain", source="start", target=names[0])]
    for index, leads in enumerate(arrows(handlers)):
        for target, labels in leads.items():
            edges.append(line("edge" if labels else "plain", labels, source=names[index], target=names[target]))
    lines.append(line("round", ["the end"], name=_END))
    return "\n".join([*lines, *edges, shape["foot"]]).rstrip("\n") + "\n"


def arrows(handlers: list[Handler]) -> list[dict[int, list[str]]]:
    """Where each handler's answers lead: {index: one label for each action}; the end is behind the last one. A substack
    is entered without an answer."""
    return [
        {index + 1: []} if handler["kind"] == "substack" else _arrows(handler, leads)
        for index, (handler, leads) in enumerate(zip(handlers, ways(handlers)))
    ]


def _words(handler: Handler) -> str:
    """A handler's control, module and arguments."""
    return " ".join(word for word in (_control(handler), handler["module"], *handler["args"]) if word)


def _arrows(handler: Handler, leads: Ways) -> dict[int, list[str]]:
    found = {}
    for taken, codes in _by_action(handler).items():
        index, lost = leads[taken]
        if isinstance(taken, int):
            taken = f"jump {taken}{', out of lines: bad' if lost else ''}"
        found.setdefault(index, []).append(f"{codes} = {taken}")
    return found


def _by_action(handler: Handler) -> dict[Action, str]:
    """Each action of a handler with the codes that lead to it; the one that most lead to has ``else``."""
    if handler["kind"] == "must_fail":
        return {action(handler, "perm_denied"): "perm_denied"}
    groups = {}
    for code, taken in zip(RETURN_CODES, handler["actions"]):
        groups.setdefault(taken, []).append(code)
    most = max(groups, key=lambda taken: len(groups[taken]))
    named = {taken: ", ".join(group) for taken, group in groups.items() if taken != most}
    return named | {most: "else" if named else "any answer"}
