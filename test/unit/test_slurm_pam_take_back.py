"""What is told of an apply that waits to be confirmed, and what systemctl has to do when it is taken back."""

import subprocess

import pytest
from looks import given

import _child
import _slurm_pam_take_back


@pytest.mark.parametrize(
    ("state", "confirm", "kind", "found"),
    [
        (None, 0, None, None),
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
