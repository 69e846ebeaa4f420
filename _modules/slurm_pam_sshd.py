"""
Whom sshd lets in by its own rules, before PAM is asked: its lists of users and groups, and the ways to log in that its
configuration leaves open.

sshd itself is asked for its values, with the files laid over that are going to be written (see
:py:mod:`sshd_config <salt.modules.sshd_config>`); what follows from them for a user is decided here and nowhere else.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import glob
import grp
import ipaddress
import os
import pwd
import re
import socket
import stat
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from salt.exceptions import CommandExecutionError, SaltInvocationError

# As sshd_config.effective has them: keyword in lower case -> values.
Values = Mapping[str, list[str]]


class Finding(NamedTuple):
    """What was found, why it matters, and what to do about it."""

    found: str
    why: str
    do: str
    kind: str = "problems"


def findings(
    settings: Mapping[str, Any], people: Mapping[str, list[str]] | None = None, others: bool = False
) -> list[dict[str, str]]:
    """
    What in sshd's configuration, as it is going to be, stands against closing this node. Changes nothing.

    settings
        The merged settings of the formula.
    people
        Whom it must not lock out, root and the administrators, each with the origins: ``{"root": ["ALL"]}``.
    others
        Whether there may be more administrators than these, whom this node cannot name.

    Returns ``[{"found", "why", "do", "kind"}]``, ``kind`` being problems or warnings.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_sshd.findings '{...}' '{root: [ALL]}'

    .. versionadded:: 1.0.0
    """
    sshd, files = settings["sshd"], {}
    try:
        if sshd["manage"]:
            options = {name: value for name, value in sshd["options"].items() if value is not None}
            files = __salt__["sshd_config.plan"](options, sshd["config"], sshd["drop_in"], tag="slurm_pam")
            # Options that are in force already have been accepted already.
            if files:
                __salt__["sshd_config.check"](options, sshd["config"], files)
        values = __salt__["sshd_config.effective"](sshd["config"], None, files)
        conditional = list(_conditional(__salt__["sshd_config.find"](sshd["config"]), files))
    except (CommandExecutionError, SaltInvocationError) as problem:
        told = Finding(
            f"slurm_pam:sshd:options: {problem}",
            "With such a configuration sshd does not start again, or lets nobody in",
            "Allowed are, there and in sshd's own files, the options of sshd_config(5) with values that sshd accepts",
        )
        return [told._asdict()]
    looks = [
        *_values(values, settings["pam"]["service"]),
        *_reopened(conditional),
        *_domains(settings["access"], values),
    ]
    if _ways(values, _on(values)):
        for_each = _values_for_each(people or {}, values, conditional, sshd["config"], files)
        looks += _locked_out(people or {}, for_each, others)
    return [finding._asdict() for finding in looks]


def _value(values: Values, keyword: str, missing: str = "") -> str:
    return " ".join(values[keyword]) if keyword in values else missing


# The lists of users and groups


def refusal(user: str, groups: list[str], values: Values, origin: str | None = None) -> str | None:
    """
    Why sshd itself turns a user away, whatever PAM says; None where it does not.

    user, groups
        Names; of the groups all that the user is in.
    values
        What :py:func:`sshd_config.effective <salt.modules.sshd_config.effective>` returns for this user.
    origin
        The address or the host that the user comes from. Where it is not given, any that helps the user.

    Source: sshd_config(5), AllowUsers; OpenSSH's auth.c (allowed_user) and match.c (match_user).

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_sshd.refusal alice '[users]' '{denyusers: [alice@192.0.2.0/24]}' 192.0.2.1

    .. versionadded:: 1.0.0
    """
    if user == "root" and _value(values, "permitrootlogin") == "no":
        return _NO_ROOT
    address = _address(origin) if origin else None
    host = origin if _value(values, "usedns") == "yes" else address
    for verb, kind in _LISTS:
        patterns = _value(values, verb + kind).split()
        if kind == "users":
            listed = any(_is_user(pattern, user, host, address, verb == "allow") for pattern in patterns)
        else:
            listed = any(_fits(group, pattern) for pattern in patterns for group in groups)
        if patterns and listed == (verb == "deny"):
            return f"sshd has {verb}{kind} {' '.join(patterns)}"
    return None


_NO_ROOT = "sshd has PermitRootLogin no"
# In the order in which sshd looks at them.
_LISTS = (("deny", "users"), ("allow", "users"), ("deny", "groups"), ("allow", "groups"))


def _is_user(pattern: str, user: str, host: str | None, address: str | None, from_anywhere: bool) -> bool:
    """user or user@host,...; only what comes behind the @ knows ``!``."""
    name, at, hosts = pattern.partition("@")
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
        return ipaddress.ip_address(address) in ipaddress.ip_network(pattern)
    except ValueError:
        return _fits(address, pattern) or _fits(host.lower(), pattern.lower())


def _fits(name: str, pattern: str) -> bool:
    """sshd's patterns know ``*`` and ``?`` and nothing else."""
    regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, name, re.DOTALL) is not None


def group_names(user: str) -> list[str]:
    """
    The groups of a user of this node, as sshd and pam_access see them: asked for one by one, so that those are among
    them that a directory service does not list.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_sshd.group_names alice

    .. versionadded:: 1.0.0
    """
    return list(filter(None, map(_group_name, os.getgrouplist(user, pwd.getpwnam(user).pw_gid))))


def _group_name(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


# The connection


# Of no network that there is (RFC 5737), so that no Match line means it.
_SOMEWHERE = "203.0.113.1"


def connection(user: str, origin: str, values: Values) -> str:
    """
    A login as ``sshd -T -C`` takes it, so that every kind of Match line can be held against it.

    user
        A name.
    origin
        The address or the host that the user comes from.
    values
        What :py:func:`sshd_config.effective <salt.modules.sshd_config.effective>` returns without a connection.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_sshd.connection alice 192.0.2.1 '{port: ["22"], usedns: ["no"]}'

    .. versionadded:: 1.0.0
    """
    address = _address(origin) or _SOMEWHERE
    # Without UseDNS the address is all that sshd knows of a host.
    host = origin if _value(values, "usedns") == "yes" else address
    port = _value(values, "port", "22").split()[0]
    return f"user={user},host={host},addr={address},laddr={_facing(address)},lport={port}"


def _address(host: str) -> str | None:
    try:
        return socket.getaddrinfo(host, None)[0][4][0]
    except OSError:
        return None


def _facing(address: str) -> str:
    """This node's own address on the way to another; nothing is sent."""
    family, loopback = (socket.AF_INET6, "::1") if ":" in address else (socket.AF_INET, "127.0.0.1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return probe.getsockname()[0]
    except OSError:
        return loopback


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


def _on(values: Values) -> set[str]:
    """The methods that are switched on."""
    return {method for method, option in _METHODS.items() if _value(values, option) == "yes"}


def _ways(values: Values, usable: set[str]) -> list[list[str]]:
    """What sshd takes for a login, as the methods that it takes together; all of them are usable."""
    methods = _value(values, "authenticationmethods", "any")
    if methods == "any":
        return [[method] for method in sorted(usable)]
    ways = [[method.partition(":")[0] for method in way.split(",")] for way in methods.split()]
    return [way for way in ways if usable.issuperset(set(way) & set(_METHODS))]


def _values(values: Values, service: str) -> Iterator[Finding]:
    """What is wrong with the values that hold for everybody."""
    if _value(values, "usepam") != "yes":
        yield Finding(
            f"sshd's UsePAM is {_value(values, 'usepam', 'not known to this sshd')}",
            "Without it sshd asks no PAM account stack, and this node stays open to everyone",
            "Set UsePAM yes in sshd's configuration (slurm_pam:sshd:options:UsePAM: true)",
        )
    if _value(values, "pamservicename", service) != service:
        yield Finding(
            f"sshd's PAMServiceName is {_value(values, 'pamservicename')}, and slurm_pam:pam:service is {service}",
            f"sshd does not read /etc/pam.d/{service}",
            "Make the two the same",
        )
    methods, ways = _value(values, "authenticationmethods", "any"), _ways(values, _on(values))
    if not ways:
        yield Finding(
            f"sshd's AuthenticationMethods is {methods}, of which no way is left with the methods that are switched on",
            "Nobody could log in at all, root and administrators included",
            "Change AuthenticationMethods, or switch its methods on in slurm_pam:sshd:options",
        )
    elif any("keyboard-interactive" in way for way in ways):
        only = all("keyboard-interactive" in way for way in ways)
        yield Finding(
            f"sshd lets {'everybody' if only else 'people'} in by keyboard-interactive authentication "
            f"(AuthenticationMethods {methods})",
            _OUTSIDE,
            "Set KbdInteractiveAuthentication no, and let AuthenticationMethods do without it",
            "warnings",
        )


_OUTSIDE = "Such a session is checked by Slurm, but stays outside its job: it has no limits, and outlives the job"


# Match lines


def _conditional(path: str, files: Mapping[str, str | None], match: str = "", depth: int = 0) -> Iterator[dict]:
    """Every setting that holds for some connections only, with its ``file`` and ``line`` and the ``match`` above it."""
    for entry in __salt__["sshd_config.parse"](_text(path, files)):
        if entry["kind"] == "match":
            match = f"Match {' '.join(entry['words'])}"
        elif entry["kind"] == "setting" and match:
            yield {**entry, "file": path, "match": match}
        elif entry["kind"] == "include" and depth < 16:  # as OpenSSH's servconf.c
            for word in entry["words"]:
                for target in sorted(glob.glob(os.path.join("/etc/ssh", word))):
                    yield from _conditional(target, files, match, depth + 1)


def _text(path: str, files: Mapping[str, str | None]) -> str:
    if path in files:
        return files[path] or ""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as handle:
        return handle.read()


def _reopened(conditional: list[dict]) -> Iterator[Finding]:
    places = [
        f"{entry['file']}:{entry['line']} ({entry['match']})"
        for entry in conditional
        if entry["keyword"] == "kbdinteractiveauthentication" and entry["words"][0].lower() == "yes"
    ]
    if places:
        yield Finding(
            f"sshd takes keyboard-interactive authentication for some logins: {', '.join(places)}",
            _OUTSIDE,
            "Have PasswordAuthentication yes there instead, whose sessions go into their job, or take the line out",
            "warnings",
        )


# Origins that sshd never tells PAM of


def _domains(access: Mapping[str, Any], values: Values) -> Iterator[Finding]:
    """A .domain is compared with what sshd gives PAM as PAM_RHOST: the address, unless UseDNS is on."""
    if _value(values, "usedns") != "no":
        return
    who = {"root": access["root"]} | {
        f"{kind}:{name}:origins": entry["origins"]
        for kind in ("groups", "users")
        for name, entry in access[kind].items()
        if entry is not None
    }
    domains = {path: [origin for origin in origins if origin.startswith(".")] for path, origins in who.items()}
    found = "; ".join(f"slurm_pam:access:{path} has {', '.join(names)}" for path, names in domains.items() if names)
    if not found:
        return
    admins = [path for path in who if path != "root" and not access["root_only"]] or ["root"]
    nobody = all(domains[path] == who[path] for path in admins)
    yield Finding(
        f"{found}, but sshd's UseDNS is no",
        "PAM is told the address then, and a .domain never fits"
        + (": no administrator could get in when Slurm is broken" if nobody else ""),
        "Name a network, an address or a host instead, or set UseDNS yes (slurm_pam:sshd:options:UseDNS: true)",
        "problems" if nobody else "warnings",
    )


# Who would be locked out


# What decides whether somebody gets in, and may stand below a Match line.
_DECISIVE = {
    *_METHODS.values(),
    *("authenticationmethods", "permitrootlogin", "authorizedkeysfile", "authorizedkeyscommand", "trustedusercakeys"),
    *(verb + kind for verb, kind in _LISTS),
}


def _values_for_each(
    people: Mapping[str, list[str]], values: Values, conditional: list[dict], config: str | None, files: Mapping
) -> Iterator[tuple[str, Values]]:
    """The values that hold for each of them; sshd is asked once for each only where that makes a difference."""
    differ = any(entry["keyword"] in _DECISIVE for entry in conditional)
    for user, origins in people.items():
        try:
            login = connection(user, _first_address(origins), values) if differ else None
            yield user, __salt__["sshd_config.effective"](config, login, files) if differ else values
        except CommandExecutionError:
            yield user, values  # a Match line that this sshd cannot be asked about


def _first_address(origins: list[str]) -> str:
    for origin in origins:
        try:
            return str(next(iter(ipaddress.ip_network(origin, strict=False).hosts())))
        except ValueError:
            continue
    return _SOMEWHERE


def _locked_out(
    people: Mapping[str, list[str]], for_each: Iterator[tuple[str, Values]], others: bool
) -> Iterator[Finding]:
    reasons = {user: _no_way(user, people[user], values) for user, values in for_each}
    locked_out = {user: reason for user, reason in reasons.items() if reason}
    told = ", ".join(f"{user} ({reason})" for user, reason in locked_out.items())
    if locked_out and locked_out.keys() == reasons.keys() and not others:
        yield Finding(
            f"Neither root nor any administrator that this node knows could log in over SSH: {told}",
            "Nobody could repair this node, with sshd's configuration as it is going to be (slurm_pam:sshd:options)",
            _WAYS,
        )
        return
    # That root is not to log in is said so, and no oversight.
    unseen = ", ".join(f"{user} ({reason})" for user, reason in locked_out.items() if reason != _NO_ROOT)
    if unseen:
        yield Finding(
            f"No way to log in over SSH is left to {unseen}",
            "They are to get in without a job, and could not, whatever slurm_pam:access says",
            _WAYS,
            "warnings",
        )


_WAYS = (
    "Put a public key there first, leave another method on (slurm_pam:sshd:options:PasswordAuthentication: true), or "
    "change what keeps them out"
)


def _no_way(user: str, origins: list[str], values: Values) -> str | None:
    """Why sshd lets a user in by no way at all; None where there is one."""
    groups = group_names(user) if any(_value(values, f"{verb}groups") for verb in ("deny", "allow")) else []
    # Only of a single address it is known for sure which host patterns fit.
    places = [origin if _is_address(origin) else None for origin in origins] or [None]
    refusals = [refusal(user, groups, values, place) for place in places]
    if all(refusals):
        return refusals[0]
    usable = _on(values)
    if user == "root":
        usable &= _LEFT_TO_ROOT.get(_value(values, "permitrootlogin"), set(_METHODS))
    files = _key_files(pwd.getpwnam(user), values)
    if "publickey" in usable and not _other_keys(values) and not any(map(_holds_key, files)):
        reason, usable = f"no key in {' or '.join(files) or 'AuthorizedKeysFile'}", usable - {"publickey"}
    else:
        reason = f"PermitRootLogin is {_value(values, 'permitrootlogin')}" if user == "root" else "no method is on"
    return None if _ways(values, usable) else reason


def _is_address(origin: str) -> bool:
    try:
        ipaddress.ip_address(origin)
    except ValueError:
        return False
    return True


def _other_keys(values: Values) -> bool:
    """Whether keys may come from elsewhere than a file of the user's."""
    return any(_value(values, keyword, "none") != "none" for keyword in ("authorizedkeyscommand", "trustedusercakeys"))


def _key_files(account: pwd.struct_passwd, values: Values) -> list[str]:
    """The user's files of keys, with the tokens of sshd_config(5), AuthorizedKeysFile; relative ones are at home."""
    tokens = {"%": "%", "h": account.pw_dir, "u": account.pw_name, "U": str(account.pw_uid)}
    names = [name for name in _value(values, "authorizedkeysfile", ".ssh/authorized_keys").split() if name != "none"]
    expanded = (re.sub("%([%huU])", lambda token: tokens[token[1]], name) for name in names)
    return [os.path.join(account.pw_dir, name) for name in expanded]


def _holds_key(path: str) -> bool:
    try:
        # As sshd opens it, so that nothing a user puts there makes this wait or read without end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            text = file.read(65536) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # a home that root may not look into, as on NFS: sshd reads it as the user
    return any(line.strip() and not line.lstrip().startswith(b"#") for line in text.splitlines())
