"""Each way onto this node: whether it is there and on, and whom it lets in, by the line that decides."""

from __future__ import annotations

import fnmatch
import functools
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from salt.exceptions import CommandExecutionError

import _child
import _pam_dispatch
import _pam_expand
import _pam_libpam
import _pam_prove
import _pam_search
import _processes
import _slurm_pam_daemons
import _slurm_pam_wanted
import sshd_config
from _pam_errors import PamError
from _pam_expand import Handler
from _pam_grammar import RETURN_CODES
from _pam_words import cited, why
from _processes import Process
from _slurm_pam_answers import acts_for, adopted
from _slurm_pam_ask import Unanswered, every_process, every_unit, once
from _slurm_pam_doors import INSIDE, KNOWN, NETWORK, Door
from _slurm_pam_finding import Finding
from _slurm_pam_login import value
from _text import printable, some

Unit = Mapping[str, list[str]]

# What a service is that the table does not have. Somebody may come in by it from wherever.
_UNKNOWN = Door("", "not known", NETWORK)


@dataclass
class _Seen:
    """What of a door is on this node."""

    door: Door
    there: list[str] = field(default_factory=list)
    on: list[str] = field(default_factory=list)
    listening: list[str] = field(default_factory=list)


def report(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Each way onto this node; :py:func:`slurm_pam.doors <salt.modules.slurm_pam.doors>` says what is returned.

    settings
        The merged settings of the formula.
    """
    findings: list[str] = []
    with once():
        found = _services(findings)
        found.update((service, _Seen(_door(service), [path])) for service, path in _others(found))
        for service, who in _sshds(settings, findings):
            _add(found, service, who)
    rows = [_row(seen, settings) for seen in found.values()]
    return {"doors": sorted(rows, key=_order), "findings": list(map(printable, findings))}


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What matters most first: on, letting people in, a shell."""
    return not row["on"], row["reach"] == INSIDE, row["stranger"]["in"] is False, not row["shell"], row["service"]


def doors(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """A way in besides sshd that is on, and gives a shell to people without a job. sshd has looks of its own."""
    findings: list[str] = []
    for seen in _services(findings).values():
        door = seen.door
        is_told = door.service != settings["pam"]["service"] and _setting(settings, door.service) == "report"
        if not (is_told and seen.on and door.shell and door.reach != INSIDE) or door.stays:
            continue
        stranger = _whom(door, settings)["stranger"]
        if stranger["in"] is not False:
            yield _warning(seen, stranger)
    for text in findings:
        yield Finding(
            printable(text),
            "People without a job may come in by a way that is not known here",
            "See to it that it can be asked",
            "warnings",
            (("doubtful", "what slurm_pam.doors could not ask"),),
        )


def _warning(seen: _Seen, stranger: Mapping[str, Any]) -> Finding:
    door = seen.door
    on = some([*seen.on, *(f"it listens on {place}" for place in seen.listening)])
    lets_in = "lets users without a job in" if stranger["in"] else "may let users without a job in"
    name = "" if door.what == _UNKNOWN.what else f" ({door.what})"
    return Finding(
        printable(f"The PAM service {door.service}{name} is on ({on}), and {lets_in}: {stranger['why'].rstrip('.')}"),
        _WHY_OF_REACH.get(door.reach, _WHY_OF_REACH[NETWORK]),
        f"Close it (slurm_pam:doors:{door.service}: close), switch it off, or say that it is meant (leave)",
        "warnings",
        (("doors" if stranger["in"] else "doubtful", printable(door.service)),),
    )


_WHY_OF_REACH = {
    "network": "They get a shell past Slurm, outside of every job",
    "console": "Whoever is at the machine, or at its management controller, gets a shell past Slurm",
    "later": "What they leave there runs past Slurm, outside of every job, without anyone logging in",
}


# What is there


def _services(findings: list[str]) -> dict[str, _Seen]:
    """The doors of this node by their services. What could not be asked goes to the findings."""
    try:
        units = every_unit()
    except Unanswered as error:
        units = []
        findings.append(f"What units start on this node could not be asked: {error}")
    at_home = (process for process in every_process() if _processes.at_home(process.pid))  # others ask their own PAM
    processes = [(process, _names(process)) for process in at_home]
    files, named, reached = _files(), _by_name(processes), _by_service(units)
    paths = _paths({program for door in KNOWN.values() for program in door.programs})
    looks = {service: _look(door, reached.get(service, []), named, paths) for service, door in KNOWN.items()}
    found = {service: seen for service, seen in looks.items() if seen.there or seen.on}
    for service in files & KNOWN.keys() - found.keys():
        found[service] = _Seen(KNOWN[service])
    for unit in units:
        if (service := _of_unit(unit)) and (state := _is_on(unit) or _is_for_a_socket(unit)):
            who = f"{unit['Id'][0]} asks it and is {state}"
            if who not in found.setdefault(service, _Seen(_door(service))).on:
                found[service].on.append(who)
    for process, names in _asking(processes):
        _unknown(process, names & files, found, findings)
    _listen(found, reached, named)
    return _without_twins(_asking_otherwise(found, files), files)


def _files() -> set[str]:
    """The names of the files in the directories that this libpam reads, less those that services include."""
    names: set[str] = set()
    for directory in _pam_libpam.node_libpam()["confdirs"]:
        try:
            names.update(os.listdir(directory))
        except OSError:
            continue  # not every one has to be there
    return names


def _door(service: str) -> Door:
    return KNOWN.get(service) or replace(_UNKNOWN, service=service)


def _by_name(processes: Iterable[tuple[Process, set[str]]]) -> dict[str, list[Process]]:
    """The processes by each name that they may be known by."""
    found: dict[str, list[Process]] = {}
    for process, names in processes:
        for name in names:
            found.setdefault(name, []).append(process)
    return found


_NAMES = {name for door in KNOWN.values() for name in door.units}
_UNITS = {name: [door.service for door in KNOWN.values() if name in door.units] for name in _NAMES}
_PATTERNS = {re.compile(fnmatch.translate(name)): services for name, services in _UNITS.items() if "*" in name}


def _by_service(units: Iterable[Unit]) -> dict[str, list[Unit]]:
    """The units of each service in the table."""
    found: dict[str, list[Unit]] = {}
    for unit in units:
        name = unit["Id"][0]
        matching = (services for pattern, services in _PATTERNS.items() if pattern.match(name))
        for service in itertools.chain(_UNITS.get(name, []), *matching):
            found.setdefault(service, []).append(unit)
    return found


def _look(
    door: Door, units: Iterable[Unit], named: Mapping[str, list[Process]], paths: Mapping[str, str | None]
) -> _Seen:
    """What there is of a door: its units and programs, and whether they are on."""
    programs = [path for path in map(paths.get, door.programs) if path]
    on = [f"{unit['Id'][0]} is {state}" for unit in units if (state := _is_on(unit))]
    on += [f"{name} runs (process {named[name][0].pid})" for name in _basenames(door.programs) if name in named]
    on += [f"anybody starts {path}" for path in programs if door.setuid]
    return _Seen(door, [*(unit["Id"][0] for unit in units), *programs], on)


def _is_on(unit: Unit) -> str | None:
    """Whether a unit runs, or else is started by the next boot."""
    if unit.get("ActiveState", [""])[0] in ("active", "activating", "reloading"):
        return "active"
    return "enabled" if unit.get("UnitFileState", [""])[0] in ("enabled", "enabled-runtime") else None


def _is_for_a_socket(unit: Unit) -> str | None:
    """Whether somebody who connects to a socket starts it."""
    sockets = [name for name in unit.get("TriggeredBy", [""])[0].split() if name.endswith(".socket")]
    return f"started by {sockets[0]}" if sockets else None


def _paths(programs: Iterable[str]) -> dict[str, str | None]:
    """The path of each program, or None."""
    places = _child.places()
    return {
        program: (program if os.path.exists(program) else None)
        if program.startswith("/")
        else _child.which(program, places)
        for program in programs
    }


def _basenames(programs: Iterable[str]) -> dict[str, None]:
    return dict.fromkeys(map(os.path.basename, programs))


_INTERPRETERS = re.compile(r"python|perl|ruby|node|bash|dash|sh$")


def _names(process: Process) -> set[str]:
    """What a process may be known by. Only root's is believed what it calls itself."""
    name = os.path.basename(process.program)
    if process.uid != 0:
        return {name}
    titles = [word.split(" ")[0].rstrip(":") for word in process.arguments[: 2 if _INTERPRETERS.match(name) else 1]]
    return {name, *map(os.path.basename, filter(None, titles))}


def _of_unit(unit: Unit) -> str | None:
    """The PAM service that systemd asks for a unit. Source: systemd.exec(5), PAMName."""
    return unit.get("PAMName", [""])[0].rpartition("/")[2].lower() or None


def _asking_otherwise(found: dict[str, _Seen], files: set[str]) -> dict[str, _Seen]:
    """Those of which a program asks another service, as this one has no file: that one is reached as this one is."""
    for service in [service for service, seen in found.items() if seen.door.otherwise and service not in files]:
        seen = found.pop(service)
        if seen.on:
            other = found.setdefault(seen.door.otherwise, _Seen(_door(seen.door.otherwise)))
            other.door = replace(other.door, what=f"{other.door.what}; {seen.door.what}", reach=seen.door.reach)
            other.on += seen.on
            other.listening += seen.listening
    return found


def _without_twins(found: dict[str, _Seen], files: set[str]) -> dict[str, _Seen]:
    """
    Less the services without a file whose programs ask another one that has: cron is crond elsewhere. One that is on,
    and no other of its programs has a file, falls to ``other``.
    """
    having = [seen.door for service, seen in found.items() if service in files]

    def is_asked(door: Door) -> bool:
        return not any({*door.programs, *door.units} & {*other.programs, *other.units} for other in having)

    return {service: seen for service, seen in found.items() if service in files or is_asked(seen.door)}


# What is not in the table

# Their libraries bring libpam along; what they ask is found by PAMName and by each sshd's configuration.
_ASKING_FOR_OTHERS = re.compile(r"systemd(-|$)|.*sshd(-|$)")


def _asking(processes: Iterable[tuple[Process, set[str]]]) -> Iterator[tuple[Process, set[str]]]:
    """Root's processes that have libpam and are not in the table: who lets others in has to be root."""
    known = _basenames(program for door in KNOWN.values() for program in door.programs).keys()
    seen = set()
    for process, names in processes:
        is_other = any(map(_ASKING_FOR_OTHERS.match, names)) or names & known or process.pid == os.getpid()
        known_by = frozenset(names)
        if process.uid != 0 or is_other or known_by in seen:
            continue
        # Another of these names may have it where this one has not: a script behind an option of its interpreter.
        if _processes.has_loaded(process.pid, "libpam.so.0"):
            seen.add(known_by)
            yield process, names


def _unknown(process: Process, having: set[str], found: dict[str, _Seen], findings: list[str]) -> None:
    """A program that is not in the table asks the service of its name, if there is one; which else is not known."""
    who = f"process {process.pid} ({' '.join(process.arguments)[:200]})"
    services = sorted(having)
    for service in services:
        found.setdefault(service, _Seen(_door(service))).on.append(f"{who} has libpam loaded")
    if not services:
        findings.append(f"It is not known which PAM service {who} asks; it has libpam loaded")


# What package managers and editors leave beside a file, and pam-config's files behind their links.
_NO_SERVICE = re.compile(r"[.](rpm|dpkg-|pam-|bak|old|orig)|~$|-pc$")


def _others(found: Mapping[str, _Seen]) -> Iterator[tuple[str, str]]:
    """The services, with their files, of which nothing tells what asks them: those that no other file includes."""
    paths = {name: _pam_libpam.locate(name) for name in sorted(_files()) if not _NO_SERVICE.search(name)}
    included = set()
    for path in filter(None, paths.values()):
        try:
            lines = _pam_expand.read(path)
        except PamError:
            continue  # what is wrong with it, its own row says
        included |= {os.path.basename(line["target"]) for line in lines if line["kind"] == "include"}
    yield from ((name, path) for name, path in paths.items() if path and name not in {*found, *included})


# Where they listen


def _listen(
    found: Mapping[str, _Seen], reached: Mapping[str, list[Unit]], named: Mapping[str, list[Process]]
) -> None:
    """Add where the doors that are reached from elsewhere take connections."""
    network = [seen for seen in found.values() if seen.door.elsewhere and seen.on]
    running = [
        (seen, [process.pid for name in _basenames(seen.door.programs) for process in named.get(name, [])])
        for seen in network
    ]
    places = _processes.listening({pid for _, pids in running for pid in pids})
    for seen, pids in running:
        told = map(_places, reached.get(seen.door.service, []))
        seen.listening = list(dict.fromkeys(itertools.chain(*told, *map(places.get, pids))))


def _places(unit: Unit) -> list[str]:
    """Where systemd listens for a unit. Source: systemd.socket(5), ListenStream."""
    listens = unit.get("Listen", []) if unit.get("ActiveState") == ["active"] else []
    return [line.removesuffix(" (Stream)") for line in listens if line.endswith(" (Stream)")]


# Other sshds


def _sshds(settings: Mapping[str, Any], findings: list[str]) -> Iterator[tuple[str, str]]:
    """The PAM service that each sshd asks, with who it is; of the usual one, and of each that is not."""
    try:
        others = list(_slurm_pam_daemons.departing(settings))
    except Unanswered as error:
        others = []
        findings.append(f"Whether another sshd is started on this node could not be asked: {error}")
    usual = ("sshd", settings["pam"]["service"], settings["sshd"]["config"], None, ())
    asked = [usual, *((one.who, one.name, one.config, one.program, one.options) for one in others)]
    for who, own, config, program, options in asked:
        try:
            kinds = sshd_config.connections(config, None, program, options)
        except CommandExecutionError as error:
            findings.append(f"{who} could not be asked which PAM service it asks: {error}")
            continue
        if value(kinds[0]["values"], "usepam") != "yes":
            findings.append(f"{who} does not ask PAM (UsePAM): whoever it lets in by itself is in")
            continue
        for service in dict.fromkeys(value(kind["values"], "pamservicename", own) for kind in kinds):
            yield service.lower(), who


def _add(found: dict[str, _Seen], service: str, who: str) -> None:
    seen = found.setdefault(service, _Seen(_door(service)))
    # Whatever else asks it, it is reached from elsewhere now.
    what = "SSH" if seen.door.what == _UNKNOWN.what else seen.door.what
    seen.door = replace(seen.door, what=what, reach=NETWORK, shell=True)
    if who != "sshd":
        seen.on.append(f"{who} asks it")


# Whom they let in


def _setting(settings: Mapping[str, Any], service: str) -> str:
    usual = "close" if service == settings["pam"]["service"] else "report"
    return settings.get("doors", {}).get(service, usual)


def _row(seen: _Seen, settings: Mapping[str, Any]) -> dict[str, Any]:
    door = seen.door
    return {
        "service": printable(door.service),
        "what": door.what,
        "reach": door.reach,
        "shell": door.shell,
        "stays": door.stays,
        "there": list(map(printable, seen.there)),
        "on": list(map(printable, seen.on)),
        "listening": seen.listening,
        "setting": _setting(settings, door.service),
        **(_nobody(door) if door.stays and not door.shell and not seen.on else _whom(door, settings)),
    }


def _nobody(door: Door) -> dict[str, Any]:
    """The same of one by which nobody comes in, and which nothing that is on asks for something else."""
    told = {"in": False, "why": door.stays, "decided_by": None}
    return {"stranger": told, "administrator": told}


def _whom(door: Door, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a user without a job comes to there, and an administrator."""
    calls = ["authenticate", "acct_mgmt"] if door.asks_password else ["acct_mgmt"]
    try:
        program = _pam_dispatch.compile(door.service, calls=calls)
    except PamError as error:
        told = {"in": None, "why": printable(str(error)), "decided_by": None}
        return {"stranger": told, "administrator": told}
    ours = functools.partial(_is_ours, access=settings["access"]["file"])
    stranger = functools.partial(_of_a_stranger, door.service, ours)
    administrator = functools.partial(_of_an_administrator, ours)
    exempts = functools.partial(_slurm_pam_wanted.exempts, door=door)
    return {
        "stranger": _comes_to(program, calls, stranger, ours, exempts, RETURN_CODES),
        "administrator": _comes_to(program, calls, administrator, ours, exempts, ("success",)),
    }


def _is_ours(rule: Handler, access: str) -> bool:
    """Whether a rule asks who is an administrator by our file, or Slurm."""
    return rule["name"] in _SLURM or (rule["name"] == "pam_access.so" and f"accessfile={access}" in rule["args"])


_SLURM = ("pam_slurm_adopt.so", "pam_slurm.so")
_REFUSALS = tuple(code for code in RETURN_CODES if code not in ("success", "new_authtok_reqd", "ignore", "incomplete"))


def _of_a_stranger(service: str, ours: Callable[[Handler], bool], rule: Handler) -> tuple[str, ...] | None:
    """What a rule of ours answers to who has no job and is no administrator."""
    if not ours(rule):
        return None
    if rule["name"] != "pam_slurm_adopt.so":
        return _REFUSALS
    if not acts_for(service, rule["args"]):
        return ("ignore",)
    usually = adopted([], rule["args"])[0]
    return (*_REFUSALS, *((usually,) if usually == "ignore" else ()), *_if_broken(rule["args"]))


_BROKEN = {"ignore": ("ignore",), "allow": ("success",), "deny": ()}


def _if_broken(args: Iterable[str]) -> tuple[str, ...]:
    """
    What pam_slurm_adopt answers besides, if it finds no step daemons' sockets; values count by their beginning, in any
    case, and an unknown one is the default (action_generic_failure in contribs/pam_slurm_adopt/pam_slurm_adopt.c).
    """
    told = [word.lower().partition("=")[2] for word in args if word.lower().startswith("action_generic_failure=")]
    answers = [answer for value in told for name, answer in _BROKEN.items() if value.startswith(name)]
    return answers[-1] if answers else _BROKEN["ignore"]


def _of_an_administrator(ours: Callable[[Handler], bool], rule: Handler) -> tuple[str, ...] | None:
    """Slurm may be broken."""
    return (RETURN_CODES if rule["name"] in _SLURM else ("success",)) if ours(rule) else None


_LETS_IN = {"authenticate": {"success"}, "acct_mgmt": {"success", "new_authtok_reqd"}}


def _comes_to(
    program: _pam_dispatch.Program,
    calls: Iterable[str],
    answers: Callable[[Handler], tuple[str, ...] | None],
    ours: Callable[[Handler], bool],
    exempts: Callable[[Handler], bool],
    others: tuple[str, ...],
) -> dict[str, Any]:
    """
    What somebody comes to. Where other modules may answer anything, the worst case counts, which is to get in; where
    they succeed, what keeps out.
    """
    if program.abort:
        return {"in": False, "why": program.abort["reason"], "decided_by": _place(program.abort)}

    def choose(entry: _pam_dispatch.Entry, pass_: str, others: tuple[str, ...] = others) -> tuple[str, ...]:
        if exempts(entry.rule):
            return _REFUSALS  # nobody here is of the system
        always = entry.rule["always"].get(pass_)
        return answers(entry.rule) or ((always,) if always else others)

    wants_in = others == RETURN_CODES
    for call in calls:
        found = _pam_search.possible(program, call, choose)
        ways = {code: way for code, way in found.items() if (code in _LETS_IN[call]) == wants_in}
        gets_in = bool(ways) == wants_in
        if not gets_in:
            break
    # Who is out although the others may answer anything is so where they succeed.
    if wants_in and not gets_in:
        found = ways = _pam_search.possible(program, call, lambda entry, pass_: choose(entry, pass_, ("success",)))
    code, way = min((ways or found).items(), key=lambda one: (one[0] not in ("success", "perm_denied"), len(one[1])))
    run = _pam_dispatch.Handle(program).call(call, lambda entry, pass_: way.get((pass_, entry.index), "abort"))
    step = _pam_prove.decider(run, ours, gets_in)
    if step is None:
        return {"in": gets_in, "why": f"{call} answers {code} without asking any module", "decided_by": None}
    line = cited(step.entry.rule)
    said = f"{line['file']}:{line['line']} ({line['rule']}) answers {step.answer}. {why(step, run.stack)}"
    return {"in": gets_in, "why": printable(said), "decided_by": {key: _shown(text) for key, text in line.items()}}


def _place(abort: Mapping[str, Any]) -> dict[str, Any]:
    return {"file": abort["file"], "line": abort["line"], "rule": None}


def _shown(text: Any) -> Any:
    return printable(text) if isinstance(text, str) else text


# As a table


_GETS = {True: "gets in", False: "out", None: "not known"}


def table(told: Mapping[str, Any]) -> str:
    """A report to be read: the ways in, those that are on first, and what could not be asked."""
    head = ["service", "what", "reach", "on", "no job", "administrator", "setting", "decided by"]
    rows = [head, *(_cells(row) for row in told["doors"] if not row["stays"])]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, *(f"! {text}" for text in told["findings"])])


def _cells(row: Mapping[str, Any]) -> list[str]:
    by = row["stranger"]["decided_by"]
    return [
        row["service"],
        row["what"],
        row["reach"],
        ", ".join([*row["on"][:1], *row["listening"][:1]]) or "off",
        _GETS[row["stranger"]["in"]],
        _GETS[row["administrator"]["in"]],
        row["setting"],
        f"{by['file']}:{by['line']}" if by else "",
    ]
