"""
A set of PAM files as one transaction: what is to be written, computed and proven before the first file is touched.

How to look at the disk is passed in: ``disk.read(path)`` is what stands there, ``disk.follow(path)`` the file that a
path leads to, as ``file_transaction`` has them. That module also writes what is planned here.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import _pam_edit
import _pam_grammar
import _pam_libpam
import _pam_prove
from _pam_errors import PamError, PamUsageError
from _pam_expand import Content, Files

MARKER = "# Managed by Salt"
# The first line of a service file that was copied from a vendor directory: what it was copied from, as it was then.
_COPY = "# Copied by Salt from {source}, sha256 {digest}\n"
_COPY_LINE = re.compile(r"# Copied by Salt from (?P<source>\S+), sha256 (?P<digest>[0-9a-f]{64})\n")

# No service has such a name: what an editor, a package manager or a killed run has left, or somebody has put aside.
_LEFT_OVER = re.compile(r"\..*|.*(~|\.(bak|old|orig|save|sw[op]|(rpm(new|orig|save)|dpkg-|ucf-).*))", re.IGNORECASE)

# What stands at a path, and what is to become of it: path, before and after.
Change = dict[str, Any]


class Disk(Protocol):
    """How to look at what is there."""

    def read(self, path: str) -> Content: ...
    def follow(self, path: str) -> str: ...


def plan(
    files: list[dict],
    policy: list[dict] | None = None,
    marker: str = MARKER,
    replace: bool = False,
    *,
    disk: Disk,
) -> list[Change]:
    """What has to be written for these files to be as described. Changes nothing."""
    _check(files)
    planned = (_planned(_file(spec, disk, marker), replace) for spec in files)
    changes = [change for change in planned if change]
    pending = _pending(changes)
    _refuse_missing(pending)
    prove(policy or [], pending)
    return changes


def _planned(file: _File, replace: bool) -> Change | None:
    return file.unwanted() if file.spec.get("absent") else file.wanted(replace)


def plan_back(files: list[dict], marker: str = MARKER, *, disk: Disk) -> list[Change]:
    """What has to be written for what ``plan`` planned to be taken back, in the opposite order. Changes nothing."""
    _check(files)
    unwanted = (_file(spec, disk, marker).unwanted() for spec in reversed(files))
    changes = [change for change in unwanted if change]
    _refuse_missing(_pending(changes))
    return changes


def _check(files: list[dict]) -> None:
    """The shape of what was given; what the edits say, is looked at when they are made."""
    if not isinstance(files, list):
        raise PamUsageError(f"files are a list, not {files!r}")
    for spec in files:
        if not isinstance(spec, Mapping) or not isinstance(spec.get("path"), str):
            raise PamUsageError(f"a file is a mapping with a path, not {spec!r}")
        changes = spec.get("changes", [])
        if not isinstance(changes, list) or not all(isinstance(change, Mapping) for change in changes):
            raise PamUsageError(f"{spec['path']}: changes are a list of mappings, not {changes!r}")


def _pending(changes: list[Change]) -> list[Change]:
    return [change for change in changes if change["before"] != change["after"]]


# The kinds of files


@dataclass(frozen=True)
class _File:
    """One file of the set: what it has to become, and what it becomes when that is taken back."""

    spec: Mapping[str, Any]
    disk: Disk
    marker: str

    @property
    def path(self) -> str:
        return self.spec["path"]

    @property
    def changes(self) -> list[dict]:
        return self.spec.get("changes", [])

    def wanted(self, replace: bool) -> Change:
        raise NotImplementedError

    def unwanted(self) -> Change | None:
        raise NotImplementedError

    def change(self, before: Content, after: Content, path: str | None = None) -> Change:
        return {"path": path or self.path, "before": before, "after": after}

    def is_ours(self, content: Content) -> bool:
        return isinstance(content, str) and content.startswith(self.marker + "\n")

    def not_ours(self) -> PamError:
        return PamError(
            f"{self.path} is there already and was not written by this state. Nothing was changed. "
            "Move it away, or allow it to be replaced (replace: true)"
        )

    def read(self, path: str) -> Content:
        """What a path leads to."""
        return self.disk.read(os.path.realpath(path))

    def edit(self, text: str, changes: list[dict], name: str | None = None) -> str:
        try:
            return _pam_edit.edit(text, changes) if changes else text
        except (PamError, PamUsageError) as error:
            raise type(error)(f"{name or self.path}: {error}") from error


class _Link(_File):
    def wanted(self, replace: bool) -> Change:
        before, after = self.disk.read(self.path), {"link": self.spec["link"]}
        # A link of ours may lead elsewhere, to a file of ours.
        if before not in (None, after) and not replace and not self._leads_to_ours():
            raise self.not_ours()
        return self.change(before, after)

    def unwanted(self) -> Change:
        before = self.disk.read(self.path)
        return self.change(before, None if before == {"link": self.spec["link"]} else before)

    def _leads_to_ours(self) -> bool:
        return os.path.isfile(self.path) and self.is_ours(self.read(self.path))


class _Text(_File):
    """A whole file: ``contents``, or derived from ``source`` at every run."""

    def wanted(self, replace: bool) -> Change:
        before = self.disk.read(self.path)
        if before is not None and not replace and not self.is_ours(before):
            raise self.not_ours()
        if isinstance(before, str):
            # It keeps its owner and mode, so that who can write to it now still could.
            self.disk.follow(self.path)
        text = self.spec["contents"] if "contents" in self.spec else self.read(_locate(self.spec["source"]))
        after = f"{self.marker}\n" + self.edit(text, self.changes)
        # authselect dates what it writes, each time anew. A copy with the same rules stays.
        same = "source" in self.spec and self.is_ours(before) and _rules(before) == _rules(after)
        return self.change(before, before if same else after)

    def unwanted(self) -> Change:
        before = self.disk.read(self.path)
        return self.change(before, None if self.is_ours(before) else before)


class _Block(_File):
    """Lines that come first in a file, ahead of what others wrote there."""

    def wanted(self, replace: bool) -> Change:
        real = self.disk.follow(self.path)
        before = self.disk.read(real)
        return self.change(before, self._block(self.spec["block"]) + self._without_block(before or ""), real)

    def unwanted(self) -> Change:
        real = self.disk.follow(self.path)
        before = self.disk.read(real)
        after = self._without_block(before) if before else before
        # A file in which there was nothing else was made by us.
        return self.change(before, after if after or after == before else None, real)

    def _block(self, lines: str) -> str:
        return f"{self.marker} (begin)\n{lines}{self.marker} (end)\n"

    def _without_block(self, text: str) -> str:
        begin, end = map(re.escape, self._block("\0").split("\0"))
        return re.sub(f"{begin}(?s:.*?){end}", "", text, count=1)


class _Edited(_File):
    """A file that is edited where it stands, or copied from a vendor directory and the copy edited."""

    def wanted(self, replace: bool) -> Change:
        real = self.disk.follow(self.path)
        before = self.disk.read(real)
        if before is None:
            return self.change(None, self._copy_of(_locate(os.path.basename(self.path))), real)
        copied = _COPY_LINE.match(before)
        if copied and (vendors := self._vendors()) and self._is_pristine(before, copied):
            return self.change(before, self._copy_of(vendors), real)
        return self.change(before, self.edit(before, self.changes), real)

    def unwanted(self) -> Change | None:
        if not os.path.exists(self.path):
            return None
        real = self.disk.follow(self.path)
        before = self.read(real)
        copied = _COPY_LINE.match(before)
        # Without a file of its own, the service would fall to the file other.
        if copied and self._vendors() and self._is_pristine(before, copied):
            return self.change(before, None, real)
        body = before[copied.end() :] if copied else before
        return self.change(before, self.edit(body, _opposite(self.changes)), real)

    def _vendors(self) -> str | None:
        """The file that libpam would read if this one were not there; an update may have moved it."""
        directory, name = os.path.split(self.path)
        others = [other for other in _pam_libpam.node_libpam()["confdirs"] if other != directory]
        return _pam_libpam.locate(name, {"confdirs": others})

    def _copy_of(self, source: str) -> str:
        text = self.read(source)
        return _COPY.format(source=source, digest=_digest(text)) + self.edit(text, self.changes)

    def _is_pristine(self, text: str, copied: re.Match[str]) -> bool:
        """Whether nobody but us has changed a copy since it was made."""
        body = self.edit(text[copied.end() :], _opposite(self.changes), "the copy")
        return _digest(body) == copied["digest"]


# By the key that tells them; a file that has none of them is edited.
_KINDS = {"link": _Link, "contents": _Text, "source": _Text, "block": _Block}


def _file(spec: Mapping[str, Any], disk: Disk, marker: str) -> _File:
    kind = next((kind for key, kind in _KINDS.items() if key in spec), _Edited)
    return kind(spec, disk, marker)


def _rules(text: str) -> list[str]:
    """The lines of a file that libpam takes for something, as they are written."""
    entries = _pam_grammar.parsed(text, _pam_libpam.node_libpam())
    return [entry["text"] for entry in entries if entry["kind"] not in ("comment", "blank")]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _locate(name: str) -> str:
    """The file of that name that libpam would read."""
    if path := _pam_libpam.locate(name):
        return path
    raise PamError(
        f"There is no PAM file {name} in {', '.join(_pam_libpam.node_libpam()['confdirs'])}. Nothing was changed. "
        "If this node names its common stacks otherwise, say so in the settings"
    )


# The way back from an edit


def _retargeted_back(change: dict) -> dict:
    names = change["retarget"]
    return {**change, "retarget": {**names, "from": names["to"], "to": names["from"]}, "missing": "ok"}


_OPPOSITES = {"retarget": _retargeted_back}


def _opposite(changes: list[dict]) -> list[dict]:
    """The edits that undo these, the last one first."""
    back = []
    for change in reversed(changes):
        operation = next((name for name in _OPPOSITES if name in change), None)
        if operation is None:
            raise PamError(f"There is no way back from the edit {change}; it has to be undone by hand")
        try:
            back.append(_OPPOSITES[operation](change))
        except (KeyError, TypeError) as error:
            raise PamUsageError(f"{change} is not an edit that can be undone") from error
    return back


# What is named


class _Naming(NamedTuple):
    """A line that names a file."""

    path: str
    entry: dict
    target: str  # as libpam looks for it


class _Tree:
    """The node's PAM files as libpam finds them, with others laid over those that are there."""

    def __init__(self, laid_over: dict[str, Content]) -> None:
        self._libpam = _pam_libpam.node_libpam()
        self._laid_over = laid_over
        self._files = Files(laid_over)
        self._found: dict[str, tuple[str, Sequence[dict]] | None] = {}

    def find(self, file: str) -> tuple[str, Sequence[dict]] | None:
        """The first file that opens, as its path and its entries."""
        if file not in self._found:
            # An absolute name stays what it is.
            paths = (os.path.join(directory, file) for directory in self._libpam["confdirs"])
            self._found[file] = next(filter(None, map(self._open, paths)), None)
        return self._found[file]

    def _open(self, path: str) -> tuple[str, Sequence[dict]] | None:
        try:
            text = self._files.text(path)
        except PamError:
            return None
        return None if text is None else (path, _pam_grammar.parsed(text, self._libpam))

    def naming(self) -> Iterator[tuple[str, _Naming]]:
        """Every line that a service comes to and that names a file, each with the name of its own file."""
        waiting, seen = self._services(), set()
        while waiting:
            file = waiting.pop()
            if file not in seen:
                seen.add(file)
                for line in self.lines(file):
                    yield file, line
                    waiting.append(line.target)

    def lines(self, file: str) -> list[_Naming]:
        path, entries = self.find(file) or (file, [])
        return [_Naming(path, entry, self._asked_for(entry)) for entry in entries if entry["kind"] == "include"]

    def _services(self) -> list[str]:
        directories = self._libpam["confdirs"]
        there = {name for directory in filter(os.path.isdir, directories) for name in os.listdir(directory)}
        there |= {os.path.basename(path) for path in self._laid_over if os.path.dirname(path) in directories}
        return [name for name in there if not _LEFT_OVER.fullmatch(name)]

    def _asked_for(self, entry: dict) -> str:
        """Debian looks for a file that is included in the first directory alone."""
        target = entry["target"]
        return os.path.join(self._libpam["confdirs"][0], target) if self._libpam["debian"] else target


def _refuse_missing(pending: list[Change]) -> None:
    """No line names a file that is not there, but for those that do so already."""
    if not pending:
        return
    before, after = _Tree({}), _Tree(_overlay(pending))
    problems = {}
    for file, line in after.naming():
        goes = before.find(line.target) is not None
        if after.find(line.target) is None and (goes or line.target not in {old.target for old in before.lines(file)}):
            problems[line.path, line.entry["line"]] = _missing(line, goes)
    if problems:
        told = "\n".join(problem for _, problem in sorted(problems.items()))
        raise PamError(f"PAM files would name files that are not there. Nothing was changed.\n{told}")


def _missing(line: _Naming, goes: bool) -> str:
    target, text = line.entry["target"], " ".join(line.entry["text"].split())
    place = f"- {line.path}:{line.entry['line']} ({text})"
    if goes:
        return (
            f"{place} names {target}, which would go. Take that line out, let it name another file, or move the file "
            "that it is in elsewhere if no service uses it. If other settings had it written, take it back with those"
        )
    return (
        f"{place} would name {target}, which is not there. Put that file in place, or see to it that one is named that "
        "is there: in the settings, or where this line comes from"
    )


# What is proven


def prove(policy: list[dict], pending: list[Change]) -> None:
    """
    Raise PamError unless every scenario holds for the new files, and what also held before, after each single write.
    """
    if not policy:
        return
    final = _pam_prove.prove(policy, files=_overlay(pending))
    violated = [scenario for scenario in final if not scenario["holds"]]
    if violated:
        told = "\n".join(_counterexample(scenario) for scenario in violated)
        raise PamError(f"The new PAM files would not do what they should. Nothing was written.\n{told}")
    if not pending:
        return
    held = {scenario["name"] for scenario in _pam_prove.prove(policy) if scenario["holds"]}
    lasting = [scenario for scenario in policy if scenario["name"] in held]
    for count in range(1, len(pending)):
        for scenario in _pam_prove.prove(lasting, files=_overlay(pending[:count])):
            if not scenario["holds"]:
                raise PamError(
                    f"Between writing {pending[count - 1]['path']} and {pending[count]['path']}, this would not hold. "
                    f"Nothing was written.\n{_counterexample(scenario)}"
                )


def _overlay(changes: Iterable[Change]) -> dict[str, Content]:
    return {change["path"]: change["after"] for change in changes}


def _counterexample(scenario: dict) -> str:
    return f"- {scenario['name']}: {scenario['counterexample']['why']}"
