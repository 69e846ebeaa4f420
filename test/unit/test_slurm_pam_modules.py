"""PAM modules that cannot be used, as far as the child says in which they are loaded."""

import subprocess

import pytest
from looks import given

import _child
import _pam_libpam
import _slurm_pam_modules
import slurm_conf
from _slurm_pam_modules import modules, of_a_doubtful_release, of_another_release, slurm_version, unusable


@pytest.mark.parametrize(
    ("libslurm", "slurmd", "count"),
    [
        *((36, "20.11.9", 0), (38, "22.05.8", 0), (41, "24.05.2", 0), (42, "24.11.5", 0)),
        *((43, "25.05.3", 0), (44, "25.11.2", 0)),
        *((38, "24.11.5", 1), (42, "22.05.8", 1), (42, "25.05.3", 1), (43, "25.11.0", 1)),
        # Of these nothing is known.
        *((99, None, 0), (99, "31.02.1", 0)),
    ],
)
def test_the_library_of_each_release(libslurm, slurmd, count):
    found = list(of_another_release("/lib/security/x.so", libslurm, slurmd))
    assert len(found) == count
    assert all(f"uses libslurm {libslurm}, but slurmd is {slurmd}, whose libslurm is" in each.found for each in found)


@pytest.mark.parametrize(
    ("version", "says"),
    [
        *((version, []) for version in (None, "20.11.9", "22.05.8", "23.02.7", "23.11.5", "24.11.5", "25.05.3")),
        ("22.05.6", ["cgroup v2"]),
        ("23.11.0", ["two jobs on this node ends in a fatal error; no option helps; with AuthType=auth/slurm"]),
        ("23.11.3", ["two jobs"]),
        ("23.11.4", ["faults: with AuthType=auth/slurm"]),
        ("25.11.0", ["namespace/linux"]),
        ("25.11.2", ["faults: where the namespaces"]),
        ("26.05.1", ["faults: where the namespaces"]),
        ("26.11.0", ["Slurm 26.11.0 is newer than this formula knows, whose newest is 26.05"]),
        ("26.11", ["is newer"]),
    ],
)
def test_releases_that_are_known_to_fail_or_not_known(version, says):
    found = list(of_a_doubtful_release(version))
    assert len(found) == len(says)
    for finding, words in zip(found, says):
        assert words in finding.found and finding.kind == "warnings"


# Where libpam looks for them


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A libpam that looks for its modules in two directories; returns what puts a module into one."""
    directories = [tmp_path / "lib", tmp_path / "lib64"]
    monkeypatch.setattr(_pam_libpam, "node_libpam", lambda: {"module_dirs": list(map(str, directories))})

    def put(name, number=0):
        directories[number].mkdir(exist_ok=True)
        (directories[number] / name).touch()
        return str(directories[number] / name)

    return put


@pytest.fixture
def loaded(monkeypatch):
    """What the child says in which the modules are loaded; and the paths that it is given."""
    said, asked = {"returncode": 0, "stdout": "", "stderr": ""}, []

    def ask(*words, **how):
        asked.append(words[5:])
        return subprocess.CompletedProcess(words, **said)

    monkeypatch.setattr(_child, "ask", ask)
    monkeypatch.setattr(slurm_conf, "version", lambda: "24.11.5")
    return said, asked


def test_modules_that_are_where_libpam_looks(there, loaded):
    settings, wanted = given()
    paths = there("pam_access.so", 1), there("pam_slurm_adopt.so")
    there("pam_slurm_adopt.so", 1)
    assert (list(modules(settings, wanted)), unusable(wanted)) == ([], [])
    assert loaded[1] == [paths, paths]


@pytest.mark.parametrize(
    ("packages", "missing"),
    [
        ({}, ["pam_access.so"]),
        ({"manage": False}, ["pam_access.so", "pam_slurm_adopt.so"]),
        ({"pam_slurm_adopt": None}, ["pam_access.so", "pam_slurm_adopt.so"]),
    ],
)
def test_modules_that_are_nowhere_and_that_no_package_will_bring(there, loaded, packages, missing):
    settings, wanted = given(packages=packages)
    found = list(modules(settings, wanted))
    assert [finding.found.split()[0] for finding in found] == missing
    assert all("/lib, " in finding.found and finding.kind == "problems" for finding in found)
    # Once the packages are there, nothing is to come.
    assert [text.split()[0] for text in unusable(wanted)] == ["pam_access.so", "pam_slurm_adopt.so"]


def test_modules_that_cannot_be_used(there, loaded):
    settings, wanted = given()
    paths = there("pam_access.so"), there("pam_slurm_adopt.so")
    lines = f"{paths[0]}\tdoes not load\tinvalid ELF header\n{paths[1]}\tlibslurm\t38\n"
    loaded[0]["stdout"] = f"What a module's\tstart-up code\tsays\n\n{lines}debug: 1\n"
    first, second = modules(settings, wanted)
    assert first.found == f"{paths[0]} does not load: invalid ELF header"
    assert second.found == f"{paths[1]} uses libslurm 38, but slurmd is 24.11.5, whose libslurm is 42"
    assert unusable(wanted) == [first.text(), second.text()]


@pytest.mark.parametrize(
    ("returncode", "stderr", "why"),
    [(1, "no answer within 30 seconds", "no answer within 30 seconds"), (-11, "", "exit status -11")],
)
def test_a_module_that_crashes_or_hangs_is_told(there, loaded, returncode, stderr, why):
    settings, wanted = given()
    paths = there("pam_access.so"), there("pam_slurm_adopt.so")
    loaded[0].update(returncode=returncode, stderr=stderr)
    (finding,) = modules(settings, wanted)
    assert finding.found == f"Loading {' '.join(paths)} failed: {why}"


# The version of Slurm


@pytest.fixture
def slurmd(tmp_path, monkeypatch):
    """The program slurmd, as a script; returns what writes it."""
    monkeypatch.setattr(_child, "which", lambda program: next(map(str, tmp_path.glob(program)), None))

    def write(text):
        (tmp_path / "slurmd").write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "slurmd").chmod(0o755)

    return write


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ("test $1 = -V && echo slurm 24.11.5", "24.11.5"),
        ("echo slurm-wlm 22.05.8", "22.05.8"),
        ("echo slurm 25.11.0-0rc1", "25.11.0"),
        ("echo slurm", None),
        ("echo slurm 22.05.8; exit 1", None),
    ],
)
def test_what_slurmd_says_of_itself(slurmd, says, version):
    assert slurm_version() is None  # it is not there
    slurmd(says)
    assert slurm_version() == version


UNASKED = {
    "fails": ("echo 'error while loading shared libraries' >&2; exit 127", "slurmd -V: error while loading shared"),
    "fails with an answer": ("echo slurm 22.05.8; exit 1", "slurmd -V: exit status 1"),
    "hangs": ("exec sleep 60", "slurmd -V: no answer within 0.2 seconds"),
    "says nothing": ("true", "slurmd -V says ''"),
    "says something else": ("echo slurm; echo 'a\033[2J'", r"slurmd -V says 'slurm\na\x1b[2J'"),
}


@pytest.mark.parametrize("case", UNASKED)
def test_a_slurmd_that_cannot_be_asked_is_told(slurmd, monkeypatch, case):
    script, words = UNASKED[case]
    monkeypatch.setattr(slurm_conf, "_PATIENCE", 0.2 if case == "hangs" else 60)
    monkeypatch.setattr(_slurm_pam_modules, "_paths", lambda modules: {})
    monkeypatch.setattr(_slurm_pam_modules, "_unusable", lambda paths: [])
    assert list(modules(*given())) == []  # it is not there
    slurmd(script)
    (finding,) = modules(*given())
    assert finding.kind == "warnings" and words in finding.found


def test_slurmd_is_asked_once_and_again_after_an_update(slurmd, tmp_path):
    slurmd(f"echo x >>{tmp_path}/asked; echo slurm 22.05.8")
    assert [slurm_version(), slurm_version()] == ["22.05.8", "22.05.8"]
    assert (tmp_path / "asked").read_text() == "x\n"
    (tmp_path / "slurmd").unlink()
    slurmd("echo slurm 24.11.5")
    assert slurm_version() == "24.11.5"
