"""A Salt master for a site, and its nodes as minions: what `salt`, `salt-run`, `salt-ssh` and `spm` are tried with.

The master is a machine of its own in all that matters to Salt: it has an address in the site's network (the outside),
and an /etc, /var and /srv whose changes are its own, so that commands and paths are those of a real master.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from harness import cgroups, host, network, warm
from harness.container import compiled
from harness.node import Node
from harness.paths import REPO
from harness.salt_tree import HOME as SALT_HOME
from harness.shell import Failed, Result, run, tail
from harness.site import Site, machine

NAME = "master"
# What a checkout of the formula brings a master.
FORMULA = ("slurm_pam", "_modules", "_states", "_runners")
# A minion reads its key anew for each question to its master, and checks it: with the usual 2048 bits that takes a
# fifteenth of a second of a processor each time. A much shorter key does not hold what a master answers.
KEY_SIZE = 1536
KEYS = "/etc/salt/pki/master"
ESTABLISHED = "ss --no-header --tcp state established"
# What differs from a master that is alone on its machine.
MASTER_CONFIG = f"""\
interface: {network.ADMIN_ORIGIN}
sock_dir: {{sockets}}
timeout: 15
gather_job_timeout: 15
grains_cache: True
worker_threads: 3
keysize: {KEY_SIZE}
enable_fqdns_grains: False
default_include: master.d/*.conf
"""
OWN = ("etc", "srv", "var")
OVERLAYS = """\
mount -t tmpfs -o mode=0755 slurm_pam-test "$1"
for part in {own}; do
    mkdir "$1/$part" "$1/$part.work"
    mount -t overlay -o "lowerdir=/$part,upperdir=$1/$part,workdir=$1/$part.work" slurm_pam-test "/$part"
done
exec sleep infinity
""".format(own=" ".join(OWN))

# Where a node has harness/warm.py.
WARM = "/usr/local/lib/warm.py"
MINION_UNIT = f"""\
[Unit]
Description=The Salt Minion
After=network.target

[Service]
KillMode=process
ExecStart={SALT_HOME}/bin/python3.11 {WARM} {SALT_HOME}/bin salt-minion
"""
MINION_CONFIG = f"""\
acceptance_wait_time: 1
keysize: {KEY_SIZE}
random_reauth_delay: 1
recon_default: 500
recon_max: 2000
recon_randomize: False
enable_fqdns_grains: False
# Its schedule is a file below /etc that changes by itself.
mine_enabled: False
"""


def minion(files: Mapping[str, str] | None = None, started: bool = True) -> Callable[[Node], None]:
    """What makes a node of the bare image a minion, started at its boot or not; ``files`` are more of its image."""

    def prepare(node: Node) -> None:
        node.write("/etc/salt/minion", f"{MINION_CONFIG}id: {node.name}\n")
        node.write("/etc/hosts", node.read("/etc/hosts") + f"{network.ADMIN_ORIGIN} salt\n")
        node.write("/etc/systemd/system/salt-minion.service", MINION_UNIT)
        node.write(WARM, warm.source())
        # For salt-ssh: where Python is on most systems.
        (node.root / "usr/bin/python3").symlink_to(f"{SALT_HOME}/bin/python3")
        if started:
            wants = "[Unit]\nWants=salt-minion.service\n"
            node.write("/etc/systemd/system/multi-user.target.d/salt-minion.conf", wants)
        for path, text in (files or {}).items():
            node.write(path, text)

    return prepare


class Master:
    """A running salt-master; ended with its site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.directory = site.directory / "nodes" / NAME
        launcher, groups = cgroups.reserve(machine(site.name, NAME))
        self.directory.mkdir(mode=0o700, parents=True)
        # For the site, so that it ends what runs here.
        (self.directory / "node.json").write_text(json.dumps({"groups": list(map(str, groups))}))
        disk = self.directory / "disk"
        disk.mkdir()
        into = ["nsenter", f"--net={network.path(site.name, 'outside')}", "unshare", "--mount", "--propagation=private"]
        self._holder = subprocess.Popen([*launcher, *into, "sh", "-euc", OVERLAYS, "sh", str(disk)])
        self._daemon: subprocess.Popen | None = None
        self.bin = host.venv("3008").parent
        self._compiled = compiled()
        self.warm = warm.Warm(self.command, f"{self.bin}/python")
        self._until(lambda: self.run(["test", "-d", f"{disk}/{OWN[-1]}.work/work"]).ok, "file systems", 120)
        (self.directory / "run").mkdir()
        self.write("/etc/salt/master", MASTER_CONFIG.format(sockets=self.directory / "run"))
        self.run(["mkdir", "-p", "/etc/salt/master.d", "/srv/salt", "/srv/pillar"], check=True)
        self.pillar("slurm_pam", "{}\n")
        self.write("/srv/pillar/top.sls", "base:\n  '*': [slurm_pam]\n")

    # -- the daemon --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        words = [f"{self.bin}/python", "-c", warm.source(), str(self.bin), "salt-master", "--log-level=warning"]
        with (self.directory / "master.log").open("a") as log:
            self._daemon = subprocess.Popen(self.command(words), stdout=log, stderr=log, start_new_session=True)
        self._wait(f"ss --no-header --listening --tcp src {network.ADMIN_ORIGIN}:4506 | grep -q .", "salt-master", 180)

    def stop(self) -> None:
        """End salt-master, with all its processes, as when its machine fails."""
        os.killpg(self._daemon.pid, signal.SIGKILL)
        self._daemon.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def cpu(self) -> float:
        """Seconds of CPU that salt-master's processes have used since they were started."""
        ticks = 0
        for pid in cgroups.processes(cgroups.hierarchies(self._holder.pid).values()):
            with contextlib.suppress(OSError):
                ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    # -- its machine -------------------------------------------------------------------------------------------------

    def command(self, words: Sequence[str]) -> list[str]:
        into = ["nsenter", f"--target={self._holder.pid}", "--mount", "--net"]
        own = list(cgroups.hierarchies(self._holder.pid).values())
        environment = [f"PATH={self.bin}:{os.environ['PATH']}", "HOME=/srv", "LANG=C.UTF-8", "PYTHONWARNINGS=ignore"]
        environment += [f"SALT_COMPILED={self._compiled}"]
        return [*cgroups.entering(own), *into, "env", *environment, *words]

    def run(self, words: Sequence[str], **options) -> Result:
        """Run a command on the master's machine."""
        return run(self.command(words), **{"check": False, "cwd": "/", **options})

    def shell(self, line: str, **options) -> Result:
        return self.run(["sh", "-ec", line], **options)

    def write(self, path: str, text: str) -> None:
        self.run(["sh", "-ec", 'mkdir -p "${1%/*}"; cat > "$1"', "sh", path], input=text, check=True)

    def read(self, path: str) -> str:
        return self.run(["cat", path], check=True).stdout

    def checkout(self) -> None:
        """The formula at its place below the first of Salt's file roots, as a checkout with links has it."""
        for part in FORMULA:
            self.run(["ln", "-sfn", str(REPO / part), f"/srv/salt/{part}"], check=True)

    def login_everywhere(self) -> None:
        """root on the master may log in to every node by its name, as everyone."""
        names = "".join(f"{address} {name}\n" for name, address in self.site.addresses.items())
        self.write("/etc/hosts", self.read("/etc/hosts") + names)
        options = {
            "IdentityFile": f"{self.site.directory}/key",
            "KexAlgorithms": network.KEX,
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        self.write("/etc/ssh/ssh_config", "".join(f"{name} {value}\n" for name, value in options.items()))

    def pillar(self, name: str, text: str) -> None:
        self.write(f"/srv/pillar/{name}.sls", text)

    # -- Salt --------------------------------------------------------------------------------------------------------

    def accept(self, *names: str) -> None:
        """Accept the keys of these minions and wait until they answer."""
        for name in names:
            self.await_key(name)
        # One that listens answers; one that does not yet, would be waited for until it is late.
        for name in names:
            listens = f"{ESTABLISHED} src {network.ADMIN_ORIGIN}:4505 dst {self.site.addresses[name]} | grep -q ."
            self._wait(listens, f"connection of {name}", 180, lambda: self._accept(names))
        self._until(lambda: self._answering(names) == set(names), "answers", 180)

    def _accept(self, names: Sequence[str]) -> None:
        """
        Those that are pending, or are so again: Salt 3008 removes a key before it stores it as accepted. To a minion
        that asks in between it is new, and then it is both, which counts as pending (store in cache/localfs_key.py).
        """
        if pending := sorted(set(names) & set(self.run(["ls", f"{KEYS}/minions_pre"]).stdout.split())):
            self.warm.call("salt-key", "--yes", f"--accept={','.join(pending)}")

    def _answering(self, names: Sequence[str]) -> set[str]:
        """Who of these answers. A master that was just started may not take the question in time."""
        with contextlib.suppress(Failed):
            return set(self.salt(",".join(names), "test.ping", targeting="list", patience=15))
        return set()

    def await_key(self, name: str) -> None:
        self._wait(f"[ -e {KEYS}/minions/{name} ] || [ -e {KEYS}/minions_pre/{name} ]", f"key of {name}", 180)

    def salt(
        self,
        target: str,
        function: str,
        *words: str,
        targeting: str = "compound",
        patience: int = 90,
        static: bool = False,
    ) -> dict:
        """What each minion that answered has to say; ``patience`` is in seconds.

        ``static`` makes a batch of it, which asks who is there first, and for answers a hundred times a second."""
        how = ["--out=json", "--hide-timeout", f"--timeout={patience}", f"--{targeting}", *["--static"] * static]
        answers = _answers(self.warm.call("salt", *how, target, function, *words), f"salt {target} {function}")
        return {name: answer for name, answer in answers.items() if answer is not False}

    def runner(self, function: str, *words: str) -> Result:
        """What a runner comes to. What is about salt-run itself takes ``run(["salt-run", ...])``."""
        return self.warm.call("salt-run", function, *words)

    def _wait(self, line: str, what: str, patience: float, ahead: Callable[[], object] = lambda: None) -> None:
        """Wait until a command line of the master succeeds, which it tries itself: each one from here takes five
        programs. Every ten seconds, something else comes ahead of it."""
        words = ["timeout", "10", "sh", "-c", f"until {line}; do sleep 0.1; done"]

        def holds() -> bool:
            ahead()
            return self._daemon.poll() is None and self.run(words).ok

        self._until(holds, what, patience)

    def _until(self, holds, what: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        while not holds():
            if time.monotonic() > deadline:
                log = self.directory / "master.log"
                complaints = tail(log.read_text()) if log.exists() else ""
                complaints += tail(self.run(["tail", "-n", "40", "/var/log/salt/master"]).stdout)
                raise Failed(f"master: not within {patience:.0f} s: {what}\n{complaints}")
            time.sleep(0.3)


def _answers(done: Result, what: str) -> dict:
    """Those of all minions, of which Salt tells one after another."""
    answers, text = {}, done.stdout.strip()
    try:
        while text:
            answer, end = json.JSONDecoder().raw_decode(text)
            answers, text = answers | answer, text[end:].lstrip()
    except (TypeError, ValueError):
        raise Failed(f"{what}: exit {done.rc}\n{tail(done.stdout)}{tail(done.stderr)}") from None
    return answers


class Cluster:
    """A site with its master and those of its nodes that are up."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.master = Master(site)
        self.nodes: dict[str, Node] = {}

    @classmethod
    @contextlib.contextmanager
    def boot(
        cls,
        hosts: Sequence[str],
        up: Sequence[str] | None = None,
        partitions: Mapping[str, Sequence[str]] | None = None,
        salt: Mapping[str, str] | None = None,
    ) -> Iterator[Cluster]:
        """All of ``hosts`` that are to be ``up``, as accepted minions of a running master that has the formula."""
        site = Site.create(hosts=hosts, partitions=partitions)
        try:
            cluster = cls(site)
            cluster.master.checkout()
            cluster.master.start()
            for name in hosts if up is None else up:
                cluster.start(name, (salt or {}).get(name, "3008"))
            cluster.accept()
            yield cluster
        finally:
            site.remove()

    def start(
        self, name: str, salt: str = "3008", files: Mapping[str, str] | None = None, started: bool = True
    ) -> Node:
        node = self.nodes[name] = Node.start(self.site, name, "sle15", salt, minion(files, started))
        return node

    def accept(self) -> None:
        """Accept the keys of all minions and wait until they answer."""
        try:
            self.master.accept(*self.nodes)
        except Failed as error:
            said = [f"{node.name}, {node.address}\n{node.complaints()}" for node in self.nodes.values()]
            raise Failed("\n".join([str(error), *said])) from error


@contextlib.contextmanager
def cut_off(site: Site, node: Node) -> Iterator[None]:
    """The node reaches nothing where the master is, and is not reached from there."""
    rule = ["blackhole", network.ADMIN_ORIGIN]
    run(["ip", "-netns", network.namespace(site.name, node.name), "route", "add", *rule], check=True)
    try:
        yield
    finally:
        run(["ip", "-netns", network.namespace(site.name, node.name), "route", "del", *rule], check=True)
