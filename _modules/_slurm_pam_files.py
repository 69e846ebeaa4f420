"""Whether each file that a setting names is what it is said to be, as a whole, and no two settings name the same."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from salt.exceptions import CommandExecutionError

import _file
import _pam_grammar
import _pam_libpam
import _slurm_pam_wanted
import file_transaction
import slurm_conf
import sshd_config
from _pam_errors import PamError
from _slurm_pam_finding import Finding
from _text import printable

_SHOWN = 60  # characters of a line


class Kind(NamedTuple):
    """What a file is said to be, in words, and the number and text of each line of a text that is none of it."""

    name: str
    strays: Callable[[str], Iterator[tuple[int, str]]]


# access.conf(5), and login_access() in modules/pam_access/pam_access.c
_ACCESS_LINE = re.compile(r"\s*(#.*)?|[+-][ \t]*:[^:]*[^:\s][^:]*:.*\S.*", re.DOTALL)


def _access_strays(text: str) -> Iterator[tuple[int, str]]:
    lines = enumerate(text.split("\n"), 1)
    return ((number, line) for number, line in lines if not _ACCESS_LINE.fullmatch(line))


def _invalid(parse: Callable[[str], list[Mapping[str, Any]]]) -> Callable[[str], Iterator[tuple[int, str]]]:
    """The lines that a parser makes nothing of."""
    return lambda text: ((line["line"], line["text"]) for line in parse(text) if line["kind"] == "invalid")


_ACCESS = Kind("an access file (access.conf(5))", _access_strays)
_SSHD = Kind("a configuration of sshd (sshd_config(5))", _invalid(sshd_config.parse))
_SLURM = Kind("a slurm.conf (slurm.conf(5))", _invalid(slurm_conf.parse))
_PAM = Kind("a PAM file (pam.d(5))", _invalid(_pam_grammar.parse))


def files(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Files that are something else, which would be written to, and read aloud in findings."""
    named = list(_named(settings))
    for setting, path, kind in named:
        yield from _look(setting, path, kind)
    yield from _twice([(setting, path) for setting, path, _ in named])


def _named(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, Kind]]:
    """Each setting that names a file which an apply writes to or copies from, with that file."""
    pam, slurm, sshd = (settings[section] for section in ("pam", "slurm", "sshd"))
    yield "access:file", settings["access"]["file"], _ACCESS
    if sshd["manage"]:
        yield from (
            (f"sshd:{name}", sshd[name], _SSHD) for name in ("config", "drop_in") if sshd[name]
        )
    if slurm["manage"] != "keep" and slurm["conf"]:
        yield "slurm:conf", slurm["conf"], _SLURM
    for name in ("service", "account_source", "session_source"):
        # If there is none, the look at the stacks says so.
        if path := _pam_libpam.locate(pam[name]):
            yield f"pam:{name}", path, _PAM


def _look(setting: str, path: str, kind: Kind) -> Iterator[Finding]:
    try:
        told = next(kind.strays(_text(path)), None)
    except (PamError, CommandExecutionError) as error:
        yield Finding(f"slurm_pam:{setting}: {error}", "It is read and written as root", "Name a file")
        return
    if told:
        number, line = told
        shown = f" ({printable(line.strip())[:_SHOWN]})" if _file.everybody_reads(path) else ""
        yield Finding(
            f"slurm_pam:{setting}: {path} is not {kind.name}: line {number}{shown} does not belong in such a file",
            "Whatever the file is for would break if our lines were written into it",
            "Name another file, which need not exist yet; or, if it is the right file, fix the line",
        )


def _text(path: str) -> str:
    """The text of a file, empty if it is not there. What a link leads to is not followed any further than the path."""
    real = os.path.realpath(path)
    if os.path.exists(real) and os.stat(real).st_size > _file.MOST:
        raise CommandExecutionError(f"{path} is larger than {_file.MOST} bytes")
    found = file_transaction.read(real)
    return found if isinstance(found, str) else ""


def _twice(named: list[tuple[str, str]]) -> Iterator[Finding]:
    """Settings that name one file, by whatever links, or one that is ours for something else."""
    places: dict[str, str] = {os.path.realpath(_slurm_pam_wanted.RECORD): "the record of what was applied"}
    for setting, path in named:
        first = places.setdefault(os.path.realpath(path), f"slurm_pam:{setting}")
        if first != f"slurm_pam:{setting}" and not setting.startswith("pam:"):
            yield Finding(
                f"slurm_pam:{setting} is {path}, and so is {first}",
                "Each would be written as if nothing else were in the file",
                "Name another file",
            )
