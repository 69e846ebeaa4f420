"""The two ends between which the formula moves a node: open to everyone, and closed to those without a job."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from harness.formula import settings
from harness.node import Node
from harness.prober import log_in

APPLY, CLEAN = "slurm_pam", "slurm_pam.clean"
# What a run that did not come to its end leaves beside the files; the next one takes it away.
LEFT = (".salt-new", ".salt-old")


class Ends:
    """A node that is open, with a job of alice's, and what /etc is at both ends."""

    def __init__(self, node: Node) -> None:
        self.node = node
        settings(node)
        # The group and the package stay after a clean, so they are there from now on.
        self.run(APPLY)
        applied = node.snapshot("/etc")
        self.run(CLEAN)
        self.at = {APPLY: applied, CLEAN: node.snapshot("/etc")}
        node.job("alice")

    def run(self, sls: str) -> None:
        results = self.node.salt("state.apply", sls)
        assert all(result["result"] for result in results.values()), results

    def look(self) -> None:
        """Whoever has to get in does, and every file is the old or the new one."""
        with ThreadPoolExecutor(4) as pool:
            # A killed run may just have reloaded sshd.
            tried = list(pool.map(lambda user: log_in(self.node, user, patience=10), ("root", "admin", "alice", "bob")))
        is_open = "slurm-common-account" not in self.node.read("/etc/pam.d/sshd")
        outcomes = ["in", "in", "in", "in" if is_open else "denied"]
        assert [login.outcome for login in tried] == outcomes, tried
        for path, found in self.node.snapshot("/etc").items():
            if not path.endswith(LEFT):
                assert found in (self.at[CLEAN].get(path), self.at[APPLY].get(path)), path

    def complete(self, sls: str) -> None:
        """The next run leaves what an uninterrupted one does, the configuration of the running sshd included."""
        self.run(sls)
        found, wanted = self.node.snapshot("/etc"), self.at[sls]
        assert not (differing := {path for path in found | wanted if found.get(path) != wanted.get(path)}), differing
        assert self.node.ssh("alice", method="password").ok is (sls == CLEAN)
