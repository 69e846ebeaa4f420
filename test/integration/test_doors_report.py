"""What slurm_pam.doors says of a node is what people get: doors that are off, on and closed, and what is not known."""

import json

import pytest
from harness import debs, second_sshd
from harness.doors import PACKAGES, Doors
from harness.formula import applied, apply, failed, settings

ADMINS = {"groups": {"hpc_admin_g": {"origins": ["ALL"], "members": ["admin"]}}}
# Tried by real logins; those that cron carries out, test_doors_closed tries.
TRIED = ("atd", "cockpit", "login", "second")
CLOSED = dict.fromkeys((*TRIED, "cron", "kiosk"), "close")
# A container has no console on which systemd would start a getty.
ON = sorted({*CLOSED} - {"login"})
# A unit of the site's that runs for its user, by a PAM service that nobody knows.
KIOSK = """\
[Service]
Type=oneshot
RemainAfterExit=yes
User=%i
PAMName=kiosk
ExecStart=/bin/sh -c 'id -un >/var/tmp/kiosk-%i'
"""


@pytest.fixture(scope="module")
def node(node):
    debs.install(node, *PACKAGES)
    second_sshd.lay(node, node.read("/etc/pam.d/sshd"))
    node.write("/etc/systemd/system/kiosk@.service", KIOSK)
    node.write("/etc/pam.d/kiosk", node.read("/etc/pam.d/cron"))
    node.run(["systemctl", "daemon-reload"], check=True)
    settings(node, access=ADMINS)
    node.salt("saltutil.sync_all")
    return node


@pytest.mark.parametrize("layout", ["debian12"], indirect=True)
def test_what_is_said_is_what_one_gets(node):
    # Off.
    said, findings = report(node)
    assert not findings
    assert [said[name]["on"] for name in ("atd", "cockpit", "cron")] == [[]] * 3
    assert "/usr/sbin/cron" in said["cron"]["there"]
    # Of files alone nothing tells what asks them.
    assert [(said[name]["what"], said[name]["on"]) for name in ("kiosk", "second")] == [("not known", [])] * 2

    # On. An apply that closes sshd tells of them; with another sshd open beside it, it does not begin.
    node.run(["systemctl", "start", "atd", "cockpit", "cron", "kiosk@bob"], check=True)
    told = " ".join(applied(node)["slurm_pam-ready"]["warnings"])
    assert all(f"The PAM service {name} " in told for name in ON if name != "second"), told
    node.run(["systemctl", "start", "second"], check=True)
    refused = failed(apply(node, check=False))["slurm_pam-ready"]
    assert "sshd's PAMServiceName is second" in refused and "close that as well (slurm_pam:doors)" in refused
    said, findings = report(node)
    assert not findings
    assert all(said[name]["on"] for name in (*ON, "sshd"))
    assert "[::]:9090" in said["cockpit"]["listening"]
    assert said["kiosk"]["on"] == ["kiosk@bob.service asks it and is active"]
    assert "libpam" in said["second"]["on"][0] or "sshd" in said["second"]["on"][0]
    compare(node, said, dict.fromkeys(CLOSED, True))

    # Closed, as the settings say.
    settings(node, access=ADMINS, doors=CLOSED)
    told = " ".join(applied(node)["slurm_pam-ready"].get("warnings", []))
    assert "The PAM service" not in told
    said, _ = report(node)
    assert {said[name]["stranger"]["decided_by"]["file"] for name in CLOSED} == {
        f"/etc/pam.d/slurm-door-{name}" for name in CLOSED
    }
    assert {said[name]["setting"] for name in CLOSED} == {"close"}
    compare(node, said, dict.fromkeys(CLOSED, False))


def report(node):
    told = node.salt("slurm_pam.doors")
    return {row["service"]: row for row in told["doors"]}, told["findings"]


def compare(node, said, stranger):
    """What is said of a user without a job and of an administrator, what is expected, and what they get."""
    doors = Doors(node)
    told = {name: (said[name]["stranger"]["in"], said[name]["administrator"]["in"]) for name in (*stranger, "sshd")}
    expected = {**{name: (gets_in, True) for name, gets_in in stranger.items()}, "sshd": (False, True)}
    assert told == expected, json.dumps(said, indent=1)
    got = {name: tuple(getattr(doors, name)(user) is not None for user in ("bob", "admin")) for name in TRIED}
    got["kiosk"] = kiosk(node, "bob"), kiosk(node, "admin")
    got["sshd"] = node.ssh("bob").ok, node.ssh("admin").ok
    assert got == {name: told[name] for name in got}


def kiosk(node, user):
    node.run(["rm", "-f", f"/var/tmp/kiosk-{user}"], check=True)
    node.run(["systemctl", "restart", f"kiosk@{user}"])
    return node.run(["cat", f"/var/tmp/kiosk-{user}"]).stdout == f"{user}\n"
