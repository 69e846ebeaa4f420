"""
SELinux as this node's kernel has it, and the labels that its policy wants of files.

The kernel is asked through its own files, so neither libselinux nor a child process is needed to know what the loaded
policy says. libselinux alone knows which label a path is to have.

Source: security/selinux/selinuxfs.c and security/selinux/hooks.c of Linux; selabel_lookup(3).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Callable, Iterator

_FILES = "/sys/fs/selinux"
_ATTRIBUTE = "security.selinux"
# include/linux/avc.h: SELINUX_AVD_FLAGS_PERMISSIVE
_PERMISSIVE = 1


def is_on() -> bool:
    """Whether a policy is loaded, and this process sees it. A kernel without one calls everything ``kernel``."""
    return os.path.exists(f"{_FILES}/enforce") and ":" in of_process("self")


def enforces() -> bool:
    """
    Whether what the policy does not allow is refused, and not only logged.

    Raises OSError if the kernel does not say.
    """
    return _read(f"{_FILES}/enforce") == "1"


def of_process(pid: int | str) -> str:
    """The context of a process; empty if it is gone."""
    try:
        return _read(f"/proc/{pid}/attr/current")
    except OSError:
        return ""


def of_file(path: str) -> str:
    """
    The context of a file, or of what a link leads to; the one that the policy wants there, if nothing is there yet.

    Raises OSError if there is neither.
    """
    with contextlib.suppress(FileNotFoundError):
        return os.getxattr(path, _ATTRIBUTE).decode().rstrip("\0")
    return wanted(path, stat.S_IFREG)


def type_of(context: str) -> str:
    """The type in a context, ``user:role:type:range``."""
    return context.split(":")[2]


def denied(source: str, target: str, kind: str, permissions: tuple[str, ...]) -> tuple[str, ...]:
    """
    Those of the permissions that the loaded policy does not give.

    source
        The context of who acts.
    target
        The context of what is acted on.
    kind
        Its class, such as sock_file.
    permissions
        Their names, such as write.

    Raises OSError if the kernel does not say, or knows no such context, class or permission.
    """
    answer = _ask("access", source, target, kind).split()
    allowed, flags = int(answer[0], 16), int(answer[5], 16)
    if flags & _PERMISSIVE:
        return ()
    return tuple(name for name in permissions if not allowed & 1 << _number(kind, f"perms/{name}") - 1)


def becomes(source: str, target: str, kind: str) -> str:
    """
    The context of what comes of it: of a process that executes a file (``process``), or of what is made in a directory.

    Raises OSError as :py:func:`denied`.
    """
    return _ask("create", source, target, kind)


def _ask(file: str, source: str, target: str, kind: str) -> str:
    # It is the same descriptor by which the kernel knows whose answer it is.
    handle = os.open(f"{_FILES}/{file}", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(handle, f"{source} {target} {_number(kind, 'index')}".encode())
        return os.pread(handle, 4096, 0).decode().rstrip("\0")
    finally:
        os.close(handle)


def _number(kind: str, name: str) -> int:
    return int(_read(f"{_FILES}/class/{kind}/{name}"))


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().rstrip("\0\n")


# The labels of files


def wanted(path: str, kind: int) -> str:
    """
    The context that the policy wants of a file.

    path
        Where it is, or is to be.
    kind
        What it is, as in :py:mod:`stat`: S_IFREG, S_IFLNK, S_IFDIR.

    Raises OSError if there is no libselinux, or the policy says nothing of this path.
    """
    library = ctypes.CDLL("libselinux.so.1", use_errno=True)
    library.selabel_open.restype = ctypes.c_void_p
    library.selabel_lookup_raw.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.c_char_p,
        ctypes.c_int,
    ]
    library.selabel_close.argtypes = library.freecon.argtypes = [ctypes.c_void_p]
    contexts = library.selabel_open(0, None, 0)  # SELABEL_CTX_FILE
    if not contexts:
        raise OSError(ctypes.get_errno(), "libselinux cannot read which labels files are to have", path)
    found = ctypes.c_void_p()
    try:
        if library.selabel_lookup_raw(contexts, ctypes.byref(found), os.fsencode(path), kind):
            raise OSError(ctypes.get_errno(), "the policy does not say which label it is to have", path)
        return ctypes.string_at(found).decode()
    finally:
        library.freecon(found)
        library.selabel_close(contexts)


def labelling(path: str, kind: int) -> contextlib.AbstractContextManager[None]:
    """
    What this thread makes meanwhile has the label that the policy wants of this path, from its first moment on. Without
    this it would have what the kernel gives to the files of whoever runs Salt.

    path, kind
        As for :py:func:`wanted`. If the policy says nothing of it, the kernel's own choice stays.
    """
    return _making(lambda: wanted(path, kind))


def labelling_like(path: str) -> contextlib.AbstractContextManager[None]:
    """The same with the label of a file that is there, so that whoever reads that one can read a copy as well."""
    return _making(lambda: of_file(path))


@contextlib.contextmanager
def _making(label: Callable[[], str]) -> Iterator[None]:
    chosen = False
    if is_on():
        with contextlib.suppress(OSError):
            _choose(label())
            chosen = True
    try:
        yield
    finally:
        if chosen:
            _choose("")


def make_directory(path: str, mode: int) -> None:
    """A directory that may be there, and what is missing of the way to it, whatever the umask is."""
    if os.path.isdir(path):
        return
    make_directory(os.path.dirname(path), 0o755)
    with labelling(path, stat.S_IFDIR):
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
            return  # made meanwhile
    os.chmod(path, mode)


def _choose(context: str) -> None:
    """Source: setfscreatecon(3)."""
    handle = os.open("/proc/thread-self/attr/fscreate", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, context.encode() + b"\0" if context else b"")
    finally:
        os.close(handle)
