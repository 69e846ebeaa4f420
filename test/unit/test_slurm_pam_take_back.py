"""What is told of an apply that waits to be confirmed, and what systemctl has to do when it is taken back."""

import errno
import os
import subprocess

import pytest
from looks import given
from salt.exceptions import CommandExecutionError

import _child
import _slurm_pam_take_back


@pytest.mark.parametrize(
    ("state", "confirm", "kind", "found"),
    [
        (None, 0, None, None),
        ("nothing", 0, None, None),  # by now
        ("taken back", 0, None, None),
        ("waiting", 0, "warnings", "The last apply waits to be confirmed (waiting, until 20"),
        ("without a timer", 0, "warnings", "The last apply waits to be confirmed (without a timer, until 20"),
        ("being taken back", 0, "warnings", "The last apply waits to be confirmed (being taken back, until 20"),
        ("taking back failed", 300, "warnings", "The last apply was to be taken back, and not all could be"),
        ("taking back failed", 0, "problems", "The last apply was to be taken back, and not all could be"),
    ],
)
def test_an_apply_that_waits_is_told(monkeypatch, state, confirm, kind, found):
    at = 1767225600.0
    monkeypatch.setattr(_slurm_pam_take_back, "pending", lambda: at if state else None)
    monkeypatch.setattr(_slurm_pam_take_back, "status", lambda: {"state": state, "at": at})
    told = list(_slurm_pam_take_back.unconfirmed(*given(confirm=confirm)))
    assert [finding.kind for finding in told] == [kind] * bool(found)
    assert all(finding.found.startswith(found) and finding.why and finding.do for finding in told)


@pytest.fixture
def waiting(tmp_path, monkeypatch):
    """An apply that waits to be confirmed."""
    monkeypatch.setattr(_slurm_pam_take_back, "DIRECTORY", str(tmp_path))
    (tmp_path / "until").write_text("1767225600\n")
    return tmp_path


ENDS = {
    "taken back": (lambda at: (at / "taken-back").write_text("1767225500\n"), 1767225500.0),
    "nothing": (lambda at: (at / "until").unlink(missing_ok=True), None),
}


@pytest.mark.parametrize("state", ENDS)
def test_an_apply_that_is_taken_back_or_confirmed_while_this_is_asked(waiting, monkeypatch, state):
    """By then systemd has neither its timer nor its unit any more."""
    end, at = ENDS[state]

    def states(*units):
        end(waiting)
        return ["inactive"] * len(units)

    monkeypatch.setattr(_slurm_pam_take_back, "_states", states)
    assert _slurm_pam_take_back.status() == {"state": state, "at": at}


def test_an_apply_that_is_just_being_taken_back(waiting, monkeypatch):
    """Earlier releases wrote when that was in two steps."""
    (waiting / "taken-back").write_text("")
    monkeypatch.setattr(_slurm_pam_take_back, "_states", lambda *units: ["active"] * len(units))
    assert _slurm_pam_take_back.status() == {"state": "being taken back", "at": 1767225600.0}


@pytest.mark.parametrize("state", ENDS)
def test_what_is_confirmed_just_before_is_not_taken_back(waiting, monkeypatch, state):
    """The program waits until that is done, and then has nothing to do."""

    def program(*words, timeout):
        ENDS[state][0](waiting)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(_child, "ask", program)
    monkeypatch.setattr(_slurm_pam_take_back, "_stop", lambda *units: None)
    if state == "taken back":
        assert _slurm_pam_take_back.take_back() == "This node is as it was before the last apply"
    else:
        with pytest.raises(CommandExecutionError, match="was confirmed meanwhile"):
            _slurm_pam_take_back.take_back()


@pytest.mark.parametrize("function", ["confirm", "disarm", "forget"])
def test_what_cannot_be_removed_is_told(waiting, monkeypatch, function):
    """A disk that fails makes its file system read-only."""

    def unlink(path):
        raise OSError(errno.EROFS, "Read-only file system", path)

    monkeypatch.setattr(_slurm_pam_take_back, "_stop", lambda *units: None)
    monkeypatch.setattr(_slurm_pam_take_back, "_states", lambda *units: ["active"] * len(units))
    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(CommandExecutionError, match=f"^{waiting}/until could not be removed: Read-only file system. "):
        getattr(_slurm_pam_take_back, function)()
    assert _slurm_pam_take_back.pending()


@pytest.mark.parametrize(
    ("triggers", "active", "verb"),
    [
        ("TriggeredBy=ssh.socket\n", {"ssh.socket"}, "stop"),
        ("TriggeredBy=ssh.path ssh.socket\n", {"ssh.socket"}, "stop"),
        ("TriggeredBy=ssh.socket\n", set(), "reload-or-try-restart"),
        ("TriggeredBy=ssh.path\n", {"ssh.path"}, "reload-or-try-restart"),
        ("TriggeredBy=\n", set(), "reload-or-try-restart"),
        ("", set(), "reload-or-try-restart"),
    ],
)
def test_an_sshd_that_a_socket_started_is_not_reloaded(monkeypatch, triggers, active, verb):
    def ask(program, command, *words, timeout=None):
        assert program == "systemctl"
        if command == "show":
            return subprocess.CompletedProcess(words, 0, triggers, "")
        assert command == "is-active"
        states = ["active" if word in active else "inactive" for word in words]
        return subprocess.CompletedProcess(words, 0, "\n".join(states), "")

    monkeypatch.setattr(_child, "ask", ask)
    _, wanted = given(logind="keep")
    assert list(_slurm_pam_take_back._unit_commands(wanted)) == [f"{verb} sshd"]


def test_whether_a_socket_started_sshd_could_not_be_asked(monkeypatch):
    """A reload would leave such a one without its socket."""
    monkeypatch.setattr(_child, "ask", lambda *words, timeout: subprocess.CompletedProcess(words, 1, "", "no answer"))
    with pytest.raises(CommandExecutionError, match="failed: no answer"):
        list(_slurm_pam_take_back._unit_commands(given(logind="keep")[1]))
