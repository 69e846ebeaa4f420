"""
Whether this node may be closed: everything that stands against it, found before anything is changed.

Each finding says what was found, why it matters and what to do. A problem stops an apply; a warning does not.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import functools
import grp
import itertools
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
    """What was found, why it matters, and what to do about it; the last two are empty where the first says it all."""

    found: str
    why: str = ""
    do: str = ""
    kind: str = "problems"

    def text(self) -> str:
        return ". ".join(filter(None, (self.found, self.why, self.do)))


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
    for look in (_role, _modules, _slurm_conf, _jobs, _administrators, _sshd, _pam_files):
        for finding in look(settings):
            told[finding.kind].append(finding.text())
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


def _run(*words: str, timeout: int = 30) -> subprocess.CompletedProcess:
    """A child process that asks and changes nothing; one that hangs has said nothing."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"no answer within {timeout} seconds")


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
    return [finding.text() for finding in [*missing, *_unusable(filter(None, paths.values()))]]


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
_RELEASES = ("20.11", "21.08", "22.05", "23.02", "23.11", "24.05", "24.11", "25.05", "25.11")
_LIBSLURM = {release: number for number, release in enumerate(_RELEASES, 36)}


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
            yield from _not_in_force(settings, wanted)
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
        yield Finding(
            _lack(setting),
            "Without it there is nothing to put a session into",
            "Change slurm.conf on the whole cluster and restart slurmctld and every slurmd, or set "
            "slurm_pam:slurm:manage: enforce",
        )


def _lack(setting: Mapping[str, Any]) -> str:
    now = "is not set" if setting["found"] is None else f"is {setting['found']}"
    wanted = setting["wanted"]
    must = f"has to contain {', '.join(wanted)}" if isinstance(wanted, list) else f"has to be {wanted}"
    return f"{setting['key']} {now} ({setting['source']}), and {must}"


# What pam_slurm_adopt needs (https://slurm.schedmd.com/pam_slurm_adopt.html)
_ADOPTION = ("prologflags", "proctracktype", "taskplugin")


def _not_in_force(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """The file will say it, but a job gets an extern step only where slurmctld and slurmd were started with it."""
    if not _closes_by_steps(settings):
        return
    needed = {key: value for key, value in wanted.items() if key.lower() in _ADOPTION}
    lacking = __salt__["slurm_conf.check"](needed, settings["slurm"]["conf"], timeout=2)
    told = "; ".join(_lack(setting) for setting in lacking if setting["source"] == "scontrol show config")
    if told:
        yield Finding(
            f"slurm_pam:slurm:manage is enforce, but the cluster does not run with it yet: {told}",
            "Until slurmctld and slurmd run with it, jobs get no extern step, and their own users would be turned away",
            "Set it in slurm.conf on the whole cluster and restart slurmctld and every slurmd first, or apply with "
            "slurm_pam:mode: adopt until then",
            _unless_closed(settings),
        )


# Jobs that are running already


def _jobs(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """pam_slurm_adopt sees a job by its extern step, which a job has that started after PrologFlags=Contain was set."""
    if not _closes_by_steps(settings):
        return
    unseen = [job for job in __salt__["slurm_pam.jobs"]() if not job["extern"]]
    if unseen:
        names = ", ".join(f"{job['job']} of {job['user'] or 'an unknown user'}" for job in unseen)
        yield Finding(
            f"Jobs run on this node without an extern step: {names}",
            "Started before PrologFlags=Contain was in force, they are no jobs to pam_slurm_adopt, and their own users "
            "are turned away",
            "Drain this node and apply when they have ended, or apply with slurm_pam:mode: adopt until then",
            _unless_closed(settings),
        )


def _closes_by_steps(settings: Mapping[str, Any]) -> bool:
    """Whether whoever has no extern step is turned away."""
    return settings["module"] == "pam_slurm_adopt" and settings["mode"] != "adopt"


def _unless_closed(settings: Mapping[str, Any]) -> str:
    """On a node that is closed already, refusing would help nobody."""
    return "warnings" if _is_closed(settings) else "problems"


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
        if group is not None and group.get("local", True):
            yield from _not_completed(name, group)


def _administrator_doubts(access: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Each entry of the settings, and why nobody may be behind it."""
    for name, user in access["users"].items():
        if user is not None:
            yield f"users:{name}", None if _is_user(name) else "this node knows no such user"
    for name, group in access["groups"].items():
        if group is not None:
            yield f"groups:{name}", _group_doubt(name, group)


def _group_doubt(name: str, group: Mapping[str, Any]) -> str | None:
    if not group.get("local", True):
        known = _group(name)
        if known is None:
            return "this node knows no such group"
        if not known.gr_mem:
            return None  # SSSD may be told not to list members (ignore_group_members)
    return None if next(_members(name, group), None) else "it has no member that this node knows"


def _members(name: str, group: Mapping[str, Any]) -> Iterator[str]:
    """Those of a group's members that this node knows: listed, to be added, or by their primary group."""
    known = _group(name)
    listed = dict.fromkeys([*(known.gr_mem if known else ()), *group.get("members", [])])
    yield from filter(_is_user, listed)
    if known and not any(map(_is_user, listed)):
        yield from (user.pw_name for user in pwd.getpwall() if user.pw_gid == known.gr_gid)


def _group(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None


def _is_user(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


def _not_completed(name: str, group: Mapping[str, Any]) -> Iterator[Finding]:
    """What would keep a local group from being completed."""
    members = group.get("members", [])
    unknown = [member for member in members if not _is_user(member)]
    if unknown:
        yield Finding(
            f"slurm_pam:access:groups:{name}:members has {', '.join(unknown)}, and this node knows no such user",
            f"The local group {name} could not be completed",
            "Make the user first, or take it out of the list",
        )
    known = _group(name)
    if known is None or name in _local_groups():
        return
    gid = group.get("gid")
    to_do = set(members) - set(known.gr_mem) or gid not in (None, known.gr_gid)
    yield Finding(
        f"slurm_pam:access:groups:{name}:local is true, but this node has the group from a directory service, and not "
        "from /etc/group",
        "groupmod and usermod cannot complete it"
        if to_do
        else "While the service does not answer, a local group of that name would be made in its place",
        f"Set slurm_pam:access:groups:{name}:local: false, and see to its members where it comes from",
        "problems" if to_do else "warnings",
    )


def _local_groups() -> set[str]:
    with open("/etc/group", encoding="utf-8", errors="surrogateescape") as lines:
        return {line.partition(":")[0] for line in lines}


# sshd


_LOOKED_AT = 20  # members of a group


def _sshd(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """What sshd will do with the options that are going to be written, or does already where they are not managed."""
    people, others = _people(settings["access"])
    yield from (Finding(**told) for told in __salt__["slurm_pam_sshd.findings"](settings, people, others))


def _people(access: Mapping[str, Any]) -> tuple[dict[str, list[str]], bool]:
    """root and every administrator that this node knows, with their origins; and whether there may be more of them."""
    people, others = {"root": list(access["root"])}, False
    for name, user in access["users"].items():
        if user is not None and _is_user(name):
            people.setdefault(name, []).extend(user["origins"])
    for name, group in access["groups"].items():
        if group is not None:
            members = list(itertools.islice(_members(name, group), _LOOKED_AT + 1))
            # A directory service need not list them.
            others |= len(members) > _LOOKED_AT or (not members and _group(name) is not None)
            for member in members[:_LOOKED_AT]:
                people.setdefault(member, []).extend(group["origins"])
    return people, others


# The PAM files


def _pam_files(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """They are proven where they can be made at all, and where it is understood what has to hold."""
    wrong = [*_stacks(settings), *_not_ours(settings), *_policy(settings)]
    yield from wrong or _proof(settings)


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


def _not_ours(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Files that are to be ours as a whole, where somebody else's stand."""
    files = [file for file in __salt__["slurm_pam_plan.stacks"](settings)["files"] if set(file) & _WHOLE]
    if settings["slurm"]["use_pam"]:
        files.append(__salt__["slurm_pam_plan.service_file"]())
    for path in [file["path"] for file in files if not _is_ours(file) and not settings["pam"]["replace"]]:
        yield Finding(
            f"{path} is there already, and this formula did not write it",
            "What somebody put there would be lost",
            "Move it away, or allow it to be replaced (slurm_pam:pam:replace: true)",
        )


_WHOLE = {"contents", "source", "link"}


def _is_ours(file: Mapping[str, Any]) -> bool:
    """As pam_stack.plan has it, or nothing stands there."""
    try:
        found = __salt__["file_transaction.read"](file["path"])
    except CommandExecutionError:
        return False  # a directory, say
    if isinstance(found, str):
        return found.startswith(__salt__["slurm_pam_plan.marker"]() + "\n")
    return found is None or "link" in file


_SUBSTACK = "With slurm_pam:pam:account_base: substack, nothing in the node's own rules can end the stack ahead of ours"


def _proof(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the files would do what they should; no package needs to be there for that."""
    pam, stacks = settings["pam"], __salt__["slurm_pam_plan.stacks"](settings)
    own = {"marker": __salt__["slurm_pam_plan.marker"](), "replace": pam["replace"]}
    try:
        # Where nothing is to be written, the state that would write proves what is there; once is enough.
        if any(change["before"] != change["after"] for change in __salt__["pam_stack.plan"](stacks["files"], **own)):
            __salt__["pam_stack.plan"](**stacks, **own)
    except CommandExecutionError as problem:
        yield Finding("\n".join([str(problem), *([_SUBSTACK] if pam["account_base"] == "copy" else [])]))


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
