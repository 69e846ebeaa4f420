"""Ending a process by its number, and never another one that has it."""

import os
import subprocess

import pytest

import _processes
import _slurm_pam_before


@pytest.fixture
def sleeper():
    child = subprocess.Popen(["sleep", "600"])
    yield child
    child.kill()
    child.wait()


def process(child):
    (found,) = [process for process in _processes.running() if process.pid == child.pid]
    return found


@pytest.fixture(params=["a handle", "no handle in this Python", "none in this kernel"])
def handles(request, monkeypatch):
    def none(pid):
        raise OSError(38, "Function not implemented")

    if request.param == "no handle in this Python":
        monkeypatch.delattr(os, "pidfd_open")
    if request.param == "none in this kernel":
        monkeypatch.setattr(os, "pidfd_open", none)


def test_it_is_told_to_end(sleeper, handles, monkeypatch):
    one = process(sleeper)
    monkeypatch.setattr(_slurm_pam_before, "waiting", lambda files=None: [one])
    monkeypatch.setattr(_slurm_pam_before, "_PATIENCE", 0.2)
    assert _slurm_pam_before.end([one]) == [one]
    assert sleeper.wait(60) == -15


def test_another_one_with_its_number_is_left_alone(sleeper, handles, monkeypatch):
    one = process(sleeper)._replace(ticks=1)
    monkeypatch.setattr(_slurm_pam_before, "waiting", lambda files=None: [one])
    monkeypatch.setattr(_slurm_pam_before, "_PATIENCE", 0.2)
    _slurm_pam_before.end([one])
    assert sleeper.poll() is None


def test_one_that_is_through_meanwhile_is_left_alone(sleeper, handles, monkeypatch):
    monkeypatch.setattr(_slurm_pam_before, "waiting", lambda files=None: [])
    assert _slurm_pam_before.end([process(sleeper)]) == []
    assert sleeper.poll() is None


def test_a_crowd_of_connections_costs_no_look_for_each(sleeper, monkeypatch):
    looks, one = [], process(sleeper)
    crowd = [one._replace(pid=one.pid + number, ticks=1) for number in range(500)]
    monkeypatch.setattr(_slurm_pam_before, "waiting", lambda files=None: looks.append(1) or crowd)
    monkeypatch.setattr(_slurm_pam_before, "_PATIENCE", 0.2)
    assert _slurm_pam_before.end(crowd) == crowd
    assert len(looks) < 10
    assert sleeper.poll() is None
