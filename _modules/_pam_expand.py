"""
Follow PAM's files as ``pam_start`` does: what it opens, and the handlers it makes of it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from typing import Any

import _pam_grammar
import _pam_libpam
from _pam_errors import PamError, PamUsageError, Refusal
from _pam_grammar import LOWER, TYPES, Action, Entry, Libpam

# What stands at a path: a text, {"link": target}, or None where there is nothing.
Content = str | Mapping[str, str] | None
# One line that libpam runs, as expand gives it, and those of each facility.
Handler = dict[str, Any]
Stacks = dict[str, list[Handler]]
# Whether a value is as it may be, and what that is in words.
Allowed = tuple[Callable[[Any], bool], str]

# What the caller says


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/")


def _is_directories(value: Any) -> bool:
    return _is_path(value) or (isinstance(value, (list, tuple)) and all(map(_is_path, value)))


def _is_version(value: Any) -> bool:
    return isinstance(value, str) and re.match(r"[0-9]+\.[0-9]", value) is not None


def _is_content(value: Any) -> bool:
    return value is None or isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("link"), str))


_DIRECTORIES = (_is_directories, "an absolute path or a list of them")
_LIBPAM = {
    "version": (_is_version, "a text such as 1.5.2"),
    "debian": (lambda value: isinstance(value, bool), "true or false"),
    "confdirs": _DIRECTORIES,
    "module_dirs": _DIRECTORIES,
}
_ARGUMENTS = {
    "service": (lambda value: isinstance(value, str), "a text such as sshd"),
    "path": (lambda value: isinstance(value, str), "a text such as /etc/pam.d/sshd"),
    "confdirs": _DIRECTORIES,
    "libpam": (lambda value: isinstance(value, dict), 'a dictionary such as {"version": "1.5.2", "debian": false}'),
    "files": (lambda value: isinstance(value, dict), "a dictionary of absolute paths and what is there"),
}
_PATH = (_is_path, "an absolute path")
_CONTENT = (_is_content, 'a text, null or a link such as {"link": "x-pc"}')


def _check(name: str, value: Any, allowed: Allowed) -> None:
    is_allowed, what = allowed
    if not is_allowed(value):
        raise PamUsageError(f"{name}: {value!r} is not {what}")


def _given(**arguments: Any) -> dict[str, Any]:
    """The arguments that are given, each of them as it may be."""
    given = {name: value for name, value in arguments.items() if value is not None}
    for name, value in given.items():
        _check(name, value, _ARGUMENTS[name])
    return given


def _directories(value: str | list[str] | tuple[str, ...]) -> list[str]:
    return [value] if isinstance(value, str) else [*value]


def _completed(libpam: Libpam) -> Libpam:
    """A libpam as it is described; what it reads by, where that is not said, is as on this node."""
    if unknown := [key for key in libpam if key not in _LIBPAM]:
        raise PamUsageError(f"libpam: {unknown[0]}: no such key; allowed are {', '.join(_LIBPAM)}")
    found = {}
    for key, allowed in _LIBPAM.items():
        value = libpam.get(key)
        if value is not None:
            _check(f"libpam: {key}", value, allowed)
            found[key] = _directories(value) if allowed is _DIRECTORIES else value
        elif allowed is not _DIRECTORIES:
            found[key] = _pam_libpam.node_libpam()[key]
    return found


# Files

_LARGEST_FILE = 1024 * 1024
_PIECE = 64 * 1024
_MOST_LINKS = 40


def _slurp(path: str) -> str | None:
    """The text of a file that is there, or None; a directory reads as an empty file, as in libpam."""
    try:
        data = _bytes(path)
    except PermissionError as error:
        reason = f"{path} cannot be read: {error.strerror}; libpam runs as root"
        raise Refusal("unreadable", path, None, reason) from error
    except (OSError, ValueError):
        return None
    if len(data) > _LARGEST_FILE:
        raise Refusal("large", path, None, f"{path} is larger than {_LARGEST_FILE} bytes; that is not a PAM file")
    return data.decode("utf-8", "surrogateescape")


def _bytes(path: str) -> bytes:
    """What is in a file, as far as it is not too large."""
    # Without O_NONBLOCK a named pipe would hold the minion for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            return b""
        if not stat.S_ISREG(mode):
            raise Refusal("special", path, None, f"{path} is not a regular file")
        data = b""
        while len(data) <= _LARGEST_FILE and (piece := os.read(descriptor, _PIECE)):
            data += piece
        return data
    finally:
        os.close(descriptor)


class _Real(dict[str, str]):
    """Directories by their paths, without the links that lead to them."""

    def __missing__(self, path: str) -> str:
        try:
            self[path] = os.path.realpath(path)
        except ValueError:  # no directory can have such a name
            self[path] = path
        return self[path]


class Files:
    """The files that libpam finds, with some laid over those that are there."""

    def __init__(self, laid_over: dict[str, Content]) -> None:
        self._real = _Real()
        for path, content in laid_over.items():
            _check("files", path, _PATH)
            _check(f"files: {path}", content, _CONTENT)
        self._laid_over = {self._place(path): content for path, content in laid_over.items()}

    def _place(self, path: str) -> tuple[str, str]:
        """A path without the links that lead to its directory: (directory, name)."""
        directory, slash, name = path.rpartition("/")
        return self._real[directory or slash], name

    def text(self, path: str) -> str | None:
        """The text libpam gets when it opens a path, or None where it gets nothing."""
        for _ in range(_MOST_LINKS):
            place = self._place(path)
            try:
                content = self._laid_over[place] if place in self._laid_over else {"link": os.readlink(path)}
            except (OSError, ValueError):
                return _slurp(path)
            if not isinstance(content, dict):
                return content
            # Not normalised: where a directory is a link, .. leads elsewhere than the text of the path.
            path = os.path.join(os.path.dirname(path), content["link"])
        return None

    def has_directory(self, path: str) -> bool:
        return os.path.isdir(path) or any(
            content is not None and directory == self._real[path]
            for (directory, _), content in self._laid_over.items()
        )


def read(path: str, libpam: Libpam | None = None, files: dict[str, Content] | None = None) -> list[Entry]:
    """The entries of the file at a path, as ``pam_start`` finds it; ``libpam`` and ``files`` as for ``expand``."""
    _check("path", path, _ARGUMENTS["path"])
    given = _given(libpam=libpam, files=files)
    libpam = _completed(given["libpam"]) if "libpam" in given else None
    text = Files(given.get("files", {})).text(path)
    if text is None:
        raise PamError(f"{path} cannot be opened")
    return _pam_grammar.parse(text, libpam, conf=os.path.basename(path) == "pam.conf")


# Expansion: what pam_start makes of a service's files

_LEVELS = 16  # PAM_SUBSTACK_MAX_LEVEL: libpam refuses the 16th nested level
_DEEPEST = 64  # old libpam counts no includes and runs on until its file descriptors are used up
_MOST_LINES = 20000  # to read, and to run


class _Abort(Exception):
    """libpam answers PAM_ABORT for the file it is reading."""

    def __init__(self, file: str | None, line: int | None, reason: str) -> None:
        super().__init__(reason)
        self.file, self.line, self.reason = file, line, reason


class _Crash(_Abort):
    """libpam does not come back from it."""


# What a line of a kind that parse calls fatal does; a nameless one has its handler first.
_FATAL = {"unfinished": _Abort, "endless": _Crash}
_ALL_BAD = "[default=bad]"  # what libpam makes of an include, and of a control that is missing or has an error

_UNDEFINED = "what follows is undefined, because libpam goes on with memory it never set"

# These modules have one answer to each call and nothing to configure (modules/pam_permit, modules/pam_deny).
_DENIALS = {
    "auth": {"authenticate": "auth_err", "setcred": "cred_err"},
    "account": {"acct_mgmt": "auth_err"},
    "password": {"prechauthtok": "authtok_err", "chauthtok": "authtok_err"},
    "session": {"open_session": "session_err", "close_session": "session_err"},
}
_CONSTANT = {
    "pam_deny.so": _DENIALS,
    "pam_permit.so": {type_: dict.fromkeys(calls, "success") for type_, calls in _DENIALS.items()},
}


def _constant(name: str | None, type_: str) -> dict[str, str]:
    """What a module answers to each call of a type, where it always answers the same."""
    by_type = _CONSTANT.get(name) if name else None
    return by_type[type_] if by_type else {}


class _Expansion:
    """One pam_start: files as they are opened, handlers as they are added."""

    def __init__(
        self,
        service: str,
        confdirs: str | list[str] | None,
        libpam: Libpam | None,
        files: dict[str, Content] | None,
        strict: bool,
    ) -> None:
        _check("service", service, _ARGUMENTS["service"])
        given = _given(confdirs=confdirs, libpam=libpam, files=files)
        self.service = service.rpartition("/")[2].translate(LOWER)
        self.libpam = _completed(given.get("libpam") or _pam_libpam.node_libpam())
        self.confdirs = (
            _directories(given.get("confdirs", []))
            or self.libpam.get("confdirs")
            or [*_pam_libpam.node_libpam()["confdirs"]]
        )
        self.old = _pam_libpam.is_old(self.libpam["version"])
        self.strict = strict
        self.own = {type_: [] for type_ in TYPES}
        self.other = {type_: [] for type_ in TYPES}
        self.opened = []
        self.refused = {}
        self._files = Files(given.get("files", {}))
        self._texts = {}
        self._entries = {}
        self._controls = {}
        self._names = {}
        self._to_read, self._to_run = 0, 0

    def refuse(self, refusal: Refusal) -> None:
        """Give up or, where all there is to say is wanted, note it and go on without what cannot be said."""
        if self.strict:
            raise refusal
        self.refused[refusal.file, refusal.line, refusal.kind] = refusal

    def _bounded(self, lines: int, path: str, line: int | None = None) -> int:
        """A number of lines, which is small enough to go on."""
        if lines > _MOST_LINES:
            place = path if line is None else f"{path}:{line}"
            reason = (
                f"{self.service} expands to more than {_MOST_LINES} lines (at {place});"
                " look for files that include each other"
            )
            raise Refusal("long", path, line, reason)
        return lines

    # files

    def _text(self, path: str) -> str | None:
        """The text libpam gets when it opens a path, or None where it gets nothing."""
        if path not in self._texts:
            try:
                self._texts[path] = self._files.text(path)
            except Refusal as refusal:
                self.refuse(refusal)
                # As an empty file, and never opened.
                self._texts[path] = ""
                self._entries[path, False] = self._entries[path, True] = []
        return self._texts[path]

    def _find(self, name: str, directories: list[str]) -> tuple[str, str] | None:
        """The first file that opens: (path, text)."""
        paths = [name] if name.startswith("/") else [f"{directory}/{name}" for directory in directories]
        for path in paths:
            if (text := self._text(path)) is not None:
                return path, text
        return None

    # handlers

    def run(self) -> None:
        """Read what pam_start reads."""
        directories = [directory for directory in self.confdirs if self._files.has_directory(directory)]
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

    def _load(
        self, path: str, text: str, wanted: str | None, stacks: Stacks | None, depth: int = 0, level: int = 0
    ) -> None:
        """Add the handlers of a file, as _pam_parse_conf_file does. Without stacks the file is pam.conf."""
        actions = None
        for entry in self._lines_of(path, text, conf=stacks is None):
            self._to_run = self._bounded(self._to_run + 1, path, entry["line"])
            if fatal := _FATAL.get(entry.get("fatal")):
                raise fatal(path, entry["line"], entry["reason"])
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
                actions = self._actions(_ALL_BAD if "target" in entry else entry["control"] or _ALL_BAD)
            self._add(entry, path, type_, actions, target_stacks, depth, level)

    def _lines_of(self, path: str, text: str, conf: bool) -> list[Entry]:
        """The entries of a file that reach libpam."""
        if (path, conf) not in self._entries:
            # Counted before they are parsed, which takes most of the time.
            self._to_read = self._bounded(self._to_read + text.count("\n"), path)
            entries = _pam_grammar.parsed(text, self.libpam, conf)
            self.opened.append(path)
            self._entries[path, conf] = [entry for entry in entries if entry["kind"] not in ("blank", "comment")]
        return self._entries[path, conf]

    def _actions(self, control: str) -> list[Action]:
        """The 32 actions of a control."""
        if control not in self._controls:
            try:
                self._controls[control] = list(_pam_grammar.actions(control, self.libpam).values())
            except PamError:
                return self._actions(_ALL_BAD)
        return self._controls[control]

    def _name(self, module: str | None) -> str | None:
        """The name of a module of libpam's own: a bare one, or a file in its directories. Any other keeps its path."""
        if module not in self._names:
            self._names[module] = module
            directory, slash, name = (module or "").rpartition("/")
            own = map(os.path.realpath, self.libpam.get("module_dirs", []))
            if slash and module.startswith("/") and os.path.realpath(directory) in own:
                self._names[module] = name
        return self._names[module]

    def _add(
        self,
        entry: Entry,
        path: str,
        type_: str | None,
        actions: list[Action] | None,
        stacks: Stacks,
        depth: int,
        level: int,
    ) -> None:
        """Add the handlers of one line, as _pam_add_handler does."""
        name = self._name(entry.get("module"))
        handler = {
            "kind": "module",
            "level": level,
            "type": type_,
            "silent": entry["silent"],
            "control": entry["control"],
            "actions": actions,
            "module": entry.get("module"),
            "name": name,
            "args": [*entry.get("args", ())],
            "always": _constant(name, type_),
            "file": path,
            "line": entry["line"],
            "reason": None,
            "fault": None,
            "paired": True,
        }
        if "target" in entry:
            substack = entry["control"] == "substack"
            if substack:
                stacks[type_].append({**handler, "kind": "substack", "module": entry["target"]})
                self._refuse_nameless(entry, path, stacks[type_], depth)
            fault, reason = self._include(entry, path, type_, stacks, depth + 1, level + substack)
            if fault is None:
                return
            if type_ is None:
                raise _Abort(path, entry["line"], reason)
            if actions is None:
                reason = f"{path}:{entry['line']}: {reason}; {_UNDEFINED}"
                self.refuse(Refusal("unset", path, entry["line"], reason))
                return
            stacks[type_].append({**handler, "kind": "must_fail", "reason": reason, "fault": fault})
            return
        unusable = entry["type"] is None or entry["control"] is None or entry["module"] is None
        stacks[type_].append({**handler, "kind": "must_fail" if unusable else "module", "reason": entry.get("reason")})
        self._refuse_nameless(entry, path, stacks[type_], depth)

    def _refuse_nameless(self, entry: Entry, path: str, stack: list[Handler], depth: int) -> None:
        """libpam gives a file up at a module or substack without a name, and leaves it behind half made."""
        if entry.get("fatal") == "nameless":
            name = entry.get("module", entry.get("target"))
            if self.old and depth:
                reason = f"{path}:{entry['line']}: {name!r} names nothing to load; {_UNDEFINED}"
                self.refuse(Refusal("nameless", path, entry["line"], reason))
                return
            stack[-1]["paired"] = False
            raise _Abort(path, entry["line"], entry["reason"])

    def _include(
        self, entry: Entry, path: str, type_: str | None, stacks: Stacks, depth: int, level: int
    ) -> tuple[str | None, str | None]:
        """Add the handlers of an included file; what went wrong, if anything: (fault, reason)."""
        target, debian = entry["target"], self.libpam["debian"]
        if target is None:
            if debian:
                raise _Crash(path, entry["line"], f"{entry['control']} names no file, and this libpam crashes on that")
            return "unnamed", entry["reason"]
        if (level if self.old else depth) >= _LEVELS:
            kind = "substacks" if self.old else "includes"
            return "deep", f"{target} would be level {_LEVELS} of {kind}, one too many"
        if depth > _DEEPEST:
            place = f"{path}:{entry['line']}"
            reason = f"{place} includes {target} {depth} levels deep; look for a file that includes itself"
            raise Refusal("circle", path, entry["line"], reason)
        # Debian looks for a relative name in the first directory alone.
        file = self._find(target, self.confdirs[:1] if debian else self.confdirs)
        if file is None:
            return "missing", f"{target} cannot be opened"
        try:
            self._load(*file, type_, stacks, depth, level)
        except _Crash:
            raise
        except _Abort as abort:
            return "given up", f"{abort.file}:{abort.line}: {abort.reason}"
        except Refusal as refusal:
            # From within a circle there is no going on, but from the service's own line that leads into it.
            if refusal.kind != "circle" or depth > 1:
                raise
            self.refuse(refusal)
        return None, None


def expand(
    service: str,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
    strict: bool = True,
) -> dict[str, Any]:
    """The handlers libpam would run for a service, with what else the face's manual says."""
    expansion = _Expansion(service, confdirs, libpam, files, strict)
    abort = None
    try:
        expansion.run()
    except _Abort as aborted:
        abort = {"file": aborted.file, "line": aborted.line, "reason": aborted.reason}
    except Refusal as refusal:
        expansion.refuse(refusal)
    own, other = ({type_: [] for type_ in TYPES},) * 2 if abort else (expansion.own, expansion.other)
    return {
        "abort": abort,
        "types": {type_: own[type_] or other[type_] for type_ in TYPES},
        "from": {type_: expansion.service if own[type_] else "other" if other[type_] else None for type_ in TYPES},
        "opened": expansion.opened,
        "refused": [
            {"file": refusal.file, "line": refusal.line, "kind": refusal.kind, "reason": refusal.reason}
            for refusal in expansion.refused.values()
        ],
        "confdirs": expansion.confdirs,
        "libpam": expansion.libpam,
    }
