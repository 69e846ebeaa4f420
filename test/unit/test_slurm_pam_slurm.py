"""Whether slurm.conf has what is needed, and the cluster runs with it."""

import pytest
from looks import given
from salt.exceptions import CommandExecutionError

import _child
import _pam_expand
import slurm_conf
from _slurm_pam_slurm import conf

# Whether the node is closed already


def account(monkeypatch, *modules):
    """The modules of the service's account stack."""
    rules = [{"module": module, "name": module} for module in modules]
    monkeypatch.setattr(_pam_expand, "expand", lambda service: {"types": {"account": rules}})


CLOSED = ("pam_slurm_adopt.so", None)
KINDS = [((), "problems"), (("pam_slurm.so", None), "problems"), (CLOSED, "warnings")]


# slurm.conf


CHECK = {"settings": {"PrologFlags": ["Contain"], "ProctrackType": None, "TaskPlugin": None}, "use_pam": True}
SCONTROL, FILE = "scontrol show config", "/etc/slurm/slurm.conf"


@pytest.fixture
def installed(monkeypatch):
    """slurmd is there; what slurm.conf is asked, and what it lacks."""
    monkeypatch.setattr(_child, "which", lambda program: f"/usr/sbin/{program}")
    asked, lacking = [], []

    def check(wanted, path, timeout, unanswered):
        asked.append((wanted, path, timeout))
        return lacking

    monkeypatch.setattr(slurm_conf, "check", check)
    monkeypatch.setattr(slurm_conf, "plan", lambda wanted, path, tag: {})
    return asked, lacking


def lack(key, wanted, found, source=FILE):
    return {"key": key, "wanted": wanted, "found": found, "source": source}


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        (lack("PrologFlags", ["Contain"], None), f"PrologFlags is not set ({FILE}), and has to contain Contain"),
        (lack("TaskPlugin", ["a", "b"], "a"), f"TaskPlugin is a ({FILE}), and has to contain a, b"),
        (lack("UsePAM", "1", "0", SCONTROL), f"UsePAM is 0 ({SCONTROL}), and has to be 1"),
    ],
)
def test_slurm_conf_lacks_something(installed, lacking, told):
    asked, answer = installed
    answer.append(lacking)
    (finding,) = conf(*given(slurm={**CHECK, "conf": "/x/slurm.conf"}))
    assert asked == [({"PrologFlags": ["Contain"], "UsePAM": "1"}, "/x/slurm.conf", 2)]
    assert (finding.found, finding.kind) == (told, "problems")


@pytest.mark.parametrize("manage", ["check", "enforce"])
def test_a_slurmctld_that_does_not_answer_is_told_and_stops_nothing(installed, monkeypatch, manage):
    monkeypatch.setattr(slurm_conf, "check", lambda wanted, path, timeout, unanswered: unanswered.append("why") or [])
    (finding,) = conf(*given(slurm={"manage": manage}))
    assert (finding.found, finding.kind) == ("slurmctld did not say what it runs with (why)", "warnings")


def test_slurm_is_still_to_come_or_nobody_wants_to_know(installed, monkeypatch):
    installed[1].append(lack("PrologFlags", ["Contain"], None))
    assert list(conf(*given(slurm={"manage": "keep"}))) == []
    monkeypatch.setattr(_child, "which", lambda program: None)
    assert list(conf(*given())) == []
    # Only a package of these settings will bring it.
    for packages in ({"manage": False}, {"node": None}):
        assert len(list(conf(*given(packages=packages)))) == 1


@pytest.mark.parametrize(("manage", "function"), [("check", "check"), ("enforce", "plan"), ("enforce", "check")])
def test_a_slurm_conf_that_cannot_be_asked(installed, monkeypatch, manage, function):
    def fails(*_):
        raise CommandExecutionError("No slurm.conf here")

    monkeypatch.setattr(slurm_conf, function, fails)
    (finding,) = conf(*given(slurm={"manage": manage}))
    assert finding.found == "slurm_pam:slurm: No slurm.conf here"


def test_what_slurm_would_refuse_is_found_before_it_is_written(installed, monkeypatch):
    tried = []

    def refuses(path, files):
        tried.append((path, files))
        raise CommandExecutionError("scontrol does not accept it")

    monkeypatch.setattr(slurm_conf, "test_config", refuses)
    assert list(conf(*given(slurm={"manage": "enforce", "conf": "/x"}))) == []  # nothing is to be written
    monkeypatch.setattr(slurm_conf, "plan", lambda wanted, path, tag: {"/x": "text"})
    (finding,) = conf(*given(slurm={"manage": "enforce", "conf": "/x"}))
    assert (finding.found, finding.kind) == ("slurm_pam:slurm: scontrol does not accept it", "problems")
    assert tried == [("/x", {"/x": "text"})]


ENFORCE = {
    "manage": "enforce",
    "settings": {"PrologFlags": ["Contain"], "TaskPlugin": ["task/cgroup"], "ProctrackType": None, "Other": "1"},
    "use_pam": True,
}
LACKING = [lack("PrologFlags", ["Contain"], "none", SCONTROL), lack("TaskPlugin", ["task/cgroup"], "none", SCONTROL)]


@pytest.mark.parametrize(("modules", "kind"), KINDS)
def test_what_is_going_to_be_written_is_not_in_force_yet(installed, monkeypatch, modules, kind):
    account(monkeypatch, *modules)
    asked, lacking = installed
    lacking += [*LACKING, lack("UsePAM", "1", None)]
    (finding,) = conf(*given(slurm=ENFORCE))
    # Only what pam_slurm_adopt needs, and only what slurmctld says: the file is going to be right.
    assert asked == [({"PrologFlags": ["Contain"], "TaskPlugin": ["task/cgroup"]}, None, 2)]
    assert finding.kind == kind
    assert finding.found == (
        "slurm_pam:slurm:manage is enforce, but the cluster does not run with it yet: PrologFlags is none "
        "(scontrol show config), and has to contain Contain; TaskPlugin is none (scontrol show config), and has to "
        "contain task/cgroup"
    )
    assert "restart slurmctld and every slurmd" in finding.do and "slurm_pam:mode: adopt" in finding.do


@pytest.mark.parametrize("lacking", [[], [lack("PrologFlags", ["Contain"], None)]])
def test_what_is_in_force_or_will_be(installed, lacking):
    installed[1].extend(lacking)
    assert list(conf(*given(slurm=ENFORCE))) == []


NOBODY_IS_TURNED_AWAY = [{"mode": "adopt"}, {"module": "pam_slurm"}]


@pytest.mark.parametrize("changed", NOBODY_IS_TURNED_AWAY)
def test_what_is_not_in_force_does_not_matter_if_nobody_is_turned_away_for_it(installed, changed):
    installed[1].extend(LACKING)
    assert list(conf(*given(slurm=ENFORCE, **changed))) == []
    assert installed[0] == []  # slurmctld is not even asked
