"""The access file, as pam_access reads it."""

from types import SimpleNamespace

import pytest

import _slurm_pam_access
from _slurm_pam_access import rule_for


def resolve(host, port):
    """The addresses that a resolver without a network knows."""
    if not host[0].isdigit() and host != "localhost":
        raise OSError
    return [(None, None, None, None, ("127.0.0.1" if host == "localhost" else host, port))]


ACCESS = """\
# - : bob : ALL
+ : root : 192.0.2.0/24 localhost
+ : (hpc_admin_g) : 192.0.2.0/24
+ : carol : 198.51.100.1 .example.org
+ : dave : all
- : All : ALL
"""


@pytest.mark.parametrize(
    ("user", "groups", "origin", "by_name", "line"),
    [
        ("root", [], "192.0.2.9", False, 1),
        ("root", [], "127.0.0.1", False, 1),
        ("root", [], "203.0.113.1", False, 5),
        ("ann", ["users", "hpc_admin_g"], "192.0.2.1", False, 2),
        ("hpc_admin_g", ["users"], "192.0.2.1", False, 5),
        ("carol", [], "198.51.100.1", False, 3),
        ("carol", [], "Login.Example.org", True, 3),
        # Without UseDNS pam_access is told the address.
        ("carol", [], "login.example.org", False, 5),
        ("dave", [], "203.0.113.1", False, 4),
    ],
)
def test_the_rule_of_the_access_file(tmp_path, monkeypatch, user, groups, origin, by_name, line):
    (tmp_path / "access.conf").write_text(ACCESS)
    monkeypatch.setattr(_slurm_pam_access, "socket", SimpleNamespace(getaddrinfo=resolve))
    told = rule_for(str(tmp_path / "access.conf"), user, groups, origin, by_name)
    assert told == ACCESS.splitlines()[line]


@pytest.mark.parametrize("text", [None, "", "# + : ann : ALL\n", "+ : ben : ALL\n"])
def test_no_rule_fits(tmp_path, text):
    if text is not None:
        (tmp_path / "access.conf").write_text(text)
    assert rule_for(str(tmp_path / "access.conf"), "ann", [], "192.0.2.1", False) is None
