"""What is written down of where things were put, and what that means once the settings have changed."""

import copy
import json
import pathlib

import pytest
import yaml
from harness.source import Modules, load

ROOT = pathlib.Path(__file__).parents[2]
SETTINGS = yaml.safe_load((ROOT / "slurm_pam" / "defaults.yaml").read_text())
RECORDED = "Where the formula puts what is written down"
FORGOTTEN = "Nothing of the formula is left to be found"


def having(**sections):
    settings = copy.deepcopy(SETTINGS)
    for section, values in sections.items():
        if isinstance(values, dict):
            settings[section].update(values)
        else:
            settings[section] = values
    return settings


class Places:
    """The module and its states, with a file of their own."""

    def __init__(self, path, test):
        modules = Modules("file_transaction", "slurm_pam_places")
        modules.files["slurm_pam_places"].PATH = str(path)
        self.path, self.module = path, modules["slurm_pam_places"]
        self.state = load("_states/slurm_pam_places.py", __salt__=modules.salt, __opts__={"test": test})


@pytest.fixture
def places(tmp_path, test_mode):
    return Places(tmp_path / "slurm_pam" / "places.json", test_mode)


@pytest.fixture
def written(tmp_path):
    return Places(tmp_path / "slurm_pam" / "places.json", False)


def test_written_down_once_and_forgotten(places, written, test_mode):
    ret = places.state.recorded("places", SETTINGS)
    assert (ret["result"], ret["comment"]) == (None if test_mode else True, RECORDED)
    assert '+ "slurm_pam:access:file": "/etc/security/slurm-access.conf",\n' in ret["changes"][str(places.path)]["diff"]
    assert places.path.exists() is not test_mode
    written.state.recorded("places", SETTINGS)
    again = places.state.recorded("places", SETTINGS)
    assert (again["result"], again["changes"], again["comment"]) == (True, {}, RECORDED)
    gone = places.state.forgotten("places")
    assert (gone["result"], gone["comment"]) == (None if test_mode else True, FORGOTTEN)
    assert list(gone["changes"]) == [str(places.path)]
    assert places.path.exists() is test_mode


def test_as_much_as_was_done_stays(written):
    more = having(slurm={"manage": "enforce", "use_pam": True}, logind="stop")
    less = having(sshd={"manage": False}, logind="keep")
    written.state.recorded("places", more)
    assert not written.state.recorded("places", less)["changes"]
    found = written.module.applied(less)
    assert (found["slurm"]["manage"], found["slurm"]["use_pam"]) == ("enforce", True)
    assert (found["sshd"]["manage"], found["logind"]) == (True, "stop")
    assert written.state.recorded("places", having(logind="mask"))["changes"]
    assert written.module.applied(less)["logind"] == "mask"
    assert less == having(sshd={"manage": False}, logind="keep")


def test_without_a_record_the_settings_count(written):
    settings = having(logind="stop", pam={"suffix": "-pc"})
    assert written.module.applied(settings) == settings
    assert written.module.moved(settings) == []


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
def test_a_place_that_moved_is_named_and_found(written, section, name, value):
    written.state.recorded("places", SETTINGS)
    settings = having(**{section: {name: value}})
    (problem,) = written.module.moved(settings)
    assert problem == (
        f"slurm_pam:{section}:{name} was {SETTINGS[section][name]!r} when the formula was applied here, and is "
        f"{value!r}. What stands at the old place would stay in force. Apply slurm_pam.clean first, which takes back "
        "what was applied, and then apply again"
    )
    assert written.module.applied(settings) == SETTINGS


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_record_that_cannot_be_read(places, text):
    places.path.parent.mkdir()
    places.path.write_text(text)
    ret = places.state.recorded("places", SETTINGS)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"].startswith(f"{places.path}, where the formula keeps what it has put where, cannot be read: ")
    assert places.path.read_text() == text


def test_a_record_is_plain_to_read(written):
    written.state.recorded("places", SETTINGS)
    assert json.loads(written.path.read_text()) == {
        "slurm_pam:access:file": "/etc/security/slurm-access.conf",
        "slurm_pam:logind": "mask",
        "slurm_pam:pam:account_source": "common-account",
        "slurm_pam:pam:service": "sshd",
        "slurm_pam:pam:session_source": "common-session",
        "slurm_pam:pam:suffix": "",
        "slurm_pam:slurm:conf": None,
        "slurm_pam:slurm:manage": "check",
        "slurm_pam:slurm:use_pam": False,
        "slurm_pam:sshd:config": None,
        "slurm_pam:sshd:drop_in": "/etc/ssh/sshd_config.d/00-slurm_pam.conf",
        "slurm_pam:sshd:manage": True,
        "systemd-logind was masked": False,
    }
