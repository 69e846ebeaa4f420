"""A second sshd on a node: its program under a name of its own, as a fork has it, and on another port."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from harness.node import Node
from harness.shell import Result, run

NAME, PORT = "second", 2222
_PROGRAM, _PAM, _UNIT = f"/usr/local/sbin/{NAME}", f"/etc/pam.d/{NAME}", f"/etc/systemd/system/{NAME}.service"


def lay(node: Node, pam: str) -> None:
    """Put it on a node, with this as the PAM file of its name; systemd can start it then."""
    node.write(_PAM, pam)
    node.run(["cp", "/usr/sbin/sshd", _PROGRAM], check=True)
    # Up to OpenSSH 9.7 its name is the PAM service.
    named = f"-o PAMServiceName={NAME}"
    options = named if node.run(["/usr/sbin/sshd", "-t", *named.split()]).ok else ""
    node.write(_UNIT, f"[Service]\nExecStart={_PROGRAM} -D -p {PORT} {options}\n")
    node.run(["systemctl", "daemon-reload"], check=True)


@contextlib.contextmanager
def running(node: Node, pam: str) -> Iterator[None]:
    """With it on a node, and without it afterwards."""
    lay(node, pam)
    try:
        node.run(["systemctl", "start", NAME], check=True)
        listens = ["ss", "--no-header", "--listening", "--tcp", f"sport = :{PORT}"]
        node.until(lambda: node.run(listens).stdout, "the second sshd listening")
        yield
    finally:
        node.run(["systemctl", "stop", NAME])
        node.run(["rm", "-f", _PAM, _PROGRAM, _UNIT])
        node.run(["systemctl", "daemon-reload"])


def ssh(node: Node, user: str, line: str) -> Result:
    """Log in through it from outside, and run a command line."""
    words, environment = node.ssh_command(user, line)
    at = words.index("ssh") + 1
    place = ["-o", f"Port={PORT}", "-o", f"HostKeyAlias={node.address}"]
    return run([*words[:at], *place, *words[at:]], check=False, env=environment, timeout=180)
