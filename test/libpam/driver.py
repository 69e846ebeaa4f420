#!/usr/bin/env python3
"""Ask this machine's real libpam what it answers.

    python3 driver.py < cases > answers

One JSON object a line goes in, one comes out for each, in order:

    {"files": {"/etc/pam.d/svc": "text", ...}, "service": "svc", "calls": ["authenticate", ...]}
    {"codes": [0, 7]}       what each call returned; {"start": 26} where pam_start failed, {"died": 11} where libpam
                            was ended by that signal (SIGALRM: it ran longer than LIMIT)

With --roots it only prints the directories in which the files of a case may lie.

The files are real ones, where libpam looks for them: the driver takes a mount namespace of its own and lays an empty
tmpfs over each directory, so nothing outside ever changes and relative includes, the search order and Debian's
/etc/pam.d all mean what they mean on a node. The modules in a case should be pam_debug.so, which answers what its
arguments say. Needs root or unprivileged user namespaces; only the standard library and _pam_asker, which may lie
beside it, so that it runs anywhere.
"""

import ctypes
import itertools
import json
import os
import resource
import signal
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../_modules"))

from _pam_asker import (
    CLONE_NEWNS,
    LOG_MASK_EMERG,
    MS_PRIVATE,
    MS_REC,
    PamConv,
    check,
    converse,
    libc,
    without_audit,
)

ROOTS = tuple(d for d in ("/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d") if os.path.isdir(d))
LIMIT = 2  # seconds for one case
CHUNK = 500  # cases for one child
NOBODY = 65534

CLONE_NEWUSER = 0x10000000
PAM_FAIL_DELAY = 10

libpam = ctypes.CDLL("libpam.so.0")
NO_DELAY = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)(lambda *_: None)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    check(libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()), f"mount on {target}")


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def isolate() -> None:
    """Empty PAM directories, no system log and no audit records: for this process alone."""
    uid, gid = os.geteuid(), os.getegid()
    check(libc.unshare(CLONE_NEWNS if uid == 0 else CLONE_NEWNS | CLONE_NEWUSER), "unshare")
    if uid != 0:
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{uid} {uid} 1")
        write("/proc/self/gid_map", f"{gid} {gid} 1")
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    for root in ROOTS:
        mount("tmpfs", root, "tmpfs", 0, "mode=777")
    if uid == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    # Each call would otherwise look for a log, and write a record that the kernel refuses: half of the time.
    libc.setlogmask(LOG_MASK_EMERG)
    without_audit()


def put(files: dict) -> None:
    """Make the PAM directories hold `files` and nothing else."""
    for root in ROOTS:
        for entry in os.scandir(root):
            os.unlink(entry.path)
    for path, text in files.items():
        if text is not None:
            with open(path, "wb", buffering=0) as file:
                file.write(text.encode(errors="surrogateescape"))


def ask(case: dict) -> dict:
    put(case["files"])
    handle = ctypes.c_void_p()
    conv = PamConv(converse, None)
    service = case["service"].encode()
    start = libpam.pam_start(service, b"nobody", ctypes.byref(conv), ctypes.byref(handle))
    if start != 0:
        return {"start": start}
    libpam.pam_set_item(handle, PAM_FAIL_DELAY, NO_DELAY)
    codes = [getattr(libpam, f"pam_{call}")(handle, 0) for call in case["calls"]]
    libpam.pam_end(handle, 0)
    return {"codes": codes}


def child(cases: list, pipe: int) -> None:
    with os.fdopen(pipe, "w") as out:
        for case in cases:
            signal.alarm(LIMIT)
            print(json.dumps(ask(case)), file=out, flush=True)


def answers(cases: list) -> tuple:
    """The answers to as many cases as one child lives for, and the signal that ended it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            child(cases, writer)
            os._exit(0)
        finally:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as file:
        found = [json.loads(line) for line in file]
    status = os.waitpid(pid, 0)[1]
    if os.WIFEXITED(status) and status != 0:
        sys.exit("driver: a case could not be asked, see above")
    return found, os.WTERMSIG(status)


def all_answers(cases: list):
    """One answer for each case, also for those that libpam does not survive."""
    while cases:
        found, _ = answers(cases)
        if len(found) < len(cases):
            # An earlier case may have corrupted the memory that this one died of: alone, it is sure.
            alone, died = answers([cases[len(found)]])
            found += alone or [{"died": died}]
        yield from found
        cases = cases[len(found) :]


def main() -> None:
    if "--roots" in sys.argv:
        print(json.dumps(ROOTS))
        return
    isolate()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cases = map(json.loads, sys.stdin)
    while chunk := list(itertools.islice(cases, CHUNK)):
        for answer in all_answers(chunk):
            print(json.dumps(answer))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
