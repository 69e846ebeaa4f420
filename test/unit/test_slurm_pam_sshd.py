"""What sshd's values mean for a user: its lists, the ways in that are left, and Match lines."""

import os
from types import SimpleNamespace

import pytest
from harness.source import Modules, load
from salt.exceptions import CommandExecutionError


@pytest.fixture
def sshd():
    return load(
        "_modules/slurm_pam_sshd.py", __salt__={"sshd_config.parse": Modules("sshd_config")["sshd_config"].parse}
    )


SSHD = {"usepam": ["yes"], "pubkeyauthentication": ["yes"], "passwordauthentication": ["no"], "usedns": ["no"]}
SSHD |= {"kbdinteractiveauthentication": ["no"], "authenticationmethods": ["any"], "port": ["22"]}


def having(**values):
    return {**SSHD, **{name: value if isinstance(value, list) else [value] for name, value in values.items()}}


# For everybody


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ({"usepam": "no"}, "problems", "UsePAM is no"),
        ({"pamservicename": "ssh-compute"}, "problems", "PAMServiceName is ssh-compute"),
        ({"pubkeyauthentication": "no"}, "problems", "AuthenticationMethods is any, of which no way"),
        ({"authenticationmethods": "keyboard-interactive"}, "problems", "of which no way is left"),
        ({"authenticationmethods": "password publickey,keyboard-interactive:pam"}, "problems", "no way is left"),
        ({"kbdinteractiveauthentication": "yes"}, "warnings", "lets people in by keyboard-interactive"),
        (
            {"kbdinteractiveauthentication": "yes", "authenticationmethods": "publickey,keyboard-interactive"},
            "warnings",
            "lets everybody in by keyboard-interactive",
        ),
    ],
)
def test_values_that_stand_against_it(sshd, values, kind, found):
    (finding,) = sshd._values(having(**values), "sshd")
    assert (finding.kind, found in finding.found) == (kind, True), finding


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"pamservicename": "sshd"},
        {"authenticationmethods": "publickey"},
        {"authenticationmethods": "publickey keyboard-interactive"},
        {"authenticationmethods": "gssapi-with-mic", "gssapiauthentication": "yes"},
    ],
)
def test_values_that_are_fine(sshd, values):
    assert list(sshd._values(having(**values), "sshd")) == []


def test_an_sshd_without_pam(sshd):
    values = {name: value for name, value in SSHD.items() if name != "usepam"}
    (finding,) = sshd._values(values, "sshd")
    assert "not known to this sshd" in finding.found


# Its lists


@pytest.mark.parametrize(
    ("lists", "refused_by"),
    [
        ({}, None),
        ({"denyusers": "alice"}, "denyusers alice"),
        ({"denyusers": ["bob", "ali*"]}, "denyusers bob ali*"),
        ({"denyusers": "bob ali?e"}, "denyusers bob ali?e"),
        ({"denyusers": "ali?"}, None),
        ({"denyusers": "Alice"}, None),
        # No character but * and ? means more than itself, and ! means nothing in front of a user.
        ({"denyusers": "[a]lice"}, None),
        ({"allowusers": "!bob"}, "allowusers !bob"),
        ({"allowusers": "alice,bob"}, "allowusers alice,bob"),
        ({"allowusers": "bob alice"}, None),
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
        ({"denygroups": "user? x"}, "denygroups user? x"),
        ({"allowgroups": "wheel"}, "allowgroups wheel"),
        ({"allowgroups": ["wheel", "hpc*"]}, None),
        ({"allowgroups": "wheel hpc@example.org"}, None),
        # The order of sshd
        ({"denyusers": "alice", "allowusers": "alice"}, "denyusers alice"),
        ({"allowusers": "alice", "denygroups": "users"}, "denygroups users"),
        ({"allowusers": "bob", "denygroups": "users"}, "allowusers bob"),
        ({"denygroups": "users", "allowgroups": "users"}, "denygroups users"),
    ],
)
def test_users_that_sshd_turns_away(sshd, lists, refused_by):
    told = sshd.refusal("alice", ["users", "hpc@example.org"], having(**lists), "192.0.2.1")
    assert told == (refused_by and f"sshd has {refused_by}")


@pytest.mark.parametrize(("usedns", "allowed"), [("yes", True), ("no", False)])
def test_a_host_is_known_by_its_name_with_usedns_only(sshd, usedns, allowed):
    sshd._address = lambda host: "192.0.2.1"
    for pattern in ("alice@*.Example.org", "alice@node1.example.org"):
        values = having(allowusers=pattern, usedns=usedns)
        assert (sshd.refusal("alice", [], values, "node1.example.org") is None) is allowed
    assert (
        sshd.refusal("alice", [], having(allowusers="alice@192.0.2.0/24", usedns=usedns), "node1.example.org") is None
    )


@pytest.mark.parametrize(
    ("lists", "refused"),
    [
        ({"allowusers": "alice@198.51.100.1"}, False),
        ({"denyusers": "alice@198.51.100.1"}, False),
        ({"allowusers": "bob@198.51.100.1"}, True),
        ({"denyusers": "alice"}, True),
    ],
)
def test_from_somewhere_what_helps_the_user_counts(sshd, lists, refused):
    assert bool(sshd.refusal("alice", [], having(**lists))) is refused


def test_root_whom_sshd_never_lets_in(sshd):
    assert sshd.refusal("root", [], having(permitrootlogin="no"), "192.0.2.1") == "sshd has PermitRootLogin no"
    assert sshd.refusal("alice", [], having(permitrootlogin="no"), "192.0.2.1") is None


def test_group_names_are_asked_for_one_by_one(sshd):
    groups = {100: "users", 4711: "hpc@example.org"}
    sshd.grp = SimpleNamespace(getgrgid=lambda gid: SimpleNamespace(gr_name=groups[gid]))
    sshd.pwd = SimpleNamespace(getpwnam=lambda name: SimpleNamespace(pw_gid=100))
    sshd.os = SimpleNamespace(getgrouplist=lambda user, gid: [gid, 4711, 9])
    assert sshd.group_names("alice") == ["users", "hpc@example.org"]


# The connection


def test_a_connection_has_all_that_match_lines_ask_for(sshd):
    sshd._facing = {"192.0.2.1": "192.0.2.10"}.__getitem__
    told = sshd.connection("alice", "192.0.2.1", having(port=["2222", "22"]))
    assert told == "user=alice,host=192.0.2.1,addr=192.0.2.1,laddr=192.0.2.10,lport=2222"


def test_a_connection_from_a_host(sshd):
    sshd._facing, sshd._address = (lambda address: "192.0.2.10"), (lambda host: "192.0.2.1")
    for usedns, host in (("yes", "node1"), ("no", "192.0.2.1")):
        told = sshd.connection("alice", "node1", having(usedns=usedns))
        assert told == f"user=alice,host={host},addr=192.0.2.1,laddr=192.0.2.10,lport=22"


def test_this_node_faces_itself_by_its_loopback(sshd):
    assert sshd._facing("127.0.0.1") == "127.0.0.1"


# The ways in


@pytest.fixture
def home(sshd, tmp_path):
    """The users root and ann, with homes below a directory; returns what gives one of them a key."""
    accounts = {
        name: SimpleNamespace(pw_name=name, pw_dir=str(tmp_path / name), pw_uid=uid, pw_gid=uid)
        for name, uid in {"root": 0, "ann": 1000, "ben": 1001}.items()
    }
    sshd.pwd = SimpleNamespace(getpwnam=accounts.__getitem__)
    sshd.group_names = lambda user: [f"{user}s", "users"]

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
def test_whether_a_way_in_is_left(sshd, home, user, values, reason):
    told = sshd._no_way(user, ["ALL"], having(**KEYS | values))
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
def test_where_a_key_is_looked_for(sshd, home, tmp_path, pattern, path):
    values = having(authorizedkeysfile=pattern.format(top=tmp_path))
    assert sshd._no_way("ann", ["ALL"], values)
    home(path)
    assert sshd._no_way("ann", ["ALL"], values) is None
    home(path, "# none\n\n")
    told = sshd._no_way("ann", ["ALL"], values)
    assert str(tmp_path / path) in told


def test_a_place_that_may_hold_a_key(sshd, home, tmp_path, monkeypatch):
    """root may not look into a home on NFS, which sshd can as the user."""
    path = str(home("ann/.ssh/authorized_keys"))

    def denied(*args):
        raise PermissionError

    assert sshd._holds_key(path)
    os.mkfifo(tmp_path / "pipe")
    assert not sshd._holds_key(str(tmp_path / "pipe"))
    assert not sshd._holds_key(f"{path}/below")
    monkeypatch.setattr(os, "open", denied)
    assert sshd._holds_key(path)


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
def test_a_list_counts_from_every_origin(sshd, home, origins, kept_out):
    home("ann/.ssh/authorized_keys")
    values = having(**KEYS, allowusers="ann@192.0.2.0/24")
    assert bool(sshd._no_way("ann", origins, values)) is kept_out


PEOPLE = {"root": ["ALL"], "ann": ["192.0.2.0/24"], "ben": ["192.0.2.1"]}


def locked_out(sshd, values, others=False):
    return list(sshd._locked_out(PEOPLE, ((user, values) for user in PEOPLE), others))


def test_nobody_has_a_way_in(sshd, home):
    (finding,) = locked_out(sshd, having(**KEYS, permitrootlogin="no"))
    assert finding.kind == "problems"
    for word in (
        "root (sshd has PermitRootLogin no)",
        "ann (no key in ",
        "ben (no key in ",
        "/ben/.ssh/authorized_keys",
    ):
        assert word in finding.found
    assert "slurm_pam:sshd:options" in finding.do
    # There may be somebody else, of whom this node is not told.
    (finding,) = locked_out(sshd, having(**KEYS), others=True)
    assert finding.kind == "warnings"


def test_some_have_none(sshd, home):
    home("ben/.ssh/authorized_keys")
    (finding,) = locked_out(sshd, having(**KEYS, permitrootlogin="prohibit-password"))
    assert finding.kind == "warnings"
    assert "root (no key in " in finding.found and "ann (no key in " in finding.found and "ben (" not in finding.found
    # That root is kept out has been said so.
    (finding,) = locked_out(sshd, having(**KEYS, permitrootlogin="no"))
    assert "root (" not in finding.found
    home("ann/.ssh/authorized_keys")
    assert locked_out(sshd, having(**KEYS, permitrootlogin="no")) == []


# Match lines


CONFIG = """\
KbdInteractiveAuthentication no
Include {top}/*.conf
Match Group lab
    PasswordAuthentication yes
    ChallengeResponseAuthentication yes # old name
Match User eve
    kbdinteractiveauthentication=no
    X11Forwarding no
"""
LAB = "Match Address 192.0.2.0/24\nKbdInteractiveAuthentication yes\n"


def test_settings_below_match_lines(sshd, tmp_path):
    main, lab = tmp_path / "sshd_config", tmp_path / "lab.conf"
    main.write_text(CONFIG.format(top=tmp_path))
    lab.write_text(LAB)
    conditional = list(sshd._conditional(str(main), {}))
    assert [(entry["file"], entry["line"], entry["match"], entry["keyword"]) for entry in conditional] == [
        (str(lab), 2, "Match Address 192.0.2.0/24", "kbdinteractiveauthentication"),
        (str(main), 4, "Match Group lab", "passwordauthentication"),
        (str(main), 5, "Match Group lab", "kbdinteractiveauthentication"),
        (str(main), 7, "Match User eve", "kbdinteractiveauthentication"),
        (str(main), 8, "Match User eve", "x11forwarding"),
    ]
    (finding,) = sshd._reopened(conditional)
    assert finding.kind == "warnings"
    assert f"{lab}:2 (Match Address 192.0.2.0/24), {main}:5 (Match Group lab)" in finding.found
    assert "eve" not in finding.found and "PasswordAuthentication" in finding.do
    # What is going to be written lies over it.
    (entry,) = sshd._conditional(str(main), {str(main): "Match User a\nUseDNS no\n"})
    assert (entry["file"], entry["match"], entry["keyword"]) == (str(main), "Match User a", "usedns")


def test_an_include_below_a_match_line(sshd, tmp_path):
    (tmp_path / "sshd_config").write_text(f"Match User eve\nInclude {tmp_path}/*.conf\n")
    (tmp_path / "eve.conf").write_text("KbdInteractiveAuthentication yes\n")
    (entry,) = sshd._conditional(str(tmp_path / "sshd_config"), {})
    assert (entry["file"], entry["match"]) == (f"{tmp_path}/eve.conf", "Match User eve")


def asked(sshd, lines):
    """For whom sshd is asked, with these lines below a Match."""
    connections = []

    def effective(config, connection, files):
        connections.append(connection)
        if "user=ben" in connection:
            raise CommandExecutionError("rdomain is missing")
        return {"asked": [connection]}

    sshd.__salt__["sshd_config.effective"] = effective
    conditional = [{"keyword": line} for line in lines]
    return dict(sshd._values_for_each(PEOPLE, SSHD, conditional, None, {})), connections


def test_sshd_is_asked_for_each_user_where_match_lines_make_a_difference(sshd):
    values, connections = asked(sshd, [])
    assert (values, connections) == (dict.fromkeys(PEOPLE, SSHD), [])
    assert asked(sshd, ["x11forwarding", "forcecommand"])[1] == []
    for keyword in ("passwordauthentication", "authorizedkeysfile", "allowgroups"):
        values, connections = asked(sshd, ["x11forwarding", keyword])
        assert [connection.split(",")[0] for connection in connections] == ["user=root", "user=ann", "user=ben"]
        assert "addr=192.0.2.1,laddr=" in connections[1]
        # A connection that sshd cannot be asked about is like any other.
        assert values["ben"] == SSHD and values["ann"] == {"asked": [connections[1]]}


# Origins by name


def access(root=("ALL",), groups=None, users=None, root_only=False):
    def entries(found):
        return {name: {"origins": origins} for name, origins in (found or {}).items()}

    return {"root": list(root), "root_only": root_only, "groups": entries(groups), "users": entries(users)}


@pytest.mark.parametrize(
    ("settings", "kind", "named"),
    [
        (access(groups={"g": ["ALL"]}, users={"u": ["node1", "192.0.2.1", "node1.example.org"]}), None, []),
        (access(groups={"g": [".a.org", "ALL"]}), "warnings", ["groups:g:origins has .a.org"]),
        (access(groups={"g": [".a.org"]}, users={"u": ["node1"]}), "warnings", ["groups:g:origins has .a.org"]),
        (access(groups={"g": [".a.org"]}, users={"u": [".b.org", ".c.org"]}), "problems", [".b.org, .c.org"]),
        (access(root=[".a.org"], groups={"g": ["ALL"]}), "warnings", ["slurm_pam:access:root has .a.org"]),
        (access(root=[".a.org"], root_only=True), "problems", ["slurm_pam:access:root has .a.org"]),
        (access(groups={"g": [".a.org"]}, root_only=True), "warnings", ["groups:g:origins has .a.org"]),
    ],
)
def test_a_domain_never_fits_without_usedns(sshd, settings, kind, named):
    found = list(sshd._domains(settings, SSHD))
    assert [finding.kind for finding in found] == ([kind] if kind else [])
    for finding in found:
        assert all(words in finding.found for words in named)
        assert "UseDNS is no" in finding.found and "slurm_pam:sshd:options:UseDNS: true" in finding.do
    assert list(sshd._domains(settings, having(usedns="yes"))) == []


def test_an_entry_that_is_taken_out_has_no_origins(sshd):
    settings = access(groups={"g": ["ALL"]})
    settings["users"]["u"] = None
    assert list(sshd._domains(settings, SSHD)) == []


# All together


@pytest.fixture
def whole(sshd, tmp_path, home):
    """sshd's configuration as a whole; returns the values that sshd is taken to tell."""
    (tmp_path / "sshd_config").write_text("")
    values, calls = having(**KEYS, permitrootlogin="without-password"), []

    def effective(config, connection, files):
        calls.append((connection, files))
        return values

    sshd.__salt__ |= {
        "sshd_config.plan": lambda options, config, drop_in, tag: {"/drop/in": f"{options}"},
        "sshd_config.check": lambda options, config, files: [],
        "sshd_config.find": lambda config: str(tmp_path / "sshd_config"),
        "sshd_config.effective": effective,
    }
    return values, calls


def findings(sshd, **changes):
    options = {"PasswordAuthentication": False, "Banner": None}
    manage = {"manage": True, "config": None, "drop_in": "/drop/in", "options": options, **changes}
    settings = {"sshd": manage, "access": access(groups={"g": ["ALL"]}), "pam": {"service": "sshd"}}
    return sshd.findings(settings, {"root": ["ALL"]})


def test_sshd_is_asked_once_about_what_is_going_to_be(sshd, home, whole):
    _, calls = whole
    home("root/.ssh/authorized_keys")
    assert findings(sshd) == []
    assert calls == [(None, {"/drop/in": "{'PasswordAuthentication': False}"})]
    calls.clear()
    assert findings(sshd, manage=False) == []
    assert calls == [(None, {})]


def test_without_a_key_root_is_locked_out(sshd, whole):
    (told,) = findings(sshd)
    assert told["kind"] == "problems" and told["found"].startswith("Neither root nor any administrator")
    # That no way is left for anybody says it all.
    whole[0]["pubkeyauthentication"] = ["no"]
    (told,) = findings(sshd)
    assert "of which no way is left" in told["found"]


def test_a_configuration_that_sshd_refuses(sshd, whole):
    def refuses(*args):
        raise CommandExecutionError("sshd refuses the configuration: bad")

    sshd.__salt__["sshd_config.effective"] = refuses
    (told,) = findings(sshd)
    assert told["found"] == "slurm_pam:sshd:options: sshd refuses the configuration: bad"
