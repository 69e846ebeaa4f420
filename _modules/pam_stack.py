"""
Read, edit and explain PAM configuration exactly as libpam reads it.

What a stack *says*: text in, text out. Nothing here evaluates a stack or writes a file.

- :py:func:`parse` and :py:func:`render` turn a file into entries and back, byte for byte
- :py:func:`expand` follows includes and substacks the way ``pam_start`` does
- :py:func:`libpam` tells which libpam this node has, since generations of it read some lines differently

The behaviour is that of ``libpam/pam_handlers.c`` and ``libpam/pam_misc.c`` of Linux-PAM (:manpage:`pam.conf(5)`
describes it; where the two differ the library is followed), with Debian's ``@include`` where the library has it.

Text is ``str``; bytes that are not UTF-8 are surrogate escapes, so they go out as they came in.
"""

import functools
import mmap
import os
import re
import stat
import string

import salt.utils.args
from salt.exceptions import CommandExecutionError, SaltInvocationError

# --- what libpam's words mean ---

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
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def _is_old(libpam):
    """Up to 1.5.3 libpam read lines through a buffer of 1024 bytes; 1.6.0 replaced all of that."""
    return _release(libpam["version"]) < (1, 6)


@functools.lru_cache(maxsize=16)
def _release(version):
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


@functools.lru_cache(maxsize=1024)
def _control(written, old):
    """The 32 actions of a control word, and what is wrong with it, if anything."""
    value = _WORD.match(written)
    word = _unescape(value)
    if table := CONTROLS.get(word.translate(_LOWER)):
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


def _jump(digits, old):
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


def _names_nothing(module):
    """libpam aborts on a module or substack whose base name is empty up to its last dot, or ``?``."""
    base = module.rpartition("/")[2]
    return (base.rpartition(".")[0] if "." in base else base) in ("", "?")


# --- grammar: from text to entries ---

# The common line: a rule or an include without brackets (but for its control), escapes, continuations, NULs and odd
# blanks, then perhaps a comment. What is not common takes the slow, exact path.
_PLAIN = r"[^\s\[\\#\0]"
_COMMON = re.compile(
    rf"""(-?)([a-zA-Z]+)[ \t]+
    (\[[^\[\]\\#\0\n=]*=[^\[\]\\#\0\n]*\]|{_PLAIN}+)[ \t]+
    ({_PLAIN}*\w)((?:[ \t]+{_PLAIN}+)*)
    [ \t]*(?:\#[^\n\0]*)?\n?""",
    re.VERBOSE,
)
_COMMON_AT = re.compile(rf"@(?ai:include)[ \t]+({_PLAIN}*\w)[ \t]*(?:#[^\n\0]*)?\n?")
_COMMON_LENGTH = 255  # at most four bytes a character, so below the old buffer's size

_WORD = re.compile(r"[ \t\n]*(?:\[((?:\\\]|[^\]])*)\]?|([^ \t\n]+))")
_BLANKS = " \t\n"
_OLD_BUFFER = 1023

_DANGLING = "the file ends in a continuation, so libpam aborts"
_ENDLESS = "a continued line fills libpam's buffer to the last byte, so libpam never returns from it"


def _unescape(word):
    """What libpam takes a word to be: a bracketed one loses its brackets, and ``\\]`` in it is ``]``."""
    return word[2] if word[1] is None else word[1].replace("\\]", "]")


def _old_piece(text, position, used):
    """Where one read of the old libpam ends: after the newline, or where its buffer is full."""
    end = text.find("\n", position) + 1 or len(text)
    room = _OLD_BUFFER - used
    if (end - position) * 4 > room:
        for index in range(position, end):
            room -= _width(text[index])
            if room <= 0:
                return index + 1
    return end


def _width(character):
    """Bytes of a character in the file."""
    if character < "\x80" or "\udc80" <= character <= "\udcff":
        return 1
    return 2 if character < "\u0800" else 3 if character < "\U00010000" else 4


def _assemble_old(text, position):
    """
    One logical line as libpam up to 1.5.3 reads it: (pieces, end, problem).

    A piece is (where it starts in the text, what it adds to the line). No pieces: libpam skips this line.
    """
    pieces, used = [], 0
    while position < len(text):
        if used >= _OLD_BUFFER:
            return pieces, len(text), _ENDLESS
        end = _old_piece(text, position, used)
        seen = text[position:end].partition("\0")[0]
        body = seen.lstrip(_BLANKS)
        if not body or body[0] == "#":
            if not pieces:
                return [], end, None
            position = end
            continue
        before, comment, _ = seen.partition("#")
        stripped = before.rstrip(_BLANKS)
        if comment or not stripped.endswith("\\"):
            pieces.append((position, before))
            return pieces, end, None
        pieces.append((position, stripped[:-1] + " "))
        used += sum(map(_width, pieces[-1][1]))
        position = end
    return pieces, position, _DANGLING


def _assemble_new(text, position):
    """One logical line as libpam from 1.6.0 reads it; the result is that of ``_assemble_old``."""
    pieces, started, ended = [], False, False
    while position < len(text):
        end = text.find("\n", position) + 1 or len(text)
        line = text[position:end]
        stripped = line.rstrip(_BLANKS)
        if continued := stripped.endswith("\\"):
            line = stripped[:-1] + " "
        body = line.lstrip(" \t")
        before, comment, _ = body.partition("\0")[0].partition("#")
        if not ended and (started or before.strip(_BLANKS)):
            pieces.append((position + len(line) - len(body), before))
        started = started or bool(body)
        ended = ended or "\0" in body
        position = end
        if comment or not continued:
            return pieces, end, None
    return pieces, position, _DANGLING


class _Line:
    """A logical line: what libpam makes of it, its words, and where in the text they stand."""

    def __init__(self, text, position, old):
        pieces, self.end, self.problem = (_assemble_old if old else _assemble_new)(text, position)
        self.text = "".join(piece for _, piece in pieces)
        self.words = list(_WORD.finditer(self.text))
        self._pieces = pieces

    def place(self, offset):
        """The place in the text of an offset in this line."""
        for start, piece in self._pieces:
            if offset < len(piece):
                return start + offset
            offset -= len(piece)
        return self.end


def _written(word):
    """A word as it stands in its line, brackets and all."""
    return word.string[word.start(1) - 1 if word[2] is None else word.start(2) : word.end()]


def _interpret(line, debian, conf):
    """What libpam takes a logical line for, as the fields of an entry."""
    if line.problem:
        return {"kind": "invalid", "reason": line.problem}
    words, entry = iter(line.words), {"kind": "invalid"}
    if conf:
        entry["service"] = _unescape(next(words)).translate(_LOWER)
    first = next(words, None)
    name = "" if first is None else _unescape(first)
    entry["silent"] = name.startswith("-")
    name = name.translate(_LOWER).removeprefix("-")
    entry["type"] = name if name in TYPES else None
    at_include = debian and name == "@include"
    if at_include:
        entry["control"] = name
    else:
        control = next(words, None)
        keyword = "" if control is None else _unescape(control).translate(_LOWER)
        entry["control"] = keyword if keyword in INCLUDES else control and _written(control)
    includes = at_include or entry["control"] in INCLUDES
    named = next(words, None)
    named = named and _unescape(named)
    if includes:
        entry["target"] = named
    else:
        entry["module"] = named
        entry["args"] = [_unescape(word) for word in words]
    if first is None:
        entry["reason"] = "there is no type"
    elif entry["type"] is None and not at_include:
        entry["reason"] = f"{_unescape(first)!r} is not a type; the types are {', '.join(TYPES)}"
    elif entry["control"] is None:
        entry["reason"] = "there is no control"
    elif named is None:
        entry["reason"] = f"{entry['control']} names no file" if includes else "there is no module"
    elif not at_include and entry["control"] != "include" and _names_nothing(named):
        entry["reason"] = f"{named!r} names no {'file' if includes else 'module'}, so libpam aborts"
    else:
        entry["kind"] = "include" if includes else "rule"
    return entry


def _odd_entry(text, position, libpam, conf):
    """The entry that starts at a position, by libpam's own way of reading: (entry, end)."""
    libpam = libpam or _node_libpam()
    line = _Line(text, position, _is_old(libpam))
    whole = text[position : line.end]
    if not line.words and not line.problem:
        return {"kind": "comment" if whole.strip(_BLANKS) else "blank"}, line.end
    return _interpret(line, libpam["debian"], conf), line.end


def _common_entry(line, number, libpam):
    """The entry a line of the common kind is, or None."""
    if line == "\n":
        return {"text": line, "line": number, "kind": "blank"}
    if line[0] == "#" and "\0" not in line:
        return {"text": line, "line": number, "kind": "comment"}
    if line[0] == "@":
        if libpam["debian"] and (match := _COMMON_AT.fullmatch(line)):
            entry = {"text": line, "line": number, "kind": "include", "type": None, "silent": False}
            return entry | {"control": "@include", "target": match[1]}
        return None
    match = _COMMON.fullmatch(line)
    if not match:
        return None
    silent, type_, control, named, args = match.groups()
    entry = {"text": line, "line": number, "kind": "rule", "type": type_.lower(), "silent": silent == "-"}
    if entry["type"] not in TYPES:
        return None
    if (keyword := control.translate(_LOWER)) in INCLUDES:
        return None if "." in named else entry | {"kind": "include", "control": keyword, "target": named}
    if not (named.endswith(".so") and named[-4:-3].isalnum()):
        return None
    entry["control"] = control
    entry["module"] = named
    entry["args"] = args.split()
    return entry


def parse(text, libpam=None, conf=False):
    """
    Return the entries of a PAM file, in order.

    text
        The file's text. Joining the entries' ``text`` gives it back, whatever it is.

    libpam
        The libpam to read as, such as ``{"version": "1.5.2", "debian": true}``; this node's by default. It matters only
        for ``@include``, NULs, lines of 1024 bytes and more, and a blank or comment line after a continuation.

    conf
        Read as ``pam.conf``, whose lines begin with a service.

    An entry is a dictionary with ``text``, ``line`` (the first line's number) and ``kind``:

    ========  =========================================================================================
    kind      further keys
    ========  =========================================================================================
    rule      ``type`` (lower case), ``silent`` (the type had a ``-``), ``control`` (as written),
              ``module``, ``args`` (words without their brackets)
    include   ``type`` (none for ``@include``), ``silent``, ``control`` (``include``, ``substack`` or
              ``@include``), ``target``
    blank
    comment   nothing in the line reaches libpam
    invalid   ``reason``, and as many of the above as could be read
    ========  =========================================================================================

    With ``conf`` also ``service``, in lower case.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.parse 'account required pam_unix.so'
    """
    entries = []
    position, number, size = 0, 1, len(text)
    while position < size:
        end = text.find("\n", position) + 1 or size
        line, entry = text[position:end], None
        if not conf and len(line) <= _COMMON_LENGTH:
            if line[0] == "@":
                libpam = libpam or _node_libpam()
            entry = _common_entry(line, number, libpam)
        if entry:
            number += 1
        else:
            fields, end = _odd_entry(text, position, libpam, conf)
            entry = {"text": text[position:end], "line": number, **fields}
            number += entry["text"].count("\n")
        entries.append(entry)
        position = end
    return entries


def render(entries):
    """
    Return the text of entries, as :py:func:`parse` gave them.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.render '[{"text": "account required pam_unix.so\\n"}]'
    """
    return "".join(entry["text"] for entry in entries)


def actions(control, libpam=None):
    """
    Return what a control makes of each of the 32 return codes, in libpam's order: ``ignore``, ``ok``, ``done``,
    ``bad``, ``die``, ``reset`` or how many lines to jump.

    A control with an error raises ``CommandExecutionError``; libpam then counts every answer as bad, success included.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.actions '[success=1 default=ignore]'
    """
    found, problem = _control(control, _is_old(libpam or _node_libpam()))
    if problem:
        raise CommandExecutionError(f"{control} {problem}")
    return dict(zip(RETURN_CODES, found))


# --- selecting ---


def _typed(wanted):
    wanted = wanted.translate(_LOWER)
    return lambda type_: type_ == wanted


def _named(wanted):
    """A bare name stands for every path that ends in it. A carriage return belongs to the line's end, to us."""
    return lambda name: wanted in (name or "") and wanted in (name.rstrip("\r"), name.rstrip("\r").rpartition("/")[2])


def _controlled(wanted):
    wanted = _plain_control(wanted)
    return lambda control: control is not None and _plain_control(control) == wanted


@functools.lru_cache(maxsize=256)
def _plain_control(control):
    """A control without what makes no difference: brackets around a keyword, case, and how many blanks there are."""
    value = " ".join(_argument(control).split())
    keyword = value.translate(_LOWER)
    return keyword if keyword in (*CONTROLS, *INCLUDES, "@include") else value


def _has_args(wanted):
    wanted = _arguments(wanted)
    return lambda args: set(wanted) <= {arg.rstrip("\r") for arg in args or []}


def _arguments(args):
    """Arguments as words: from a list of them, or from text as it stands in a PAM file."""
    if isinstance(args, str):
        return [_unescape(word) for word in _WORD.finditer(args)]
    if not isinstance(args, list):
        raise SaltInvocationError(f"arguments are a list of words, or text, not {args!r}")
    return [str(arg) for arg in args]


# What makes, of the value that is wanted, a test of a line's.
_SELECTORS = {
    "type": _typed,
    "control": _controlled,
    "module": _named,
    "target": lambda wanted: lambda target: target is not None and target.rstrip("\r") == wanted,
    "args": _has_args,
}


def _selection(selector):
    """A selector as what _select takes."""
    if not isinstance(selector, dict) or not selector:
        raise SaltInvocationError(f"{selector!r} selects nothing; give one or more of {', '.join(_SELECTORS)}")
    for key, wanted in selector.items():
        if key not in _SELECTORS:
            raise SaltInvocationError(f"{key!r} is no way to select a line; there are {', '.join(_SELECTORS)}")
        if key != "args" and not (isinstance(wanted, str) and wanted.strip(_BLANKS)):
            raise SaltInvocationError(f"{key} must be a word, not {wanted!r}")
    return [(key, _SELECTORS[key](wanted)) for key, wanted in selector.items()]


def _select(entries, selection):
    """The indexes of the rules and includes that pass every test."""
    found = range(len(entries))
    for key, test in selection:
        found = [index for index in found if test(entries[index].get(key))]
    return [index for index in found if entries[index]["kind"] in ("rule", "include")]


def find(text, **selector):
    """
    Return the entries of a PAM file that a selector matches; comments never match.

    text
        The file's text, or its entries.

    selector
        One or more of these; all of them must match.

        ===========  =====================================================================================
        ``type``     ``auth``, ``account``, ``password`` or ``session``
        ``control``  the control; blanks, and the case of a keyword, make no difference
        ``module``   the module; ``pam_unix.so`` also finds ``/lib/security/pam_unix.so``
        ``target``   the file that an ``include``, ``substack`` or ``@include`` names
        ``args``     arguments the rule must have, in any order; a list, or text as in a PAM file
        ===========  =====================================================================================

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.find 'account required pam_unix.so' type=account module=pam_unix.so
    """
    selector = salt.utils.args.clean_kwargs(**selector)
    entries = parse(text) if isinstance(text, str) else text
    return [entries[index] for index in _select(entries, _selection(selector))]


# --- editing ---

_TAB = 8
_NEIGHBOURS = 3
_COMMENT_SIGN = re.compile(r"(?m)^[ \t]*#+(?:[ \t](?=[^ \t]))?")
_LINE_END = re.compile(r"\r?\n\Z")


def _line_end(text):
    """The newline a text ends in, with its carriage return, or nothing."""
    end = _LINE_END.search(text)
    return end[0] if end else ""


def _quote(word):
    """An argument as it must be written."""
    written = word if word and not re.search(r"\A\[|[ \t\n]", word) else "[" + word.replace("]", "\\]") + "]"
    if re.search(r"[#\0\n]|\\\Z", written) or _argument(written) != word:
        raise SaltInvocationError(f"{word!r} cannot be written in a PAM file")
    return written


def _argument(written):
    return _unescape(_WORD.match(written))


def _column(text):
    return len(text.expandtabs(_TAB))


class _Layout:
    """How a line is written: its words, and the blanks before, between and after them."""

    def __init__(self, text, old):
        line = _Line(text, 0, old)
        self.text, self.old = text, old
        self.words = [_written(word) for word in line.words]
        self.ends = [0, *(line.place(word.end() - 1) + 1 for word in line.words)]
        self.starts = [line.place(word.end() - len(written)) for word, written in zip(line.words, self.words)]
        if text.endswith("\r\n") and self.ends[-1] == len(text) - 1:
            # To libpam the carriage return is the end of a word, or a word; here it is the end of the line.
            if self.words[-1] == "\r":
                del self.words[-1], self.starts[-1], self.ends[-1]
            else:
                self.words[-1] = self.words[-1][:-1]
                self.ends[-1] -= 1
        self.gaps = [text[end:start] for end, start in zip(self.ends, self.starts)]
        self.rest = text[self.ends[-1] :]

    def columns(self, index):
        """Where the blanks before a word begin and end, in columns."""
        return _column(self.text[: self.ends[index]]), _column(self.text[: self.starts[index]])

    def gap(self, index, before, neighbours):
        """
        The blanks before the word at an index, where the text before it is given.

        A column is kept where there is one: several spaces, or a place that a neighbour's words begin at as well.
        """
        if index >= len(self.gaps) or index > 3:
            return " "
        gap, (end, column) = self.gaps[index], self.columns(index)
        if "\n" in gap or not gap:
            return gap or " "
        shared = gap.startswith("  ") or (index < 3 and self._shares(index, column, end, neighbours))
        if not shared:
            return gap
        if "\t" in gap:
            return "\t" * max(1, -(-column // _TAB) - _column(before) // _TAB)
        return " " * max(1, column - _column(before))

    def _shares(self, index, column, end, neighbours):
        """Whether a word stands in the column of a neighbour's, and that is no accident: the words before differ."""
        for text in neighbours:
            other = _Layout(text, self.old)
            if len(other.words) > index and other.columns(index)[1] == column and other.columns(index)[0] != end:
                return True
        return False

    def write(self, words, neighbours):
        """This line with other words: what is the same stays as it is, byte for byte."""
        kept = 0
        while kept < min(len(words), len(self.words)) and words[kept] == self.words[kept]:
            kept += 1
        tail = 0
        while tail < min(len(words), len(self.words)) - kept and words[-1 - tail] == self.words[-1 - tail]:
            tail += 1
        text = ""
        for index, word in enumerate(words):
            here = index if index < len(words) - tail else index - len(words) + len(self.words)
            untouched = index <= kept or here > 3
            gap = self.gaps[here] if untouched and here < len(self.gaps) else self.gap(here, text, neighbours)
            text += gap + word
        return text + self.rest


class _Editor:
    """A PAM file under change. Between any two operations ``entries`` is what the parser makes of it."""

    def __init__(self, text, libpam):
        self.libpam = libpam or _node_libpam()
        self.old = _is_old(self.libpam)
        self.entries = parse(text, self.libpam)

    # finding lines

    def _all(self, selector):
        return _select(self.entries, _selection(selector))

    def _one(self, selector, besides=None):
        """The index of the one line a selector means."""
        found = [index for index in self._all(selector) if index != besides]
        if len(found) == 1:
            return found[0]
        if found:
            raise CommandExecutionError(f"{selector} matches several lines; say which is meant:{self._listed(found)}")
        live = [index for index, entry in enumerate(self.entries) if entry["kind"] in ("rule", "include")]
        raise CommandExecutionError(f"no line matches {selector}; the lines are:{self._listed(live)}")

    def _any(self, selector, missing):
        """The indexes of the lines a selector means; that there are none is an error, unless told otherwise."""
        return self._all(selector) or ([] if missing == "ok" else [self._one(selector)])

    def _naming(self, target, by_type):
        """The lines that name a file, for one type or all; an ``@include`` does so for every type."""
        included = self._all({"target": target, "control": "@include"})
        return sorted({*included, *self._all({"target": target, **by_type})})

    def _listed(self, indexes):
        lines = [f"\n  line {self.entries[index]['line']}: {self.entries[index]['text'].strip()}" for index in indexes]
        return "".join(lines) or " none"

    @staticmethod
    def _matters(entry, types):
        """Whether a line has a say in some types; one without a type has it in all."""
        return entry["kind"] in ("rule", "include", "invalid") and entry.get("type") in (*types, None)

    # writing lines

    def _layout(self, index):
        return _Layout(self.entries[index]["text"], self.old)

    def _neighbours(self, place, type_):
        """The texts of the few lines nearest to a place whose way of writing can be followed."""
        plain = [
            index
            for index, entry in enumerate(self.entries)
            if entry["kind"] in ("rule", "include") and "\n" not in entry["text"][:-1] and index != place
        ]
        plain.sort(key=lambda index: (self.entries[index]["type"] != type_, abs(index - place)))
        return [self.entries[index]["text"] for index in plain[:_NEIGHBOURS]]

    def _settle(self, first, last, texts):
        """Put texts in the place of some entries, if libpam reads each of them, and those around, by itself."""
        start, stop = max(first - 1, 0), last + 1
        texts = [entry["text"] for entry in self.entries[start:first]] + texts
        texts += [entry["text"] for entry in self.entries[last:stop]]
        fresh = parse("".join(texts), self.libpam)
        if [entry["text"] for entry in fresh] != texts:
            raise CommandExecutionError(
                f"these lines cannot be changed, libpam would take two for one:{''.join(texts)!r}"
            )
        self.entries[start:stop] = fresh
        number = self.entries[start - 1]["line"] + self.entries[start - 1]["text"].count("\n") if start else 1
        for entry in self.entries[start:]:
            entry["line"] = number
            number += entry["text"].count("\n")

    def _write(self, index, words):
        """Give the line at an index other words."""
        layout = self._layout(index)
        if words != layout.words:
            neighbours = self._neighbours(index, self.entries[index]["type"])
            self._settle(index, index + 1, [layout.write(words, neighbours)])
            if self._layout(index).words != words:
                raise CommandExecutionError(f"this line cannot be changed as asked:{self._listed([index])}")

    def _put(self, place, text):
        """Put a line, given with its newline, before the entry at an index."""
        if not place or self.entries[place - 1]["text"].endswith("\n"):
            self._settle(place, place, [text])
        else:
            # The file's last line had no newline, and so has none after.
            before = self.entries[place - 1]
            self._settle(place - 1, place, [before["text"] + "\n", text.removesuffix(_line_end(text))])
            self._refuse_change(before, place - 1)

    def _drop(self, index):
        """Remove a line."""
        if index and index == len(self.entries) - 1 and not self.entries[index]["text"].endswith("\n"):
            before = self.entries[index - 1]
            text = before["text"].removesuffix("\n")
            self._settle(index - 1, index + 1, [text] if text else [])
            if text:
                self._refuse_change(before, index - 1)
        else:
            self._settle(index, index + 1, [])

    def _refuse_change(self, before, index):
        """Refuse what changed more of a line than its newline, which belongs to a word whose bracket is not closed."""
        if {**before, "text": None} != {**self.entries[index], "text": None}:
            raise CommandExecutionError(f"this line has no end that could be changed:{self._listed([index])}")

    def _given(self, text):
        """The one line a caller gives to write: (entry, layout)."""
        if not isinstance(text, str):
            raise SaltInvocationError(f"a line for a PAM file is text, not {text!r}")
        line = text.strip(_BLANKS)
        entries = parse(line, self.libpam)
        if len(entries) != 1 or "\n" in line or "\0" in line:
            raise SaltInvocationError(f"{text!r} is not one line for a PAM file")
        entry = entries[0]
        problem = {"comment": "it is a comment"}.get(entry["kind"], entry.get("reason"))
        if entry["kind"] == "rule":
            _, problem = _control(entry["control"], self.old)
        if problem:
            raise SaltInvocationError(f"{text!r} is not a line for a PAM file: {problem}")
        return entry, _Layout(line, self.old)

    def _new_line(self, place, entry, layout):
        """A given line as it is written at a place."""
        nearest = self._neighbours(place, entry["type"])
        if not nearest:
            return " ".join(layout.words) + layout.rest + self._newline(place)
        model, text = _Layout(nearest[0], self.old), ""
        for index, word in enumerate(layout.words):
            text += (model.gap(index, text, nearest[1:]) if index else model.gaps[0]) + word
        return text + layout.rest + self._newline(place)

    def _newline(self, place):
        """The line end in use around a place."""
        around = self.entries[max(place - 1, 0) : place + 1]
        return next((end for entry in around if (end := _line_end(entry["text"]))), "\n")

    # operations: what a change's key names is the first argument, its options are the others

    def insert(self, line, before=None, after=None, at=None, match=None):
        if [before, after, at].count(None) != 2 or at not in (None, "first", "last"):
            raise SaltInvocationError("insert needs one of before: SELECTOR, after: SELECTOR, at: first and at: last")
        entry, layout = self._given(line)
        here = self._present(entry, layout, match)
        types = {entry["type"]} if entry["type"] else set(TYPES)
        if at:
            peers = [i for i, peer in enumerate(self.entries) if i != here and self._matters(peer, types)]
            anchor = peers[0 if at == "first" else -1] if peers else None
        else:
            anchor = self._one(before or after, besides=here)
            types |= {self.entries[anchor]["type"]}
        ahead = bool(before) or at == "first"
        if here is None:
            place = len(self.entries) if anchor is None else anchor if ahead else anchor + 1
            self._put(place, self._new_line(place, entry, layout))
            return
        self._write(here, layout.words)
        first, last = (here, anchor) if ahead else (anchor, here)
        if anchor is None or (
            first < last and not any(self._matters(between, types) for between in self.entries[first + 1 : last])
        ):
            return
        text = self.entries[here]["text"]
        self._drop(here)
        place = anchor - (here < anchor) + (not ahead)
        self._put(place, text if _line_end(text) else text + self._newline(place))

    def _present(self, entry, layout, match):
        """The index of the line that counts as the given one, if there is one."""
        if match is None:
            match = {key: entry[key] for key in ("type", "module", "target") if entry.get(key)}
            if not entry["type"]:
                match["control"] = entry["control"]
        found = self._all(match)
        same = [index for index in found if self._layout(index).words == layout.words]
        if len(found) > 1 and len(same) != 1:
            raise CommandExecutionError(f"several lines could be the one to insert; use match:{self._listed(found)}")
        return (same or found or [None])[0]

    def replace(self, selector, **options):
        _, layout = self._given(options["with"])
        there = [
            index
            for index, entry in enumerate(self.entries)
            if entry["kind"] in ("rule", "include") and self._layout(index).words == layout.words
        ]
        if there and not self._all(selector):
            return
        index = self._one(selector)
        if there and there != [index]:
            raise CommandExecutionError(f"{options['with']!r} is in the file already:{self._listed(there)}")
        self._write(index, layout.words)

    def set_control(self, selector, to):
        # A selector by the control to change matches no more once that is done.
        if not self._all(selector) and self._all({**selector, "control": to}):
            return
        index = self._one(selector)
        entry, words = self.entries[index], self._layout(index).words
        wanted = [words[0], to, *words[2:3]]
        if entry["type"]:
            given, layout = self._given(" ".join(map(str, wanted)))
        if not entry["type"] or layout.words != wanted or given["kind"] != entry["kind"]:
            raise CommandExecutionError(f"{to!r} cannot be the control of this line:{self._listed([index])}")
        if _plain_control(words[1]) != _plain_control(to):
            self._write(index, [words[0], to, *words[2:]])

    def set_args(self, selector, to):
        to = [_quote(arg) for arg in _arguments(to)]
        self._change_args(selector, lambda args: to)

    def add_args(self, selector, args):
        new = _arguments(args)

        def added(args):
            for arg in new:
                name, equals, _ = arg.partition("=")
                same = [i for i, old in enumerate(args) if _argument(old).partition("=")[:2] == (name, equals)]
                if len(same) > 1:
                    raise CommandExecutionError(f"{name} is given more than once in {' '.join(args)}")
                place = same[0] if same else len(args)
                args = [*args[:place], _quote(arg), *args[place + 1 :]]
            return args

        self._change_args(selector, added)

    def remove_args(self, selector, args):
        gone = set(_arguments(args))
        self._change_args(
            selector,
            lambda args: [arg for arg in args if not gone & {_argument(arg), _argument(arg).partition("=")[0]}],
        )

    def _change_args(self, selector, change):
        """Give the one rule a selector means the arguments a function makes of its own."""
        if not self._all(selector):
            # A selector by the arguments to change matches no more once that is done.
            others = [(key, test) for key, test in _selection(selector) if key != "args"]
            for index in _select(self.entries, others):
                args = self._layout(index).words[3:]
                if self.entries[index]["kind"] == "rule" and change(args) == args:
                    return
        index = self._one(selector)
        if self.entries[index]["kind"] != "rule":
            raise CommandExecutionError(f"{selector} matches a line that has no arguments:{self._listed([index])}")
        words = self._layout(index).words
        self._write(index, [*words[:3], *change(words[3:])])

    def remove(self, selector, missing=None):
        for index in reversed(self._any(selector, missing)):
            self._drop(index)

    def comment_out(self, selector, missing=None):
        if not self._all(selector) and self._commented(selector):
            return
        for index in reversed(self._any(selector, missing)):
            lines = re.findall(r"[^\n]*\n|[^\n]+", self.entries[index]["text"])
            self._settle(index, index + 1, ["#" + line for line in lines])

    def uncomment(self, selector):
        if self._all(selector):
            return
        found = self._commented(selector)
        if len(found) > 1:
            several = self._listed(first for first, _, _ in found)
            raise CommandExecutionError(f"{selector} matches several commented lines; say which is meant:{several}")
        if not found:
            raise CommandExecutionError(f"no line, commented out or not, matches {selector}")
        first, last, text = found[0]
        self._settle(first, last, [text])

    def _commented(self, selector):
        """The commented lines a selector would match: (first index, index after the last, text without the signs)."""
        found, selection = [], _selection(selector)
        for first in range(len(self.entries)):
            text = ""
            for last, entry in enumerate(self.entries[first:], first + 1):
                if entry["kind"] != "comment":
                    break
                text += _COMMENT_SIGN.sub("", entry["text"], count=1)
                lines = parse(text, self.libpam)
                if len(lines) == 1 and _select(lines, selection):
                    found.append((first, last, text))
                if len(lines) != 1 or lines[0].get("reason") != _DANGLING:
                    break
        return found

    def retarget(self, names, missing=None):
        if not isinstance(names, dict) or not {"from", "to"} <= set(names) <= {"from", "to", "type"}:
            raise SaltInvocationError(f"retarget takes from, to and perhaps type, not {names!r}")
        by_type = {"type": names["type"]} if "type" in names else {}
        found = self._naming(names["from"], by_type)
        if not found and (missing == "ok" or self._naming(names["to"], by_type)):
            return
        for index in found or [self._one({"target": names["from"], **by_type})]:
            words = self._layout(index).words
            words[1 if self.entries[index]["control"] == "@include" else 2] = _quote(names["to"])
            self._write(index, words)


# Operation: the options it needs, and those it may have.
_OPERATIONS = {
    "insert": ((), ("before", "after", "at", "match")),
    "replace": (("with",), ()),
    "set_control": (("to",), ()),
    "set_args": (("to",), ()),
    "add_args": (("args",), ()),
    "remove_args": (("args",), ()),
    "remove": ((), ("missing",)),
    "comment_out": ((), ("missing",)),
    "uncomment": ((), ()),
    "retarget": ((), ("missing",)),
}


def _apply(editor, change):
    names = [name for name in change if name in _OPERATIONS] if isinstance(change, dict) else []
    if len(names) != 1:
        raise SaltInvocationError(f"{change!r} is not one change; the changes are {', '.join(_OPERATIONS)}")
    name = names[0]
    needed, allowed = _OPERATIONS[name]
    options = {key: value for key, value in change.items() if key != name}
    if missing := set(needed) - set(options):
        raise SaltInvocationError(f"{name} needs {', '.join(sorted(missing))}")
    if unknown := set(options) - set(needed) - set(allowed):
        raise SaltInvocationError(
            f"{name} takes {', '.join((*needed, *allowed)) or 'no options'}, not {', '.join(unknown)}"
        )
    if options.get("missing", "ok") != "ok":
        raise SaltInvocationError(f"missing can only be ok, not {options['missing']!r}")
    getattr(editor, name)(change[name], **options)


def edit(text, changes, libpam=None):
    """
    Return the text of a PAM file with changes made to it, one after the other.

    Every byte that no change asks for stays. A new line is written as its neighbours are: indentation, columns, tabs,
    line end. What is in place already is left as it is, so applying changes again changes nothing.

    text
        The file's text.

    libpam
        As for :py:func:`parse`.

    changes
        A list of dictionaries, each one change. A selector is what :py:func:`find` takes, and must match one line,
        unless said otherwise.

        =====================================================  ======================================================
        change                                                 what it does
        =====================================================  ======================================================
        ``insert: LINE`` with ``before: SELECTOR``,            puts the rule or include there. Where it is in the file
        ``after: SELECTOR``, ``at: first`` or ``at: last``     it is moved and rewritten, never doubled. ``first`` and
        (of its type)                                          ``last`` count an ``@include`` as a line of every type
        ``match: SELECTOR`` with it                            which line counts as the one to insert; by default that
                                                               of the same type and module, for an include of the same
                                                               type, control and target
        ``replace: SELECTOR``, ``with: LINE``                  gives the line other words
        ``set_control: SELECTOR``, ``to: CONTROL``             sets the control
        ``set_args: SELECTOR``, ``to: ARGS``                   sets all arguments, in this order
        ``add_args: SELECTOR``, ``args: ARGS``                 adds arguments at the end; ``name=value`` replaces the
                                                               value of ``name`` where it stands
        ``remove_args: SELECTOR``, ``args: ARGS``              removes arguments; ``name`` also removes ``name=value``
        ``remove: SELECTOR``                                   removes every line that matches
        ``comment_out: SELECTOR``                              comments out every line that matches
        ``uncomment: SELECTOR``                                makes the one commented line that matches a rule again
        ``retarget: {from: FILE, to: FILE, type: TYPE}``       changes the file in every ``include``, ``substack`` and
                                                               ``@include`` that names it; ``type`` may be left out
        =====================================================  ======================================================

        ``ARGS`` is a list of words, or text as it stands in a PAM file.

        A change whose selector matches no line, or several where one is meant, raises ``CommandExecutionError`` with
        the lines. ``missing: ok`` lets ``remove``, ``comment_out`` and ``retarget`` find nothing; ``remove`` needs it
        where the changes are applied again. A change that is not understood raises ``SaltInvocationError``.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.edit 'account required pam_unix.so' \\
            '[{"insert": "account required pam_nologin.so", "before": {"type": "account", "module": "pam_unix.so"}}]'
    """
    if not isinstance(changes, list):
        raise SaltInvocationError(f"changes are a list, not {changes!r}")
    editor = _Editor(text, libpam)
    for change in changes:
        _apply(editor, change)
    return render(editor.entries)


# --- files ---

_LARGEST_FILE = 1024 * 1024
_MOST_LINKS = 40


def _slurp(path):
    """A file's text; a directory reads as an empty file, as in libpam."""
    # Without O_NONBLOCK a named pipe would hold the minion for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            return ""
        if not stat.S_ISREG(mode):
            raise CommandExecutionError(f"{path} is not a regular file")
        data = os.read(descriptor, _LARGEST_FILE + 1)
    finally:
        os.close(descriptor)
    if len(data) > _LARGEST_FILE:
        raise CommandExecutionError(f"{path} is larger than {_LARGEST_FILE} bytes; that is no PAM file")
    return data.decode("utf-8", "surrogateescape")


def _open(path, files):
    """The text libpam gets when it opens a path, with files laid over those there are; None where it gets nothing."""
    for _ in range(_MOST_LINKS):
        try:
            laid_over = files[path] if path in files else {"link": os.readlink(path)}
        except (OSError, ValueError):
            break
        if not isinstance(laid_over, dict):
            return laid_over
        path = os.path.normpath(os.path.join(os.path.dirname(path), laid_over["link"]))
    else:
        return None
    try:
        return _slurp(path)
    except PermissionError as error:
        raise CommandExecutionError(f"{path} cannot be read: {error.strerror}; libpam runs as root") from error
    except (OSError, ValueError):
        return None


def read(path, libpam=None, files=None):
    """
    Return the entries of the PAM file at a path, as :py:func:`parse` gives them.

    A ``pam.conf`` is read with its service column, and a directory as an empty file, as in libpam. ``files`` is that of
    :py:func:`expand`. A file that cannot be read raises ``CommandExecutionError``.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.read /etc/pam.d/sshd
    """
    text = _open(path, files or {})
    if text is None:
        raise CommandExecutionError(f"{path} cannot be opened")
    return parse(text, libpam, conf=os.path.basename(path) == "pam.conf")


# What in the library's binary tells which release's behaviour it has, newest first. The binary and not the package:
# distributions backport.
_MARKS = (
    (b"maximum level of inclusions reached", "1.6.0"),
    (b"LIBPAM_MODUTIL_1.4.1\0", "1.5.0"),
    (b"LIBPAM_1.4\0", "1.4.0"),
    (b"/usr/lib/pam.d/%s\0", "1.2.0"),
    (b"", "1.1.0"),
)


@functools.lru_cache(maxsize=8)
def _examine(path, _changed):
    """What a libpam binary says of itself."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
        found = [name.decode() for name in re.findall(rb"(?<=\0)(/[!-~]*/pam\.d)/%s(?=\0)", binary)]
        modules = [name.decode() for name in re.findall(rb"(?<=\0)(/[!-~]*/security)/?(?=\0)", binary)]
        return {
            "version": next(version for mark, version in _MARKS if binary.find(mark) >= 0),
            "debian": binary.find(b"@include\0") >= 0,
            "confdirs": sorted(found, key=_order_of_confdir),
            "module_dirs": list(dict.fromkeys([*modules, os.path.join(os.path.dirname(path), "security")])),
        }


def _order_of_confdir(directory):
    """libpam's own order: the administrator's, its own, the vendor's."""
    return ("/etc/pam.d", "/usr/lib/pam.d", directory).index(directory)


def _node_libpam():
    multiarch = f"lib/{os.uname().machine}-linux-gnu"
    directories = [f"{top}/{name}" for name in (multiarch, "lib64", "lib") for top in ("", "/usr")]
    for directory in directories:
        path = f"{directory}/libpam.so.0"
        try:
            return _examine(path, os.stat(path).st_mtime_ns)
        except OSError:
            continue
    raise CommandExecutionError(f"there is no libpam.so.0 in {', '.join(directories)}; say which libpam is meant")


def libpam():
    """
    Return what this node's libpam is: ``version``, ``debian`` (it knows ``@include``), ``confdirs`` (the directories it
    reads, in order) and ``module_dirs``.

    All of it is found in the library's binary. ``version`` is the release from which on libpam behaves as this one does
    (1.1.0, 1.2.0, 1.4.0, 1.5.0 or 1.6.0), not the package's.

    Without a libpam this raises ``CommandExecutionError``.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.libpam
    """
    found = _node_libpam()
    return {**found, "confdirs": [*found["confdirs"]], "module_dirs": [*found["module_dirs"]]}


# --- expansion: what pam_start makes of a service's files ---

_LEVELS = 16  # PAM_SUBSTACK_MAX_LEVEL: libpam refuses the 16th nested level
_DEEPEST = 64  # old libpam counts no includes and runs on until its file descriptors are used up
_MOST_LINES = 20000


class _Abort(Exception):
    """libpam answers PAM_ABORT for the file it is reading."""

    def __init__(self, file, line, reason):
        super().__init__(reason)
        self.file, self.line, self.reason = file, line, reason


class _Crash(_Abort):
    """libpam does not come back from it."""


_UNDEFINED = "what follows is undefined, because libpam goes on with memory it never set"


class _Expansion:
    """One pam_start: files as they are opened, handlers as they are added."""

    def __init__(self, service, confdirs, libpam, files):
        self.service = service.rpartition("/")[2].translate(_LOWER)
        self.libpam = libpam or _node_libpam()
        self.confdirs = confdirs or _node_libpam()["confdirs"]
        self.files = files or {}
        self.old = _is_old(self.libpam)
        self.own = {type_: [] for type_ in TYPES}
        self.other = {type_: [] for type_ in TYPES}
        self._texts = {}
        self._entries = {}
        self._lines = 0

    # files

    def _text(self, path):
        """The text libpam gets when it opens a path, or None where it gets nothing."""
        if path not in self._texts:
            self._texts[path] = _open(path, self.files)
        return self._texts[path]

    def _is_directory(self, path):
        return os.path.isdir(path) or any(
            text is not None and os.path.dirname(name) == path.rstrip("/") for name, text in self.files.items()
        )

    def _find(self, name, directories):
        """The first file that opens: (path, text)."""
        paths = [name] if name.startswith("/") else [f"{directory}/{name}" for directory in directories]
        for path in paths:
            if (text := self._text(path)) is not None:
                return path, text
        return None

    # handlers

    def run(self):
        """Read what pam_start reads."""
        directories = [directory for directory in self.confdirs if self._is_directory(directory)]
        if not directories:
            path = os.path.join(os.path.dirname(self.confdirs[0].rstrip("/")), "pam.conf")
            text = self._text(path)
            if text is None:
                raise _Abort(None, None, f"there is neither {path} nor any of {', '.join(self.confdirs)}")
            self._load(path, text, None, None)
            return
        found = False
        for name, stacks in (
            (self.service, self.other if self.service == "other" else self.own),
            ("other", self.other),
        ):
            if file := self._find(name, self.confdirs):
                self._load(*file, None, stacks)
                found = True
        if not found:
            raise _Abort(None, None, f"neither {self.service} nor other is in {', '.join(self.confdirs)}")

    def _load(self, path, text, wanted, stacks, depth=0, level=0):
        """Add the handlers of a file, as _pam_parse_conf_file does. Without stacks the file is pam.conf."""
        actions = None
        for entry in self._lines_of(path, text, conf=stacks is None):
            self._lines += 1
            if self._lines > _MOST_LINES:
                raise CommandExecutionError(
                    f"{self.service} expands to more than {_MOST_LINES} lines (at {path}:{entry['line']});"
                    " look for files that include each other"
                )
            if entry.get("reason") in (_DANGLING, _ENDLESS):
                crash = _Crash if entry["reason"] == _ENDLESS else _Abort
                raise crash(path, entry["line"], entry["reason"])
            target_stacks = stacks or {self.service: self.own, "other": self.other}.get(entry["service"])
            if target_stacks is None:
                continue
            if entry["control"] == "@include" and "target" in entry:
                # libpam leaves the actions as the line before set them, and an @include that fails is run by them.
                type_ = wanted
            else:
                type_ = entry["type"] or wanted or "auth"
                if wanted and type_ != wanted:
                    continue
                actions = _ALL_BAD if "target" in entry else self._actions(entry["control"])
            self._add(entry, path, type_, actions, target_stacks, depth, level)

    def _lines_of(self, path, text, conf):
        """The entries of a file that reach libpam."""
        if (path, conf) not in self._entries:
            entries = parse(text, self.libpam, conf)
            self._entries[path, conf] = [entry for entry in entries if entry["kind"] not in ("blank", "comment")]
        return self._entries[path, conf]

    def _actions(self, control):
        return _ALL_BAD if control is None else _control(control, self.old)[0]

    def _add(self, entry, path, type_, actions, stacks, depth, level):
        """Add the handlers of one line, as _pam_add_handler does."""
        handler = {
            "kind": "module",
            "level": level,
            "type": type_,
            "silent": entry["silent"],
            "control": entry["control"],
            "actions": actions,
            "module": entry.get("module"),
            "args": entry.get("args", []),
            "file": path,
            "line": entry["line"],
            "reason": None,
            "paired": True,
        }
        if "target" in entry:
            substack = entry["control"] == "substack"
            if substack:
                stacks[type_].append({**handler, "kind": "substack", "module": entry["target"]})
                self._refuse_nameless(entry["target"], entry, path, stacks[type_], depth)
            problem = self._include(entry, path, type_, stacks, depth + 1, level + substack)
            if problem is None:
                return
            if type_ is None:
                raise _Abort(path, entry["line"], problem)
            if actions is None:
                raise CommandExecutionError(f"{path}:{entry['line']}: {problem}; {_UNDEFINED}")
            stacks[type_].append({**handler, "kind": "must_fail", "reason": problem})
            return
        unusable = entry["type"] is None or entry["control"] is None or entry["module"] is None
        stacks[type_].append({**handler, "kind": "must_fail" if unusable else "module", "reason": entry.get("reason")})
        self._refuse_nameless(entry["module"], entry, path, stacks[type_], depth)

    def _refuse_nameless(self, name, entry, path, stack, depth):
        """libpam gives a file up at a module or substack without a name, and leaves it behind half made."""
        if name is not None and _names_nothing(name):
            if self.old and depth:
                raise CommandExecutionError(f"{path}:{entry['line']}: {name!r} names nothing to load; {_UNDEFINED}")
            stack[-1]["paired"] = False
            raise _Abort(path, entry["line"], entry["reason"])

    def _include(self, entry, path, type_, stacks, depth, level):
        """Add the handlers of an included file; what went wrong, if anything."""
        target, debian = entry["target"], self.libpam["debian"]
        if target is None:
            if debian:
                raise _Crash(path, entry["line"], f"{entry['control']} names no file, and this libpam crashes on that")
            return entry["reason"]
        if (level if self.old else depth) >= _LEVELS:
            return f"{target} would be level {_LEVELS} of {'substacks' if self.old else 'includes'}, one too many"
        if depth > _DEEPEST:
            raise CommandExecutionError(
                f"{path}:{entry['line']} includes {target} {depth} levels deep; look for a file that includes itself"
            )
        # Debian looks for a relative name in the first directory alone.
        file = self._find(target, self.confdirs[:1] if debian else self.confdirs)
        if file is None:
            return f"{target} cannot be opened"
        try:
            self._load(*file, type_, stacks, depth, level)
        except _Crash:
            raise
        except _Abort as abort:
            return f"{abort.file}:{abort.line}: {abort.reason}"
        return None


def expand(service, confdirs=None, libpam=None, files=None):
    """
    Return the handlers libpam would run for a service, includes and substacks followed, as ``pam_start`` builds them.

    service
        The service's name. What follows the last ``/`` counts, in lower case.

    confdirs
        The directories to read, in search order; this node's libpam's by default. ``pam.conf`` beside the first of them
        is read where none of them exists.

    libpam
        The libpam to read as, such as ``{"version": "1.5.2", "debian": false}``; this node's by default.

    files
        Files that are not yet written, laid over those that are: ``{path: text}``, ``{path: null}`` for a file that is
        not there, ``{path: {"link": target}}`` for a link.

    The result is a dictionary:

    abort
        Why ``pam_start`` itself fails (``file``, ``line``, ``reason``), or none.
    types
        For each facility its handlers, in order.
    from
        For each facility the service whose handlers those are, ``other`` where the service has none, or none.

    A handler is a dictionary: ``kind`` (``module``, ``must_fail`` or ``substack``), ``level`` (0 at the top), ``type``,
    ``silent``, ``control`` (as written), ``actions`` (for each of the 32 return codes ``ignore``, ``ok``, ``done``,
    ``bad``, ``die``, ``reset`` or how many handlers to jump; a negative number, which only a libpam before 1.6.0 can
    come to, jumps none and fails), ``module``, ``args``, ``file``, ``line``, ``reason`` (why it must fail) and
    ``paired`` (false where ``setcred`` and ``close_session`` lack it).

    Where libpam before 1.6.0 would follow files that include each other without end, and where a service comes to more
    than 20,000 lines, this raises ``CommandExecutionError``; so does a file that may not be read.

    .. versionadded:: 1.0.0

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.expand sshd
        salt-call pam_stack.expand sshd files='{"/etc/pam.d/sshd": "account required pam_deny.so"}'
    """
    expansion = _Expansion(service, confdirs, libpam, files)
    try:
        expansion.run()
    except _Abort as abort:
        reason = {"file": abort.file, "line": abort.line, "reason": abort.reason}
        return {"abort": reason, "types": {type_: [] for type_ in TYPES}, "from": dict.fromkeys(TYPES)}
    own, other = expansion.own, expansion.other
    return {
        "abort": None,
        "types": {type_: own[type_] or other[type_] for type_ in TYPES},
        "from": {type_: expansion.service if own[type_] else "other" if other[type_] else None for type_ in TYPES},
    }
