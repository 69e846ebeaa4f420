"""A compute node: real systemd, sshd, munge and Slurm in a container, reached over SSH from outside or entered."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness import cgroups, network, slurm
from harness.image import USERS, image
from harness.paths import REPO
from harness.salt_tree import HOME as SALT_HOME
from harness.salt_tree import salt_tree
from harness.shell import Failed, Result, run, tail
from harness.site import Site, machine

# What a node sees of the repository, below /srv/formula.
FORMULA = ("slurm_pam", "_modules", "_states")
PATH = f"{SALT_HOME}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
METHODS = ("publickey", "password", "keyboard-interactive")


class Node:
    """One running node of a site."""

    def __init__(self, site: Site, name: str) -> None:
        self.site, self.name = site, name
        self.directory = site.directory / "nodes" / name
        state = json.loads((self.directory / "node.json").read_text())
        self.layout: str = state["layout"]
        self.salt_version: str = state["salt"]
        self.groups = [Path(group) for group in state["groups"]]
        self.init: int = state.get("init", 0)
        self.address = site.addresses[name]
        self.root = self.directory / "disk" / "root"

    # -- its life ----------------------------------------------------------------------------------------------------

    @classmethod
    @contextlib.contextmanager
    def boot(cls, layout: str = "sle15", salt: str = "3008") -> Iterator[Node]:
        """A site with one node, removed at the end, whatever happens."""
        site = Site.create()
        try:
            yield cls.start(site, "node", layout, salt)
        finally:
            site.remove()

    @classmethod
    def start(
        cls,
        site: Site,
        name: str,
        layout: str = "sle15",
        salt: str = "3008",
        prepare: Callable[[Node], None] = lambda node: None,
    ) -> Node:
        """Boot a node of a site, up to where it takes logins and jobs. ``prepare`` may add to its files before."""
        base, tree = image(layout), salt_tree(salt)
        launcher, groups = cgroups.reserve(machine(site.name, name))
        directory = site.directory / "nodes" / name
        directory.mkdir(mode=0o700, parents=True)
        state = {"layout": layout, "salt": salt, "groups": list(map(str, groups))}
        (directory / "node.json").write_text(json.dumps(state))
        node = cls(site, name)
        node._lay_disk(base)
        node._furnish()
        prepare(node)
        network.raise_node(site.name, name, site.hosts.index(name))
        container = node._start_container(launcher, tree)
        node.init = state["init"] = node._await(lambda: _only_child(container.pid), container, "init", 60)
        (directory / "node.json").write_text(json.dumps(state))
        node._await(node._answers, container, "sshd and Slurm", 180)
        return node

    def _lay_disk(self, base: Path) -> None:
        """A copy of the image that costs nothing: its changes stay in memory and go with the node."""
        disk = self.directory / "disk"
        disk.mkdir()
        run(["mount", "-t", "tmpfs", "-o", "mode=0755", "slurm_pam-test", disk])
        for part in ("upper", "work", "root"):
            (disk / part).mkdir(mode=0o755)
        options = f"lowerdir={base},upperdir={disk}/upper,workdir={disk}/work"
        run(["mount", "-t", "overlay", "-o", options, "slurm_pam-test", self.root])

    def _furnish(self) -> None:
        """What depends on the site or on this machine."""
        hosts = "".join(f"{address} {name}\n" for name, address in self.site.addresses.items())
        self.write("/etc/hosts", f"127.0.0.1 localhost\n{hosts}")
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/fstab", slurm.fstab())
        self.write("/etc/slurm/slurm.conf", self.site.slurm_conf())
        self.write("/etc/slurm/cgroup.conf", slurm.cgroup_conf())
        self.write("/etc/salt/minion", (self.root / "etc/salt/minion").read_text() + f"id: {self.name}\n")
        self.write("/srv/pillar/top.sls", "base:\n  '*': [slurm_pam]\n")
        self.pillar("{}\n")
        (self.root / "srv/formula").mkdir()
        (self.root / "etc/munge/munge.key").write_bytes((self.site.directory / "munge.key").read_bytes())
        key = (self.site.directory / "key.pub").read_text()
        for home in ("root", *(f"home/{user}" for user in USERS)):
            owner = (self.root / home).stat()
            self.write(f"/{home}/.ssh/authorized_keys", key)
            for path in (self.root / home / ".ssh", self.root / home / ".ssh/authorized_keys"):
                os.chown(path, owner.st_uid, owner.st_gid)
                path.chmod(0o700 if path.is_dir() else 0o600)
        password = (self.site.directory / "password").read_text()
        run(["chroot", self.root, "chpasswd"], input="".join(f"{user}:{password}\n" for user in ("root", *USERS)))
        host_key = (self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        (self.directory / "known_hosts").write_text(f"{self.address} {host_key}")
        if self.name != self.site.hosts[0]:
            (self.root / "etc/systemd/system/slurmctld.service").symlink_to("/dev/null")

    def _start_container(self, launcher: Sequence[str], salt: Path) -> subprocess.Popen:
        formula = [part for part in FORMULA if (REPO / part).is_dir()]
        command = [
            *("systemd-nspawn", "--boot", "--quiet", "--register=no", "--keep-unit", "--capability=all"),
            *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe"),
            f"--directory={self.root}",
            f"--machine={machine(self.site.name, self.name)}",
            f"--hostname={self.name}",
            f"--network-namespace-path={network.path(self.site.name, self.name)}",
            f"--bind-ro={salt}:{SALT_HOME}",
            *(f"--bind-ro={REPO / part}:/srv/formula/{part}" for part in formula),
        ]
        with (self.directory / "console.log").open("w") as console:
            return subprocess.Popen(
                [*launcher, *command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )

    def _await(self, happens: Callable[[], object], container: subprocess.Popen, what: str, patience: float):
        deadline = time.monotonic() + patience
        while not (seen := happens()):
            if container.poll() is not None or time.monotonic() > deadline:
                console = (self.directory / "console.log").read_text(errors="replace")
                raise Failed(f"node {self.name} ({self.layout}): no {what}\n{tail(console)}{self._complaints()}")
            time.sleep(0.1)
        return seen

    def _answers(self) -> bool:
        if not self.init or not self.run(["systemctl", "is-active", "--quiet", "ssh"]).ok:
            return False
        state = self.run(["sinfo", "--noheader", "--nodes", self.name, "--format", "%T"])
        return state.stdout.split()[:1] == ["idle"]

    def _complaints(self) -> str:
        if not self.init:
            return ""
        journal = self.run(["journalctl", "--no-pager", "--lines=40", "--priority=warning"])
        return tail(journal.stdout, 40) + self.run(["systemctl", "--failed", "--no-pager"]).stdout

    # -- from inside -------------------------------------------------------------------------------------------------

    def command(self, words: Sequence[str], user: str = "root") -> list[str]:
        """The words that run a command in the node from here, for subprocess."""
        own = cgroups.hierarchies(self.init)
        groups = [group.parent / "exec" if group.name == "init.scope" else group for group in own.values()]
        into = ["nsenter", f"--target={self.init}", "--all", "--root", "--wd"]
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env", "env"]
        return [*cgroups.entering(groups), *into, *become, f"PATH={PATH}", "LANG=C.UTF-8", *words]

    def run(self, words: Sequence[str], user: str = "root", **options) -> Result:
        """Run a command in the node; ``check=True`` raises when it fails."""
        return run(self.command(words, user), **{"check": False, **options})

    def write(self, path: str, text: str) -> None:
        """Write a file of the node."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text(errors="surrogateescape")

    def uid(self, user: str) -> int:
        return int(self.run(["id", "-u", user], check=True).stdout)

    def pillar(self, text: str) -> None:
        """The pillar of this node, as YAML or JSON."""
        self.write("/srv/pillar/slurm_pam.sls", text)

    def salt(self, function: str, *arguments: object, **keywords: object):
        """What salt-call answers, parsed. Dicts and lists go in as JSON, ``test=True`` as it is."""
        words = [json.dumps(value) if isinstance(value, (dict, list)) else str(value) for value in arguments]
        for key, value in keywords.items():
            words.append(f"{key}={json.dumps(value) if isinstance(value, (dict, list)) else value}")
        done = self.run(["salt-call", "--local", "--out=json", "--log-level=error", function, *words])
        try:
            return json.loads(done.stdout)["local"]
        except (ValueError, KeyError):
            raise Failed(f"salt-call {function}: exit {done.rc}\n{done.stdout}{tail(done.stderr)}") from None

    def snapshot(self, path: str = "/etc") -> dict[str, tuple]:
        """Every file below a directory: (type, mode, owner, group, sha256 of the content or target of the link)."""
        top = self.root / path.lstrip("/")
        seen = {}
        for file in sorted(top.rglob("*")):
            status = file.lstat()
            kind, content = stat.S_IFMT(status.st_mode), ""
            if stat.S_ISLNK(kind):
                content = os.readlink(file)
            elif stat.S_ISREG(kind):
                content = digest(file.read_bytes())
            name = f"/{file.relative_to(self.root)}"
            seen[name] = (KINDS.get(kind, "other"), oct(status.st_mode & 0o7777), status.st_uid, status.st_gid, content)
        return seen

    # -- from outside ------------------------------------------------------------------------------------------------

    def ssh_command(
        self, user: str, words: str | None = None, origin: str = network.ADMIN_ORIGIN, method: str = "publickey"
    ) -> tuple[list[str], dict[str, str]]:
        """The ssh command that logs in from outside, and the environment it needs."""
        if method not in METHODS:
            raise ValueError(f"method {method!r}: one of {', '.join(METHODS)}")
        options = {
            "BindAddress": origin,
            "ConnectTimeout": "20",
            "IdentitiesOnly": "yes",
            "IdentityFile": f"{self.site.directory}/key",
            "NumberOfPasswordPrompts": "1",
            "PreferredAuthentications": method,
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": f"{self.directory}/known_hosts",
        }
        command = ["nsenter", f"--net={network.path(self.site.name, 'outside')}", "ssh", "-F", "none"]
        for name, value in options.items():
            command += ["-o", f"{name}={value}"]
        command += [f"{user}@{self.address}", *([words] if words is not None else [])]
        askpass = {"SSH_ASKPASS": f"{self.site.directory}/askpass", "SSH_ASKPASS_REQUIRE": "force"}
        environment = {"PATH": os.environ["PATH"], "HOME": "/root", "TERM": os.environ.get("TERM", "dumb"), **askpass}
        return command, environment

    def ssh(self, user: str, words: str | Sequence[str] = "true", **how: str) -> Result:
        """Log in from outside and run a command line there. ``how``: origin, method."""
        line = words if isinstance(words, str) else shlex.join(words)
        command, environment = self.ssh_command(user, line, **how)
        return run(command, check=False, timeout=90, env=environment)

    # -- Slurm -------------------------------------------------------------------------------------------------------

    def job(self, user: str, patience: float = 30) -> int:
        """A job that sleeps on this node until it is cancelled; returns its number once it runs."""
        submit = ["sbatch", "--parsable", f"--nodelist={self.name}", "--output=/dev/null", "--wrap", "sleep infinity"]
        number = int(self.run(submit, user=user, check=True, cwd="/").stdout.split(";")[0])
        self.until(lambda: self._job_state(number) == "RUNNING", f"job {number} running", patience)
        return number

    def cancel(self, number: int, patience: float = 30) -> None:
        """End a job and wait until nothing of it is left."""
        self.run(["scancel", str(number)], check=True)
        self.until(lambda: self._job_state(number) not in ("RUNNING", "COMPLETING"), f"job {number} ended", patience)

    def _job_state(self, number: int) -> str:
        return self.run(["squeue", "--noheader", "--format=%T", f"--jobs={number}"]).stdout.strip()

    def until(self, holds: Callable[[], bool], what: str, patience: float = 30) -> None:
        """Wait for something to become true."""
        deadline = time.monotonic() + patience
        while not holds():
            if time.monotonic() > deadline:
                raise Failed(f"node {self.name}: not within {patience:.0f} s: {what}\n{self._complaints()}")
            time.sleep(0.1)


def digest(content: bytes) -> str:
    """What a snapshot says of a file with this content."""
    return hashlib.sha256(content).hexdigest()


KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


def _only_child(pid: int) -> int | None:
    """The container's init: the only child of the program that runs the container."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    inits = [int(child) for child in children if _is_init(child)]
    return inits[0] if inits else None


def _is_init(pid: str) -> bool:
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        return any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in status.splitlines())
    return False
