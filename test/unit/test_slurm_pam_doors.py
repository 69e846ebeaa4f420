"""The table of the ways onto a node."""

import re

import pytest
from harness.paths import REPO

from _slurm_pam_doors import CONSOLE, INSIDE, KNOWN, LATER, NETWORK

# fmt: off
ISSUE = [
    "cockpit", "login", "remote", "gdm-password", "sddm", "lightdm", "xdm", "xrdp-sesman", "crond", "cron", "atd",
    "systemd-user", "su", "su-l", "sudo", "sudo-i", "runuser", "runuser-l", "polkit-1", "vsftpd", "samba", "rstudio",
    "jupyterhub", "vnc", "rsh", "rexec", "rlogin", "screen", "cups", "sshd",
]
# fmt: on


@pytest.mark.parametrize("service", ISSUE)
def test_the_ways_in_that_people_know_are_in_the_table(service):
    assert KNOWN[service].service == service


@pytest.mark.parametrize("door", KNOWN.values(), ids=str)
def test_a_door_is_as_the_report_needs_it(door):
    assert door.service == door.service.lower()  # libpam's own spelling
    assert door.what and door.reach in (NETWORK, CONSOLE, LATER, INSIDE)
    assert door.elsewhere == (door.reach == NETWORK)
    assert all(re.fullmatch(r"[\w*@.-]+\.(service|socket)", unit) for unit in door.units)
    assert door.otherwise in {"", *KNOWN}
    assert all(name.startswith("/") or "/" not in name for name in door.programs)
    # Something tells whether a way in is on.
    assert door.units or door.programs or door.stays


REACHED = {
    "from elsewhere": NETWORK,
    "at the machine, its management controller or its hypervisor": CONSOLE,
    "by nobody: what somebody left there runs": LATER,
    "from the node alone": INSIDE,
}


def test_the_readme_has_this_table():
    section = (REPO / "README.md").read_text().partition("## What it closes, and what it does not")[2]
    rows = [line.split("|")[1:4] for line in section.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    plain = (re.sub(r" \([^)]*\)", "", services) for _, services, _ in rows)
    told = [
        (service, REACHED[reached.strip()], gets.strip() != "files and the like")
        for (reached, _, gets), services in zip(rows, plain)
        for service in re.findall(r"`([^`]+)`", services)
    ]
    ways_in = [door for door in KNOWN.values() if not door.stays and door.service != "sshd"]
    assert sorted(told) == sorted((door.service, door.reach, door.shell) for door in ways_in)
