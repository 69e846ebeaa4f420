"""Holds unit tests to what a checkout and Python bring: no file and no program of this machine is asked anything."""

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

import hypothesis
import psutil  # noqa: F401 (Salt's, which asks the machine when it is imported first)
import pytest
from harness.paths import REPO

import _slurm_pam_accounts

# A busy machine is no reason to fail.
too_slow = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=too_slow)
hypothesis.settings.load_profile("patient")

# Python itself and what is installed for it, this repository, and what a test makes.
OURS = [str(REPO), tempfile.gettempdir(), sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), os.devnull]
# They answer the same wherever there is POSIX.
PROGRAMS = {"cat", "echo", "false", "printf", "sh", "sleep", "test", "true"}
READS = {"open", "os.listdir", "os.scandir"}
RUNS = {"subprocess.Popen", "os.posix_spawn", "os.exec", "os.system"}
asked: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
    """Python tells of all that it opens and runs (PEP 578)."""
    if asked is None or event not in READS | RUNS or isinstance(arguments[0], int):  # a descriptor was a path before
        return
    path = os.fsdecode(arguments[0] or ".")
    if event in RUNS:
        path = shutil.which(path) or path
        if os.path.basename(path) in PROGRAMS:
            return
    path = os.path.abspath(path)
    # No machine has /nonexistent.
    if os.path.exists("/".join(path.split("/")[:2])) and not any(Path(path).is_relative_to(place) for place in OURS):
        asked.append(path)


# Python has no way to take a hook off again, so it is switched.
sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def people(monkeypatch):
    """They begin where they usually do."""
    monkeypatch.setattr(_slurm_pam_accounts, "LOGIN_DEFS", ())


@pytest.fixture(autouse=True)
def hermetic():
    """Fails a test that asks this machine."""
    global asked
    asked = []
    yield
    found, asked = asked, None
    assert not found, f"a unit test asks this machine: {', '.join(dict.fromkeys(found))}"
