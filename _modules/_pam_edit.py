"""
Select lines of PAM files and change them, leaving every other byte alone.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any

import _pam_grammar
import _pam_libpam
import _text
from _pam_errors import PamError, PamUsageError
from _pam_grammar import BLANKS, CONTROLS, INCLUDES, LOWER, TYPES, Entry, Libpam

# A test of what an entry has under one key; several of them, each with its key.
Test = Callable[[Any], bool]
Selection = list[tuple[str, Test]]
Selector = dict[str, Any]

_KEYWORDS = (*CONTROLS, *INCLUDES, "@include")


# Selecting


def _typed(wanted: str) -> Test:
    wanted = wanted.translate(LOWER)
    return lambda type_: type_ == wanted


def _named(wanted: str) -> Test:
    """A bare name stands for every path that ends in it. A carriage return belongs to the line's end, to us."""
    return lambda name: wanted in (name or "") and wanted in (name.rstrip("\r"), name.rstrip("\r").rpartition("/")[2])


def _controlled(wanted: str) -> Test:
    wanted = _plain_control(wanted)
    return lambda control: control is not None and _plain_control(control) == wanted


@functools.lru_cache(maxsize=256)
def _plain_control(control: str) -> str:
    """A control without what makes no difference: brackets around a keyword, case, and how many blanks there are."""
    value = " ".join(_argument(control).split())
    keyword = value.translate(LOWER)
    return keyword if keyword in _KEYWORDS else value


def _has_args(wanted: str | list) -> Test:
    wanted = _arguments(wanted)
    return lambda args: set(wanted) <= {arg.rstrip("\r") for arg in args or []}


def _arguments(args: str | list) -> list[str]:
    """Arguments as words: from a list of them, or from text as it stands in a PAM file."""
    if isinstance(args, str):
        return _pam_grammar.words(args)
    if not isinstance(args, list):
        raise PamUsageError(f"arguments are a list of words, or text, not {args!r}")
    return [str(arg) for arg in args]


# What makes, of the value that is wanted, a test of a line's.
_SELECTORS = {
    "type": _typed,
    "control": _controlled,
    "module": _named,
    "target": lambda wanted: lambda target: target is not None and target.rstrip("\r") == wanted,
    "args": _has_args,
}


def _selection(selector: Selector) -> Selection:
    """A selector as what _select takes."""
    if not isinstance(selector, dict) or not selector:
        raise PamUsageError(f"{selector!r} selects nothing; give one or more of {', '.join(_SELECTORS)}")
    for key, wanted in selector.items():
        if key not in _SELECTORS:
            raise PamUsageError(f"{key!r} is not a way to select a line; there are {', '.join(_SELECTORS)}")
        if key != "args" and not (isinstance(wanted, str) and wanted.strip(BLANKS)):
            raise PamUsageError(f"{key} must be a word, not {wanted!r}")
    return [(key, _SELECTORS[key](wanted)) for key, wanted in selector.items()]


def _select(entries: list[Entry], selection: Selection) -> list[int]:
    """The indexes of the rules and includes that pass every test."""
    found = range(len(entries))
    for key, test in selection:
        found = [index for index in found if test(entries[index].get(key))]
    return [index for index in found if entries[index]["kind"] in ("rule", "include")]


def find(text: str | list[Entry], **selector: Any) -> list[Entry]:
    """
    The entries of a file that a selector matches; comments never match.

    ``text`` is the file's text, or its entries. The selector's keys are those of ``_SELECTORS``, and all must match.
    """
    entries = _pam_grammar.parse(text) if isinstance(text, str) else text
    return [entries[index] for index in _select(entries, _selection(selector))]


# Editing

# As ``match``: the line counts as there where it stands at its very place, and there alone.
HERE = "here"
_TAB = 8
_NEIGHBOURS = 3
_COMMENT_SIGN = re.compile(r"(?m)^[ \t]*#+(?:[ \t](?=[^ \t]))?")
_JUMP = re.compile(r"(=[ \t]*)([0-9]+)")
_LINE_END = re.compile(r"\r?\n\Z")


def _line_end(text: str) -> str:
    """The newline a text ends in, with its carriage return, or nothing."""
    end = _LINE_END.search(text)
    return end[0] if end else ""


def _quote(word: str) -> str:
    """An argument as it must be written."""
    written = word if word and not re.search(r"\A\[|[ \t\n]", word) else "[" + word.replace("]", "\\]") + "]"
    if re.search(r"[#\0\n]|\\\Z", written) or _argument(written) != word:
        raise PamUsageError(f"{word!r} cannot be written in a PAM file")
    return written


def _argument(written: str) -> str:
    return _pam_grammar.words(written)[0]


def _column(text: str) -> int:
    return len(text.expandtabs(_TAB))


class _Layout:
    """How a line is written: its words, and the blanks before, between and after them."""

    def __init__(self, text: str, places: Callable[[str], list[list]]) -> None:
        self.text, self.places = text, places
        found = places(text)
        self.words = [word for word, _, _ in found]
        self.starts = [start for _, start, _ in found]
        self.ends = [0, *(end for _, _, end in found)]
        if text.endswith("\r\n") and self.ends[-1] == len(text) - 1:
            # To libpam the carriage return is the end of a word, or a word; here it is the end of the line.
            if self.words[-1] == "\r":
                del self.words[-1], self.starts[-1], self.ends[-1]
            else:
                self.words[-1] = self.words[-1][:-1]
                self.ends[-1] -= 1
        self.gaps = [text[end:start] for end, start in zip(self.ends, self.starts)]
        self.rest = text[self.ends[-1] :]

    def columns(self, index: int) -> tuple[int, int]:
        """Where the blanks before a word begin and end, in columns."""
        return _column(self.text[: self.ends[index]]), _column(self.text[: self.starts[index]])

    def gap(self, index: int, before: str, neighbours: list[str]) -> str:
        """
        The blanks before the word at an index, where the text before it is given.

        A column is kept where there is one: several spaces, or a place that a neighbour's words begin at as well.
        """
        if index >= len(self.gaps) or index > 3:
            return " "
        gap, (end, column) = self.gaps[index], self.columns(index)
        if "\n" in gap or not gap:
            return gap or " "
        shared = gap.startswith("  ") or (index < 3 and self._shares(index, column, end, neighbours))
        if not shared:
            return gap
        if "\t" in gap:
            return "\t" * max(1, -(-column // _TAB) - _column(before) // _TAB)
        return " " * max(1, column - _column(before))

    def _shares(self, index: int, column: int, end: int, neighbours: list[str]) -> bool:
        """Whether a word stands in the column of a neighbour's, and that is no accident: the words before differ."""
        for text in neighbours:
            other = _Layout(text, self.places)
            if len(other.words) > index and other.columns(index)[1] == column and other.columns(index)[0] != end:
                return True
        return False

    def replace(self, index: int, word: str) -> str:
        """This line with another word at an index, and all blanks as they are."""
        return self.text[: self.starts[index]] + word + self.text[self.ends[index + 1] :]

    def write(self, words: list[str], neighbours: list[str]) -> str:
        """This line with other words: what is the same stays as it is, byte for byte."""
        kept = 0
        while kept < min(len(words), len(self.words)) and words[kept] == self.words[kept]:
            kept += 1
        tail = 0
        while tail < min(len(words), len(self.words)) - kept and words[-1 - tail] == self.words[-1 - tail]:
            tail += 1
        text = ""
        for index, word in enumerate(words):
            here = index if index < len(words) - tail else index - len(words) + len(self.words)
            untouched = index <= kept or here > 3
            gap = self.gaps[here] if untouched and here < len(self.gaps) else self.gap(here, text, neighbours)
            text += gap + word
        return text + self.rest


class _Editor:
    """A PAM file under change. Between any two operations ``entries`` is what the parser makes of it (but ``line``)."""

    def __init__(self, text: str, libpam: Libpam | None) -> None:
        libpam = libpam or _pam_libpam.node_libpam()
        self.parse, self.places, self.actions = (
            functools.partial(function, libpam=libpam)
            for function in (_pam_grammar.parse, _pam_grammar.places, _pam_grammar.actions)
        )
        self.entries = self.parse(text)

    # finding lines

    def _all(self, selector: Selector) -> list[int]:
        return _select(self.entries, _selection(selector))

    def _one(self, selector: Selector, besides: int | None = None) -> int:
        """The index of the one line a selector means."""
        found = [index for index in self._all(selector) if index != besides]
        if len(found) == 1:
            return found[0]
        if found:
            raise PamError(f"{selector} matches several lines; say which is meant:{self._listed(found)}")
        live = [index for index, entry in enumerate(self.entries) if entry["kind"] in ("rule", "include")]
        raise PamError(f"no line matches {selector}; the lines are:{self._listed(live)}")

    def _any(self, selector: Selector, missing: str | None) -> list[int]:
        """The indexes of the lines a selector means; that there are none is an error, unless told otherwise."""
        return self._all(selector) or ([] if missing == "ok" else [self._one(selector)])

    def _naming(self, target: str, by_type: Selector) -> list[int]:
        """The lines that name a file, for one type or all; an ``@include`` does so for every type."""
        included = self._all({"target": target, "control": "@include"})
        return sorted({*included, *self._all({"target": target, **by_type})})

    def _listed(self, indexes: Iterable[int]) -> str:
        numbers = [*itertools.accumulate((entry["text"].count("\n") for entry in self.entries), initial=1)]
        lines = [f"\n  line {numbers[index]}: {self.entries[index]['text'].strip()}" for index in indexes]
        return "".join(lines) or " none"

    @staticmethod
    def _matters(entry: Entry, types: Iterable[str]) -> bool:
        """Whether a line has a say in some types; one without a type has it in all."""
        return entry["kind"] in ("rule", "include", "invalid") and entry.get("type") in (*types, None)

    # writing lines

    def _layout(self, index: int) -> _Layout:
        return _Layout(self.entries[index]["text"], self.places)

    def _neighbours(self, place: int, type_: str | None) -> list[str]:
        """The texts of the few lines nearest to a place whose way of writing can be followed."""
        nearest = sorted(
            (entry["type"] != type_, abs(index - place), index)
            for index, entry in enumerate(self.entries)
            if entry["kind"] in ("rule", "include") and index != place
        )
        texts = (self.entries[index]["text"] for _, _, index in nearest)
        return list(itertools.islice((text for text in texts if "\n" not in text[:-1]), _NEIGHBOURS))

    def _settle(self, first: int, last: int, texts: list[str]) -> None:
        """Put texts in the place of some entries, if libpam reads each of them, and those around, by itself."""
        start, stop = max(first - 1, 0), last + 1
        texts = [entry["text"] for entry in self.entries[start:first]] + texts
        texts += [entry["text"] for entry in self.entries[last:stop]]
        fresh = self.parse("".join(texts))
        if [entry["text"] for entry in fresh] != texts:
            raise PamError(
                f"these lines cannot be changed, libpam would take two for one:{''.join(texts)!r}"
            )
        self.entries[start:stop] = fresh

    def _write(self, index: int, words: list[str]) -> None:
        """Give the line at an index other words."""
        layout = self._layout(index)
        if words != layout.words:
            neighbours = self._neighbours(index, self.entries[index]["type"])
            self._settle(index, index + 1, [layout.write(words, neighbours)])
            if self._layout(index).words != words:
                raise PamError(f"this line cannot be changed as asked:{self._listed([index])}")

    def _put(self, place: int, text: str) -> None:
        """Put a line, given with its newline, before the entry at an index."""
        if not place or self.entries[place - 1]["text"].endswith("\n"):
            self._settle(place, place, [text])
        else:
            # The file's last line had no newline, and so has none after.
            before = self.entries[place - 1]
            self._settle(place - 1, place, [before["text"] + "\n", text.removesuffix(_line_end(text))])
            self._refuse_change(before, place - 1)

    def _drop(self, index: int) -> None:
        """Remove a line."""
        if index and index == len(self.entries) - 1 and not self.entries[index]["text"].endswith("\n"):
            before = self.entries[index - 1]
            text = before["text"].removesuffix("\n")
            self._settle(index - 1, index + 1, [text] if text else [])
            if text:
                self._refuse_change(before, index - 1)
        else:
            self._settle(index, index + 1, [])

    def _refuse_change(self, before: Entry, index: int) -> None:
        """Refuse what changed more of a line than its newline, which belongs to a word whose bracket is not closed."""
        if {**before, "text": None, "line": None} != {**self.entries[index], "text": None, "line": None}:
            raise PamError(f"this line has no end that could be changed:{self._listed([index])}")

    def _given(self, text: str) -> tuple[Entry, _Layout]:
        """The one line a caller gives to write: (entry, layout)."""
        if not isinstance(text, str):
            raise PamUsageError(f"a line for a PAM file is text, not {text!r}")
        line = text.strip(BLANKS)
        entries = self.parse(line)
        if len(entries) != 1 or "\n" in line or "\0" in line:
            raise PamUsageError(f"{text!r} is not one line for a PAM file")
        entry = entries[0]
        problem = {"comment": "it is a comment"}.get(entry["kind"], entry.get("reason"))
        if entry["kind"] == "rule":
            try:
                self.actions(entry["control"])
            except PamError as error:
                problem = error
        if problem:
            raise PamUsageError(f"{text!r} is not a line for a PAM file: {problem}")
        return entry, _Layout(line, self.places)

    def _new_line(self, place: int, entry: Entry, layout: _Layout) -> str:
        """A given line as it is written at a place."""
        nearest = self._neighbours(place, entry["type"])
        if not nearest:
            return " ".join(layout.words) + layout.rest + self._newline(place)
        model, text = _Layout(nearest[0], self.places), ""
        for index, word in enumerate(layout.words):
            text += (model.gap(index, text, nearest[1:]) if index else model.gaps[0]) + word
        return text + layout.rest + self._newline(place)

    def _newline(self, place: int) -> str:
        """The line end in use around a place."""
        around = self.entries[max(place - 1, 0) : place + 1]
        return next((end for entry in around if (end := _line_end(entry["text"]))), "\n")

    # operations: what a change's key names is the first argument, its options are the others

    def insert(
        self,
        line: str,
        before: Selector | None = None,
        after: Selector | None = None,
        at: str | None = None,
        match: Selector | str | None = None,
        jumps: str | None = None,
        missing: str | None = None,
    ) -> None:
        if [before, after, at].count(None) != 2 or at not in (None, "first", "last"):
            raise PamUsageError("insert needs one of before: SELECTOR, after: SELECTOR, at: first and at: last")
        if match == HERE and at:
            raise PamUsageError(f"match: {HERE} needs before: SELECTOR or after: SELECTOR")
        entry, layout = self._given(line)
        if missing == "ok" and not at and not self._all(before or after):
            return
        types = {entry["type"]} if entry["type"] else set(TYPES)
        ahead = bool(before) or at == "first"
        if match == HERE:
            here = self._beside(self._one(before or after), ahead, types, layout)
        else:
            here = self._present(entry, layout, match)
        if at:
            peers = [i for i, peer in enumerate(self.entries) if i != here and self._matters(peer, types)]
            anchor = peers[0 if at == "first" else -1] if peers else None
        else:
            anchor = self._one(before or after, besides=here)
            types |= {self.entries[anchor]["type"]}
        if here is None:
            place = len(self.entries) if anchor is None else anchor if ahead else anchor + 1
            self._move_jumps(entry, jumps, comes=place)
            self._put(place, self._new_line(place, entry, layout))
            return
        self._write(here, layout.words)
        first, last = (here, anchor) if ahead else (anchor, here)
        if anchor is None or (
            first < last and not any(self._matters(between, types) for between in self.entries[first + 1 : last])
        ):
            return
        self._move_jumps(self.entries[here], jumps, goes=here, comes=anchor if ahead else anchor + 1)
        text = self.entries[here]["text"]
        self._drop(here)
        place = anchor - (here < anchor) + (not ahead)
        self._put(place, text if _line_end(text) else text + self._newline(place))

    def _beside(self, anchor: int, ahead: bool, types: set[str], layout: _Layout) -> int | None:
        """The index of the given line, if it is the next one before that of the anchor, or after it."""
        types = types | {self.entries[anchor]["type"]}
        others = range(anchor - 1, -1, -1) if ahead else range(anchor + 1, len(self.entries))
        nearest = next((index for index in others if self._matters(self.entries[index], types)), None)
        is_it = nearest is not None and self.entries[nearest]["kind"] in ("rule", "include")
        return nearest if is_it and self._layout(nearest).words == layout.words else None

    def _present(self, entry: Entry, layout: _Layout, match: Selector | None) -> int | None:
        """The index of the line that counts as the given one, if there is one."""
        if match is None:
            match = {key: entry[key] for key in ("type", "module", "target") if entry.get(key)}
            if not entry["type"]:
                match["control"] = entry["control"]
        found = self._all(match)
        same = [index for index in found if self._layout(index).words == layout.words]
        if len(found) > 1 and len(same) != 1:
            raise PamError(f"several lines could be the one to insert; use match:{self._listed(found)}")
        return (same or found or [None])[0]

    def replace(self, selector: Selector, **options: Any) -> None:
        _, layout = self._given(options["with"])
        there = [
            index
            for index, entry in enumerate(self.entries)
            if entry["kind"] in ("rule", "include") and self._layout(index).words == layout.words
        ]
        if there and not self._all(selector):
            return
        index = self._one(selector)
        if there and there != [index]:
            raise PamError(f"{options['with']!r} is in the file already:{self._listed(there)}")
        self._write(index, layout.words)

    def set_control(self, selector: Selector, to: str) -> None:
        # A selector by the control to change matches no more once that is done.
        if not self._all(selector) and self._all({**selector, "control": to}):
            return
        index = self._one(selector)
        entry, words = self.entries[index], self._layout(index).words
        wanted = [words[0], to, *words[2:3]]
        if entry["type"]:
            given, layout = self._given(" ".join(map(str, wanted)))
        if not entry["type"] or layout.words != wanted or given["kind"] != entry["kind"]:
            raise PamError(f"{to!r} cannot be the control of this line:{self._listed([index])}")
        if _plain_control(words[1]) != _plain_control(to):
            self._write(index, [words[0], to, *words[2:]])

    def set_args(self, selector: Selector, to: str | list) -> None:
        to = [_quote(arg) for arg in _arguments(to)]
        self._change_args(selector, lambda args: to)

    def add_args(self, selector: Selector, args: str | list) -> None:
        new = _arguments(args)

        def added(args: list[str]) -> list[str]:
            for arg in new:
                name, equals, _ = arg.partition("=")
                same = [i for i, old in enumerate(args) if _argument(old).partition("=")[:2] == (name, equals)]
                if len(same) > 1:
                    raise PamError(f"{name} is given more than once in {' '.join(args)}")
                place = same[0] if same else len(args)
                args = [*args[:place], _quote(arg), *args[place + 1 :]]
            return args

        self._change_args(selector, added)

    def remove_args(self, selector: Selector, args: str | list) -> None:
        gone = set(_arguments(args))
        self._change_args(
            selector,
            lambda args: [arg for arg in args if not gone & {_argument(arg), _argument(arg).partition("=")[0]}],
        )

    def _change_args(self, selector: Selector, change: Callable[[list[str]], list[str]]) -> None:
        """Give the one rule a selector means the arguments a function makes of its own."""
        if not self._all(selector):
            # A selector by the arguments to change matches no more once that is done.
            others = [(key, test) for key, test in _selection(selector) if key != "args"]
            for index in _select(self.entries, others):
                args = self._layout(index).words[3:]
                if self.entries[index]["kind"] == "rule" and change(args) == args:
                    return
        index = self._one(selector)
        if self.entries[index]["kind"] != "rule":
            raise PamError(f"{selector} matches a line that has no arguments:{self._listed([index])}")
        words = self._layout(index).words
        self._write(index, [*words[:3], *change(words[3:])])

    def remove(self, selector: Selector, missing: str | None = None, jumps: str | None = None) -> None:
        for index in reversed(self._any(selector, missing)):
            if jumps:
                self._move_jumps(self.entries[index], jumps, goes=index)
            self._drop(index)

    # jumps

    def _move_jumps(self, line: Entry, jumps: str | None, goes: int | None = None, comes: int | None = None) -> None:
        """
        Let jumps land where they did when a line goes from an index, or comes before one, or both.

        A jump that lands on a line that goes lands on the next one; one that lands where a line comes lands on that.
        Raises PamError for a line that comes, if jumps would have to change and that was not asked for.
        """
        moved = {}
        for type_ in [line["type"]] if line.get("type") else TYPES:
            for index in range(max(place for place in (goes, comes) if place is not None)):
                entry = self.entries[index]
                if index != goes and _JUMP.search(entry.get("control") or "") and self._matters(entry, (type_,)):
                    control = self._moved(index, type_, line, goes, comes)
                    if control != self._layout(index).words[1]:
                        moved[index] = control
        if moved and not jumps:
            raise PamError(
                f"jumps would pass over {line['text'].strip()!r} and land elsewhere than now; with jumps: lengthen "
                f"they go on landing where they do:{self._listed(moved)}"
            )
        for index, control in moved.items():
            words = self._layout(index).words
            self._write(index, [words[0], control, *words[2:]])

    def _moved(self, index: int, type_: str, line: Entry, goes: int | None, comes: int | None) -> str:
        """The control of the line at an index, with jumps that land where they did."""

        def passes(count: int, place: int | None) -> bool:
            """Whether a jump passes over what is at a place; what goes counts no more."""
            if place is None or place <= index:
                return False
            between = [at for at in range(index + 1, place) if self._matters(self.entries[at], (type_,)) and at != goes]
            if count <= len(between):
                return False
            unclear = [at for at in between if not self._counts_as_one(self.entries[at])]
            if unclear or not self._counts_as_one(line):
                listed = f"{self._listed([index, *unclear[:1]])}\n  {line['text'].strip()}"
                raise PamError(f"it cannot be told what this jump passes over; change it first:{listed}")
            return True

        def moved(jump: re.Match[str]) -> str:
            count = int(jump[2])
            count -= passes(count, goes)
            count += passes(count, comes)
            return jump[0] if count == int(jump[2]) else jump[1] + (str(count) if count else "ignore")

        return _JUMP.sub(moved, self._layout(index).words[1])

    @staticmethod
    def _counts_as_one(entry: Entry) -> bool:
        """Whether a jump counts a line as one: of an included file it counts the lines, and a bad type is auth's."""
        return bool(entry.get("type")) and (entry["kind"] != "include" or entry["control"] == "substack")

    def comment_out(self, selector: Selector, missing: str | None = None, jumps: str | None = None) -> None:
        if not self._all(selector) and self._commented(selector):
            return
        for index in reversed(self._any(selector, missing)):
            if jumps:
                self._move_jumps(self.entries[index], jumps, goes=index)
            lines = _text.lines(self.entries[index]["text"])
            self._settle(index, index + 1, ["#" + line for line in lines])

    def uncomment(self, selector: Selector, jumps: str | None = None) -> None:
        if self._all(selector):
            return
        found = self._commented(selector)
        if len(found) > 1:
            several = self._listed(first for first, _, _ in found)
            raise PamError(f"{selector} matches several commented lines; say which is meant:{several}")
        if not found:
            raise PamError(f"no line, commented out or not, matches {selector}")
        first, last, text = found[0]
        self._move_jumps(self.parse(text)[0], jumps, comes=first)
        self._settle(first, last, [text])

    def _commented(self, selector: Selector) -> list[tuple[int, int, str]]:
        """The commented lines a selector would match: (first index, index after the last, text without the signs)."""
        found, selection = [], _selection(selector)
        for first in range(len(self.entries)):
            text = ""
            for last, entry in enumerate(self.entries[first:], first + 1):
                if entry["kind"] != "comment":
                    break
                text += _COMMENT_SIGN.sub("", entry["text"], count=1)
                lines = self.parse(text)
                if len(lines) == 1 and _select(lines, selection):
                    found.append((first, last, text))
                if len(lines) != 1 or lines[0].get("fatal") != "unfinished":
                    break
        return found

    def retarget(self, names: dict[str, str], missing: str | None = None) -> None:
        if not isinstance(names, dict) or not {"from", "to"} <= set(names) <= {"from", "to", "type"}:
            raise PamUsageError(f"retarget takes from, to and perhaps type, not {names!r}")
        by_type = {"type": names["type"]} if "type" in names else {}
        found = self._naming(names["from"], by_type)
        if not found and (missing == "ok" or self._naming(names["to"], by_type)):
            return
        for index in found or [self._one({"target": names["from"], **by_type})]:
            place = 1 if self.entries[index]["control"] == "@include" else 2
            # No column is kept, so that the way back finds all blanks.
            text = self._layout(index).replace(place, _quote(names["to"]))
            self._settle(index, index + 1, [text])


# Operation: the options it needs, and those it may have.
_OPERATIONS = {
    "insert": ((), ("before", "after", "at", "match", "jumps", "missing")),
    "replace": (("with",), ()),
    "set_control": (("to",), ()),
    "set_args": (("to",), ()),
    "add_args": (("args",), ()),
    "remove_args": (("args",), ()),
    "remove": ((), ("missing", "jumps")),
    "comment_out": ((), ("missing", "jumps")),
    "uncomment": ((), ("jumps",)),
    "retarget": ((), ("missing",)),
}
# What ``jumps`` can be.
_JUMPS = {"insert": "lengthen", "uncomment": "lengthen", "remove": "shorten", "comment_out": "shorten"}


def _apply(editor: _Editor, change: dict[str, Any]) -> None:
    names = [name for name in change if name in _OPERATIONS] if isinstance(change, dict) else []
    if len(names) != 1:
        raise PamUsageError(f"{change!r} is not one change; the changes are {', '.join(_OPERATIONS)}")
    name = names[0]
    needed, allowed = _OPERATIONS[name]
    options = {key: value for key, value in change.items() if key != name}
    if missing := set(needed) - set(options):
        raise PamUsageError(f"{name} needs {', '.join(sorted(missing))}")
    if unknown := set(options) - set(needed) - set(allowed):
        raise PamUsageError(
            f"{name} takes {', '.join((*needed, *allowed)) or 'no options'}, not {', '.join(unknown)}"
        )
    if options.get("missing", "ok") != "ok":
        raise PamUsageError(f"missing can only be ok, not {options['missing']!r}")
    if "jumps" in options and options["jumps"] != _JUMPS[name]:
        raise PamUsageError(f"jumps can only be {_JUMPS[name]}, not {options['jumps']!r}")
    getattr(editor, name)(change[name], **options)


def edit(text: str, changes: list[dict[str, Any]], libpam: Libpam | None = None) -> str:
    """The text of a file with changes made to it, one after the other, as the face's manual describes them."""
    if not isinstance(changes, list):
        raise PamUsageError(f"changes are a list, not {changes!r}")
    editor = _Editor(text, libpam)
    for change in changes:
        _apply(editor, change)
    return _pam_grammar.render(editor.entries)
