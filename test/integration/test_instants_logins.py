"""While settings come and go no administrator is refused, no session breaks, and nobody slips in between closed states.

SLURM_PAM_FULL=1 goes to and fro 50 times.
"""

import contextlib
import time
from collections import Counter

import pytest
import yaml
from harness.full import FULL
from harness.network import ADMIN_ORIGIN
from harness.paths import REPO
from harness.prober import asked, logins
from harness.session import session

TIMES = 50 if FULL else 3
USERS = ("root", "admin", "alice", "bob")
SUCCESS = 0
ONE = yaml.safe_load((REPO / "pillar.example").read_text())["slurm_pam"]
# Everything that can change while the node stays closed does: each of the files has another text.
OTHER = {
    **ONE,
    "pam_slurm_adopt": {"action_unknown": "deny", "log_level": "debug"},
    "access": {**ONE["access"], "users": {"operator": {"origins": ["192.0.2.7"]}}},
    "pam": {"account_base": "copy", "session_remove": ["pam_systemd.so", "pam_umask.so"]},
    "sshd": {"options": {"MaxAuthTries": 5}},
}


class Watch:
    """Logins and open sessions while something is done to a node again and again."""

    def __init__(self, node):
        self.node = node
        self.seen, self.spans, self.sessions = [], [], {}

    @contextlib.contextmanager
    def on(self):
        with contextlib.ExitStack() as all_open:
            self.sessions = {user: all_open.enter_context(session(self.node, user)) for user in USERS}
            with logins(self.node, USERS) as self.seen:
                yield

    def run(self, sls, closed):
        """Apply; from its end to the beginning of the next the node is known to be closed, or open."""
        self.until_now()
        results = self.node.salt("state.apply", sls)
        assert all(result["result"] for result in results.values()), results
        began = time.monotonic()
        self.spans.append((began, None, closed))
        for user, kept in self.sessions.items():
            assert kept.ask("echo here") == "here\n", user
        # Each has logged in at least once in between.
        self.node.until(lambda: {login.user for login in self.seen if login.began > began} == {*USERS}, "logins")

    def until_now(self):
        if self.spans:
            began, _, closed = self.spans[-1]
            self.spans[-1] = (began, time.monotonic(), closed)

    def bad(self):
        """The logins that went otherwise than they had to."""
        closed = [span[:2] for span in self.spans if span[2]]
        opened = [span[:2] for span in self.spans if not span[2]]
        found = []
        for login in self.seen:
            if login.outcome == "unreachable":
                # Only a run reloads sshd.
                found += [login] if login.within(closed + opened) else []
            elif login.user == "bob":
                wrong = (login.outcome == "in" and login.within(closed)) or (
                    login.outcome == "denied" and login.within(opened)
                )
                found += [login] if wrong else []
            elif login.outcome == "denied":
                found.append(login)
        return found

    def told(self):
        outcomes = Counter((login.user, login.outcome) for login in self.seen)
        return ", ".join(f"{user} {outcome} {count}" for (user, outcome), count in sorted(outcomes.items()))


@pytest.fixture(scope="module")
def prepared(node):
    node.pillar(yaml.safe_dump({"slurm_pam": ONE}))
    for sls in ("slurm_pam", "slurm_pam.clean"):
        node.salt("state.apply", sls)
    node.job("alice")
    return node


def test_to_and_fro_between_open_and_closed(prepared):
    watch = Watch(prepared)
    with asked(prepared, "admin", ADMIN_ORIGIN) as admin, asked(prepared, "root", ADMIN_ORIGIN) as root, watch.on():
        for _ in range(TIMES):
            watch.run("slurm_pam", closed=True)
            watch.run("slurm_pam.clean", closed=False)
        watch.until_now()
    print(f"{TIMES} times; logins: {watch.told()}; libpam asked for admin {admin.codes}, for root {root.codes}")
    assert watch.bad() == []
    assert set(admin.codes) == set(root.codes) == {SUCCESS}
    assert {(login.user, login.outcome) for login in watch.seen} >= {("bob", "in"), ("bob", "denied")}


def test_to_and_fro_between_two_closed_states(prepared):
    watch = Watch(prepared)
    with watch.on():
        watch.run("slurm_pam", closed=True)
        with asked(prepared, "admin", ADMIN_ORIGIN) as admin, asked(prepared, "bob", ADMIN_ORIGIN) as bob:
            began = watch.spans[0][0]
            for _ in range(TIMES):
                for settings in (OTHER, ONE):
                    prepared.pillar(yaml.safe_dump({"slurm_pam": settings}))
                    watch.run("slurm_pam", closed=True)
            watch.until_now()
            ended = time.monotonic()
    print(f"{TIMES} times; logins: {watch.told()}; libpam asked for admin {admin.codes}, for bob {bob.codes}")
    assert watch.bad() == []
    # Between the two as well.
    slipped_in = [login for login in watch.seen if login.user == "bob" and login.outcome == "in"]
    assert [login for login in slipped_in if login.within([(began, ended)])] == []
    assert set(admin.codes) == {SUCCESS}
    assert bob.codes and SUCCESS not in bob.codes
    prepared.salt("state.apply", "slurm_pam.clean")
