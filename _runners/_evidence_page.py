"""The document of _evidence as one page for people: nothing on it comes from elsewhere, and nothing on it runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from _evidence import STATES, alike, changes, is_open, state, states
from _evidence_stack import drawn
from _node_ranges import folded
from _page import Element, element, page, table

# The most rows of a table, characters of the names of nodes, and pictures; the JSON beside it has all.
_ROWS, _NAMES, _PICTURES = 300, 1500, 8
_MARKS = {
    "open": "\N{MULTIPLICATION X}",
    "unknown": "?",
    "drifted": "!",
    "adopting": "\N{WHITE CIRCLE}",
    "closed": "\N{CHECK MARK}",
}
_MAY = {"yes": "gets in", "no": "does not", "unknown": "cannot be told"}
_TITLE = "Who gets in without a job"

STYLE = """
:root { --back: #ffffff; --fore: #1b1f24; --soft: #4b5560; --line: #c3cad2; --band: #f2f5f8; --link: #0b57a4;
  --good: #17652f; --bad: #a8201a; --warn: #7a4b00; --box: #eef4fb; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --back: #14181d; --fore: #e6eaee; --soft: #aab4be; --line: #46505a;
  --band: #1e242b; --link: #7db9f5; --good: #77d392; --bad: #ff9a92; --warn: #f0c063; --box: #1c2733; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 78rem; padding: 1rem 1.25rem 4rem; background: var(--back); color: var(--fore);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .6rem 0; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
a { color: var(--link); } a:focus-visible, .frame:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; } .skip:focus { left: 1rem; background: var(--back); padding: .5rem; }
.soft { color: var(--soft); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; }
.sums { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; padding: 0; list-style: none; }
.sums li { border: 1px solid var(--line); border-radius: .4rem; padding: .6rem .9rem; min-width: 8rem; flex: 1; }
.sums strong { display: block; font-size: 1.6rem; line-height: 1.2; }
.closed { color: var(--good); } .open, .unknown { color: var(--bad); } .drifted, .adopting { color: var(--warn); }
.frame { overflow-x: auto; margin: .4rem 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
caption { text-align: left; color: var(--soft); padding: .2rem 0; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
td, tbody th { min-width: 4.2rem; } .long { min-width: 14rem; }
thead th { background: var(--band); white-space: nowrap; } tbody th { font-weight: 600; }
svg { display: block; } svg text { fill: var(--fore); font: 12px ui-monospace, monospace; }
svg .place, svg .label { fill: var(--soft); font-size: 11px; }
.rule { fill: var(--box); stroke: var(--line); } .end { fill: var(--band); stroke: var(--line); }
.arrow { fill: none; stroke: var(--soft); stroke-width: 1.3; } .tip { fill: var(--soft); }
@media (max-width: 40rem) { body { padding: .6rem .8rem 3rem; } th, td { padding: .35rem .4rem; } }
@media print { :root { --back: #fff; --fore: #000; --soft: #333; --line: #888; --band: #eee; --link: #000;
  --good: #000; --bad: #000; --warn: #000; --box: #fff; color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; } nav, .skip { display: none; } .frame { overflow: visible; }
  tr, svg { break-inside: avoid; } h2, h3 { break-after: avoid; } thead { display: table-header-group; }
  svg { max-width: 100%; height: auto; } }
"""


def written(document: Mapping[str, Any], earlier: Mapping[str, Any] | None = None) -> str:
    """The page; with an ``earlier`` document also what is otherwise since."""
    sections = [(name, made) for name, made in _sections(document, earlier) if made]
    links = [element("li", element("a", name, href=f"#{_anchor(name)}")) for name, _ in sections]
    parts = [
        element("section", element("h2", name, id=_anchor(name)), *made, aria_labelledby=_anchor(name))
        for name, made in sections
    ]
    told = f"{_count(len(states(document)))} of {document['target']}, as they were at {_time(document['made'])}"
    return page(
        f"{_TITLE}: {document['target']}",
        STYLE,
        element("a", "To the content", href="#content", class_="skip"),
        element("header", element("h1", _TITLE), element("p", told, class_="soft")),
        element("nav", element("ul", *links), aria_label="Parts of this page"),
        element("main", _sums(document), *parts, id="content"),
    )


def _sections(document: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> Iterable[tuple[str, list[Element]]]:
    yield "What has changed", _changed(document, earlier)
    yield "Nodes", _nodes(document)
    yield "Who gets in without a job", _access(document)
    yield "Promises", _promises(document)
    yield "Doors", _doors(document)
    yield "Outside every job", _strays(document)
    yield "Sessions that are not held", _loose(document)
    yield "Drift", _drift(document)
    yield "Warnings", _warnings(document)
    yield "The account rules", _stacks(document)


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _time(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds is not None else "never"


def _count(number: int) -> str:
    return "1 node" if number == 1 else f"{number:,} nodes"


def _which(names: Sequence[str]) -> str:
    words = folded(names)
    return words if len(words) <= _NAMES else f"{words[:_NAMES]} \N{HORIZONTAL ELLIPSIS}"


def _mark(name: str) -> Element:
    return element("span", f"{_MARKS[name]} {name}", class_=name)


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Element | str]]) -> Element:
    """With the rows that there is room for."""
    more = [[f"and {len(rows) - _ROWS:,} more rows, in the JSON file", *[""] * (len(columns) - 1)]]
    return table(caption, columns, [*rows[:_ROWS], *(more if len(rows) > _ROWS else [])])


def _rows(found: Mapping[tuple, list[str]]) -> list[tuple[tuple, list[str]]]:
    """Those of the most nodes first; what as many have, in the order in which they have it."""
    return sorted(found.items(), key=lambda row: -len(row[1]))


# The parts


def _sums(document: Mapping[str, Any]) -> Element:
    counts = Counter(states(document).values())
    items = [
        element("li", element("strong", f"{counts[name]:,}"), _mark(name), element("br"), meaning)
        for name, meaning in STATES.items()
        if counts[name] or name in ("open", "unknown", "closed")
    ]
    return element("ul", *items, class_="sums")


def _nodes(document: Mapping[str, Any]) -> list[Element]:
    found = alike(document, lambda facts: [(state(facts), facts["mode"], facts["version"], _kept(facts), _open(facts))])
    order, rows = list(STATES), []
    for row, names in sorted(found.items(), key=lambda each: (order.index(each[0][0]), each[0])):
        name, mode, version, kept, doors = row
        since = _since(document, names)
        rows.append([_which(names), _mark(name), f"{len(names):,}", mode, version, kept, doors, since])
    for (why,), names in _rows(_unknown(document)):
        rows.insert(0, [_which(names), _mark("unknown"), f"{len(names):,}", "", "", why, "", ""])
    kept = "promises kept, or why unknown"
    columns = ("nodes", "state", "number", "mode", "version", kept, "open doors", "closed like this since")
    return [_table("Nodes that are alike are one row", columns, rows)]


def _unknown(document: Mapping[str, Any]) -> dict[tuple, list[str]]:
    found: dict[tuple, list[str]] = {}
    for name, why in document["unknown"].items():
        found.setdefault((why,), []).append(name)
    return found


def _kept(facts: Mapping[str, Any]) -> str:
    return f"{sum(promise['holds'] for promise in facts['promises'])} of {len(facts['promises'])}"


def _open(facts: Mapping[str, Any]) -> str:
    return ", ".join(door["name"] for door in facts["doors"] if is_open(door)) or "none"


def _since(document: Mapping[str, Any], names: Sequence[str]) -> str:
    times = [document["nodes"][name]["since"] for name in names]
    known = [at for at in times if at is not None]
    if not known:
        return "never"
    first, last = _time(min(known)), _time(max(known))
    return first if first == last else f"{first} to {last}"


def _access(document: Mapping[str, Any]) -> list[Element]:
    found = alike(document, _who_gets_in)
    rows = [
        [who, origins, _MAY.get(may, may), _which(names), f"{len(names):,}"]
        for (who, origins, may), names in _rows(found)
    ]
    return [_table("As it is written on the nodes", ("who", "from", "what then", "nodes", "number"), rows)]


def _who_gets_in(facts: Mapping[str, Any]) -> Iterable[tuple]:
    if facts["mode"] != "enforce":
        yield "everyone", "wherever sshd lets them in from", f"gets in: mode {facts['mode']}"
    for rule in facts["access"]:
        yield rule["who"], rule["origins"], rule["may"]


def _promises(document: Mapping[str, Any]) -> list[Element]:
    found = alike(document, lambda facts: [_promise(**promise) for promise in facts["promises"]])
    rows = [
        [name, _proven(holds), f"{why} ({where})" if where else why, _which(names), f"{len(names):,}"]
        for (name, holds, why, where), names in sorted(found.items(), key=lambda row: (row[0][1], -len(row[1])))
    ]
    columns = ("promise", "proof", "counterexample", "nodes", "number")
    return [_table("What is proven of the PAM files as they are", columns, rows)]


def _promise(name: str, holds: bool, why: str, where: str) -> tuple[str, bool, str, str]:
    return name, holds, why, where


def _proven(holds: bool) -> Element:
    return element("span", "holds", class_="closed") if holds else element("span", "does not hold", class_="open")


def _doors(document: Mapping[str, Any]) -> list[Element]:
    found = alike(document, lambda facts: [tuple(door.values()) for door in facts["doors"]])
    rows = [
        [name, what, reach, stranger, administrator, setting, f"{why} ({where})" if where else why, _which(names)]
        for (name, what, reach, _, setting, stranger, administrator, why, where), names in _rows(found)
    ]
    unseen = alike(document, lambda facts: [("not known", text) for text in facts["unseen"]])
    rows += [[name, "", "", "", "", "", text, _which(names)] for (name, text), names in _rows(unseen)]
    columns = ("service", "what it is", "from", "without a job", "administrator", "setting", "why", "nodes")
    return [_table("Ways in that are on, SSH and others", columns, rows)]


def _strays(document: Mapping[str, Any]) -> list[Element]:
    found = alike(document, lambda facts: [tuple(stray.values()) for stray in facts["strays"]])
    rows = [[user, came, spared, _which(names), f"{len(names):,}"] for (user, came, spared), names in _rows(found)]
    if not rows:
        return [element("p", "On the nodes that answered, only root, the system and administrators are outside jobs.")]
    columns = ("user", "came by", "is spared, because", "nodes", "number")
    return [_table("Users with processes outside every job", columns, rows)]


def _loose(document: Mapping[str, Any]) -> list[Element]:
    found = alike(document, lambda facts: [tuple(session.values()) for session in facts["loose"]])
    rows = [[user, problem, _which(names), f"{len(names):,}"] for (user, problem), names in _rows(found)]
    if not rows:
        return [element("p", "On the nodes that answered, every session of a user with a job is held in it.")]
    return [_table("Sessions over SSH that are not held in their job", ("user", "problem", "nodes", "number"), rows)]


def _drift(document: Mapping[str, Any]) -> list[Element]:
    found = alike(document, lambda facts: [(drift["subject"], drift["found"]) for drift in facts["drift"]])
    rows = [[subject, what, _which(names), f"{len(names):,}"] for (subject, what), names in _rows(found)]
    if not rows:
        return [element("p", "The nodes that answered are as their settings want them.")]
    caption = "What the next apply would change, or what stands in its way"
    return [_table(caption, ("state", "found", "nodes", "number"), rows)]


def _warnings(document: Mapping[str, Any]) -> list[Element]:
    found = alike(document, lambda facts: [(warning,) for warning in facts["warnings"]])
    rows = [[warning, _which(names), f"{len(names):,}"] for (warning,), names in _rows(found)]
    return [_table("Warnings, which do not stop an apply", ("warning", "nodes", "number"), rows)] if rows else []


def _stacks(document: Mapping[str, Any]) -> list[Element]:
    kinds: dict[str, tuple[list, list[str]]] = {}
    for name, node in document["nodes"].items():
        stack = document["kinds"][node["kind"]]["stack"]
        kinds.setdefault(repr(stack), (stack, []))[1].append(name)
    parts = []
    ordered = sorted(kinds.values(), key=lambda kind: -len(kind[1]))
    for number, (stack, names) in enumerate(ordered[:_PICTURES], 1):
        title = f"{_which(names)} ({_count(len(names))})"
        rows = [
            [str(index), rule["control"], rule["module"], rule["where"], _leads(stack, rule)]
            for index, rule in enumerate(stack, 1)
        ]
        frame = {"class_": "frame", "tabindex": 0, "role": "region", "aria_label": f"Picture {number}"}
        picture = element("div", drawn(number, stack), **frame)
        columns = ("number", "control", "module", "file and line", "where its answers lead")
        parts += [element("h3", title), picture, _table(f"The rules of picture {number}", columns, rows)]
    if len(ordered) > _PICTURES:
        parts.append(element("p", f"And {len(ordered) - _PICTURES:,} more, in the JSON file."))
    return parts


def _leads(stack: Sequence[Any], rule: Mapping[str, Any]) -> str:
    places = [*(f"rule {index}" for index in range(1, len(stack) + 1)), "the end"]
    known = [(places[min(target, len(stack))], label) for target, label in rule["leads"]]
    return "; ".join(f"{label}: {place}" if label else place for place, label in known)


def _changed(document: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> list[Element]:
    if earlier is None:
        return []
    since = f"Since {_time(earlier['made'])}"
    rows = [
        [what, then, now, _which(names), f"{len(names):,}"]
        for (what, then, now), names in _rows(changes(earlier, document))
    ]
    if not rows:
        return [element("p", f"{since}: nothing.")]
    return [_table(since, ("what", "before", "now", "nodes", "number"), rows)]
