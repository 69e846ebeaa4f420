"""A compute node: real systemd, sshd, munge and Slurm in a container, reached over SSH from outside or entered."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from harness import cgroups, network, slurm, snapshot
from harness.container import Container
from harness.image import USERS, image
from harness.paths import REPO
from harness.qemu import Qemu
from harness.salt_tree import HOME as SALT_HOME
from harness.salt_tree import salt_tree
from harness.shell import Failed, Result, run, tail
from harness.site import Site
from harness.site import machine as machine_name
from harness.usermode import UserMode
from harness.warm import Warm

# What a node sees of the repository, below /srv/formula.
FORMULA = ("slurm_pam", "_modules", "_states")
# To find out its grains, Salt calls sixteen programs each time.
MINION = "id: {}\ngrains_cache: True\n"
PATH = f"{SALT_HOME}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What Slurm says, for a shell of the node.
IDLE = "sinfo --noheader --nodes={} --format=%T | grep -qx idle"
JOB_STATE = "squeue --noheader --format=%T --jobs={}"
# Where slurmctld does not answer in time, it has not said so. The step daemons take the job's cgroups away after that.
ENDED = (
    "jobs=$(squeue --noheader --format='%A %T') && ! echo \"$jobs\" | grep -qx '{0} \\(RUNNING\\|COMPLETING\\)'"
    " && ! pgrep -f '^slurmstepd: \\[{0}\\.'"
)
# The socket of a job's batch step, by the node and the job. The extern step is there by then.
BATCH_STEP = "/var/lib/slurm/slurmd/{}_{}.4294967291"
# What a node and its Slurm say of themselves when something does not come about.
COMPLAINTS = (
    "journalctl --no-pager --lines=40 --priority=warning",
    "systemctl --failed --no-pager",
    "timeout 10 sinfo --noheader --Node --format='%N %T: %E'; timeout 10 squeue --noheader --format='%i %u %T %r'",
    "tail -n 12 /var/log/slurm/*.log /var/log/salt/minion",
)
# Where cgroup v2 has what cgroup.conf says that jobs are held to. Devices are in a program of the kernel.
LIMITS = {"Cores": "cpuset.cpus", "RAMSpace": "memory.max"}
METHODS = ("publickey", "password", "keyboard-interactive")


MACHINES = {"container": Container, "uml": UserMode, "qemu": Qemu}


class Node:
    """One running node of a site."""

    def __init__(self, site: Site, name: str) -> None:
        self.site, self.name = site, name
        self.directory = site.directory / "nodes" / name
        self._state = json.loads((self.directory / "node.json").read_text())
        self.layout: str = self._state["layout"]
        self.salt_version: str = self._state["salt"]
        self.groups = [Path(group) for group in self._state["groups"]]
        self.machine = MACHINES[self._state["machine"]](site, name, self.directory, self._state)
        self.address = site.addresses[name]
        self.root = self.machine.root
        self.warm = Warm(self.command, f"{SALT_HOME}/bin/python3.11", self.machine.PATIENCE)

    @property
    def init(self) -> int:
        """The number here of a container's first process."""
        return self.machine.init

    # -- its life ----------------------------------------------------------------------------------------------------

    @classmethod
    @contextlib.contextmanager
    def boot(cls, layout: str = "sle15", salt: str = "3008", machine: str = "container") -> Iterator[Node]:
        """A site with one node, removed at the end, whatever happens."""
        with contextlib.ExitStack() as then:
            site = Site.create()
            then.callback(site.remove)
            node = cls.start(site, "node", layout, salt, machine=machine)
            # On a machine of its own it would not see that the other end is gone.
            then.callback(node.warm.end)
            yield node

    @classmethod
    def start(
        cls,
        site: Site,
        name: str,
        layout: str = "sle15",
        salt: str = "3008",
        prepare: Callable[[Node], None] = lambda node: None,
        machine: str = "container",
    ) -> Node:
        """Boot a node of a site, up to where it takes logins and jobs. ``prepare`` may add to its files before."""
        base, tree = image(layout), salt_tree(salt)
        launcher, groups = cgroups.reserve(machine_name(site.name, name))
        directory = site.directory / "nodes" / name
        directory.mkdir(mode=0o700, parents=True)
        state = {"layout": layout, "salt": salt, "groups": list(map(str, groups)), "machine": machine}
        (directory / "node.json").write_text(json.dumps(state))
        node = cls(site, name)
        node.machine.lay_disk(base)
        node._furnish(base)
        prepare(node)
        formula = {f"/srv/formula/{part}": REPO / part for part in FORMULA if (REPO / part).is_dir()}
        node._wait_for(node.machine.start(launcher, {SALT_HOME: tree, **formula}, node._log))
        return node

    @property
    def _log(self) -> Path:
        return self.directory / "console.log"

    def _wait_for(self, started: subprocess.Popen) -> None:
        """Until it takes logins and jobs; what is known of it by then is kept for other processes."""
        self._await(lambda: self.machine.is_up(started), started, "init", 300)
        (self.directory / "node.json").write_text(json.dumps(self._state))
        self._await(self._answers, started, "sshd and Slurm", 300)

    @property
    def reboots(self) -> bool:
        """Whether it has a kernel of its own."""
        return not isinstance(self.machine, Container)

    def reboot(self) -> None:
        """Start again as an administrator would have it."""
        booted = self._boot_id()
        self.warm.end()
        self.run(["systemctl", "reboot"])
        self.until(lambda: self._boot_id() not in ("", booted), "the machine up again", 240)
        self.until(self._answers, "sshd and Slurm", 180)

    def power_cut(self) -> None:
        """Start again after the power was gone: nothing was stopped, nothing was written out."""
        self.warm.end()
        self.machine.cut_power(cgroups.processes(self.groups))
        self.until(lambda: not cgroups.processes(self.groups), "the machine off")
        self._wait_for(self.machine.start_again(self._log))

    def _boot_id(self) -> str:
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout

    def _furnish(self, image: Path) -> None:
        """What depends on the site or on this machine."""
        hosts = "".join(f"{address} {name}\n" for name, address in self.site.addresses.items())
        self.write("/etc/hosts", f"127.0.0.1 localhost\n{hosts}")
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/fstab", slurm.fstab())
        self.write("/etc/slurm/slurm.conf", self.site.slurm_conf(self.machine.SHAPE))
        self.write("/etc/slurm/cgroup.conf", slurm.cgroup_conf(self.machine.SHAPE))
        self.write("/etc/salt/minion", (image / "etc/salt/minion").read_text() + MINION.format(self.name))
        self.write("/srv/pillar/top.sls", "base:\n  '*': [slurm_pam]\n")
        self.pillar("{}\n")
        (self.root / "srv/formula").mkdir()
        self._lay_key()
        key = (self.site.directory / "key.pub").read_text()
        for home in ("root", *(f"home/{user}" for user in USERS)):
            self.write(f"/{home}/.ssh/authorized_keys", key)
            for path, mode in ((home, None), (f"{home}/.ssh", 0o700), (f"{home}/.ssh/authorized_keys", 0o600)):
                owner = (image / home).stat()
                os.chown(self.root / path, owner.st_uid, owner.st_gid)
                (self.root / path).chmod(stat.S_IMODE(owner.st_mode) if mode is None else mode)
        password = (self.site.directory / "password").read_text()
        self.machine.set_passwords("".join(f"{user}:{password}\n" for user in ("root", *USERS)))
        host_key = (image / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        (self.directory / "known_hosts").write_text(f"{self.address} {host_key}")
        if self.name != self.site.hosts[0]:
            (self.root / "etc/systemd/system/slurmctld.service").symlink_to("/dev/null")

    def _lay_key(self) -> None:
        """The site's key for munge, which belongs to munge alone."""
        path, like = self.root / "etc/munge/munge.key", image(self.layout) / "etc/munge"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((self.site.directory / "munge.key").read_bytes())
        for place in (path.parent, path):
            os.chown(place, like.stat().st_uid, like.stat().st_gid)
        path.parent.chmod(stat.S_IMODE(like.stat().st_mode))
        path.chmod(0o400)

    def _await(self, happens: Callable[[], object], started: subprocess.Popen, what: str, patience: float):
        deadline = time.monotonic() + patience * self.machine.PATIENCE
        while not (seen := happens()):
            if started.poll() is not None or time.monotonic() > deadline:
                console = self._log.read_text(errors="replace")
                raise Failed(f"node {self.name} ({self.layout}): no {what}\n{tail(console)}{self.complaints()}")
            time.sleep(0.1)
        return seen

    def _answers(self) -> bool:
        """Whether it does within some seconds, after which its console tells whether it is still worth waiting."""
        # One of the two units is enough.
        ready = f"systemctl is-active --quiet ssh.service ssh.socket && {IDLE.format(self.name)}"
        return self._comes_true(ready, 10)

    def complaints(self) -> str:
        if not self.machine.running:
            return ""
        return "".join(tail(self.run(["sh", "-c", line]).stdout, 40) for line in COMPLAINTS)

    # -- from inside -------------------------------------------------------------------------------------------------

    def command(self, words: Sequence[str], user: str = "root") -> list[str]:
        """The words that run a command in the node from here, for subprocess."""
        return self.machine.command([f"PATH={PATH}", "LANG=C.UTF-8", *words], user)

    def run(self, words: Sequence[str], user: str = "root", **options) -> Result:
        """Run a command in the node; ``check=True`` raises when it fails."""
        patience = {"check": False, "timeout": 600 * self.machine.PATIENCE}
        return run(self.command(words, user), **patience | options)

    def write(self, path: str, text: str) -> None:
        """Write a file of the node."""
        self.machine.write(path, text)

    def read(self, path: str) -> str:
        return self.machine.read(path)

    def uid(self, user: str) -> int:
        return int(self.run(["id", "-u", user], check=True).stdout)

    def pillar(self, text: str) -> None:
        """The pillar of this node, as YAML or JSON."""
        self.write("/srv/pillar/slurm_pam.sls", text)

    def salt(self, function: str, *arguments: object, **keywords: object):
        """What Salt answers, parsed. Dicts and lists go in as JSON, ``test=True`` as it is.

        Salt forks from a process that has imported it. What is about Salt's own start takes ``salt_call``."""
        words = _words(function, arguments, keywords)
        return _parsed(function, self.warm.call("salt-call", *words))

    def salt_call(self, function: str, *arguments: object, **keywords: object):
        """The same by the program salt-call."""
        words = _words(function, arguments, keywords)
        return _parsed(function, self.run(["salt-call", *words]))

    def journal(self, since: float) -> str:
        """What has been said since then, whoever of its units did, also what journald has not taken in yet."""
        # Of one that has ended by then it does not know the unit.
        read = f"journalctl --sync; journalctl --since=@{int(since)} --output=cat"
        return self.run(["sh", "-c", read], check=True).stdout

    def snapshot(self, path: str = "/etc") -> dict[str, tuple]:
        """Every file below a directory: (type, mode, owner, group, sha256 of the content or target of the link)."""
        look = [f"{SALT_HOME}/bin/python3", "-c", Path(snapshot.__file__).read_text(), path]
        seen = json.loads(self.run(look, check=True).stdout)
        return {name: tuple(what) for name, what in seen.items()}

    # -- from outside ------------------------------------------------------------------------------------------------

    def ssh_command(
        self, user: str, words: str | None = None, origin: str = network.ADMIN_ORIGIN, method: str = "publickey"
    ) -> tuple[list[str], dict[str, str]]:
        """The ssh command that logs in from outside, and the environment it needs."""
        if method not in METHODS:
            raise ValueError(f"method {method!r}: one of {', '.join(METHODS)}")
        options = {
            "BindAddress": origin,
            "ConnectTimeout": str(60 * self.machine.PATIENCE),
            "IdentitiesOnly": "yes",
            "IdentityFile": f"{self.site.directory}/key",
            "KexAlgorithms": network.KEX,
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
        return run(command, check=False, timeout=180 * self.machine.PATIENCE, env=environment)

    # -- Slurm -------------------------------------------------------------------------------------------------------

    def job(self, user: str, patience: float = 120) -> int:
        """A job that sleeps on this node until it is cancelled; returns its number once it runs here."""
        submit = ["sbatch", "--parsable", f"--nodelist={self.name}", "--output=/dev/null", "--wrap", "sleep infinity"]
        number = int(self.run(submit, user=user, check=True, cwd="/").stdout.split(";")[0])
        # slurmctld calls it running before the node has made its steps.
        steps = f"test -S {BATCH_STEP.format(self.name, number)}"
        self.wait(f"{JOB_STATE.format(number)} | grep -qx RUNNING && {steps}", f"job {number} running", patience)
        return number

    def cancel(self, number: int, patience: float = 120) -> None:
        """End a job and wait until nothing of it is left."""
        self.run(["scancel", str(number)], check=True)
        self.wait(ENDED.format(number), f"job {number} ended", patience)

    def reload_sshd(self) -> None:
        """Have sshd read its configuration: it closes its sockets and opens them anew, and systemctl does not wait."""
        before = self.run(["sh", "-c", _LISTENING], check=True).stdout.split()
        self.run(["systemctl", "reload", "ssh"], check=True)
        # On as many as before, and on none of these.
        others = f"{_LISTENING} | grep -cvxE '{'|'.join(before)}'"
        self.wait(f"[ $({others}) = {len(before)} ]", "sshd listening again")

    def job_limits(self, number: int) -> dict[str, str]:
        """What a job is held to, by the files of its cgroup (v2); nothing where jobs are not held to theirs."""
        names = [LIMITS[what] for what in self.machine.SHAPE.held_to if what in LIMITS]
        if not names:
            return {}
        find = ["find", "/sys/fs/cgroup/system.slice", "-path", f"*_slurmstepd.scope/job_{number}"]
        # slurmctld calls a job running before its node has made the cgroup.
        self.until(lambda: self.run(find).stdout.strip(), f"a cgroup of job {number}")
        place = self.run(find, check=True).stdout.strip()
        return {name: self.read(f"{place}/{name}").strip() for name in names}

    def _comes_true(self, line: str, patience: float) -> bool:
        """Whether a command line of the node succeeds in so many seconds. The node asks itself: a question from here
        takes five programs each time."""
        return self.run(["timeout", f"{patience:.0f}", "sh", "-c", f"until {line}; do sleep 0.1; done"]).ok

    def wait(self, line: str, what: str, patience: float = 120) -> None:
        """Wait until a command line of the node succeeds."""
        if not self._comes_true(line, patience * self.machine.PATIENCE):
            raise Failed(f"node {self.name}: not within {patience:.0f} s: {what}\n{self.complaints()}")

    def until(self, holds: Callable[[], bool], what: str, patience: float = 120) -> None:
        """Wait for something to become true that the node alone cannot tell."""
        deadline = time.monotonic() + patience * self.machine.PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                raise Failed(f"node {self.name}: not within {patience:.0f} s: {what}\n{self.complaints()}")
            time.sleep(0.1)


# The sockets on which sshd listens, each by the number of its own.
_LISTENING = "ss --no-header --listening --tcp --extended 'sport = :22' | grep -o 'ino:[0-9]*'"


def _words(function: str, arguments: Sequence[object], keywords: Mapping[str, object]) -> list[str]:
    given = [*arguments, *(f"{key}={_word(value)}" for key, value in keywords.items())]
    return ["--local", "--out=json", "--log-level=error", function, *map(_word, given)]


def _word(value: object) -> str:
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def _parsed(function: str, done: Result):
    try:
        return json.loads(done.stdout)["local"]
    except (ValueError, KeyError):
        raise Failed(f"salt-call {function}: exit {done.rc}\n{done.stdout}{tail(done.stderr)}") from None
