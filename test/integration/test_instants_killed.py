"""Killed at any point: administrators get in, every file is the old or the new one, and the next run completes it.

SLURM_PAM_FULL=1 tries every point.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest

import pytest
from harness.injection import Run, spread
from harness.paths import REPO

FULL = os.environ.get("SLURM_PAM_FULL") == "1"
SOME = 3
APPLY, CLEAN = "slurm_pam", "slurm_pam.clean"


class Ends:
    """The two states of /etc between which every run moves: open to everyone, and closed to those without a job."""

    def __init__(self, node):
        self.node = node
        node.pillar((REPO / "pillar.example").read_text())
        # The group and the package stay after a clean, so they are there from now on.
        self.run(APPLY)
        self.run(CLEAN)
        self.at = {CLEAN: node.snapshot("/etc")}
        self.runs = {APPLY: Run(node, APPLY)}
        self.at[APPLY] = node.snapshot("/etc")
        self.runs[CLEAN] = Run(node, CLEAN)
        assert node.snapshot("/etc") == self.at[CLEAN]
        node.job("alice")

    def run(self, sls):
        results = self.node.salt("state.apply", sls)
        assert all(result["result"] for result in results.values()), results

    def look(self):
        """Whoever has to get in does, and every file is the old or the new one."""
        with ThreadPoolExecutor(4) as pool:
            users = ("root", "admin", "alice", "bob")
            let_in = {user: done.ok for user, done in zip(users, pool.map(self.node.ssh, users))}
        is_open = "slurm-common-account" not in self.node.read("/etc/pam.d/sshd")
        assert let_in == {"root": True, "admin": True, "alice": True, "bob": is_open}
        for path, found in self.node.snapshot("/etc").items():
            if not path.endswith((".salt-new", ".salt-old")):
                assert found in (self.at[CLEAN].get(path), self.at[APPLY].get(path)), path

    def complete(self, sls):
        """The next run leaves what an uninterrupted one does, the configuration of the running sshd included."""
        self.run(sls)
        found, wanted = self.node.snapshot("/etc"), self.at[sls]
        assert {path for path in found | wanted if found.get(path) != wanted.get(path)} == set()
        assert self.node.ssh("alice", method="password").ok is (sls == CLEAN)

    def kill(self, sls, point, then):
        self.runs[sls].killed(point)
        try:
            self.look()
            self.complete(then)
        except AssertionError as failure:
            raise AssertionError(f"{sls} was killed before {point}, then {then}: {failure}") from failure


@pytest.fixture(scope="module")
def ends(node):
    return Ends(node)


def test_killed_at_any_point(ends):
    tried = {sls: run.points if FULL else spread(run.points, SOME) for sls, run in ends.runs.items()}
    # Open, an apply is killed and taken back, then killed and completed; closed, a clean is, the other way round.
    for apply_point, clean_point in zip_longest(tried[APPLY], tried[CLEAN]):
        if apply_point:
            ends.kill(APPLY, apply_point, then=CLEAN)
            ends.kill(APPLY, apply_point, then=APPLY)
        else:
            ends.run(APPLY)
        if clean_point:
            ends.kill(CLEAN, clean_point, then=APPLY)
            ends.kill(CLEAN, clean_point, then=CLEAN)
        else:
            ends.run(CLEAN)
    for sls, points in tried.items():
        print(f"{sls}: killed before {len(points)} of {len(ends.runs[sls].points)} calls, each completed both ways")
