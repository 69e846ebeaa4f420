"""
Follow PAM's files as ``pam_start`` does: which libpam this node has, what it opens, and the handlers it makes of it.

These are functions of :py:mod:`pam_stack <salt.modules.pam_stack>`, whose grammar says what a line is.
"""

import functools
import mmap
import os
import re
import stat
import string

from salt.exceptions import CommandExecutionError
from salt.utils.versions import compare

__virtualname__ = "pam_stack"

_TYPES = ("auth", "account", "password", "session")
# libpam compares in ASCII.
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def __virtual__():  # noqa: N807
    return __virtualname__


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
    return __salt__["pam_stack.parse"](text, libpam, conf=os.path.basename(path) == "pam.conf")


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


# What a line of a kind that parse calls fatal does; a nameless one has its handler first.
_FATAL = {"unfinished": _Abort, "endless": _Crash}
_ALL_BAD = "[default=bad]"  # what libpam makes of an include, and of a control that is missing or has an error

_UNDEFINED = "what follows is undefined, because libpam goes on with memory it never set"


@functools.lru_cache(maxsize=16)
def _is_old(version):
    """1.6.0 counts includes too, and leaves nothing half made."""
    return compare(version, "<", "1.6")


class _Expansion:
    """One pam_start: files as they are opened, handlers as they are added."""

    def __init__(self, service, confdirs, libpam, files):
        self.service = service.rpartition("/")[2].translate(_LOWER)
        self.libpam = libpam or _node_libpam()
        self.confdirs = confdirs or _node_libpam()["confdirs"]
        self.files = files or {}
        self.old = _is_old(self.libpam["version"])
        self.own = {type_: [] for type_ in _TYPES}
        self.other = {type_: [] for type_ in _TYPES}
        self._parse, self._read_control = __salt__["pam_stack.parse"], __salt__["pam_stack.actions"]
        self._texts = {}
        self._entries = {}
        self._controls = {}
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

    def _lines_of(self, path, text, conf):
        """The entries of a file that reach libpam."""
        if (path, conf) not in self._entries:
            entries = self._parse(text, self.libpam, conf)
            self._entries[path, conf] = [entry for entry in entries if entry["kind"] not in ("blank", "comment")]
        return self._entries[path, conf]

    def _actions(self, control):
        """The 32 actions of a control."""
        if control not in self._controls:
            try:
                self._controls[control] = list(self._read_control(control, self.libpam).values())
            except CommandExecutionError:
                return self._actions(_ALL_BAD)
        return self._controls[control]

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
                self._refuse_nameless(entry, path, stacks[type_], depth)
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
        self._refuse_nameless(entry, path, stacks[type_], depth)

    def _refuse_nameless(self, entry, path, stack, depth):
        """libpam gives a file up at a module or substack without a name, and leaves it behind half made."""
        if entry.get("fatal") == "nameless":
            name = entry.get("module", entry.get("target"))
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
        return {"abort": reason, "types": {type_: [] for type_ in _TYPES}, "from": dict.fromkeys(_TYPES)}
    own, other = expansion.own, expansion.other
    return {
        "abort": None,
        "types": {type_: own[type_] or other[type_] for type_ in _TYPES},
        "from": {type_: expansion.service if own[type_] else "other" if other[type_] else None for type_ in _TYPES},
    }
