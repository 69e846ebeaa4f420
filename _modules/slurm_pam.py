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
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

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
    """The arguments that the state slurm_pam.ready gets on this node."""
    chunks = __salt__["state.show_low_sls"]("slurm_pam.ready")
    for chunk in chunks:
        if isinstance(chunk, dict) and chunk["__id__"] == "slurm_pam-ready":
            return chunk
    raise CommandExecutionError(f"The settings cannot be rendered: {chunks}")


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


def preflight(given: Any = None, settings: Mapping[str, Any] | None = None) -> list[str]:
    """
    Everything that stands against applying these settings to this node, one sentence each; an empty list where nothing
    does. Changes nothing.

    given
        The pillar ``slurm_pam`` as it came; this node's where it is not given.
    settings
        The merged settings of the formula; this node's where none are given.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.preflight

    .. versionadded:: 1.0.0
    """
    if settings is None:
        mine = _rendered()
        given, settings = mine["given"], mine["settings"]
    problems = __salt__["slurm_pam_settings.problems"](given, settings, slurm_version())
    if problems:
        return problems
    return [
        *_not_a_compute_node(settings),
        *_refused_by_sshd(settings["sshd"]),
        *_misread_policy(settings["pam"]["policy"]),
    ]


def unusable_modules(settings: Mapping[str, Any] | None = None) -> list[str]:
    """
    The PAM modules that the settings ask for and this node's libpam cannot use, one sentence each: they are not where
    it looks, or do not load, as happens after an update of Slurm.

    settings
        The merged settings of the formula; this node's where none are given.

    A module that libpam cannot load answers PAM_MODULE_UNKNOWN (libpam/pam_dispatch.c), which a required rule takes for
    a denial: everyone would be turned away. They are loaded in a child process, as libpam would.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.unusable_modules

    .. versionadded:: 1.0.0
    """
    settings = settings or __salt__["slurm_pam.settings"]()
    directories = __salt__["pam_stack.libpam"]()["module_dirs"]
    problems, paths = [], []
    for module in __salt__["slurm_pam_plan.modules"](settings):
        found = [path for path in (os.path.join(place, module) for place in directories) if os.path.exists(path)]
        paths += found[:1]
        if not found:
            problems.append(
                f"{module} is in none of the directories that libpam looks in ({', '.join(directories)}), so that "
                "every login would fail. Install the package that has it (slurm_pam:packages), or look where it is"
            )
    return [*problems, *_not_loading(paths)]


# Debian's builds rely on the symbols of the libpam that loads them.
_LOAD = """
import ctypes, sys
ctypes.CDLL("libpam.so.0", mode=ctypes.RTLD_GLOBAL)
for path in sys.argv[1:]:
    try:
        ctypes.CDLL(path)
    except OSError as problem:
        print(path, problem, sep="\\t")
"""


def _not_loading(paths: list[str]) -> Iterator[str]:
    # Salt's own Python; a crash in the module's start-up code stays in the child.
    child = _run(sys.executable, "-I", "-S", "-c", _LOAD, *paths)
    if child.returncode != 0:
        yield f"Loading {' '.join(paths)} failed: {child.stderr.strip() or child.returncode}"
    for line in child.stdout.splitlines():
        path, problem = line.split("\t", 1)
        yield (
            f"{path} does not load: {problem}. Every login would fail. Install what is missing; after an update of "
            "Slurm, the package with its PAM modules has to be of the same version"
        )


def slurm_version() -> str | None:
    """
    The version of the installed Slurm, such as ``22.05.8``; nothing where slurmd is not installed.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.slurm_version

    .. versionadded:: 1.0.0
    """
    slurmd = shutil.which("slurmd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if slurmd is None:
        return None
    found = re.search(r"\d+\.\d+(?:\.\d+)?", _run(slurmd, "-V").stdout)
    return found[0] if found else None


def _run(*words: str) -> subprocess.CompletedProcess:
    """A child process that asks and changes nothing."""
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


def _not_a_compute_node(settings: Mapping[str, Any]) -> Iterator[str]:
    """A login node or a controller would be closed to everyone who works there."""
    unit = settings["slurm"]["service"]
    if not settings["require_slurmd"]:
        return
    shown = _run("systemctl", "show", "-p", "ActiveState,UnitFileState", unit).stdout
    state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if state.get("ActiveState") != "active" and state.get("UnitFileState") not in ("enabled", "enabled-runtime"):
        yield (
            f"slurm_pam:require_slurmd is true, but this node does not run slurmd: the unit {unit} is "
            f"{state.get('ActiveState') or 'unknown'} and {state.get('UnitFileState') or 'not installed'}. On a login "
            "node or a controller everyone would be turned away. Enable slurmd first, or, where this is a compute node "
            "all the same, set slurm_pam:require_slurmd: false"
        )


def _refused_by_sshd(sshd: Mapping[str, Any]) -> Iterator[str]:
    """sshd itself says what it makes of the options, before anything is changed."""
    if not sshd["manage"]:
        return
    options = {name: value for name, value in sshd["options"].items() if value is not None}
    try:
        files = __salt__["sshd_config.plan"](options, sshd["config"], sshd["drop_in"], tag="slurm_pam")
        # Options that are in force already have been accepted already.
        if files:
            __salt__["sshd_config.check"](options, sshd["config"], files)
    except (CommandExecutionError, SaltInvocationError) as problem:
        yield f"slurm_pam:sshd:options: {problem}. Allowed are options of sshd_config(5) that sshd accepts"


def _misread_policy(policy: list[dict]) -> Iterator[str]:
    """Whether the site's own scenarios hold is another matter; here they only have to be scenarios."""
    try:
        __salt__["pam_verdict.prove"](policy)
    except SaltInvocationError as problem:
        yield f"slurm_pam:pam:policy: {problem}"


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


def audit() -> dict[str, Any]:
    """
    Whether this node is as the settings want it. Changes nothing.

    Returns ``{"holds": bool, "summary": str, "findings": [{"subject", "found", "changes"}]}``. A finding is what an
    apply would change (``subject`` is the state's ID), or what stands in its way. It is the apply itself that tells,
    run with test=True, so that nothing can be right here and wrong there.

    With ``--retcode-passthrough`` the exit status is 0 where it holds and 1 where it does not, for health checks.

    CLI Example:

    .. code-block:: bash

        salt-call --retcode-passthrough slurm_pam.audit

    .. versionadded:: 1.0.0
    """
    # concurrent: an audit may be part of an apply. The pillar keeps mode audit from asking for another audit.
    results = __salt__["state.sls"]("slurm_pam", test=True, concurrent=True, pillar={"slurm_pam_auditing": True})
    if not isinstance(results, dict):
        raise CommandExecutionError(f"The states cannot be rendered: {results}")
    findings = [
        {"subject": result["__id__"], "found": result["comment"], "changes": result["changes"]}
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
        # A job that only holds an allocation has no process of its user's; then slurmctld has to say.
        answer = _run("squeue", "--noheader", "--format=%A %u", f"--jobs={','.join(unknown)}")
        for line in answer.stdout.splitlines():
            job, user = line.split()
            found[int(job)]["user"] = user
    return [found[job] for job in sorted(found)]


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
