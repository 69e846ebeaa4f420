"""What kind of node this is: what systemd says, also where it says nothing."""

import subprocess

import pytest
from looks import given

import _child
from _slurm_pam_role import role


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
    assert asked == [("systemctl", "show", "--property=ActiveState,UnitFileState", "slurmd-gpu", "slurmctld")]
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
    """As in a chroot."""
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
    ask = _child.ask
    monkeypatch.setattr(_child, "ask", lambda *said, timeout, env: ask("sh", "-c", SAID[case], timeout=0.2))
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
