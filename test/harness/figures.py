"""The four figures of the guide, seen by real logins, on a node that the formula closes and opens again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from harness.formula import DENIED, applied, changed, etc, settings
from harness.image import USERS
from harness.network import ADMIN_ORIGIN, OTHER_ORIGIN
from harness.node import Node
from harness.session import session

# Who logs in from where, and whether a closed node lets them in while alice has a job.
LOGINS = {
    ("root", OTHER_ORIGIN): True,
    ("admin", ADMIN_ORIGIN): True,
    ("admin", OTHER_ORIGIN): False,
    ("alice", OTHER_ORIGIN): True,
    ("bob", ADMIN_ORIGIN): False,
}


@contextlib.contextmanager
def closed(node: Node, **changes: object) -> Iterator[None]:
    """
    The node as the formula closes it with the example's settings and these changes. It is open before, open again
    afterwards, and has then what it had in /etc.
    """
    settings(node, **changes)
    before = etc(node)
    assert everyone_gets_in(node)
    applied(node)
    four_figures(node)
    assert node.salt("slurm_pam.audit")["holds"]
    assert [proof for proof in node.salt("slurm_pam.prove") if not proof["holds"]] == []
    yield
    assert changed(applied(node)) == []
    applied(node, "slurm_pam.clean")
    assert etc(node) == before
    assert everyone_gets_in(node)


def everyone_gets_in(node: Node) -> bool:
    return all(node.ssh(user).ok for user in ("root", *USERS))


def four_figures(node: Node) -> None:
    job = node.job("alice")
    for (user, origin), let_in in LOGINS.items():
        seen = node.ssh(user, origin=origin)
        assert (seen.ok, DENIED in seen.stderr) == (let_in, not let_in), (user, origin, seen)
    with session(node, "alice") as login:
        assert f"/job_{job}/step_extern" in login.ask("cat /proc/self/cgroup")
        node.cancel(job)
        assert login.ended()
