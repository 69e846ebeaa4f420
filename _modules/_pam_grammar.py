"""
The grammar: a PAM file's text becomes entries and, byte for byte, a text again.

The behaviour is that of ``libpam/pam_handlers.c`` and ``libpam/pam_misc.c`` of Linux-PAM (:manpage:`pam.conf(5)`
describes it; where the two differ the library is followed), with Debian's ``@include`` where the library has it.

Text is ``str``; bytes that are not UTF-8 are surrogate escapes, so they go out as they came in.
"""

from __future__ import annotations

import functools
import itertools
import re
import string
from collections.abc import Sequence
from typing import Any

import _pam_libpam
from _pam_errors import PamError

# An entry as parse makes it, and a libpam as _pam_libpam describes it.
Entry = dict[str, Any]
Libpam = dict[str, Any]
# What an answer leads to: an ACTION, or how many lines to jump. None: the line does not say.
Action = str | int | None

# What libpam's words mean

TYPES = ("auth", "account", "password", "session")

# By libpam's number (security/_pam_types.h).
RETURN_CODES = (
    *("success", "open_err", "symbol_err", "service_err", "system_err", "buf_err", "perm_denied", "auth_err"),
    *("cred_insufficient", "authinfo_unavail", "user_unknown", "maxtries", "new_authtok_reqd", "acct_expired"),
    *("session_err", "cred_unavail", "cred_expired", "cred_err", "no_module_data", "conv_err", "authtok_err"),
    *("authtok_recover_err", "authtok_lock_busy", "authtok_disable_aging", "try_again", "ignore", "abort"),
    *("authtok_expired", "module_unknown", "bad_item", "conv_again", "incomplete"),
)

# By the negative of libpam's number; the next, -6, means "not set".
ACTIONS = ("ignore", "ok", "done", "bad", "die", "reset")

CONTROLS = {
    "required": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "bad"},
    "requisite": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "die"},
    "sufficient": {"success": "done", "new_authtok_reqd": "done", "default": "ignore"},
    "optional": {"success": "ok", "new_authtok_reqd": "ok", "default": "ignore"},
}
INCLUDES = ("include", "substack")

_ALL_BAD = ["bad"] * len(RETURN_CODES)
_INT_MAX = 2**31 - 1
_PAIR = re.compile(
    rf"[ \t-\r]*(?:({'|'.join(RETURN_CODES)}|default)[ \t-\r]*=[ \t-\r]*(?:({'|'.join(ACTIONS)})|([0-9]+))|\Z)"
)
# libpam compares in ASCII: a Kelvin sign is not a k to it.
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@functools.lru_cache(maxsize=1024)
def _control(written: str, old: bool) -> tuple[list[Action], str | None]:
    """The 32 actions of a control word, and what is wrong with it, if anything."""
    word = _unescape(_WORD.search(written))
    if table := CONTROLS.get(word.translate(LOWER)):
        return [table.get(code, table["default"]) for code in RETURN_CODES], None
    actions = dict.fromkeys(RETURN_CODES)
    position = 0
    while position < len(word):
        pair = _PAIR.match(word, position)
        if not pair:
            return _ALL_BAD, f"cannot be read from {word[position:]!r} on, so every answer counts as bad"
        code, action, digits = pair.groups()
        if digits:
            action, problem = _jump(digits, old)
            if problem:
                return _ALL_BAD, f"{problem}, so every answer counts as bad"
        for name in actions if code == "default" else [code] if code else []:
            if code != "default" or actions[name] is None:
                actions[name] = action
        position = pair.end()
    return [action or "bad" for action in actions.values()], None


def _jump(digits: str, old: bool) -> tuple[Action, str | None]:
    """A jump as libpam counts it: (N or an action, problem)."""
    # 2**32 divides 10**32, so where libpam wraps, the last 32 digits decide.
    number = int(digits[-32:])
    if not old and (number > _INT_MAX or digits[:-32].strip("0")):
        return None, f"jump {digits} is larger than libpam counts"
    wrapped = (number + 2**31) % 2**32 - 2**31
    if wrapped == 0:
        return None, f"jump {digits} goes nowhere"
    if -len(ACTIONS) <= wrapped < 0:
        return (*ACTIONS, None)[-wrapped], None
    return wrapped, None


def _names_nothing(module: str) -> bool:
    """libpam aborts on a module or substack whose base name is empty up to its last dot, or ``?``."""
    base = module.rpartition("/")[2]
    return (base.rpartition(".")[0] if "." in base else base) in ("", "?")


# Grammar: from text to entries

# Each line of a text, and the words of a common one: a comment, an empty line, a rule or an @include of plain words.
# These are printable ASCII without \ [ #; only a control may have brackets, with a = in them, so that it is no keyword.
# A name ends in a letter, a digit or _, then perhaps .so, so it does name something. Thus libpam reads what one sees.
# What is not common takes the slow, exact path. An empty alternative is a question mark, only faster.
_LINES = re.compile(
    rf"""(
    \#.*\n | \n |
    -? (?: ({"|".join(TYPES)}) [ \t]+ ([a-z]+ | \[[a-z0-9_ \t]*=[a-z0-9_= \t]*\]) | @include ) [ \t]+
    ([a-zA-Z0-9_/-]* [a-zA-Z0-9_] (?:\.so|)) ([ \t] [\t !"$-Z\]-~]*|) (?:\#.*|) $ \n? |
    .+\n?
    )""",
    re.VERBOSE | re.MULTILINE,
)
_COMMON_LENGTH = 255  # at most four bytes a character, so below the old buffer's size

_WORD = re.compile(r"\[((?:\\\]|[^\]])*)\]?|([^ \t\n]+)")
BLANKS = " \t\n"
_OLD_BUFFER = 1023

# The pieces of a logical line, where it ends, and what is fatal about it.
Assembled = tuple[list[tuple[int, str]], int, str | None]

_FATAL = {
    "unfinished": "the file ends in a continuation, so libpam aborts",
    "endless": "a continued line fills libpam's buffer to the last byte, so libpam never returns from it",
}


def _unescape(word: re.Match[str]) -> str:
    """What libpam takes a word to be: a bracketed one loses its brackets, and ``\\]`` in it is ``]``."""
    return word[2] if word[1] is None else word[1].replace("\\]", "]")


def _old_piece(text: str, position: int, used: int) -> int:
    """Where one read of the old libpam ends: after the newline, or where its buffer is full."""
    end = text.find("\n", position) + 1 or len(text)
    room = _OLD_BUFFER - used
    if (end - position) * 4 > room:
        if text.isascii():
            return min(end, position + room)
        for index in range(position, end):
            room -= _width(text[index])
            if room <= 0:
                return index + 1
    return end


def _bytes(text: str) -> int:
    """Bytes of a text in the file."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if character < "\x80" or "\udc80" <= character <= "\udcff":
        return 1
    return 2 if character < "\u0800" else 3 if character < "\U00010000" else 4


def _assemble_old(text: str, position: int) -> Assembled:
    """
    One logical line as libpam up to 1.5.3 reads it: (pieces, end, one of _FATAL or None).

    A piece is (where it starts in the text, what it adds to the line). No pieces: libpam skips this line.
    """
    pieces, used = [], 0
    while position < len(text):
        if used >= _OLD_BUFFER:
            return pieces, len(text), "endless"
        end = _old_piece(text, position, used)
        seen = text[position:end].partition("\0")[0]
        body = seen.lstrip(BLANKS)
        if not body or body[0] == "#":
            if not pieces:
                return [], end, None
            position = end
            continue
        before, comment, _ = seen.partition("#")
        stripped = before.rstrip(BLANKS)
        if comment or not stripped.endswith("\\"):
            pieces.append((position, before))
            return pieces, end, None
        pieces.append((position, stripped[:-1] + " "))
        used += _bytes(pieces[-1][1])
        position = end
    return pieces, position, "unfinished"


def _assemble_new(text: str, position: int) -> Assembled:
    """One logical line as libpam from 1.6.0 reads it; the result is that of ``_assemble_old``."""
    pieces, started, ended = [], False, False
    while position < len(text):
        end = text.find("\n", position) + 1 or len(text)
        line = text[position:end]
        stripped = line.rstrip(BLANKS)
        if continued := stripped.endswith("\\"):
            line = stripped[:-1] + " "
        body = line.lstrip(" \t")
        before, comment, _ = body.partition("\0")[0].partition("#")
        if not ended and (started or before.strip(BLANKS)):
            pieces.append((position + len(line) - len(body), before))
        started = started or bool(body)
        ended = ended or "\0" in body
        position = end
        if comment or not continued:
            return pieces, end, None
    return pieces, position, "unfinished"


class _Line:
    """A logical line: what libpam makes of it, its words, and where in the text they stand."""

    def __init__(self, text: str, position: int, old: bool) -> None:
        pieces, self.end, self.fatal = (_assemble_old if old else _assemble_new)(text, position)
        self.text = "".join(piece for _, piece in pieces)
        self.words = list(_WORD.finditer(self.text))
        self._pieces = pieces

    def place(self, offset: int) -> int:
        """The place in the text of an offset in this line."""
        for start, piece in self._pieces:
            if offset < len(piece):
                return start + offset
            offset -= len(piece)
        return self.end


def _interpret(line: _Line, debian: bool, conf: bool) -> Entry:
    """What libpam takes a logical line for, as the fields of an entry."""
    if line.fatal:
        return {"kind": "invalid", "fatal": line.fatal, "reason": _FATAL[line.fatal]}
    words, entry = iter(line.words), {"kind": "invalid"}
    if conf:
        entry["service"] = _unescape(next(words)).translate(LOWER)
    first = next(words, None)
    name = "" if first is None else _unescape(first)
    entry["silent"] = name.startswith("-")
    name = name.translate(LOWER).removeprefix("-")
    entry["type"] = name if name in TYPES else None
    at_include = debian and name == "@include"
    if at_include:
        entry["control"] = name
    else:
        control = next(words, None)
        keyword = "" if control is None else _unescape(control).translate(LOWER)
        entry["control"] = keyword if keyword in INCLUDES else control and control[0]
    includes = at_include or entry["control"] in INCLUDES
    named = next(words, None)
    named = named and _unescape(named)
    if includes:
        entry["target"] = named
    else:
        entry["module"] = named
        entry["args"] = [_unescape(word) for word in words]
    if named is not None and not at_include and entry["control"] != "include" and _names_nothing(named):
        entry["fatal"] = "nameless"
    if first is None:
        entry["reason"] = "there is no type"
    elif entry["type"] is None and not at_include:
        entry["reason"] = f"{_unescape(first)!r} is not a type; the types are {', '.join(TYPES)}"
    elif entry["control"] is None:
        entry["reason"] = "there is no control"
    elif named is None:
        entry["reason"] = f"{entry['control']} names no file" if includes else "there is no module"
    elif "fatal" in entry:
        entry["reason"] = f"{named!r} names no {'file' if includes else 'module'}, so libpam aborts"
    else:
        entry["kind"] = "include" if includes else "rule"
    return entry


def _exact_entry(text: str, position: int, libpam: Libpam, conf: bool) -> tuple[Entry, int]:
    """The entry that starts at a position, by libpam's own way of reading: (its fields, end)."""
    line = _Line(text, position, _pam_libpam.is_old(libpam["version"]))
    if not line.words and not line.fatal:
        return {"kind": "comment" if text[position : line.end].strip(BLANKS) else "blank"}, line.end
    return _interpret(line, libpam["debian"], conf), line.end


def parse(text: str, libpam: Libpam | None = None, conf: bool = False) -> list[Entry]:
    """The entries of a file's text, in order, as the face's manual describes them; ``conf``: read as pam.conf."""
    entries, starts = [], []
    longest = -1 if conf else _COMMON_LENGTH
    lines = _LINES.findall(text)
    numbered = enumerate(lines, 1)
    for number, (line, type_, control, name, args) in numbered:
        # The common kinds, built here: one more call for each line would take a tenth of the time.
        if len(line) <= longest:
            if line[0] == "#":
                entries.append({"text": line, "line": number, "kind": "comment"})
                continue
            if type_ and control not in INCLUDES:
                entries.append(
                    {
                        "text": line,
                        "line": number,
                        "kind": "rule",
                        "type": type_,
                        "silent": line[0] == "-",
                        "control": control,
                        "module": name,
                        "args": args.split(),
                    }
                )
                continue
            if name and (type_ or (libpam := libpam or _pam_libpam.node_libpam())["debian"]):
                entries.append(
                    {
                        "text": line,
                        "line": number,
                        "kind": "include",
                        "type": type_ or None,
                        "silent": line[0] == "-",
                        "control": control or "@include",
                        "target": name,
                    }
                )
                continue
            if line == "\n":
                entries.append({"text": line, "line": number, "kind": "blank"})
                continue
        # By libpam's own steps, until an entry ends where a line does.
        libpam = libpam or _pam_libpam.node_libpam()
        starts = starts or [0, *itertools.accumulate(len(line) for line, *_ in lines)]
        position = starts[number - 1]
        while position < starts[number]:
            fields, end = _exact_entry(text, position, libpam, conf)
            entries.append({"text": text[position:end], "line": number, **fields})
            position = end
            while position > starts[number]:
                number, _ = next(numbered)
    return entries


# What is kept comes to some megabytes at most; PAM files are shorter than that, and a node has fewer.
_MOST_KEPT = 64
_LONGEST_KEPT = 16 * 1024


def parsed(text: str, libpam: Libpam, conf: bool = False) -> Sequence[Entry]:
    """As ``parse``, for a text that may come again soon. The entries are kept, and nobody changes them."""
    if len(text) > _LONGEST_KEPT:
        return parse(text, libpam, conf)
    return _kept(text, libpam["version"], libpam["debian"], conf)


@functools.lru_cache(maxsize=_MOST_KEPT)
def _kept(text: str, version: str, debian: bool, conf: bool) -> Sequence[Entry]:
    return parse(text, {"version": version, "debian": debian}, conf)


def render(entries: list[Entry]) -> str:
    """The text of entries."""
    return "".join(entry["text"] for entry in entries)


def words(text: str) -> list[str]:
    """The words in a text, such as a rule's arguments, as libpam takes them: a bracketed one without its brackets."""
    return [_unescape(word) for word in _WORD.finditer(text)]


def places(line: str, libpam: Libpam | None = None) -> list[list]:
    """
    The words of one entry's text as they are written, brackets and all: ``[[word, start, end]]``.

    Nothing of a comment is a word, and a continuation is a blank.
    """
    if len(line) <= _COMMON_LENGTH and not ("\\" in line or "\0" in line or "\n" in line[:-1]):
        # No libpam reads on from here, so offsets in what it reads are places in the text.
        return [[word[0], *word.span()] for word in _WORD.finditer(line.partition("#")[0])]
    read = _Line(line, 0, _pam_libpam.is_old((libpam or _pam_libpam.node_libpam())["version"]))
    return [[word[0], read.place(word.start()), read.place(word.end() - 1) + 1] for word in read.words]


def actions(control: str, libpam: Libpam | None = None) -> dict[str, Action]:
    """
    What a control makes of each of the 32 return codes, in libpam's order.

    A control with an error raises ``PamError``; libpam then counts every answer as bad, success included.
    """
    found, problem = _control(control, _pam_libpam.is_old((libpam or _pam_libpam.node_libpam())["version"]))
    if problem:
        raise PamError(f"{control} {problem}")
    return dict(zip(RETURN_CODES, found))
