"""
Bring about options of sshd, and take them back.

Nothing is written that ``sshd -t`` refuses or that would not count, and sshd is not reloaded here: watch these states
from a ``service.running`` with ``reload: True``, which keeps open sessions open.

.. versionadded:: 1.0.0
"""

import contextlib
import os

from salt.exceptions import CommandExecutionError, SaltInvocationError

_DROP_IN = "/etc/ssh/sshd_config.d/00-salt.conf"


def managed(name, options, config=None, drop_in=_DROP_IN, tag="salt"):
    """
    Bring these options about, in a drop-in where sshd reads it before whatever else sets them, else by edits of the
    main file ahead of its first Include and Match that :py:func:`absent` can take back to the byte.

    name
        Free to choose.

    options
        ``{keyword: value}``, a value being a string, a number, a boolean or a list of words; None leaves the keyword
        alone.

    config
        The main file; by default the one that sshd reads.

    drop_in
        The path of the drop-in, None for none.

    tag
        A word that marks what is written as ours.

    .. versionadded:: 1.0.0

    .. code-block:: yaml

        sshd_options:
          sshd_config.managed:
            - options:
                UsePAM: true
                PermitRootLogin: prohibit-password
    """
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    try:
        changes, files = _planned(options, config, drop_in, tag)
        findings = __salt__["sshd_config.check"](options, config, files)
        if findings:
            return ret | {"comment": f"Nothing is written, because it would not count: {_told(findings)}"}
        if not files:
            already = f"sshd has these options already: {', '.join(options)}"
            return ret | _unchanged(changes, config, drop_in, already)
        return ret | _written(changes, files, lambda: __salt__["sshd_config.check"](options, config))
    except (CommandExecutionError, SaltInvocationError) as exc:
        return ret | _failed(exc)


def absent(name, config=None, drop_in=_DROP_IN, tag="salt"):
    """
    Take back what :py:func:`managed` brought about with this tag: the drop-in goes, edited lines are again what they
    were.

    name
        Free to choose.

    config, drop_in, tag
        As for :py:func:`managed`.

    .. versionadded:: 1.0.0

    .. code-block:: yaml

        sshd_options_absent:
          sshd_config.absent
    """
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    try:
        changes, files = _planned({}, config, drop_in, tag)
        # Where sshd has been removed, what is ours goes all the same.
        if files and __salt__["cmd.which"]("sshd"):
            __salt__["sshd_config.test_config"](config, files)
        if not files:
            return ret | _unchanged(changes, config, drop_in, f"Nothing of {tag} is in sshd's configuration")
        return ret | _written(changes, files, list)
    except (CommandExecutionError, SaltInvocationError) as exc:
        return ret | {"comment": str(exc)}


def _planned(options, config, drop_in, tag):
    """What becomes of the main file and the drop-in, as file_transaction takes it, and as sshd_config's plan has it."""
    # Read before the plan is made, so that nothing is lost that somebody changes in between.
    before = {path: __salt__["file_transaction.read"](real) for path, real in _places(config, drop_in).items()}
    if isinstance(before.get(drop_in), dict):
        raise CommandExecutionError(f"{drop_in} is a link. Nothing was changed. Remove it, or put a file in its place")
    if drop_in:
        __salt__["file_transaction.follow"](drop_in)  # refuses what others than root can change
    files = __salt__["sshd_config.plan"](options, config, drop_in, tag)
    changes = [
        {"path": _places(config, drop_in)[path], "before": before[path], "after": text, "mode": 0o600}
        for path, text in {**files, **{path: text for path, text in before.items() if path not in files}}.items()
    ]
    return changes, files


def _places(config, drop_in):
    """Where the files really are, by the names that sshd has for them."""
    places = {drop_in: drop_in} if drop_in else {}
    # Where there is no main file, the plan says what follows from that.
    with contextlib.suppress(CommandExecutionError):
        main = __salt__["sshd_config.find"](config)
        places[main] = __salt__["file_transaction.follow"](main)
    return places


def _unchanged(changes, config, drop_in, comment):
    """Nothing to write; but a run that was killed may not have come to the reload."""
    if not __opts__["test"]:
        __salt__["file_transaction.commit"](changes)
    unread = _unread(changes, config, drop_in)
    if not unread:
        return {"result": True, "comment": comment}
    return {
        "result": None if __opts__["test"] else True,
        "changes": {"sshd": {"old": f"has not read {', '.join(unread)}", "new": "to be reloaded"}},
        "comment": f"{comment}. Reload sshd for it to count.",
    }


def _unread(changes, config, drop_in):
    """What has changed since the running sshd wrote its PID file, as it does at every start and reload: sshd(8)."""
    if not __salt__["cmd.which"]("sshd"):
        return []
    pid_file = __salt__["sshd_config.effective"](config).get("pidfile", ["none"])[0]
    paths = [change["path"] for change in changes] + ([os.path.dirname(drop_in)] if drop_in else [])
    return __salt__["file_transaction.newer"](paths, pid_file)


def _written(changes, files, findings):
    """Write the files, or say what would be written; put everything back where ``findings`` has something to say."""
    told = __salt__["file_transaction.diff"](changes)
    if __opts__["test"]:
        return {"result": None, "changes": told, "comment": f"Would write {', '.join(files)}"}
    __salt__["file_transaction.commit"](changes)
    if wrong := _wrong(findings):
        back = [{**change, "before": change["after"], "after": change["before"]} for change in reversed(changes)]
        __salt__["file_transaction.commit"](back)
        return {"comment": f"{wrong}. Everything is as it was"}
    return {"result": True, "changes": told, "comment": f"Wrote {', '.join(files)}. Reload sshd for it to count."}


def _wrong(findings):
    try:
        return _told(findings())
    except CommandExecutionError as exc:
        return str(exc)


def _failed(exc):
    """A node whose packages are still to come is nothing to fail a dry run for."""
    if __opts__["test"] and isinstance(exc, CommandExecutionError) and not __salt__["cmd.which"]("sshd"):
        return {"result": None, "comment": f"Waits for sshd to be installed: {exc}"}
    return {"comment": str(exc)}


def _told(findings):
    advice = {f["by"]: f": {f['by']} sets it, change that line" for f in findings if f["by"]}
    return "; ".join(f"{f['option']} is {f['found']}, not {f['wanted']}{advice.get(f['by'], '')}" for f in findings)
