"""The access file, as pam_access reads it (access.conf(5)), and origins as they are written for every release of it."""

from __future__ import annotations

import functools
import ipaddress
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from salt.exceptions import CommandExecutionError

import _file
import _pam_libpam
import _slurm_pam_accounts
import _text
from _pam_errors import PamError
from _slurm_pam_accounts import Address

# What pam_access takes whoever has no remote host (PAM_RHOST) to come from: consoles, cron.
LOCAL = "LOCAL"

_WORD = re.compile(r"[^\s,]+")


# What releases read otherwise


class Release(NamedTuple):
    """What a pam_access does that others do not."""

    resolves: bool = True  # a host in the file means its addresses (1.5.3)
    whole: bool = True  # a line may have any length (1.6.0)
    loopback: bool = True  # 127.0.0.1 and ::1 are the same (1.7.1)


# What fgets(3) reads of a line at once, with the newline (BUFSIZ).
_BUFFER = 8191


def release() -> Release:
    """How this node's pam_access reads. Its binary tells, and not its version: distributions backport."""
    try:
        places = [os.path.join(path, "pam_access.so") for path in _pam_libpam.node_libpam()["module_dirs"]]
    except PamError as error:
        raise CommandExecutionError(str(error)) from error
    for path in places:
        try:
            return examine(path, os.stat(path).st_mtime_ns)
        except OSError:
            continue
    raise CommandExecutionError(f"There is no pam_access to ask how it reads an origin: {', '.join(places)}")


@functools.lru_cache(maxsize=8)
def examine(path: str, _changed: int = 0) -> Release:
    """What the binary of a pam_access says of itself."""
    with open(path, "rb") as file:
        binary = file.read()
    return Release(b"cannot resolve hostname" in binary, b"fgets" not in binary, b"127.0.0.1\0" in binary)


def origins_of(access: Mapping[str, Any]) -> dict[str, list[str]]:
    """Where root and each administrator may come from, by the path of that setting in slurm_pam:access."""
    found = {"root": access["root"]}
    for kind in ("groups", "users"):
        found |= {f"{kind}:{name}:origins": entry["origins"] for name, entry in access[kind].items()}
    return found


def compared_by_name(origins: Iterable[str]) -> list[str]:
    """Those that fit what sshd calls a host (UseDNS) and no address: a .domain, and to older releases a host."""
    names = [origin for origin in origins if is_name(origin)]
    hosts = [name for name in names if not name.startswith(".")]
    return [name for name in names if name not in hosts or not release().resolves]


def is_name(origin: str) -> bool:
    """Whether an origin is a host or a .domain."""
    try:
        ipaddress.ip_network(origin, strict=False)
        return False
    except ValueError:
        return origin not in ("ALL", LOCAL)


def from_elsewhere(origins: Iterable[str]) -> list[str]:
    """Those of which a login over the network can be."""
    return [origin for origin in origins if origin != LOCAL]


# Reading


def rules(file: str) -> list[tuple[str, str, str]]:
    """The fields of each line that counts to this node's pam_access, in order. Raises CommandExecutionError."""
    return list(_lines(file, release()))


def rule_for(
    file: str,
    user: str,
    is_in: Callable[[str], bool],
    origin: str,
    by_name: bool,
    separator: str | None = None,
    reads: Release | None = None,
) -> str | None:
    """
    The first rule that fits; None if none does or there is no file.

    file
        Its path.
    user
        A name.
    is_in
        Whether the user is in the group of that name.
    origin
        The address or the host that the user comes from, or LOCAL.
    by_name
        Whether PAM is told the origin's name (UseDNS), or it is LOCAL.
    separator
        What is between two words (``listsep=``), each blank beside one being part of it; by default blanks and commas.
    reads
        The pam_access that reads it; by default this node's.

    Raises CommandExecutionError if it depends on a host whose addresses nobody tells, or the file cannot be read.

    Source: pam_access.c (login_access, list_match, from_match, network_netmask_match). Netgroups, ``user@host`` and
    ids (1.7.0) fit nobody here.
    """
    reads = reads or release()
    told = [origin] if by_name else list(map(str, _slurm_pam_accounts.addresses(origin)))
    for permission, *fields in _lines(file, reads):
        who, origins = (field.split(separator) if separator else _WORD.findall(field) for field in fields)
        if _in_list(who, lambda word: _is_meant(word, user, is_in)) and _in_list(
            origins, lambda word: any(_comes_from(word, place, reads) for place in told)
        ):
            return f"{permission.strip()} : {' '.join(who)} : {' '.join(origins)}"
    return None


def _lines(file: str, reads: Release) -> Iterator[tuple[str, str, str]]:
    """The fields of each line that counts. One without a newline does not, nor does what fills the buffer."""
    try:
        text = _file.text(file)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CommandExecutionError(f"{file} cannot be read: {error.strerror}") from error
    for line in _text.lines(text):
        for piece in [line] if reads.whole else _pieces(line):
            fields = re.match(r"(?!#):*([+-][^:\n]*):+([^:\n]+):([^\n]+)\n", piece)
            if fields and fields[3].rstrip():
                yield fields[1], fields[2], fields[3].rstrip()


def _pieces(line: str) -> Iterator[str]:
    data = line.encode("utf-8", "surrogateescape")
    for start in range(0, len(data), _BUFFER):
        yield data[start : start + _BUFFER].decode("utf-8", "surrogateescape")


def _in_list(words: list[str], fits: Callable[[str], bool]) -> bool:
    """Whether one of them fits, and none of those behind EXCEPT, which may have exceptions of their own."""
    ends = [number for number, word in enumerate(words) if word.upper() == "EXCEPT"]
    end = ends[0] if ends else len(words)
    return any(map(fits, words[:end])) and not (ends and _in_list(words[end + 1 :], fits))


def _is_meant(word: str, user: str, is_in: Callable[[str], bool]) -> bool:
    return word.lower() in ("all", user.lower()) or (word[:1] + word[-1:] == "()" and is_in(word[1:-1]))


def _comes_from(word: str, told: str, reads: Release) -> bool:
    """Whether an origin means what sshd tells PAM, a name or an address."""
    if word.lower() in ("all", told.lower()):
        return True
    if LOCAL in (word.upper(), told):
        return False
    if word.startswith("."):
        return told.lower().endswith(word.lower())
    if "/" not in word and not word.endswith(".") and not _address(word) and not reads.resolves:
        return False
    address = _address(told)
    places = _plain([address] if address else _slurm_pam_accounts.addresses(told), reads)
    if word.endswith("."):
        return any(f"{_as_ipv4(place)}.".startswith(word) for place in places)
    meant, mask = _meant(word, reads)
    return any(_is_same(place, other, mask, reads) for place in places for other in meant)


def _plain(addresses: Iterable[Address], reads: Release) -> list[Address]:
    """An address with a zone is none to pam_access; an older one looks it up as a host, and loses the zone thereby."""
    found = [(address, str(address).partition("%")) for address in addresses]
    return [ipaddress.ip_address(parts[0]) for address, parts in found if not parts[1] or not reads.resolves]


def _as_ipv4(address: Address) -> Address:
    return (address.version == 6 and address.ipv4_mapped) or address


def _meant(word: str, reads: Release) -> tuple[list[Address], int]:
    """The addresses that a word means, and the bits that count."""
    network, slash, length = word.partition("/")
    address = _address(network)
    if not slash and not address:
        return _plain(_slurm_pam_accounts.addresses(word), reads), -1
    if not address or "%" in network:
        return [], 0
    mask = _mask(length, address.max_prefixlen) if slash else -1
    return ([address], mask) if mask is not None else ([], 0)


def _mask(text: str, bits: int) -> int | None:
    """The bits that count. A length of 0 and a netmask of the other family are read as if there were none."""
    if mask := _address(text):
        return int(mask) if mask.max_prefixlen == bits else -1
    try:
        length = int(re.sub(r"^0(?=\d)", "0o", text), 0)  # 024 is 20 to strtol(3)
    except ValueError:
        return None
    if not 0 <= length <= bits:
        return None
    return ((1 << length) - 1) << (bits - length) if length else -1


def _is_same(one: Address, other: Address, mask: int, reads: Release) -> bool:
    if one.version != other.version:
        return reads.loopback and {str(one), str(other)} == {"127.0.0.1", "::1"}
    return int(one) & mask == int(other) & mask


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


# Writing


# Of a line's origins, so that none comes near to what fills the buffer.
_LONG = 4000


def lines(name: str, origins: Iterable[str], mapped: bool = False) -> Iterator[str]:
    """
    The rules that let a word of the file in from these origins, in as many lines as they need.

    name
        The word.
    origins
        As the settings have them.
    mapped
        Whether IPv4 addresses are written as IPv6 has them as well. Programs that listen for both families tell PAM
        those; sshd does not.
    """
    line, found = "", written(origins)
    for origin in itertools.chain(found, filter(None, map(_mapped, found)) if mapped else ()):
        if line and len(line) + len(origin) > _LONG:
            yield f"+:{name}:{line}\n"
            line = ""
        line = f"{line},{origin}" if line else origin
    yield f"+:{name}:{line}\n"


def written(origins: Iterable[str]) -> list[str]:
    """
    Origins so that each release of pam_access reads them as they are meant: everywhere as ALL, since a network of
    length 0 means nobody to it, networks by their length and without the bits of a host, and an IPv4 address as such.
    """
    found = list(dict.fromkeys(map(_written, origins)))
    return ["ALL"] if "ALL" in found else found


def _mapped(origin: str) -> str | None:
    """An IPv4 network or address within ::ffff:0:0/96."""
    try:
        network = ipaddress.IPv4Network(origin)
    except ValueError:
        return None
    place = f"::ffff:{network.network_address}"
    return place if network.prefixlen == network.max_prefixlen else f"{place}/{96 + network.prefixlen}"


def _written(origin: str) -> str:
    try:
        network = ipaddress.ip_network(origin, strict=False)
    except ValueError:
        return origin
    if "%" in origin:
        return str(ipaddress.ip_address(origin))
    mapped = network.version == 6 and network.prefixlen >= 96 and network.network_address.ipv4_mapped
    if mapped:
        network = ipaddress.ip_network((mapped, network.prefixlen - 96))
    if network.prefixlen == 0:
        return "ALL"
    return str(network if network.prefixlen < network.max_prefixlen else network.network_address)
