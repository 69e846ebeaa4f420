"""All looks together, and what stands against a run."""

import pytest
from looks import DEFAULTS, given
from salt.exceptions import CommandExecutionError

import _slurm_pam_modules
import _slurm_pam_preflight
import _slurm_pam_record
import _slurm_pam_wanted
from _slurm_pam_finding import Finding
from _slurm_pam_preflight import LOOKS, findings, moved, objections, preflight

ADMINS = {**DEFAULTS["access"], "groups": {"hpc_admin_g": {"origins": ["ALL"]}, "taken-out": None}}
SETTINGS = {**DEFAULTS, "access": ADMINS}


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        (Finding("found", "why", "do"), "found. why. do"),
        (Finding("found", "", "do"), "found. do"),
        (Finding("found"), "found"),
    ],
)
def test_a_finding_says_what_why_and_what_to_do(finding, text):
    assert finding.text() == text


@pytest.fixture
def looks(monkeypatch):
    """Three looks; what each is given, and what stands against it."""
    left = ("doors", "cron"), ("strays", "bob")
    asked = []
    told = [Finding("a", "why", "do", open=left), Finding("b", kind="warnings"), Finding("c", open=(("doors", "atd"),))]

    def look(finding):
        def tell(settings, wanted):
            asked.append((settings, wanted))
            yield finding

        return tell

    monkeypatch.setattr(_slurm_pam_preflight, "LOOKS", tuple(map(look, told)))
    return asked


def test_every_look_is_asked_in_turn(looks):
    told = findings({"x": 1}, {"y": 2})
    left = {"doors": ["cron", "atd"], "strays": ["bob"]}
    assert told == {"problems": ["a. why. do", "c"], "warnings": ["b"], "open": left}
    assert looks == [({"x": 1}, {"y": 2})] * 3


def test_each_look_says_what_it_looks_for():
    assert len(LOOKS) == len(set(LOOKS))
    assert all(look.__doc__ and not look.__name__.startswith("_") for look in LOOKS)


@pytest.fixture(autouse=True)
def node(monkeypatch):
    """A node with this Slurm, on which nothing was applied; how often a manifest is made."""
    made, wanted = [], _slurm_pam_wanted.wanted
    monkeypatch.setattr(_slurm_pam_modules, "slurm_version", lambda: "17.02.1")
    monkeypatch.setattr(_slurm_pam_record, "recorded", dict)
    monkeypatch.setattr(_slurm_pam_wanted, "wanted", lambda settings: made.append(settings) or wanted(settings))
    return made


def test_the_manifest_is_made_once_and_nulls_are_gone(looks, node):
    settings = {**SETTINGS, "pam_slurm_adopt": {"log_level": None}}
    assert preflight({}, settings)["warnings"] == ["b"]
    assert len(node) == 1
    assert all(asked == looks[0] for asked in looks)
    assert list(looks[0][0]["access"]["groups"]) == ["hpc_admin_g"]
    assert looks[0][0]["pam_slurm_adopt"] == {}
    assert looks[0][1]["access"]["files"][0]["block"].count("\n") == 3


def test_settings_that_are_wrong_are_looked_at_no_further(looks):
    told = preflight({"mode": "enforced"}, {"mode": "enforced"})
    assert (len(told["problems"]), told["warnings"], looks) == (1, [], [])
    # What the installed Slurm does not know is wrong as well.
    told = preflight({}, SETTINGS)
    assert "the installed Slurm 17.02.1 does not know" in told["problems"][0] and looks == []


def test_a_place_that_is_another_than_that_of_the_last_apply(monkeypatch):
    monkeypatch.setattr(_slurm_pam_record, "recorded", lambda: {"slurm_pam:pam:service": "ssh"})
    (finding,) = moved(*given())
    assert finding.found.startswith("slurm_pam:pam:service was 'ssh' when the formula was applied here, and is 'sshd'")
    monkeypatch.setattr(_slurm_pam_record, "recorded", lambda: {"slurm_pam:pam:service": "sshd"})
    assert list(moved(*given())) == []


# What stands against a run


MISFIT = {"modes": "enforce"}
AUDIT = {**SETTINGS, "mode": "audit"}


@pytest.mark.parametrize(
    ("given", "settings", "taking_back", "auditing", "problems", "misfits", "looked"),
    [
        ({}, SETTINGS, False, False, 2, False, True),
        ({}, SETTINGS, False, True, 2, False, True),
        ({}, AUDIT, False, True, 2, False, True),
        # The audit that follows tells what there is on the node.
        ({}, AUDIT, False, False, 0, False, False),
        ({}, {**AUDIT, "access": DEFAULTS["access"]}, False, False, 1, False, False),
        # On the way out only the shape counts.
        ({}, DEFAULTS, True, False, 0, False, False),
        (MISFIT, SETTINGS, False, False, 1, True, False),
        (MISFIT, SETTINGS, False, True, 1, True, False),
        (MISFIT, AUDIT, False, False, 1, True, False),
        (MISFIT, SETTINGS, True, False, 1, True, False),
    ],
)
def test_what_stands_against_a_run(
    looks, monkeypatch, given, settings, taking_back, auditing, problems, misfits, looked
):
    monkeypatch.setattr(_slurm_pam_modules, "slurm_version", lambda: "24.11.5")
    told = objections(given, settings, taking_back, auditing)
    assert (len(told["problems"]), told["misfits"], bool(looks)) == (problems, misfits, looked)
    assert told["warnings"] == (["b"] if looked else [])


def test_on_the_way_out_it_has_to_be_known_what_there_is(monkeypatch):
    def fails():
        raise CommandExecutionError("it cannot be read")

    monkeypatch.setattr(_slurm_pam_record, "recorded", fails)
    with pytest.raises(CommandExecutionError, match="it cannot be read"):
        objections({}, SETTINGS, taking_back=True, auditing=False)
