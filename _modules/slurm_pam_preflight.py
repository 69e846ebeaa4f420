"""
Whether this node may be closed: everything that stands against it, found before anything is changed.

Each finding says what was found, why it matters and what to do. A problem stops an apply; a warning does not.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import functools
import grp
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from salt.exceptions import CommandExecutionError, SaltInvocationError


class Finding(NamedTuple):
    """What was found, why it matters, and what to do about it."""

    found: str
    why: str
    do: str
    kind: str = "problems"


def findings(settings: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """
    All that stands against closing this node with these settings, which are taken to be of the right shape (see
    :py:func:`slurm_pam_settings.problems <salt.modules.slurm_pam_settings.problems>`). Changes nothing.

    settings
        The merged settings of the formula; this node's where none are given.

    Returns ``{"problems": [...], "warnings": [...]}``, one text for each finding.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_preflight.findings

    .. versionadded:: 1.0.0
    """
    settings = settings or __salt__["slurm_pam.settings"]()
    told: dict[str, list[str]] = {"problems": [], "warnings": []}
    for look in (_role, _modules, _slurm_conf, _jobs, _administrators, _sshd, _stacks, _policy):
        for finding in look(settings):
            told[finding.kind].append(f"{finding.found}. {finding.why}. {finding.do}")
    return told


def slurm_version() -> str | None:
    """
    The version of the installed Slurm, such as ``22.05.8``; nothing where slurmd is not installed.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_preflight.slurm_version

    .. versionadded:: 1.0.0
    """
    slurmd = _slurmd()
    return _version_of(slurmd, os.stat(slurmd).st_mtime_ns) if slurmd else None


@functools.lru_cache(maxsize=1)
def _version_of(slurmd: str, _changed: int) -> str | None:
    """What the program says of itself; asked once for as long as it stays the same file."""
    found = re.search(r"\d+\.\d+(?:\.\d+)?", _run(slurmd, "-V").stdout)
    return found[0] if found else None


def _slurmd() -> str | None:
    return shutil.which("slurmd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _run(*words: str) -> subprocess.CompletedProcess:
    """A child process that asks and changes nothing."""
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


# What kind of node this is


def _role(settings: Mapping[str, Any]) -> Iterator[Finding]:
    unit = settings["slurm"]["service"]
    slurmd, controller = _units(unit, "slurmctld")
    runs = slurmd.get("ActiveState") == "active" or slurmd.get("UnitFileState") in ("enabled", "enabled-runtime")
    if settings["require_slurmd"] and not runs:
        yield Finding(
            "slurm_pam:require_slurmd is true, but this node does not run slurmd: the unit "
            f"{unit} is {slurmd.get('ActiveState') or 'unknown'} and {slurmd.get('UnitFileState') or 'not installed'}",
            "On a login node or a controller everyone would be turned away",
            "Enable slurmd first, or, where this is a compute node all the same, set slurm_pam:require_slurmd: false",
        )
    if controller.get("ActiveState") == "active":
        yield Finding(
            "slurmctld runs on this node",
            "Whoever works on the controller without being an administrator needs a job on it from now on",
            "If that is not meant, take this node out of the formula's target and apply slurm_pam.clean to it",
            "warnings",
        )


def _units(*names: str) -> list[dict[str, str]]:
    """What systemd knows of each unit: ActiveState and UnitFileState."""
    shown = _run("systemctl", "show", "--property=ActiveState,UnitFileState", *names).stdout.split("\n\n")
    units = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in shown]
    return units + [{}] * (len(names) - len(units))


# The PAM modules


def unusable_modules(settings: Mapping[str, Any] | None = None) -> list[str]:
    """
    The PAM modules that the settings ask for and this node's libpam cannot use, one text each: they are not where it
    looks, do not load, or belong to another release of Slurm than slurmd, as happens after an update.

    settings
        The merged settings of the formula; this node's where none are given.

    A module that libpam cannot load answers PAM_MODULE_UNKNOWN (libpam/pam_dispatch.c), which a required rule takes for
    a denial: everyone would be turned away. They are loaded in a child process, as libpam would.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_preflight.unusable_modules

    .. versionadded:: 1.0.0
    """
    paths = _module_paths(settings or __salt__["slurm_pam.settings"]())
    missing = [_not_there(module) for module, path in paths.items() if path is None]
    return [f"{f.found}. {f.why}. {f.do}" for f in [*missing, *_unusable(filter(None, paths.values()))]]


def _modules(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Modules that a package of these settings will bring need not be there yet."""
    paths = _module_paths(settings)
    to_come = settings["packages"]["manage"] and settings["packages"][settings["module"]]
    for module, path in paths.items():
        if path is None and not (to_come and module == f"{settings['module']}.so"):
            yield _not_there(module)
    yield from _unusable(filter(None, paths.values()))


def _module_paths(settings: Mapping[str, Any]) -> dict[str, str | None]:
    """The file that libpam takes for each module, or None."""
    directories = __salt__["pam_stack.libpam"]()["module_dirs"]
    return {
        module: next(filter(os.path.exists, (os.path.join(place, module) for place in directories)), None)
        for module in __salt__["slurm_pam_plan.modules"](settings)
    }


def _not_there(module: str) -> Finding:
    directories = ", ".join(__salt__["pam_stack.libpam"]()["module_dirs"])
    return Finding(
        f"{module} is in none of the directories that libpam looks in ({directories})",
        "Every login would fail",
        "Install the package that has it (slurm_pam:packages), or look where it is",
    )


# Debian's builds rely on the symbols of the libpam that loads them.
_LOAD = """
import ctypes, sys
ctypes.CDLL("libpam.so.0", mode=ctypes.RTLD_GLOBAL)
for path in sys.argv[1:]:
    try:
        module = ctypes.CDLL(path)
    except OSError as problem:
        print(path, "does not load", problem, sep="\\t")
    else:
        if hasattr(module, "slurm_api_version"):
            module.slurm_api_version.restype = ctypes.c_long
            print(path, "libslurm", module.slurm_api_version() >> 16, sep="\\t")
"""
# Each release's number of the library (META in Slurm's sources); others are not compared.
_LIBSLURM = {"20.11": 36, "21.08": 37, "22.05": 38, "23.02": 39, "23.11": 40, "24.05": 41, "24.11": 42}


def _unusable(paths: Iterator[str]) -> Iterator[Finding]:
    paths = list(paths)
    update = "Install what is missing; the package with Slurm's PAM modules has to be of the same version as slurmd"
    # Salt's own Python; a crash in the module's start-up code stays in the child.
    child = _run(sys.executable, "-I", "-S", "-c", _LOAD, *paths)
    if child.returncode != 0:
        reason = child.stderr.strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
        yield Finding(f"Loading {' '.join(paths)} failed: {reason[0]}", "Every login would fail", update)
    for line in child.stdout.splitlines():
        path, what, detail = line.split("\t", 2)
        if what == "does not load":
            yield Finding(f"{path} does not load: {detail}", "Every login would fail", update)
        else:
            yield from _of_another_release(path, int(detail))


def _of_another_release(path: str, libslurm: int) -> Iterator[Finding]:
    version = slurm_version()
    wanted = _LIBSLURM.get(".".join(version.split(".")[:2])) if version else None
    if wanted not in (None, libslurm):
        yield Finding(
            f"{path} uses libslurm {libslurm}, but slurmd is {version}, whose libslurm is {wanted}",
            "It may not understand the step daemons of this slurmd, and turn away users with a job",
            "Install the package with Slurm's PAM modules in the version of slurmd",
        )


# slurm.conf


def _slurm_conf(settings: Mapping[str, Any]) -> Iterator[Finding]:
    slurm, packages = settings["slurm"], settings["packages"]
    if slurm["manage"] == "keep" or (packages["manage"] and packages["node"] and _slurmd() is None):
        return
    wanted = {key: value for key, value in slurm["settings"].items() if value is not None}
    if slurm["use_pam"]:
        wanted["UsePAM"] = "1"
    try:
        if slurm["manage"] == "enforce":
            __salt__["slurm_conf.plan"](wanted, slurm["conf"])
            return
        lacking = __salt__["slurm_conf.check"](wanted, slurm["conf"], timeout=2)
    except (CommandExecutionError, SaltInvocationError) as problem:
        yield Finding(
            f"slurm_pam:slurm: {problem}",
            "Whether sessions can be put into their jobs is written there",
            "Say where it is (slurm_pam:slurm:conf), or set slurm_pam:slurm:manage: keep",
        )
        return
    for setting in lacking:
        now = "is not set" if setting["found"] is None else f"is {setting['found']}"
        wanted = setting["wanted"]
        must = f"has to contain {', '.join(wanted)}" if isinstance(wanted, list) else f"has to be {wanted}"
        yield Finding(
            f"{setting['key']} {now} ({setting['source']}), and {must}",
            "Without it there is nothing to put a session into",
            "Change slurm.conf on the whole cluster and restart slurmctld and every slurmd, or set "
            "slurm_pam:slurm:manage: enforce",
        )


# Jobs that are running already


def _jobs(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """pam_slurm_adopt sees a job by its extern step, which a job has that started after PrologFlags=Contain was set."""
    if settings["module"] != "pam_slurm_adopt" or settings["mode"] == "adopt":
        return
    unseen = [job for job in __salt__["slurm_pam.jobs"]() if not job["extern"]]
    if unseen:
        names = ", ".join(f"{job['job']} of {job['user'] or 'an unknown user'}" for job in unseen)
        yield Finding(
            f"Jobs run on this node without an extern step: {names}",
            "Started before PrologFlags=Contain was in force, they are no jobs to pam_slurm_adopt, and their own users "
            "are turned away",
            "Drain this node and apply when they have ended, or apply with slurm_pam:mode: adopt until then",
            # On a node that is closed already, refusing would help nobody.
            "warnings" if _is_closed(settings) else "problems",
        )


def _is_closed(settings: Mapping[str, Any]) -> bool:
    rules = __salt__["pam_stack.expand"](settings["pam"]["service"])["types"]["account"]
    return any(os.path.basename(rule["module"] or "") == f"{settings['module']}.so" for rule in rules)


# Administrators


def _administrators(settings: Mapping[str, Any]) -> Iterator[Finding]:
    access = settings["access"]
    doubts = dict(_administrator_doubts(access))
    real = [path for path, doubt in doubts.items() if doubt is None]
    advice = "Look whether the names are right, and whether LDAP or SSSD answers (getent)"
    doubtful = "; ".join(f"slurm_pam:access:{path}: {doubt}" for path, doubt in doubts.items() if doubt)
    if doubtful and not real and not access["root_only"]:
        yield Finding(
            f"No administrator exists on this node. {doubtful}",
            "Nobody but root could get in when Slurm is broken",
            f"{advice}, or set slurm_pam:access:root_only: true",
        )
    elif doubtful:
        yield Finding(doubtful, "Nobody gets in by that", advice, "warnings")
    for name, group in access["groups"].items():
        unknown = [member for member in (group or {}).get("members", []) if not _is_user(member)]
        if unknown and group.get("local", True):
            yield Finding(
                f"slurm_pam:access:groups:{name}:members has {', '.join(unknown)}, and this node knows no such user",
                f"The local group {name} could not be completed",
                "Make the user first, or take it out of the list",
            )


def _administrator_doubts(access: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Each entry of the settings, and why nobody may be behind it."""
    for name, user in access["users"].items():
        if user is not None:
            yield f"users:{name}", None if _is_user(name) else "this node knows no such user"
    for name, group in access["groups"].items():
        if group is not None:
            yield f"groups:{name}", _group_doubt(name, group)


def _group_doubt(name: str, group: Mapping[str, Any]) -> str | None:
    try:
        known = grp.getgrnam(name)
    except KeyError:
        known = None
    if not group.get("local", True):
        if known is None:
            return "this node knows no such group"
        if not known.gr_mem:
            return None  # SSSD may be told not to list members (ignore_group_members)
    if any(map(_is_user, [*(known.gr_mem if known else ()), *group.get("members", [])])):
        return None
    if known and any(user.pw_gid == known.gr_gid for user in pwd.getpwall()):
        return None
    return "it has no member that this node knows"


def _is_user(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


# sshd


def _sshd(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """What sshd will do with the options that are going to be written, or does already where they are not managed."""
    sshd, files = settings["sshd"], {}
    try:
        if sshd["manage"]:
            options = {name: value for name, value in sshd["options"].items() if value is not None}
            files = __salt__["sshd_config.plan"](options, sshd["config"], sshd["drop_in"], tag="slurm_pam")
            # Options that are in force already have been accepted already.
            if files:
                __salt__["sshd_config.check"](options, sshd["config"], files)
        values = __salt__["sshd_config.effective"](sshd["config"], None, files)
    except (CommandExecutionError, SaltInvocationError) as problem:
        yield Finding(
            f"slurm_pam:sshd:options: {problem}",
            "With such a configuration sshd does not start again, or lets nobody in",
            "Allowed are, there and in sshd's own files, the options of sshd_config(5) with values that sshd accepts",
        )
        return
    yield from _sshd_values({name: " ".join(words) for name, words in values.items()}, settings["pam"]["service"])


# What each method of AuthenticationMethods needs (sshd_config(5)).
_METHODS = {
    "publickey": "pubkeyauthentication",
    "password": "passwordauthentication",
    "keyboard-interactive": "kbdinteractiveauthentication",
    "gssapi-with-mic": "gssapiauthentication",
    "hostbased": "hostbasedauthentication",
}


def _sshd_values(values: Mapping[str, str], service: str) -> Iterator[Finding]:
    """What is wrong with the values that ``sshd -T`` shows."""
    if values.get("usepam") != "yes":
        yield Finding(
            f"sshd's UsePAM is {values.get('usepam', 'not known to this sshd')}",
            "Without it sshd asks no PAM account stack, and this node stays open to everyone",
            "Set UsePAM yes in sshd's configuration (slurm_pam:sshd:options:UsePAM: true)",
        )
    if values.get("pamservicename", service) != service:
        yield Finding(
            f"sshd's PAMServiceName is {values['pamservicename']}, and slurm_pam:pam:service is {service}",
            f"sshd does not read /etc/pam.d/{service}",
            "Make the two the same",
        )
    methods = values.get("authenticationmethods", "any")
    if methods == "any":
        possible = [name for name, option in _METHODS.items() if values.get(option) == "yes"]
        ways = [[name] for name in possible]
    else:
        ways = [[method.partition(":")[0] for method in way.split(",")] for way in methods.split()]
        ways = [way for way in ways if all(values.get(_METHODS.get(method), "yes") == "yes" for method in way)]
    if not ways:
        yield Finding(
            f"sshd's AuthenticationMethods is {methods}, of which no way is left with the methods that are switched on",
            "Nobody could log in at all, root and administrators included",
            "Change AuthenticationMethods, or switch its methods on in slurm_pam:sshd:options",
        )
    elif any("keyboard-interactive" in way for way in ways):
        only = all("keyboard-interactive" in way for way in ways)
        yield Finding(
            f"sshd lets {'everybody' if only else 'people'} in by keyboard-interactive authentication "
            f"(AuthenticationMethods {methods})",
            "Such a session is checked by Slurm, but stays outside its job: it has no limits, and outlives the job",
            "Set KbdInteractiveAuthentication no, and let AuthenticationMethods do without it",
            "warnings",
        )


# The PAM files


def _stacks(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the service's file names the stacks whose names are to be changed there, or ours already."""
    service = settings["pam"]["service"]
    places = __salt__["pam_stack.libpam"]()["confdirs"]
    path = next(filter(os.path.exists, (os.path.join(place, service) for place in places)), None)
    if path is None:
        yield Finding(
            f"There is no PAM file {service} in {', '.join(places)}",
            "There is nothing to name Slurm's rules in",
            "Restore it from its package, or say which service it is (slurm_pam:pam:service)",
        )
        return
    try:
        lines = [line for line in __salt__["pam_stack.read"](path) if line["kind"] == "include"]
    except CommandExecutionError as problem:
        yield Finding(str(problem), "There Slurm's rules are to be named", "Look what is wrong with the file")
        return
    for change in __salt__["slurm_pam_plan.stacks"](settings)["files"][-1]["changes"]:
        kind, source = change["retarget"]["type"], change["retarget"]["from"]
        named = [line["target"] for line in lines if line["type"] in (kind, None)]
        if not {source, change["retarget"]["to"]} & set(named):
            yield Finding(
                f"{path} does not name {source} for {kind}; what it names is {', '.join(named) or 'nothing'}",
                "Slurm's rules come in where it does, and would never be asked",
                f"Say the name that stands there in slurm_pam:pam:{kind}_source, or add the line to {path}",
            )


# The site's own scenarios


def _policy(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether they hold is another matter; here they only have to be scenarios."""
    own = settings["pam"]["policy"]
    try:
        __salt__["pam_verdict.prove"](own)
        names = {scenario["name"] for scenario in __salt__["slurm_pam_plan.policy"](settings)}
        if taken := [scenario["name"] for scenario in own if scenario["name"] in names]:
            raise SaltInvocationError(f"the formula has a scenario named {taken[0]!r} itself")
    except (CommandExecutionError, SaltInvocationError) as problem:
        yield Finding(
            f"slurm_pam:pam:policy: {problem}",
            "What is not understood cannot be proven",
            "pam_verdict.prove describes scenarios",
        )
