"""slurm_pam.jobs: what Slurm's programs say about this node's jobs, also where they say nothing."""

import time

import pytest
from harness.source import load

LISTPIDS = """\
PID      JOBID    STEPID   LOCALID GLOBALID
11       7        extern   0       0
12       7        batch    0       0
13       8        extern   -       -
14       9        0        0       0
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Slurm's programs, as scripts; returns what writes one."""
    module = load("_modules/slurm_pam.py")
    module._owner = {"11": None, "12": "alice", "13": None, "14": None}.get
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def write(program, text):
        (tmp_path / program).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / program).chmod(0o755)

    write("scontrol", f"cat <<'END'\n{LISTPIDS}END")
    return module, write


def jobs(slurm):
    return [(job["job"], job["user"], job["extern"]) for job in slurm[0].jobs()]


def test_jobs_whose_owner_only_slurmctld_knows(slurm):
    slurm[1]("squeue", "test $3 = --jobs=8,9 && printf '8 bob\\n10 bob\\n9 carol\\n'")
    # Job 10 is of the same array as job 8, and runs elsewhere.
    assert jobs(slurm) == [(7, "alice", True), (8, "bob", True), (9, "carol", False)]


def test_a_slurmctld_that_does_not_answer(slurm):
    slurm[1]("squeue", "sleep 60")
    began = time.monotonic()
    assert jobs(slurm) == [(7, "alice", True), (8, None, True), (9, None, False)]
    assert time.monotonic() - began < 10


def test_step_daemons_that_do_not_answer(slurm):
    module, write = slurm
    write("scontrol", "sleep 60")
    run = module._run
    module._run = lambda *words, **how: run(*words, timeout=1)
    assert jobs(slurm) == []


def test_no_slurm(slurm, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert jobs(slurm) == []
