"""Log in as fast as it goes while something happens to a node, and remember when each login began and how it ended."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.node import Node
from harness.salt_tree import HOME as SALT_HOME

# sshd closes its socket for the moment in which a reload starts it anew, on those who are waiting there too.
NOT_LISTENING = ("Connection refused", "kex_exchange_identification: read: Connection reset by peer")


@dataclass(frozen=True)
class Login:
    """One login over SSH: its user, its first and last moment, and "in", "denied" or "unreachable"."""

    user: str
    began: float
    ended: float
    outcome: str
    said: str

    def within(self, spans: Sequence[tuple[float, float]]) -> bool:
        return any(began <= self.began and self.ended <= ended for began, ended in spans)


@contextlib.contextmanager
def logins(node: Node, users: Sequence[str]) -> Iterator[list[Login]]:
    """Log in from outside until the context ends, each user again and again; the list grows meanwhile."""
    seen: list[Login] = []
    over = threading.Event()
    threads = [threading.Thread(target=_log_in_again, args=(node, user, seen, over)) for user in users]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _log_in_again(node: Node, user: str, seen: list[Login], over: threading.Event) -> None:
    while not over.is_set():
        seen.append(log_in(node, user))


def log_in(node: Node, user: str, patience: float = 0) -> Login:
    """One login; where sshd does not listen, it is tried again for so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        began = time.monotonic()
        done = node.ssh(user, "echo here")
        ended = time.monotonic()
        reached = not any(words in done.stderr for words in NOT_LISTENING)
        outcome = "in" if done.stdout == "here\n" else "denied" if reached else "unreachable"
        if reached or ended > deadline:
            return Login(user, began, ended, outcome, done.stderr)


ASK = """
import collections, ctypes, json, select, sys

user, origin = sys.argv[1:]
libpam = ctypes.CDLL("libpam.so.0", mode=ctypes.RTLD_GLOBAL)
CONVERSATION = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
PAM_CONV_ERR, PAM_RHOST = 19, 4


class Conversation(ctypes.Structure):
    _fields_ = [("function", CONVERSATION), ("data", ctypes.c_void_p)]


conversation = Conversation(CONVERSATION(lambda *_: PAM_CONV_ERR), None)
codes = collections.Counter()
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    handle = ctypes.c_void_p()
    code = libpam.pam_start(b"sshd", user.encode(), ctypes.byref(conversation), ctypes.byref(handle))
    if code == 0:
        libpam.pam_set_item(handle, PAM_RHOST, origin.encode())
        code = libpam.pam_acct_mgmt(handle, 0)
        libpam.pam_end(handle, code)
    codes[code] += 1
print(json.dumps(codes))
"""


class Asked:
    """How often libpam gave which answer to pam_acct_mgmt for sshd; 0 is success."""

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}


@contextlib.contextmanager
def asked(node: Node, user: str, origin: str) -> Iterator[Asked]:
    """Ask the node's own libpam, inside the node, until the context ends: far more often than SSH can log in."""
    words = node.command([f"{SALT_HOME}/bin/python3", "-c", ASK, user, origin])
    pipe = subprocess.PIPE
    asker = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
    answers = Asked()
    try:
        asker.stdout.readline()
        yield answers
        told, _ = asker.communicate("\n", timeout=300)
        answers.codes = {int(code): count for code, count in json.loads(told).items()}
    finally:
        asker.kill()
        asker.communicate()
