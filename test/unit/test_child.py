"""A child process that only asks: what it says, and what it has not said."""

import os
import shutil
import tempfile

import pytest

import _child


def test_what_it_says():
    said = _child.ask("sh", "-c", 'echo "$0 $LC_ALL"; echo why >&2; exit 3', "* $(id)")
    assert (said.returncode, said.stdout, said.stderr) == (3, "* $(id) C\n", "why\n")


def test_bytes_that_are_no_text():
    assert _child.ask("printf", r"\344").stdout == "�"


def test_what_it_reads_and_what_it_is_given(tmp_path):
    """Nothing to read is an end of file, so that no child waits for a person."""
    assert _child.ask("cat").stdout == ""
    assert _child.ask("cat", input="a\n").stdout == "a\n"
    said = _child.ask("sh", "-c", 'echo "$WORD $PATH"; pwd', env={"WORD": "x"}, cwd=tmp_path).stdout
    assert said == f"x {os.environ['PATH']}\n{tmp_path}\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["sleep", "60"], "no answer within 0.2 seconds"),
        (["sh", "-c", "sleep 5 & wait"], "no answer within 0.2 seconds"),
        (["/none/such"], "/none/such: No such file or directory"),
        ([tempfile.gettempdir()], f"{tempfile.gettempdir()}: Permission denied"),
    ],
)
def test_one_that_hangs_or_is_not_there_has_said_nothing(words, why):
    said = _child.ask(*words, timeout=0.2)
    assert (said.returncode, said.stdout, said.stderr) == (1, "", why)


def test_which_looks_where_only_root_does(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{tmp_path}")
    assert _child.which("none-such") is None
    found = _child.which("ldconfig")
    assert found in ("/usr/sbin/ldconfig", "/sbin/ldconfig")
    monkeypatch.delenv("PATH")
    assert _child.which("ldconfig") == found
    # The PATH comes first.
    (tmp_path / "ldconfig").symlink_to(found)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin")
    assert shutil.which("ldconfig") == _child.which("ldconfig") == f"{tmp_path}/ldconfig"


def test_of_two_names_of_a_directory_the_first_is_looked_in(monkeypatch, tmp_path):
    (tmp_path / "sbin").mkdir()
    (tmp_path / "bin").symlink_to("sbin")
    program = tmp_path / "sbin" / "alone"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{tmp_path}/sbin:{tmp_path}/none")
    places = _child.places().split(":")
    assert places[:2] == [f"{tmp_path}/bin", f"{tmp_path}/none"]
    assert len({os.path.realpath(place) for place in places}) == len(places)
    assert _child.which("alone", _child.places()) == _child.which("alone") == f"{tmp_path}/bin/alone"
