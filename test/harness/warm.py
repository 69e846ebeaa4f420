"""Salt's programs without the time that Python and Salt's imports take: a process that has them forks for each call.

In the node, or on the master, this file is that process; here it is the end that asks it. A call is Salt's own entry
point in a process of its own, as a minion forks for each job, and begins with nothing of what the last one found out:
no loader, no grains, no pillar. It has what the same files and patterns come to. So it stands for the program wherever
a test is not about how that one starts. test_node.py holds the one to the other. With the words of a daemon, which
forks for each job by itself, it is that daemon.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import glob
import hashlib
import importlib.machinery
import importlib.metadata
import json
import marshal
import os
import pickle
import re
import select
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# Salt's own entry points.
PROGRAMS = {
    "salt": "salt_main",
    "salt-call": "salt_call",
    "salt-key": "salt_key",
    "salt-master": "salt_master",
    "salt-minion": "salt_minion",
    "salt-run": "salt_run",
    "spm": "salt_spm",
}
# How a module of Salt calls itself, if not as its file: by a name, or by what it returns.
_CALLED = (
    re.compile("^__virtualname__ *= *[\"']([^\"']+)[\"']", re.M),
    re.compile(r"^def __virtual__\(.*\n(?:(?:[ \t].*)?\n)*", re.M),
    re.compile("return[ (]+[\"']([^\"']+)[\"']"),
)
LEAVES = {bool, bytes, float, int, str, type(None)}
PATIENCE = 600  # seconds for one call
# What the files of modules come to, each by its path, time and size.
CODE: dict[tuple, types.CodeType] = {}
# What loaders find in directories of modules, by all that decides on it.
MAPPED: dict[str, bytes] = {}
# Where Salt keeps the modules that it brought.
BROUGHT = "/extmods/"
# Where this file keeps what Salt compiled; on a node, what other nodes of this machine compiled is there as well.
ON_A_NODE = "/srv/compiled"
COMPILED = os.environ.get("SALT_COMPILED", ON_A_NODE)
# What such calls import of Salt, and of what it brings along, none of which looks at the node.
IMPORTS = (
    "salt.cli.caller",
    "salt.cli.salt",
    "salt.client.ssh.client",
    "salt.client.ssh.state",
    "salt.cloud",
    "salt.fileserver.roots",
    "salt.grains.extra",
    "salt.modules.file",
    "salt.modules.network",
    "salt.runners.state",
    "salt.scripts",
    "salt.utils.dns",
    "salt.utils.gitfs",
    "salt.utils.jinja",
    "salt.utils.pkg.rpm",
    "salt.utils.powershell",
    "salt.utils.systemd",
    "salt.utils.win_update",
)


class Warm:
    """That process. It is started at the first call, and ends with its machine or with this process."""

    def __init__(self, into: Callable[[Sequence[str]], list[str]], python: str, patience: int = 1) -> None:
        self._patience = patience * PATIENCE
        self._words = [python, "-c", source(), os.path.dirname(python)]
        self._into, self._process = into, None

    def call(self, *words: str):
        """What a program comes to with these words."""
        from harness.shell import Failed, Result  # the node has only this file

        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(self._into(self._words), stdin=pipe, stdout=pipe, text=True, cwd="/")
        answer = ""
        try:
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
            if select.select([self._process.stdout], [], [], self._patience)[0]:
                answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not answer:
            self.end()
            late = f"did not within {self._patience} s"
            raise Failed(f"{' '.join(words)}: the process that forks for it has ended, or {late}")
        return Result(*json.loads(answer))

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def source() -> str:
    """This file, for a process elsewhere."""
    return Path(__file__).read_text()


def program(words: Sequence[str]) -> object:
    """Be this program."""
    sys.argv = list(words)
    return getattr(sys.modules["salt.scripts"], PROGRAMS[sys.argv[0]])()


def call(words: Sequence[str], learnt: int) -> None:
    """Be this program, and end as a minion's jobs do: without taking apart all that was imported."""
    code, known = 0, _known()
    try:
        program(words)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            raise
        code = ended.code or 0
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with os.fdopen(learnt, "wb") as stream:
        pickle.dump([new - old for new, old in zip(_known(), known)], stream)
    os._exit(code)


def serve() -> None:
    """Until nobody asks any more: a line of words comes in, and [exit code, stdout, stderr] goes out."""
    asked, told = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    with open(os.devnull, "r+") as nothing:
        for stream in (0, 1):
            os.dup2(nothing.fileno(), stream)
    for name in IMPORTS:
        __import__(name)
    for line in asked:
        *streams, learnt = [os.memfd_create(name) for name in ("stdout", "stderr", "learnt")]
        forked = os.fork()
        if forked == 0:
            for number, stream in enumerate(streams, 1):
                os.dup2(stream, number)
            call(json.loads(line), learnt)
        _, status = os.waitpid(forked, 0)
        said = [_content(stream).decode(errors="surrogateescape") for stream in streams]
        print(json.dumps([os.waitstatus_to_exitcode(status), *said]), file=told, flush=True)
        learn(_content(learnt))


def look_once() -> None:
    """Spare Salt looks at what stays as it is.

    Each of the thirty loaders of a call, and a hundred of an audit, looks at the entry points of its Python, and into
    the directories of its modules: those of Salt itself stay as they are, and others are listed again. 3008 parses its
    own key for each question to the master, which are a hundred in a sync. Its options have no word of their own on
    whether there are any, so that each `if opts` counts them all, through every layer. It looks for circles in all that
    it decodes, and once more at each level of it. At each start it looks for the files of all that it has cached."""
    importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)
    importlib.metadata.entry_points()
    loader = salt.loader.lazy.LazyLoader
    loader._refresh_file_mapping = _mapped_once(loader._refresh_file_mapping)
    loader._iter_files = _those_that_may_have_it(loader._iter_files)
    loader._LazyLoader__clean_sys_path = _without_directories
    if events := getattr(salt.transport.tcp, "_TCPPubServerPublisher", None):
        events._connect = _once_where_nobody_listens(events._connect)
    key = salt.crypt.PrivateKey
    if hasattr(key, "from_str"):
        key.from_str = staticmethod(functools.cache(key.from_str))
    if options := sys.modules.get("salt.utils.optsdict"):
        options.OptsDict.__bool__ = lambda self: any(key in self for key in self._get_all_keys())
    _look_for_circles_once(salt.utils.data)
    salt.fileserver.reap_fileserver_cache_dir = lambda *_: None


def _without_directories(loader) -> None:
    """What a loader added to where Python looks is taken away. It does not look anew into all the others."""
    for directory in loader._clean_module_dirs:
        if directory in sys.path:
            sys.path.remove(directory)
    loader._clean_module_dirs = []


def _once_where_nobody_listens(connect: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Without a minion there is no event bus. 3008 tries to connect to it without a pause until a second is over."""

    async def connected(self, timeout: float | None = None) -> None:
        there = not self.path or os.path.exists(self.path)
        await connect(self, timeout if there or timeout is None else 0)

    return connected


def _look_for_circles_once(data: types.ModuleType) -> None:
    """What has no circles has none inside."""
    remove, decode, inside = data._remove_circular_refs, data.decode, threading.local()

    def removed(what, seen=None):
        known = type(what) in LEAVES or (seen is None and getattr(inside, "clean", False))
        return what if known else remove(what, seen)

    @functools.wraps(decode)
    def decoded(what, *how, **more):
        if type(what) in LEAVES or getattr(inside, "clean", False):
            return decode(what, *how, **more)
        what, inside.clean = remove(what), True
        try:
            return decode(what, *how, **more)
        finally:
            inside.clean = False

    data._remove_circular_refs, data.decode = removed, decoded


def _those_that_may_have_it(look: Callable[..., Iterator[str]]) -> Callable[..., Iterator[str]]:
    """The files where a loader looks for a function. For one that is nowhere, it would load all that there are.

    A module goes by the name of its file, or by what it calls itself. No other may be loaded on the way: of one that is
    of no use here, Salt takes all of its name for missing."""

    def those(loader, module: str) -> Iterator[str]:
        for name in look(loader, module):
            path = loader.file_mapping[name][0]
            if module == name or not path.endswith(".py") or module in _names(path):
                yield name

    return those


def _names(path: str) -> set[str]:
    """What a module calls itself."""
    directory, name = os.path.split(path)
    return _all_names(directory)[name] if path.startswith(_OWN) else _names_in(path)


@functools.cache
def _all_names(directory: str) -> dict[str, set[str]]:
    """The same of each of Salt's own modules there, which stay as they are."""
    files = sorted(glob.glob(f"{directory}/*.py"))
    made_from = (sys.modules["salt.version"].__version__, files, *_CALLED)
    return _kept(made_from, lambda: {os.path.basename(path): _names_in(path) for path in files})


def _names_in(path: str) -> set[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    name, virtual, returned = _CALLED
    return {*name.findall(text), *returned.findall("".join(virtual.findall(text)))}


def _mapped_once(look: Callable[[object], None]) -> Callable[[object], None]:
    """A loader's look for the files of its modules, once for each list of directories with the same names in them."""
    found = ("file_mapping", "suffix_map", "suffix_order")

    def mapped(loader) -> None:
        directories = [(path, path.startswith(_OWN) or _listing(path)) for path in loader.module_dirs]
        words = [loader.opts.get(word) for word in ("cython_enable", "enable_zip_modules", "optimization_order")]
        seen = repr((directories, words, loader.suffix_order, loader.static_modules, sorted(loader.disabled)))
        if seen not in MAPPED:
            look(loader)
            MAPPED[seen] = pickle.dumps([getattr(loader, name) for name in found])
        for name, what in zip(found, pickle.loads(MAPPED[seen])):
            setattr(loader, name, what)

    return mapped


def _listing(path: str) -> dict[str, object] | None:
    """The names in a directory and in those below it; None where there is no directory."""
    try:
        with os.scandir(path) as entries:
            return {entry.name: entry.is_dir() and _listing(entry.path) for entry in entries}
    except OSError:
        return None


def keep_compiled() -> None:
    """Spare Salt what it compiles once more to the same code.

    A sync deletes the compiled form of the modules that it brought, and a new node has none. A template is compiled in
    each process that renders it. The code is kept by all that it is made from."""
    loader = importlib.machinery.SourceFileLoader
    loader.source_to_code = _module_compiled_once(loader.source_to_code)
    loader.get_code = _loaded_once(loader.get_code)
    environment = jinja2.Environment
    environment.compile = _template_compiled_once(environment.compile)


def _module_compiled_once(compiled: Callable[..., types.CodeType]) -> Callable[..., types.CodeType]:
    def once(self, data, path, **more):
        if BROUGHT not in path:
            return compiled(self, data, path, **more)
        return _kept((data, path, more), lambda: compiled(self, data, path, **more))

    return once


def _loaded_once(load: Callable[..., types.CodeType]) -> Callable[..., types.CodeType]:
    def once(self, name):
        seen = os.stat(self.path)
        file = (self.path, seen.st_mtime_ns, seen.st_size)
        if file not in CODE:
            CODE[file] = load(self, name)
        return CODE[file]

    return once


def _template_compiled_once(compiled: Callable[..., types.CodeType]) -> Callable[..., types.CodeType]:
    # What an environment says of its language; the names of its filters and tests are looked at as well.
    language = [f"{kind}_{end}_string" for kind in ("block", "variable", "comment") for end in ("start", "end")]
    language += ["line_statement_prefix", "line_comment_prefix", "trim_blocks", "lstrip_blocks", "newline_sequence"]
    language += ["keep_trailing_newline", "optimized", "is_async", "autoescape"]

    def once(self, source, name=None, filename=None, raw=False, defer_init=False):
        if raw or not isinstance(source, str):
            return compiled(self, source, name, filename, raw, defer_init)
        words = [getattr(self, word) for word in language]
        names = [sorted(self.extensions), sorted(self.filters), sorted(self.tests)]
        made_from = (type(self), source, name, filename, defer_init, words, names)
        return _kept(made_from, lambda: compiled(self, source, name, filename, raw, defer_init))

    return once


def _kept(made_from: tuple, make: Callable[[], Any]) -> Any:
    """What is made from this, by this Python, made now if it is not there."""
    key = hashlib.sha256(repr((sys.version, jinja2.__version__, made_from)).encode(errors="surrogateescape"))
    path = os.path.join(COMPILED, key.hexdigest())
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return marshal.load(file)
    made = make()
    os.makedirs(COMPILED, exist_ok=True)
    # Another node may make the same at the same time.
    making, name = tempfile.mkstemp(dir=COMPILED)
    with open(making, "wb") as file:
        marshal.dump(made, file)
    os.rename(name, path)
    return made


def _known() -> tuple[set, set, set]:
    """The files of modules whose code is here, the patterns, and what loaders found in directories."""
    return set(CODE), {(pattern, flags) for _, pattern, flags in re._cache}, set(MAPPED.items())


def learn(said: bytes) -> None:
    """Have here what a call had to read or to compile, so that the next one has it from the start."""
    try:
        files, patterns, mapped = pickle.loads(said)
    except (EOFError, pickle.UnpicklingError):
        return  # it was killed
    for path, *_ in files:
        with contextlib.suppress(OSError):
            importlib.machinery.SourceFileLoader("", path).get_code("")
    for pattern, flags in patterns:
        re.compile(pattern, flags)
    MAPPED.update(mapped)


def _content(stream: int) -> bytes:
    os.lseek(stream, 0, os.SEEK_SET)
    with os.fdopen(stream, "rb") as file:
        return file.read()


if __name__ == "__main__":
    # Where the program is, is where Python would look first.
    sys.path[0], words = sys.argv[1], sys.argv[2:]
    import jinja2
    import salt.crypt
    import salt.fileserver
    import salt.loader
    import salt.scripts
    import salt.transport.tcp
    import salt.utils.data

    _OWN = os.path.dirname(salt.__file__) + os.sep
    look_once()
    keep_compiled()
    # What a fork has from its parent is no garbage; to look through all of it would be to copy it.
    os.register_at_fork(after_in_child=gc.freeze)
    # A call is short: it need not look for garbage at each thousandth thing that it makes.
    gc.set_threshold(50_000)
    if words:
        program(words)
    else:
        serve()
