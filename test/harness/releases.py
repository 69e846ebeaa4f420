"""OpenSSH and libpam as each release of Debian brings them, unpacked side by side; nothing of them is installed.

``path`` is for asking: with it in PATH, ``sshd -t`` and ``sshd -T`` are that release's, on this machine's files.
``Machine`` is for logging in: the release's own root, a network of its own, and nothing left of it afterwards.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness import host, progress
from harness.image import APT_OPTIONS
from harness.shell import TIED, Failed, Result, run
from harness.store import kept

# The version of OpenSSH in each release; forky is the newest that can be had, and moves.
RELEASES = {"bullseye": "8.4", "bookworm": "9.2", "trixie": "10.0", "forky": "10"}
PACKAGES = ("bash", "coreutils", "libpam-modules", "openssh-server", "pamtester")
USERS = ("root", "admin", "alice", "bob")

ASKING = """\
#!/bin/sh
# This release's sshd with its own libraries, on this machine's files.
tree=$(readlink -f "${0%/*}/..")
exec "$tree"/asking/ld.so --library-path "$(echo "$tree"/lib/*-linux-gnu):$(echo "$tree"/usr/lib/*-linux-gnu)" \\
    "$tree/usr/sbin/sshd" "$@"
"""
# The service and every stack that it may name, open to all.
OPEN = "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "password", "session"))


def release(suite: str) -> Path:
    """The root directory of this release's packages, unpacked if it is not kept from an earlier run."""

    def build(root: Path) -> None:
        with progress.step(f"unpacking sshd and libpam of {suite} (half a minute, kept for the next time)"):
            _unpack(root, suite)
            _join_usr(root)
            _furnish(root)
            _ask_from_outside(root)

    return kept(f"release-{suite}", (PACKAGES, Path(__file__)), build)


def path(suite: str) -> str:
    """PATH with this release's sshd ahead of this machine's, whose package makes the user that any sshd asks for."""
    host.install_programs()
    return f"{release(suite) / 'asking'}:{os.environ['PATH']}"


def _unpack(root: Path, suite: str) -> None:
    options = [line for name in APT_OPTIONS for line in run(["apt-config", "dump", name]).stdout.splitlines()]
    run(
        [
            *(*TIED, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("mmdebstrap", "--mode=root", "--variant=extract", "--quiet"),
            *(f"--aptopt={option}" for option in options),
            f"--include={','.join(PACKAGES)}",
            *(suite, root),
        ],
        timeout=1200,
    )


def _join_usr(root: Path) -> None:
    """The links that a package script would make where a release has everything below /usr."""
    for directory in (root / "usr").glob("*bin"), (root / "usr").glob("lib*"):
        for target in directory:
            if target.is_dir() and not (root / target.name).exists() and target.name != "libexec":
                (root / target.name).symlink_to(f"usr/{target.name}")


def _furnish(root: Path) -> None:
    """What package scripts and an administrator would have made: accounts, homes, PAM's common files."""
    people = [(name, number, f"/home/{name}" if number else "/root") for number, name in _numbered()]
    write = {
        "etc/passwd": [f"{name}:x:{uid}:{uid}::{home}:/bin/bash" for name, uid, home in people]
        + ["sshd:x:74:74::/run/sshd:/bin/false"],
        "etc/group": [f"{name}:x:{uid}:{'bob' if name == 'admin' else ''}" for name, uid, _ in people]
        + ["sshd:x:74:", "my admins:x:2000:admin", "tty:x:5:"],
        "etc/shadow": [f"{name}:*:19000::::::" for name, _, _ in people],
        "etc/nsswitch.conf": ["passwd: files", "group: files", "shadow: files", "hosts: files"],
        "etc/hosts": ["127.0.0.1 localhost"],
        "etc/ssh/sshd_config": ["UsePAM yes", "Include /etc/ssh/sshd_config.d/*.conf"],
        "etc/pam.d/sshd": OPEN.splitlines(),
        "etc/pam.d/other": OPEN.replace("permit", "deny").splitlines(),
    }
    for name, lines in write.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("".join(f"{line}\n" for line in lines))
    (root / "etc/shadow").chmod(0o640)
    for directory in ("run/sshd", "proc", "dev", "tmp", "var/empty", "etc/ssh/sshd_config.d"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    for _, uid, home in people:
        directory = root / home[1:]
        directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        os.chown(directory, uid, uid)


def _numbered() -> Iterator[tuple[int, str]]:
    yield from ((number and 1000 + number, name) for number, name in enumerate(USERS))


def _ask_from_outside(root: Path) -> None:
    """A program ``sshd`` for this machine's PATH, over a link to the release's loader that does not leave the tree."""
    asking = root / "asking"
    asking.mkdir()
    loader = next(file for file in root.glob("lib/*-linux-gnu/ld-*so*") if not file.is_symlink())
    (asking / "ld.so").symlink_to(os.path.relpath(loader, asking))
    (asking / "sshd").write_text(ASKING)
    (asking / "sshd").chmod(0o755)


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
        for number, name in _numbered():
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
        log = self.scratch / "sshd.log"
        log.write_text("")
        with log.open("w") as output:
            options = ("-o", "LogLevel=VERBOSE", "-o", "PidFile=/run/sshd.pid", *options)
            command = self.command(["/usr/sbin/sshd", "-D", "-e", *options])
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            self._await(lambda: "Server listening" in log.read_text() or daemon.poll() is not None, "sshd")
            if daemon.poll() is not None:
                raise Failed(f"{self.suite}: sshd does not start\n{log.read_text()}")
            yield log
        finally:
            self.run(["bash", "-c", "kill $(cat /run/sshd.pid)"])
            daemon.wait(timeout=20)

    def ssh(self, user: str, words: str = "id -un", origin: str = ORIGINS[0], options: Mapping = {}) -> Result:
        """Log in over the machine's network and run a command line there."""
        command, environment = self.ssh_command(user, words, origin, options)
        return run(command, check=False, timeout=90, env=environment)

    def ssh_command(
        self, user: str, words: str = "id -un", origin: str = ORIGINS[0], options: Mapping = {}
    ) -> tuple[list[str], dict[str, str]]:
        """The ssh command that logs in, and the environment it needs."""
        settings = {
            "BindAddress": origin,
            "BatchMode": "yes",
            "ConnectTimeout": "20",
            "IdentitiesOnly": "yes",
            "IdentityFile": self.scratch / "user",
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

    def _await(self, happens, what: str, patience: float = 20) -> None:
        deadline = time.monotonic() + patience
        while not happens():
            if time.monotonic() > deadline or self._init.poll() is not None:
                raise Failed(f"{self.suite}: no {what}")
            time.sleep(0.05)
