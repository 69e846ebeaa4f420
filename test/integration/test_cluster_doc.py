"""doc/cluster.md, followed literally by someone who knows nothing else.

A block whose first line is a path is a file of the master, or of the image that the next new node boots from. In a
console block, what stands below a command has to appear in its output, line by line and in that order.
"""

import re
import shlex
import time

import pytest
from harness.cluster import Cluster
from harness.paths import REPO
from harness.shell import run
from harness.warm import PROGRAMS

HOSTS = ["head", "cn1", "cn2", "cn3", "cn4", "gpu1", "gpu2"]
PARTITIONS = {"batch": ["head", "cn1", "cn2", "cn3", "cn4"], "gpu": ["gpu1", "gpu2"]}
WITHOUT_MINION = {"gpu2"}
FORMULA = (".gitignore", "FORMULA", "pillar.example", "slurm_pam", "_modules", "_states", "_runners")
UPSTREAM = "https://git.example.org/"
BLOCKS = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^(master#|admin\$|alice\$) (.*)\n((?:(?!master# |admin\$ |alice\$ ).*\n)*)", re.MULTILINE)
PATIENCE = 120  # seconds, for what a node does by itself


def repository(path):
    """The formula as it is in this tree, as a Git repository."""
    path.mkdir()
    for part in FORMULA:
        run(["cp", "-a", REPO / part, path / part])
    git = ["git", "-C", path, "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for words in (["init", "--quiet", "--initial-branch=main"], ["add", "."], ["commit", "--quiet", "-m", "formula"]):
        run([*git, *words])
    return path


class Reader:
    """Does what the page says."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.image = {}

    def follow(self, kind, text):
        if kind == "console":
            commands = COMMANDS.findall(text)
            assert "".join(f"{prompt} {line}\n{told}" for prompt, line, told in commands) == text, text
            for prompt, line, told in commands:
                self.boot_what_is_new(line)
                self.type(prompt, line, told.splitlines())
        else:
            self.boot_what_is_new(text if "roster" in text else "")
            first, text = text.split("\n", 1)
            place, path = re.fullmatch(r"# (node:)?(/\S+)", first).groups()
            if place:
                self.image[path] = text
            else:
                self.cluster.master.write(path, text)

    def boot_what_is_new(self, text):
        for name in HOSTS:
            if re.search(rf"\b{name}\b", text) and name not in self.cluster.nodes:
                image, self.image = self.image, {}
                self.cluster.start(name, files=image, started=name not in WITHOUT_MINION)
                if name not in WITHOUT_MINION:
                    self.cluster.master.await_key(name)

    def type(self, prompt, line, told):
        # What a node does by itself takes its time; what is typed on the master has its effect at once.
        deadline = time.monotonic() + (0 if prompt == "master#" else PATIENCE)
        while (missing := self.missing(output := self.output(prompt, line), told)) and time.monotonic() < deadline:
            time.sleep(1)
        assert not missing, f"{prompt} {line}\n{output}\n\nis without: {missing}"

    def output(self, prompt, line):
        if prompt != "master#":
            node, *words = shlex.split(line.removeprefix("ssh "))
            done = self.cluster.nodes[node].ssh(prompt[:-1], words or "true")
        elif line == "systemctl restart salt-master":
            self.cluster.master.restart()
            # Nobody types so fast that the minions are not back.
            self.cluster.master.accept(*(self.cluster.nodes.keys() - WITHOUT_MINION))
            return ""
        else:
            done = self.typed(line)
            assert done.rc == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def typed(self, line):
        """What a command of Salt comes to by itself, or a line of the shell."""
        words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
        if words[0] in PROGRAMS and words == shlex.split(line):
            return self.cluster.master.warm.call(*words)
        return self.cluster.master.shell(line, timeout=600)

    @staticmethod
    def missing(output, told):
        # Salt pads numbers to the width of the longest.
        output, position = re.sub(" +", " ", output), 0
        for line in told:
            wanted = re.sub(" +", " ", line.strip())
            found = output.find(wanted, position)
            if found < 0:
                return line
            position = found + len(wanted)
        return ""


@pytest.fixture
def cluster(machine, tmp_path):
    with Cluster.boot(HOSTS, ["head", "cn1", "cn2", "gpu1"], PARTITIONS) as booted:
        master = booted.master
        master.run(["sh", "-ec", "rm /srv/salt/* /srv/pillar/*"], check=True)
        master.write("/etc/gitconfig", f'[url "file://{tmp_path}/"]\n    insteadOf = {UPSTREAM}\n')
        repository(tmp_path / "slurm_pam.git")
        master.login_everywhere()
        # The key that salt-ssh would make for itself, known to the nodes.
        key = (booted.site.directory / "key").read_text()
        master.write("/etc/salt/pki/master/ssh/salt-ssh.rsa", key)
        master.run(["chmod", "600", "/etc/salt/pki/master/ssh/salt-ssh.rsa"], check=True)
        yield booted


def test_the_page_says_what_happens(cluster):
    reader = Reader(cluster)
    for kind, text in BLOCKS.findall((REPO / "doc/cluster.md").read_text()):
        reader.follow(kind, text)
