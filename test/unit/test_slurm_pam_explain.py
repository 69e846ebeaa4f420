"""Why a user gets in, or does not, and the line that decides; which is the one that a proof names."""

import ipaddress
import socket
from types import SimpleNamespace

import pytest
from looks import settings
from salt.exceptions import CommandExecutionError, SaltInvocationError

import _pam_ask
import _pam_grammar
import _pam_libpam
import _pam_prove
import _slurm_pam_access
import _slurm_pam_accounts
import _slurm_pam_daemons
import _slurm_pam_explain
import _slurm_pam_jobs
import _slurm_pam_node
import _slurm_pam_wanted
import sshd_config
from _slurm_pam_ask import Unanswered
from _slurm_pam_daemons import Daemon

UIDS = {"root": 0, "admin": 1, "alice": 1000, "bob": 1001, "old": 1002, "former": 1003}
SSHD = {"usepam": ["yes"], "usedns": ["no"], "port": ["22"]}
ACCESS = "+ : root : 192.0.2.0/24\n+ : admin former : 192.0.2.0/24\n- : ALL : ALL\n"


class Node:
    """A node with jobs and administrators; the accounts of those who are called old and former have expired."""

    def __init__(self, top):
        self.top, self.asked = top, []
        own = {"extern": True, "node": "node"}
        self.jobs = [{"job": job, "user": user, **own} for job, user in ((7, "alice"), (8, "old"), (6, "former"))]
        self.values, self.silent, self.said, self.daemons = SSHD, 0, {}, []
        self.names = {}
        (top / "access.conf").write_text(ACCESS)

    def addresses(self, host):
        if host == "login.test":
            raise CommandExecutionError("This node's resolver does not answer for login.test")
        return [ipaddress.ip_address(host)] if host[0].isdigit() else []

    def effective(self, config, connection=None, program=None, options=()):
        self.asked.append(connection)
        return {**self.values, "usepam": ["no"]} if "UsePAM=no" in options else self.values

    def by_host(self, host):
        """What scontrol says of slurm.conf."""
        if isinstance(self.names, Exception):
            raise self.names
        return self.names.get(host)

    def stack(self, *rules, **sections):
        """sshd's account stack; OURS, ROOT and SLURM stand for rules as the formula writes them."""
        self.settings = settings(**{"access": {"file": str(self.top / "access.conf")}, **sections})
        ours = f"pam_access.so nodefgroup accessfile={self.top}/access.conf"
        named = {"OURS": ours, "ROOT": "pam_succeed_if.so quiet uid != 0", "SLURM": f"{self.settings['module']}.so"}
        text = "".join(f"account {rule}\n" for rule in rules)
        for word, rule in named.items():
            text = text.replace(word, rule)
        (self.top / "sshd").write_text(text)

    def modules(self, rules, service, user, rhost, mounting):
        """What the child says; test/libpam has what the real modules say."""
        file, nobody = f"{self.top}/access.conf", lambda group: False
        access = _slurm_pam_access.rule_for(file, user, nobody, rhost or "LOCAL", not rhost)
        codes = {
            "pam_access.so": "success" if access.startswith("+") else "perm_denied",
            "pam_deny.so": "auth_err",
            "pam_succeed_if.so": "auth_err" if user == "root" else "success",
            "pam_unix.so": "acct_expired" if user in ("old", "former") else "success",
        }
        modules = [_pam_grammar.words(rule)[0] for rule in rules]
        return [self.said.get(module, _pam_ask.Said(codes.get(module, "success"))) for module in modules]

    def explain(self, user, origin="192.0.2.1"):
        return _slurm_pam_explain.login(user, origin, self.settings)

    def line(self, user, **how):
        """Whether the user gets in, and the number of the line that decides."""
        told = self.explain(user, **how)
        return told["permitted"], told["decided_by"] and told["decided_by"]["line"]


@pytest.fixture
def node(tmp_path, monkeypatch):
    node = Node(tmp_path)
    libpam = {"version": "1.5.2", "debian": False, "confdirs": [str(tmp_path)], "module_dirs": []}
    getpwnam = {name: SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=uid) for name, uid in UIDS.items()}.__getitem__
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: libpam)
    pwd = SimpleNamespace(getpwnam=getpwnam)
    monkeypatch.setattr(_slurm_pam_accounts, "pwd", pwd)
    monkeypatch.setattr(_slurm_pam_accounts, "_services", lambda database: {"files", "sss"})
    monkeypatch.setattr(_slurm_pam_accounts, "_status", lambda *asked: node.silent)
    monkeypatch.setattr(_slurm_pam_accounts, "groups_of", lambda user: ["users"])
    monkeypatch.setattr(_slurm_pam_accounts, "addresses", node.addresses)
    monkeypatch.setattr(_slurm_pam_access, "release", _slurm_pam_access.Release)
    monkeypatch.setattr(_slurm_pam_jobs, "jobs", lambda: node.jobs)
    monkeypatch.setattr(socket, "gethostname", lambda: "node.example.org")
    monkeypatch.setattr(_slurm_pam_node, "_by_host", node.by_host)
    monkeypatch.setattr(_pam_ask, "_asked", node.modules)
    monkeypatch.setattr(sshd_config, "effective", node.effective)
    usual = Daemon("sshd", None, "/usr/sbin/sshd", "sshd", None, ())
    monkeypatch.setattr(_slurm_pam_daemons, "listening", lambda settings: [usual, *node.daemons])
    node.stack(*CLOSED)
    return node


@pytest.mark.parametrize("given", [(4711,), (False,), (None,), ("alice", 10), ("alice", 10.1), ("alice", "::1", 1)])
def test_a_name_that_a_command_line_makes_something_else_of(node, given):
    with pytest.raises(SaltInvocationError, match=r"is not a text\. On a command line, quote it twice"):
        _slurm_pam_explain.login(*given[:1], *(given[1:2] or ["192.0.2.1"]), node.settings, *given[2:])


def test_nobody_comes_to_sshd_from_the_machine_itself(node):
    told = node.explain("admin", "LOCAL")
    assert (told["permitted"], told["why"]) == (False, "this node knows no host LOCAL")


CLOSED = ("[success=2 default=ignore] OURS", "requisite ROOT", "required SLURM", "required pam_unix.so")
OUTSIDE = "198.51.100.1"


def test_what_is_told(node):
    told = node.explain("alice")
    assert told == {
        "user": "alice",
        "origin": "192.0.2.1",
        "permitted": True,
        "why": f"{node.top}/sshd:3 (account required pam_slurm_adopt.so) answers success. It grants, which changes "
        "nothing: success stands.",
        "access": "- : ALL : ALL",
        "jobs": [7],
        "decided_by": {"file": f"{node.top}/sshd", "line": 3, "rule": "account required pam_slurm_adopt.so"},
        "trace": told["trace"],
    }
    assert [(step["line"], step["answer"]) for step in told["trace"]] == [
        (1, "perm_denied"),
        (2, "success"),
        (3, "success"),
        (4, "success"),
    ]


@pytest.mark.parametrize(
    ("user", "origin", "permitted", "line", "access"),
    [
        ("root", "192.0.2.1", True, 1, "+ : root : 192.0.2.0/24"),
        ("root", OUTSIDE, False, 2, "- : ALL : ALL"),
        ("admin", "192.0.2.1", True, 1, "+ : admin former : 192.0.2.0/24"),
        ("admin", OUTSIDE, False, 3, "- : ALL : ALL"),
        ("alice", "192.0.2.1", True, 3, "- : ALL : ALL"),
        ("alice", OUTSIDE, True, 3, "- : ALL : ALL"),
        ("bob", "192.0.2.1", False, 3, "- : ALL : ALL"),
        ("old", "192.0.2.1", False, 4, "- : ALL : ALL"),
    ],
)
def test_who_gets_in_and_by_which_line(node, user, origin, permitted, line, access):
    told = node.explain(user, origin)
    assert (told["permitted"], told["decided_by"]["line"], told["access"]) == (permitted, line, access)


def test_a_user_that_this_node_does_not_know(node):
    told = node.explain("nobody-here")
    assert (told["permitted"], told["why"]) == (False, "this node knows no user nobody-here")
    assert (told["decided_by"], told["trace"]) == (None, [])


def test_sshd_comes_first(node):
    node.values = {**SSHD, "denyusers": ["al*"]}
    told = node.explain("alice")
    assert (told["permitted"], told["why"], told["jobs"]) == (False, "sshd has denyusers al*", [7])
    assert node.asked[0] is None and node.asked[1].startswith("user=alice,host=192.0.2.1,addr=192.0.2.1,laddr=")


def test_a_job_without_an_extern_step_counts_to_the_older_module_only(node):
    node.jobs.append({"job": 9, "user": "alice", "extern": False, "node": "node"})
    assert node.explain("alice")["jobs"] == [7]
    del node.jobs[0]
    told = node.explain("alice")
    assert (told["permitted"], told["jobs"]) == (False, [])
    assert told["why"].endswith("Job 9 has no extern step, so pam_slurm_adopt does not see it.")
    node.stack(*CLOSED, module="pam_slurm")
    told = node.explain("alice")
    assert (told["permitted"], told["jobs"]) == (True, [9])
    assert "extern step" not in told["why"]


SILENT = {"job": 9, "user": None, "extern": True, "node": "node"}


@pytest.mark.parametrize(
    ("user", "permitted"), [("root", True), ("admin", True), ("alice", True), ("bob", None), ("old", False)]
)
def test_a_job_whose_owner_could_not_be_asked_may_be_anybodys(node, user, permitted):
    node.jobs.append(SILENT)
    told = node.explain(user)
    assert told["permitted"] is permitted
    assert ("This is not known. The step daemons of these jobs do not say" in told["why"]) is (permitted is None)
    assert permitted is not None or "do not say whose they are: 9. If none of them is of bob: " in told["why"]


@pytest.mark.parametrize(("user", "permitted"), [("admin", True), ("alice", None), ("old", None)])
def test_jobs_that_could_not_be_asked_for(node, monkeypatch, user, permitted):
    def fails():
        raise Unanswered("/proc/net/unix: Permission denied")

    monkeypatch.setattr(_slurm_pam_jobs, "jobs", fails)
    told = node.explain(user)
    assert (told["permitted"], told["jobs"]) == (permitted, [])
    assert ("did not say which jobs run here: /proc/net/unix: Permission denied." in told["why"]) is (permitted is None)


def test_what_others_refuse_is_known_without_slurm(node):
    node.jobs.append(SILENT)
    node.values = {**SSHD, "denyusers": ["bob"]}
    assert node.explain("bob")["permitted"] is False
    node.values = SSHD
    node.stack("requisite pam_deny.so", *CLOSED)
    assert node.line("bob") == (False, 1)


def test_several_jobs_that_slurm_cannot_tell_apart(node):
    node.stack("required SLURM action_unknown=deny")
    assert node.explain("alice")["permitted"]
    node.jobs.append({"job": 9, "user": "alice", "extern": True, "node": "node"})
    told = node.explain("alice")
    assert (told["permitted"], told["jobs"]) == (False, [7, 9])
    assert "cannot tell to which of them the login belongs" in told["why"]
    # To root they do not matter.
    node.jobs += [{**job, "user": "root"} for job in node.jobs]
    assert "cannot tell" not in node.explain("root")["why"]


def test_what_was_not_asked_is_named(node):
    node.stack("required pam_x.so", "required SLURM", "required /opt/pam_b.so", "required pam_unix.so")
    why = "was not asked: whether asking it changes anything is not known (taken to succeed)."
    assert node.explain("alice")["why"].endswith(f" /opt/pam_b.so {why} pam_x.so {why}")
    # bob does not get that far.
    node.stack("requisite SLURM", "required pam_x.so")
    assert "taken to succeed" not in node.explain("bob")["why"]


def test_what_could_not_be_asked_is_named(node):
    node.stack("required pam_faillock.so", "required SLURM", "required pam_time.so")
    node.said = {"pam_time.so": _pam_ask.Said(None, "no answer within 5 seconds")}
    told = node.explain("alice")
    assert told["permitted"] is True
    assert told["why"].endswith(
        " pam_faillock.so was not asked: it sets the count of failures back (taken to succeed)."
        " pam_time.so could not be asked: no answer within 5 seconds (taken to succeed)."
    )


def test_nobody_is_an_administrator_because_a_question_failed(node):
    node.said = {"pam_access.so": _pam_ask.Said(None, "it ended the process that asked it, by signal 11")}
    assert node.line("bob") == (False, 3)
    assert node.line("admin") == (True, 1)
    why = node.explain("bob")["why"]
    told = "pam_access.so could not be asked: it ended the process that asked it, by signal 11 (its file tells)."
    assert why.endswith(told)


def test_a_service_that_cannot_be_started(node):
    (node.top / "sshd").write_text("account required \\")
    told = node.explain("alice")
    assert told["permitted"] is False
    assert told["why"].startswith("sshd cannot be started: ")
    assert told["decided_by"] == {"file": f"{node.top}/sshd", "line": 1, "rule": None}


def test_a_stack_in_which_nothing_is_asked(node):
    (node.top / "sshd").write_text("auth required pam_unix.so\n")
    (node.top / "other").write_text("auth required pam_deny.so\n")
    told = node.explain("alice")
    assert (told["permitted"], told["decided_by"]) == (False, None)
    assert told["why"] == "the account stack answers perm_denied without asking any module"


# The line that decides


ADOPTING = ("[success=1 default=ignore] OURS", "optional SLURM action_no_jobs=ignore", "required pam_unix.so")


# What slurm.conf has for hosts, what the module is told, and whether jobs of cn1 are found on a host called node
NAMES = {
    "slurm.conf has the host as that node": ({"node": "cn1"}, {}, True),
    "slurm.conf has localhost as that node": ({"localhost": "cn1"}, {}, True),
    "slurm.conf has another node": ({"node": "cn2", "localhost": "cn1"}, {}, False),
    "slurm.conf has no such host": ({}, {}, False),
    "the module is told": ({}, {"nodename": "cn1"}, True),
    "the module is told another": ({"node": "cn1"}, {"nodename": "cn2"}, False),
}


# The older module is told nothing.
BY_MODULE = [
    (module, case)
    for case, (_, options, _) in NAMES.items()
    for module in ("pam_slurm_adopt", *(() if options else ("pam_slurm",)))
]


@pytest.mark.parametrize(("module", "case"), BY_MODULE)
def test_a_node_that_was_renamed(node, monkeypatch, case, module):
    node.names, options, found = NAMES[case]
    monkeypatch.setattr(socket, "gethostbyname_ex", lambda name: (name, [], []))
    rule = " ".join(["SLURM", *(f"{key}={value}" for key, value in options.items())])
    node.stack(*CLOSED[:2], f"required {rule}", module=module, pam_slurm_adopt=options)
    node.jobs[0]["node"] = "cn1"
    told = node.explain("alice")
    assert (told["permitted"], told["jobs"]) == (found, [7] if found else [])
    looked_for = options.get("nodename") or node.names.get("node", "node")
    note = f"Job 7 began under the NodeName cn1, and pam_slurm_adopt looks for jobs of {looked_for}, so it does not see"
    assert (note in told["why"]) == (not found and module == "pam_slurm_adopt")


def test_a_host_by_another_of_its_names(node, monkeypatch):
    node.names, node.jobs[0]["node"] = {"ib0": "cn1"}, "cn1"
    monkeypatch.setattr(socket, "gethostbyname_ex", lambda name: (name, ["ib0.example.org"], []))
    assert node.line("alice") == (True, 3)


def test_a_slurm_conf_that_does_not_say_who_the_host_is(node):
    node.names, node.jobs[0]["node"] = Unanswered("scontrol show aliases node: no answer"), "cn1"
    told = node.explain("alice")
    assert told["permitted"] and told["jobs"] == [7]
    assert "It is not known by which name Slurm's module looks for jobs: scontrol show aliases" in told["why"]


@pytest.mark.parametrize(
    ("rules", "user", "decision"),
    [
        # Nobody is turned away: Slurm's rule is the one that would.
        (ADOPTING, "alice", (True, 2)),
        (ADOPTING, "bob", (True, 2)),
        (ADOPTING, "admin", (True, 1)),
        (ADOPTING, "old", (False, 3)),
        # An administrator does not get in without the rule that says so; whose account has expired, with none.
        (("[success=1 default=ignore] pam_x.so", *CLOSED), "admin", (False, 1)),
        (("[success=1 default=ignore] pam_x.so", *CLOSED), "alice", (True, 4)),
        (("[success=1 default=ignore] pam_x.so", *CLOSED), "former", (False, 5)),
        (("required pam_unix.so", "required OURS", "required pam_x.so"), "admin", (True, 2)),
        # Who would not get in by Slurm's rule has not missed it.
        (("[success=1 default=ignore] pam_x.so", "required SLURM", "[default=ignore] pam_y.so"), "alice", (False, 1)),
        (("[success=1 default=ignore] pam_x.so", "required SLURM", "[default=ignore] pam_y.so"), "bob", (False, 3)),
        # The site's own refusal is no matter of ours.
        (("[success=1 default=ignore] OURS", "required SLURM", "required pam_deny.so"), "admin", (False, 3)),
        (("required pam_deny.so", *CLOSED), "alice", (False, 1)),
        # All say that it is none of their business.
        (("[success=1 default=ignore] OURS", "[default=ignore] SLURM"), "bob", (False, 2)),
    ],
)
def test_the_line_that_decides(node, rules, user, decision):
    node.stack(*rules)
    assert node.line(user) == decision


@pytest.mark.parametrize(
    ("rules", "scenario", "user"),
    [
        # Users without a job get in.
        (("sufficient pam_localuser.so", *CLOSED), "a user without a job is turned away", "bob"),
        (("[success=3 default=ignore] pam_x.so", *CLOSED), "a user without a job is turned away", "bob"),
        ((CLOSED[0], "[default=ignore] SLURM", CLOSED[-1]), "a user without a job is turned away", "bob"),
        ((*CLOSED, "[success=reset] pam_x.so", "required pam_permit.so"), "a user without a job is turned away", "bob"),
        # Users with a job, and administrators, do not.
        (("required pam_deny.so", *CLOSED), "a user with a job gets in", "alice"),
        (("[success=4 default=ignore] pam_x.so", *CLOSED), "a user with a job gets in", "alice"),
        ((*CLOSED, "required pam_deny.so"), "a user with a job gets in", "alice"),
        (("[success=1 default=ignore] pam_x.so", *CLOSED), "root and administrators get in", "admin"),
        (("optional OURS", *CLOSED[2:]), "root and administrators get in", "admin"),
    ],
)
def test_a_proof_names_the_same_line(node, rules, scenario, user):
    node.stack(*rules, access={"file": f"{node.top}/access.conf", "root": ["192.0.2.0/24"]})
    policy = _slurm_pam_wanted.wanted(node.settings)["pam"]["policy"]
    (proof,) = (proof for proof in _pam_prove.prove(policy) if proof["name"].startswith(scenario))
    assert not proof["holds"]
    told = node.explain(user)
    assert told["permitted"] is (proof["expect"] == "deny")
    assert told["decided_by"] == proof["counterexample"]["decided_by"]


# What sshd does besides


@pytest.mark.parametrize("usepam", [["no"], None])
def test_an_sshd_that_asks_nothing_of_pam_lets_everybody_in(node, usepam):
    node.values = {name: value for name, value in {**SSHD, "usepam": usepam}.items() if value}
    told = node.explain("bob")
    assert (told["permitted"], told["decided_by"]) == (True, None)
    assert told["why"].startswith("sshd does not ask PAM: its UsePAM is no")


def test_a_login_that_goes_by_another_pam_service(node):
    """pam_slurm_adopt does nothing for it unless it is told to."""
    node.values = {**SSHD, "pamservicename": ["other"]}
    other = node.top / "other"
    other.write_text("account required pam_slurm_adopt.so\naccount required pam_unix.so\n")
    told = node.explain("bob")
    assert told["permitted"] is True
    assert "sshd's PAMServiceName is other for this login, and slurm_pam:pam:service is sshd." in told["why"]
    for option in ("service=other", "service=*"):
        other.write_text(f"account required pam_slurm_adopt.so {option}\naccount required pam_unix.so\n")
        assert node.line("bob") == (False, 1)


PENALTIES = {"persourcepenalties": ["authfail:5 noauth:0 max:600"], "persourcepenaltyexemptlist": ["192.0.2.0/24"]}


@pytest.mark.parametrize(
    ("values", "origin", "told"),
    [
        (PENALTIES, OUTSIDE, True),
        (PENALTIES, "192.0.2.7", False),
        *(
            ({**PENALTIES, "persourcepenaltyexemptlist": [exempt]}, "192.0.2.7", told)
            for exempt, told in (
                ("none", True),
                ("192.0.2.*", False),
                ("198.51.100.*,2001:db8::/32", True),
                ("!192.0.2.7,192.0.2.0/24", True),
                ("*,!192.0.2.8", False),
                ("*,!192.0.2.7", True),
            )
        ),
        ({"persourcepenalties": ["no"]}, OUTSIDE, False),
        ({}, OUTSIDE, False),
    ],
)
def test_penalties_for_what_others_did(node, values, origin, told):
    node.values = {**SSHD, **values}
    why = node.explain("alice", origin)["why"]
    assert ("sshd drops every login from there, whoever it is (PerSourcePenalties authfail:5)." in why) is told


@pytest.mark.parametrize(
    ("user", "origin", "why"),
    [
        ("zoe", "192.0.2.1", "this node knows no user zoe"),
        ("alice", "gone.example.org", "this node knows no host gone.example.org"),
    ],
)
def test_names_that_there_are_not(node, user, origin, why):
    told = node.explain(user, origin)
    assert (told["permitted"], told["why"]) == (False, why)


@pytest.mark.parametrize(("user", "origin"), [("zoe", "192.0.2.1"), ("alice", "login.test")])
def test_what_nobody_answers_is_no_answer(node, user, origin):
    node.silent = -1
    with pytest.raises(CommandExecutionError, match=r"not answer for (the user zoe$|login\.test)"):
        node.explain(user, origin)


@pytest.mark.parametrize(("user", "permitted"), [("alice", True), ("bob", False)])
def test_a_group_of_a_directory_that_does_not_answer_has_nobody(node, user, permitted):
    """As pam_access takes it, which asks the same way."""
    (node.top / "access.conf").write_text("+ : (of-a-directory) : ALL\n- : ALL : ALL\n")
    node.silent = -1
    told = node.explain(user)
    assert told["permitted"] is permitted
    assert "sss (nsswitch.conf) does not answer for the group of-a-directory, so pam_access has nobody" in told["why"]


# Another sshd, or options of the one that runs


def other(*options, name="sshd"):
    return Daemon("sshd (process 812)", SimpleNamespace(pid=812), "/usr/sbin/sshd", name, None, options)


def test_whoever_gets_in_through_another_sshd_is_in(node):
    node.daemons = [other("UsePAM=no")]
    found = node.explain("bob")
    assert found["permitted"] is True
    assert found["why"] == "sshd (process 812) does not ask PAM: its UsePAM is no"


def test_another_sshd_by_its_name(node):
    """Up to 9.7, it asks the PAM service of that name."""
    node.values = {key: value for key, value in node.values.items() if key != "pamservicename"}
    (node.top / "gate").write_text("account required pam_permit.so\n")
    node.daemons = [other(name="gate")]
    found = node.explain("bob")
    assert found["permitted"] is True
    assert found["decided_by"]["file"].endswith("/gate")
    assert "This is about sshd (process 812)." in found["why"]


def test_another_sshd_that_leads_nowhere_else_is_not_named(node):
    usual = node.explain("bob")
    node.daemons = [other("Port=2222")]
    assert node.explain("bob") == usual


# Other doors


@pytest.mark.parametrize(
    ("service", "user", "access", "told"),
    [
        ("cockpit", "admin", ACCESS, (True, "192.0.2.1", "+ : admin former : 192.0.2.0/24")),
        ("cockpit", "bob", ACCESS, (False, "192.0.2.1", "- : ALL : ALL")),
        ("login", "admin", ACCESS, (False, "LOCAL", "- : ALL : ALL")),
        ("login", "admin", "+:admin:fd00::1,LOCAL\n-:ALL:ALL\n", (True, "LOCAL", "+ : admin : fd00::1 LOCAL")),
        ("login", "alice", ACCESS, (True, "LOCAL", "- : ALL : ALL")),
        ("cron", "bob", ACCESS, (False, "LOCAL", "- : ALL : ALL")),
    ],
)
def test_another_door(node, service, user, access, told):
    (node.top / "access.conf").write_text(access)
    node.stack(*(rule.replace("SLURM", f"SLURM service={service}") for rule in CLOSED))
    (node.top / service).write_text((node.top / "sshd").read_text())
    found = _slurm_pam_explain.login(user, "192.0.2.1", node.settings, service)
    assert (found["permitted"], found["origin"], found["access"]) == told
