"""What kind of node this is: what systemd says, also where it says nothing."""

import subprocess

import pytest
from looks import given

import _child
import _slurm_pam_role
from _slurm_pam_role import role


@pytest.fixture(autouse=True)
def running(monkeypatch):
    """systemd runs this system."""
    monkeypatch.setattr(_slurm_pam_role, "booted", lambda: True)


def systemd(monkeypatch, *units, returncode=0):
    """systemd knows slurmd and slurmctld, each by its ActiveState and UnitFileState, as systemctl shows them."""
    asked = []
    blocks = "\n".join("ActiveState={}\nUnitFileState={}\n".format(*unit) for unit in units)

    def ask(*words, **how):
        asked.append(words)
        return subprocess.CompletedProcess(words, returncode, blocks, "")

    monkeypatch.setattr(_child, "ask", ask)
    return asked


STOPPED = ("inactive", "disabled")


@pytest.mark.parametrize(
    ("slurmd", "is_compute"),
    [
        (("active", "enabled"), True),
        (("active", "disabled"), True),
        (("inactive", "enabled"), True),
        (("failed", "enabled-runtime"), True),
        (STOPPED, False),
        (("inactive", "masked"), False),
        (("inactive", ""), False),
    ],
)
def test_a_node_that_does_not_run_slurmd(monkeypatch, slurmd, is_compute):
    asked = systemd(monkeypatch, slurmd, STOPPED)
    found = list(role(*given(slurm={"service": "slurmd-gpu"})))
    assert asked == [("systemctl", "show", "--property=ActiveState,UnitFileState", "--", "slurmd-gpu", "slurmctld")]
    assert [finding.kind for finding in found] == ([] if is_compute else ["problems"])
    for finding in found:
        assert f"the unit slurmd-gpu is {slurmd[0]} and {slurmd[1] or 'not installed'}" in finding.found
    assert list(role(*given(require_slurmd=False))) == []


@pytest.mark.parametrize(("slurmctld", "count"), [(("active", "enabled"), 1), (("inactive", "enabled"), 0)])
def test_a_controller(monkeypatch, slurmctld, count):
    systemd(monkeypatch, ("active", "enabled"), slurmctld)
    found = list(role(*given()))
    assert [finding.kind for finding in found] == ["warnings"] * count
    assert all(finding.found == "slurmctld runs on this node" for finding in found)


def test_a_systemd_that_says_nothing_runs_no_slurmd(monkeypatch):
    systemd(monkeypatch)
    (finding,) = role(*given())
    assert finding.found.endswith("the unit slurmd is unknown and not installed")


SAID = {
    "fails": "echo 'System has not been booted with systemd' >&2; exit 1",
    "fails with half an answer": "printf 'ActiveState=active\\n'; echo 'Connection timed out' >&2; exit 4",
    "says nothing": "exit 3",
    "hangs": "exec sleep 60",
}
WORDS = ["System has not been booted with systemd", "Connection timed out", "exit status 3", "no answer within 0.2"]


@pytest.mark.parametrize(("case", "words"), list(zip(SAID, WORDS)))
@pytest.mark.parametrize(("required", "kind"), [(True, "problems"), (False, "warnings")])
def test_a_systemd_that_cannot_be_asked(monkeypatch, case, words, required, kind):
    ask, patience = _child.ask, 0.2 if case == "hangs" else 60
    monkeypatch.setattr(_child, "ask", lambda *said, timeout, env: ask("sh", "-c", SAID[case], timeout=patience))
    (finding,) = role(*given(require_slurmd=required))
    asked = "systemd could not be asked whether this node runs slurmd or slurmctld"
    assert finding.found.startswith(f"{asked}: systemctl show ")
    assert words in finding.found
    assert finding.kind == kind


def test_no_systemd(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    (finding,) = role(*given())
    assert finding.found.endswith("systemctl: No such file or directory")
    assert finding.kind == "problems"


# An image: what its unit files say, as systemctl is-enabled prints it

IMAGE = "No systemd runs this system, as while an image is built"


def image(monkeypatch, slurmd, slurmctld="disabled", there=True):
    states = {"slurmd": slurmd, "slurmctld": slurmctld}

    def ask(*words, **how):
        assert words[:2] == ("/usr/bin/systemctl", "is-enabled")
        state = states[words[2]]
        return subprocess.CompletedProcess(words, int(state != "enabled"), f"{state}\n" if state else "", "")

    monkeypatch.setattr(_slurm_pam_role, "booted", lambda: False)
    monkeypatch.setattr(_child, "ask", ask)
    monkeypatch.setattr(_child, "which", lambda program: f"/usr/bin/{program}" if there else None)


def besides(**sections):
    first, *others = role(*given(**sections))
    assert first.found == IMAGE and first.kind == "warnings" and "slurm_pam.audit" in first.do
    return others


@pytest.mark.parametrize("state", ["enabled", "enabled-runtime"])
def test_an_image_that_will_run_slurmd(monkeypatch, state):
    image(monkeypatch, state)
    assert besides() == []


@pytest.mark.parametrize(("state", "words"), [("disabled", "disabled"), ("masked", "masked"), ("", "not installed")])
def test_an_image_that_will_not(monkeypatch, state, words):
    image(monkeypatch, state)
    (finding,) = besides()
    assert finding.kind == "problems" and finding.found.endswith(f"slurmd is not running here and {words}")
    assert besides(require_slurmd=False) == []


def test_an_image_of_a_controller(monkeypatch):
    image(monkeypatch, "enabled", "enabled")
    (finding,) = besides()
    assert (finding.kind, finding.found) == ("warnings", "slurmctld is enabled in this image")


def test_nothing_takes_an_apply_to_an_image_back(monkeypatch):
    image(monkeypatch, "enabled")
    (finding,) = besides(confirm=300)
    assert finding.kind == "problems" and finding.found.startswith("slurm_pam:confirm is 300, but no systemd runs")
    assert "Set slurm_pam:confirm: 0 for the build" in finding.do


def test_an_image_without_systemctl(monkeypatch):
    image(monkeypatch, "enabled", there=False)
    (finding,) = besides()
    assert finding.kind == "problems" and finding.found.endswith("there is no systemctl")
