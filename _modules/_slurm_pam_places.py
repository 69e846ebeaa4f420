"""Whether what has to stay, and what the proof relies on, stands where root alone can change it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

import _pam_expand
import _slurm_pam_wanted
import file_transaction
from _pam_errors import PamError
from _slurm_pam_finding import Finding

# What is there is gone after a boot, or is the kernel's, or anybody's.
_PASSING = ("/dev", "/proc", "/run", "/sys", "/tmp", "/var/run", "/var/tmp")
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def named(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Places that settings name, and from where what is written there goes, or can be somebody else's one day."""
    for setting, path in _named(settings):
        told = _passing(path) or next(map(_open_to_others, filter(_is_open, _directories(path))), None)
        if told:
            yield Finding(
                f"slurm_pam:{setting} is {path}, and {told}",
                "It has to stay as it is written, or people get in who must not, and others do not",
                "Name a place below a directory of root's alone, such as /etc",
            )


def _named(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    slurm, sshd = settings["slurm"], settings["sshd"]
    yield "access:file", settings["access"]["file"]
    if sshd["manage"]:
        yield from ((f"sshd:{name}", sshd[name]) for name in ("config", "drop_in") if sshd[name])
    if slurm["manage"] == "enforce" and slurm["conf"]:
        yield "slurm:conf", slurm["conf"]


def _passing(path: str) -> str | None:
    """As it is written, and as it is."""
    for place in (os.path.normpath(path), os.path.realpath(path)):
        for top in _PASSING:
            if place.startswith(f"{top}/"):
                return f"nothing in {top} stays"
    return None


def _directories(path: str) -> Iterator[str]:
    """The directories on the way to a path, as far as they are there, and to where it leads."""
    for place in dict.fromkeys((path, os.path.realpath(path))):
        # What begins with two slashes ends with two.
        while (above := os.path.dirname(place)) != place:
            place = above
            if os.path.isdir(place):
                yield place


def _is_open(directory: str) -> bool:
    return bool(os.stat(directory).st_mode & _OTHERS)


def _open_to_others(directory: str) -> str:
    return f"others than root can make files in {directory}"


# What the proof relies on

_RELIES = "What was proven of a login relies on"


def relied_on(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """PAM files that a service comes to, or that ours are made of, and modules, which others than root can write."""
    pam, closed = settings["pam"], (door.service for door in _slurm_pam_wanted.closed(settings))
    for path in _read([pam["service"], pam["account_source"], pam["session_source"], *closed]):
        try:
            file_transaction.follow(path)
        except CommandExecutionError as error:
            yield Finding(f"{_RELIES} {path}", str(error))
            continue
        # There nobody else can move it, but it goes when the directory is cleaned up.
        if _is_open(directory := os.path.dirname(os.path.realpath(path))):
            remedy = f"Move it to where it belongs, or let {directory} be root's alone: chmod go-w {directory}"
            yield Finding(f"{_RELIES} {path}", _open_to_others(directory), remedy)


def _read(names: list[str]) -> list[str]:
    """The files that libpam opens for services, and for the stacks that are to be named in them or copied."""
    found: dict[str, None] = {}
    for name in names:
        try:
            expanded = _pam_expand.expand(name, strict=False)
        except PamError:
            continue  # the look at the stacks says what is wrong
        handlers = (handler for stack in expanded["types"].values() for handler in stack if handler["kind"] == "module")
        modules = {_module(handler["module"], expanded["libpam"]) for handler in handlers}
        found |= dict.fromkeys([*expanded["opened"], *sorted(filter(None, modules))])
    return [path for path in found if os.path.lexists(path)]


def _module(name: str, libpam: Mapping[str, Any]) -> str | None:
    """The file that libpam loads for a module."""
    directories = libpam.get("module_dirs", ())
    return next(filter(os.path.exists, (os.path.join(directory, name) for directory in directories)), None)
