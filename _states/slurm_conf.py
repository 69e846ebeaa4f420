"""
Check or bring about settings in slurm.conf.

slurm.conf must be the same on a whole cluster, so :py:func:`checked` is what a compute node mostly needs;
:py:func:`managed` edits it. Neither restarts a daemon: watch :py:func:`managed` from a ``service.running`` for slurmd.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

_WHAT_FOLLOWS = (
    "It counts once slurmctld and slurmd are restarted. Give the whole cluster the same text: slurmctld logs every "
    "node whose slurm.conf differs from its own, even in a comment."
)


def checked(name: str, settings: Mapping[str, Any], path: str | None = None, timeout: float = 5) -> dict[str, Any]:
    """
    The settings are in effect; if they are not, the state fails. Nothing is ever changed.

    name
        Not used; a label.
    settings
        ``{key: value}``: a list means that these must be among the key's values, anything else that the value is this
        one, both without regard to case.
    path
        The slurm.conf to read if slurmctld does not answer; found by itself if not given.
    timeout
        How many seconds slurmctld has to answer.

    .. code-block:: yaml

        slurm_conf_checked:
          slurm_conf.checked:
            - settings:
                PrologFlags: [Contain]
                ProctrackType: proctrack/cgroup

    .. versionadded:: 1.0.0
    """
    ret = _failed(name)
    try:
        findings = __salt__["slurm_conf.check"](settings, path, timeout)
    except (CommandExecutionError, SaltInvocationError) as error:
        return ret | _unless_it_waits(error, path)
    if not findings:
        return ret | {"result": True, "comment": f"slurm.conf has what is needed: {', '.join(settings)}"}
    advice = "Change slurm.conf on the whole cluster, then restart slurmctld and every slurmd."
    return ret | {"comment": f"{'; '.join(map(_told, findings))}. {advice}"}


def managed(
    name: str,
    settings: Mapping[str, Any],
    path: str | None = None,
    use_pam: bool | None = None,
    tag: str = "salt",
) -> dict[str, Any]:
    """
    The settings are in slurm.conf, or in the file it includes where the effective value stands. Values found in a list
    stay, and so does every other byte; each edit is marked, so that :py:func:`absent` can take it back.

    name
        Not used; a label.
    settings
        As for :py:func:`checked`.
    path
        The slurm.conf to edit; found by itself if not given.
    use_pam
        True or False sets UsePAM, None leaves it alone.
    tag
        A word that marks what is written as ours.

    .. code-block:: yaml

        slurm_conf_managed:
          slurm_conf.managed:
            - settings:
                PrologFlags: [Contain]
            - use_pam: true

    .. versionadded:: 1.0.0
    """
    ret = _failed(name)
    try:
        if use_pam is not None:
            settings = {**settings, "UsePAM": use_pam}
        return ret | _written(settings, path, tag, f"slurm.conf has what is needed already: {', '.join(settings)}")
    except (CommandExecutionError, SaltInvocationError) as error:
        return ret | _unless_it_waits(error, path)


def absent(name: str, path: str | None = None, tag: str = "salt") -> dict[str, Any]:
    """
    What :py:func:`managed` brought about with this tag is taken back: edited lines are again what they were.

    name
        Not used; a label.
    path, tag
        As for :py:func:`managed`.

    .. code-block:: yaml

        slurm_conf_absent:
          slurm_conf.absent: []

    .. versionadded:: 1.0.0
    """
    ret = _failed(name)
    try:
        return ret | _written({}, path, tag, f"slurm.conf has no edits of {tag}")
    except (CommandExecutionError, SaltInvocationError) as error:
        return ret | {"comment": str(error)}


def _failed(name: str) -> dict[str, Any]:
    """What a state returns until it knows better."""
    return {"name": name, "result": False, "changes": {}, "comment": ""}


def _written(settings: Mapping[str, Any], path: str | None, tag: str, already: str) -> dict[str, Any]:
    ret = __salt__["file_transaction.bring_about"](_planned(settings, path, tag), __opts__["test"])
    told = ", ".join(ret["changes"])
    if not told:
        return ret | {"comment": already}
    return ret | {"comment": f"Would change {told}" if __opts__["test"] else f"Changed {told}. {_WHAT_FOLLOWS}"}


def _planned(settings: Mapping[str, Any], path: str | None, tag: str) -> list[dict[str, Any]]:
    """What becomes of the files, as file_transaction takes it."""
    files = __salt__["slurm_conf.plan"](settings, path, tag)
    places = {file: __salt__["file_transaction.follow"](file) for file in files}
    before = {file: __salt__["file_transaction.read"](place) for file, place in places.items()}
    if settings and files:
        __salt__["slurm_conf.test_config"](path, files)
    # What was read for the plan is what is there: a text to come has every byte of the one that was.
    if __salt__["slurm_conf.plan"](settings, path, tag) != files:
        raise CommandExecutionError("slurm.conf is just being changed. Nothing was changed here. Apply again")
    return [{"path": places[file], "before": before[file], "after": text} for file, text in files.items()]


def _unless_it_waits(error: Exception, path: str | None) -> dict[str, Any]:
    """Why the state fails. A node whose packages, and slurm.conf with them, are to come fails no dry run."""
    if __opts__["test"] and isinstance(error, CommandExecutionError) and not __salt__["cmd.which"]("slurmd"):
        try:
            __salt__["slurm_conf.find"](path)
        except CommandExecutionError:
            return {"result": None, "comment": f"Waits for Slurm to be installed: {error}"}
    return {"comment": str(error)}


def _told(finding: Mapping[str, Any]) -> str:
    found, wanted = finding["found"], finding["wanted"]
    now = "not set" if found is None else found
    must = f"contain {', '.join(wanted)}" if isinstance(wanted, list) else f"be {wanted}"
    return f"{finding['key']} is {now} ({finding['source']}), must {must}"
