"""
Whom sshd lets in by its own rules, before and besides PAM: its lists of users and groups, and the ways to log in that
its values leave to a user.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
import socket
from collections.abc import Mapping

import _file
import _slurm_pam_accounts

# As sshd_config.effective has them: keyword in lower case -> values.
Values = Mapping[str, list[str]]


def value(values: Values, keyword: str, missing: str = "") -> str:
    return " ".join(values[keyword]) if keyword in values else missing


# The connection


# Of no network that there is (RFC 5737), so that no Match line means it.
SOMEWHERE = "203.0.113.1"


def connection(user: str, origin: str, values: Values) -> str:
    """
    A login as ``sshd -T -C`` takes it, so that every kind of Match line can be held against it.

    user
        A name.
    origin
        The address or the host that the user comes from.
    values
        Those that hold without a connection.
    """
    address = _address(origin) or SOMEWHERE
    # Without UseDNS the address is all that sshd knows of a host.
    host = origin if value(values, "usedns") == "yes" else address
    port = value(values, "port", "22").split()[0]
    return f"user={user},host={host},addr={address},laddr={_facing(address)},lport={port}"


def _address(host: str) -> str | None:
    """The first of its addresses; None if there is no such host. Raises CommandExecutionError if nobody tells."""
    return next(map(str, _slurm_pam_accounts.addresses(host)), None)


def _facing(address: str) -> str:
    """This node's own address on the way to another; nothing is sent."""
    family, loopback = (socket.AF_INET6, "::1") if ":" in address else (socket.AF_INET, "127.0.0.1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return probe.getsockname()[0]
    except OSError:
        return loopback


# The lists of users and groups


NO_ROOT = "sshd has PermitRootLogin no"
# In the order in which sshd looks at them.
LISTS = (("deny", "users"), ("allow", "users"), ("deny", "groups"), ("allow", "groups"))


def refusal(user: str, groups: list[str], values: Values, origin: str | None = None) -> str | None:
    """
    Why sshd itself turns a user away, whatever PAM says; None if it does not.

    user, groups
        Names; of the groups all that the user is in.
    values
        Those that hold for this user.
    origin
        The address or the host that the user comes from. If it is not given, any that helps the user.

    Source: sshd_config(5), AllowUsers; OpenSSH's auth.c (allowed_user) and match.c (match_user).
    """
    if value(values, "refuseconnection") == "yes":
        return "sshd has RefuseConnection yes"
    if user == "root" and value(values, "permitrootlogin") == "no":
        return NO_ROOT
    # A user's name may have an @ too. The last one counts from 9.9, which brought RefuseConnection; before, the first.
    split = str.rpartition if "refuseconnection" in values else str.partition
    address = _address(origin) if origin else None
    host = origin if value(values, "usedns") == "yes" else address
    for verb, kind in LISTS:
        patterns = values.get(verb + kind, [])  # a line for each; one may have blanks in it
        if kind == "users":
            split_patterns = (split(pattern, "@") if "@" in pattern else (pattern, "", "") for pattern in patterns)
            listed = any(_is_user(*parts, user, host, address, verb == "allow") for parts in split_patterns)
        else:
            listed = any(_fits(group, pattern) for pattern in patterns for group in groups)
        if patterns and listed == (verb == "deny"):
            return f"sshd has {verb}{kind} {' '.join(patterns)}"
    return None


def is_among(origin: str, addresses: str) -> bool:
    """
    Whether sshd means a host or an address by a list of addresses.

    origin
        The address or the host.
    addresses
        Networks and patterns with commas between them; one with ``!`` counts over the others.

    Source: OpenSSH's addrmatch.c (addr_match_list).
    """
    address = _address(origin)
    return address is not None and _is_host(addresses, address, address)


def _is_user(
    name: str, at: str, hosts: str, user: str, host: str | None, address: str | None, from_anywhere: bool
) -> bool:
    """user or user@host,...; only what comes behind the @ knows ``!``."""
    if not _fits(user, name):
        return False
    if not at:
        return True
    return from_anywhere if address is None else _is_host(hosts, host or address, address)


def _is_host(patterns: str, host: str, address: str) -> bool:
    """One of them fits, and none that begins with ``!`` does."""
    fitting = [word for word in patterns.split(",") if _is_place(word.removeprefix("!"), host, address)]
    return bool(fitting) and not any(word.startswith("!") for word in fitting)


def _is_place(pattern: str, host: str, address: str) -> bool:
    try:
        place, network = ipaddress.ip_address(address), ipaddress.ip_network(pattern)
        return place in network and _zone(place) == _zone(network.network_address)
    except ValueError:
        return _fits(address, pattern) or _fits(host.lower(), pattern.lower())


def _zone(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str | None:
    """That of fe80::1%eth0, which is in no network without it: addr_cmp in OpenSSH's addr.c."""
    return getattr(address, "scope_id", None)


def _fits(name: str, pattern: str) -> bool:
    """sshd's patterns know ``*`` and ``?`` and nothing else."""
    regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, name, re.DOTALL) is not None


# The ways to log in


# What each method of AuthenticationMethods needs (sshd_config(5)).
_METHODS = {
    "publickey": "pubkeyauthentication",
    "password": "passwordauthentication",
    "keyboard-interactive": "kbdinteractiveauthentication",
    "gssapi-with-mic": "gssapiauthentication",
    "hostbased": "hostbasedauthentication",
}
# What PermitRootLogin leaves to root; a forced command is no way to repair a node.
_WITHOUT_PASSWORD = {"publickey", "gssapi-with-mic", "hostbased"}
_LEFT_TO_ROOT = {
    "yes": set(_METHODS),
    "without-password": _WITHOUT_PASSWORD,
    "prohibit-password": _WITHOUT_PASSWORD,
    "forced-commands-only": set(),
    "no": set(),
}
# What decides whether somebody gets in, and may stand below a Match line.
DECISIVE = {
    *_METHODS.values(),
    *("authenticationmethods", "permitrootlogin", "authorizedkeysfile", "authorizedkeyscommand", "trustedusercakeys"),
    *("refuseconnection", "forcecommand", "maxsessions"),
    *(verb + kind for verb, kind in LISTS),
}


def ways(values: Values) -> list[list[str]]:
    """What sshd takes for a login, as the methods that it takes together, all of which are on."""
    return _ways(values, _methods_on(values))


def _methods_on(values: Values) -> set[str]:
    return {method for method, option in _METHODS.items() if value(values, option) == "yes"}


def _ways(values: Values, usable: set[str]) -> list[list[str]]:
    """Those of which each method is usable."""
    methods = value(values, "authenticationmethods", "any")
    if methods == "any":
        return [[method] for method in sorted(usable)]
    ways = [[method.partition(":")[0] for method in way.split(",")] for way in methods.split()]
    return [way for way in ways if usable.issuperset(set(way) & set(_METHODS))]


def no_way(user: str, origins: list[str], values: Values) -> str | None:
    """
    Why sshd lets a user of this node in by no way at all; None if there is one.

    user
        A name.
    origins
        The networks, addresses and hosts that the user may come from, any of which will do.
    values
        Those that hold for this user.
    """
    if reason := _no_session(values) or _out_of_reach(origins, values):
        return reason
    matter = any(value(values, f"{verb}groups") for verb in ("deny", "allow"))
    groups = _slurm_pam_accounts.groups_of(user) if matter else []
    # Only of a single address it is known for sure which host patterns fit.
    places = [origin if _is_address(origin) else None for origin in origins] or [None]
    refusals = [refusal(user, groups, values, place) for place in places]
    if all(refusals):
        return refusals[0]
    usable = _methods_on(values)
    if user == "root":
        usable &= _LEFT_TO_ROOT.get(value(values, "permitrootlogin"), set(_METHODS))
    by_file = "publickey" in usable and not _other_keys(values)
    keyless = _keyless(_slurm_pam_accounts.account(user), values) if by_file else None
    if keyless:
        reason, usable = keyless, usable - {"publickey"}
    else:
        reason = f"PermitRootLogin is {value(values, 'permitrootlogin')}" if user == "root" else "no method is on"
    return None if _ways(values, usable) else reason


def _is_address(origin: str) -> bool:
    try:
        ipaddress.ip_address(origin)
    except ValueError:
        return False
    return True


# No command that anybody could repair a node with.
_USELESS = {"false", "true", "nologin", "internal-sftp", "sftp-server"}


def _no_session(values: Values) -> str | None:
    """Why a login would come to nothing, though sshd takes it."""
    command = value(values, "forcecommand", "none")
    if os.path.basename(command.split()[0]) in _USELESS:
        return f"sshd has ForceCommand {command}"
    return "sshd has MaxSessions 0" if value(values, "maxsessions") == "0" else None


def _out_of_reach(origins: list[str], values: Values) -> str | None:
    """Why there is no way from an origin to an address on which sshd listens; None if there is."""
    listening = [_listening(place) for place in values.get("listenaddress", [])]
    here = [address for address in listening if _is_here(address)]
    if not listening or any(_reaches(origin, address) for origin in origins for address in here):
        return None
    alone = f"sshd listens on {', '.join(map(str, here or listening))} alone"
    return alone if here else f"{alone}, which is not an address of this node"


def _listening(place: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """192.0.2.1:22 and [2001:db8::1]:22, as ``sshd -T`` has them."""
    return ipaddress.ip_address(place.split()[0].rpartition(":")[0].strip("[]"))


def _is_here(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether sshd can listen there; the kernel knows, and no port is taken."""
    try:
        opened = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:
        return False  # a kernel without IPv6
    with opened as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return address.is_unspecified
    return True


def _reaches(origin: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """An origin is of the address's family, and on this node itself if the address is. Of a name it is not known."""
    try:
        network = ipaddress.ip_network(origin, strict=False)
    except ValueError:
        return not address.is_loopback
    everywhere = network.prefixlen == 0  # which is written as ALL
    return (everywhere or network.version == address.version) and (not address.is_loopback or network.is_loopback)


# A user's public keys


def _other_keys(values: Values) -> bool:
    """Whether keys may come from elsewhere than a file of the user's."""
    return any(value(values, keyword, "none") != "none" for keyword in ("authorizedkeyscommand", "trustedusercakeys"))


def _key_files(account: pwd.struct_passwd, values: Values) -> list[str]:
    """The user's files of keys, with the tokens of sshd_config(5), AuthorizedKeysFile; relative ones are at home."""
    tokens = {"%": "%", "h": account.pw_dir, "u": account.pw_name, "U": str(account.pw_uid)}
    names = [name for name in value(values, "authorizedkeysfile", ".ssh/authorized_keys").split() if name != "none"]
    expanded = (re.sub("%([%huU])", lambda token: tokens[token[1]], name) for name in names)
    return [os.path.join(account.pw_dir, name) for name in expanded]


def _keyless(account: pwd.struct_passwd, values: Values) -> str | None:
    """Why no file holds a key of the user's; None if one does."""
    reasons = []
    for path in _key_files(account, values):
        reason = _no_key(account, path)
        if reason is None:
            return None
        reasons.append(reason)
    return " and ".join(reasons) or "no key in AuthorizedKeysFile"


def _no_key(account: pwd.struct_passwd, path: str) -> str | None:
    """As sshd looks for one: as the user, and in nothing but a file."""
    try:
        lines = _file.read_as(account, path).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        lines = []
    except OSError as error:
        return f"{path} cannot be read as {account.pw_name}: {error.strerror}"
    holds = any(line.strip() and not line.lstrip().startswith(b"#") for line in lines)
    return None if holds else f"no key in {path}"
