"""The table of the ways onto a node."""

import re

import pytest

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
    assert all(name.startswith("/") or "/" not in name for name in door.programs)
    # Something tells whether a way in is on.
    assert door.units or door.programs or door.stays
