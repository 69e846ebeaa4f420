"""
Check or bring about settings in slurm.conf.

slurm.conf must be the same on a whole cluster, so :py:func:`checked` is what a compute node mostly needs;
:py:func:`managed` edits it. Neither restarts a daemon: watch :py:func:`managed` from a ``service.running`` for slurmd.

.. versionadded:: 1.0.0
"""

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


def managed(name, settings, path=None, use_pam=None, tag="salt"):
    """
    Bring these settings about in slurm.conf, or in the file it includes where the effective value stands. Values
    found in a list stay, and so does every other byte; each edit is marked, so that :py:func:`absent` can take it back.

    name
        Free to choose.

    settings
        As for :py:func:`checked`.

    path
        The slurm.conf to edit; found by itself where not given.

    use_pam
        True or False sets UsePAM, None leaves it alone.

    tag
        A word that marks what is written as ours.

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
        already = f"slurm.conf has what is needed already: {', '.join(settings)}"
        return ret | _written(_planned(settings, path, tag), already)
    except (CommandExecutionError, SaltInvocationError) as exc:
        return ret | _failed(exc)


def absent(name, path=None, tag="salt"):
    """
    Take back what :py:func:`managed` brought about with this tag: edited lines are again what they were.

    name
        Free to choose.

    path, tag
        As for :py:func:`managed`.

    .. versionadded:: 1.0.0

    .. code-block:: yaml

        slurm_conf_absent:
          slurm_conf.absent: []
    """
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    try:
        return ret | _written(_planned({}, path, tag), f"Nothing of {tag} is in slurm.conf")
    except (CommandExecutionError, SaltInvocationError) as exc:
        return ret | {"comment": str(exc)}


def _planned(settings, path, tag):
    """What becomes of the files, as file_transaction takes it."""
    files = __salt__["slurm_conf.plan"](settings, path, tag)
    places = {file: __salt__["file_transaction.follow"](file) for file in files}
    before = {file: __salt__["file_transaction.read"](place) for file, place in places.items()}
    # What was read for the plan is what is there: a text to come has every byte of the one that was.
    if __salt__["slurm_conf.plan"](settings, path, tag) != files:
        raise CommandExecutionError("slurm.conf is just being changed. Nothing was changed here. Apply again")
    return [{"path": places[file], "before": before[file], "after": text} for file, text in files.items()]


def _written(changes, already):
    """Write the files, or say what would be written."""
    told = __salt__["file_transaction.diff"](changes)
    if not told:
        return {"result": True, "comment": already}
    if __opts__["test"]:
        return {"result": None, "changes": told, "comment": f"Would change {', '.join(told)}"}
    __salt__["file_transaction.commit"](changes)
    comment = (
        f"Changed {', '.join(told)}. It counts once slurmctld and slurmd are restarted. Give the whole cluster the "
        "same text: slurmctld logs every node whose slurm.conf differs from its own, be it in a comment."
    )
    return {"result": True, "changes": told, "comment": comment}


def _failed(exc):
    """A node whose packages are still to come is nothing to fail a dry run for."""
    if __opts__["test"] and isinstance(exc, CommandExecutionError) and not __salt__["cmd.which"]("slurmd"):
        return {"result": None, "comment": f"Waits for Slurm to be installed: {exc}"}
    return {"result": False, "comment": str(exc)}


def _must(wanted):
    return f"contain {', '.join(wanted)}" if isinstance(wanted, list) else f"be {wanted}"
