"""
The sshd that runs, and each that systemd will start: what they were told on their command lines counts over the files,
and a second one may have files of its own.
"""

from __future__ import annotations

import contextlib
import functools
import getopt
import glob
import itertools
import os
import re
import shlex
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from salt.exceptions import CommandExecutionError

import _child
import _file
import _processes
import sshd_config
from _slurm_pam_ask import Unanswered, every_process, every_unit, units
from _slurm_pam_connections import as_proof, services
from _slurm_pam_finding import Finding
from _slurm_pam_login import value
from _text import printable

# sshd(8) and the getopt call in its sshd.c, of every release
_OPTIONS = "46DGQRTVdeiqrtC:E:b:c:f:g:h:k:o:p:u:"


class Daemon(NamedTuple):
    """An sshd, and what it was told."""

    who: str  # for people: a process or a unit, with its command line
    process: _processes.Process | None  # of one that runs
    program: str
    name: str  # what it calls itself; up to 9.7 it asks the PAM service of this name
    config: str | None
    options: tuple[str, ...]  # each as sshd's -o takes it
    listens: bool = True  # and does not serve one connection that somebody else took, as with -i


def departing(settings: Mapping[str, Any]) -> Iterator[Daemon]:
    """
    Each sshd that runs, or that a unit starts, and does not simply read the configuration that the formula looks at.

    settings
        The merged settings of the formula.

    Raises Unanswered if systemd does not say what it starts.
    """
    seen = set()
    for daemon in [*running(every_process()), *to_come()]:
        if daemon[2:] not in seen and not _is_usual(daemon, settings["sshd"]["config"]):
            yield daemon
        seen.add(daemon[2:])


def listening(settings: Mapping[str, Any]) -> list[Daemon]:
    """
    Those of them that run, each kind once, the usual one as such; only that one if none runs, as with a socket.

    settings
        The merged settings of the formula.
    """
    config, service = settings["sshd"]["config"], settings["pam"]["service"]
    usual = Daemon("sshd", None, _child.which("sshd") or "sshd", service, config, ())
    found = (usual if _is_usual(one, config) else one for one in running(_processes.running()))
    return list({daemon[2:]: daemon for daemon in found}.values()) or [usual]


def reading(settings: Mapping[str, Any]) -> list[Daemon]:
    """
    The other sshds that run and read the files that the formula writes: sshd's own reload does not reach them.

    settings
        The merged settings of the formula.
    """
    config, drop_in = settings["sshd"]["config"], settings["sshd"]["drop_in"]
    try:
        usual = sshd_config.find(config)
    except CommandExecutionError:
        return []  # what is not there is read by none
    # One in a container has files of its own.
    found = running(process for process in _processes.running() if _processes.at_home(process.pid))
    return [one for one in found if one.listens and not _is_usual(one, config) and _reads(one, usual, drop_in)]


def _reads(daemon: Daemon, usual: str, drop_in: str | None) -> bool:
    try:
        main = sshd_config.find(daemon.config)
        return os.path.realpath(main) == os.path.realpath(usual) or any(
            sshd_config.reads(path, main) for path in (usual, drop_in) if path
        )
    except CommandExecutionError:
        return False  # its files are not there any more: it would not outlive a reload


def reload(settings: Mapping[str, Any]) -> dict[str, str]:
    """
    Have them read their files again. One that would refuse these is left as it is, and its sessions go on.

    settings
        The merged settings of the formula.

    Returns what became of each that did not: ``{who: why}``.

    Source: sshd(8), which executes itself anew on a SIGHUP.
    """
    failed, told = {}, []
    for daemon in reading(settings):
        words = [word for option in daemon.options for word in ("-o", option)]
        files = ["-f", daemon.config] if daemon.config else []
        said = _child.ask(daemon.program, "-t", *files, *words)
        if said.returncode:
            failed[daemon.who] = f"it refuses its configuration: {printable(_child.reason(said))}"
        else:
            _processes.tell(daemon.process, signal.SIGHUP)
            told.append(daemon)
    if told:
        time.sleep(_A_MOMENT)
    gone = [daemon.who for daemon in told if not _processes.is_there(daemon.process)]
    return failed | dict.fromkeys(gone, "it has ended since it was told to")


# Seconds in which an sshd that cannot go on has ended.
_A_MOMENT = 1


def _is_usual(daemon: Daemon, config: str | None) -> bool:
    usual = sshd_config.find(config)
    reads = daemon.config or sshd_config.find()
    return daemon.name == "sshd" and not daemon.options and os.path.realpath(reads) == os.path.realpath(usual)


# Those that run


def running(processes: Iterable[_processes.Process]) -> Iterator[Daemon]:
    """
    The processes of root's that listen as sshd does.

    processes
        As _processes.running has them.

    Source: OpenSSH's sshd.c, which has ``name: arguments [listener] ...`` for its title, from 8.4 on.
    """
    usual = _child.which("sshd")
    is_sshd = functools.cache(lambda program: _is_sshd(program, usual))  # most processes share a few programs
    for process in processes:
        if process.uid != 0:
            continue
        told = " ".join(process.arguments)
        title = _TITLE.match(told)
        # A copy by another name gives itself that name; others may bear a title, and are no sshd.
        if title and (title[1] == os.path.basename(process.program) or is_sshd(process.program)):
            yield _daemon(process, title[2], process.program, title[2].split(), title[1])
        elif is_sshd(process.program) and not (_serves(process.arguments) or _only_asked(process.arguments[1:])):
            yield _daemon(process, told, process.program, process.arguments)


_TITLE = re.compile(r"(\S+): (.*) \[listener\] \d+ of \d+-\d+ startups", re.DOTALL)


def _serves(words: Sequence[str]) -> bool:
    """Whether it says by its title that it serves somebody: ``sshd: alice [priv]``, ``sshd: alice@pts/0``."""
    return len(words) == 1 and bool(re.search(r"\[\w+\]|@|: ", words[0]))


def _only_asked(words: Sequence[str]) -> bool:
    """Whether it says what its configuration is or comes to, as an audit at the same time asks it, and ends."""
    with contextlib.suppress(getopt.GetoptError):
        return any(option in ("-t", "-T", "-G") for option, _ in _told(words))
    return False


def _is_sshd(program: str, usual: str | None) -> bool:
    """Whether it is one by its name, or the installed one by another name. Helpers (sshd-session) do not listen."""
    name = os.path.basename(program)
    return name.endswith("sshd") or bool(usual and os.path.exists(program) and os.path.samefile(usual, program))


def _daemon(
    started: _processes.Process | str, command: str, program: str, words: Sequence[str], name: str | None = None
) -> Daemon:
    """That of a process, or of the unit of this name."""
    unit = isinstance(started, str)
    who = f"{started} ({command})" if unit else f"sshd (process {started.pid}: {command})"
    try:
        told = list(_told(words[1:]))
    except getopt.GetoptError as error:
        told = [("-o", error.msg)]  # of a fork; asked with this, it says that it does not know it
    config = next((value for option, value in reversed(told) if option == "-f"), None)
    options = tuple(value for option, value in told if option == "-o")
    process = None if unit else started
    listens = not any(option == "-i" for option, _ in told)
    return Daemon(printable(who), process, program, name or os.path.basename(words[0]), config, options, listens)


def _told(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The options of a command line. A title has lost what kept the words of one together."""
    while words:
        found, rest = getopt.getopt(words, _OPTIONS)
        more = list(itertools.takewhile(lambda word: not word.startswith("-"), rest))
        *complete, (option, value) = found or [("", "")]
        yield from complete
        yield option, " ".join(filter(None, [value, *more]))
        words = rest[len(more) :]


# Those that systemd starts


_PROPERTIES = "Id,ActiveState,UnitFileState,TriggeredBy,ExecStart,Environment,EnvironmentFiles"
_EXEC = re.compile(r"path=(?P<path>\S+) ; argv\[\]=(?P<words>.*?) ; \w+=")


def to_come() -> Iterator[Daemon]:
    """
    Each sshd that a unit starts: now, at boot, or when somebody connects to a socket.

    Raises Unanswered if systemd does not answer.

    Source: systemd.exec(5), Environment; systemd.socket(5), Accept.
    """
    usual = _child.which("sshd")
    known = every_unit()
    # A socket that accepts by itself starts an instance for each connection.
    instances = [f"{unit['Id'][0].removesuffix('.socket')}@.service" for unit in known if unit.get("Accept") == ["yes"]]
    names = [name.replace("@.", "@slurm_pam.") for name in instances]
    starting = [unit for unit in known if _starts(unit)] + (units(_PROPERTIES, *names) if names else [])
    for unit in starting:
        for command in map(_EXEC.search, unit.get("ExecStart", [])):
            if command and _is_sshd(command["path"], usual):
                words = _expanded(command["words"].split(), _environment(unit))
                yield _daemon(unit["Id"][0], " ".join(words), os.path.realpath(command["path"]), words)


def _starts(unit: Mapping[str, list[str]]) -> bool:
    disabled = unit.get("UnitFileState") in (["disabled"], ["masked"], ["masked-runtime"])
    return unit.get("ActiveState") == ["active"] or not disabled or unit.get("TriggeredBy", [""]) != [""]


def _environment(unit: Mapping[str, list[str]]) -> dict[str, str]:
    """The variables that a unit's command line may name; those of its files count over its own."""
    own = (word for line in unit.get("Environment", []) for word in shlex.split(line) if "=" in word)
    found = dict(word.split("=", 1) for word in own)
    patterns = (line.rpartition(" (")[0] for line in unit.get("EnvironmentFiles", []))
    for path in (path for pattern in patterns for path in sorted(glob.glob(pattern))):
        with contextlib.suppress(OSError):  # systemd fails then, or goes on without
            found |= _variables(_file.text(path))
    return found


# A value has pieces in quotes, over as many lines as they are, and then a rest in which quotes are text.
_PIECE = re.compile(r"""'([^']*)(?:'|\Z)[ \t]*|"((?:\\.|[^"\\])*)(?:"|\Z)[ \t]*""", re.DOTALL)
_VARIABLE = re.compile(rf"^[ \t]*(\w+)[ \t]*=[ \t]*((?:{_PIECE.pattern})*)((?:\\.|[^\n\\])*)", re.DOTALL | re.MULTILINE)


def _variables(text: str) -> dict[str, str]:
    """What a file of variables has. Source: systemd.exec(5), EnvironmentFile; systemd's src/basic/env-file.c."""
    found = {}
    for name, quoted, _, _, rest in _VARIABLE.findall(text.replace("\r", "\n")):
        pieces = [single or re.sub(r'\\(?:\n|(["\\`$]))', r"\1", double) for single, double in _PIECE.findall(quoted)]
        found[name] = "".join([*pieces, re.sub(r"\\(?:\n|(.))", r"\1", rest.rstrip(" \t"))])
    return found


def _expanded(words: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """``$NAME`` as a word becomes as many as it has, ``${NAME}`` stays within its word."""
    expanded = []
    for word in words:
        alone = re.fullmatch(r"\$(\w+)", word)
        within = re.sub(r"\$\{(\w+)\}", lambda name: environment.get(name[1], ""), word)
        expanded += _words(environment.get(alone[1], "")) if alone else [within]
    return expanded


def _words(value: str) -> list[str]:
    """Quotes hold a word together, if they are closed."""
    try:
        return shlex.split(value)
    except ValueError:
        return value.split()


# What they would do


def daemons(settings: Mapping[str, Any], files: Mapping[str, str | None]) -> Iterator[Finding]:
    """
    An sshd whose logins do not come to the stack that is proven.

    settings
        The merged settings of the formula.
    files
        What is going to be written of sshd's configuration, laid over the real files.
    """
    try:
        for daemon in departing(settings):
            yield from _findings(daemon, settings, files)
    except Unanswered as error:
        yield Finding(
            f"systemd could not be asked whether it starts another sshd on this node: {error}",
            "One with options or files of its own may lead past Slurm",
            "Check the units of this node that start an sshd",
            "warnings",
        )


def _findings(daemon: Daemon, settings: Mapping[str, Any], files: Mapping[str, str | None]) -> Iterator[Finding]:
    do = (
        "Make it read the configuration of this node's sshd, without options of its own; or stop and disable it; or, "
        "if it asks PAM for a service of its own, close that as well (slurm_pam:doors)"
    )
    service = settings["pam"]["service"]
    doors = [name for name, word in settings.get("doors", {}).items() if word == "close"]
    try:
        kinds = sshd_config.connections(daemon.config, files, daemon.program, daemon.options)
    except CommandExecutionError as error:
        found = f"{daemon.who} could not be asked for its configuration: {error}"
        yield Finding(found, "It is not known whether its logins come to Slurm", do)
        return
    for finding in services(kinds, service, daemon.name, doors):
        yield finding._replace(found=f"{daemon.who}: {finding.found}", do=do)
    if daemon.process and (unread := _unread(daemon.process, daemon.config, kinds[0]["values"])):
        yield Finding(
            f"{daemon.who} has not read {', '.join(unread)} since it was changed",
            "What it does now is not known",
            "Reload it, as with kill -HUP; one with a PidFile of its own (sshd_config(5)) can be seen to have done so",
        )


def _unread(process: _processes.Process, config: str | None, values: Mapping[str, list[str]]) -> list[str]:
    """The files that have changed since a daemon read them, as it does at its start and reload: sshd(8)."""
    since = process.started
    try:
        path = value(values, "pidfile", "none")
        if _file.text(path).strip() == str(process.pid):
            since = os.stat(path).st_mtime
    except OSError:
        pass  # it writes none
    files = dict.fromkeys(line["file"] for line in sshd_config.read(config))
    # A process that began in the second of the change may have begun after it.
    return [path for path in files if os.stat(path).st_ctime > since + 1]


def proof(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Whether every login to another sshd than the usual one comes to the stack that is proven, in the form of a proof.
    What cannot be asked is no proof.

    settings
        The merged settings of the formula.
    """
    try:
        told = [finding.found for finding in daemons(settings, {})]
    except CommandExecutionError as error:
        told = [str(error)]
    return as_proof("every sshd of this node asks PAM like the one that was looked at", ". ".join(told))
