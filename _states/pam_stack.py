"""
A set of PAM files as one transaction: all are computed and proven before the first is written.

Files are written in the order given, each by a rename, so the files that a service includes come first and the
service's own file last: at no instant does a service name a file that is not there. ``absent`` takes the same list and
goes the other way round.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from salt.exceptions import CommandExecutionError

MARKER = "# Managed by Salt"
# The first line of a service file that was copied from a vendor directory: what it was copied from, as it was then.
_COPY = "# Copied by Salt from {source}, sha256 {digest}\n"
_COPY_LINE = re.compile(r"# Copied by Salt from (?P<source>\S+), sha256 (?P<digest>[0-9a-f]{64})\n")


# As file_transaction has them: what stands at a path, and what is to become of it.
Thing = str | dict[str, str] | None
Change = dict[str, Any]


def managed(
    name: str,
    files: list[dict],
    policy: list[dict] | None = None,
    marker: str = MARKER,
    replace: bool = False,
) -> dict[str, Any]:
    """
    The files are as described, all of them or none.

    name
        What the files are for; for the reader.
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
        laid over the rest of the node's PAM configuration. Nothing is written unless all of them hold. A scenario that
        holds before and after holds after each single write as well.
    marker
        The first line of each file with ``contents`` or ``source``. A file without it is somebody else's.
    replace
        Whether such a file of somebody else's is replaced.

    .. code-block:: yaml

        sshd-asks-pam_access:
          pam_stack.managed:
            - files:
                - path: /etc/pam.d/sshd
                  changes:
                    - insert: account required pam_access.so
                      at: last

    .. versionadded:: 1.0.0
    """
    return _transaction(name, files, lambda: list(_wanted(files, marker, replace)), policy or [])


def absent(name: str, files: list[dict], marker: str = MARKER) -> dict[str, Any]:
    """
    What :py:func:`managed` did to the files is taken back, in the opposite order.

    Files with ``contents`` or ``source`` and links are removed, in so far as they are still ours. A file that was
    edited gets the opposite edits; a copy of a vendor's file is removed if nobody else has changed it.

    name
        What the files are for; for the reader.
    files, marker
        As for ``managed``.

    .. code-block:: yaml

        sshd-as-it-was:
          pam_stack.absent:
            - files:
                - path: /etc/pam.d/sshd
                  changes:
                    - insert: account required pam_access.so
                      at: last

    .. versionadded:: 1.0.0
    """
    return _transaction(name, files, lambda: list(_unwanted(files[::-1], marker)), [])


def _transaction(
    name: str, files: list[dict], compute: Callable[[], list[Change]], policy: list[dict]
) -> dict[str, Any]:
    ret: dict[str, Any] = {
        "name": name,
        "result": True,
        "changes": {},
        "comment": "All PAM files are as they should be",
    }
    try:
        plan = compute()
        changes = __salt__["file_transaction.diff"](plan)
        _prove(policy, [change for change in plan if change["path"] in changes])
        if not __opts__["test"]:
            __salt__["file_transaction.commit"](plan)
        if changes:
            result, verb = (None, "Would change ") if __opts__["test"] else (True, "Changed: ")
            ret.update(result=result, changes=changes, comment=verb + ", ".join(changes))
    except CommandExecutionError as problem:
        ret.update(result=False, changes={}, comment=f"{problem}")
    return ret


# What is wanted


def _wanted(files: list[dict], marker: str, replace: bool) -> Iterator[Change]:
    for spec in files:
        path = spec["path"]
        changes = spec.get("changes", [])
        if "link" in spec:
            before = _now(path)
            if isinstance(before, str) and not _is_ours(before, marker) and not replace:
                raise _not_ours(path)
            yield _change(path, before, {"link": spec["link"]})
        elif "contents" in spec or "source" in spec:
            before = _now(path)
            if before is not None and not (isinstance(before, str) and _is_ours(before, marker)) and not replace:
                raise _not_ours(path)
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
            ours = isinstance(before, str) and _is_ours(before, marker)
            yield _change(path, before, None if ours else before)
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


_OPPOSITES = {
    "retarget": lambda change: {
        **change,
        "retarget": {**change["retarget"], "from": change["retarget"]["to"], "to": change["retarget"]["from"]},
        "missing": "ok",
    },
}


def _opposite(changes: list[dict]) -> list[dict]:
    """The edits that undo these, the last one first."""
    back = []
    for change in reversed(changes):
        operation = next((name for name in _OPPOSITES if name in change), None)
        if operation is None:
            raise CommandExecutionError(f"There is no way back from the edit {change}; it has to be undone by hand")
        back.append(_OPPOSITES[operation](change))
    return back


def _edit(path: str, text: str, changes: list[dict]) -> str:
    try:
        return __salt__["pam_stack.edit"](text, changes) if changes else text
    except CommandExecutionError as problem:
        raise CommandExecutionError(f"{path}: {problem}") from problem


# What is there


def _is_ours(text: str, marker: str) -> bool:
    return text.startswith(marker + "\n")


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


def _now(path: str) -> Thing:
    """What stands at a path, without following a link."""
    return __salt__["file_transaction.read"](path)


def _followed(path: str) -> str:
    """The file that a link leads to; the link itself stays."""
    return __salt__["file_transaction.follow"](path)


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


def _overlay(plan: list[Change]) -> dict:
    return {change["path"]: change["after"] for change in plan}


def _counterexample(scenario: dict) -> str:
    return f"- {scenario['name']}: {scenario['counterexample']['why']}"
