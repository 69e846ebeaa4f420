"""systemd_logind where systemctl does not say how a unit is."""

import os

import pytest
from harness.source import load

SERVICE = "systemd-logind.service"


def masked(monkeypatch, in_chroot, answers, test=True):
    """What the state returns where systemd runs this machine."""

    def run_all(command, **options):
        retcode, stdout, stderr = answers.get(command[1], (0, "", ""))
        return {"retcode": retcode, "stdout": stdout if command[-1] == SERVICE else "", "stderr": stderr}

    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/systemd/system")
    monkeypatch.setattr(os.path, "samefile", lambda one, other: not in_chroot)
    salt = {"cmd.which": lambda program: program, "cmd.run_all": run_all}
    return load("_states/systemd_logind.py", __salt__=salt, __opts__={"test": test}).masked("logind")


@pytest.mark.parametrize(
    ("answer", "why"),
    [((0, "", ""), "it says nothing"), ((-9, "", ""), "exit status -9"), ((1, "", "No bus\n"), "No bus")],
)
def test_what_systemctl_does_not_say_is_no_state(monkeypatch, answer, why):
    ret = masked(monkeypatch, False, {"show": answer})
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"].startswith("systemctl cannot tell how ") and ret["comment"].endswith(f": {why}")


def test_an_image_in_a_build_that_has_the_hosts_run(monkeypatch):
    """systemctl answers nothing there but what the files say."""
    ret = masked(monkeypatch, True, {"is-enabled": (0, "static", "")})
    assert (ret["result"], ret["changes"]) == (None, {SERVICE: {"old": "unmasked", "new": "masked"}})
