"""Who gets in without a job: groups that are there are completed, and files that are there keep what is in them."""

import pytest
from harness.formula import DENIED, EXAMPLE, applied, apply, changed, etc, failed, settings
from harness.network import ADMIN_ORIGIN, OTHER_ORIGIN

OWN, GLOBAL = "/etc/security/slurm-access.conf", "/etc/security/access.conf"
ACCESS = {
    "groups": {
        "hpc_admin_g": {"origins": ["192.0.2.0/24"], "members": ["admin"], "gid": 4711},
        "ops": {"origins": [OTHER_ORIGIN], "members": ["alice"]},
    },
    "users": {"bob": {"origins": ["198.51.100.0/24", "203.0.113.7"]}},
}


@pytest.fixture
def opened(node):
    """The module's node, closed by the test and opened again after it."""
    yield node
    applied(node, "slurm_pam.clean")


def members(node, group):
    _, _, gid, names = node.run(["getent", "group", group], check=True).stdout.strip().split(":")
    return int(gid), names.split(",")


def test_groups_and_users_with_their_origins(opened):
    node = opened
    node.run(["groupadd", "--users", "daemon", "ops"], check=True)
    settings(node, access=ACCESS)
    applied(node)
    assert members(node, "hpc_admin_g") == (4711, ["admin"])
    assert members(node, "ops")[1] == ["daemon", "alice"]
    assert node.read(OWN).splitlines()[1:-1] == [
        "+:root:ALL",
        "+:(hpc_admin_g):192.0.2.0/24",
        f"+:(ops):{OTHER_ORIGIN}",
        "+:bob:198.51.100.0/24,203.0.113.7",
        "-:ALL:ALL",
    ]
    for user, origin in (("admin", ADMIN_ORIGIN), ("alice", OTHER_ORIGIN), ("bob", OTHER_ORIGIN)):
        assert node.ssh(user, origin=origin).ok, user
        other = OTHER_ORIGIN if origin == ADMIN_ORIGIN else ADMIN_ORIGIN
        assert DENIED in node.ssh(user, origin=other).stderr, user

    # A member that somebody else added stays, one that is missing comes back.
    node.run(["gpasswd", "--members", "bob", "ops"], check=True)
    assert changed(applied(node)) == ["slurm_pam-access-group-present-ops"]
    assert members(node, "ops")[1] == ["bob", "alice"]
    applied(node, "slurm_pam.clean")
    assert members(node, "ops")[1] == ["bob", "alice"]
    assert OWN not in node.snapshot("/etc/security")


def test_a_member_that_the_node_does_not_know(node):
    group = {"origins": ["ALL"], "members": ["admin", "nobody-here"]}
    settings(node, access={"groups": {"newcomers": group}})
    before = node.snapshot("/etc")
    (comment,) = failed(apply(node)).values()
    assert "slurm_pam:access:groups:newcomers:members has nobody-here, and this node knows no such user" in comment
    assert "Make the user first, or take it out of the list" in comment
    assert node.snapshot("/etc") == before


def test_the_global_file_keeps_what_an_administrator_wrote(opened):
    node = opened
    node.write(GLOBAL, "# ours, Universität\n+ : cron : LOCAL\n- : games : ALL")
    before = etc(node)
    settings(node, access={**EXAMPLE["access"], "file": GLOBAL})
    applied(node)
    assert node.read(GLOBAL).endswith(
        "-:ALL:ALL\n# slurm_pam: written by Salt, and again at every apply (end)\n# ours, "
        "Universität\n+ : cron : LOCAL\n- : games : ALL"
    )
    assert OWN not in node.snapshot("/etc/security")
    assert f"accessfile={GLOBAL}" in node.read("/etc/pam.d/slurm-common-account")
    assert node.ssh("admin").ok
    assert DENIED in node.ssh("bob").stderr
    assert changed(applied(node)) == []
    applied(node, "slurm_pam.clean")
    assert etc(node) == before
