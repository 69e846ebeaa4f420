"""What is written down of what was applied, and what that means once the settings have changed."""

import copy
import json
import pathlib

import pytest
import yaml
from harness.source import Modules, load

import _slurm_pam_record
import _slurm_pam_wanted

ROOT = pathlib.Path(__file__).parents[2]
SETTINGS = {**yaml.safe_load((ROOT / "slurm_pam" / "defaults.yaml").read_text()), "logind": "mask"}
RECORDED = "The places that the formula writes to are recorded"
FORGOTTEN = "No record of an apply is left"


def having(**sections):
    settings = copy.deepcopy(SETTINGS)
    for section, values in sections.items():
        if isinstance(values, dict):
            settings[section].update(values)
        else:
            settings[section] = values
    return settings


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where it is written down here."""
    path = tmp_path / "slurm_pam" / "places.json"
    monkeypatch.setattr(_slurm_pam_wanted, "RECORD", str(path))
    return path


def states(test):
    salt = Modules("file_transaction", "slurm_pam").salt
    return load("_states/slurm_pam.py", __salt__=salt, __opts__={"test": test})


def write_down(settings):
    return states(test=False).recorded("record", settings)


def test_written_down_once_and_forgotten(path, test_mode):
    state = states(test_mode)
    ret = state.recorded("record", SETTINGS)
    assert (ret["result"], ret["comment"]) == (None if test_mode else True, RECORDED)
    assert '+ "slurm_pam:access:file": "/etc/security/slurm-access.conf",\n' in ret["changes"][str(path)]["diff"]
    assert path.exists() is not test_mode
    write_down(SETTINGS)
    again = state.recorded("record", SETTINGS)
    assert (again["result"], again["changes"], again["comment"]) == (True, {}, RECORDED)
    gone = state.forgotten("record", SETTINGS)
    assert (gone["result"], gone["comment"]) == (None if test_mode else True, FORGOTTEN)
    assert list(gone["changes"]) == [str(path)]
    assert path.exists() is test_mode


def test_as_much_as_was_done_stays(path):
    more = having(slurm={"manage": "enforce", "use_pam": True}, logind="stop")
    less = having(sshd={"manage": False}, logind="keep")
    write_down(more)
    assert not write_down(less)["changes"]
    found = _slurm_pam_record.applied(less)
    assert (found["slurm"]["manage"], found["slurm"]["use_pam"]) == ("enforce", True)
    assert (found["sshd"]["manage"], found["logind"]) == (True, "stop")
    assert write_down(having(logind="mask"))["changes"]
    assert _slurm_pam_record.applied(less)["logind"] == "mask"
    assert less == having(sshd={"manage": False}, logind="keep")


def test_the_last_message_is_ours_until_all_is_taken_back(path):
    assert write_down(having())["result"] and _slurm_pam_record.message() is None
    assert _slurm_pam_record.applied(having(pam={"message": "now"}))["pam"]["message"] is None
    for text, known in (("one", "one"), ("two", "two"), (None, "two")):
        write_down(having(pam={"message": text}))
        assert _slurm_pam_record.message() == known
    assert _slurm_pam_record.applied(having(pam={"message": "now"}))["pam"]["message"] == "two"


@pytest.fixture
def message(path, tmp_path, monkeypatch):
    monkeypatch.setattr(_slurm_pam_wanted, "MESSAGE", str(tmp_path / "message"))
    return tmp_path / "message"


def test_the_message_is_written_and_taken_back(message, test_mode):
    given, state = having(pam={"message": "Get 1 %"}), states(test_mode)
    assert states(False).message_managed("x", having())["changes"] == {}
    write_down(given)
    ret = state.message_managed("x", given)
    assert (ret["result"], list(ret["changes"])) == (None if test_mode else True, [str(message)])
    assert message.exists() is not test_mode
    states(False).message_managed("x", given)
    assert message.read_text() == "Get 1 %%\n" and message.stat().st_mode & 0o777 == 0o644
    assert state.message_managed("x", given)["changes"] == {}
    # Where the settings have none any more, and on the way out, whatever they say.
    for taking_back in (lambda: state.message_managed("x", having()), lambda: state.message_absent("x", given)):
        states(False).message_managed("x", given)
        ret = taking_back()
        assert (ret["result"], list(ret["changes"])) == (None if test_mode else True, [str(message)])
        assert message.exists() is test_mode
    message.unlink(missing_ok=True)
    assert state.message_absent("x", given)["changes"] == {}


def test_a_message_that_cannot_be_written_is_said(message):
    given = having(pam={"message": "Get a job"})
    write_down(given)
    message.mkdir()
    for function in ("message_managed", "message_absent"):
        ret = getattr(states(False), function)("x", given)
        assert (ret["result"], ret["changes"]) == (False, {}) and str(message) in ret["comment"]


@pytest.mark.parametrize(("was", "logind"), [(False, "mask"), (True, "keep")])
def test_what_was_masked_before_is_none_of_ours(path, was, logind):
    path.parent.mkdir()
    path.write_text(json.dumps({"slurm_pam:logind": "mask", "systemd-logind was masked": was}))
    assert _slurm_pam_record.applied(having(logind="stop"))["logind"] == logind


def test_without_a_record_the_settings_count(path):
    settings = having(logind="stop", pam={"suffix": "-pc"})
    assert _slurm_pam_record.applied(settings) == settings
    assert _slurm_pam_record.moved(settings) == []


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("access", "file", "/etc/security/access.conf"),
        ("pam", "service", "login"),
        ("pam", "account_source", "site-account"),
        ("pam", "session_source", "site-session"),
        ("pam", "suffix", "-pc"),
        ("sshd", "config", "/etc/ssh/other"),
        ("sshd", "drop_in", "/etc/ssh/sshd_config.d/10-site.conf"),
        ("slurm", "conf", "/srv/slurm.conf"),
    ],
)
def test_a_place_that_moved_is_named_and_found(path, section, name, value):
    write_down(SETTINGS)
    settings = having(**{section: {name: value}})
    (problem,) = _slurm_pam_record.moved(settings)
    assert problem == (
        f"slurm_pam:{section}:{name} was {SETTINGS[section][name]!r} when the formula was applied here, and is "
        f"{value!r}. What stands at the old place would stay in force. Apply slurm_pam.clean first, which takes back "
        "what was applied, and then apply again"
    )
    assert _slurm_pam_record.applied(settings) == SETTINGS


WRONG = {"doors": [None, 5, "login", [1]], "pam:door_sources": [[], {"login": 1}], "logind": [None, "x", {}]}
WRONG |= {"slurm:manage": [True], "sshd:manage": ["yes"], "access:file": [5, []]}
DAMAGED = [json.dumps({f"slurm_pam:{key}": value}) for key, values in WRONG.items() for value in values]


@pytest.mark.parametrize("text", ["", "{", "[]", *DAMAGED])
def test_a_record_that_cannot_be_read(path, text, test_mode):
    path.parent.mkdir()
    path.write_text(text)
    ret = states(test_mode).recorded("record", SETTINGS)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"].startswith(f"{path}, the formula's record of what it has put where, cannot be read: ")
    assert path.read_text() == text


def test_a_record_is_plain_to_read(path):
    write_down(SETTINGS)
    assert json.loads(path.read_text()) == {
        "slurm_pam:access:file": "/etc/security/slurm-access.conf",
        "slurm_pam:logind": "mask",
        "slurm_pam:pam:account_source": "common-account",
        "slurm_pam:pam:service": "sshd",
        "slurm_pam:pam:session_source": "common-session",
        "slurm_pam:pam:suffix": "",
        "slurm_pam:selinux": "report",
        "slurm_pam:slurm:conf": None,
        "slurm_pam:slurm:manage": "check",
        "slurm_pam:slurm:use_pam": False,
        "slurm_pam:sshd:config": None,
        "slurm_pam:sshd:drop_in": "/etc/ssh/sshd_config.d/00-slurm_pam.conf",
        "slurm_pam:sshd:manage": True,
        "systemd-logind was masked": False,
    }


def test_doors_that_were_closed_are_opened_again_and_taken_back(path):
    write_down(having(doors={"cron": "close", "login": "report", "sshd": "close"}))
    write_down(having(doors={"cron": "report", "cockpit": "close"}))
    assert json.loads(path.read_text())["slurm_pam:doors"] == ["cockpit", "cron"]
    now = having(doors={"cron": "leave", "login": "close", "cockpit": "close"})
    assert _slurm_pam_record.continued(now)["doors"] == {"cron": "opened", "login": "close", "cockpit": "close"}
    assert _slurm_pam_record.applied(having(doors={"login": "close"}))["doors"] == {"cockpit": "close", "cron": "close"}


@pytest.fixture
def gates(tmp_path, monkeypatch):
    """These doors are closed, and no others."""
    monkeypatch.setattr(_slurm_pam_wanted, "PAM_DIRECTORY", str(tmp_path))

    def gates(*services):
        for old in tmp_path.glob("slurm-door-*"):
            old.unlink()
        for service in services:
            (tmp_path / f"slurm-door-{service}").touch()

    return gates


def sources(made):
    return made["pam"]["door_sources"]


def test_a_door_is_opened_with_what_it_was_closed_beside(path, gates):
    write_down(having(doors={"login": "close", "cron": "close"}, pam={"door_sources": {"login": "a", "su": "x"}}))
    gates("login", "cron")
    assert json.loads(path.read_text())["slurm_pam:pam:door_sources"] == {"login": "a"}
    # The settings say otherwise by then, also of a door that had none.
    write_down(having(doors={"su": "close"}, pam={"door_sources": {"login": "b", "cron": "c", "su": "s"}}))
    assert json.loads(path.read_text())["slurm_pam:pam:door_sources"] == {"login": "a", "su": "s"}
    now = having(doors={"su": "close"}, pam={"door_sources": {"login": "b", "cron": "c", "su": "t", "atd": "d"}})
    assert sources(_slurm_pam_record.continued(now)) == {"login": "a", "su": "t", "atd": "d"}
    assert sources(_slurm_pam_record.applied(now)) == {"login": "a", "su": "s", "atd": "d"}


def with_source(source, word="close"):
    return having(doors={"login": word}, pam={"door_sources": {"login": source} if source else {}})


@pytest.mark.parametrize(("was", "now"), [("a", "b"), (None, "b"), ("a", None), ("a", "a"), (None, None)])
def test_what_a_closed_door_names_is_a_place_as_well(path, gates, was, now):
    write_down(with_source(was))
    assert _slurm_pam_record.moved(with_source(now)) == []  # nothing came of it
    gates("login")
    told = _slurm_pam_record.moved(with_source(now))
    assert [problem.partition(" when ")[0] for problem in told] == (
        [] if was == now else [f"slurm_pam:pam:door_sources:login was {was!r}"]
    )
    for word in ("report", "opened"):
        assert _slurm_pam_record.moved(with_source(now, word)) == []


@pytest.mark.parametrize(("was", "now"), [("a", "b"), (None, "b"), ("a", None)])
def test_a_door_that_is_closed_a_second_time_has_what_its_file_names_then(path, gates, was, now):
    write_down(with_source(was))
    gates("login")
    write_down(having(doors={"login": "report"}))
    assert sources(_slurm_pam_record.applied(SETTINGS)).get("login") == was
    gates()
    assert write_down(having())["changes"] == {}
    write_down(with_source(now))
    gates("login")
    assert write_down(with_source(now))["changes"] == write_down(having())["changes"] == {}
    assert sources(_slurm_pam_record.applied(SETTINGS)).get("login") == now


def test_what_null_takes_out_is_not_written_down(path, gates):
    """A record is one that the next apply and clean can read."""
    given = having(doors={"login": "close", "cron": None}, pam={"door_sources": {"login": None}})
    assert write_down(given)["result"]
    assert _slurm_pam_record.recorded()["slurm_pam:doors"] == ["login"]
    gates("login")
    assert write_down(given)["changes"] == {}
    assert sources(_slurm_pam_record.applied(SETTINGS)) == {}


def test_without_a_closed_door_none_is_written_down(path):
    write_down(having(doors={"cron": "report"}))
    assert "slurm_pam:doors" not in json.loads(path.read_text())
