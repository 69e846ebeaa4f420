"""
What in sshd's configuration, as it is going to be, stands against closing a node.

sshd itself is asked for its values, with the files laid over that are going to be written; what follows from them for
a user, ``_slurm_pam_login`` says.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

import _slurm_pam_access
import _slurm_pam_admins
import sshd_config
from _slurm_pam_connections import OUTSIDE, connections
from _slurm_pam_crowding import crowding
from _slurm_pam_daemons import daemons
from _slurm_pam_finding import Finding
from _slurm_pam_login import DECISIVE, NO_ROOT, SOMEWHERE, Values, connection, no_way, value, ways

# What is to be at each path.
Files = Mapping[str, str | None]


def sshd(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """What sshd will do with the options that are going to be written, or does already if they are not managed."""
    config = settings["sshd"]["config"]
    try:
        files = _planned(wanted["sshd"])
        kinds = sshd_config.connections(config, files)
        lines = sshd_config.read(config, files)
        yield from _drop_in(wanted["sshd"], lines, files)
    except (CommandExecutionError, SaltInvocationError) as error:
        yield Finding(
            f"slurm_pam:sshd:options: {error}",
            "With such a configuration sshd does not start again, or lets nobody in",
            "Allowed are, there and in sshd's own files, the options of sshd_config(5) with values that sshd accepts",
        )
        return
    values = kinds[0]["values"]
    yield from _for_everybody(values)
    yield from connections(kinds, lines, settings["pam"]["service"])
    yield from crowding(values)
    yield from daemons(settings, files)
    yield from _names(settings["access"], values)
    if files and not settings["confirm"]:
        yield from _unproven(settings["sshd"]["options"])
    if ways(values):
        people, others = _slurm_pam_admins.people(settings["access"])
        yield from _locked_out(people, _for_each(people, values, lines, config, files), others)


def _planned(wanted: Mapping[str, Any] | None) -> Files:
    """The files that are going to be written."""
    if wanted is None:
        return {}
    files = sshd_config.plan(**wanted)
    # Options that are in force already have been accepted already.
    if files and (beaten := sshd_config.check(wanted["options"], wanted["config"], files)):
        told = (f"{each['option']} would be {each['found']}, not {each['wanted']}: {each['by']}" for each in beaten)
        raise CommandExecutionError(f"they would not count. {'; '.join(told)}")
    return files


def _drop_in(wanted: Mapping[str, Any] | None, lines: Iterable[Mapping[str, Any]], files: Files) -> Iterator[Finding]:
    """Where sshd has drop-ins at all, one that it does not read is a mistake; elsewhere single lines are the way."""
    if wanted is None or not wanted["drop_in"]:
        return
    includes = [" ".join(line["words"]) for line in lines if line["kind"] == "include"]
    if includes and not sshd_config.reads(wanted["drop_in"], wanted["config"], files):
        yield Finding(
            f"sshd does not read {wanted['drop_in']}; what it includes is {', '.join(includes)}",
            "Single lines of sshd_config are edited instead",
            "Name a file that it includes (slurm_pam:sshd:drop_in), if you want a drop-in",
            "warnings",
        )


# What holds for everybody


def _for_everybody(values: Values) -> Iterator[Finding]:
    methods, left = value(values, "authenticationmethods", "any"), ways(values)
    if not left:
        yield Finding(
            f"sshd's AuthenticationMethods is {methods}, and none of it works with the methods that are switched on",
            "Nobody could log in at all, root and administrators included",
            "Change AuthenticationMethods, or switch its methods on in slurm_pam:sshd:options",
        )
    elif any("keyboard-interactive" in way for way in left):
        only = all("keyboard-interactive" in way for way in left)
        yield Finding(
            f"sshd lets {'everybody' if only else 'people'} in by keyboard-interactive authentication "
            f"(AuthenticationMethods {methods})",
            OUTSIDE,
            "Set KbdInteractiveAuthentication no, and let AuthenticationMethods do without it",
            "warnings",
        )


# Origins that sshd never tells PAM of


def _names(access: Mapping[str, Any], values: Values) -> Iterator[Finding]:
    """A name is compared with what sshd gives PAM as PAM_RHOST: the address, unless UseDNS is on."""
    if value(values, "usedns") != "no":
        return
    who = _slurm_pam_access.origins_of(access)
    compared = {path: _slurm_pam_access.compared_by_name(origins) for path, origins in who.items()}
    found = "; ".join(f"slurm_pam:access:{path} has {', '.join(names)}" for path, names in compared.items() if names)
    if not found:
        return
    admins = [path for path in who if path != "root" and not access["root_only"]] or ["root"]
    nobody = all(compared[path] == who[path] for path in admins)
    yield Finding(
        f"{found}, but sshd's UseDNS is no",
        "PAM is told the address then, and this node's pam_access finds no address for such a name"
        + (": no administrator could get in when Slurm is broken" if nobody else ""),
        "Name a network or an address instead, or set UseDNS yes (slurm_pam:sshd:options:UseDNS: true)",
        "problems" if nobody else "warnings",
    )


# What only a login shows


# Of these it depends on a client, a key or a network whether an administrator's login still comes about.
_UNPROVEN = {
    *("ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "hostkey", "hostcertificate", "requiredrsasize"),
    *("pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes", "casignaturealgorithms", "pubkeyauthoptions"),
    *("revokedkeys", "trustedusercakeys", "authorizedprincipalsfile", "authorizedprincipalscommand"),
    *("authorizedkeyscommand", "authorizedkeysfile", "strictmodes", "logingracetime", "maxauthtries"),
    *("forcecommand", "chrootdirectory", "permittty", "port", "listenaddress", "addressfamily", "rdomain"),
}


def _unproven(options: Mapping[str, Any]) -> Iterator[Finding]:
    """Options of ours that are not in force yet, and of which this node cannot tell whom they leave in."""
    if named := [name for name in options if name.lower() in _UNPROVEN]:
        yield Finding(
            f"slurm_pam:sshd:options has {', '.join(named)}",
            "Only a login shows whether an administrator's client, key and network can cope with that",
            "Set slurm_pam:confirm, in seconds: the node takes the apply back unless somebody gets in and calls "
            "slurm_pam.confirm in time",
            "warnings",
        )


# Who would be locked out


_WAYS = (
    "Put a public key there first, leave another method on (slurm_pam:sshd:options:PasswordAuthentication: true), or "
    "change what keeps them out"
)


def _for_each(
    people: Mapping[str, list[str]], values: Values, lines: Iterable[Mapping], config: str | None, files: Files
) -> Iterator[tuple[str, Values | CommandExecutionError]]:
    """
    The values that hold for each of them, or why sshd does not say; it is asked once for each only if that makes a
    difference.
    """
    differ = any(line["within"] and line.get("keyword") in DECISIVE for line in lines)
    for user, origins in people.items():
        try:
            login = connection(user, _first_address(origins), values) if differ else None
            yield user, sshd_config.effective(config, login, files) if differ else values
        except CommandExecutionError as error:
            yield user, error


def _first_address(origins: list[str]) -> str:
    for origin in origins:
        try:
            return str(next(iter(ipaddress.ip_network(origin, strict=False).hosts())))
        except ValueError:
            continue
    return SOMEWHERE


def _locked_out(
    people: Mapping[str, list[str]], for_each: Iterable[tuple[str, Values | CommandExecutionError]], others: bool
) -> Iterator[Finding]:
    unasked: dict[str, str] = {}
    locked_out: dict[str, str] = {}
    for user, values in for_each:
        if isinstance(values, CommandExecutionError):
            unasked[user] = f"sshd could not be asked: {values}"
        elif reason := no_way(user, people[user], values):
            locked_out[user] = reason
    if locked_out and len(locked_out) + len(unasked) == len(people) and not others:
        yield Finding(
            "Neither root nor any administrator that this node knows could log in over SSH: "
            + _reasons({**locked_out, **unasked}),
            "With sshd's configuration as it is going to be, nobody could repair this node (slurm_pam:sshd:options)",
            _WAYS,
        )
        return
    # That root is not to log in is said so, and no oversight.
    if unseen := {user: reason for user, reason in locked_out.items() if reason != NO_ROOT}:
        yield Finding(
            f"No way to log in over SSH is left to {_reasons(unseen)}",
            "They are to get in without a job, and could not, whatever slurm_pam:access says",
            _WAYS,
            "warnings",
        )
    if unasked:
        yield Finding(
            f"It is not known whether there is still a way to log in over SSH for {_reasons(unasked)}",
            "They are to get in without a job, and perhaps could not, whatever slurm_pam:access says",
            "Set slurm_pam:confirm, which takes the apply back by itself",
            "warnings",
        )


def _reasons(told: Mapping[str, str]) -> str:
    return ", ".join(f"{user} ({reason})" for user, reason in told.items())
