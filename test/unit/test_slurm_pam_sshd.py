"""What in sshd's configuration stands against closing a node: values, Match lines, origins, and who is left out."""

from types import SimpleNamespace

import pytest
from looks import given
from salt.exceptions import CommandExecutionError, SaltInvocationError

import _file
import _slurm_pam_access
import _slurm_pam_accounts
import _slurm_pam_daemons
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
        self.matched, self.beaten = [], []
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

    def match(self, words, file="/x/sshd_config", line=1, **values):
        """A kind of connection with values of its own."""
        values = {**self.values, **{name: [value] for name, value in values.items()}}
        self.matched.append({"match": f"Match {words}", "file": file, "line": line, "values": values})

    def connections(self, config, files):
        assert config == "/x/sshd_config"
        self.asked.append((None, files))
        return [{"match": None, "file": None, "line": None, "values": self.values}, *self.matched]

    def check(self, options, config, files):
        self.checked.append(files)
        return self.beaten

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
    # These users are nobody's here.
    monkeypatch.setattr(_file, "read_as", lambda account, path: _file.read(path))
    monkeypatch.setattr(_slurm_pam_accounts, "grp", SimpleNamespace(getgrnam=node.getgrnam))
    monkeypatch.setattr(_slurm_pam_accounts, "groups_of", lambda user: [user])
    monkeypatch.setattr(_slurm_pam_accounts, "_services", lambda database: {"files"})
    monkeypatch.setattr(sshd_config, "find", lambda config: str(node.config))
    monkeypatch.setattr(sshd_config, "plan", lambda options, config, drop_in, tag: {drop_in: f"{tag} {options}"})
    monkeypatch.setattr(sshd_config, "check", node.check)
    monkeypatch.setattr(sshd_config, "connections", node.connections)
    monkeypatch.setattr(sshd_config, "effective", lambda config, connection, files: node.values)
    monkeypatch.setattr(_slurm_pam_daemons, "departing", lambda settings: [])
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


@pytest.mark.parametrize("function", ["plan", "check", "connections", "read"])
@pytest.mark.parametrize("kind", [CommandExecutionError, SaltInvocationError])
def test_a_configuration_that_sshd_refuses(node, monkeypatch, function, kind):
    def refuses(*args, **how):
        raise kind("sshd refuses the configuration: bad")

    monkeypatch.setattr(sshd_config, function, refuses)
    (finding,) = node.findings()
    assert finding.found == "slurm_pam:sshd:options: sshd refuses the configuration: bad"
    assert finding.kind == "problems"


def test_options_that_would_not_count(node):
    node.beaten = [{"option": "PerSourcePenalties", "wanted": "no", "found": "authfail:3", "by": "/x/sshd_config:7"}]
    (finding,) = node.findings()
    told = "PerSourcePenalties would be authfail:3, not no: /x/sshd_config:7"
    assert (finding.kind, finding.found.endswith(told)) == ("problems", True)


# For everybody


BOTH = {"authenticationmethods": "publickey,keyboard-interactive"}


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ({"usepam": "no"}, "problems", "UsePAM is no"),
        ({"usepam": []}, "problems", "UsePAM is not known to this sshd"),
        ({"pamservicename": "ssh-compute"}, "problems", "PAMServiceName is ssh-compute"),
        ({"pubkeyauthentication": "no"}, "problems", "AuthenticationMethods is any, and none of it"),
        ({"authenticationmethods": "keyboard-interactive"}, "problems", "and none of it works"),
        ({"authenticationmethods": "password publickey,keyboard-interactive:pam"}, "problems", "none of it works"),
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
    assert finding.why.startswith("sshd does not read /etc/pam.d/sshd there")


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
    assert "and none of it works" in finding.found


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


def test_keyboard_interactive_below_match_lines(node):
    node.match("Address 192.0.2.0/24", "/x/lab.conf", 1, kbdinteractiveauthentication="yes")
    node.match("User eve", line=3)
    node.match("Group lab", line=5, kbdinteractiveauthentication="yes")
    (finding,) = node.findings()
    assert finding.kind == "warnings"
    assert finding.found.endswith(
        "for some logins: Match Address 192.0.2.0/24 (/x/lab.conf:1), Match Group lab (/x/sshd_config:5)"
    )
    assert "PasswordAuthentication" in finding.do


BELOW_MATCH = {
    "PAMServiceName is other for Match User eve (/x/sshd_config:3), and": ("problems", {"pamservicename": "other"}),
    "leaves no way to log in for Match User eve (/x/sshd_config:3)": ("warnings", {"pubkeyauthentication": "no"}),
    "no way to log in for Match User eve": ("warnings", {"authenticationmethods": "publickey,password"}),
    "RefuseConnection is yes for Match User eve (/x/sshd_config:3)": ("warnings", {"refuseconnection": "yes"}),
}


@pytest.mark.parametrize("told", BELOW_MATCH)
def test_what_counts_for_some_logins_only(node, told):
    kind, values = BELOW_MATCH[told]
    node.match("User bob", line=1)
    node.match("User eve", line=3, **values)
    (finding,) = node.findings()
    assert (finding.kind, told in finding.found) == (kind, True), finding


LISTS = {
    "AllowGroups wheel": True,
    "AllowUsers alice bob@192.0.2.1": True,
    "AllowUsers *": False,
    "AllowGroups users *": False,
    "DenyUsers guest": True,
    "DenyUsers root": False,
    "DenyGroups nossh": True,
    "Match User eve\nAllowGroups wheel": True,
}


@pytest.mark.parametrize("text", LISTS)
def test_lists_that_keep_users_with_a_job_out(node, text):
    """Whatever root and the administrators may, which is looked at besides."""
    node.config.write_text(f"UseDNS no\n{text}\n")
    line = len(text.splitlines()) + 1
    told = f"{text.splitlines()[-1]} ({node.config}:{line})"
    assert [(finding.kind, told in finding.found) for finding in node.findings()] == [("warnings", True)] * LISTS[text]


CROWDING = {
    "persourcepenalties": ("crash:90 authfail:5 max:600 min:15 overflow:permissive", "is crash:90 authfail:5"),
    "maxstartups": ("10:30:100", "MaxStartups is 10:30:100"),
    "persourcemaxstartups": ("20", "PerSourceMaxStartups is 20"),
}


@pytest.mark.parametrize("keyword", CROWDING)
def test_what_one_user_can_use_up(node, keyword):
    """Whether sshd is managed or not."""
    value, told = CROWDING[keyword]
    node.having(**{keyword: value})
    for manage in (True, False):
        (finding,) = node.findings(sshd={"manage": manage})
        assert (finding.kind, finding.found.endswith(told)) == ("warnings", True)
    node.having(persourcepenalties="no", maxstartups="1000:30:2000", persourcemaxstartups="none")
    assert node.findings() == []


def test_a_drop_in_that_sshd_does_not_read(node):
    node.config.write_text("Include /x/conf.d/*.conf\n")
    (finding,) = node.findings(sshd={"drop_in": "/x/conf.d/slurm"})
    assert finding.kind == "warnings"
    assert finding.found == "sshd does not read /x/conf.d/slurm; what it includes is /x/conf.d/*.conf"
    assert node.findings(sshd={"drop_in": "/x/conf.d/slurm.conf"}) == []
    assert node.findings(sshd={"drop_in": "/x/conf.d/slurm", "manage": False}) == []
    node.config.write_text("UseDNS no\n")
    assert node.findings(sshd={"drop_in": "/x/conf.d/slurm"}) == []


@pytest.mark.parametrize("keyword", ["PasswordAuthentication yes", "AuthorizedKeysFile none", "DenyUsers root"])
def test_sshd_is_asked_for_each_user_if_match_lines_make_a_difference(node, monkeypatch, keyword):
    def effective(config, connection, files):
        node.asked.append((connection, files))
        return {**SSHD, "authorizedkeysfile": ["none"]} if connection else SSHD

    monkeypatch.setattr(sshd_config, "effective", effective)
    node.config.write_text(f"Match User ann\nX11Forwarding no\n{keyword}\n")
    (finding,) = node.findings()
    connections = [connection for connection, _ in node.asked[1:]]
    assert [connection.split(",")[0] for connection in connections] == ["user=root", "user=ann", "user=ben"]
    assert "addr=192.0.2.1,laddr=" in connections[1]
    assert all(f"{user} (no key in " in finding.found for user in ("root", "ann", "ben"))


NO_KEY = {"authorizedkeysfile": ["none"]}
UNASKED = {
    # What sshd says for each, None where it does not: kinds of findings, and who is named in them.
    "one": ({"root": {}, "ann": {}, "ben": None}, [("warnings", "over SSH for ben (sshd could not be asked: no")]),
    "all": ({"root": None, "ann": None, "ben": None}, [("warnings", "over SSH for root (sshd could not be asked: no")]),
    "one, and the others are kept out": (
        {"root": NO_KEY, "ann": NO_KEY, "ben": None},
        [("problems", "ben (sshd could not be asked: no rdomain)")],
    ),
    "one, and one is kept out": (
        {"root": {}, "ann": NO_KEY, "ben": None},
        [("warnings", "is left to ann (no key in "), ("warnings", "over SSH for ben (sshd could not be asked: no")],
    ),
}


@pytest.mark.parametrize("case", UNASKED)
def test_an_administrator_for_whom_sshd_cannot_be_asked(node, monkeypatch, case):
    said, told = UNASKED[case]

    def effective(config, connection, files):
        values = said[connection.split(",")[0].removeprefix("user=")]
        if values is None:
            raise CommandExecutionError("no rdomain")
        return {**SSHD, **values}

    monkeypatch.setattr(sshd_config, "effective", effective)
    node.config.write_text("Match User ann\nPasswordAuthentication no\n")
    found = node.findings()
    assert [finding.kind for finding in found] == [kind for kind, _ in told]
    for finding, (_, words) in zip(found, told):
        assert words in finding.found


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
def test_a_domain_never_fits_without_usedns(node, monkeypatch, people, access, kind, named):
    monkeypatch.setattr(_slurm_pam_access, "release", _slurm_pam_access.Release)
    found = node.findings(people, access=access)
    assert [finding.kind for finding in found] == ([kind] if kind else [])
    for finding in found:
        assert all(words in finding.found for words in named)
        assert "UseDNS is no" in finding.found and "slurm_pam:sshd:options:UseDNS: true" in finding.do
    node.having(usedns="yes")
    assert node.findings(people, access=access) == []


@pytest.mark.parametrize(
    ("people", "kind", "named"),
    [
        (users(["192.0.2.1"], ["::1"]), None, []),
        (users(["node1", "ALL"]), "warnings", ["users:ann:origins has node1,"]),
        (users([".a.org", "node1"], ["node1.example.org"]), "problems", ["has .a.org, node1;", "node1.example.org"]),
    ],
)
def test_a_host_never_fits_where_pam_access_does_not_look_it_up(node, monkeypatch, people, kind, named):
    """Up to 1.5.2, unless a distribution has mended it."""
    monkeypatch.setattr(_slurm_pam_access, "release", lambda: _slurm_pam_access.Release(resolves=False))
    found = node.findings(people)
    assert [finding.kind for finding in found] == ([kind] if kind else [])
    for finding in found:
        assert all(words in finding.found for words in named) and "pam_access" in finding.why
    node.having(usedns="yes")
    assert node.findings(people) == []


def test_a_domain_of_a_group(node):
    node.groups["g"] = ["ann"]
    (finding,) = node.findings({}, {"g": {"origins": [".a.org"]}})
    assert (finding.kind, "slurm_pam:access:groups:g:origins has .a.org" in finding.found) == ("problems", True)


# What only a login shows


@pytest.mark.parametrize(
    ("options", "confirm", "named"),
    [
        ({"Banner": "none"}, 0, None),
        ({"Ciphers": "aes256-ctr"}, 0, "Ciphers"),
        ({"listenAddress": "192.0.2.10", "UsePAM": True, "PORT": 2222}, 0, "listenAddress, PORT"),
        ({"ForceCommand": "/opt/site/record"}, 0, "ForceCommand"),
        ({"PubkeyAcceptedAlgorithms": "ssh-ed25519"}, 0, "PubkeyAcceptedAlgorithms"),
        # With confirm the node finds out for itself.
        ({"Ciphers": "aes256-ctr"}, 300, None),
    ],
)
def test_options_of_which_only_a_login_shows_whom_they_leave_in(node, monkeypatch, options, confirm, named):
    how = {"sshd": {"options": options}, "confirm": confirm}
    found = node.findings(**how)
    assert [finding.found for finding in found] == ([f"slurm_pam:sshd:options has {named}"] if named else [])
    assert all(finding.kind == "warnings" and "slurm_pam:confirm" in finding.do for finding in found)
    # In force already.
    monkeypatch.setattr(sshd_config, "plan", lambda options, config, drop_in, tag: {})
    assert node.findings(**how) == []


@pytest.mark.parametrize(
    "values", [{"forcecommand": "/bin/false"}, {"maxsessions": "0"}, {"listenaddress": ["127.0.0.1:22", "[::1]:22"]}]
)
def test_logins_that_come_to_nothing_leave_nobody_in(node, values):
    node.having(**values)
    (finding,) = node.findings()
    assert finding.kind == "problems" and finding.found.startswith("Neither root nor any administrator")


@pytest.mark.parametrize("keyword", ["forcecommand", "maxsessions"])
def test_what_a_match_line_makes_of_a_login(node, monkeypatch, keyword):
    node.config.write_text(f"Match User ann\n{keyword} 0\n")
    useless = {"forcecommand": "false", "maxsessions": "0"}[keyword]

    def effective(config, connection, files):
        return {**node.values, **({keyword: [useless]} if "user=ann," in connection else {})}

    monkeypatch.setattr(sshd_config, "effective", effective)
    (finding,) = node.findings()
    assert finding.kind == "warnings"
    assert finding.found.startswith("No way to log in over SSH is left to ann (sshd has ")
