"""Whether libpam can use the modules that the stacks ask for, and whether Slurm's is of the release of slurmd."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

import _child
import _pam_libpam
import slurm_conf
from _slurm_pam_ask import answer
from _slurm_pam_finding import Finding


def modules(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Modules that cannot be used. Slurm's need not be there yet if a package of these settings will bring it."""
    paths = _paths(wanted["modules"])
    to_come = f"{settings['module']}.so" if wanted["packages"]["modules"] else None
    yield from (_not_there(module) for module, path in paths.items() if path is None and module != to_come)
    yield from _unusable(filter(None, paths.values()))
    yield from _version_unasked()
    if settings["module"] == "pam_slurm_adopt":
        yield from of_a_doubtful_release(slurm_version())


def unusable(wanted: Mapping[str, Any]) -> list[str]:
    """
    The modules of the manifest that this node's libpam cannot use, one text each: they are not where it looks, do not
    load, or belong to another release of Slurm than slurmd, as happens after an update.

    A module that libpam cannot load answers PAM_MODULE_UNKNOWN (libpam/pam_dispatch.c), which a required rule takes for
    a denial: everyone would be turned away. They are loaded in a child process, as libpam would.
    """
    paths = _paths(wanted["modules"])
    missing = [_not_there(module) for module, path in paths.items() if path is None]
    return [finding.text() for finding in [*missing, *_unusable(filter(None, paths.values()))]]


def _paths(modules: Iterable[str]) -> dict[str, str | None]:
    """The file that libpam takes for each module, or None."""
    directories = _pam_libpam.node_libpam()["module_dirs"]
    return {
        module: next(filter(os.path.exists, (os.path.join(place, module) for place in directories)), None)
        for module in modules
    }


def _not_there(module: str) -> Finding:
    directories = ", ".join(_pam_libpam.node_libpam()["module_dirs"])
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
    except OSError as error:
        print(path, "does not load", error, sep="\\t")
    else:
        if hasattr(module, "slurm_api_version"):
            module.slurm_api_version.restype = ctypes.c_long
            print(path, "libslurm", module.slurm_api_version() >> 16, sep="\\t")
"""


def _unusable(paths: Iterable[str]) -> Iterator[Finding]:
    paths = list(paths)
    update = "Install what is missing; the package with Slurm's PAM modules has to be of the same version as slurmd"
    # Salt's own Python; a crash in the module's start-up code stays in the child.
    said = _child.ask(sys.executable, "-I", "-S", "-c", _LOAD, *paths)
    if said.returncode:
        yield Finding(f"Loading {' '.join(paths)} failed: {_child.reason(said)}", "Every login would fail", update)
    # A module's start-up code may print something as well.
    told = (line.split("\t", 2) for line in said.stdout.splitlines())
    for path, what, detail in (fields for fields in told if len(fields) == 3 and fields[0] in paths):
        if what == "does not load":
            yield Finding(f"{path} does not load: {detail}", "Every login would fail", update)
        else:
            yield from of_another_release(path, int(detail), slurm_version())


_LOADED = """
import ctypes, sys
ctypes.CDLL("libpam.so.0", mode=ctypes.RTLD_GLOBAL)
for path in sys.argv[1:]:
    ctypes.CDLL(path)
print(open("/proc/self/maps").read())
"""


def libraries(paths: Iterable[str]) -> list[str]:
    """
    Slurm's libraries that modules at these paths bring with them, as the loader finds them.

    Raises Unanswered if the modules do not load.
    """
    said = answer(sys.executable, "-I", "-S", "-c", _LOADED, *paths)
    return sorted(set(re.findall(r"(/\S*/libslurm\S*)$", said, re.MULTILINE)))


# Of which release


# Each release's number of the library (META in Slurm's sources); others are not compared.
_RELEASES = ("20.11", "21.08", "22.05", "23.02", "23.11", "24.05", "24.11", "25.05", "25.11", "26.05")
_LIBSLURM = {release: number for number, release in enumerate(_RELEASES, 36)}


def of_another_release(path: str, libslurm: int, slurmd: str | None) -> Iterator[Finding]:
    """A module that uses another release's library than slurmd does, whose version is given."""
    expected = _LIBSLURM.get(".".join(slurmd.split(".")[:2])) if slurmd else None
    if expected not in (None, libslurm):
        yield Finding(
            f"{path} uses libslurm {libslurm}, but slurmd is {slurmd}, whose libslurm is {expected}",
            "It may not understand the step daemons of this slurmd, and turn away users with a job",
            "Install the package with Slurm's PAM modules in the version of slurmd",
        )


# From which version to before which one pam_slurm_adopt is known to fail, and how (the code of each tag).
_FAULTS = (
    ((23, 11, 0), (23, 11, 4), "the login of a user with two jobs on this node ends in a fatal error; no option helps"),
    ((23, 11, 0), (23, 11, 5), "with AuthType=auth/slurm it does not work"),
    ((22, 5, 0), (22, 5, 7), "with cgroup v2 it does not work"),
    ((25, 11, 0), (25, 11, 1), "with namespace/linux it does not work"),
    (
        (25, 11, 0),
        (26, 6, 0),
        "where the namespaces of a job cannot be joined, the session is let in outside of them, in spite of "
        "action_adopt_failure=deny",
    ),
)


def of_a_doubtful_release(version: str | None) -> Iterator[Finding]:
    """A release whose pam_slurm_adopt is known to fail somewhere, or of which nothing is known."""
    if version is None:
        return
    numbers = tuple(map(int, version.split(".")))
    faults = [how for first, mended, how in _FAULTS if first <= (*numbers, 0)[:3] < mended]
    if faults:
        yield Finding(
            f"pam_slurm_adopt of Slurm {version} has known faults: {'; '.join(faults)}",
            "Users with a job may be turned away, or be let in outside of it",
            "Update Slurm, or make sure that none of it applies to this cluster",
            "warnings",
        )
    if numbers[:2] > tuple(map(int, _RELEASES[-1].split("."))):
        yield Finding(
            f"Slurm {version} is newer than this formula knows, whose newest is {_RELEASES[-1]}",
            "What its pam_slurm_adopt does differently is not known here",
            "Look for a newer version of the formula, and try this one on a single node first",
            "warnings",
        )


def slurm_version() -> str | None:
    """The version of the installed Slurm, such as ``22.05.8``; None if slurmd is not installed, or does not say it."""
    try:
        return slurm_conf.version()
    except CommandExecutionError:
        return None  # the look at the modules tells of it


def _version_unasked() -> Iterator[Finding]:
    try:
        slurm_conf.version()
    except CommandExecutionError as error:
        yield Finding(
            f"Slurm could not be asked for its release: {error}",
            "Its PAM modules may be of another one, or may not know the options in slurm_pam:pam_slurm_adopt",
            "Find out what is wrong with slurmd",
            "warnings",
        )
