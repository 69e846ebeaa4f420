"""Which ways onto a node are there and on, and whom they let in."""

import re

import pytest
from looks import settings

import _child
import _pam_libpam
import _processes
import _slurm_pam_daemons
import _slurm_pam_ways_in
import sshd_config
from _pam_errors import PamError
from _processes import Process
from _slurm_pam_ask import Unanswered
from _slurm_pam_daemons import Daemon
from _slurm_pam_ways_in import doors, report, table

ACCESS = "pam_access.so nodefgroup accessfile=/etc/security/slurm-access.conf"
DENY = "action_generic_failure=deny"
RULES = f"[success=1 default=ignore] {ACCESS}", f"required pam_slurm_adopt.so {DENY}", "required pam_unix.so"
GATE = "".join(f"account {rule}\n" for rule in RULES)
ALL = GATE.replace("adopt.so", "adopt.so service=*")
OPEN = "auth required pam_unix.so\naccount required pam_unix.so\n"


class Node:
    """A node with PAM files, units and processes; what it is asked, and what there is of programs."""

    def __init__(self, top):
        self.top, self.units, self.processes, self.programs = top, [], [], []
        self.loaded, self.sockets, self.sshds = [], {}, []
        self.file("other", "account required pam_deny.so\n")

    def file(self, service, text):
        (self.top / service).write_text(text)

    def unit(self, name, active="active", state="enabled", **more):
        shown = {"Id": name, "ActiveState": active, "UnitFileState": state, **more}
        self.units.append({key: [text] for key, text in shown.items()})

    def process(self, program, *arguments, pid=4711, uid=0, libpam=False):
        self.processes.append(Process(pid, 1, uid, 0.0, program, list(arguments or (program,))))
        self.loaded += [pid] * libpam

    def every_unit(self):
        if self.units is None:
            raise Unanswered("systemctl show: Connection timed out")
        return self.units

    def report(self):
        told = report(settings())
        return {row["service"]: row for row in told["doors"]}, told["findings"]

    def line(self, service, who="stranger"):
        """Whether somebody gets in, and the number of the line that decides."""
        told = self.report()[0][service][who]
        return told["in"], told["decided_by"] and told["decided_by"]["line"]

    def left_open(self, **sections):
        return [each for finding in doors({**settings(), **sections}, {}) for each in finding.open]

    def warnings(self, **sections):
        return [(finding.kind, finding.text()) for finding in doors({**settings(), **sections}, {})]


@pytest.fixture
def node(tmp_path, monkeypatch):
    node = Node(tmp_path)
    libpam = {"version": "1.5.2", "debian": False, "confdirs": [str(tmp_path), "/nonexistent"], "module_dirs": []}
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: libpam)
    monkeypatch.setattr(_slurm_pam_ways_in, "every_unit", node.every_unit)
    monkeypatch.setattr(_processes, "at_home", lambda pid: True)
    monkeypatch.setattr(_child, "which", lambda name, places: f"/bin/{name}" if name in node.programs else None)
    monkeypatch.setattr(_processes, "running", lambda: iter(node.processes))
    monkeypatch.setattr(_processes, "has_loaded", lambda pid, library: pid in node.loaded)
    monkeypatch.setattr(_processes, "listening", lambda pids: {pid: node.sockets.get(pid, []) for pid in pids})
    monkeypatch.setattr(_slurm_pam_daemons, "departing", lambda settings: node.sshds)
    kind = {"values": {"usepam": ["yes"]}}
    monkeypatch.setattr(sshd_config, "connections", lambda *asked: [kind])
    return node


# Whom it lets in


@pytest.mark.parametrize(
    ("text", "stranger", "administrator"),
    [
        # No gate: whoever has a password.
        (OPEN, (True, 2), (True, 2)),
        ("auth required pam_unix.so\naccount sufficient pam_localuser.so\naccount required pam_unix.so\n", (True, 2),
         (True, 2)),
        # The gate, told to act for this service, or for all.
        ("auth required pam_unix.so\n" + ALL, (False, 3), (True, 2)),
        ("auth required pam_unix.so\n" + ALL.replace("*", "cockpit"), (False, 3), (True, 2)),
        # The line that keeps out is the gate's, also where others ahead of it might.
        ("auth required pam_unix.so\naccount requisite pam_nologin.so\n" + ALL, (False, 4), (True, 3)),
        # The gate of sshd acts for sshd alone: here it ignores, and others let in.
        ("auth required pam_unix.so\n" + GATE, (True, 3), (True, 2)),
        # An end ahead of the gate leads past it.
        ("auth required pam_unix.so\naccount sufficient pam_localuser.so\n" + ALL, (True, 2), (True, 2)),
        # Mode adopt turns nobody away.
        ("auth required pam_unix.so\n" + ALL.replace("service", "action_no_jobs=ignore service"), (True, 3), (True, 2)),
        # Told so, or by its default, it lets people in where it cannot work.
        ("auth required pam_unix.so\n" + ALL.replace(DENY, ""), (True, 3), (True, 2)),
        ("auth required pam_unix.so\n" + ALL.replace(DENY, DENY.replace("deny", "Allow")), (True, 3), (True, 2)),
        ("auth required pam_unix.so\n" + ALL.replace(DENY, DENY.replace("deny", "denying")), (False, 3), (True, 2)),
        # pam_slurm acts for every service.
        ("auth required pam_unix.so\naccount required pam_slurm.so\naccount required pam_unix.so\n", (False, 2),
         (False, 2)),
        # Closed by the site itself.
        ("auth required pam_unix.so\naccount required pam_deny.so\n", (False, 2), (False, 2)),
        ("auth required pam_deny.so\naccount required pam_unix.so\n", (False, 1), (False, 1)),
        # What cannot be used refuses; without rules, other decides.
        ("auth required pam_unix.so\naccount required\n", (False, 2), (False, 2)),
        ("auth required pam_unix.so\n", (False, 1), (False, 1)),
        # Broken so that it cannot be started.
        ("account required pam_unix.so \\", (False, 1), (False, 1)),
    ],
)  # fmt: skip
def test_what_one_comes_to_and_the_line_that_decides(node, text, stranger, administrator):
    node.file("cockpit", text)
    assert node.line("cockpit") == stranger
    assert node.line("cockpit", "administrator") == administrator


@pytest.mark.parametrize(
    ("service", "rule", "gets_in"),
    [
        ("su", "sufficient pam_rootok.so", False),
        ("su-l", "sufficient pam_succeed_if.so uid = 0 use_uid quiet", False),
        # Of the user that is to be, who may be anybody.
        ("su", "sufficient pam_succeed_if.so uid = 0 quiet", True),
        ("su", "sufficient pam_localuser.so", True),
        # A daemon is root itself.
        ("cockpit", "sufficient pam_rootok.so", True),
        ("login", "sufficient pam_succeed_if.so uid = 0 use_uid quiet", True),
    ],
)
def test_whoever_calls_a_program_of_the_node_is_not_root(node, service, rule, gets_in):
    node.file(service, f"auth required pam_unix.so\naccount {rule}\n{ALL}")
    assert node.line(service) == ((True, 2) if gets_in else (False, 4))


def test_what_a_program_does_not_ask_does_not_count(node):
    # cron authenticates nobody.
    node.file("cron", "auth required pam_deny.so\naccount required pam_unix.so\n")
    assert node.line("cron") == (True, 2)


def test_what_cannot_be_told_is_not_known(node):
    node.file("cockpit", "account include cockpit-loop\n")
    node.file("cockpit-loop", "account include cockpit-loop\naccount include cockpit-loop\n")
    told = node.report()[0]["cockpit"]["stranger"]
    assert told["in"] is None or told["in"] is False
    assert told["why"]


def test_names_and_rules_of_the_node_are_data(node):
    node.file("cockpit", "auth required pam_unix.so\naccount required pam_\x1b[2J.so\n")
    row = node.report()[0]["cockpit"]
    assert row["stranger"]["decided_by"]["rule"] == "account required pam_\\x1b[2J.so"
    assert "\x1b" not in repr(row) + table({"doors": [row], "findings": []})


# What is there and on


@pytest.mark.parametrize(
    ("active", "state", "on"),
    [
        ("active", "disabled", ["cockpit.socket is active"]),
        ("active", "enabled", ["cockpit.socket is active"]),
        ("activating", "static", ["cockpit.socket is active"]),
        ("inactive", "enabled", ["cockpit.socket is enabled"]),
        ("failed", "enabled-runtime", ["cockpit.socket is enabled"]),
        ("inactive", "disabled", []),
        ("inactive", "static", []),
        ("inactive", "masked", []),
    ],
)
def test_a_unit_is_on_if_it_runs_or_is_to_start(node, active, state, on):
    node.file("cockpit", OPEN)
    node.unit("cockpit.socket", active, state, Listen="[::]:9090 (Stream)")
    row = node.report()[0]["cockpit"]
    assert (row["on"], row["there"]) == (on, ["cockpit.socket"])
    assert row["listening"] == (["[::]:9090"] if active == "active" else [])


def test_a_pattern_means_every_instance(node):
    node.file("login", OPEN)
    node.unit("getty@tty1.service")
    node.unit("serial-getty@ttyS0.service", "inactive")
    node.unit("getty-other.service")
    assert node.report()[0]["login"]["on"] == ["getty@tty1.service is active", "serial-getty@ttyS0.service is enabled"]


@pytest.mark.parametrize(
    ("program", "arguments", "uid", "on"),
    [
        ("/usr/lib/cockpit/cockpit-tls", (), 990, True),
        ("/usr/lib/cockpit/cockpit-tls", ("something else",), 0, True),
        ("/opt/cockpit", ("/usr/lib/cockpit/cockpit-ws", "--port"), 0, True),
        # Only root's is believed what it calls itself.
        ("/usr/bin/python3", ("cockpit-ws",), 1000, False),
        ("/usr/bin/sleep", ("sleep", "cockpit-ws"), 0, False),
    ],
)
def test_a_process_is_known_by_its_program(node, program, arguments, uid, on):
    node.file("cockpit", OPEN)
    node.process(program, *arguments, uid=uid)
    node.sockets = {4711: ["[::]:9090", "127.0.0.1:1"]}
    row = node.report()[0]["cockpit"]
    assert (bool(row["on"]), row["listening"]) == (on, ["[::]:9090", "127.0.0.1:1"] if on else [])


def test_a_program_of_an_interpreter_is_known_by_its_script(node):
    node.file("jupyterhub", OPEN)
    node.process("/usr/bin/python3.11", "/usr/bin/python3", "/opt/hub/bin/jupyterhub", "--port=8000")
    assert node.report()[0]["jupyterhub"]["on"] == ["jupyterhub runs (process 4711)"]


def test_what_anybody_starts_is_on_where_it_is(node):
    node.file("su", OPEN)
    assert not node.report()[0]["su"]["on"]
    node.programs = ["su"]
    assert node.report()[0]["su"]["on"] == ["anybody starts /bin/su"]


def test_a_service_without_a_file_falls_to_other_unless_another_name_has_it(node):
    node.unit("cron.service")
    assert node.line("cron") == node.line("crond") == (False, 1)
    node.file("crond", OPEN)
    found = node.report()[0]
    assert "cron" not in found and found["crond"]["stranger"]["in"]


def test_a_program_that_asks_another_service_where_its_own_has_no_file(node):
    node.file("login", OPEN)
    node.unit("jupyterhub.service")
    node.process("/usr/bin/python3", "/usr/bin/python3", "/opt/bin/jupyterhub")
    node.sockets = {4711: ["0.0.0.0:8000"]}
    found = node.report()[0]
    assert "jupyterhub" not in found and found["login"]["reach"] == "network"
    assert found["login"]["on"] == ["jupyterhub.service is active", "jupyterhub runs (process 4711)"]
    assert found["login"]["listening"] == ["0.0.0.0:8000"]
    assert len(node.warnings()) == 1
    node.file("jupyterhub", OPEN)
    found = node.report()[0]
    assert found["jupyterhub"]["on"] and not found["login"]["on"] and found["login"]["reach"] == "console"


def test_services_of_which_nothing_tells_what_asks_them(node):
    node.file("common-account-pc", "account required pam_unix.so\n")
    (node.top / "common-account").symlink_to("common-account-pc")
    node.file("mystery", "auth required pam_unix.so\naccount include common-account\n")
    node.file("mystery.rpmsave", OPEN)
    node.file("mystery~", OPEN)
    found = node.report()[0]
    assert set(found) == {"mystery", "other", "sshd"}
    assert found["mystery"]["what"] == "not known" and not found["mystery"]["on"] and found["mystery"]["stranger"]["in"]
    assert not node.warnings()


def test_what_is_not_there_is_not_told(node):
    assert list(node.report()[0]) == ["sshd", "other"]


# What the table does not have


def test_a_unit_with_a_service_of_its_own(node):
    node.file("kiosk", OPEN)
    node.unit("kiosk.service", PAMName="kiosk")
    node.unit("off.service", "inactive", "disabled", PAMName="off")
    node.unit("user@1000.service", state="static", PAMName="systemd-user")
    node.unit("asked.service", "inactive", "static", PAMName="asked", TriggeredBy="asked.path asked.socket")
    node.unit("timed.service", "inactive", "static", PAMName="timed", TriggeredBy="timed.timer")
    found, findings = node.report()
    assert (found["kiosk"]["what"], found["kiosk"]["on"]) == ("not known", ["kiosk.service asks it and is active"])
    assert found["systemd-user"]["on"] == ["user@1000.service is active", "user@1000.service asks it and is active"]
    assert found["asked"]["on"] == ["asked.service asks it and is started by asked.socket"]
    assert not {"off", "timed"} & found.keys() and not findings


def test_a_process_with_libpam(node):
    node.file("frontdoor", OPEN)
    node.process("/opt/sbin/frontdoor", pid=1, libpam=True)
    node.process("/opt/sbin/backdoor", "/opt/sbin/backdoor\x1b[2J", pid=2, libpam=True)
    node.process("/opt/sbin/none", pid=3)
    node.process("/opt/sbin/mine", pid=4, uid=1000, libpam=True)
    for program in ("systemd-journald", "systemd", "sshd-session", "slurmd"):
        node.process(f"/usr/lib/{program}", pid=5, libpam=True)
    found, findings = node.report()
    assert found["frontdoor"]["on"] == ["process 1 (/opt/sbin/frontdoor) has libpam loaded"]
    told = "It is not known which PAM service process 2 (/opt/sbin/backdoor\\x1b[2J) asks; it has libpam loaded"
    assert findings == [told]


def test_a_process_with_libpam_that_has_the_names_of_one_without(node):
    for number, script in enumerate(("tuned", "backdoor", "backdoor"), 1):
        node.process("/usr/bin/python3", "/usr/bin/python3", "-Es", f"/sbin/{script}", pid=number, libpam=number > 1)
    (told,) = node.report()[1]
    assert told.startswith("It is not known which PAM service process 2 (/usr/bin/python3 -Es /sbin/backdoor) asks")


def test_another_sshd(node, monkeypatch):
    def connections(config, files, program, options):
        values = {"usepam": ["no" if "UsePAM=no" in options else "yes"]}
        return [{"values": {**values, **({"pamservicename": ["Door"]} if config == "/other" else {})}}]

    monkeypatch.setattr(sshd_config, "connections", connections)
    node.file("sshd", "auth required pam_unix.so\n" + GATE)
    node.file("door", OPEN)
    node.file("gate", OPEN)
    node.sshds = [
        Daemon("other.service (/usr/sbin/sshd -f /other)", None, "/usr/sbin/sshd", "sshd", "/other", ()),
        Daemon("sshd (process 9: gate)", None, "/usr/sbin/gate", "gate", None, ()),
        Daemon("sshd (process 8: sshd)", None, "/usr/sbin/sshd", "sshd", None, ("UsePAM=no",)),
    ]
    found, findings = node.report()
    assert found["door"]["on"] == ["other.service (/usr/sbin/sshd -f /other) asks it"]
    assert found["gate"]["on"] == ["sshd (process 9: gate) asks it"]
    assert [found[name]["reach"] for name in ("door", "gate")] == ["network"] * 2
    assert [found[name]["stranger"]["in"] for name in ("door", "gate", "sshd")] == [True, True, False]
    assert found["sshd"]["setting"] == "close" and found["door"]["setting"] == "report"
    told = "sshd (process 8: sshd) does not ask PAM (UsePAM): whoever it lets in by itself is in"
    assert findings == [told]


def test_what_could_not_be_asked_is_a_finding(node):
    node.file("cron", OPEN)
    node.units = None
    found, findings = node.report()
    assert "cron" in found
    told = "What units start on this node could not be asked: systemctl show: Connection timed out"
    assert findings == [told]
    assert [kind for kind, _ in node.warnings()] == ["warnings"]
    assert node.left_open() == [("doubtful", "what slurm_pam.doors could not ask")]


def test_where_nobody_comes_in(node):
    """A stack of such a service decides nothing, until something that is on asks it to let somebody in."""
    node.file("chsh", OPEN)
    nobody = {"in": False, "why": "nobody comes in by it", "decided_by": None}
    row = node.report()[0]["chsh"]
    assert (row["stays"], row["stranger"], row["administrator"]) == (nobody["why"], nobody, nobody)
    node.unit("odd.service", PAMName="chsh")
    assert node.line("chsh") == (True, 2)


# The look


def cockpit(node, text=OPEN, **unit):
    node.file("cockpit", text)
    node.unit("cockpit.socket", Listen="[::]:9090 (Stream)", **unit)


def test_a_door_that_is_on_and_lets_in_is_warned_of(node):
    cockpit(node)
    ((kind, text),) = node.warnings()
    assert kind == "warnings"
    assert text == (
        "The PAM service cockpit (Cockpit) is on (cockpit.socket is active, it listens on [::]:9090), and lets users "
        f"without a job in: {node.top}/cockpit:2 (account required pam_unix.so) answers success. It grants, and the "
        "following modules are asked. They get a shell past Slurm, outside of every job. Close it "
        "(slurm_pam:doors:cockpit: close), switch it off, or say that it is meant (leave)"
    )


def test_what_is_counted_over_many_nodes(node, monkeypatch):
    cockpit(node)
    assert node.left_open() == [("doors", "cockpit")]
    assert node.left_open(doors={"cockpit": "leave"}) == []
    cockpit(node, "auth required pam_unix.so\n" + ALL)
    assert node.left_open() == []

    def fails(service, calls):
        raise PamError("it cannot be read")

    monkeypatch.setattr(_slurm_pam_ways_in._pam_dispatch, "compile", fails)
    assert node.left_open() == [("doubtful", "cockpit")]


def test_what_is_not_warned_of(node):
    cockpit(node)
    assert not node.warnings(doors={"cockpit": "leave"})
    node.units.clear()
    assert not node.warnings()  # off
    cockpit(node, "auth required pam_unix.so\n" + ALL)
    assert not node.warnings()  # closed
    node.file("su", OPEN)
    node.programs = ["su"]
    node.file("vsftpd", OPEN)
    node.unit("vsftpd.service")  # files alone
    node.file("gdm-launch-environment", OPEN)
    node.unit("gdm.service")  # the greeter's
    node.file("gdm-password", "account required pam_deny.so\n")
    node.file("sshd", OPEN)
    node.unit("sshd.service")  # of which other looks tell
    assert not node.warnings()


def test_a_table_for_people(node):
    cockpit(node)
    node.file("passwd", OPEN)
    lines = table(report(settings())).splitlines()
    assert re.split("  +", lines[0])[3:] == ["on", "no job", "administrator", "setting", "decided by"]
    assert lines[1].split()[:3] == ["cockpit", "Cockpit", "network"]
    assert lines[1].endswith(f"report   {node.top}/cockpit:2")
    assert [line.split()[0] for line in lines[2:]] == ["sshd"]
