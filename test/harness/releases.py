"""OpenSSH and libpam as each release of Debian brings them, unpacked side by side; nothing of them is installed.

``path`` is for asking: with it in PATH, ``sshd -t`` and ``sshd -T`` are that release's, on this machine's files.
``release_machine`` is for logging in. A change to this file unpacks the releases anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from harness import host, progress
from harness.image import APT_OPTIONS
from harness.shell import TIED, run
from harness.store import kept

# The version of OpenSSH in each release; forky is the newest that can be had, and moves.
RELEASES = {"bullseye": "8.4", "bookworm": "9.2", "trixie": "10.0", "forky": "10"}
PACKAGES = ("bash", "coreutils", "libpam-modules", "openssh-server", "pamtester")
USERS = ("root", "admin", "alice", "bob")

ASKING = """\
#!/bin/sh
# This release's sshd with its own libraries, on this machine's files.
tree=${0%/*}/.. libraries=
for place in "$tree"/lib/*-linux-gnu "$tree"/usr/lib/*-linux-gnu; do libraries=$libraries:$place; done
exec "$tree"/asking/ld.so --library-path "${libraries#:}" "$tree/usr/sbin/sshd" "$@"
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
    people = [(name, number, f"/home/{name}" if number else "/root") for number, name in numbered()]
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


def numbered() -> Iterator[tuple[int, str]]:
    yield from ((number and 1000 + number, name) for number, name in enumerate(USERS))


def _ask_from_outside(root: Path) -> None:
    """A program ``sshd`` for this machine's PATH, over a link to the release's loader that does not leave the tree."""
    asking = root / "asking"
    asking.mkdir()
    loader = next(file for file in root.glob("lib/*-linux-gnu/ld-*so*") if not file.is_symlink())
    (asking / "ld.so").symlink_to(os.path.relpath(loader, asking))
    (asking / "sshd").write_text(ASKING)
    (asking / "sshd").chmod(0o755)
