"""Questions to the programs of this node. One that could not be asked is no empty answer."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

import _child
import _processes


class Unanswered(CommandExecutionError):
    """A question that could not be asked, of which nothing is known then; the text says whom, and why not."""


def answer(*words: str, timeout: float = 30, env: Mapping[str, str] | None = None) -> str:
    """
    What a program prints.

    words
        The program and its arguments; no shell is involved.
    timeout
        How many seconds it has.
    env
        Variables besides those of this process.

    Raises Unanswered if it is not there, fails or does not answer in time.
    """
    said = _child.ask(*words, timeout=timeout, env=env)
    if said.returncode:
        raise Unanswered(f"{' '.join(words)}: {_child.reason(said)}")
    return said.stdout


def booted() -> bool:
    """Whether systemd runs this system. It runs none that is an image in a build. Source: sd_booted(3)."""
    return os.path.isdir("/run/systemd/system") and not _processes.in_chroot()


def units(properties: str, *names: str) -> list[dict[str, list[str]]]:
    """
    What systemd knows of units: the texts of each property, since some have several lines. Nothing of one that prints
    nothing, as in a chroot.

    properties
        Their names, with commas.
    names
        Units, or patterns of loaded ones.

    Raises Unanswered if systemd does not answer.

    Source: systemctl(1), show.
    """
    found: list[dict[str, list[str]]] = [{}]
    for line in answer("systemctl", "show", f"--property={properties}", "--", *names).splitlines():
        key, equals, text = line.partition("=")
        if equals:
            found[-1].setdefault(key, []).append(text)
        # A script that a unit runs may have blank lines as well; the unit's name comes after it.
        elif not line and ("Id" in found[-1] or "Id" not in properties.split(",")):
            found.append({})
    return [unit for unit in found if unit]


# All that is asked of every unit, so that it is one question.
_OF_EVERY_UNIT = (
    "Id,Names,LoadState,ActiveState,UnitFileState,TriggeredBy,Triggers,ExecStart,Environment,EnvironmentFiles,Accept,PAMName,"
    "Listen"
)
# States of unit files with which systemd starts a unit at boot.
_AT_BOOT = ("enabled", "enabled-runtime", "generated")
_kept: dict[str, list[Any]] | None = None


@contextlib.contextmanager
def once() -> Iterator[None]:
    """While this lasts, every unit and every process is asked for once: what is said of them is of one moment."""
    global _kept
    before, _kept = _kept, {} if _kept is None else _kept
    try:
        yield
    finally:
        _kept = before


def _keeping(name: str, ask: Callable[[], list[Any]]) -> list[Any]:
    if _kept is None:
        return ask()
    if name not in _kept:
        _kept[name] = ask()
    return _kept[name]


def every_process() -> list[_processes.Process]:
    """The processes of this node, as _processes.running has them."""
    return _keeping("processes", lambda: list(_processes.running()))


def every_unit() -> list[dict[str, list[str]]]:
    """
    What systemd knows of each service and socket that runs, and that the next boot or one of these sockets starts.

    Raises Unanswered if systemd does not answer.

    Source: systemctl(1), show; systemd.unit(5), the load path.
    """
    return _keeping("units", _every_unit)


def _every_unit() -> list[dict[str, list[str]]]:
    found = units(_OF_EVERY_UNIT, "*.service", "*.socket")
    known, linked, sockets = _names(found), _linked(), _sockets(found)
    while unknown := sorted((linked | sockets.keys()) - known):
        others = units(_OF_EVERY_UNIT, *unknown)
        for unit in others:
            # systemd has let go of a socket that does not run, and does not know then what it triggers.
            if unit.get("TriggeredBy", [""]) == [""] and (of := _names([unit]) & sockets.keys()):
                unit["TriggeredBy"] = [sockets[of.pop()]]
        coming = [unit for unit in others if _is_to_come(unit)]
        known |= {*unknown, *_names(others)}
        sockets |= _sockets(coming)
        found += coming
    # One that only another names is not there.
    return [unit for unit in {unit["Id"][0]: unit for unit in found}.values() if unit.get("LoadState") != ["not-found"]]


def _names(found: list[dict[str, list[str]]]) -> set[str]:
    return {name for unit in found for name in unit["Names"][0].split()}


def _sockets(found: list[dict[str, list[str]]]) -> dict[str, str]:
    """What sockets trigger, and the socket of each. An instance is made when somebody connects."""
    triggers = ((unit["Id"][0], unit.get("Triggers", [""])[0].split()) for unit in found)
    return {name: socket for socket, names in triggers for name in names if "@" not in name}


def _is_to_come(unit: Mapping[str, list[str]]) -> bool:
    """Whether the next boot starts it, or somebody who connects to a socket."""
    return unit.get("UnitFileState", [""])[0] in _AT_BOOT or unit.get("TriggeredBy", [""]) != [""]


# Where an enabled unit has a link, or beside the units: find_symlinks in systemd's src/shared/install.c.
_LINKS = (".wants", ".requires", ".upholds")
# What vendors link enables nothing: find_symlinks_in_scope there. To ask of these units would have systemd load them.
_OF_VENDORS = ("/lib/", "/usr/")
# unit_name_is_valid in systemd's src/basic/unit-name.c. A template is no unit.
_UNIT = re.compile(r"(?!@|.*@\.)[\w:.\\@-]+\.(service|socket)", re.ASCII)


def _linked() -> set[str]:
    """Services and sockets that may be enabled, which need not be loaded yet.

    To have systemd list the enabled ones takes it a second of CPU: for each unit it looks at all of these links.
    """
    paths = [path for manager in units("UnitPath") for path in manager["UnitPath"][0].split()]
    found = set()
    # As systemd, by the names of the directories: one of an administrator's may be a link.
    for directory in {os.path.realpath(path) for path in paths if not path.startswith(_OF_VENDORS)}:
        beside = _entries(directory)
        below = (entry for place in beside if place.name.endswith(_LINKS) for entry in _entries(place.path))
        for entry in (*beside, *below):
            if entry.is_symlink():
                try:
                    target = os.path.basename(os.readlink(entry.path))
                except OSError:
                    continue  # gone, as with a package that is just being removed
                # Most instances that are enabled and do not run are consoles that this node does not have.
                found |= set() if "@." in target else {entry.name, target}
            elif "/generator" in directory:
                found.add(entry.name)
    return {name for name in found if _UNIT.fullmatch(name)}


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        return list(entries)
    return []  # it is not there, or no directory
