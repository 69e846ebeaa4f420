"""Options that leave a login or none, as each release of sshd has them: what we say of them is what happens."""

import contextlib

import pytest
from harness import full, host, releases
from harness.release_machine import Machine
from harness.shell import Failed

import _slurm_pam_login
import sshd_config

pytestmark = pytest.mark.skipif(bool(host.why_no_node()), reason=f"{host.why_no_node()}")

# The options, the origin, and whether an administrator who comes from there gets a shell.
CASES = {
    "nothing": ("", "192.0.2.1", True),
    "a useless command": ("ForceCommand /bin/false\n", "192.0.2.1", False),
    "another's useless command": ("Match User bob\nForceCommand /bin/false\n", "192.0.2.1", True),
    "his useless command": ("Match User admin\nForceCommand /bin/false\n", "192.0.2.1", False),
    "no session": ("MaxSessions 0\n", "192.0.2.1", False),
    "one session": ("MaxSessions 1\n", "192.0.2.1", True),
    "itself alone": ("ListenAddress 127.0.0.1\nListenAddress ::1\n", "192.0.2.1", False),
    "one of its addresses": ("ListenAddress 192.0.2.10\n", "192.0.2.1", True),
    "the other family": ("AddressFamily inet6\n", "192.0.2.1", False),
    "his family": ("AddressFamily inet6\n", "2001:db8::1", True),
    "everywhere": ("ListenAddress 0.0.0.0\nListenAddress ::\n", "2001:db8::1", True),
    "an address that is not there": ("ListenAddress 203.0.113.9\n", "192.0.2.1", False),
}


@pytest.fixture(scope="module", params=full.RELEASES)
def machine(request, tmp_path_factory):
    with Machine(request.param, tmp_path_factory.mktemp("machine")) as machine:
        yield machine


def said(machine, monkeypatch, tmp_path, options, origin):
    """Why there is no way in, from what this release's sshd says of the options."""
    monkeypatch.setenv("PATH", releases.path(machine.suite))
    main = tmp_path / "sshd_config"
    main.write_text(f"UsePAM yes\n{options}")
    values = sshd_config.effective(str(main), f"user=admin,host={origin},addr={origin},laddr=192.0.2.10,lport=22")
    monkeypatch.setattr(_slurm_pam_login, "_is_here", lambda address: str(address) != "203.0.113.9")
    monkeypatch.setattr(_slurm_pam_login, "_key_files", lambda account, values: [])
    monkeypatch.setattr(_slurm_pam_login, "_other_keys", lambda values: True)
    monkeypatch.setattr(_slurm_pam_login.pwd, "getpwnam", lambda name: None)
    return _slurm_pam_login.no_way("admin", [origin], values)


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_is_what_happens(machine, monkeypatch, tmp_path, case):
    options, origin, gets_in = CASES[case]
    reason = said(machine, monkeypatch, tmp_path, options, origin)
    assert (reason is None) is gets_in, reason
    got_in = False
    with contextlib.suppress(Failed), machine.sshd(f"UsePAM yes\n{options}"):
        got_in = machine.ssh("admin", origin=origin).ok
    assert got_in is gets_in
