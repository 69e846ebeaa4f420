"""
The kinds of connection that sshd's configuration tells apart, and what stands against closing a node for one of them.

sshd is asked for each: what stands under a Match line counts for the logins that it means, and ``sshd -T`` alone does
not show it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from salt.exceptions import CommandExecutionError

import sshd_config
from _slurm_pam_finding import Finding
from _slurm_pam_login import LISTS, value, ways

# As sshd_config.connections has it: {"match", "file", "line", "values"}, the one that no Match line means first.
Kind = Mapping[str, Any]
# As sshd_config.read has it.
Line = Mapping[str, Any]


def connections(kinds: Sequence[Kind], lines: Iterable[Line], service: str) -> Iterator[Finding]:
    """
    What stands against it for some logins and not for all, and the lists of users and groups.

    kinds
        The kinds of connection, as sshd_config.connections has them.
    lines
        The configuration, as sshd_config.read has it.
    service
        The PAM service that is closed.
    """
    yield from services(kinds, service)
    rest, *matched = kinds
    yield from _without_a_way(rest, matched)
    yield from _keyboard_interactive(rest, matched)
    yield from _lists(lines)
    yield from _refused(matched)


def _meant(kind: Kind) -> str:
    """Which logins, and where that is said."""
    return f"{kind['match']} ({kind['file']}:{kind['line']})"


# The PAM service


def services(
    kinds: Sequence[Kind], service: str, own: str | None = None, doors: Collection[str] = ()
) -> Iterator[Finding]:
    """
    Logins that go by another PAM service than the one that is closed, or by none.

    kinds, service
        As for :py:func:`connections`.
    own
        The service that an sshd asks which has no PAMServiceName yet (up to 9.7): the name it was started by.
    doors
        Other services that are closed.
    """
    usual = None
    for kind in kinds:
        asked = value(kind["values"], "pamservicename", own or service)
        # For everybody, or only for some: each is said once.
        if asked not in (service, usual, *doors):
            where = f" for {_meant(kind)}" if kind["match"] else ""
            yield Finding(
                f"sshd's PAMServiceName is {asked}{where}, and slurm_pam:pam:service is {service}",
                f"sshd does not read /etc/pam.d/{service} there, and those logins go past Slurm",
                "Take that line out, or make the two the same",
            )
        usual = usual or asked
    if value(kinds[0]["values"], "usepam") != "yes":
        yield Finding(
            f"sshd's UsePAM is {value(kinds[0]['values'], 'usepam', 'not known to this sshd')}",
            "Without it sshd asks no PAM account stack, and this node stays open to everyone",
            "Set UsePAM yes in sshd's configuration (slurm_pam:sshd:options:UsePAM: true)",
        )


def proof(config: str | None, service: str) -> dict[str, Any]:
    """
    Whether every login comes to the stack that is proven, in the form of a proof. What sshd does not say is no proof.

    config
        sshd's main file; None for the one that it reads.
    service
        The PAM service that is proven.
    """
    try:
        wrong = ". ".join(finding.found for finding in services(sshd_config.connections(config), service))
    except CommandExecutionError as error:
        wrong = str(error)
    return as_proof(f"every login over SSH asks PAM for {service}", wrong)


def as_proof(name: str, wrong: str) -> dict[str, Any]:
    """What is wrong, or nothing, in the form of a proof that nobody slips by."""
    counterexample = {"why": wrong} if wrong else None
    return {"name": name, "holds": not wrong, "expect": "deny", "counterexample": counterexample}


# Ways to log in


def _without_a_way(rest: Kind, matched: Iterable[Kind]) -> Iterator[Finding]:
    told = [_meant(kind) for kind in matched if not ways(kind["values"])]
    if told and ways(rest["values"]):
        yield Finding(
            f"sshd leaves no way to log in for {', '.join(told)}",
            "Everyone whom the lines concern is kept out, administrators and users with a job included",
            "Switch on a method there that AuthenticationMethods takes, or take the lines out",
            "warnings",
        )


OUTSIDE = "Such a session is checked by Slurm, but stays outside its job: it has no limits, and outlives the job"


def _keyboard_interactive(rest: Kind, matched: Iterable[Kind]) -> Iterator[Finding]:
    told = [_meant(kind) for kind in matched if _asks(kind)]
    if told and not _asks(rest):
        yield Finding(
            f"sshd takes keyboard-interactive authentication for some logins: {', '.join(told)}",
            OUTSIDE,
            "Set PasswordAuthentication yes there instead, which puts sessions into their job, or take the line out",
            "warnings",
        )


def _asks(kind: Kind) -> bool:
    return any("keyboard-interactive" in way for way in ways(kind["values"]))


# Whom sshd keeps out


_JOBS = "Users with a job are kept out as well, before Slurm is asked"
# Patterns that fit everyone, and a user whom no job is about.
_ALL, _NOBODY = {"*"}, {"root"}


def _lists(lines: Iterable[Line]) -> Iterator[Finding]:
    """sshd puts the lines of one list together, so each may keep somebody out, wherever it stands."""
    keywords = {verb + kind: verb for verb, kind in LISTS}
    by_list: dict[str, list[Line]] = {}
    for line in lines:
        if line.get("keyword") in keywords:
            by_list.setdefault(line["keyword"], []).append(line)
    told = []
    for keyword, found in by_list.items():
        words = {word for line in found for word in line["words"]}
        if not (words & _ALL if keywords[keyword] == "allow" else words <= _NOBODY):
            told += [f"{line['name']} {' '.join(line['words'])} ({line['file']}:{line['line']})" for line in found]
    if told:
        yield Finding(
            f"sshd has lists of its own of who may log in: {', '.join(told)}",
            _JOBS,
            "Let Slurm and slurm_pam:access decide who gets in, or make sure that the lists let every user of the "
            "cluster in",
            "warnings",
        )


def _refused(matched: Iterable[Kind]) -> Iterator[Finding]:
    told = [_meant(kind) for kind in matched if value(kind["values"], "refuseconnection") == "yes"]
    if told:
        yield Finding(
            f"sshd's RefuseConnection is yes for {', '.join(told)}",
            _JOBS,
            "Take the line out, or make sure that it concerns nobody with a job",
            "warnings",
        )
