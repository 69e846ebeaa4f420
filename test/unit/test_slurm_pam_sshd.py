"""What in sshd's configuration stands against closing a node: values, Match lines, origins, and who is left out."""

from types import SimpleNamespace

import pytest
from looks import given
from salt.exceptions import CommandExecutionError, SaltInvocationError

import _slurm_pam_accounts
import _slurm_pam_login
import sshd_config
from _slurm_pam_sshd import sshd

# A node on which root and the administrators can log in by their keys, and nothing is to be said.
SSHD = {"usepam": ["yes"], "pubkeyauthentication": ["yes"], "passwordauthentication": ["no"], "usedns": ["no"]}
SSHD |= {"kbdinteractiveauthentication": ["no"], "authenticationmethods": ["any"], "port": ["22"]}
SSHD |= {"authorizedkeysfile": [".ssh/authorized_keys .ssh/authorized_keys2"], "permitrootlogin": ["without-password"]}
ADMINS = {"ann": {"origins": ["192.0.2.0/24"]}, "ben": {"origins": ["192.0.2.1"]}, "gone": {"origins": ["ALL"]}}


class Node:
    """A node's users and their keys, and what its sshd says of the configuration."""

    def __init__(self, top):
        self.top, self.values, self.asked, self.checked = top, dict(SSHD), [], []
        self.config = top / "sshd_config"
        self.config.write_text("")
        self.users, self.groups = ["root", "ann", "ben"], {}
        for user in self.users:
            self.key(user)

    def key(self, user):
        path = self.top / user / ".ssh" / "authorized_keys"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ssh-ed25519 AAAA test\n")

    def without_keys(self, *users):
        for user in users:
            (self.top / user / ".ssh" / "authorized_keys").unlink()

    def having(self, **values):
        self.values.update({name: value if isinstance(value, list) else [value] for name, value in values.items()})

    def effective(self, config, connection, files):
        assert config == "/x/sshd_config"
        self.asked.append((connection, files))
        return self.values

    def getpwnam(self, name):
        if name not in self.users:
            raise KeyError(name)
        uid = self.users.index(name)
        return SimpleNamespace(pw_name=name, pw_dir=str(self.top / name), pw_uid=uid, pw_gid=uid)

    def getgrnam(self, name):
        return SimpleNamespace(gr_gid=99, gr_mem=self.groups[name])

    def findings(self, people=ADMINS, groups=None, access=None, **sections):
        access = {"users": people, "groups": groups or {}, **(access or {})}
        sections["sshd"] = {"config": "/x/sshd_config", **sections.get("sshd", {})}
        return list(sshd(*given(access=access, **sections)))


@pytest.fixture
def node(tmp_path, monkeypatch):
    node = Node(tmp_path)
    for module in (_slurm_pam_accounts, _slurm_pam_login):
        monkeypatch.setattr(module, "pwd", SimpleNamespace(getpwnam=node.getpwnam, getpwall=list))
    monkeypatch.setattr(_slurm_pam_accounts, "grp", SimpleNamespace(getgrnam=node.getgrnam))
    monkeypatch.setattr(_slurm_pam_accounts, "groups_of", lambda user: [user])
    monkeypatch.setattr(sshd_config, "find", lambda config: str(node.config))
    monkeypatch.setattr(sshd_config, "plan", lambda options, config, drop_in, tag: {drop_in: f"{tag} {options}"})
    monkeypatch.setattr(sshd_config, "check", lambda options, config, files: node.checked.append(files))
    monkeypatch.setattr(sshd_config, "effective", node.effective)
    return node


def test_nothing_stands_against_it(node):
    assert node.findings() == []


# What is asked of sshd


OPTIONS = {"options": {"UsePAM": True, "Banner": None}, "drop_in": "/drop/in"}
PLANNED = {"/drop/in": "slurm_pam {'UsePAM': True}"}


def test_sshd_is_asked_once_about_what_is_going_to_be(node, monkeypatch):
    options = dict.fromkeys(("PermitRootLogin", "PubkeyAuthentication", "KbdInteractiveAuthentication"))
    wanted = {**OPTIONS, "options": {**OPTIONS["options"], **options, "PasswordAuthentication": None}}
    assert node.findings(sshd=wanted) == []
    assert (node.asked, node.checked) == ([(None, PLANNED)], [PLANNED])
    # What is in force already has been accepted already.
    monkeypatch.setattr(sshd_config, "plan", lambda options, config, drop_in, tag: {})
    assert node.findings(sshd=wanted) == []
    assert (node.asked[1:], node.checked[1:]) == ([(None, {})], [])


def test_an_sshd_that_is_left_alone_is_asked_about_what_is(node):
    assert node.findings(sshd={**OPTIONS, "manage": False}) == []
    assert (node.asked, node.checked) == ([(None, {})], [])


@pytest.mark.parametrize("function", ["plan", "check", "effective", "find"])
@pytest.mark.parametrize("kind", [CommandExecutionError, SaltInvocationError])
def test_a_configuration_that_sshd_refuses(node, monkeypatch, function, kind):
    def refuses(*args, **how):
        raise kind("sshd refuses the configuration: bad")

    monkeypatch.setattr(sshd_config, function, refuses)
    (finding,) = node.findings()
    assert finding.found == "slurm_pam:sshd:options: sshd refuses the configuration: bad"
    assert finding.kind == "problems"


# For everybody


BOTH = {"authenticationmethods": "publickey,keyboard-interactive"}


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ({"usepam": "no"}, "problems", "UsePAM is no"),
        ({"usepam": []}, "problems", "UsePAM is not known to this sshd"),
        ({"pamservicename": "ssh-compute"}, "problems", "PAMServiceName is ssh-compute"),
        ({"pubkeyauthentication": "no"}, "problems", "AuthenticationMethods is any, of which no way"),
        ({"authenticationmethods": "keyboard-interactive"}, "problems", "of which no way is left"),
        ({"authenticationmethods": "password publickey,keyboard-interactive:pam"}, "problems", "no way is left"),
        ({"kbdinteractiveauthentication": "yes"}, "warnings", "lets people in by keyboard-interactive"),
        (
            {**BOTH, "kbdinteractiveauthentication": "yes", "permitrootlogin": "yes"},
            "warnings",
            "lets everybody in by keyboard-interactive",
        ),
    ],
)
def test_values_that_stand_against_it(node, values, kind, found):
    node.having(**values)
    node.values = {name: value for name, value in node.values.items() if value}
    (finding,) = node.findings()
    assert (finding.kind, found in finding.found) == (kind, True), finding


@pytest.mark.parametrize(
    "values",
    [
        {"pamservicename": "sshd"},
        {"authenticationmethods": "publickey"},
        {"authenticationmethods": "publickey keyboard-interactive"},
        {"authenticationmethods": "gssapi-with-mic", "gssapiauthentication": "yes"},
    ],
)
def test_values_that_are_fine(node, values):
    node.having(**values)
    assert node.findings() == []


def test_the_service_that_sshd_asks_is_the_one_that_is_closed(node):
    node.having(pamservicename="ssh-compute")
    assert node.findings(pam={"service": "ssh-compute"}) == []
    (finding,) = node.findings()
    assert finding.why == "sshd does not read /etc/pam.d/sshd"


# Who would be locked out


def test_nobody_has_a_way_in(node):
    node.without_keys("root", "ann", "ben")
    (finding,) = node.findings()
    assert finding.kind == "problems" and finding.found.startswith("Neither root nor any administrator")
    for word in ("root (no key in ", "ann (no key in ", "ben (no key in ", "/ben/.ssh/authorized_keys"):
        assert word in finding.found
    assert "gone" not in finding.found and "slurm_pam:sshd:options" in finding.do
    # That no way is left for anybody says it all.
    node.having(pubkeyauthentication="no")
    (finding,) = node.findings()
    assert "of which no way is left" in finding.found


@pytest.mark.parametrize("count", [0, 21])
def test_there_may_be_somebody_of_whom_this_node_is_not_told(node, count):
    """A directory service need not list a group's members, and of many not all are looked at."""
    node.without_keys("root", "ann", "ben")
    node.groups["ldap"] = [f"user{number}" for number in range(count)]
    node.users += node.groups["ldap"]
    (finding,) = node.findings(groups={"ldap": {"origins": ["ALL"], "local": False}})
    assert (finding.kind, "user20 (" in finding.found) == ("warnings", False)


def test_some_have_no_way_in(node):
    node.without_keys("root", "ann")
    (finding,) = node.findings()
    assert finding.kind == "warnings"
    assert "root (no key in " in finding.found and "ann (no key in " in finding.found and "ben (" not in finding.found
    # That root is kept out has been said so.
    node.having(permitrootlogin="no")
    (finding,) = node.findings()
    assert "root (" not in finding.found and "ann (" in finding.found
    node.key("ann")
    assert node.findings() == []


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
LAB = "Match Address 192.0.2.0/24\nKbdInteractiveAuthentication Yes\n"


def test_keyboard_interactive_below_match_lines(node):
    lab = node.top / "lab.conf"
    node.config.write_text(CONFIG.format(top=node.top))
    lab.write_text(LAB)
    (finding,) = node.findings()
    assert finding.kind == "warnings"
    assert finding.found.endswith(
        f"for some logins: {lab}:2 (Match Address 192.0.2.0/24), {node.config}:5 (Match Group lab)"
    )
    assert "PasswordAuthentication" in finding.do


def test_what_is_going_to_be_written_lies_over_the_configuration(node, monkeypatch):
    node.config.write_text(LAB)
    (finding,) = node.findings()
    assert f"{node.config}:2 (Match Address 192.0.2.0/24)" in finding.found
    monkeypatch.setattr(sshd_config, "plan", lambda *_, **how: {str(node.config): "Match User a\nUseDNS no\n"})
    assert node.findings() == []


def test_an_include_below_a_match_line(node):
    node.config.write_text(f"Match User eve\nInclude {node.top}/*.conf\n")
    (node.top / "eve.conf").write_text("KbdInteractiveAuthentication yes\n")
    (finding,) = node.findings()
    assert f"{node.top}/eve.conf:1 (Match User eve)" in finding.found


@pytest.mark.parametrize("keyword", ["PasswordAuthentication yes", "AuthorizedKeysFile none", "AllowGroups users"])
def test_sshd_is_asked_for_each_user_if_match_lines_make_a_difference(node, monkeypatch, keyword):
    """A connection that sshd cannot be asked about is like any other."""

    def effective(config, connection, files):
        node.asked.append((connection, files))
        if connection and "user=ben" in connection:
            raise CommandExecutionError("rdomain is missing")
        return {**SSHD, "authorizedkeysfile": ["none"]} if connection else SSHD

    monkeypatch.setattr(sshd_config, "effective", effective)
    node.config.write_text(f"Match User ann\nX11Forwarding no\n{keyword}\n")
    (finding,) = node.findings()
    connections = [connection for connection, _ in node.asked[1:]]
    assert [connection.split(",")[0] for connection in connections] == ["user=root", "user=ann", "user=ben"]
    assert "addr=192.0.2.1,laddr=" in connections[1]
    assert "root (no key in " in finding.found and "ann (no key in " in finding.found and "ben (" not in finding.found


def test_sshd_is_not_asked_again_if_match_lines_make_none(node):
    node.config.write_text("Match User ann\nX11Forwarding no\nForceCommand /bin/true\n")
    assert node.findings() == []
    assert len(node.asked) == 1


# Origins by name


def users(*origins):
    return {user: {"origins": each} for user, each in zip(("ann", "ben"), origins)}


@pytest.mark.parametrize(
    ("people", "access", "kind", "named"),
    [
        (users(["ALL"], ["node1", "192.0.2.1", "node1.example.org"]), {}, None, []),
        (users([".a.org", "ALL"]), {}, "warnings", ["users:ann:origins has .a.org"]),
        (users([".a.org"], ["node1"]), {}, "warnings", ["users:ann:origins has .a.org"]),
        (users([".a.org"], [".b.org", ".c.org"]), {}, "problems", ["ann:origins has .a.org", ".b.org, .c.org"]),
        (users(["ALL"]), {"root": [".a.org"]}, "warnings", ["slurm_pam:access:root has .a.org"]),
        ({}, {"root": [".a.org"], "root_only": True}, "problems", ["slurm_pam:access:root has .a.org"]),
        (users([".a.org"]), {"root_only": True}, "warnings", ["users:ann:origins has .a.org"]),
        ({"ann": None}, {"root_only": True}, None, []),
    ],
)
def test_a_domain_never_fits_without_usedns(node, people, access, kind, named):
    found = node.findings(people, access=access)
    assert [finding.kind for finding in found] == ([kind] if kind else [])
    for finding in found:
        assert all(words in finding.found for words in named)
        assert "UseDNS is no" in finding.found and "slurm_pam:sshd:options:UseDNS: true" in finding.do
    node.having(usedns="yes")
    assert node.findings(people, access=access) == []


def test_a_domain_of_a_group(node):
    node.groups["g"] = ["ann"]
    (finding,) = node.findings({}, {"g": {"origins": [".a.org"]}})
    assert (finding.kind, "slurm_pam:access:groups:g:origins has .a.org" in finding.found) == ("problems", True)
