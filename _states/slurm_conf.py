"""
Check or bring about settings in slurm.conf.

slurm.conf must be the same on a whole cluster, so :py:func:`checked` is what a compute node mostly needs;
:py:func:`managed` edits it. Neither restarts a daemon: watch :py:func:`managed` from a ``service.running`` for slurmd.

.. versionadded:: 1.0.0
"""

import difflib
import os
import tempfile

from salt.exceptions import CommandExecutionError, SaltInvocationError


def checked(name, settings, path=None, timeout=5):
    """
    Fail unless these settings are in effect. Never changes anything.

    name
        Free to choose.

    settings
        ``{key: value}``: a list means that these must be among the key's values, anything else that the value is this
        one; both without regard to case.

    path
        The slurm.conf to read where slurmctld does not answer; found by itself where not given.

    timeout
        How many seconds slurmctld has to answer.

    .. versionadded:: 1.0.0

    .. code-block:: yaml

        slurm_conf_checked:
          slurm_conf.checked:
            - settings:
                PrologFlags: [Contain]
                ProctrackType: proctrack/cgroup
    """
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    try:
        findings = __salt__["slurm_conf.check"](settings, path, timeout)
    except (CommandExecutionError, SaltInvocationError) as exc:
        return ret | _failed(exc)
    if not findings:
        return ret | {"result": True, "comment": f"slurm.conf has what is needed: {', '.join(settings)}"}
    says = [
        f"{f['key']} is {'not set' if f['found'] is None else f['found']} ({f['source']}), must {_must(f['wanted'])}"
        for f in findings
    ]
    advice = "Change slurm.conf on the whole cluster, then restart slurmctld and every slurmd."
    return ret | {"comment": "; ".join(says) + f". {advice}"}


def managed(name, settings, path=None, use_pam=None):
    """
    Bring these settings about in slurm.conf, or in the file it includes where the effective value stands. Values
    found in a list stay, and so does every other byte.

    name
        Free to choose.

    settings
        As for :py:func:`checked`.

    path
        The slurm.conf to edit; found by itself where not given.

    use_pam
        True or False sets UsePAM, None leaves it alone.

    .. versionadded:: 1.0.0

    .. code-block:: yaml

        slurm_conf_managed:
          slurm_conf.managed:
            - settings:
                PrologFlags: [Contain]
            - use_pam: true
    """
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    try:
        if use_pam is not None:
            settings = {**settings, "UsePAM": use_pam}
        files = __salt__["slurm_conf.plan"](settings, path)
        before = {file: _read(file) for file in files}
    except (CommandExecutionError, SaltInvocationError) as exc:
        return ret | _failed(exc)
    if not files:
        return ret | {"result": True, "comment": f"slurm.conf has what is needed already: {', '.join(settings)}"}
    changes = {file: _diff(file, before[file], text) for file, text in files.items()}
    if __opts__["test"]:
        return ret | {"result": None, "changes": changes, "comment": f"Would change {', '.join(files)}"}
    written = {}
    try:
        for file, text in files.items():
            if _read(file) != before[file]:
                raise CommandExecutionError(f"{file} was changed while this ran")
            written[file] = before[file]
            _write(file, text)
    except (CommandExecutionError, OSError) as exc:
        return ret | {"comment": f"Could not change {', '.join(files)}: {exc}. {_restore(written)}"}
    comment = f"Changed {', '.join(files)}. It counts once slurmctld and slurmd are restarted."
    return ret | {"result": True, "changes": changes, "comment": comment}


def _failed(exc):
    """A node whose packages are still to come is nothing to fail a dry run for."""
    if __opts__["test"] and isinstance(exc, CommandExecutionError) and not __salt__["cmd.which"]("slurmd"):
        return {"result": None, "comment": f"Waits for Slurm to be installed: {exc}"}
    return {"result": False, "comment": str(exc)}


def _must(wanted):
    return f"contain {', '.join(wanted)}" if isinstance(wanted, list) else f"be {wanted}"


def _read(path):
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as handle:
        return handle.read()


def _diff(path, old, new):
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), path, path)
    return "".join(lines).encode("utf-8", "replace").decode()


def _write(path, text):
    """Replace the file, keeping its mode, owner and label, and the link it may be."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="surrogateescape", newline="") as source:
        source.write(text)
        source.flush()
        done = __states__["file.managed"](os.path.realpath(path), source=source.name, show_changes=False)
    if not done["result"]:
        raise CommandExecutionError(done["comment"])


def _restore(before):
    """Put back what a write that failed half way has changed; say how that went."""
    try:
        for path, text in before.items():
            if _read(path) != text:
                _write(path, text)
    except (CommandExecutionError, OSError) as exc:
        return f"Putting back what had been written failed as well: {exc}. Look at {', '.join(before)}"
    return "Nothing is changed: see that they can be written, and apply again"
