"""
What this node is: whether it may be closed, whether it is as it should be, and who gets in.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

# On a command line, where nothing else is asked for: each rule and each proof as one block.
__outputter__ = {"prove": "yaml", "explain": "yaml"}

# What this node's settings are


def settings(origins: bool = False) -> dict[str, Any]:
    """
    The settings that this node ends up with.

    origins
        Say for each where it comes from: ``{"slurm_pam:mode": {"value": "enforce", "from": "defaults.yaml"}}``.

    They are taken from the rendered ``slurm_pam.ready``, so that there is one way in which they are merged.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.settings origins=True

    .. versionadded:: 1.0.0
    """
    mine = _rendered()
    if not origins:
        return mine["settings"]
    partitions = mine["given"].get("partitions", {})
    layers = [
        ("defaults.yaml", _data_file("defaults.yaml")),
        (f"platforms.yaml:{__grains__['os_family']}", _data_file("platforms.yaml").get(__grains__["os_family"], {})),
        ("pillar slurm_pam", mine["given"]),
        *((f"pillar slurm_pam:partitions:{name}", partitions[name].get("settings", {})) for name in mine["partitions"]),
    ]
    return {
        ":".join(("slurm_pam", *path)): {
            "value": value,
            "from": next(source for source, layer in reversed(layers) if _has(layer, path)),
        }
        for path, value in _leaves(mine["settings"])
    }


def _rendered() -> dict[str, Any]:
    """What slurm_pam.ready is rendered to on this node: ``given``, ``partitions`` and ``settings``."""
    chunks = __salt__["state.show_low_sls"]("slurm_pam.ready")
    mine = [chunk for chunk in chunks if isinstance(chunk, dict)]
    if len(mine) != len(chunks):
        raise CommandExecutionError(f"The settings cannot be rendered: {chunks}")
    return {key: chunk[key] for chunk in mine for key in ("given", "partitions", "settings") if key in chunk}


def _data_file(name: str) -> dict[str, Any]:
    return __salt__["slsutil.renderer"](f"salt://slurm_pam/{name}", default_renderer="yaml")


def _leaves(mapping: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _has(layer: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(layer, Mapping) or key not in layer:
            return False
        layer = layer[key]
    return True


# Whether this node may be changed


def preflight(given: Any = None, settings: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """
    Everything that stands against applying these settings to this node: what is wrong with the settings, and where
    nothing is, what :py:func:`slurm_pam_preflight.findings <salt.modules.slurm_pam_preflight.findings>` finds on the
    node. Changes nothing.

    given
        The pillar ``slurm_pam`` as it came; this node's where it is not given.
    settings
        The merged settings of the formula; this node's where none are given.

    Returns ``{"problems": [...], "warnings": [...]}``.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.preflight

    .. versionadded:: 1.0.0
    """
    if settings is None:
        mine = _rendered()
        given, settings = mine["given"], mine["settings"]
    version = __salt__["slurm_pam_preflight.slurm_version"]()
    wrong = __salt__["slurm_pam_settings.problems"](given, settings, version)
    if wrong:
        return {"problems": wrong, "warnings": []}
    found = __salt__["slurm_pam_preflight.findings"](settings)
    return {**found, "problems": [*__salt__["slurm_pam_places.moved"](settings), *found["problems"]]}


# Whether it stays


def confirm() -> str:
    """
    The last apply stays: it was made with the setting ``confirm``, and the node no longer takes it back by itself.

    Raises CommandExecutionError where nothing waits to be confirmed, and says why.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.confirm

    .. versionadded:: 1.0.0
    """
    if __salt__["slurm_pam_confirm.pending"]() is None:
        taken_back = __salt__["slurm_pam_confirm.taken_back"]()
        raise CommandExecutionError(
            "Nothing waits to be confirmed"
            if taken_back is None
            else f"Too late: the last apply was taken back at {time.strftime('%F %T', time.localtime(taken_back))}"
        )
    __salt__["slurm_pam_confirm.disarm"]()
    return "Confirmed: this node stays as it is"


# Whether it is as it should be


_FINDING = {"subject": "__id__", "result": "result", "found": "comment", "changes": "changes"}


def audit(given: Any = None, saltenv: str = "base") -> dict[str, Any]:
    """
    Whether this node is as the settings want it. Changes nothing.

    given
        The pillar ``slurm_pam`` as it came; this node's where it is not given.
    saltenv
        Where the formula is.

    Returns ``{"holds": bool, "summary": str, "findings": [{"subject", "result", "found", "changes"}]}``. A finding is
    what an apply would change (``subject`` is the state's ID, ``result`` is null), or what stands in its way
    (``result`` is false). It is the apply itself that tells, run with test=True, so that nothing can be right here and
    wrong there.

    With ``--retcode-passthrough`` the exit status is 0 where it holds and 1 where it does not, for health checks.

    CLI Example:

    .. code-block:: bash

        salt-call --retcode-passthrough slurm_pam.audit

    .. versionadded:: 1.0.0
    """
    # The pillar keeps mode audit from asking for another audit.
    pillar = {"slurm_pam_auditing": True, **({} if given is None else {"slurm_pam": given})}
    # concurrent: an audit may be part of an apply.
    results = __salt__["state.sls"]("slurm_pam", saltenv=saltenv, test=True, concurrent=True, pillar=pillar)
    if not isinstance(results, dict):
        raise CommandExecutionError(f"The states cannot be rendered: {results}")
    findings = [
        {key: result[source] for key, source in _FINDING.items()}
        for result in sorted(results.values(), key=lambda result: result["__run_num__"])
        if result["result"] is not True and "requisite failed" not in result["comment"]
    ]
    count = len(findings)
    summary = (
        "This node is as it should be" if not count else f"{count} of {len(results)} states are not as they should be"
    )
    __context__["retcode"] = int(bool(findings))
    return {"holds": not findings, "summary": summary, "findings": findings}


def prove() -> list[dict]:
    """
    The policy of the formula and of the site, held against the PAM files as they are on this node now.

    Returns what :py:func:`pam_verdict.prove <salt.modules.pam_verdict.prove>` does: one entry for each scenario, with a
    counterexample where it does not hold. The exit status is as for :py:func:`audit`.

    CLI Example:

    .. code-block:: bash

        salt-call --retcode-passthrough slurm_pam.prove

    .. versionadded:: 1.0.0
    """
    proofs = __salt__["pam_verdict.prove"](__salt__["slurm_pam_plan.stacks"]()["policy"])
    __context__["retcode"] = int(not all(proof["holds"] for proof in proofs))
    return proofs


# Who has a job here


def jobs() -> list[dict[str, Any]]:
    """
    The jobs that run on this node, as its own step daemons know them, whether slurmd and slurmctld answer or not.

    Returns ``[{"job": 4711, "user": "alice", "extern": True}]``: ``extern`` is whether there is an extern step to adopt
    sessions into, and ``user`` is None where nothing on this node tells.

    Source: ``scontrol listpids``, scontrol(1), and the owners of what it lists.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.jobs

    .. versionadded:: 1.0.0
    """
    if shutil.which("scontrol") is None:
        return []
    found: dict[int, dict[str, Any]] = {}
    for line in _run("scontrol", "listpids").stdout.splitlines()[1:]:
        pid, job, step = line.split()[:3]
        entry = found.setdefault(int(job), {"job": int(job), "user": None, "extern": False})
        entry["extern"] |= step == "extern"
        entry["user"] = entry["user"] or _owner(pid)
    unknown = [str(job) for job, entry in found.items() if entry["user"] is None]
    if unknown:
        # A job that only holds an allocation has no process of its user's; then slurmctld has to say, if it answers.
        answer = _run("squeue", "--noheader", "--format=%A %u", f"--jobs={','.join(unknown)}", timeout=5)
        for line in answer.stdout.splitlines():
            job, user = line.split()
            if int(job) in found:  # with one job of an array it lists the others as well
                found[int(job)]["user"] = user
    return [found[job] for job in sorted(found)]


def _run(*words: str, timeout: int = 30) -> subprocess.CompletedProcess:
    """A child process that asks and changes nothing; one that hangs has said nothing."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"no answer within {timeout} seconds")


def _owner(pid: str) -> str | None:
    """The user that a step's process belongs to: its own, or by its cgroup where it is Slurm's placeholder."""
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
        if uid == 0:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as groups:
                in_path = re.search(r"/uid_(\d+)/", groups.read())
            uid = int(in_path[1]) if in_path else 0
        return pwd.getpwuid(uid).pw_name if uid else None
    except (OSError, KeyError):
        return None


def explain(user: str, origin: str = "127.0.0.1") -> dict[str, Any]:
    """
    Whether a user would get in over SSH from an origin, now, and why; see :py:func:`slurm_pam_explain.login
    <salt.modules.slurm_pam_explain.login>`.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.explain alice 192.0.2.1

    .. versionadded:: 1.0.0
    """
    return __salt__["slurm_pam_explain.login"](user, origin, settings())
