"""The access file, as pam_access reads it."""

import ipaddress
import os

import pytest
from looks import settings
from salt.exceptions import CommandExecutionError

import _slurm_pam_access
import _slurm_pam_accounts
from _slurm_pam_access import Release, lines, rule_for, written
from _slurm_pam_settings import problems

HOSTS = {"localhost": ["127.0.0.1"], "login.example.org": ["192.0.2.1", "2001:db8::1"]}


@pytest.fixture(autouse=True)
def resolver(monkeypatch):
    """A resolver that knows some hosts, and does not answer for others."""

    def addresses(host):
        if host.lower().endswith(".test"):
            raise CommandExecutionError(f"This node's resolver does not answer for {host}: later")
        known = HOSTS.get(host.lower(), [host] if host[0] in "0123456789f:" else [])
        return [ipaddress.ip_address(each) for each in known]

    monkeypatch.setattr(_slurm_pam_accounts, "addresses", addresses)


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
def test_the_rule_of_the_access_file(tmp_path, user, groups, origin, by_name, line):
    (tmp_path / "access.conf").write_text(ACCESS)
    told = rule_for(str(tmp_path / "access.conf"), user, groups.__contains__, origin, by_name, None, Release())
    assert told == ACCESS.splitlines()[line]


@pytest.mark.parametrize("text", [None, "", "# + : ann : ALL\n", "+ : ben : ALL\n"])
def test_no_rule_fits(tmp_path, text):
    if text is not None:
        (tmp_path / "access.conf").write_text(text)
    assert rule_for(str(tmp_path / "access.conf"), "ann", [].__contains__, "192.0.2.1", False, None, Release()) is None


OLD = Release(resolves=False, whole=False, loopback=False)


@pytest.mark.parametrize(
    ("word", "origin", "reads", "fits"),
    [
        ("0.0.0.0/0", "192.0.2.1", Release(), False),
        ("::/0", "2001:db8::1", Release(), False),
        ("0.0.0.0/1", "10.0.0.1", Release(), True),
        ("192.0.2.0/0.0.0.255", "192.0.2.1", Release(), False),
        ("::ffff:192.0.2.1", "192.0.2.1", Release(), False),
        ("login.example.org", "192.0.2.1", Release(), True),
        ("login.example.org", "192.0.2.1", OLD, False),
        # By its name it is known to sshd alone, as long as that is not told to use it.
        ("login.example.org", "login.example.org", OLD, False),
        ("login.test", "192.0.2.1", OLD, False),
        ("127.0.0.1", "::1", Release(), True),
        ("127.0.0.1", "::1", OLD, False),
        ("fe80::1", "fe80::1%eth0", OLD, True),
        ("fe80::1", "fe80::1%eth0", Release(), False),
        ("fe80::1%eth0", "fe80::1%eth0", Release(), True),
    ],
)
def test_an_origin_as_a_release_reads_it(tmp_path, word, origin, reads, fits):
    (tmp_path / "access.conf").write_text(f"+:ann:{word}\n-:ALL:ALL\n")
    told = rule_for(str(tmp_path / "access.conf"), "ann", [].__contains__, origin, False, None, reads)
    assert told.startswith("+" if fits else "-")


@pytest.mark.parametrize(("word", "origin"), [("login.test", "192.0.2.1"), ("192.0.2.1", "login.test")])
def test_a_host_that_nobody_tells_of_is_no_answer(tmp_path, word, origin):
    (tmp_path / "access.conf").write_text(f"+:ben:login.test\n+:ann:{word}\n-:ALL:ALL\n")
    with pytest.raises(CommandExecutionError, match=r"does not answer for login\.test"):
        rule_for(str(tmp_path / "access.conf"), "ann", [].__contains__, origin, False, None, Release())


def test_a_release_is_known_by_its_binary(tmp_path, monkeypatch):
    libpam = {"module_dirs": [str(tmp_path / "none"), str(tmp_path)]}
    monkeypatch.setattr(_slurm_pam_access._pam_libpam, "node_libpam", lambda: libpam)
    with pytest.raises(CommandExecutionError, match="no pam_access to ask"):
        _slurm_pam_access.release()
    for text, reads in (("\0fgets\0", OLD), ('cannot resolve hostname "%s"\0fgets', OLD._replace(resolves=True))):
        (tmp_path / "pam_access.so").write_text(text)
        _slurm_pam_access.examine.cache_clear()
        assert _slurm_pam_access.release() == reads


# Writing

ORIGINS = {
    "ALL": "ALL",
    "0.0.0.0/0": "ALL",
    "::/0": "ALL",
    "192.0.2.1/0": "ALL",
    "0.0.0.0/0.0.0.0": "ALL",
    "::ffff:0:0/96": "ALL",
    "0.0.0.0/1": "0.0.0.0/1",
    "192.0.2.7/24": "192.0.2.0/24",
    "192.0.2.0/0.0.0.255": "192.0.2.0/24",
    "192.0.2.0/255.255.255.0": "192.0.2.0/24",
    "192.0.2.0/024": "192.0.2.0/24",
    "192.0.2.1/32": "192.0.2.1",
    "2001:DB8:0::1": "2001:db8::1",
    "2001:db8::1/64": "2001:db8::/64",
    "::ffff:192.0.2.1": "192.0.2.1",
    "::ffff:192.0.2.0/120": "192.0.2.0/24",
    "FE80:0::1%eth0": "fe80::1%eth0",
    "login.example.org": "login.example.org",
    ".example.org": ".example.org",
}


@pytest.mark.parametrize(("given", "text"), ORIGINS.items())
def test_an_origin_as_it_is_written(given, text):
    assert written([given]) == [text]
    merged = settings(access={"root": [given], "root_only": True})
    assert problems(merged, merged) == []


OTHERWISE = ["fe80::1", "fe80::/64", "FE80::/10", "fe80::1%eth0/64", "fe80::1%", "192.0.2.0/255.0.255.0"]


@pytest.mark.parametrize("given", OTHERWISE)
def test_an_origin_that_releases_read_otherwise_is_refused(given):
    merged = settings(access={"root": ["ALL", given], "root_only": True})
    (problem,) = problems(merged, merged)
    assert "slurm_pam:access:root is" in problem and "fe80::1%eth0" in problem


def test_what_is_everywhere_is_said_alone_and_nothing_twice():
    assert written(["192.0.2.0/24", "::/0", "192.0.2.1"]) == ["ALL"]
    assert written(["192.0.2.1", "192.0.2.1/32", "::ffff:192.0.2.1"]) == ["192.0.2.1"]


@pytest.mark.parametrize("count", [1, 2, 200, 701, 5000])
def test_a_long_list_has_many_lines(count):
    origins = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(count)]
    found = list(lines("(admins)", origins))
    assert max(map(len, found)) < 8191 // 2
    assert [origin for line in found for origin in line.removeprefix("+:(admins):").rstrip().split(",")] == origins


def test_a_file_that_is_none_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "access.conf")
    with pytest.raises(CommandExecutionError, match=r"access\.conf cannot be read: it is not a regular file"):
        rule_for(str(tmp_path / "access.conf"), "root", lambda group: False, "192.0.2.1", False, None, Release())
