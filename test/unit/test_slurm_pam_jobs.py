"""The jobs of this node: what Slurm's programs say, also where they say nothing."""

import io
from types import SimpleNamespace

import pytest

import _child
import _slurm_pam_jobs

HEADING = "PID      JOBID    STEPID   LOCALID GLOBALID\n"
LISTPIDS = f"""{HEADING}\
11       7        extern   0       0
12       7        batch    0       0
13       8        extern   -       -
-1       9        0        0       0
14       6        extern   0       0
"""
# Processes by their user. Slurm's placeholders are root's, and on cgroup v1 in a group of the job's user.
OWNERS = {"11": 0, "12": 1001, "13": 0, "14": 0}
CGROUPS = {"11": "0::/job_7/step_extern/user/task_0\n", "14": "3:freezer:/slurm/uid_1004/job_6/step_extern\n"}
USERS = {1001: "alice", 1004: "dora"}


def stat(path):
    if (pid := path.removeprefix("/proc/")) not in OWNERS:
        raise FileNotFoundError(path)
    return SimpleNamespace(st_uid=OWNERS[pid])


def read(path, **how):
    return io.StringIO(CGROUPS.get(path.split("/")[2], ""))


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Slurm's programs, as scripts; returns what writes one."""
    pwd = SimpleNamespace(getpwuid=lambda uid: SimpleNamespace(pw_name=USERS[uid]))
    monkeypatch.setattr(_slurm_pam_jobs, "os", SimpleNamespace(stat=stat))
    monkeypatch.setattr(_slurm_pam_jobs, "open", read, raising=False)
    monkeypatch.setattr(_slurm_pam_jobs, "pwd", pwd)
    monkeypatch.setattr(_child, "which", lambda program: str(tmp_path / program))

    def write(program, text):
        (tmp_path / program).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / program).chmod(0o755)

    write("scontrol", f"test $1 = listpids && cat <<'END'\n{LISTPIDS}END")
    return write


@pytest.fixture
def patience(monkeypatch):
    """Programs that hang are not waited for as long as they are; the seconds that each was given."""
    ask, given = _child.ask, []
    monkeypatch.setattr(_child, "ask", lambda *words, timeout=30: given.append(timeout) or ask(*words, timeout=0.2))
    return given


def jobs():
    return [(job["job"], job["user"], job["extern"]) for job in _slurm_pam_jobs.jobs()]


def test_jobs_whose_owner_only_slurmctld_knows(slurm):
    slurm("squeue", "test $3 = --jobs=8,9 && printf '8 bob\\n10 bob\\n9 carol\\n'")
    # Job 10 is of the same array as job 8, and runs elsewhere.
    assert jobs() == [(6, "dora", True), (7, "alice", True), (8, "bob", True), (9, "carol", False)]


@pytest.mark.parametrize("squeue", ["exec sleep 60", "echo slurm_load_jobs error >&2; exit 1"])
def test_a_slurmctld_that_does_not_answer(slurm, patience, squeue):
    slurm("squeue", squeue)
    assert jobs() == [(6, "dora", True), (7, "alice", True), (8, None, True), (9, None, False)]
    assert patience == [30, 5]


@pytest.mark.parametrize(
    "scontrol",
    [
        # As it is without a job on the node, without a configuration, and with step daemons that hang.
        f"printf '{HEADING}'; echo 'No job steps exist on this node.' >&2; exit 1",
        "echo 'scontrol: fatal: Could not establish a configuration source' >&2; exit 1",
        "exec sleep 60",
    ],
)
def test_no_jobs(slurm, patience, scontrol):
    slurm("scontrol", scontrol)
    assert jobs() == []
    assert patience == [30]


def test_a_step_that_ends_meanwhile_takes_no_other_with_it(slurm):
    slurm("scontrol", f"cat <<'END'\n{HEADING}12 7 extern 0 0\nEND\necho '8.extern does not exist' >&2; exit 1")
    assert jobs() == [(7, "alice", True)]


def test_no_slurm(monkeypatch):
    monkeypatch.setattr(_child, "which", lambda program: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert jobs() == []
