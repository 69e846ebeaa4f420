"""
A program of its own: what this node's PAM modules answer about an account, asked one at a time through its libpam.

``python -I -S _pam_asker.py``, as root. It reads ``{"rules": ["pam_access.so [nodefgroup]"], "service", "user",
"rhost", "limit", "mounting"}`` as JSON, and prints a line for each rule: ``{"code": 6}``, or ``{"error": "..."}``.

Each rule is the only one of a service of sshd's name, in a directory that root alone can read, and is asked in a child:
what a module does to its process, it does there. Nobody logs in, so nothing goes to the log or into the audit trail.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import Any

PAM_TTY, PAM_RHOST = 3, 4
CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
LOG_MASK_EMERG = 1

libc = ctypes.CDLL(None, use_errno=True)
libc.calloc.restype = ctypes.c_void_p
libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]


# libpam

CONVERSATION = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p
)


class PamConv(ctypes.Structure):
    _fields_ = [("conv", CONVERSATION), ("appdata", ctypes.c_void_p)]


@CONVERSATION
def converse(count: int, _messages: int, replies: Any, _appdata: int) -> int:
    """Say nothing; libpam frees the replies, so they are its own malloc's."""
    replies[0] = libc.calloc(count, 2 * ctypes.sizeof(ctypes.c_void_p))
    return 0


def asked(place: str, request: Mapping[str, Any]) -> int:
    """What libpam answers about the account, with the files of a directory."""
    libpam = ctypes.CDLL("libpam.so.0", mode=ctypes.RTLD_GLOBAL)  # Debian's modules rely on its symbols
    handle, conv = ctypes.c_void_p(), PamConv(converse, None)
    words = [request[key].encode(errors="surrogateescape") for key in ("service", "user")]
    if hasattr(libpam, "pam_start_confdir") and not request["mounting"]:
        started = libpam.pam_start_confdir(*words, ctypes.byref(conv), place.encode(), ctypes.byref(handle))
    else:  # libpam up to 1.3
        lay(place, "/etc/pam.d")
        started = libpam.pam_start(*words, ctypes.byref(conv), ctypes.byref(handle))
    if started != 0:
        raise OSError(f"libpam does not start: {started}")
    for item, value in ((PAM_TTY, "ssh"), (PAM_RHOST, request["rhost"])):
        libpam.pam_set_item(handle, item, ctypes.c_char_p(value.encode(errors="surrogateescape")))
    return libpam.pam_acct_mgmt(handle, 0)


# What is this process's alone


def check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(f"{what}: {os.strerror(ctypes.get_errno())}")


def lay(source: str, target: str) -> None:
    """Lay a directory over another, for this process and no other."""
    check(libc.unshare(CLONE_NEWNS), "unshare")
    for place, over, flags in ((b"none", b"/", MS_REC | MS_PRIVATE), (source.encode(), target.encode(), MS_BIND)):
        check(libc.mount(place, over, b"none", ctypes.c_ulong(flags), None), f"mount on {over.decode()}")


# The number of socket(2) by machine (asm/unistd.h), and where the low half of a system call's argument is.
SOCKET = {"x86_64": 41, "aarch64": 198, "riscv64": 198, "ppc64le": 326, "s390x": 359}
LOW = 16 if sys.byteorder == "little" else 20
AF_NETLINK, NETLINK_AUDIT, EPROTONOSUPPORT = 16, 9, 93
BPF_LOAD, BPF_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER, SECCOMP_ERRNO, SECCOMP_ALLOW = 2, 0x50000, 0x7FFF0000


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]


def without_audit() -> None:
    """To libpam, a kernel without auditing: without the capability alone, its every answer would be system_err."""
    number = SOCKET.get(os.uname().machine)
    if number is None:
        return
    steps = [(BPF_LOAD, 0, 0, 0), (BPF_EQUAL, 0, 5, number)]
    steps += [(BPF_LOAD, 0, 0, LOW), (BPF_EQUAL, 0, 3, AF_NETLINK)]
    steps += [(BPF_LOAD, 0, 0, LOW + 16), (BPF_EQUAL, 0, 1, NETLINK_AUDIT)]
    steps += [(BPF_RETURN, 0, 0, SECCOMP_ERRNO | EPROTONOSUPPORT), (BPF_RETURN, 0, 0, SECCOMP_ALLOW)]
    program = b"".join(
        code.to_bytes(2, sys.byteorder) + bytes((true, false)) + value.to_bytes(4, sys.byteorder)
        for code, true, false, value in steps
    )
    zero = ctypes.c_ulong(0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero)
    check(
        libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(Filter(len(steps), program))),
        "seccomp",
    )


# One rule, one child


def child(place: str, request: Mapping[str, Any], answer: int) -> None:
    libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    try:
        libc.setlogmask(LOG_MASK_EMERG)
        without_audit()
        told = {"code": asked(place, request)}
    except Exception as error:
        told = {"error": str(error)}
    os.write(answer, json.dumps(told).encode())
    os._exit(0)


def told(place: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """What a rule's child says, within its time."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        child(place, request, writer)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], request["limit"])
    said = os.read(reader, select.PIPE_BUF) if ready else b""
    os.close(reader)
    if not ready:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if said:
        return json.loads(said)
    if not ready:
        return {"error": f"no answer within {request['limit']} seconds"}
    how = f"by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"with status {os.WEXITSTATUS(status)}"
    return {"error": f"it ended the process that asked it, {how}"}


def answers(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, rule in enumerate(request["rules"]):
        place = f"/run/pam_asker-{os.getpid()}-{number}-{os.urandom(8).hex()}"
        file = f"{place}/{request['service'].rpartition('/')[2].lower()}"
        os.mkdir(place, 0o700)
        try:
            with open(file, "x", encoding="utf-8", errors="surrogateescape") as lines:
                # Every answer is passed on, also "ignore".
                lines.write(f"account [default=ok] {rule}\n")
            yield told(place, request)
        finally:
            if os.path.exists(file):
                os.unlink(file)
            os.rmdir(place)


if __name__ == "__main__":
    for line in answers(json.load(sys.stdin)):
        print(json.dumps(line), flush=True)
