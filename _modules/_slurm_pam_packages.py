"""
What an installation would do to this node, asked of its package manager before anything is installed.

Slurm comes in packages of several makers that conflict with each other: to install one maker's can remove the running
Slurm of another's.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from xml.etree import ElementTree

from salt.exceptions import CommandExecutionError

import _child
import _pam_libpam
from _slurm_pam_finding import Finding

Ask = Callable[..., Any]

# Seconds: a package manager may have to read its repositories first.
_PATIENCE = 300


class Step(NamedTuple):
    """What becomes of one package: it is new (``old`` is empty), goes (``new`` is empty), or gets another version."""

    package: str
    old: str
    new: str
    downgrade: bool = False


def packages(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """What stands against the installation that an apply begins with."""
    try:
        lost = installation(wanted)["losses"]
    except CommandExecutionError as error:
        yield Finding(
            f"slurm_pam:packages: {error}",
            "Without them this node cannot be closed",
            "Correct the names, look at the repositories, or install what is needed and set "
            "slurm_pam:packages:manage: false",
        )
        return
    if lost:
        yield Finding(
            f"Installing {', '.join(missing(wanted))} would take something away: {', '.join(lost)}",
            "They may come from another maker than the Slurm that runs here, and its jobs would lose their daemon",
            "Name the packages of that maker in slurm_pam:packages, or install what is needed and set "
            "slurm_pam:packages:manage: false",
        )


def installation(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """
    The installation that an apply of this manifest begins with: the packages that are ``missing``, its ``changes`` as
    Salt's pkg states tell them, and its ``losses`` in words. All are empty where nothing is to be installed.

    Raises CommandExecutionError where the package manager would not install them.
    """
    names = missing(wanted)
    steps = simulated(names, family()) if names else []
    return {"missing": names, "changes": changes(steps), "losses": losses(steps)}


def missing(wanted: Mapping[str, Any]) -> list[str]:
    """
    The packages of the manifest that have to be installed: those whose content is not on this node already, from
    whatever package or from none.
    """
    places = _pam_libpam.node_libpam()["module_dirs"]
    there = {
        "node": _child.which("slurmd") is not None,
        "modules": all(any(os.path.exists(f"{place}/{name}") for place in places) for name in wanted["modules"]),
    }
    return list(dict.fromkeys(name for kind, name in wanted["packages"].items() if name and not there[kind]))


def family() -> str:
    """Whose package manager this node has: the grain ``os_family``, as os-release(5) tells it."""
    release = platform.freedesktop_os_release()
    words = {release["ID"], *release.get("ID_LIKE", "").split()}
    return next((name for name, ids in _FAMILIES.items() if words & ids), release["ID"])


_FAMILIES = {
    "Suse": {"suse", "opensuse", "sles"},
    "RedHat": {"rhel", "fedora", "centos"},
    "Debian": {"debian", "ubuntu"},
}


def simulated(names: list[str], family: str, ask: Ask = _child.ask) -> list[Step]:
    """
    What the package manager would do to install these packages. Changes nothing.

    names
        The packages.
    family
        The grain ``os_family``, which says whose package manager it is: Suse, RedHat or Debian.
    ask
        How to run a program: as :py:func:`_child.ask`.

    Returns no step where the package manager has nothing to do.

    Raises CommandExecutionError with the package manager's words where it would not install them.

    Source: zypper(8), ``--xmlout`` and ``--dry-run``; apt-get(8), ``--simulate``; dnf(8), ``--assumeno``.
    """
    if family not in _MANAGERS:
        raise CommandExecutionError(f"no package manager is known for {family}; known are {', '.join(_MANAGERS)}")
    command, read = _MANAGERS[family]
    answer = ask(*command, *names, timeout=_PATIENCE)
    try:
        steps = list(read(answer.stdout, ask))
    except ElementTree.ParseError as error:
        told = _refusal(answer) if answer.returncode else f"what it says cannot be read ({error})"
        raise CommandExecutionError(f"{command[0]} would not install {', '.join(names)}: {told}") from error
    if not steps and answer.returncode != 0:
        raise CommandExecutionError(f"{command[0]} would not install {', '.join(names)}: {_refusal(answer)}")
    return steps


def losses(steps: list[Step]) -> list[str]:
    """What an installation would take away, in words: packages that go, and those that get an older version."""
    gone = [f"{step.package} {step.old} would be removed" for step in steps if not step.new]
    return gone + [
        f"{step.package} would go from {step.old} back to {step.new}" for step in steps if step.downgrade and step.new
    ]


def changes(steps: list[Step]) -> dict[str, dict[str, str]]:
    """The same as Salt's pkg states tell it: ``{package: {"old": version, "new": version}}``."""
    return {step.package: {"old": step.old, "new": step.new} for step in steps}


# How each package manager tells what it would do


_ZYPPER = ("zypper", "--non-interactive", "--no-refresh", "--xmlout", "install", "--dry-run")
# The sections of its summary, each with which of the versions stands in ``edition``.
_SECTIONS = {
    "to-install": "new",
    "to-upgrade": "new",
    "to-downgrade": "new",
    "to-remove": "old",
    "to-change-arch": "new",
    "to-reinstall": "new",
}


def _read_zypper(text: str, _ask: Ask) -> Iterator[Step]:
    summary = ElementTree.fromstring(text).find("install-summary")
    for section in () if summary is None else summary:
        for package in section.findall("solvable") if section.tag in _SECTIONS else ():
            edition, name = package.get("edition", ""), package.get("name", "")
            if section.tag == "to-remove":
                yield Step(name, edition, "")
            else:
                yield Step(name, package.get("edition-old", ""), edition, section.tag == "to-downgrade")


_APT = ("apt-get", "--simulate", "--quiet", "--yes", "install")
_APT_LINE = re.compile(r"^(Inst|Remv) (\S+)(?: \[([^\]]*)\])?(?: \((\S+))?", re.MULTILINE)


def _read_apt(text: str, ask: Ask) -> Iterator[Step]:
    for verb, package, old, new in _APT_LINE.findall(text):
        if verb == "Remv":
            yield Step(package, old, "")
        else:
            older = old and ask("dpkg", "--compare-versions", new, "lt", old).returncode == 0
            yield Step(package, old, new, bool(older))


_DNF = ("dnf", "--assumeno", "install")
_DNF_SECTION = re.compile(r"^(\w[\w ]*):$")
_DNF_LINE = re.compile(r"^ (\S+) +(\S+) +(\S+) +(\S+) +\S")
_DNF_REPLACES = re.compile(r"^ +replacing +(\S+?)\.\w+ (\S+)$")
_DNF_GONE = ("Removing", "Removing dependent packages", "Removing unused dependencies")


def _read_dnf(text: str, ask: Ask) -> Iterator[Step]:
    section = ""
    for line in text.partition("Transaction Summary")[0].splitlines():
        if heading := _DNF_SECTION.match(line):
            section = heading[1]
        elif replaced := _DNF_REPLACES.match(line):
            yield Step(replaced[1], replaced[2], "")
        elif (found := _DNF_LINE.match(line)) and section:
            package, _, version, _ = found.groups()
            if section in _DNF_GONE:
                yield Step(package, version, "")
            else:
                old = "" if section.startswith("Installing") else _rpm_version(package, ask)
                yield Step(package, old, version, section == "Downgrading")


def _rpm_version(package: str, ask: Ask) -> str:
    answer = ask("rpm", "--query", "--queryformat", "%{VERSION}-%{RELEASE}", package)
    return answer.stdout if answer.returncode == 0 else ""


_MANAGERS: dict[str, tuple[tuple[str, ...], Callable[[str, Ask], Iterator[Step]]]] = {
    "Suse": (_ZYPPER, _read_zypper),
    "RedHat": (_DNF, _read_dnf),
    "Debian": (_APT, _read_apt),
}


def _refusal(answer: Any) -> str:
    """Why a package manager does nothing, in its own words."""
    try:
        stream = ElementTree.fromstring(answer.stdout)
    except ElementTree.ParseError:
        lines = [line.strip() for line in (answer.stderr or answer.stdout).splitlines()]
        return " ".join(filter(None, lines)) or f"exit status {answer.returncode}"
    told = [node.text or "" for node in stream.iter() if node.tag == "description" or node.get("type") == "error"]
    return " ".join(" ".join(told).split()) or f"exit status {answer.returncode}"
