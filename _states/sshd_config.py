"""
Bring about options of sshd, and take them back.

Nothing is written that ``sshd -t`` refuses or that would not count, and sshd is not reloaded here: watch these states
from a ``service.running`` with ``reload: True``, which keeps open sessions open.

.. versionadded:: 1.0.0
"""

import difflib
import os
import tempfile

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
        files = __salt__["sshd_config.plan"](options, config, drop_in, tag)
        findings = __salt__["sshd_config.check"](options, config, files)
        before = {path: _read(path) for path in files}
    except (CommandExecutionError, SaltInvocationError) as exc:
        return ret | _failed(exc)
    if findings:
        return ret | {"comment": f"Nothing is written, because it would not count: {_told(findings)}"}
    if not files:
        return ret | {"result": True, "comment": f"sshd has these options already: {', '.join(options)}"}
    return ret | _transaction(before, files, lambda: __salt__["sshd_config.check"](options, config))


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
        files = __salt__["sshd_config.plan"]({}, config, drop_in, tag)
        before = {path: _read(path) for path in files}
        # Where sshd has been removed, what is ours goes all the same.
        if files and __salt__["cmd.which"]("sshd"):
            __salt__["sshd_config.test_config"](config, files)
    except (CommandExecutionError, SaltInvocationError) as exc:
        return ret | {"comment": str(exc)}
    if not files:
        return ret | {"result": True, "comment": f"Nothing of {tag} is in sshd's configuration"}
    return ret | _transaction(before, files, list)


def _transaction(before, files, findings):
    """Write the files, or say what would be written; put everything back where ``findings`` has something to say."""
    changes = {path: _diff(path, before[path] or "", text or "") for path, text in files.items()}
    if __opts__["test"]:
        return {"result": None, "changes": changes, "comment": f"Would write {', '.join(files)}"}
    written = {}
    try:
        for path, text in files.items():
            if _read(path) != before[path]:
                raise CommandExecutionError(f"{path} was changed while this ran: apply again")
            written[path] = before[path]
            _write(path, text)
        wrong = _told(findings())
    except (CommandExecutionError, OSError) as exc:
        wrong = str(exc)
    if wrong:
        return {"comment": f"{wrong}. {_restore(written)}"}
    return {"result": True, "changes": changes, "comment": f"Wrote {', '.join(files)}. Reload sshd for it to count."}


def _failed(exc):
    """A node whose packages are still to come is nothing to fail a dry run for."""
    if __opts__["test"] and isinstance(exc, CommandExecutionError) and not __salt__["cmd.which"]("sshd"):
        return {"result": None, "comment": f"Waits for sshd to be installed: {exc}"}
    return {"comment": str(exc)}


def _told(findings):
    advice = {f["by"]: f": {f['by']} sets it, change that line" for f in findings if f["by"]}
    return "; ".join(f"{f['option']} is {f['found']}, not {f['wanted']}{advice.get(f['by'], '')}" for f in findings)


def _read(path):
    if not os.path.lexists(path):
        return None
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as handle:
        return handle.read()


def _diff(path, old, new):
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), path, path)
    return "".join(lines).encode("utf-8", "replace").decode()


def _write(path, text):
    """Replace or remove the file; a replaced one keeps its mode, owner and label, and the link it may be."""
    if text is None:
        os.unlink(path)
        return
    new = {} if os.path.exists(path) else {"mode": "0600", "user": "root", "group": "root", "makedirs": True}
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="surrogateescape", newline="") as source:
        source.write(text)
        source.flush()
        done = __states__["file.managed"](os.path.realpath(path), source=source.name, show_changes=False, **new)
    if not done["result"]:
        raise CommandExecutionError(done["comment"])


def _restore(before):
    """Put back what has been written; say how that went."""
    try:
        for path, text in before.items():
            if _read(path) != text:
                _write(path, text)
    except (CommandExecutionError, OSError) as exc:
        return f"Putting back what had been written failed as well: {exc}. Look at {', '.join(before)}"
    return "Nothing is changed"
