"""
Bring about options of sshd, and take them back.

Nothing is written that ``sshd -t`` refuses or that would not count, and sshd is not reloaded here: watch these states
from a ``service.running`` with ``reload: True``, which keeps open sessions open.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

_DROP_IN = "/etc/ssh/sshd_config.d/00-salt.conf"


def managed(
    name: str,
    options: Mapping[str, Any],
    config: str | None = None,
    drop_in: str | None = _DROP_IN,
    tag: str = "salt",
) -> dict[str, Any]:
    """
    The options are in effect: by a drop-in if sshd reads it before whatever else sets them, else by edits of the main
    file ahead of its first Include and Match. :py:func:`absent` can take both back to the byte.

    name
        Not used; a label.
    options
        ``{keyword: value}``. A value is a string, a number, a boolean or a list of words; None leaves the keyword
        alone.
    config
        The main file; by default the one that sshd reads.
    drop_in
        The path of the drop-in, None for none.
    tag
        A word that marks what is written as ours.

    .. code-block:: yaml

        sshd_options:
          sshd_config.managed:
            - options:
                UsePAM: true
                PermitRootLogin: prohibit-password

    .. versionadded:: 1.0.0
    """
    ret = _failed(name)
    try:
        changes, files = _planned(options, config, drop_in, tag)
        findings = __salt__["sshd_config.check"](options, config, files)
        if findings:
            return ret | {"comment": f"Nothing is written, because it would not count: {_told(findings)}"}
        if not files:
            already = f"sshd has these options already: {', '.join(options)}"
            return ret | _unchanged(changes, config, drop_in, already)
        done = _written(changes, files, lambda: __salt__["sshd_config.check"](options, config))
        return ret | done | {"comment": " ".join([done["comment"], *_why_not(drop_in, config, files)])}
    except (CommandExecutionError, SaltInvocationError) as error:
        return ret | _unless_it_waits(error)


def absent(
    name: str, config: str | None = None, drop_in: str | None = _DROP_IN, tag: str = "salt"
) -> dict[str, Any]:
    """
    What :py:func:`managed` brought about with this tag is taken back: the drop-in goes, edited lines are again what
    they were.

    name
        Not used; a label.
    config, drop_in, tag
        As for :py:func:`managed`.

    .. code-block:: yaml

        sshd_options_absent:
          sshd_config.absent: []

    .. versionadded:: 1.0.0
    """
    ret = _failed(name)
    try:
        changes, files = _planned({}, config, drop_in, tag)
        # If sshd has been removed, what is ours goes all the same.
        if files and __salt__["cmd.which"]("sshd"):
            __salt__["sshd_config.test_config"](config, files)
        if not files:
            return ret | _unchanged(changes, config, drop_in, f"sshd's configuration has no edits of {tag}")
        return ret | _written(changes, files, list)
    except (CommandExecutionError, SaltInvocationError) as error:
        return ret | {"comment": str(error)}


def _failed(name: str) -> dict[str, Any]:
    """What a state returns until it knows better."""
    return {"name": name, "result": False, "changes": {}, "comment": ""}


def _planned(
    options: Mapping[str, Any], config: str | None, drop_in: str | None, tag: str
) -> tuple[list[dict[str, Any]], dict[str, str | None]]:
    """What becomes of the main file and the drop-in, as file_transaction takes it, and as sshd_config's plan has it."""
    places = _places(config, drop_in)
    # Read before the plan is made, so that nothing is lost that somebody changes in between.
    before = {path: __salt__["file_transaction.read"](real) for path, real in places.items()}
    if isinstance(before.get(drop_in), dict):
        raise CommandExecutionError(f"{drop_in} is a link. Nothing was changed. Remove it, or put a file in its place")
    if drop_in:
        # Refuses what others than root can change.
        __salt__["file_transaction.follow"](drop_in)
    files = __salt__["sshd_config.plan"](options, config, drop_in, tag)
    after = files | {path: text for path, text in before.items() if path not in files}
    changes = [
        {"path": places[path], "before": before[path], "after": text, "mode": 0o600} for path, text in after.items()
    ]
    return changes, files


def _why_not(drop_in: str | None, config: str | None, files: Mapping[str, str | None]) -> list[str]:
    """Why the main file is edited, if a drop-in was to be had and sshd would not read it."""
    if not drop_in or not any(text is not None for path, text in files.items() if path != drop_in):
        return []
    unread = not __salt__["sshd_config.reads"](drop_in, config, files)
    return [f"sshd does not read {drop_in}: nothing includes it."] if unread else []


def _places(config: str | None, drop_in: str | None) -> dict[str, str]:
    """Where the files really are, by the names that sshd has for them."""
    places = {drop_in: drop_in} if drop_in else {}
    # If there is no main file, the plan says what follows from that.
    with contextlib.suppress(CommandExecutionError):
        main = __salt__["sshd_config.find"](config)
        places[main] = __salt__["file_transaction.follow"](main)
    return places


def _unchanged(
    changes: Sequence[Mapping[str, Any]], config: str | None, drop_in: str | None, comment: str
) -> dict[str, Any]:
    """Nothing is to be written; but a run that was killed may have left something, or not have come to the reload."""
    ret = __salt__["file_transaction.bring_about"](changes, __opts__["test"])
    unread = _unread(changes, config, drop_in)
    if not unread:
        return ret | {"comment": comment}
    return {
        "result": None if __opts__["test"] else True,
        "changes": {"sshd": {"old": f"has not read {', '.join(unread)}", "new": "to be reloaded"}},
        "comment": f"{comment}. Reload sshd for it to count.",
    }


def _unread(changes: Iterable[Mapping[str, Any]], config: str | None, drop_in: str | None) -> list[str]:
    """What has changed since the running sshd wrote its PID file, as it does at every start and reload: sshd(8)."""
    if not __salt__["cmd.which"]("sshd"):
        return []
    pid_file = __salt__["sshd_config.effective"](config).get("pidfile", ["none"])[0]
    paths = [change["path"] for change in changes] + ([os.path.dirname(drop_in)] if drop_in else [])
    return __salt__["file_transaction.newer"](paths, pid_file)


def _written(
    changes: Sequence[Mapping[str, Any]], files: Iterable[str], look_again: Callable[[], list[dict[str, Any]]]
) -> dict[str, Any]:
    """Write the files, or say what would be written; put everything back if the second look finds something."""
    ret = __salt__["file_transaction.bring_about"](changes, __opts__["test"])
    if __opts__["test"]:
        return ret | {"comment": f"Would write {', '.join(files)}"}
    if wrong := _wrong(look_again):
        back = [{**change, "before": change["after"], "after": change["before"]} for change in reversed(changes)]
        __salt__["file_transaction.commit"](back)
        return {"comment": f"{wrong}. Everything is as it was"}
    return ret | {"comment": f"Wrote {', '.join(files)}. Reload sshd for it to count."}


def _wrong(look_again: Callable[[], list[dict[str, Any]]]) -> str:
    try:
        return _told(look_again())
    except CommandExecutionError as error:
        return str(error)


def _unless_it_waits(error: Exception) -> dict[str, Any]:
    """Why the state fails. A node whose packages are still to come is nothing to fail a dry run for."""
    if __opts__["test"] and isinstance(error, CommandExecutionError) and not __salt__["cmd.which"]("sshd"):
        return {"result": None, "comment": f"Waits for sshd to be installed: {error}"}
    return {"comment": str(error)}


def _told(findings: Iterable[Mapping[str, Any]]) -> str:
    advice = {finding["by"]: f": {finding['by']} sets it, change that line" for finding in findings if finding["by"]}
    return "; ".join(
        f"{finding['option']} is {finding['found']}, not {finding['wanted']}{advice.get(finding['by'], '')}"
        for finding in findings
    )
