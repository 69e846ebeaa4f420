"""A release's sshd to log in to: the release's own root, a network of its own, and nothing left of it afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness import network
from harness.releases import numbered, release
from harness.shell import TIED, Failed, Result, run


class Machine:
    """A release's root in namespaces of its own, with changes in memory and the addresses of a small network.

    Everything of it ends with its first process, and that one ends with this process, even when killed.
    """

    HERE, HERE6 = "192.0.2.10", "2001:db8::10"
    # One network, another one, and two addresses of one /64.
    ORIGINS = ("192.0.2.1", "192.0.2.2", "198.51.100.1", "2001:db8::1", "2001:db8::2", "2001:db8:1::1")

    def __init__(self, suite: str, scratch: Path) -> None:
        self.suite, self.scratch = suite, scratch
        setup = ["set -e", "mount -t tmpfs -o mode=0755 none /mnt", "mkdir /mnt/upper /mnt/work /mnt/root"]
        setup += [f"mount -t overlay -o lowerdir={release(suite)},upperdir=/mnt/upper,workdir=/mnt/work none /mnt/root"]
        setup += ["mount -t proc none /mnt/root/proc", "mount --rbind /dev /mnt/root/dev", "ip link set lo up"]
        setup += [f"ip addr add {origin}/32 dev lo" for origin in (*self.ORIGINS, self.HERE) if ":" not in origin]
        setup += [f"ip addr add {origin}/128 dev lo" for origin in (*self.ORIGINS, self.HERE6) if ":" in origin]
        setup += ["echo up", "exec chroot /mnt/root sleep infinity"]
        apart = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        self._init = subprocess.Popen(
            [*TIED, *apart, "sh", "-c", "\n".join(setup)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if (said := self._init.stdout.readline()) != "up\n":
            raise Failed(f"{suite}: {said}{self._init.communicate(timeout=10)[0]}")
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        self.pid = int(children.read_text())
        self.root = Path(f"/proc/{self.pid}/root")
        self._await(lambda: (self.root / "usr/sbin/sshd").exists(), "root of its own")
        self._give_keys()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self._init.kill()
        self._init.communicate()

    def _give_keys(self) -> None:
        for name in ("host", "user"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.scratch / name])
        self.write("/etc/ssh/ssh_host_ed25519_key", (self.scratch / "host").read_text(), 0o600)
        key = (self.scratch / "user.pub").read_text()
        for number, name in numbered():
            home = f"/home/{name}" if number else "/root"
            self.write(f"{home}/.ssh/authorized_keys", key)
            for place in (f"{home}/.ssh", f"{home}/.ssh/authorized_keys"):
                os.chown(self.root / place[1:], number, number)

    def write(self, place: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the machine."""
        target = self.root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def command(self, words: Sequence[str]) -> list[str]:
        """The words that run a command in the machine from here, for subprocess."""
        return ["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", *words]

    def run(self, words: Sequence[str], **options) -> Result:
        return run(self.command(words), **{"check": False, **options})

    @contextlib.contextmanager
    def sshd(self, config: str, *options: str) -> Iterator[Path]:
        """sshd runs with this text as its configuration; yields the file that it logs to."""
        self.write("/etc/ssh/sshd_config", config)
        log, running = self.scratch / "sshd.log", self.root / "run/sshd.pid"
        running.unlink(missing_ok=True)
        log.write_text("")
        with log.open("w") as output:
            options = ("-o", "LogLevel=VERBOSE", "-o", "PidFile=/run/sshd.pid", *options)
            command = self.command(["/usr/sbin/sshd", "-D", "-e", *options])
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            # It writes its number once it listens at all of its addresses.
            self._await(lambda: running.exists() or daemon.poll() is not None, "sshd")
            if daemon.poll() is not None:
                raise Failed(f"{self.suite}: sshd does not start\n{log.read_text()}")
            yield log
        finally:
            self.run(["bash", "-c", "kill $(cat /run/sshd.pid)"])
            daemon.wait(timeout=120)

    def ssh(self, user: str, words: str = "id -un", origin: str = ORIGINS[0], options: Mapping = {}) -> Result:
        """Log in over the machine's network and run a command line there."""
        command, environment = self.ssh_command(user, words, origin, options)
        return run(command, check=False, timeout=180, env=environment)

    def ssh_command(
        self, user: str, words: str = "id -un", origin: str = ORIGINS[0], options: Mapping = {}
    ) -> tuple[list[str], dict[str, str]]:
        """The ssh command that logs in, and the environment it needs."""
        settings = {
            "BindAddress": origin,
            "BatchMode": "yes",
            "ConnectTimeout": "60",
            "IdentitiesOnly": "yes",
            "IdentityFile": self.scratch / "user",
            "KexAlgorithms": network.KEX,
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            **options,
        }
        command = ["nsenter", f"--net=/proc/{self.pid}/ns/net", "ssh", "-F", "none"]
        for name, value in settings.items():
            command += ["-o", f"{name}={value}"]
        here = self.HERE6 if ":" in origin else self.HERE
        return [*command, f"{user}@{here}", words], {"PATH": os.environ["PATH"], "HOME": "/root"}

    def _await(self, happens, what: str, patience: float = 120) -> None:
        deadline = time.monotonic() + patience
        while not happens():
            if time.monotonic() > deadline or self._init.poll() is not None:
                raise Failed(f"{self.suite}: no {what}")
            time.sleep(0.05)
