"""Ways past the sshd that was looked at: another one, options of its own, and who was there before the closing."""

import contextlib
import subprocess

import pytest
from harness.formula import applied, apply, changed, failed, settings, sync
from harness.session import session
from harness.shell import run

OTHER = "/etc/ssh/other_config"
UNIT = "/etc/systemd/system/gate.service"
# A second sshd as people have it for a second network, say.
OPEN = "Port 2222\nUsePAM no\nPidFile none\n"
SAME = "Port 2222\nUsePAM yes\nKbdInteractiveAuthentication no\nPidFile none\n"


def unit(command):
    return f"[Service]\nExecStart={command}\n[Install]\nWantedBy=multi-user.target\n"


def start(node, command):
    node.write(UNIT, unit(command))
    node.run(["systemctl", "daemon-reload"], check=True)
    node.run(["systemctl", "start", "gate"], check=True)


def options(node, text, restart):
    node.write("/etc/default/ssh", f"SSHD_OPTS='{text}'\n")
    if restart:
        node.run(["systemctl", "restart", "ssh"], check=True)


def second(node, text, command=f"/usr/sbin/sshd -D -f {OTHER}"):
    node.write(OTHER, text)
    start(node, command)


def named(node):
    """Up to OpenSSH 9.7, it asks the PAM service of its own name."""
    node.run(["ln", "-s", "/usr/sbin/sshd", "/usr/local/sbin/gate"], check=True)
    node.write("/etc/pam.d/gate", "auth required pam_unix.so\naccount required pam_permit.so\n")
    second(node, SAME, f"/usr/local/sbin/gate -D -f {OTHER}")


def enabled(node):
    node.write(OTHER, OPEN)
    node.write(UNIT, unit(f"/usr/sbin/sshd -D -f {OTHER}"))
    node.run(["systemctl", "daemon-reload"], check=True)
    node.run(["systemctl", "enable", "gate"], check=True)


def by_socket(node):
    node.write(OTHER, OPEN)
    node.write("/etc/systemd/system/gate-ssh.socket", "[Socket]\nListenStream=2222\nAccept=yes\n")
    service = f"[Service]\nExecStart=-/usr/sbin/sshd -i -f {OTHER}\nStandardInput=socket\n"
    node.write("/etc/systemd/system/gate-ssh@.service", service)
    node.run(["systemctl", "daemon-reload"], check=True)
    node.run(["systemctl", "start", "gate-ssh.socket"], check=True)


ATTACKS = {
    "options of the unit that runs": (lambda node: options(node, "-o UsePAM=no", True), "UsePAM is no", 22),
    "options of the unit at its next start": (lambda node: options(node, "-oUsePAM=no", False), "UsePAM is no", None),
    "a second sshd": (lambda node: second(node, OPEN), "UsePAM is no", 2222),
    "a second sshd by another name": (named, "PAMServiceName is gate", 2222),
    "a second sshd at the next boot": (enabled, "UsePAM is no", None),
    "a second sshd by a socket": (by_socket, "UsePAM is no", 2222),
}


@pytest.fixture(scope="module", autouse=True)
def synced(node):
    sync(node)


@pytest.fixture
def undone(node):
    """The node without what an attack put there."""
    yield node
    for unit_name in ("gate.service", "gate-ssh.socket"):
        node.run(["systemctl", "disable", "--now", unit_name])
    made = [OTHER, UNIT, "/etc/systemd/system/gate-ssh.socket", "/etc/systemd/system/gate-ssh@.service"]
    node.run(["rm", "-f", *made, "/usr/local/sbin/gate", "/etc/pam.d/gate"], check=True)
    node.write("/etc/default/ssh", "SSHD_OPTS=\n")
    node.run(["systemctl", "daemon-reload"], check=True)
    node.run(["systemctl", "restart", "ssh"], check=True)


def gets_in(node, user, port):
    command, environment = node.ssh_command(user, "id -un")
    at = command.index("ssh") + 1
    words = [*command[:at], "-p", str(port), "-o", f"HostKeyAlias={node.address}", *command[at:]]
    return run(words, check=False, timeout=180, env=environment).stdout == f"{user}\n"


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_node_with_another_sshd_is_not_called_closed(undone, attack):
    node, (begin, found, port) = undone, ATTACKS[attack]
    settings(node)
    begin(node)
    (problem,) = node.salt("slurm_pam.preflight")["problems"]
    assert found in problem
    assert list(failed(apply(node))) == ["slurm_pam-ready"]
    proof = node.salt("slurm_pam.prove")[-1]
    assert not proof["holds"] and found in proof["counterexample"]["why"]
    if port:
        node.until(lambda: gets_in(node, "bob", port), "the attack is one")


def test_a_second_sshd_that_asks_the_same_stack_is_closed_as_well(undone):
    node = undone
    settings(node)
    second(node, SAME)
    assert node.salt("slurm_pam.preflight")["problems"] == []
    applied(node)
    assert gets_in(node, "admin", 2222) and not gets_in(node, "bob", 2222)
    # An attack on a node that is closed.
    options(node, "-o UsePAM=no", True)
    assert not node.salt("slurm_pam.audit")["holds"]
    assert node.salt("slurm_pam.explain", "bob", "192.0.2.1")["permitted"] is True
    assert gets_in(node, "bob", 22)
    applied(node, "slurm_pam.clean")


# Who was there before


@contextlib.contextmanager
def asked_for_a_password(node, user, folder):
    """A login that waits for its password, for which sshd has read the PAM files; and a function that gives it."""
    asked, given, askpass = folder / "asked", folder / "given", folder / "askpass"
    askpass.write_text(f"#!/bin/sh\ntouch {asked}\nuntil [ -e {given} ]; do sleep 0.1; done\ncat {given}\n")
    askpass.chmod(0o700)
    words, environment = node.ssh_command(user, "id -un", method="password")
    environment = {**environment, "SSH_ASKPASS": str(askpass)}
    login = subprocess.Popen(words, env=environment, stdout=-1, stderr=-1, text=True)
    try:
        node.until(lambda: asked.exists() or login.poll() is not None, "asked for a password")
        assert login.poll() is None, login.stderr.read()
        yield login, lambda: given.symlink_to(node.site.directory / "password")
    finally:
        login.kill()
        given.touch()
        login.communicate()


def test_a_login_that_had_begun_is_not_let_in_by_the_files_of_before(node, tmp_path):
    settings(node, sshd={"options": {"PasswordAuthentication": True}})
    with asked_for_a_password(node, "bob", tmp_path) as (login, answer):
        foreseen = apply(node, test=True)["slurm_pam-pam-stacks-managed"]
        assert foreseen["changes"]["connections to sshd"] == {"old": "1 from before", "new": "ended"}
        done = applied(node)["slurm_pam-pam-stacks-managed"]
        assert done["changes"]["connections to sshd"] == {"old": "1 from before", "new": "ended"}
        answer()
        assert login.wait(120) == 255 and login.stdout.read() == ""
    # Whoever comes now is asked by the new files, and stays.
    (tmp_path / "later").mkdir()
    with asked_for_a_password(node, "bob", tmp_path / "later"):
        assert changed(applied(node)) == []
    applied(node, "slurm_pam.clean")


def test_sessions_of_before_are_named_and_managers_of_people_who_are_gone_are_stopped(node):
    settings(node)
    manager = f"user@{node.uid('alice')}.service"

    def manages():
        return node.run(["systemctl", "is-active", manager]).stdout == "active\n"

    with session(node, "alice"), session(node, "admin"), session(node, "root"):
        node.until(manages, "a manager of alice's")
        applied(node)
        (warning,) = [text for text in node.salt("slurm_pam.preflight")["warnings"] if "outside of any job" in text]
        assert "alice (" in warning and "admin" not in warning and "root (" not in warning
        # Whoever has a session keeps the manager.
        assert manages()
    # Nobody ends it now, since logind does not run.
    assert manages()
    foreseen = apply(node, test=True)["slurm_pam-logind-managed"]["changes"]
    assert foreseen == {manager: {"old": "running", "new": "stopped"}}
    assert applied(node)["slurm_pam-logind-managed"]["changes"] == foreseen
    assert not manages()
    assert node.run(["systemctl", "is-active", f"user@{node.uid('admin')}.service"]).stdout == "active\n"
    assert changed(applied(node)) == []
    applied(node, "slurm_pam.clean")
