"""What SELinux is asked for sshd, of which types, and what is told of the answer."""

import pytest
from looks import given, settings

import _child
import _selinux
import _slurm_pam_daemons
import _slurm_pam_jobs
import _slurm_pam_selinux
import slurm_conf
import sshd_config
from _processes import Process
from _slurm_pam_ask import Unanswered
from _slurm_pam_selinux import Need, denied, is_loaded, load, look, module, module_text, needs, refusal


def context(name, kind="object_r"):
    return f"system_u:{kind}:{name}:s0"


SSHD = context("sshd_t", "system_r")
LABELS = {
    "/": "root_t",
    "/etc": "etc_t",
    "/etc/slurm": "etc_t",
    "/etc/slurm/slurm.conf": "etc_t",
    "/usr/sbin/slurmd": "bin_t",
    "/usr/sbin/slurmstepd": "bin_t",
    "/usr/sbin/sshd": "sshd_exec_t",
    "/usr/lib/openssh/sshd-session": "sshd_session_exec_t",
    "/var": "var_t",
    "/var/lib": "var_lib_t",
    "/var/lib/slurm": "var_lib_t",
    "/var/lib/slurm/slurmd": "slurmd_spool_t",
    "/var/lib/slurm/slurmd/node_7.4294967292": "slurmd_socket_t",
    "/var/spool": "var_spool_t",
    "/var/spool/node": "var_spool_t",
}
# What a process comes to that executes such a file, and what comes to be in such a directory.
BECOMES = {
    ("init_t", "bin_t"): "initrc_t",
    ("init_t", "sshd_exec_t"): "sshd_t",
    ("sshd_t", "sshd_session_exec_t"): "sshd_session_t",
    ("initrc_t", "slurmd_spool_t"): "slurmd_spool_t",
    ("initrc_t", "var_spool_t"): "var_spool_t",
}


def process(pid, program):
    return Process(pid, 1, 0, 0.0, f"/usr/sbin/{program}", [program])


class Node:
    """A node in words: what the kernel and the programs say of it."""

    def __init__(self, monkeypatch):
        self.on, self.enforces, self.allows = True, True, set()
        self.running, self.sockets, self.session = {}, [], ""
        self.spool, self.semodule, self.loaded, self.fails = "/var/lib/slurm/slurmd", True, "", False
        patches = {
            _selinux: {
                "is_on": lambda: self.on,
                "enforces": lambda: self.enforces,
                "of_process": self.of_process,
                "of_file": lambda path: context(LABELS[path]),
                "becomes": self.becomes,
                "denied": self.denied,
            },
            _slurm_pam_selinux: {
                "every_process": lambda: [process(pid, program) for pid, (program, _) in self.running.items()],
                "_semodule": self.asked,
            },
            _slurm_pam_daemons: {"listening": self.listening},
            _slurm_pam_jobs: {"sockets": lambda: iter(self.sockets)},
            _child: {"which": self.which},
            sshd_config: {"effective": lambda config: {"sshdsessionpath": [self.session]} if self.session else {}},
            slurm_conf: {
                "find": lambda path: path or "/etc/slurm/slurm.conf",
                "effective": lambda path: {"slurmdspooldir": {"value": self.spool}} if self.spool else {},
            },
        }
        for room, functions in patches.items():
            for name, function in functions.items():
                monkeypatch.setattr(room, name, function)

    def of_process(self, pid):
        """One without a type has ended since it was seen."""
        name = "init_t" if pid == 1 else self.running[pid][1]
        return context(name, "system_r") if name else ""

    def which(self, program):
        return {"semodule": "/usr/sbin/semodule" if self.semodule else None}.get(program, f"/usr/sbin/{program}")

    def listening(self, settings):
        found = [process(pid, "sshd") for pid, (program, _) in self.running.items() if program == "sshd"]
        return [_slurm_pam_daemons.Daemon("sshd", one, "sshd", "sshd", None, ()) for one in found or [None]]

    @staticmethod
    def becomes(source, target, kind):
        source, target = map(_selinux.type_of, (source, target))
        # Without a rule a process stays as it is, and a file has its directory's type.
        return context(BECOMES.get((source, target), source if kind == "process" else target))

    def denied(self, source, target, kind, permissions):
        allowed = {(*map(_selinux.type_of, (source, target)), kind), (_selinux.type_of(target), kind)} & self.allows
        return () if allowed else permissions

    def asked(self, *words):
        if self.fails:
            raise Unanswered("semodule: SELinux policy is not managed")
        if words[0] == "-lfull":
            return f"100 ssh pp\n400 slurm cil\n400 slurm_pam_other cil\n{self.loaded}"
        if words[0] == "-i":
            with open(words[1]) as file:
                self.text = file.read()
            self.loaded = "400 slurm_pam cil\n"
        if words[0] == "-r":
            self.loaded = ""
        return ""


@pytest.fixture
def node(monkeypatch):
    return Node(monkeypatch)


def types(found):
    return {(*map(_selinux.type_of, need[:2]), need.kind) for need in found}


WAYS = {("root_t", "dir"), ("var_t", "dir"), ("var_lib_t", "dir"), ("etc_t", "dir"), ("etc_t", "file")}
SPOOL = {("slurmd_spool_t", "dir")}


@pytest.mark.parametrize(
    ("running", "sockets", "session", "asks", "asked"),
    [
        # Nothing runs yet: all of it is computed.
        ({}, [], "", "sshd_t", {("slurmd_spool_t", "sock_file"), ("initrc_t", "unix_stream_socket")}),
        # slurmd runs elsewhere than a unit would have it.
        (
            {9: ("slurmd", "unconfined_service_t")},
            [],
            "",
            "sshd_t",
            {("slurmd_spool_t", "sock_file"), ("unconfined_service_t", "unix_stream_socket")},
        ),
        # A job runs.
        (
            {9: ("slurmd", "initrc_t"), 17: ("slurmstepd", "slurmstepd_t")},
            ["/var/lib/slurm/slurmd/node_7.4294967292"],
            "",
            "sshd_t",
            {("slurmd_socket_t", "sock_file"), ("slurmstepd_t", "unix_stream_socket")},
        ),
        # One of its steps has ended meanwhile.
        (
            {9: ("slurmd", "initrc_t"), 17: ("slurmstepd", "slurmstepd_t"), 18: ("slurmstepd", "")},
            [],
            "",
            "sshd_t",
            {("slurmd_spool_t", "sock_file"), ("slurmstepd_t", "unix_stream_socket")},
        ),
        (
            {9: ("slurmd", "unconfined_service_t"), 17: ("slurmstepd", "")},
            [],
            "",
            "sshd_t",
            {("slurmd_spool_t", "sock_file"), ("unconfined_service_t", "unix_stream_socket")},
        ),
        # OpenSSH 9.8: what asks PAM is a program of its own, with a domain of its own or without.
        (
            {3: ("sshd", "sshd_t")},
            [],
            "/usr/lib/openssh/sshd-session",
            "sshd_session_t",
            {("slurmd_spool_t", "sock_file"), ("initrc_t", "unix_stream_socket")},
        ),
        (
            {3: ("sshd", "unconfined_t")},
            [],
            "/usr/lib/openssh/sshd-session",
            "unconfined_t",
            {("slurmd_spool_t", "sock_file"), ("initrc_t", "unix_stream_socket")},
        ),
    ],
)
def test_the_types_are_those_that_this_node_has(node, running, sockets, session, asks, asked):
    node.running, node.sockets, node.session = running, sockets, session
    found = needs(settings())
    assert types(found) == {(asks, *what) for what in WAYS | SPOOL | asked}
    assert len(found) == len(types(found))
    by_kind = {(_selinux.type_of(need.target), need.kind): need.permissions for need in found}
    assert by_kind["slurmd_spool_t", "dir"] == ("getattr", "open", "read", "search")
    assert by_kind["var_lib_t", "dir"] == ("search",)
    assert {need.permissions for need in found if need.kind == "sock_file"} == {("write",)}


@pytest.mark.parametrize(
    ("spool", "directory"),
    [
        ("/var/spool/%n", "/var/spool/gpu1"),
        ("/var/spool/%h", "/var/spool/node"),
        (None, "/var/spool/slurmd"),
    ],
)
def test_the_spool_directory_is_slurms(node, monkeypatch, spool, directory):
    node.spool, seen = spool, []
    monkeypatch.setattr(_slurm_pam_selinux.socket, "gethostname", lambda: "node.example.org")
    monkeypatch.setattr(_selinux, "of_file", lambda path: seen.append(path) or context("var_spool_t"))
    needs(settings(pam_slurm_adopt={"nodename": "gpu1"}))
    assert directory in seen


LACKING = {("sshd_t", "slurmd_spool_t", "sock_file"), ("sshd_t", "initrc_t", "unix_stream_socket")}
ALL = LACKING | {("sshd_t", *what) for what in WAYS | SPOOL}
TOLD = (
    "SELinux keeps sshd from the step daemons of Slurm: sshd_t -> slurmd_spool_t:sock_file (write), "
    "sshd_t -> initrc_t:unix_stream_socket (connectto)"
)
RULES = """\
; slurm_pam: sshd may reach the step daemons of Slurm
(optional slurm_pam
    (allow sshd_t initrc_t (unix_stream_socket (connectto)))
    (allow sshd_t slurmd_spool_t (sock_file (write)))
)
"""


@pytest.mark.parametrize(
    ("changes", "given_settings", "kind", "why"),
    [
        ({}, {}, "problems", "Users with a job are turned away"),
        ({}, {"mode": "adopt"}, "warnings", "Users with a job are turned away"),
        ({"enforces": False}, {}, "warnings", "It is permissive now. As soon as it enforces: Users"),
        ({"semodule": False}, {}, "problems", "Users with a job are turned away"),
        # An apply cannot load it either.
        ({"semodule": False}, {"selinux": "manage"}, "problems", "Users with a job are turned away"),
        ({}, {"selinux": "manage"}, None, ""),
        ({"allows": ALL}, {}, None, ""),
        ({"on": False}, {}, None, ""),
        # It asks slurmctld.
        ({}, {"module": "pam_slurm"}, None, ""),
    ],
)
def test_what_is_denied_is_told_with_what_to_do(node, changes, given_settings, kind, why):
    node.allows = ALL - LACKING
    vars(node).update(changes)
    found = list(look(*given(**given_settings)))
    assert [finding.kind for finding in found] == ([kind] if kind else [])
    for finding in found:
        assert finding.found == TOLD and finding.why.startswith(why)
        assert "slurm_pam:selinux: manage" in finding.do and finding.do.endswith(f":\n{RULES}")
    kept = node.on and node.enforces and node.allows != ALL and given_settings.get("module") is None
    assert refusal(settings(**given_settings)) == (TOLD if kept else "")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), ValueError("not a number")])
def test_what_could_not_be_asked_is_told(node, monkeypatch, error):
    def fails(*words):
        raise error

    monkeypatch.setattr(_selinux, "denied", fails)
    (found,) = look(*given())
    assert found.kind == "warnings" and str(error) in found.found and "could not be asked" in found.found
    with pytest.raises(Unanswered, match="what sshd may do"):
        refusal(settings())


def test_a_module_that_is_there_is_not_replaced_by_less(node):
    node.allows = ALL - LACKING
    assert module_text(settings(), denied(settings())) == RULES
    node.loaded = "400 slurm_pam cil disabled\n"
    text = module_text(settings(), denied(settings()))
    assert set(RULES.splitlines()) < set(text.splitlines())
    assert "(allow sshd_t etc_t (file (getattr open read)))" in text


def test_loading_looks_whether_it_suffices_and_takes_it_away_if_not(node, monkeypatch):
    node.allows = ALL - LACKING
    with pytest.raises(Exception, match=r"does not suffice: .*sock_file"):
        load(settings())
    assert node.loaded == "" and node.text == RULES
    install = node.asked

    def suffices(*words):
        said = install(*words)
        node.allows = ALL if node.loaded else ALL - LACKING
        return said

    monkeypatch.setattr(_slurm_pam_selinux, "_semodule", suffices)
    load(settings())
    assert node.loaded


def test_one_rule_for_each_pair_of_types():
    need = Need(SSHD, context("var_lib_t"), "sock_file", ("write",))
    other = need._replace(target="unconfined_u:object_r:var_lib_t:s0")
    assert module([need, other]).count("allow") == 1


@pytest.mark.parametrize(
    ("changes", "loaded"),
    [
        ({"loaded": "400 slurm_pam cil\n"}, True),
        ({"loaded": "400 slurm_pam cil disabled\n"}, True),
        ({}, False),
        ({"semodule": False}, False),
        # policycoreutils is there, and no policy: semodule fails.
        ({"fails": True, "on": False}, False),
        ({"fails": True}, Unanswered),
    ],
)
def test_whether_it_is_there(node, changes, loaded):
    vars(node).update(changes)
    if loaded is Unanswered:
        with pytest.raises(Unanswered):
            is_loaded()
    else:
        assert is_loaded() is loaded
