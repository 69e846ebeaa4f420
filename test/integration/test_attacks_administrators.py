"""Settings and users that would lock administrators out, or make somebody an administrator whom nobody named."""

import pytest
from harness.formula import DENIED, EXAMPLE, applied, apply, failed, settings
from harness.network import ADMIN_ORIGIN, OTHER_ORIGIN

OPTIONS = EXAMPLE.get("sshd", {}).get("options", {})
ADMINS = {"origins": ["192.0.2.0/24"], "members": ["admin"]}
MANY = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(701)]


@pytest.fixture(scope="module")
def closed(node):
    """The node, closed with the example's settings, on which carl and dora are ordinary users."""
    settings(node)
    applied(node)
    for user in ("carl", "dora"):
        node.run(["useradd", "--create-home", user], check=True)
        node.run(["cp", "-a", "/home/alice/.ssh", f"/home/{user}/"], check=True)
        node.run(["chown", "-R", f"{user}:", f"/home/{user}"], check=True)
    return node


def gid(node, name):
    return int(node.run(["getent", "group", name], check=True).stdout.split(":")[2])


def refused(node, *words, **changes):
    """That an apply changes nothing, and says these words."""
    settings(node, **changes)
    before = node.snapshot("/etc")
    (comment,) = failed(apply(node)).values()
    assert all(word in comment for word in words), comment
    assert node.snapshot("/etc") == before
    audit = node.salt("slurm_pam.audit")
    assert any(words[0] in finding["found"] for finding in audit["findings"]), audit


def warned(node, **changes):
    settings(node, **changes)
    found = node.salt("slurm_pam.preflight")
    assert found["problems"] == []
    assert found["warnings"] == node.salt("slurm_pam.audit")["warnings"]
    return "\n".join(found["warnings"])


# Origins


@pytest.mark.parametrize("everywhere", ["0.0.0.0/0", "::/0", "192.0.2.1/0", "::ffff:0:0/96"])
def test_everywhere_locks_nobody_out(closed, everywhere):
    who = {"origins": [everywhere], "members": ["admin"]}
    settings(closed, access={"root": [everywhere], "groups": {"hpc_admin_g": who}})
    applied(closed)
    for user in ("root", "admin"):
        for origin in (ADMIN_ORIGIN, OTHER_ORIGIN):
            assert closed.ssh(user, origin=origin).ok, (user, origin)
            assert closed.salt("slurm_pam.explain", user, origin)["permitted"]
    assert DENIED in closed.ssh("carl").stderr


def test_an_administrator_with_many_origins(closed):
    users = {"dora": {"origins": [*MANY, OTHER_ORIGIN, "::ffff:192.0.2.1"]}}
    settings(closed, access={"groups": {"hpc_admin_g": ADMINS}, "users": users})
    applied(closed)
    assert closed.ssh("dora", origin=OTHER_ORIGIN).ok and closed.ssh("dora", origin=ADMIN_ORIGIN).ok
    assert all(closed.salt("slurm_pam.explain", "dora", origin)["permitted"] for origin in (OTHER_ORIGIN, ADMIN_ORIGIN))
    assert not closed.salt("slurm_pam.explain", "carl", OTHER_ORIGIN)["permitted"]


def test_origins_that_would_mean_nobody(closed):
    groups = {"hpc_admin_g": {**ADMINS, "origins": ["fe80::/64"]}}
    refused(closed, "slurm_pam:access:groups:hpc_admin_g:origins", "fe80::1%eth0", access={"groups": groups})
    # This node's pam_access looks no host up.
    groups = {"hpc_admin_g": {**ADMINS, "origins": ["localhost"]}}
    refused(closed, "slurm_pam:access:groups:hpc_admin_g:origins has localhost", access={"groups": groups})


# By accident


def test_a_new_group_has_an_id_that_no_user_gets(closed):
    settings(closed, access={"groups": {"hpc_admin_g": ADMINS, "fresh": {"origins": ["ALL"], "members": ["admin"]}}})
    applied(closed)
    assert gid(closed, "fresh") < 1000 and gid(closed, "hpc_admin_g") < 1000
    closed.run(["useradd", "next"], check=True)
    assert closed.run(["id", "-g", "next"]).stdout.strip() != str(gid(closed, "fresh"))


def test_the_id_of_a_group_as_somebodys_own(closed):
    access = {"groups": {"hpc_admin_g": ADMINS}}
    closed.run(["usermod", "--gid", "hpc_admin_g", "carl"], check=True)
    try:
        # What the review did: he is in.
        assert closed.ssh("carl").ok
        refused(closed, "is the primary group of carl", "slurm_pam:access:groups:hpc_admin_g", access=access)
    finally:
        closed.run(["usermod", "--gid", "carl", "carl"], check=True)
    assert DENIED in closed.ssh("carl").stderr


def test_the_group_of_all_users(closed):
    closed.run(["useradd", "--no-user-group", "--gid", "users", "erin"], check=True)
    words = "is the primary group of erin", "slurm_pam:access:groups:users"
    refused(closed, *words, access={"groups": {"users": ADMINS}})


def test_members_that_nobody_named_are_named(closed):
    access = {"groups": {"hpc_admin_g": ADMINS}, "users": {"Carl": {"origins": ["ALL"]}}}
    closed.run(["groupadd", "--non-unique", "--gid", str(gid(closed, "hpc_admin_g")), "twin"], check=True)
    closed.run(["gpasswd", "--add", "dora", "twin"], check=True)
    closed.run(["gpasswd", "--add", "bob", "hpc_admin_g"], check=True)
    try:
        told = warned(closed, access=access)
        for words in ("bob (listed in the group)", "dora (in twin, of the same id)", "users:Carl means carl as well"):
            assert words in told
        settings(closed, access={"groups": {"hpc_admin_g": ADMINS}})
        applied(closed)
        # As pam_access has it, and our reading.
        for user in ("bob", "dora"):
            assert closed.ssh(user).ok and closed.salt("slurm_pam.explain", user, ADMIN_ORIGIN)["permitted"]
    finally:
        closed.run(["groupdel", "twin"], check=True)
        closed.run(["gpasswd", "--delete", "bob", "hpc_admin_g"], check=True)


# Options of sshd


SHUT = {
    "a command": ({"ForceCommand": "/usr/bin/false"}, "sshd has ForceCommand /usr/bin/false"),
    "no session": ({"MaxSessions": 0}, "sshd has MaxSessions 0"),
    "itself alone": ({"ListenAddress": "127.0.0.1"}, "sshd listens on 127.0.0.1 alone"),
    "not here": ({"ListenAddress": "203.0.113.9"}, "which is not an address of this node"),
}


@pytest.mark.parametrize("case", SHUT)
def test_options_that_leave_nobody_in(closed, case):
    options, reason = SHUT[case]
    access = {"root": ["192.0.2.0/24"], "groups": {"hpc_admin_g": ADMINS}}
    words = ("Neither root nor any administrator", reason)
    refused(closed, *words, access=access, sshd={"options": {**OPTIONS, **options}})
    assert closed.ssh("admin").ok


def test_options_of_which_only_a_login_shows_what_they_do(closed):
    access = {"groups": {"hpc_admin_g": ADMINS}}
    options = {**OPTIONS, "Ciphers": "aes256-ctr", "PubkeyAcceptedAlgorithms": "ssh-dss,ssh-ed25519"}
    told = warned(closed, access=access, sshd={"options": options})
    assert "slurm_pam:sshd:options has Ciphers, PubkeyAcceptedAlgorithms" in told and "slurm_pam:confirm" in told
    told = warned(closed, access=access, sshd={"options": options}, confirm=300)
    assert "PubkeyAcceptedAlgorithms" not in told
