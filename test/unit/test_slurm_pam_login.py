"""What sshd's values mean for a user: its lists, the connection that it is asked about, and the ways in that remain."""

import contextlib
import ipaddress
import os
import socket
from types import SimpleNamespace

import pytest

import _file
import _slurm_pam_accounts
import _slurm_pam_login
from _slurm_pam_login import connection, is_among, no_way, refusal

SSHD = {"usepam": ["yes"], "pubkeyauthentication": ["yes"], "passwordauthentication": ["no"], "usedns": ["no"]}
SSHD |= {"kbdinteractiveauthentication": ["no"], "authenticationmethods": ["any"], "port": ["22"]}


def having(**values):
    return {**SSHD, **{name: value if isinstance(value, list) else [value] for name, value in values.items()}}


class Network:
    """A network with a name server that knows one host, and this node's own address on each way."""

    AF_INET, AF_INET6, SOCK_DGRAM = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM

    def __init__(self):
        self.names = {"node1.example.org": "192.0.2.1"}
        self.ways = {socket.AF_INET: "192.0.2.10", socket.AF_INET6: "fd00::10"}
        self.families = {socket.AF_INET, socket.AF_INET6}

    def addresses(self, host):
        known = ":" in host or host[0].isdigit() or host in self.names
        return [ipaddress.ip_address(self.names.get(host, host))] if known else []

    def socket(self, family, kind):
        if family not in self.families:
            raise OSError("Address family not supported by protocol")

        def connect(address):
            if family not in self.ways:
                raise OSError("Network is unreachable")

        def bind(address):
            if address[0] not in ("0.0.0.0", "127.0.0.1", "::", "::1", *self.ways.values()):
                raise OSError("Cannot assign requested address")

        probe = SimpleNamespace(connect=connect, bind=bind, getsockname=lambda: (self.ways[family], 0))
        return contextlib.nullcontext(probe)


@pytest.fixture
def network(monkeypatch):
    network = Network()
    monkeypatch.setattr(_slurm_pam_login, "socket", network)
    monkeypatch.setattr(_slurm_pam_accounts, "addresses", network.addresses)
    return network


# Its lists


@pytest.mark.parametrize(
    ("lists", "refused_by"),
    [
        ({}, None),
        ({"denyusers": "alice"}, "denyusers alice"),
        ({"denyusers": ["bob", "ali*"]}, "denyusers bob ali*"),
        ({"denyusers": ["bob", "ali?e"]}, "denyusers bob ali?e"),
        ({"denyusers": "ali?"}, None),
        ({"denyusers": "Alice"}, None),
        # No character but * and ? means more than itself, and ! means nothing in front of a user.
        ({"denyusers": "[a]lice"}, None),
        ({"allowusers": "!bob"}, "allowusers !bob"),
        ({"allowusers": "alice,bob"}, "allowusers alice,bob"),
        ({"allowusers": ["bob", "alice"]}, None),
        ({"allowusers": "*"}, None),
        # user@host
        ({"allowusers": "alice@192.0.2.1"}, None),
        ({"allowusers": "alice@192.0.2.*"}, None),
        ({"allowusers": "alice@192.0.2.0/24"}, None),
        ({"allowusers": "alice@198.51.100.0/24"}, "allowusers alice@198.51.100.0/24"),
        ({"allowusers": "*@198.51.100.0/24,192.0.2.0/28"}, None),
        ({"allowusers": "bob@192.0.2.1"}, "allowusers bob@192.0.2.1"),
        ({"allowusers": "alice@!192.0.2.1,192.0.2.0/24"}, "allowusers alice@!192.0.2.1,192.0.2.0/24"),
        ({"allowusers": "alice@192.0.2.0/24,!192.0.2.1"}, "allowusers alice@192.0.2.0/24,!192.0.2.1"),
        ({"allowusers": "alice@!198.51.100.1"}, "allowusers alice@!198.51.100.1"),
        ({"allowusers": "alice@!198.51.100.1,*"}, None),
        ({"denyusers": "alice@!192.0.2.1,192.0.2.0/24"}, None),
        ({"denyusers": "*@192.0.2.0/24"}, "denyusers *@192.0.2.0/24"),
        ({"denyusers": "alice@fd00::/8"}, None),
        # Groups
        ({"denygroups": "users"}, "denygroups users"),
        ({"denygroups": ["user?", "x"]}, "denygroups user? x"),
        ({"allowgroups": "wheel"}, "allowgroups wheel"),
        ({"allowgroups": ["wheel", "hpc*"]}, None),
        ({"allowgroups": ["wheel", "hpc@example.org"]}, None),
        # sshd -T prints each on a line of its own: a blank belongs to a name.
        ({"allowgroups": ["domain users", "wheel"]}, None),
        ({"allowgroups": "wheel users"}, "allowgroups wheel users"),
        ({"denygroups": "wheel users"}, None),
        ({"denyusers": "bob alice"}, None),
        # The order of sshd
        ({"denyusers": "alice", "allowusers": "alice"}, "denyusers alice"),
        ({"denyusers": "alice", "allowusers": "bob"}, "denyusers alice"),
        ({"allowusers": "alice", "denygroups": "users"}, "denygroups users"),
        ({"allowusers": "bob", "denygroups": "users"}, "allowusers bob"),
        ({"denygroups": "users", "allowgroups": "users"}, "denygroups users"),
    ],
)
def test_users_that_sshd_turns_away(lists, refused_by):
    told = refusal("alice", ["users", "hpc@example.org", "domain users"], having(**lists), "192.0.2.1")
    assert told == (refused_by and f"sshd has {refused_by}")


@pytest.mark.parametrize(("usedns", "allowed"), [("yes", True), ("no", False)])
def test_a_host_is_known_by_its_name_with_usedns_only(network, usedns, allowed):
    for pattern in ("alice@*.Example.org", "alice@node1.example.org"):
        values = having(allowusers=pattern, usedns=usedns)
        assert (refusal("alice", [], values, "node1.example.org") is None) is allowed
    values = having(allowusers="alice@192.0.2.0/24", usedns=usedns)
    assert refusal("alice", [], values, "node1.example.org") is None


@pytest.mark.parametrize(
    ("lists", "refused"),
    [
        ({"allowusers": "alice@198.51.100.1"}, False),
        ({"denyusers": "alice@198.51.100.1"}, False),
        ({"allowusers": "bob@198.51.100.1"}, True),
        ({"denyusers": "alice"}, True),
    ],
)
def test_from_somewhere_what_helps_the_user_counts(lists, refused):
    assert bool(refusal("alice", [], having(**lists))) is refused


def test_root_whom_sshd_never_lets_in():
    assert refusal("root", [], having(permitrootlogin="no"), "192.0.2.1") == "sshd has PermitRootLogin no"
    assert refusal("alice", [], having(permitrootlogin="no"), "192.0.2.1") is None


# The connection


def test_a_connection_has_all_that_match_lines_ask_for(network):
    told = connection("alice", "192.0.2.1", having(port=["2222", "22"]))
    assert told == "user=alice,host=192.0.2.1,addr=192.0.2.1,laddr=192.0.2.10,lport=2222"


@pytest.mark.parametrize(
    ("origin", "usedns", "host", "addr"),
    [
        ("node1.example.org", "yes", "node1.example.org", "192.0.2.1"),
        ("node1.example.org", "no", "192.0.2.1", "192.0.2.1"),
        # Of a host that is not known nothing is sure but that it is of no network of ours.
        ("nowhere.example.org", "yes", "nowhere.example.org", "203.0.113.1"),
        ("fd00::1", "no", "fd00::1", "fd00::1"),
    ],
)
def test_a_connection_from_a_host(network, origin, usedns, host, addr):
    facing = "fd00::10" if ":" in addr else "192.0.2.10"
    told = connection("alice", origin, having(usedns=usedns))
    assert told == f"user=alice,host={host},addr={addr},laddr={facing},lport=22"


def test_this_node_faces_itself_by_its_loopback():
    assert ",laddr=127.0.0.1," in connection("alice", "127.0.0.1", SSHD)


def test_without_a_way_there_the_loopback_stands_for_the_nodes_address(network):
    network.ways.clear()
    assert ",laddr=127.0.0.1," in connection("alice", "192.0.2.1", SSHD)
    assert ",laddr=::1," in connection("alice", "fd00::1", SSHD)


# The ways in


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The users root and ann, with homes below a directory; returns what gives one of them a key."""
    accounts = {
        name: SimpleNamespace(pw_name=name, pw_dir=str(tmp_path / name), pw_uid=uid, pw_gid=uid)
        for name, uid in {"root": 0, "ann": 1000, "ben": 1001}.items()
    }
    monkeypatch.setattr(_slurm_pam_accounts, "user", accounts.get)
    monkeypatch.setattr(_slurm_pam_accounts, "groups_of", lambda user: [f"{user}s", "users"])

    # These users are nobody's here; test/functional/test_file.py reads as a user.
    monkeypatch.setattr(_file, "read_as", lambda account, path: _file.read(path))

    def give(path, text="ssh-ed25519 AAAA test\n"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        return tmp_path / path

    return give


KEYS = {"authorizedkeysfile": ".ssh/authorized_keys .ssh/authorized_keys2"}


@pytest.mark.parametrize(
    ("user", "values", "reason"),
    [
        ("ann", {}, "no key in "),
        ("ann", {"passwordauthentication": "yes"}, None),
        ("ann", {"kbdinteractiveauthentication": "yes"}, None),
        ("ann", {"gssapiauthentication": "yes"}, None),
        ("ann", {"hostbasedauthentication": "yes"}, None),
        ("ann", {"authorizedkeyscommand": "/usr/bin/sss_ssh_authorizedkeys"}, None),
        ("ann", {"authorizedkeyscommand": "none", "trustedusercakeys": "none"}, "no key in "),
        ("ann", {"trustedusercakeys": "/etc/ssh/ca.pub"}, None),
        ("ann", {"trustedusercakeys": "/etc/ssh/ca.pub", "pubkeyauthentication": "no"}, "no method is on"),
        ("ann", {"authorizedkeysfile": "none"}, "no key in AuthorizedKeysFile"),
        ("ann", {"passwordauthentication": "yes", "authenticationmethods": "publickey,password"}, "no key in "),
        ("ann", {"passwordauthentication": "yes", "authenticationmethods": "publickey,password password"}, None),
        ("ann", {"passwordauthentication": "yes", "allowusers": "root"}, "sshd has allowusers root"),
        ("ann", {"passwordauthentication": "yes", "allowgroups": "wheel"}, "sshd has allowgroups wheel"),
        ("ann", {"passwordauthentication": "yes", "denygroups": "anns"}, "sshd has denygroups anns"),
        ("ann", {"passwordauthentication": "yes", "permitrootlogin": "no"}, None),
        ("root", {"passwordauthentication": "yes", "permitrootlogin": "yes"}, None),
        ("root", {"passwordauthentication": "yes", "permitrootlogin": "no"}, "sshd has PermitRootLogin no"),
        ("root", {"passwordauthentication": "yes", "permitrootlogin": "prohibit-password"}, "no key in "),
        ("root", {"passwordauthentication": "yes", "permitrootlogin": "without-password"}, "no key in "),
        ("root", {"kbdinteractiveauthentication": "yes", "permitrootlogin": "without-password"}, "no key in "),
        ("root", {"gssapiauthentication": "yes", "permitrootlogin": "without-password"}, None),
        ("root", {"trustedusercakeys": "/ca", "permitrootlogin": "forced-commands-only"}, "PermitRootLogin is forced-"),
        (
            "root",
            {"passwordauthentication": "yes", "pubkeyauthentication": "no", "permitrootlogin": "without-password"},
            "PermitRootLogin is without-password",
        ),
    ],
)
def test_whether_a_way_in_is_left(home, user, values, reason):
    told = no_way(user, ["ALL"], having(**KEYS | values))
    assert told is None if reason is None else told.startswith(reason)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (".ssh/authorized_keys", "ann/.ssh/authorized_keys"),
        (".ssh/other .ssh/authorized_keys2", "ann/.ssh/authorized_keys2"),
        ("%h/keys", "ann/keys"),
        ("{top}/keys/%u", "keys/ann"),
        ("{top}/keys/%U.%%", "keys/1000.%"),
    ],
)
def test_where_a_key_is_looked_for(home, tmp_path, pattern, path):
    values = having(authorizedkeysfile=pattern.format(top=tmp_path))
    assert no_way("ann", ["ALL"], values)
    home(path)
    assert no_way("ann", ["ALL"], values) is None
    home(path, "# none\n\n")
    told = no_way("ann", ["ALL"], values)
    assert str(tmp_path / path) in told


def test_a_file_of_keys_that_cannot_be_read_is_told(home, tmp_path, monkeypatch):
    path = home("ann/.ssh/authorized_keys")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * 5_000_000)
    cases = {
        path: None,
        path / "below": f"no key in {path}/below",
        tmp_path / "pipe": f"{tmp_path}/pipe cannot be read as ann: it is not a regular file",
        tmp_path / "large": f"{tmp_path}/large cannot be read as ann: it is larger than 4194304 bytes",
        tmp_path / "ann": f"{tmp_path}/ann cannot be read as ann: it is not a regular file",
    }
    for place, told in cases.items():
        assert no_way("ann", ["ALL"], having(authorizedkeysfile=str(place))) == told
    # One key is enough, wherever it is.
    assert no_way("ann", ["ALL"], having(authorizedkeysfile=f"{tmp_path}/pipe {path}")) is None

    def denied(account, path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(_file, "read_as", denied)
    told = no_way("ann", ["ALL"], having(authorizedkeysfile="/home/elsewhere"))
    assert told == "/home/elsewhere cannot be read as ann: Permission denied"


@pytest.mark.parametrize(
    ("origins", "kept_out"),
    [
        (["192.0.2.1"], False),
        (["198.51.100.1"], True),
        (["198.51.100.1", "192.0.2.1"], False),
        (["198.51.100.1", "198.51.100.2"], True),
        # Of a network, a host or ALL it is not known.
        (["198.51.100.0/24"], False),
        (["198.51.100.1", "ALL"], False),
    ],
)
def test_a_list_counts_from_every_origin(home, origins, kept_out):
    home("ann/.ssh/authorized_keys")
    values = having(**KEYS, allowusers="ann@192.0.2.0/24")
    assert bool(no_way("ann", origins, values)) is kept_out


# Logins that come to nothing


EVERYWHERE4, EVERYWHERE6 = "0.0.0.0:22", "[::]:22"


@pytest.mark.parametrize(
    ("listening", "origins", "reason"),
    [
        ([EVERYWHERE4, EVERYWHERE6], ["ALL"], None),
        ([EVERYWHERE4], ["192.0.2.0/24"], None),
        ([EVERYWHERE4], ["2001:db8::/64"], "sshd listens on 0.0.0.0 alone"),
        ([EVERYWHERE6], ["192.0.2.0/24"], "sshd listens on :: alone"),
        ([EVERYWHERE6], ["192.0.2.0/24", "ALL"], None),
        ([EVERYWHERE6], ["0.0.0.0/0"], None),
        (["127.0.0.1:22"], ["ALL"], "sshd listens on 127.0.0.1 alone"),
        (["127.0.0.1:22", "[::1]:22"], ["192.0.2.1", "login.example.org"], "sshd listens on 127.0.0.1, ::1 alone"),
        (["127.0.0.1:22"], ["127.0.0.0/8"], None),
        (["127.0.0.1:22", "192.0.2.10:22"], ["192.0.2.0/24"], None),
        (["192.0.2.10:2222 rdomain blue"], ["login.example.org"], None),
        (["203.0.113.9:22"], ["ALL"], "sshd listens on 203.0.113.9 alone, which is not an address of this node"),
        (["203.0.113.9:22", "192.0.2.10:22"], ["192.0.2.1"], None),
        (["203.0.113.9:22", "127.0.0.1:22"], ["192.0.2.1"], "sshd listens on 127.0.0.1 alone"),
    ],
)
def test_addresses_to_which_there_is_no_way(home, network, listening, origins, reason):
    home("ann/.ssh/authorized_keys")
    assert no_way("ann", origins, having(listenaddress=listening, **KEYS)) == reason


@pytest.mark.parametrize(
    ("listening", "reason"),
    [
        ([EVERYWHERE4, EVERYWHERE6], None),
        ([EVERYWHERE6], "sshd listens on :: alone, which is not an address of this node"),
    ],
)
def test_a_kernel_without_ipv6(home, network, listening, reason):
    home("ann/.ssh/authorized_keys")
    network.families = {socket.AF_INET}
    assert no_way("ann", ["192.0.2.0/24"], having(listenaddress=listening, **KEYS)) == reason


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"forcecommand": "none"}, None),
        ({"forcecommand": "/usr/bin/false"}, "sshd has ForceCommand /usr/bin/false"),
        ({"forcecommand": "/usr/sbin/nologin -x"}, "sshd has ForceCommand /usr/sbin/nologin -x"),
        ({"forcecommand": "internal-sftp"}, "sshd has ForceCommand internal-sftp"),
        # What a site's own program does, only a login shows.
        ({"forcecommand": "/opt/site/record"}, None),
        ({"maxsessions": "0"}, "sshd has MaxSessions 0"),
        ({"maxsessions": "10"}, None),
    ],
)
def test_logins_that_come_to_nothing(home, values, reason):
    home("ann/.ssh/authorized_keys")
    assert no_way("ann", ["ALL"], having(**KEYS, **values)) == reason


LISTED = "!192.0.2.2,192.0.2.?,2001:db8::/32"


@pytest.mark.parametrize(
    ("origin", "listed", "told"),
    [
        ("192.0.2.1", LISTED, True),
        ("node1.example.org", LISTED, True),
        ("192.0.2.2", LISTED, False),
        ("2001:db8::1", LISTED, True),
        ("nohost", LISTED, False),
        # An address with a zone is in no network without it.
        ("fe80::1%eth0", "fe80::/10,::/0", False),
        ("fe80::1%eth0", "fe80::1,fe80::1%eth1,fe80::%eth1/64", False),
        ("fe80::1%eth0", "fe80::%eth0/64", True),
        ("fe80::1%eth0", "fe80::1%eth0", True),
        ("fe80::1%eth0", "fe80::*", True),
        ("fe80::1", "fe80::1%eth0", False),
    ],
)
def test_a_list_of_addresses(network, origin, listed, told):
    assert is_among(origin, listed) is told


def test_an_address_with_a_zone(network):
    values = having(allowusers="alice@fe80::/10")
    assert refusal("alice", [], values, "fe80::1%eth0") == "sshd has allowusers alice@fe80::/10"
    assert refusal("alice", [], values, "fe80::1") is None
