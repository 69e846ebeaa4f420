"""Each sshd that runs or is going to run, and whether its logins come to the stack that is proven."""

import signal
import subprocess

import pytest
from looks import settings
from salt.exceptions import CommandExecutionError

import _child
import _processes
import _slurm_pam_ask
import _slurm_pam_daemons
import sshd_config
from _processes import Process
from _slurm_pam_ask import Unanswered
from _slurm_pam_daemons import Daemon, daemons, departing, listening, proof, reading, running, to_come

SSHD = "/nonexistent/sbin/sshd"
MAIN = "/nonexistent/ssh/sshd_config"


@pytest.fixture(autouse=True)
def node(monkeypatch):
    monkeypatch.setattr(_child, "which", lambda program: SSHD)
    monkeypatch.setattr(sshd_config, "find", lambda config=None: config or MAIN)


def process(*arguments, uid=0, program=SSHD):
    return Process(812, 1, uid, 0.0, program, list(arguments))


# Those that run


@pytest.mark.parametrize(
    ("arguments", "name", "config", "options"),
    [
        (["sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"], "sshd", None, ()),
        (["sshd: /usr/sbin/sshd -De -f /etc/ssh/other [listener] 0 of 10-100 startups"], "sshd", "/etc/ssh/other", ()),
        (["sshd: /usr/sbin/sshd -D -o UsePAM=no [listener] 0 of 10-100 startups"], "sshd", None, ("UsePAM=no",)),
        (["sshd: /usr/sbin/sshd -oUsePAM=no -p22 [listener] 1 of 10-100 startups"], "sshd", None, ("UsePAM=no",)),
        (["sshd: /usr/sbin/sshd -o UsePAM no -D [listener] 0 of 1-1 startups"], "sshd", None, ("UsePAM no",)),
        (["gate: /usr/local/sbin/gate -o A=1 -o B=2 [listener] 0 of 1-1 startups"], "gate", None, ("A=1", "B=2")),
        # Older ones have no title of their own.
        (["/usr/sbin/sshd", "-D"], "sshd", None, ()),
        (["/usr/sbin/sshd2", "-o", "UsePAM no", "-f", "/x y"], "sshd2", "/x y", ("UsePAM no",)),
        (["/usr/sbin/sshd", "-D", "-f", "-T", "-o", "Banner -t"], "sshd", "-T", ("Banner -t",)),
    ],
)
def test_what_a_listener_was_told(arguments, name, config, options):
    (found,) = running([process(*arguments)])
    assert found[2:6] == (SSHD, name, config, options)
    assert found.who.startswith("sshd (process 812: /usr/")


@pytest.mark.parametrize(
    "one",
    [
        process("sshd: alice [priv]"),
        process("sshd: alice@pts/0"),
        process("sshd: [accepted]"),
        process("sshd-session: alice [priv]", program="/nonexistent/lib/sshd-session"),
        # A user's own, and what only bears its title.
        process("sshd: /usr/sbin/sshd -f mine [listener] 0 of 10-100 startups", uid=1001),
        process("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", program="/nonexistent/bin/python3"),
        process("gate: /usr/sbin/gate -D [listener]", program="/usr/sbin/gate"),
        # Those that somebody asks, such as another audit at the same time.
        process("/usr/sbin/sshd", "-f", "/tmp/copy/0", "-T", "-C", "user=nobody,host=192.0.2.1"),
        process("/usr/sbin/sshd", "-t"),
        process("/usr/sbin/sshd", "-o", "UsePAM=no", "-G"),
    ],
    ids=lambda one: " ".join(one.arguments),
)
def test_what_is_no_listener(one):
    assert list(running([one])) == []


@pytest.mark.parametrize("name", ["hpnsshd", "gate"])
def test_a_fork_or_a_copy_by_another_name_is_one(name):
    title = f"{name}: /opt/{name} -D -o PAMServiceName=x [listener] 0 of 1-1 startups"
    (found,) = running([process(title, program=f"/opt/x/{name}")])
    assert found[2:6] == (f"/opt/x/{name}", name, None, ("PAMServiceName=x",))


def test_an_option_that_no_sshd_has_is_asked_of_it():
    (found,) = running([process("sshd: /usr/sbin/sshd -Z [listener] 0 of 1-1 startups")])
    assert found.options == ("option -Z not recognized",)


def test_what_a_process_calls_itself_is_data():
    (found,) = running([process("sshd: /usr/sbin/sshd -f \x1b[2J [listener] 0 of 1-1 startups")])
    assert "\x1b" not in found.who


# Those that systemd starts


def unit(**properties):
    state = {"Names": properties["Id"], "ActiveState": "active", "UnitFileState": "enabled", "TriggeredBy": ""}
    lines = {**state, **properties}.items()
    return "\n".join(f"{key}={text}" for key, texts in lines for text in ([texts] if isinstance(texts, str) else texts))


def command(words, path=SSHD):
    return f"{{ path={path} ; argv[]={words} ; ignore_errors=no ; start_time=[n/a] ; pid=0 ; code=(null) }}"


def systemd(monkeypatch, *units, **instances):
    def answer(*words):
        if words[2] == "--property=UnitPath":
            return ""
        return "\n\n".join(units if "*.service" in words else [instances["instance"]])

    monkeypatch.setattr(_slurm_pam_ask, "answer", answer)


def test_a_command_line_with_variables(monkeypatch, tmp_path):
    defaults = tmp_path / "ssh"
    defaults.write_text("# options\nSSHD_OPTS='-o UsePAM=no -f /x'\nOTHER=\"unbalanced\n")
    text = command("/usr/sbin/sshd -D $SSHD_OPTS ${MORE} $NONE")
    environment = {"Environment": 'MORE=-e SSHD_OPTS="-4"', "EnvironmentFiles": f"{defaults} (ignore_errors=yes)"}
    systemd(monkeypatch, unit(Id="ssh.service", ExecStart=text, **environment))
    (found,) = to_come()
    assert found[2:6] == (SSHD, "sshd", "/x", ("UsePAM=no",))
    assert found.who == "ssh.service (/usr/sbin/sshd -D -o UsePAM=no -f /x -e)"


@pytest.mark.parametrize(
    "content",
    [
        "OPTS = -oUsePAM=no \r\n",
        "OPTS=-4 \\\n  -o \\\n  UsePAM=no\n",
        "OPTS='-4\n-o UsePAM=no'\n",
        'OPTS="-4 \\\n-o UsePAM\\=no"\n',
        "OPTS='-4 -o' \" UsePAM=no\"\n",
        "A=it's\nB=\"it's\"\nOPTS=-oUsePAM=no",
        "OPTS=-4\n# OPTS=-6\n; OPTS=-6\nOPTS=-oUsePAM=no\n",
        # Quotes within a value hold words together.
        "OPTS=\"-e -o 'UsePAM=no'\"\n",
        "OPTS='-o\"UsePAM=no\" -4'\n",
        'OPTS=-o "UsePAM=no"\n',
    ],
)
def test_a_file_of_variables_as_systemd_reads_it(monkeypatch, tmp_path, content):
    (tmp_path / "10-mine").write_text(content, newline="")
    (tmp_path / "05-first").write_text("OPTS=-q\n")
    shown = {"ExecStart": command("/usr/sbin/sshd $OPTS"), "EnvironmentFiles": f"{tmp_path}/*-* (ignore_errors=yes)"}
    systemd(monkeypatch, unit(Id="ssh.service", **shown))
    (found,) = to_come()
    assert found.options == ("UsePAM=no",)


def test_a_value_of_several_words(monkeypatch):
    shown = {"Id": "ssh.service", "Environment": """"OPTS=-o 'Banner /a b' -o \\"UsePAM no\\"" "ODD=it's -4\""""}
    systemd(monkeypatch, unit(ExecStart=command("/usr/sbin/sshd $OPTS -e $ODD"), **shown))
    (found,) = to_come()
    assert found.options == ("Banner /a b", "UsePAM no")


@pytest.mark.parametrize(
    ("properties", "starts"),
    [
        ({}, True),
        ({"ActiveState": "inactive"}, True),
        ({"ActiveState": "inactive", "UnitFileState": "disabled"}, False),
        ({"ActiveState": "inactive", "UnitFileState": "disabled", "TriggeredBy": "ssh.socket"}, True),
        ({"ActiveState": "inactive", "UnitFileState": "masked"}, False),
        ({"ActiveState": "active", "UnitFileState": "disabled"}, True),
        ({"ActiveState": "inactive", "UnitFileState": "static"}, True),
        ({"ExecStart": command("/bin/agetty", "/nonexistent/sbin/agetty")}, False),
    ],
    ids=str,
)
def test_which_units_start_one(monkeypatch, properties, starts):
    shown = {"Id": "other.service", "ExecStart": command("/usr/sbin/sshd -f /other"), **properties}
    systemd(monkeypatch, unit(**shown), unit(Id="x.socket", Accept="no"))
    assert [found.config for found in to_come()] == ["/other"] * starts


@pytest.mark.parametrize("name", ["ssh", "gate"])
def test_a_socket_that_starts_one_for_each_connection(monkeypatch, name):
    instance = unit(Id=f"{name}@slurm_pam.service", ExecStart=command("/usr/sbin/sshd -i -o UsePAM=no"))
    systemd(monkeypatch, unit(Id=f"{name}.socket", Accept="yes"), instance=instance)
    assert [found.options for found in to_come()] == [("UsePAM=no",)]


# What they would do


USUAL = Daemon("sshd", None, SSHD, "sshd", None, ())
OTHERS = [
    USUAL._replace(options=("UsePAM=no",)),
    USUAL._replace(config="/other"),
    USUAL._replace(name="gate"),
]


def having(monkeypatch, *found, kinds=None):
    monkeypatch.setattr(_slurm_pam_daemons._processes, "running", list)
    monkeypatch.setattr(_slurm_pam_daemons, "running", lambda processes: iter(found))
    monkeypatch.setattr(_slurm_pam_daemons, "to_come", lambda: iter(found))
    monkeypatch.setattr(sshd_config, "connections", kinds)


@pytest.mark.parametrize("usual", [USUAL, USUAL._replace(config=MAIN)])
def test_the_usual_one_is_looked_at_elsewhere(monkeypatch, usual):
    having(monkeypatch, usual)
    assert list(departing(settings())) == list(daemons(settings(), {})) == []
    assert proof(settings())["holds"]


def test_those_that_listen_now(monkeypatch):
    """The usual one is asked as ever, and is taken to run if there is none, as with a socket."""
    usual = USUAL._replace(process=None)
    having(monkeypatch)
    assert listening(settings()) == [usual]
    having(monkeypatch, USUAL._replace(who="sshd (process 1)", process=process()), OTHERS[0], OTHERS[0])
    assert listening(settings()) == [usual, OTHERS[0]]
    having(monkeypatch, OTHERS[0])
    assert listening(settings()) == [OTHERS[0]]


@pytest.mark.parametrize("other", OTHERS)
def test_one_that_departs_is_asked_with_what_it_was_told(monkeypatch, other):
    asked = []

    def kinds(config, files, program, options):
        asked.append((config, files, program, options))
        return [{"match": None, "file": None, "line": None, "values": {"usepam": ["yes"], "pamservicename": ["sshd"]}}]

    having(monkeypatch, USUAL, other, kinds=kinds)
    files = {"/drop/in": "UsePAM yes\n"}
    assert list(daemons(settings(), files)) == []
    # As a process and as a unit, it is the same one.
    assert asked == [(other.config, files, SSHD, other.options)]


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("sshd", {"usepam": ["no"]}, "sshd's UsePAM is no"),
        ("sshd", {"usepam": ["yes"], "pamservicename": ["other"]}, "sshd's PAMServiceName is other, and"),
        # Up to 9.7 it is the name of the program.
        ("gate", {"usepam": ["yes"]}, "sshd's PAMServiceName is gate, and"),
        ("gate", {"usepam": ["yes"], "pamservicename": ["sshd"]}, None),
    ],
)
def test_one_that_leads_past_slurm(monkeypatch, name, values, found):
    kind = {"match": None, "file": None, "line": None, "values": values}
    having(monkeypatch, USUAL._replace(config="/other", name=name), kinds=lambda *asked: [kind])
    told = list(daemons(settings(), {}))
    assert [finding.found.startswith(f"sshd: {found}") for finding in told] == [True] * bool(found)
    assert {finding.kind for finding in told} <= {"problems"}
    assert proof(settings())["holds"] is not bool(found)


def test_one_that_cannot_be_asked_is_no_proof(monkeypatch):
    def refuses(*asked):
        raise CommandExecutionError("sshd refuses the configuration: bad")

    having(monkeypatch, OTHERS[1], kinds=refuses)
    (finding,) = daemons(settings(), {})
    assert finding.found == "sshd could not be asked for its configuration: sshd refuses the configuration: bad"
    assert finding.kind == "problems"
    assert not proof(settings())["holds"]


@pytest.mark.parametrize(
    ("started", "pid_file", "found"),
    [(0.0, None, True), (4e9, None, False), (0.0, "812", False), (0.0, "813", True), (0.0, "none", True)],
)
def test_one_that_has_not_read_its_configuration_again(monkeypatch, tmp_path, started, pid_file, found):
    """A reload writes the PID file; with a file of somebody else's, or none, its start counts."""
    file, written = tmp_path / "config", tmp_path / "pid"
    file.touch()
    if pid_file:
        written.write_text(f"{pid_file}\n")
    values = {"usepam": ["yes"], "pidfile": ["none" if pid_file == "none" else str(written)]}
    kind = {"match": None, "file": None, "line": None, "values": values}
    one = USUAL._replace(config="other", process=process()._replace(started=started))
    having(monkeypatch, one, kinds=lambda *asked: [kind])
    monkeypatch.setattr(sshd_config, "read", lambda config: [{"file": str(file)}] * 2)
    told = list(daemons(settings(), {}))
    assert [finding.found for finding in told] == [f"sshd has not read {file} since it was changed"] * found


# Those that an apply tells to read their configuration again


@pytest.mark.parametrize(
    ("arguments", "reads"),
    [
        (["gate: /opt/gate -D [listener] 0 of 1-1 startups"], True),
        (["sshd: /usr/sbin/sshd -o UsePAM=yes [listener] 0 of 1-1 startups"], True),
        (["sshd: /usr/sbin/sshd -f {own} [listener] 0 of 1-1 startups"], False),
        (["sshd: /usr/sbin/sshd -f {including} [listener] 0 of 1-1 startups"], True),
        (["sshd: /usr/sbin/sshd -f {gone} [listener] 0 of 1-1 startups"], False),
        # The usual one has a unit, and is reloaded by it. Another serves a connection that a socket took.
        (["sshd: /usr/sbin/sshd -D [listener] 0 of 1-1 startups"], False),
        (["/usr/sbin/sshd", "-i", "-o", "UsePAM=yes"], False),
    ],
)
def test_those_that_read_what_is_written(monkeypatch, tmp_path, arguments, reads):
    main, drop_in = tmp_path / "sshd_config", tmp_path / "drop_in.conf"
    files = {name: tmp_path / name for name in ("own", "including", "gone")}
    main.write_text("UsePAM yes\n")
    files["own"].write_text("UsePAM yes\n")
    files["including"].write_text(f"Include {tmp_path}/*.conf\n")
    monkeypatch.setattr(sshd_config, "find", lambda config=None: str(config or main))
    words = [word.format(**files) for word in arguments]
    one = process(*words, program="/opt/gate" if "gate" in words[0] else SSHD)
    monkeypatch.setattr(_slurm_pam_daemons._processes, "running", lambda: [one])
    wanted = settings(sshd={**settings()["sshd"], "drop_in": str(drop_in)})
    for home in (True, False):
        monkeypatch.setattr(_processes, "at_home", lambda pid, home=home: home)
        assert [daemon.process for daemon in reading(wanted)] == [one] * (reads and home)


@pytest.mark.parametrize(
    ("returncode", "goes_on", "told", "why"),
    [
        (0, True, 1, None),
        (0, False, 1, "it has ended since it was told to"),
        (255, True, 0, "it refuses its configuration: line 1: bad"),
    ],
)
def test_one_is_told_if_it_would_go_on(monkeypatch, returncode, goes_on, told, why):
    one = OTHERS[0]._replace(config="/other", process=process())
    asked, signals = [], []

    def ask(*words):
        asked.append(words)
        return subprocess.CompletedProcess(words, returncode, "", "line 1: bad\n")

    monkeypatch.setattr(_slurm_pam_daemons, "reading", lambda settings: [one])
    monkeypatch.setattr(_child, "ask", ask)
    monkeypatch.setattr(_processes, "tell", lambda *words: signals.append(words))
    monkeypatch.setattr(_processes, "is_there", lambda process: goes_on)
    monkeypatch.setattr(_slurm_pam_daemons, "_A_MOMENT", 0)
    assert _slurm_pam_daemons.reload(settings()) == ({one.who: why} if why else {})
    assert asked == [(SSHD, "-t", "-f", "/other", "-o", "UsePAM=no")]
    assert signals == [(one.process, signal.SIGHUP)] * told


def test_a_systemd_that_does_not_answer_is_told(monkeypatch):
    def silent():
        raise Unanswered("systemctl show: no answer")

    having(monkeypatch)
    monkeypatch.setattr(_slurm_pam_daemons, "to_come", silent)
    (finding,) = daemons(settings(), {})
    asked = "systemd could not be asked whether it starts another sshd on this node"
    assert finding.found == f"{asked}: systemctl show: no answer"
    assert finding.kind == "warnings"


@pytest.mark.parametrize(
    ("doors", "told"),
    [({}, 1), ({"gate": "report"}, 1), ({"cron": "close"}, 1), ({"gate": "close"}, 0)],
)
def test_one_with_a_service_of_its_own_that_is_closed(monkeypatch, doors, told):
    kind = {"match": None, "file": None, "line": None, "values": {"usepam": ["yes"]}}
    having(monkeypatch, OTHERS[2], kinds=lambda *asked: [kind])
    found = list(daemons(settings(doors=doors), {}))
    assert len(found) == told and proof(settings(doors=doors))["holds"] is not bool(told)
    assert all("PAMServiceName is gate" in one.found and "(slurm_pam:doors)" in one.do for one in found)
