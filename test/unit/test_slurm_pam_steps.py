"""Jobs that run already: whether they had an extern step, and what could not be asked of them."""

import os
import re

import pytest
from looks import given

import _child
import _pam_expand
import _slurm_pam_jobs
from _pam_errors import PamError
from _slurm_pam_ask import Unanswered
from _slurm_pam_steps import steps


def account(monkeypatch, *modules):
    """The modules of the service's account stack."""
    rules = [{"module": module, "name": module} for module in modules]
    monkeypatch.setattr(_pam_expand, "expand", lambda service: {"types": {"account": rules}})


KINDS = [
    ((), "problems"),
    (("pam_slurm.so", None), "problems"),
    (("pam_slurm_adopt.so", None), "warnings"),
]
JOBS = [
    {"job": 7, "user": "alice", "extern": False},
    {"job": 8, "user": "dora", "extern": False},
    {"job": 9, "user": "bob", "extern": True},
]
CONFIG = "Configuration data as of 150\nBOOT_TIME               = {boot}\nPrologFlags             = {flags}\n"
SLURMD = "Active Steps             = NONE\nBoot time                = {boot}\n"


class Slurm:
    """Slurm's programs, as scripts, and its file. Everything was started at 100, before any job."""

    def __init__(self, top):
        self.top, self.asked = top, top / "asked"
        self.conf = top / "slurm.conf"
        self.conf.write_text("PrologFlags=Contain\n")
        self.config, self.slurmd, self.jobs, self.written = {"boot": 100, "flags": "Alloc,Contain"}, 100, {}, 100
        self.scripts = {}
        self.patience = 60  # seconds for one that answers

    def write(self):
        os.utime(self.conf, (self.written, self.written))
        started = "".join(f"{job} {start}\n" for job, start in self.jobs.items())
        usual = {
            "squeue": f"printf '{started}'",
            "show config": f"printf '{CONFIG.format(**self.config)}'",
            "show slurmd": f"printf '{SLURMD.format(boot=self.slurmd)}'",
        }
        said = {**usual, **self.scripts}
        log = f'echo "$SLURM_TIME_FORMAT $SLURM_CONF $0 $*" >> {self.asked}'
        self.program("squeue", f"{log}\n{said['squeue']}")
        cases = f"config) {said['show config']};;\n*) {said['show slurmd']};;"
        self.program("scontrol", f"{log}\ncase $2 in\n{cases}\nesac")

    def program(self, name, text):
        (self.top / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.top / name).chmod(0o755)

    def found(self):
        self.write()
        return list(steps(*given(slurm={"conf": str(self.conf)})))

    def told(self):
        """What is told of which jobs: {kind: their numbers}."""
        return {finding.kind: re.findall(r"(\d+) of", finding.found) for finding in self.found()}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    ask, node = _child.ask, Slurm(tmp_path)
    account(monkeypatch)
    monkeypatch.setattr(_child, "which", lambda program: str(tmp_path / program))
    monkeypatch.setattr(_child, "ask", lambda *words, timeout, env: ask(*words, timeout=node.patience, env=env))
    monkeypatch.setattr(_slurm_pam_jobs, "jobs", lambda: JOBS)
    return node


NEVER, ENDED = {"problems": ["7", "8"]}, {"warnings": ["7", "8"]}
CASES = {
    "started afterwards": ({}, ENDED),
    "one before slurmctld": (
        {"config": {"boot": 250, "flags": "Alloc,Contain"}},
        {"problems": ["7"], "warnings": ["8"]},
    ),
    "both before slurmctld": ({"config": {"boot": 350, "flags": "Alloc,Contain"}}, NEVER),
    "before slurmd": ({"slurmd": 350}, NEVER),
    "before slurm.conf was written": ({"written": 350}, NEVER),
    "as slurmctld": ({"config": {"boot": 300, "flags": "Contain"}}, NEVER),
    "Contain is not in force": ({"config": {"boot": 100, "flags": "Alloc,DeferBatch"}}, NEVER),
    "no flags are": ({"config": {"boot": 100, "flags": "(null)"}}, NEVER),
    "X11 brings it": ({"config": {"boot": 100, "flags": "Alloc,Contain,X11"}}, ENDED),
    # One who started earlier has a step: restarts since then do not matter.
    "a job that has one is older": ({"slurmd": 350, "jobs": {7: 200, 8: 300, 9: 150}}, ENDED),
    "a job that has one is younger": ({"slurmd": 350, "jobs": {7: 200, 8: 300, 9: 340}}, NEVER),
    "one lies between": ({"slurmd": 350, "jobs": {7: 200, 8: 300, 9: 250}}, {"problems": ["7"], "warnings": ["8"]}),
    "it is not in force any more": (
        {"config": {"boot": 100, "flags": "(null)"}, "jobs": {7: 200, 8: 300, 9: 150}},
        NEVER,
    ),
    "slurmctld knows one of them": ({"jobs": {8: 300}}, {"problems": ["7"], "warnings": ["8"]}),
    "of an array that runs elsewhere as well": ({"jobs": {7: 200, 70: 90, 8: 300}}, ENDED),
}


@pytest.mark.parametrize("case", CASES)
def test_a_job_that_never_had_a_step_is_told_from_one_that_has_ended_it(slurm, case):
    slurm.jobs = {7: 200, 8: 300, 9: 400}
    changed, told = CASES[case]
    vars(slurm).update(changed)
    assert slurm.told() == told


def test_what_is_asked(slurm):
    slurm.jobs = {7: 200, 8: 300, 9: 400}
    (finding,) = slurm.found()
    assert finding.found == "Jobs run on this node whose extern step has ended: 7 of alice, 8 of dora"
    assert slurm.asked.read_text().splitlines() == [
        f"%s  {slurm.top}/squeue --noheader --format=%A %S --jobs=7,8,9",
        f"%s {slurm.conf} {slurm.top}/scontrol show config",
        f"%s {slurm.conf} {slurm.top}/scontrol show slurmd",
    ]


def test_a_slurm_conf_that_goes_meanwhile(slurm):
    slurm.jobs = {7: 200, 8: 300, 9: 400}
    slurm.scripts = {"show slurmd": f"rm {slurm.conf}; echo 'Boot time = 100'"}
    (finding,) = slurm.found()
    assert finding.kind == "problems" and "slurm.conf went while it was looked at: No such file" in finding.why


FAILS = {
    "fails": ("echo 'error: Unable to contact slurm controller' >&2; exit 1", "Unable to contact slurm controller"),
    "fails with half an answer": (
        "printf 'BOOT_TIME = 1\\nPrologFlags = Contain\\n7 9\\n8 9\\n'; exit 1",
        "exit status 1",
    ),
    "hangs": ("exec sleep 60", "no answer within 0.25 seconds"),
    "is gone": ("exec /nonexistent/program", "not found"),
}
GARBAGE = {
    "garbage": "printf '\\377 of \\000 \\n'",
    "half a line": "printf 'BOOT_TI'",
    "nothing": "true",
    "times in words": (
        "printf 'BOOT_TIME = Unknown\\nPrologFlags = Contain\\nBoot time = N/A\\n7 Unknown\\n8 N/A\\n'"
    ),
}
PROGRAMS = ["squeue", "show config", "show slurmd"]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("case", FAILS)
def test_what_cannot_be_asked_is_told_and_counts_as_before(slurm, program, case):
    slurm.jobs = {7: 200, 8: 300, 9: 400}
    script, words = FAILS[case]
    slurm.scripts = {program: script}
    slurm.patience = 0.25 if case == "hangs" else 60
    (finding,) = slurm.found()
    assert finding.kind == "problems"
    assert finding.found.endswith("without an extern step: 7 of alice, 8 of dora")
    assert "whether they have ended it could not be asked" in finding.why and words in finding.why


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("case", GARBAGE)
def test_an_answer_that_is_none_makes_no_job_one_that_had_a_step(slurm, program, case):
    slurm.jobs = {7: 200, 8: 300, 9: 400}
    slurm.scripts = {program: GARBAGE[case]}
    assert slurm.told() == NEVER


def test_no_slurm_conf(slurm):
    slurm.jobs = {7: 200, 8: 300}
    slurm.write()
    (finding,) = steps(*given(slurm={"conf": "/nonexistent/slurm.conf"}))
    assert finding.kind == "problems" and "/nonexistent/slurm.conf" in finding.why


@pytest.mark.parametrize(("modules", "kind"), KINDS)
def test_a_closed_node_is_only_warned(slurm, monkeypatch, modules, kind):
    account(monkeypatch, *modules)
    slurm.config["flags"] = "Alloc"
    (finding,) = slurm.found()
    assert finding.kind == kind
    assert finding.found.endswith("without an extern step: 7 of alice, 8 of dora")


def test_files_that_cannot_be_read_close_no_node(slurm, monkeypatch):
    """What is wrong with them is told by the look at them."""

    def fails(service):
        raise PamError("it cannot be read")

    monkeypatch.setattr(_pam_expand, "expand", fails)
    assert slurm.told() == NEVER


def test_jobs_that_have_a_step_cost_no_question(slurm, monkeypatch):
    monkeypatch.setattr(_slurm_pam_jobs, "jobs", lambda: JOBS[2:])
    assert slurm.told() == {}
    assert not slurm.asked.exists()


@pytest.mark.parametrize(("modules", "kind"), KINDS)
def test_jobs_that_cannot_be_asked_for(slurm, monkeypatch, modules, kind):
    def fails():
        raise Unanswered("/proc/net/unix: Permission denied")

    account(monkeypatch, *modules)
    monkeypatch.setattr(_slurm_pam_jobs, "jobs", fails)
    (finding,) = slurm.found()
    assert finding.found == "This node could not be asked for its jobs: /proc/net/unix: Permission denied"
    assert finding.kind == kind


def test_a_step_daemon_that_does_not_answer(slurm, monkeypatch):
    monkeypatch.setattr(_slurm_pam_jobs, "jobs", lambda: [{"job": 7, "user": None, "extern": True}, JOBS[2]])
    (finding,) = slurm.found()
    assert (finding.kind, finding.found) == ("warnings", "No step daemon of these jobs answers: 7")


NOBODY_IS_TURNED_AWAY = [{"mode": "adopt"}, {"module": "pam_slurm"}]


@pytest.mark.parametrize("changed", NOBODY_IS_TURNED_AWAY)
def test_jobs_that_nobody_asks_for(slurm, changed):
    assert list(steps(*given(**changed))) == []
