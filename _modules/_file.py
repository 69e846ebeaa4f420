"""Reading a file that others may have put there: nothing makes it wait, or read without end."""

from __future__ import annotations

import errno
import os
import pwd
import select
import signal
import stat
import time
import warnings

# No configuration is larger.
MOST = 4 * 1024 * 1024
_PIECE = 64 * 1024
# Seconds for a file that is opened as its user, which may be of a file system that does not answer.
_PATIENCE = 1


def read(path: str, most: int = MOST, flags: int = 0) -> bytes:
    """
    What is in a regular file.

    path
        Its path.
    most
        How many bytes it may have.
    flags
        Others of :py:func:`os.open`, such as ``os.O_NOFOLLOW``.

    Raises OSError, with a text of its own for what is no regular file, or is larger.
    """
    # Without O_NONBLOCK a named pipe would keep us waiting; a terminal must not become ours.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | flags)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        data = b""
        while len(data) <= most and (piece := os.read(handle, _PIECE)):
            data += piece
    finally:
        os.close(handle)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes", path)
    return data


def text(path: str, most: int = MOST, flags: int = 0) -> str:
    """The same as text; bytes that are not UTF-8 come in as surrogate escapes, and line ends as they are."""
    return read(path, most, flags).decode("utf-8", "surrogateescape")


def everybody_reads(path: str) -> bool:
    """Whether a file is no secret; one of which that cannot be told may be one."""
    try:
        return bool(os.stat(path).st_mode & stat.S_IROTH)
    except OSError:
        return False


def read_as(account: pwd.struct_passwd, path: str, most: int = MOST) -> bytes:
    """
    The same, opened as a user, so that a link of theirs leads to nothing that only root may read.

    account
        Whose file it is. If this process is not root, it opens the file as itself.

    Raises OSError as :py:func:`read`, and if there is no answer within a second.
    """
    if os.geteuid() != 0 or account.pw_uid == 0:
        return read(path, most)
    # Before the fork: a directory service may have to be asked.
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        # The child only makes system calls.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _tell(theirs, account, groups, path, most)
    os.close(theirs)
    try:
        return _heard(ours, path)
    finally:
        os.close(ours)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _tell(pipe: int, account: pwd.struct_passwd, groups: list[int], path: str, most: int) -> None:
    """In the child: a line with the error's number and text, and what is in the file."""
    try:
        os.setgroups(groups)
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        answer = b"0 \n" + read(path, most)
    except OSError as error:
        answer = f"{error.errno} {error.strerror}\n".encode()
    except BaseException as error:
        answer = f"{errno.EIO} {type(error).__name__}\n".encode()
    try:
        while answer:
            answer = answer[os.write(pipe, answer) :]
    finally:
        os._exit(0)


def _heard(pipe: int, path: str) -> bytes:
    said, until = b"", time.monotonic() + _PATIENCE
    while select.select([pipe], [], [], max(0, until - time.monotonic()))[0]:
        piece = os.read(pipe, _PIECE)
        if not piece:
            break
        said += piece
    else:
        raise OSError(errno.ETIMEDOUT, f"no answer within {_PATIENCE} second", path)
    head, newline, data = said.partition(b"\n")
    number, _, reason = head.decode("utf-8", "replace").partition(" ")
    if not newline:
        raise OSError(errno.EIO, "it was not read", path)
    if int(number):
        raise OSError(int(number), reason, path)
    return data
