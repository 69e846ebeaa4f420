"""
The settings of slurm_pam: which there are, what each may be, and what is wrong with those given.

A pillar is checked whole and before anything changes. Every problem names the key by its path in the pillar
(``slurm_pam:access:groups:hpc_admin_g:origins``), what was found there and what is allowed.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from _slurm_pam_doors import KNOWN
from _slurm_pam_target import is_target

# Of the formula that these modules came with.
VERSION = "1.1.0"


class Value(NamedTuple):
    """A setting that is not a mapping: what is allowed, in words, as a test, and as far as JSON Schema can say it."""

    allowed: str
    fits: Callable[[Any], bool]
    schema: Mapping[str, Any] = {}


class Required(NamedTuple):
    """A value that its mapping has to have."""

    value: Value


class Named(NamedTuple):
    """A mapping whose keys are names that the site chooses; ``null`` takes an entry out again (for a partition)."""

    name: Value
    entry: Any


class Options(dict):
    """A mapping of known settings, of which ``null`` takes one out again."""


class Option(NamedTuple):
    """An option of a PAM module; one that equals ``default`` is not written, since older releases log it as unknown."""

    value: Value
    default: str | None
    since: tuple[int, ...]


def _one_of(*words: str) -> Value:
    scalars = {"true": True, "false": False, **{word: int(word) for word in words if word.isdigit()}}
    spelled = [*words, *(scalars[word] for word in words if word in scalars)]
    return Value("one of " + ", ".join(words), lambda found: as_word(found) in words, {"enum": spelled})


def _list_of(item: Value, at_least: int = 0) -> Value:
    some = "a list" if not at_least else "a list of at least one entry"
    return Value(
        f"{some}, each {item.allowed}",
        lambda found: isinstance(found, list) and len(found) >= at_least and all(map(item.fits, found)),
        {"type": "array", "items": item.schema, **({"minItems": at_least} if at_least else {})},
    )


def _any_of(allowed: str, *values: Value) -> Value:
    schemas = [value.schema for value in values]
    return Value(allowed, lambda found: any(value.fits(found) for value in values), {"anyOf": schemas})


def _or_null(value: Value) -> Value:
    return _any_of(f"{value.allowed}, or null", value, _NULL)


def _matching(allowed: str, pattern: str) -> Value:
    compiled = re.compile(pattern)
    return Value(
        allowed, lambda found: isinstance(found, str) and compiled.fullmatch(found) is not None, _text_of(pattern)
    )


def _text_of(pattern: str) -> dict[str, str]:
    """A text that matches as a whole; the pattern has to mean the same to Python and to ECMAScript."""
    return {"type": "string", "pattern": rf"^(?:{pattern})$(?!\n)"}


def as_word(value: Any) -> Any:
    """A YAML scalar as the word that a PAM file has for it: ``true``/``false`` for a boolean, digits for an integer."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


# Keywords of access.conf(5), which pam_access compares without regard to case
_ACCESS_WORDS = ("ALL", "LOCAL", "NONE", "EXCEPT")
_IN_ANY_CASE = (re.sub("[A-Z]", lambda letter: f"[{letter[0]}{letter[0].lower()}]", word) for word in _ACCESS_WORDS)
_NO_ACCESS_WORD = rf"(?!(?:{'|'.join(_IN_ANY_CASE)})$)"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
# A name that ends in a number is a mistyped address (RFC 1123 2.1); the other words mean more to pam_access.
_HOST = rf"{_NO_ACCESS_WORD}\.?(?:{_LABEL}\.)*(?!\d+$){_LABEL}"
_ZONE = "%[A-Za-z0-9_.-]+"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
# What a pattern can say of origins. ipaddress knows more.
_ORIGIN_PATTERN = "|".join(
    (
        "ALL",
        "LOCAL",
        rf"{_IPV4}(?:/(?:3[0-2]|[12]?[0-9]|{_IPV4}))?",
        rf"(?=[0-9A-Fa-f.]*:)[0-9A-Fa-f:.]+(?:{_ZONE}|/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?",
        _HOST,
    )
)


def _is_origin(found: Any) -> bool:
    """ALL, LOCAL, an address, a network, a host or a .domain, as pam_access(8) takes an origin."""
    if not isinstance(found, str):
        return False
    if found in ("ALL", "LOCAL"):
        return True
    try:
        network = ipaddress.ip_network(found, strict=False)
    except ValueError:
        return re.fullmatch(_HOST, found) is not None
    # A login over such an address has its zone, and with a zone pam_access compares word for word.
    if "%" in found:
        return re.fullmatch(rf"[0-9A-Fa-f:.]+{_ZONE}", found) is not None
    return not network.is_link_local or network.version == 4


# Written out, as Python and ECMAScript do not agree on which of them \s has.
_CONTROL = r"\x00-\x1f\x7f-\x9f"


def _path_of(allowed: str, pattern: str) -> Value:
    # os.path.isdir takes names of any length, and pathlib does not.
    text = _matching(allowed, pattern)
    return text._replace(fits=lambda found: text.fits(found) and not os.path.isdir(found))


_NULL = Value("null", lambda found: found is None, {"type": "null"})
_FLAG = Value("true or false", lambda found: isinstance(found, bool), {"type": "boolean"})
_PATH = _path_of("the absolute path of a file", rf"/[^\s{_CONTROL}]+")
# In a line of a PAM file, where # begins a comment and a backslash at the end takes in the next line: pam.conf(5).
_PATH_IN_PAM = _path_of(
    "the absolute path of a file, without # and with no backslash at its end", rf"/[^\s{_CONTROL}#]*[^\s{_CONTROL}#\\]"
)
_ORIGIN = Value(
    "a network (192.0.2.0/24), an address (a link-local one with its zone, fe80::1%eth0), a host, a .domain, ALL or "
    "LOCAL (so written)",
    _is_origin,
    _text_of(_ORIGIN_PATTERN),
)
_ORIGINS = _list_of(_ORIGIN, at_least=1)
# Words that pam_access reads as more than a name, and characters that separate its fields, are no names.
_PLAIN_NAME = rf"{_NO_ACCESS_WORD}[A-Za-z0-9_][A-Za-z0-9_.\\-]*"
_RESERVED = f"{', '.join(_ACCESS_WORDS)} are keywords of pam_access, in any case"
_ACCOUNT = _matching(f"a user or group name ({_RESERVED})", rf"{_PLAIN_NAME}(?:@[A-Za-z0-9_.-]+)?\$?")
# From 1.7.0 on pam_access takes a number for an id.
_NO_ID = r"(?!\d+$)"
# A directory's group may have single blanks in its name. The slash is Winbind's.
_GROUP_NAME = _matching(
    f"a user or group name ({_RESERVED}; a number is an id to it)",
    rf"{_NO_ID}{_PLAIN_NAME}(?: [A-Za-z0-9_.\\-]+)*(?:@[A-Za-z0-9_.-]+)?\$?",
)
_USER = _matching(
    f"a user name ({_RESERVED}; a number is an id to it; one with @ it reads as user@host, and never finds "
    "that user: name a group of theirs in slurm_pam:access:groups instead)",
    rf"{_NO_ID}{_PLAIN_NAME}\$?",
)
_NAME = _matching("a file name in /etc/pam.d", r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# libpam reads a service's name in lower case.
_SERVICE = _matching("the name of a PAM service, a file name of lower case in /etc/pam.d", r"[a-z0-9_][a-z0-9_.-]*")
DOOR_WORDS = ("close", "report", "leave")
_MODULE = _matching("a PAM module such as pam_systemd.so", r"[A-Za-z0-9_./-]+\.so")
_PACKAGE = _or_null(_matching("a package name", r"[A-Za-z0-9][A-Za-z0-9+._-]*"))
_UNIT = _matching("a systemd unit", r"[A-Za-z0-9:_.@-]+")
_WORD = _matching("one word", rf"[^\s{_CONTROL}#\[\]]+")
_WORD_IN_PAM = _matching("one word with no backslash at its end", rf"[^\s{_CONTROL}#\[\]]*[^\s{_CONTROL}#\[\]\\]")
_TEXT = _matching("a text of one line", rf"(?=[\s\S]*\S)(?:[^{_CONTROL}]|\t)+")
_LONGEST = 2000


def _is_shown(char: str) -> bool:
    """To Python, no blank but the plain one is printable: not the one that stays with a word, nor that of Japanese."""
    return char.isprintable() or unicodedata.category(char) == "Zs"


_MESSAGE = Value(
    f"a text of up to {_LONGEST} characters, with line breaks and no other control characters",
    lambda found: (
        isinstance(found, str)
        and 0 < len(found.strip()) <= len(found) <= _LONGEST
        and all(map(_is_shown, found.replace("\n", "")))
    ),
    # Which of the other characters can be printed, a pattern does not know.
    {"type": "string", "maxLength": _LONGEST, "pattern": r"^(?=[\s\S]*\S)[^\x00-\x09\x0b-\x1f\x7f-\x9f]*$"},
)
_INTEGER = Value("a number", lambda found: isinstance(found, int) and not isinstance(found, bool), {"type": "integer"})
_NUMBER = Value(
    "a number from 0", lambda found: _INTEGER.fits(found) and found >= 0, {**_INTEGER.schema, "minimum": 0}
)
_SLURM_VALUE = _any_of("one word, or a list of words", _WORD, _list_of(_WORD, at_least=1))
_SSHD_VALUE = _any_of(
    "a text of one line, a number, true or false, or a list of such texts",
    *(_TEXT, _INTEGER, _FLAG, _list_of(_TEXT, at_least=1)),
)
_SCENARIO = Value("a scenario (a mapping)", lambda found: isinstance(found, Mapping), {"type": "object"})
_KEYWORD = _matching("an option's name", r"[A-Za-z][A-Za-z0-9]*")
_LOG_LEVELS = ("quiet", "fatal", "error", "info", "verbose", "debug", *(f"debug{n}" for n in range(2, 6)))

# What all services read that ask pam_access without a file of their own.
_GLOBAL_ACCESS = "/etc/security/access.conf"

# https://slurm.schedmd.com/pam_slurm_adopt.html
ADOPT_OPTIONS = {
    "action_no_jobs": Option(_one_of("ignore", "deny"), "deny", (15, 8)),
    "action_unknown": Option(_one_of("newest", "allow", "deny"), "newest", (15, 8)),
    "action_adopt_failure": Option(_one_of("allow", "deny"), "allow", (17, 11, 10)),
    "action_generic_failure": Option(_one_of("ignore", "allow", "deny"), "ignore", (15, 8)),
    "log_level": Option(_one_of(*_LOG_LEVELS), "info", (15, 8)),
    "nodename": Option(_WORD_IN_PAM, None, (15, 8)),
    "disable_x11": Option(_one_of("0", "1"), "0", (17, 11)),
    "service": Option(_WORD_IN_PAM, "sshd", (19, 5)),
    "join_container": Option(_one_of("true", "false"), "true", (20, 11, 5)),
}
# contribs/pam/README of Slurm
LEGACY_FLAGS = ("debug", "no_sys_info", "no_warn", "rsh_kludge", "rlogin_kludge")

_WHO = {"origins": _ORIGINS}
_GROUP = {**_WHO, "members": _list_of(_ACCOUNT), "gid": _or_null(_NUMBER), "local": _FLAG}
_NODE_SETTINGS: dict[str, Any] = {
    "mode": _one_of("audit", "adopt", "enforce"),
    "module": _one_of("pam_slurm_adopt", "pam_slurm"),
    "pam_slurm_adopt": Options((name, _or_null(option.value)) for name, option in ADOPT_OPTIONS.items()),
    "pam_slurm": dict.fromkeys(LEGACY_FLAGS, _FLAG),
    "require_slurmd": _FLAG,
    "confirm": _NUMBER,
    "packages": {"manage": _FLAG, "node": _PACKAGE, "pam_slurm_adopt": _PACKAGE, "pam_slurm": _PACKAGE},
    "access": {
        "file": _PATH_IN_PAM,
        "root": _ORIGINS,
        "root_only": _FLAG,
        "groups": Named(_GROUP_NAME, _GROUP),
        "users": Named(_USER, _WHO),
    },
    "slurm": {
        "conf": _or_null(_PATH),
        "manage": _one_of("check", "enforce", "keep"),
        "settings": Named(_KEYWORD, _SLURM_VALUE),
        "use_pam": _FLAG,
        "service": _UNIT,
    },
    "sshd": {
        "manage": _FLAG,
        "config": _or_null(_PATH),
        "drop_in": _PATH,
        "service": _UNIT,
        "options": Named(_KEYWORD, _SSHD_VALUE),
    },
    "pam": {
        "service": _NAME,
        "account_source": _NAME,
        "account_base": _one_of("substack", "copy"),
        "session_source": _NAME,
        "session_remove": _list_of(_MODULE),
        "session_keep": _list_of(_MODULE),
        "door_sources": Named(_SERVICE, _NAME),
        "message": _or_null(_MESSAGE),
        "suffix": _matching("'' or an ending such as -pc", r"[A-Za-z0-9_.-]*"),
        "replace": _FLAG,
        "policy": _list_of(_SCENARIO),
    },
    "confine": _list_of(_one_of("cores", "memory", "swap", "devices")),
    "logind": _or_null(_one_of("mask", "stop", "keep")),
    "logind_kept_from": _NUMBER,
    "selinux": _one_of("report", "manage"),
    "strays": {"action": _one_of("report", "end"), "grace": _NUMBER},
    "doors": Named(_SERVICE, _one_of(*DOOR_WORDS)),
    "watch": _FLAG,
    "clean": {"packages": _FLAG, "groups": _FLAG},
}
_NODES = Value(
    "a Salt compound target such as 'gpu*' or 'G@partition:gpu and not gpu9', with blanks around brackets",
    lambda found: isinstance(found, str) and is_target(found),
    {"type": "string", "minLength": 1},
)
_PARTITION = {"nodes": Required(_NODES), "settings": _NODE_SETTINGS}
# The whole pillar slurm_pam.
SETTINGS = {**_NODE_SETTINGS, "partitions": Named(_matching("a partition's name", rf"[^\s{_CONTROL}]+"), _PARTITION)}


def without_nulls(settings: Mapping[str, Any], schema: Any = SETTINGS) -> dict[str, Any]:
    """
    The settings without the entries that ``null`` takes out. Where ``null`` is a value like others, it stays.

    settings
        The merged settings of the formula, which have to be of the right shape (see :py:func:`misfits`).
    """
    if isinstance(schema, Named):
        return {name: without_nulls(entry, schema.entry) for name, entry in settings.items() if entry is not None}
    if isinstance(schema, Options):
        return {name: value for name, value in settings.items() if value is not None}
    if isinstance(schema, dict):
        return {name: without_nulls(value, schema.get(name)) for name, value in settings.items()}
    return settings


def origins(settings: Mapping[str, Any], layers: list[tuple[str, Any]]) -> dict[str, dict[str, Any]]:
    """
    Where each setting comes from: ``{"slurm_pam:mode": {"value": "enforce", "from": "defaults.yaml"}}``.

    settings
        The merged settings of the formula.
    layers
        What they were merged from, each with what it is called; the last one to have a setting gave it.
    """
    return {
        ":".join(("slurm_pam", *path)): {
            "value": value,
            "from": next(source for source, layer in reversed(layers) if _has(layer, path)),
        }
        for path, value in _leaves(settings)
    }


def _leaves(mapping: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _has(layer: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(layer, Mapping) or key not in layer:
            return False
        layer = layer[key]
    return True


# What is wrong with them


def misfits(given: Any) -> list[str]:
    """
    What in the pillar is not a setting, or not what that setting may be, one sentence each.

    given
        The pillar ``slurm_pam`` as it came, partitions included, whether this node is in them or not.
    """
    return list(_misfits("slurm_pam", given, SETTINGS))


def problems(given: Any, settings: Mapping, slurm_version: str | None = None) -> list[str]:
    """
    What is wrong with the settings, one sentence each; an empty list where nothing is.

    given
        The pillar ``slurm_pam`` as it came.
    settings
        What came of it for this node, merged over the defaults.
    slurm_version
        The installed Slurm (``22.05.8``), for the options that it does not know yet; none where there is no Slurm yet.
    """
    if wrong := misfits(given):
        return wrong  # Settings of the wrong shape cannot be looked at any further.
    settings = without_nulls(settings)
    return [*_contradictions(settings), *_unknown_to(slurm_version, settings.get("pam_slurm_adopt", {}))]


def _misfits(path: str, found: Any, schema: Any) -> Iterator[str]:
    """Walk what was given and what it may be side by side."""
    if isinstance(schema, Required):
        schema = schema.value
    if isinstance(schema, Value):
        if not schema.fits(found):
            yield f"{path} is {found!r}; allowed is {schema.allowed}{nearest(found, schema.allowed)}"
    elif not isinstance(found, Mapping):
        yield f"{path} is {found!r}; it has to be a mapping"
    elif isinstance(schema, Named):
        for name, entry in found.items():
            if not schema.name.fits(name):
                yield f"{path}:{name}: {name!r} is not {schema.name.allowed}"
            elif entry is not None:
                yield from _misfits(f"{path}:{name}", entry, schema.entry)
    else:
        for key, value in schema.items():
            if isinstance(value, Required) and key not in found:
                yield f"{path}:{key} is missing; it has to be {value.value.allowed}"
        for key, value in found.items():
            if key in schema:
                yield from _misfits(f"{path}:{key}", value, schema[key])
            else:
                yield f"{path}:{key} is not a setting{nearest(key, ', '.join(schema))}; there are {', '.join(schema)}"


def nearest(found: Any, words: str) -> str:
    """The known word that a misspelled one is closest to."""
    close = difflib.get_close_matches(str(found), re.findall(r"\w+", words), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _contradictions(settings: Mapping) -> Iterator[str]:
    """What is wrong with the settings taken together."""
    access = settings.get("access", {})
    if not access.get("groups") and not access.get("users") and not access.get("root_only"):
        yield (
            "slurm_pam:access names no administrator, so that nobody but root could get in when Slurm is broken; "
            "allowed is at least one entry in slurm_pam:access:groups or slurm_pam:access:users, "
            "or slurm_pam:access:root_only: true"
        )
    for kind in ("groups", "users"):
        for name, who in access.get(kind, {}).items():
            if not who.get("origins"):
                yield f"slurm_pam:access:{kind}:{name}:origins is missing; it has to be {_ORIGINS.allowed}"
    yield from _blanks(access)
    yield from _never_from_elsewhere(access)
    yield from _not_to_be_closed(settings)
    yield from _kept_in_vain(settings)
    if settings.get("mode") == "adopt" and settings.get("module") == "pam_slurm":
        yield (
            "slurm_pam:mode is 'adopt', but slurm_pam:module is 'pam_slurm', which adopts nothing; "
            "allowed with it is audit or enforce"
        )
    if settings.get("confine") and settings.get("module") == "pam_slurm":
        yield (
            f"slurm_pam:confine is {settings['confine']!r}, but slurm_pam:module is 'pam_slurm', which adopts nothing, "
            "and holds no session to anything; allowed with it is []"
        )
    if settings.get("module") == "pam_slurm_adopt":
        yield from _adopts_nobody(settings)


def _blanks(access: Mapping) -> Iterator[str]:
    """Group names that only a directory has, and that need a file in which no line of others is read as ours are."""
    for name, group in access.get("groups", {}).items():
        if " " in name and group.get("local", True):
            yield (
                f"slurm_pam:access:groups:{name}:local is true, but a local group has no blanks in its name; "
                "allowed is local: false"
            )
        if " " in name and access.get("file") == _GLOBAL_ACCESS:
            yield (
                f"slurm_pam:access:file is {_GLOBAL_ACCESS}, whose other lines mean nobody if words are separated by "
                f"commas alone, as the group {name!r} needs it; allowed is a file of its own"
            )


def _never_from_elsewhere(access: Mapping) -> Iterator[str]:
    """Administrators who could not come over SSH."""
    who = [entry for kind in ("groups", "users") for entry in access.get(kind, {}).values()]
    if who and not access.get("root_only") and all(entry.get("origins") == ["LOCAL"] for entry in who):
        yield (
            "slurm_pam:access lets administrators in from LOCAL alone, which is not an origin of a login over SSH, so "
            "that nobody but root could get in when Slurm is broken; allowed is at least one other origin"
        )


def _not_to_be_closed(settings: Mapping) -> Iterator[str]:
    """Doors that PAM's account rules do not close, and sshd's, which is closed anyway."""
    for name, word in settings.get("doors", {}).items():
        if name == settings.get("pam", {}).get("service") and word != "close":
            yield (
                f"slurm_pam:doors:{name} is {word!r}, but {name} is what slurm_pam:mode is about; allowed is close, or "
                "to leave it out"
            )
        elif word == "close" and name in KNOWN and KNOWN[name].stays:
            yield (
                f"slurm_pam:doors:{name} is 'close', but PAM's account rules do not close {name}: {KNOWN[name].stays}; "
                "allowed is report or leave"
            )


def _kept_in_vain(settings: Mapping) -> Iterator[str]:
    """Modules for the sessions of administrators that are not taken out, or would do nothing."""
    pam, logind = settings.get("pam", {}), settings.get("logind")
    for module in pam.get("session_keep", []):
        removed = pam.get("session_remove", [])
        if module not in removed:
            yield (
                f"slurm_pam:pam:session_keep names {module}, but slurm_pam:pam:session_remove does not, so that every "
                f"session has it; allowed is {', '.join(removed) or 'nothing, since no module is taken out'}"
            )
        elif module.rpartition("/")[2] == "pam_systemd.so" and logind != "keep":
            yield (
                f"slurm_pam:pam:session_keep names {module}, which asks systemd-logind, but slurm_pam:logind is "
                f"{logind!r}, so that nobody answers; allowed with it is slurm_pam:logind: keep"
            )


def _adopts_nobody(settings: Mapping) -> Iterator[str]:
    """Options with which pam_slurm_adopt answers ``ignore``, so that a stack lets users without a job in."""
    options, service = settings.get("pam_slurm_adopt", {}), settings.get("pam", {}).get("service", "sshd")
    acts_for = options.get("service", ADOPT_OPTIONS["service"].default)
    if acts_for not in (service, "*"):
        yield (
            f"slurm_pam:pam_slurm_adopt:service is {acts_for!r}, but slurm_pam:pam:service is {service!r}, for which "
            f"the module would do nothing; allowed is {service} or *"
        )
    if options.get("action_no_jobs") == "ignore" and settings.get("mode") != "adopt":
        yield (
            "slurm_pam:pam_slurm_adopt:action_no_jobs is 'ignore', with which nobody is turned away; allowed is deny, "
            "or slurm_pam:mode: adopt"
        )


def _unknown_to(slurm_version: str | None, options: Mapping) -> Iterator[str]:
    """Options that the installed pam_slurm_adopt does not know."""
    if slurm_version is None:
        return
    installed = tuple(int(number) for number in re.findall(r"\d+", slurm_version)[:3])
    for name, option in ADOPT_OPTIONS.items():
        value = as_word(options.get(name, option.default))
        if value != option.default and installed < option.since:
            since = "{}.{:02}".format(*option.since) + "".join(f".{number}" for number in option.since[2:])
            yield (
                f"slurm_pam:pam_slurm_adopt:{name} is {value!r}, but the installed Slurm {slurm_version} does not know "
                f"this option, which came with {since}; allowed is to leave it out, or null"
            )
