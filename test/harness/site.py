"""A site: one network, one Slurm cluster, one set of credentials, and the nodes in it. Lives as long as a run."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import cgroups, network, slurm
from harness.paths import RUN
from harness.shell import run
from harness.store import locked

ASKPASS = '#!/bin/sh\nexec cat "${0%/*}/password"\n'


class Site:
    """Its directory below RUN says all that is needed to remove it, also for a later process.

    ``hosts`` are the nodes it will have; the first runs slurmctld. ``partitions`` maps a name to its nodes.
    A site that no process owns (``owned=False``) stays until it is removed by name.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = directory.name
        plan = json.loads((directory / "site.json").read_text())
        self.hosts: list[str] = plan["hosts"]
        self.partitions: dict[str, list[str]] = plan["partitions"]
        self.owner: list[int] | None = plan["owner"]

    @classmethod
    def create(
        cls,
        name: str | None = None,
        hosts: Sequence[str] = ("node",),
        partitions: Mapping[str, Sequence[str]] | None = None,
        owned: bool = True,
    ) -> Site:
        sweep()
        directory = RUN / (name or secrets.token_hex(4))
        directory.mkdir(mode=0o700)
        plan = {
            "hosts": list(hosts),
            "partitions": {key: list(value) for key, value in (partitions or {"all": hosts}).items()},
            "owner": [os.getpid(), _started(os.getpid())] if owned else None,
        }
        _write(directory, plan)
        site = cls(directory)
        try:
            site._make_credentials()
            network.raise_site(site.name)
        except BaseException:
            site.remove()
            raise
        return site

    def _make_credentials(self) -> None:
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", self.directory / "key"])
        (self.directory / "password").write_text(secrets.token_urlsafe(16))
        (self.directory / "munge.key").write_bytes(secrets.token_bytes(128))
        askpass = self.directory / "askpass"
        askpass.write_text(ASKPASS)
        askpass.chmod(0o700)

    @property
    def addresses(self) -> dict[str, str]:
        return {host: network.node_address(index) for index, host in enumerate(self.hosts)}

    @property
    def up(self) -> list[str]:
        """The hosts that have been started."""
        return [host for host in self.hosts if (self.directory / "nodes" / host / "node.json").exists()]

    def slurm_conf(self, shape: slurm.Shape) -> str:
        return slurm.slurm_conf(self.addresses, self.partitions, shape)

    def disown(self) -> None:
        """Let the site outlive this process."""
        plan = {"hosts": self.hosts, "partitions": self.partitions, "owner": None}
        _write(self.directory, plan)

    def remove(self) -> None:
        """Stop every node and remove all that the site left on this machine, however far it got."""
        for state in self.directory.glob("nodes/*/node.json"):
            cgroups.end([Path(group) for group in json.loads(state.read_text())["groups"]])
        for directory in self.directory.glob("nodes/*"):
            run(["umount", "--lazy", directory / "disk" / "root"], check=False)
            run(["umount", "--lazy", directory / "disk"], check=False)
            network.lower(self.name, directory.name)
            shutil.rmtree(f"/run/systemd/nspawn/propagate/{machine(self.name, directory.name)}", ignore_errors=True)
        network.lower(self.name, "outside")
        shutil.rmtree(self.directory)


def _write(directory: Path, plan: dict) -> None:
    """Whole or not at all: another run may be looking for what was left."""
    making = directory / "site.json.making"
    making.write_text(json.dumps(plan))
    making.rename(directory / "site.json")


def machine(site: str, host: str) -> str:
    """What names a node's namespaces, cgroups and container on this machine."""
    return f"slurm-pam-{site}-{host}"


def sites() -> list[Site]:
    """Every site there is."""
    found = []
    for plan in sorted(RUN.glob("*/site.json")):
        with contextlib.suppress(FileNotFoundError):  # its owner removes it just now
            found.append(Site(plan.parent))
    return found


def sweep() -> None:
    """Remove what a killed run left."""
    with locked(RUN / ".lock"):
        for site in sites():
            if site.owner and _started(site.owner[0]) != site.owner[1]:
                site.remove()


def _started(pid: int) -> int | None:
    """When a process started, in the kernel's ticks: tells it from a later one with the same number."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None


def interrupt_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does, so that what it started is removed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
