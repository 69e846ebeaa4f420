"""
A set of PAM files as one transaction: what is to be written, computed and proven before the first file is touched.

These are functions of :py:mod:`pam_stack <salt.modules.pam_stack>`, whose grammar says what a line is.
:py:func:`file_transaction.commit <salt.modules.file_transaction.commit>` writes what they plan.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "pam_stack"

_MARKER = "# Managed by Salt"
# The first line of a service file that was copied from a vendor directory: what it was copied from, as it was then.
_COPY = "# Copied by Salt from {source}, sha256 {digest}\n"
_COPY_LINE = re.compile(r"# Copied by Salt from (?P<source>\S+), sha256 (?P<digest>[0-9a-f]{64})\n")

# No service has such a name: what an editor, a package manager or a killed run has left, or somebody has put aside.
_LEFT_OVER = re.compile(r"\..*|.*(~|\.(bak|old|orig|save|sw[op]|(rpm(new|orig|save)|dpkg-|ucf-).*))", re.IGNORECASE)

# As file_transaction has them: what stands at a path, and what is to become of it.
Thing = str | dict[str, str] | None
Change = dict[str, Any]


def __virtual__():  # noqa: N807
    return __virtualname__


# What is planned


def plan(
    files: list[dict], policy: list[dict] | None = None, marker: str = _MARKER, replace: bool = False
) -> list[Change]:
    """
    What has to be written for these files to be as described. Changes nothing.

    files
        In the order in which they are written. Each is a mapping with ``path`` and

        - ``contents``: the whole text, below the marker line; or
        - ``source``: a file of the search order (``common-session``) that it is derived from at every run; or
        - ``link``: the target of a symbolic link; or
        - ``block``: lines that come first in a file such as access.conf(5), ahead of all that others wrote there; or
        - none of these: the file itself is edited. Where only a vendor directory has it, its copy is.

        and, unless it is a link, ``changes``: edits in the form of :py:func:`pam_stack.edit
        <salt.modules.pam_stack.edit>`.
    policy
        Scenarios for :py:func:`pam_verdict.prove <salt.modules.pam_verdict.prove>` that the new files have to meet,
        laid over the rest of the node's PAM configuration: all of them after the last write. A scenario that holds
        before the first write also has to hold after each single one. One that does not, comes to hold with some write;
        what it is at until then, is not asked.
    marker
        The first line of each file with ``contents`` or ``source``. A file without it is somebody else's.
    replace
        Whether such a file of somebody else's is replaced.

    Returns ``[{"path", "before", "after"}]``, in the order of the files, as :py:func:`file_transaction.commit
    <salt.modules.file_transaction.commit>` takes it. A path that stays as it is, is among them.

    Raises CommandExecutionError, saying why and what to do, where a file cannot be what it is to be, where the policy
    would not hold, and where a line of any PAM file would name a file that is not there, unless it does so already.
    Raises SaltInvocationError for files, changes or a policy that are not understood.

    Source: pam.d(5), libpam/pam_handlers.c of Linux-PAM.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.plan '[{path: /etc/pam.d/sshd,
            changes: [{insert: account required pam_access.so, at: last}]}]'

    .. versionadded:: 1.0.0
    """
    _check(files)
    changes = list(_wanted(files, marker, replace))
    pending = [change for change in changes if change["before"] != change["after"]]
    _refuse_missing(pending)
    _prove(policy or [], pending)
    return changes


def plan_back(files: list[dict], marker: str = _MARKER) -> list[Change]:
    """
    What has to be written for what :py:func:`plan` planned to be taken back, in the opposite order. Changes nothing.

    files, marker
        As for :py:func:`plan`. Files with ``contents`` or ``source`` and links go, in so far as they are still ours. A
        file that was edited gets the opposite edits; a copy of a vendor's file goes if nobody else has changed it.

    Returns what :py:func:`plan` does, and raises what it does: also where there is no way back from an edit.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.plan_back '[{path: /etc/pam.d/site, contents: ""}]'

    .. versionadded:: 1.0.0
    """
    _check(files)
    changes = list(_unwanted(files[::-1], marker))
    _refuse_missing([change for change in changes if change["before"] != change["after"]])
    return changes


def _check(files: list[dict]) -> None:
    """The shape of what was given; what the edits say, pam_stack.edit looks at."""
    if not isinstance(files, list):
        raise SaltInvocationError(f"files are a list, not {files!r}")
    for spec in files:
        if not isinstance(spec, Mapping) or not isinstance(spec.get("path"), str):
            raise SaltInvocationError(f"a file is a mapping with a path, not {spec!r}")
        changes = spec.get("changes", [])
        if not isinstance(changes, list) or not all(isinstance(change, Mapping) for change in changes):
            raise SaltInvocationError(f"{spec['path']}: changes are a list of mappings, not {changes!r}")


# What is wanted


def _wanted(files: list[dict], marker: str, replace: bool) -> Iterator[Change]:
    for spec in files:
        path = spec["path"]
        changes = spec.get("changes", [])
        if "link" in spec:
            before, after = _now(path), {"link": spec["link"]}
            # A link of ours may lead elsewhere, to a file of ours.
            if before not in (None, after) and not _is_ours(_behind(path), marker) and not replace:
                raise _not_ours(path)
            yield _change(path, before, after)
        elif "contents" in spec or "source" in spec:
            before = _now(path)
            if before is not None and not _is_ours(before, marker) and not replace:
                raise _not_ours(path)
            if isinstance(before, str):
                # It keeps its owner and mode, so that who can write to it now still could.
                _followed(path)
            text = spec["contents"] if "contents" in spec else _read(_locate(spec["source"]))
            yield _change(path, before, f"{marker}\n" + _edit(path, text, changes))
        elif "block" in spec:
            real = _followed(path)
            before = _now(real)
            yield _change(real, before, _block(marker, spec["block"]) + _without_block(marker, before or ""))
        else:
            yield _edited(path, changes)


def _change(path: str, before: Thing, after: Thing) -> Change:
    return {"path": path, "before": before, "after": after}


def _block(marker: str, lines: str) -> str:
    return f"{marker} (begin)\n{lines}{marker} (end)\n"


def _without_block(marker: str, text: str) -> str:
    begin, end = map(re.escape, _block(marker, "\0").split("\0"))
    return re.sub(f"{begin}(?s:.*?){end}", "", text, count=1)


def _edited(path: str, changes: list[dict]) -> Change:
    """A file that is edited where it stands, or copied from a vendor directory and the copy edited."""
    real = _followed(path)
    before = _now(real)
    if before is None:
        source = _locate(os.path.basename(path))
        return _change(real, None, _copy_of(source, changes, path))
    copied = _COPY_LINE.match(before)
    if copied and _pristine(before, copied, changes) and os.path.exists(copied["source"]):
        return _change(real, before, _copy_of(copied["source"], changes, path))
    return _change(real, before, _edit(path, before, changes))


def _copy_of(source: str, changes: list[dict], path: str) -> str:
    text = _read(source)
    return _COPY.format(source=source, digest=_digest(text)) + _edit(path, text, changes)


def _pristine(text: str, copied: re.Match, changes: list[dict]) -> bool:
    """Whether nobody but us has changed a copy since it was made."""
    return _digest(_edit("the copy", text[copied.end() :], _opposite(changes))) == copied["digest"]


def _unwanted(files: list[dict], marker: str) -> Iterator[Change]:
    for spec in files:
        path = spec["path"]
        changes = spec.get("changes", [])
        if "link" in spec:
            before = _now(path)
            yield _change(path, before, None if before == {"link": spec["link"]} else before)
        elif "contents" in spec or "source" in spec:
            before = _now(path)
            yield _change(path, before, None if _is_ours(before, marker) else before)
        elif "block" in spec:
            real = _followed(path)
            before = _now(real)
            after = _without_block(marker, before) if before else before
            # A file in which there was nothing else was made by us.
            yield _change(real, before, after if after or after == before else None)
        elif os.path.exists(path):
            real = _followed(path)
            before = _read(real)
            copied = _COPY_LINE.match(before)
            if copied and _pristine(before, copied, changes):
                yield _change(real, before, None)
            else:
                body = before[copied.end() :] if copied else before
                yield _change(real, before, _edit(path, body, _opposite(changes)))


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
            raise CommandExecutionError(f"There is no way back from the edit {change}; it has to be undone by hand")
        try:
            back.append(_OPPOSITES[operation](change))
        except (KeyError, TypeError) as problem:
            raise SaltInvocationError(f"{change} is no edit that could be undone") from problem
    return back


def _edit(path: str, text: str, changes: list[dict]) -> str:
    try:
        return __salt__["pam_stack.edit"](text, changes) if changes else text
    except (CommandExecutionError, SaltInvocationError) as problem:
        raise type(problem)(f"{path}: {problem}") from problem


# What is there


def _is_ours(thing: Thing, marker: str) -> bool:
    return isinstance(thing, str) and thing.startswith(marker + "\n")


def _not_ours(path: str) -> CommandExecutionError:
    return CommandExecutionError(
        f"{path} is there already and was not written by this state. Nothing was changed. "
        "Move it away, or allow it to be replaced (replace: true)"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _locate(file: str) -> str:
    """The file of that name that libpam would read: the first in its search order."""
    directories = __salt__["pam_stack.libpam"]()["confdirs"]
    for directory in directories:
        path = os.path.join(directory, file)
        if os.path.exists(path):
            return path
    raise CommandExecutionError(
        f"There is no PAM file {file} in {', '.join(directories)}. Nothing was changed. "
        "If this node names its common stacks otherwise, say so in the settings"
    )


def _read(path: str) -> str:
    return _now(os.path.realpath(path))


def _behind(path: str) -> Thing:
    """What a path leads to, if that is a file."""
    try:
        return _read(path)
    except CommandExecutionError:
        return None


def _now(path: str) -> Thing:
    """What stands at a path, without following a link."""
    return __salt__["file_transaction.read"](path)


def _followed(path: str) -> str:
    """The file that a link leads to; the link itself stays."""
    return __salt__["file_transaction.follow"](path)


# What is named


class _Naming(NamedTuple):
    """A line that names a file."""

    path: str
    entry: dict
    target: str  # as libpam looks for it


class _Tree:
    """The node's PAM files as libpam finds them, with others laid over those that are there."""

    def __init__(self, laid_over: dict[str, Thing]) -> None:
        self._libpam = __salt__["pam_stack.libpam"]()
        self._laid_over = laid_over
        self._found: dict[str, tuple[str, list[dict]] | None] = {}

    def find(self, file: str) -> tuple[str, list[dict]] | None:
        """The first file that opens, as its path and its entries."""
        if file not in self._found:
            # An absolute name stays what it is.
            paths = (os.path.join(directory, file) for directory in self._libpam["confdirs"])
            self._found[file] = next(filter(None, map(self._open, paths)), None)
        return self._found[file]

    def _open(self, path: str) -> tuple[str, list[dict]] | None:
        try:
            return path, __salt__["pam_stack.read"](path, self._libpam, self._laid_over)
        except CommandExecutionError:
            return None

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
        raise CommandExecutionError(f"PAM files would name files that are not there. Nothing was changed.\n{told}")


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


def _prove(policy: list[dict], plan: list[Change]) -> None:
    """Every scenario holds for the new files, and what also held before holds after each single write."""
    if not policy:
        return
    prove = __salt__["pam_verdict.prove"]
    final = prove(policy, files=_overlay(plan))
    violated = [scenario for scenario in final if not scenario["holds"]]
    if violated:
        told = "\n".join(_counterexample(scenario) for scenario in violated)
        raise CommandExecutionError(f"The new PAM files would not do what they should. Nothing was written.\n{told}")
    if not plan:
        return
    held = {scenario["name"] for scenario in prove(policy) if scenario["holds"]}
    lasting = [scenario for scenario in policy if scenario["name"] in held]
    for count in range(1, len(plan)):
        for scenario in prove(lasting, files=_overlay(plan[:count])):
            if not scenario["holds"]:
                raise CommandExecutionError(
                    f"Between writing {plan[count - 1]['path']} and {plan[count]['path']}, this would not hold. "
                    f"Nothing was written.\n{_counterexample(scenario)}"
                )


def _overlay(plan: Iterable[Change]) -> dict:
    return {change["path"]: change["after"] for change in plan}


def _counterexample(scenario: dict) -> str:
    return f"- {scenario['name']}: {scenario['counterexample']['why']}"
