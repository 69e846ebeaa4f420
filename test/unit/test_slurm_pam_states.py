"""Which states the formula's own are made of, and what they say where there is nothing for them to do."""

import copy
import pathlib

import pytest
import yaml
from harness.source import load
from salt.exceptions import CommandExecutionError

from _slurm_pam_wanted import MARKER, TAG, wanted

ROOT = pathlib.Path(__file__).parents[2]
DEFAULTS = {**yaml.safe_load((ROOT / "slurm_pam" / "defaults.yaml").read_text()), "logind": "mask"}


def settings(**sections):
    merged = copy.deepcopy(DEFAULTS)
    for section, values in sections.items():
        merged[section] = {**merged[section], **values} if isinstance(values, dict) else values
    return merged


class States(dict):
    """Every state there is, each of which remembers how it was called and succeeds."""

    def __init__(self):
        self.calls = []

    def __missing__(self, function):
        def state(*args, **keywords):
            self.calls.append((function, args, keywords))
            return {"name": args[0], "result": True, "changes": {}, "comment": "done"}

        return state


@pytest.fixture
def states():
    return States()


def state(states=None, test=False, applied=None, **salt):
    functions = {
        "slurm_pam.wanted": wanted,
        "slurm_pam.booted": lambda: True,
        "slurm_pam.applied": lambda now: applied or now,
        "slurm_pam.unusable_modules": lambda now: [],
        "slurm_pam.waiting_logins": lambda now, every: [],
        "slurm_pam.end_waiting_logins": lambda now: [],
        "slurm_pam.idle_managers": lambda now: [],
        "service.show": lambda unit: {},
        "slurm_pam.other_sshds": lambda now: [],
        "slurm_pam.strays_to_end": lambda now: {"users": {}, "waits": False},
        **{name.replace("__", "."): function for name, function in salt.items()},
    }
    loaded = load("_states/slurm_pam.py", __salt__=functions, __states__=states, __opts__={"test": test})
    loaded._A_MOMENT = 0
    return loaded


PAM = wanted(DEFAULTS)["pam"]
ENFORCE = settings(slurm={"manage": "enforce", "use_pam": True})
CONF = wanted(ENFORCE)["slurm_conf"]["settings"]
SERVICE = wanted(ENFORCE)["slurmstepd"]["files"]
ACCESS = wanted(DEFAULTS)["access"]["files"]
DROP_IN = "/etc/ssh/sshd_config.d/00-slurm_pam.conf"


@pytest.mark.parametrize(
    ("function", "given", "call", "args", "keywords"),
    [
        ("packages_removed", DEFAULTS, "pkg.removed", (), {"pkgs": ["slurm-pam_slurm"]}),
        ("access_managed", DEFAULTS, "pam_stack.managed", (), {"files": ACCESS, "marker": MARKER}),
        ("access_absent", DEFAULTS, "pam_stack.absent", (), {"files": ACCESS, "marker": MARKER}),
        ("service_managed", ENFORCE, "pam_stack.managed", (), {"files": SERVICE, "marker": MARKER, "replace": False}),
        ("service_absent", ENFORCE, "pam_stack.absent", (), {"files": SERVICE, "marker": MARKER}),
        ("slurm_conf_managed", DEFAULTS, "slurm_conf.checked", (DEFAULTS["slurm"]["settings"], None), {"timeout": 2}),
        ("slurm_conf_managed", ENFORCE, "slurm_conf.managed", (CONF, None), {"tag": TAG}),
        ("slurm_conf_absent", ENFORCE, "slurm_conf.absent", (None,), {"tag": TAG}),
        ("sshd_managed", DEFAULTS, "sshd_config.managed", (), wanted(DEFAULTS)["sshd"]),
        ("sshd_absent", DEFAULTS, "sshd_config.absent", (None, DROP_IN), {"tag": TAG}),
        ("stacks_managed", DEFAULTS, "pam_stack.managed", (), PAM),
        ("stacks_absent", DEFAULTS, "pam_stack.absent", (), {"files": PAM["files"], "marker": MARKER}),
    ],
)
def test_what_a_state_is_made_of(states, function, given, call, args, keywords):
    ret = getattr(state(states), function)("it", given)
    assert ret == {"name": "it", "result": True, "changes": {}, "comment": "done"}
    assert states.calls == [(call, ("it", *args), keywords)]


COMING = {
    "missing": ["slurm-pam_slurm"],
    "changes": {"slurm-pam_slurm": {"old": "", "new": "24.11"}, "libfreeipmi": {"old": "1.6", "new": "1.7"}},
    "losses": [],
}
NOTHING = {"missing": [], "changes": {}, "losses": []}


def refusing(now):
    raise CommandExecutionError("zypper would not install slurm-pam_slrum")


@pytest.mark.parametrize(
    ("coming", "test", "result", "changes", "comment"),
    [
        (lambda now: NOTHING, False, True, {}, "All that is needed of Slurm is on this node already"),
        (lambda now: NOTHING, True, True, {}, "All that is needed of Slurm is on this node already"),
        (lambda now: COMING, True, None, COMING["changes"], "Would install slurm-pam_slurm"),
        (
            lambda now: {**COMING, "losses": ["slurm-smd 24.11 would be removed"]},
            False,
            False,
            {},
            "Nothing was changed.\n- slurm-smd 24.11 would be removed",
        ),
        (refusing, False, False, {}, "Nothing was changed.\n- zypper would not install slurm-pam_slrum"),
    ],
)
def test_packages_that_are_not_installed(states, coming, test, result, changes, comment):
    ret = state(states, test, slurm_pam__installation=coming).packages_installed("it", DEFAULTS)
    assert ret == {"name": "it", "result": result, "changes": changes, "comment": comment}
    assert states.calls == []


def test_packages_that_are_installed(states):
    ret = state(states, slurm_pam__installation=lambda now: COMING).packages_installed("it", DEFAULTS)
    assert ret == {"name": "it", "result": True, "changes": {}, "comment": "done"}
    assert states.calls == [("pkg.installed", ("it",), {"pkgs": ["slurm-pam_slurm"], "refresh": False})]


@pytest.mark.parametrize(
    ("function", "logind", "call"),
    [
        ("logind_managed", "mask", "systemd_logind.masked"),
        ("logind_managed", "stop", "service.dead"),
        ("logind_restored", "mask", "systemd_logind.unmasked"),
        ("logind_restored", "stop", "systemd_logind.unmasked"),
    ],
)
def test_logind(states, function, logind, call):
    assert getattr(state(states), function)("it", settings(logind=logind))["name"] == "it"
    assert states.calls == [(call, ("systemd-logind",), {})]


@pytest.mark.parametrize(
    ("function", "sections", "comment"),
    [
        ("packages_installed", {"packages": {"manage": False}}, "Packages are left alone, as slurm_pam:packages says"),
        ("packages_removed", {"packages": {"pam_slurm_adopt": None}}, "Packages are left alone"),
        ("service_managed", {}, "slurmstepd asks no PAM service, as slurm_pam:slurm:use_pam says"),
        ("service_absent", {}, "slurmstepd was not given a PAM service"),
        ("slurm_conf_managed", {"slurm": {"manage": "keep"}}, "slurm.conf is left alone, as slurm_pam:"),
        ("slurm_conf_absent", {}, "slurm.conf was not edited"),
        ("sshd_managed", {"sshd": {"manage": False}}, "sshd is left alone, as slurm_pam:sshd:manage says"),
        ("sshd_absent", {"sshd": {"manage": False}}, "sshd was left alone"),
        ("logind_managed", {"logind": "keep"}, "systemd-logind is left alone, as slurm_pam:logind says"),
        ("logind_restored", {"logind": "keep"}, "systemd-logind was left alone"),
        ("selinux_managed", {}, "SELinux's policy is left alone, as slurm_pam:selinux says"),
        ("selinux_absent", {}, "SELinux's policy was left alone"),
        ("strays_ended", {}, "Processes outside of jobs are left alone, as slurm_pam:strays and slurm_pam:mode say"),
        ("strays_ended", {"strays": {"action": "end"}, "mode": "adopt"}, "Processes outside of jobs are left alone"),
    ],
)
def test_what_is_left_alone(states, function, sections, comment):
    ret = getattr(state(states), function)("it", settings(**sections))
    assert (ret["name"], ret["result"], ret["changes"], states.calls) == ("it", True, {}, [])
    assert ret["comment"].startswith(comment)


@pytest.mark.parametrize(
    ("function", "call"),
    [("sshd_absent", "sshd_config.absent"), ("logind_restored", "systemd_logind.unmasked")],
)
def test_what_was_applied_is_taken_back_and_not_what_the_settings_say_now(states, function, call):
    now = settings(sshd={"manage": False}, logind="keep")
    getattr(state(states, applied=DEFAULTS), function)("it", now)
    assert [called for called, _, _ in states.calls] == [call]


@pytest.mark.parametrize(("found", "stays"), [("Yes", True), (None, False)])
def test_the_service_of_slurmstepd_stays_while_slurm_conf_asks_for_it(states, found, stays):
    def check(wanted, path, timeout):
        return [{"key": "UsePAM", "wanted": "0", "found": found, "source": "scontrol show config"}]

    ret = _service_absent(states, check)
    assert (ret["result"], bool(states.calls)) == (not stays, not stays)
    assert not stays or "UsePAM is Yes (scontrol show config)" in ret["comment"]


def _service_absent(states, check, find=lambda path: "/etc/slurm/slurm.conf"):
    asked = state(states, slurm_conf__check=check, slurm_conf__find=find)
    return asked.service_absent("it", settings(slurm={"use_pam": True}))


def _fails(*_, **__):
    raise CommandExecutionError("/etc/slurm/slurm.conf:3: Include gone.conf: No such file or directory")


def test_the_service_of_slurmstepd_stays_where_slurm_conf_does_not_say(states):
    ret = _service_absent(states, _fails)
    assert (ret["result"], states.calls) == (False, [])
    assert "could not be asked: /etc/slurm/slurm.conf:3: Include gone.conf" in ret["comment"]


def test_without_slurm_nobody_asks_for_the_service_of_slurmstepd(states):
    assert _service_absent(states, _fails, find=_fails)["result"] is True
    assert states.calls


# Modules that are still to come with a package


@pytest.mark.parametrize(
    ("test", "result", "becomes"), [(False, True, False), (True, True, False), (True, None, None), (True, False, False)]
)
def test_modules_that_cannot_be_used_fail_an_apply_and_are_told_by_a_dry_run(states, test, result, becomes):
    states["pam_stack.managed"] = lambda name, **_: {"name": name, "result": result, "changes": {}, "comment": "said"}
    tried = state(states, test, slurm_pam__unusable_modules=lambda now: ["x.so does not load"])
    ret = tried.stacks_managed("it", DEFAULTS)
    assert ret["result"] is becomes
    assert ("x.so does not load" in ret["comment"]) is (result is not False)
    assert ("said" in ret["comment"]) is (result is not True)


# Services


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize(
    ("function", "salts", "unit", "done"),
    [
        ("sshd_reloaded", "service.reload", "sshd", "reloaded"),
        ("slurmd_restarted", "service.restart", "slurmd", "restarted"),
    ],
)
def test_a_service_is_told_once_and_a_dry_run_says_so(function, salts, unit, done, test):
    told = []
    functions = {"service__status": lambda unit: True, salts.replace(".", "__"): lambda unit: told.append(unit) or True}
    ret = getattr(state(test=test, **functions), function)("it", DEFAULTS)
    assert ret["changes"] == {unit: {"old": "running", "new": done}}
    assert (ret["result"], told) == ((None, []) if test else (True, [unit]))
    assert ret["comment"] == f"{unit} {'would be' if test else 'is'} {done}"


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize(
    ("triggers", "running", "told", "done"),
    [
        ("ssh.socket", {"sshd", "ssh.socket"}, "stop", "stopped, and started anew by ssh.socket for the next login"),
        (
            "ssh.path ssh.socket",
            {"sshd", "ssh.socket"},
            "stop",
            "stopped, and started anew by ssh.socket for the next login",
        ),
        ("ssh.socket", {"sshd"}, "reload", "reloaded"),
        ("ssh.path", {"sshd", "ssh.path"}, "reload", "reloaded"),
        ("", {"sshd"}, "reload", "reloaded"),
        (None, {"sshd"}, "reload", "reloaded"),
    ],
)
def test_an_sshd_that_a_socket_started_is_stopped(triggers, running, told, done, test):
    calls = []
    functions = {
        "service__status": lambda unit: unit in running,
        "service__show": lambda unit: {} if triggers is None else {"TriggeredBy": triggers},
        "service__stop": lambda unit: calls.append("stop") or True,
        "service__reload": lambda unit: calls.append("reload") or True,
    }
    ret = state(test=test, **functions).sshd_reloaded("it", DEFAULTS)
    assert ret["changes"] == {"sshd": {"old": "running", "new": done}}
    assert (ret["result"], calls) == ((None, []) if test else (True, [told]))


@pytest.mark.parametrize(("triggers", "ends"), [("", "sshd"), ("ssh.socket", "ssh.socket")])
def test_an_sshd_that_has_ended_afterwards_fails_the_state(triggers, ends):
    running = {"sshd", "ssh.socket"}
    functions = {
        "service__status": lambda unit: unit in running,
        "service__show": lambda unit: {"TriggeredBy": triggers},
        **dict.fromkeys(("service__stop", "service__reload"), lambda unit: running.discard(ends) or True),
    }
    ret = state(**functions).sshd_reloaded("it", DEFAULTS)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert f"and {ends} has ended since" in ret["comment"] and f"systemctl start {ends};" in ret["comment"]


SECOND = "sshd (process 870: /opt/second -D)"


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("running", [True, False])
def test_another_sshd_that_reads_the_same_files_is_told_as_well(running, test):
    told = []
    functions = {
        "service__status": lambda unit: running,
        "service__reload": lambda unit: told.append(unit) or True,
        "slurm_pam__other_sshds": lambda settings: [SECOND],
        "slurm_pam__reload_other_sshds": lambda settings: told.append(SECOND) or {},
    }
    ret = state(test=test, **functions).sshd_reloaded("it", DEFAULTS)
    usual = {"sshd": {"old": "running", "new": "reloaded"}} if running else {}
    assert ret["changes"] == {**usual, SECOND: {"old": "running", "new": "reloaded"}}
    assert (ret["result"], told) == ((None, []) if test else (True, [*usual, SECOND]))
    assert ret["comment"].endswith(f"{SECOND} {'would be' if test else 'was'} told as well")


def test_another_sshd_that_does_not_read_them_fails_the_state():
    functions = {
        "service__status": lambda unit: True,
        "service__reload": lambda unit: True,
        "slurm_pam__other_sshds": lambda settings: [SECOND],
        "slurm_pam__reload_other_sshds": lambda settings: {SECOND: "it refuses its configuration: bad"},
    }
    ret = state(**functions).sshd_reloaded("it", DEFAULTS)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"] == (
        f"{SECOND} has not read its configuration again: it refuses its configuration: bad. Its sessions stay. "
        "Make it right and reload it, or stop and disable it"
    )


@pytest.mark.parametrize("answer", [False, CommandExecutionError("no such unit")])
def test_a_service_that_does_not_do_it(answer):
    def reload(unit):
        if isinstance(answer, Exception):
            raise answer
        return answer

    ret = state(service__status=lambda unit: True, service__reload=reload).sshd_reloaded("it", DEFAULTS)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"].startswith("sshd could not be reloaded: ")
    assert ret["comment"].endswith("Look at systemctl status sshd")


def test_a_service_that_does_not_run_is_not_started():
    functions = dict.fromkeys(("service__status", "service__enabled"), lambda unit: False)
    assert state(**functions).sshd_reloaded("it", DEFAULTS)["comment"].startswith("sshd does not run")
    assert state(**functions).slurmd_restarted("it", DEFAULTS)["comment"] == "slurmd does not run, and is not started"


def test_nothing_is_reloaded_in_an_image():
    """There systemctl tells whoever asks that all went well: it was ignored."""
    functions = dict.fromkeys(("service__status", "service__enabled"), lambda unit: True)
    functions["slurm_pam__booted"] = lambda: False
    assert state(**functions).sshd_reloaded("it", DEFAULTS)["comment"].startswith("sshd does not run")
    assert state(**functions).slurmd_restarted("it", DEFAULTS)["comment"] == "slurmd does not run, and is not started"


# Whether this node may be changed


def ready(auditing=False, version="1.0.0", partitions=(), **found):
    told = {"problems": [], "warnings": [], "open": {"doors": ["cron"]}, "misfits": False, **found}
    asked = state(slurm_pam__version=lambda: "1.0.0", slurm_pam__objections=lambda *_: told)
    return asked.ready("it", {}, DEFAULTS, list(partitions), version, auditing=auditing)


def test_a_node_that_may_be_changed():
    ret = ready(partitions=["gpu", "login"], warnings=["beware"])
    assert (ret["result"], ret["changes"], ret["warnings"]) == (True, {}, ["beware"])
    assert ret["comment"] == "The settings are right and this node may be changed. Partitions: gpu, login"
    assert "warnings" not in ready()
    # Only an audit's answer is read for it.
    assert "open" not in ready() and ready(auditing=True)["open"] == {"doors": ["cron"]}


@pytest.mark.parametrize(
    ("auditing", "misfits", "result"), [(False, False, False), (True, False, None), (True, True, False)]
)
def test_a_node_that_may_not_be_changed(auditing, misfits, result):
    ret = ready(auditing, problems=["a", "b"], misfits=misfits)
    assert (ret["result"], ret["changes"], ret["comment"]) == (result, {}, "Nothing was changed.\n- a\n- b")


def test_modules_of_another_version_are_not_even_asked():
    ret = ready(version="1.0.1", problems=["not asked"])
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"] == (
        "The formula is version 1.0.1, but its modules on this minion are of 1.0.0. Nothing was changed. "
        "Run this again with sync_mods=all, or run saltutil.sync_all first"
    )


def test_what_cannot_be_told_stops_the_run():
    def objections(*_):
        raise CommandExecutionError("it cannot be read")

    asked = state(slurm_pam__version=lambda: "1.0.0", slurm_pam__objections=objections)
    ret = asked.ready("it", {}, DEFAULTS, [], "1.0.0")
    assert (ret["result"], ret["comment"]) == (False, "Nothing was changed.\n- it cannot be read")


def test_an_audit_that_cannot_be_made_fails_and_says_why():
    def audit(given, env):
        raise CommandExecutionError("The states cannot be rendered: no access.sls")

    loaded = state(slurm_pam__audit=audit)
    loaded.__env__ = "base"
    ret = loaded.audited("audited", {})
    assert (ret["result"], ret["changes"]) == (False, {}) and ret["comment"].endswith("rendered: no access.sls")


# Who was on the node before


@pytest.mark.parametrize("changes", [{}, {"/etc/pam.d/sshd": "diff"}])
def test_connections_of_before_are_ended(states, changes):
    said = {"name": "it", "result": True, "changes": changes, "comment": "said"}
    states["pam_stack.managed"] = lambda name, **_: said
    ended = {"slurm_pam__end_waiting_logins": lambda now: ["process 812, since then", "process 813, since then"]}
    ret = state(states, **ended).stacks_managed("it", DEFAULTS)
    assert ret["changes"] == {**changes, "connections to sshd": {"old": "2 from before", "new": "ended"}}
    assert (ret["result"], ret["comment"]) == (
        True,
        "said\nConnections to sshd were ended, since the old PAM files would let them in: process 812, since then,"
        " process 813, since then",
    )


def test_a_crowd_of_them_is_counted(states):
    said = {"name": "it", "result": True, "changes": {}, "comment": "said"}
    states["pam_stack.managed"] = lambda name, **_: said
    crowd = [f"process {number}, since then" for number in range(1000)]
    ret = state(states, slurm_pam__end_waiting_logins=lambda now: crowd).stacks_managed("it", DEFAULTS)
    assert ret["changes"] == {"connections to sshd": {"old": "1000 from before", "new": "ended"}}
    assert ret["comment"].endswith("process 19, since then and 980 more")


@pytest.mark.parametrize("changes", [{}, {"/etc/pam.d/sshd": "diff"}])
def test_a_dry_run_tells_all_that_wait_if_files_would_be_written(states, changes):
    asked = []
    result = None if changes else True
    states["pam_stack.managed"] = lambda name, **_: {"name": name, "result": result, "changes": changes, "comment": ""}
    waiting = {"slurm_pam__waiting_logins": lambda now, every: asked.append(every) or ["process 812, since then"]}
    ret = state(states, True, **waiting).stacks_managed("it", DEFAULTS)
    assert asked == [bool(changes)]
    assert ret["result"] is None
    assert ret["changes"] == {**changes, "connections to sshd": {"old": "1 from before", "new": "ended"}}
    assert ret["comment"].endswith("would be ended, since the old PAM files would let them in: process 812, since then")


@pytest.mark.parametrize(("mode", "result"), [("adopt", True), ("enforce", False)])
def test_nobody_is_ended_where_nothing_is_closed(states, mode, result):
    told = {"name": "it", "result": result, "changes": {}, "comment": "said"}
    states["pam_stack.managed"] = lambda name, **_: told
    assert state(states, slurm_pam__end_waiting_logins=None).stacks_managed("it", settings(mode=mode)) == told


@pytest.mark.parametrize(("test", "result", "verb"), [(False, True, "were"), (True, None, "would be")])
def test_managers_without_a_session_are_stopped(states, test, result, verb):
    stopped = []
    asked = {
        "slurm_pam__idle_managers": lambda now: ["user@1001.service", "user@1002.service"],
        # What is not this systemd's is left alone.
        "service__status": lambda unit: unit == "user@1001.service",
        "service__stop": lambda unit: stopped.append(unit) or True,
    }
    ret = state(states, test, **asked).logind_managed("it", DEFAULTS)
    assert ret["changes"] == {"user@1001.service": {"old": "running", "new": "stopped"}}
    assert ret["comment"] == f"done\nsystemd managers of people without a session {verb} stopped: user@1001.service"
    assert (ret["result"], stopped) == (result, [] if test else ["user@1001.service"])


def test_a_manager_that_does_not_stop_fails_the_state(states):
    asked = {"slurm_pam__idle_managers": lambda now: ["user@1001.service"], "service__stop": lambda unit: False}
    asked["service__status"] = lambda unit: True
    ret = state(states, **asked).logind_managed("it", DEFAULTS)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"].endswith("user@1001.service could not be stopped. Look at systemctl status user@1001.service")


def test_a_state_that_fails_has_no_changes_where_another_manager_stopped(states):
    asked = {"slurm_pam__idle_managers": lambda now: ["user@1001.service", "user@1002.service"]}
    asked |= {"service__status": lambda unit: True, "service__stop": lambda unit: unit == "user@1002.service"}
    ret = state(states, **asked).logind_managed("it", DEFAULTS)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "user@1002" not in ret["comment"]


# Who is outside of jobs


END = settings(strays={"action": "end", "grace": 60})
FOUND = {"alice": 3, "bob": 1}


@pytest.mark.parametrize(("test", "result", "verb"), [(False, True, "are"), (True, None, "would be")])
def test_strays_are_ended(test, result, verb):
    ended = []
    asked = {
        "slurm_pam__strays_to_end": lambda now: {"users": FOUND, "waits": False},
        "slurm_pam__end_strays": lambda now, users: ended.append(users),
    }
    ret = state(None, test, **asked).strays_ended("it", END)
    assert ret["changes"] == {
        "processes of alice": {"old": "3 outside of jobs", "new": "told, and ended in 60 s"},
        "processes of bob": {"old": "1 outside of jobs", "new": "told, and ended in 60 s"},
    }
    assert (ret["result"], ended) == (result, [] if test else [["alice", "bob"]])
    assert ret["comment"] == f"Users with processes outside of jobs {verb} told, and these {verb} ended 60 s later"


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize(("users", "waits", "told"), [({}, False, "No user has"), (FOUND, True, "An earlier apply")])
def test_strays_that_there_are_none_of_or_that_were_told(users, waits, told, test):
    asked = {"slurm_pam__strays_to_end": lambda now: {"users": users, "waits": waits}, "slurm_pam__end_strays": None}
    ret = state(None, test, **asked).strays_ended("it", END)
    assert (ret["result"], ret["changes"]) == (True, {}) and told in ret["comment"]


def test_strays_on_a_node_without_systemd():
    def fails(now, users):
        raise CommandExecutionError("systemd-run: No such file or directory")

    asked = {"slurm_pam__strays_to_end": lambda now: {"users": FOUND, "waits": False}, "slurm_pam__end_strays": fails}
    ret = state(None, **asked).strays_ended("it", END)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"].endswith("could not be settled: systemd-run: No such file or directory")


@pytest.mark.parametrize(("test", "result", "verb"), [(False, True, "keep"), (True, None, "would keep")])
@pytest.mark.parametrize("now", [DEFAULTS, settings(strays={"action": "end"}, mode="adopt")])
def test_whoever_was_told_is_spared_where_the_settings_have_changed(now, test, result, verb):
    done = []
    asked = {
        "slurm_pam__strays_to_end": lambda now: {"users": {}, "waits": True},
        "slurm_pam__spare_strays": lambda: done.append("stopped"),
    }
    ret = state(None, test, **asked).strays_ended("it", now)
    assert ret["changes"] == {"slurm_pam-strays": {"old": "ends processes when the time is over", "new": "stopped"}}
    assert (ret["result"], done) == (result, [] if test else ["stopped"])
    assert f"{verb} their processes" in ret["comment"]


# SELinux


DENIED = ["sshd_t -> var_lib_t:sock_file (write)", "sshd_t -> initrc_t:unix_stream_socket (connectto)"]
ALLOWED = {what: {"old": "denied", "new": "allowed"} for what in DENIED}


def fails(*words):
    raise CommandExecutionError("semodule: no")


@pytest.mark.parametrize(
    ("denied", "test", "load_it", "result", "changes", "says"),
    [
        ([], False, fails, True, {}, "SELinux does not keep sshd from the step daemons"),
        (DENIED, True, fails, None, ALLOWED, "The policy module slurm_pam would be loaded"),
        (DENIED, False, lambda now: None, True, ALLOWED, "The policy module slurm_pam is loaded"),
        (DENIED, False, fails, False, {}, "SELinux's policy was not changed: semodule: no"),
    ],
)
def test_the_policy_module_is_loaded_where_it_is_needed(denied, test, load_it, result, changes, says):
    salt = {"slurm_pam__selinux": lambda now: {"denied": denied}, "slurm_pam__load_selinux_module": load_it}
    ret = state(test=test, **salt).selinux_managed("s", settings(selinux="manage"))
    assert ret == {"name": "s", "result": result, "changes": changes, "comment": says}


GONE = {"SELinux module slurm_pam": {"old": "loaded", "new": "not there"}}


@pytest.mark.parametrize(
    ("there", "test", "unload", "result", "changes", "says"),
    [
        (lambda: False, False, fails, True, {}, "There is no policy module of the formula"),
        (lambda: True, True, fails, None, GONE, "The policy module slurm_pam would be taken away"),
        (lambda: True, False, lambda: None, True, GONE, "The policy module slurm_pam is taken away"),
        (lambda: True, False, fails, False, {}, "The policy module slurm_pam could not be taken away: semodule: no"),
        (fails, True, fails, False, {}, "The policy module slurm_pam could not be taken away: semodule: no"),
    ],
)
def test_the_policy_module_is_taken_back(there, test, unload, result, changes, says):
    salt = {"slurm_pam__selinux_module_is_loaded": there, "slurm_pam__unload_selinux_module": unload}
    # What was applied counts, and not what the settings say now.
    ret = state(test=test, applied=settings(selinux="manage"), **salt).selinux_absent("s", settings())
    assert ret == {"name": "s", "result": result, "changes": changes, "comment": says}


# The watch


WATCHED = settings(watch=True)
PROGRAM, LINK, NOTED = WATCH_FILES = [f"/var/lib/slurm_pam/{name}" for name in ("watch", "drain", "accepted")]
ABSENT, THERE = (None, None, None), ("#!", {"link": "watch"}, "noted")


def watching(function, before, now=WATCHED, after=THERE, anew=False, test=False):
    """What the state returns, and what was done."""
    done = []
    files = [
        {"path": path, "before": was, "after": to_come}
        for path, was, to_come in zip(WATCH_FILES, before, after, strict=True)
    ]
    asked = {
        "slurm_pam__watch_plan": lambda settings, to_come: {"files": files, "anew": anew},
        "slurm_pam__watch_files": lambda: WATCH_FILES,
        "slurm_pam__suspend_watch": lambda: done.append("suspended"),
        "slurm_pam__resume_watch": lambda: done.append("resumed"),
        "file_transaction__read": lambda path: dict(zip(WATCH_FILES, before, strict=True))[path],
        "file_transaction__commit": lambda files: done.append([file["path"] for file in files]),
    }
    arguments = ("it",) if function == "watch_suspended" else ("it", now)
    return getattr(state(None, test, **asked), function)(*arguments), done


WRITTEN, REMOVED = {"old": "not there", "new": "written"}, {"old": "there", "new": "removed"}
FIRST = {PROGRAM: WRITTEN, LINK: WRITTEN, NOTED: {"old": "not there", "new": "this node as it is now"}}
OTHERWISE = {NOTED: {"old": "this node as it was", "new": "this node as it is now"}}


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize(
    ("before", "anew", "changes"),
    [
        (ABSENT, True, FIRST),
        (THERE, False, {}),
        (THERE, True, OTHERWISE),
        (("other", *THERE[1:]), False, {PROGRAM: {"old": "there", "new": "written"}}),
        # Only times are other ones: it is brought up to date, and that is no change.
        ((*THERE[:2], "other"), False, {}),
    ],
)
def test_what_the_watch_holds_a_node_against(before, anew, changes, test):
    ret, done = watching("watch_managed", before, anew=anew, test=test)
    assert (ret["result"], ret["changes"]) == (None if test and changes else True, changes)
    assert done == ([] if test else [WATCH_FILES, "resumed"])


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize(("function", "now"), [("watch_managed", DEFAULTS), ("watch_absent", WATCHED)])
@pytest.mark.parametrize("before", [THERE, ABSENT])
def test_no_watch(function, now, before, test):
    ret, done = watching(function, before, now, test=test)
    changes = {} if before is ABSENT else dict.fromkeys(WATCH_FILES, REMOVED)
    assert (ret["result"], ret["changes"]) == (None if test and changes else True, changes)
    # What names the program goes before it.
    assert done == ([WATCH_FILES[::-1]] if changes and not test else [])


@pytest.mark.parametrize(("test", "done"), [(False, ["suspended"]), (True, [])])
def test_an_apply_says_that_it_runs(test, done):
    ret, found = watching("watch_suspended", THERE, test=test)
    assert (ret["result"], ret["changes"], found) == (True, {}, done)


def test_what_keeps_a_node_closed_cannot_be_told():
    def fails(settings, to_come):
        raise CommandExecutionError("stat could not be asked")

    ret = state(None, slurm_pam__watch_plan=fails).watch_managed("it", WATCHED)
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, "stat could not be asked")
