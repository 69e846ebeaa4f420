"""An upgrade, what people see when something is wrong, and the way back by hand: README's and doc/troubleshooting.md's.

The tests of this file follow one another on one node.
"""

import json
import re
import subprocess
import time

import pytest
from harness.formula import applied, apply, changed, etc, failed, pillar, sync
from harness.paths import REPO
from harness.shell import run

PAGE = (REPO / "doc/troubleshooting.md").read_text()
# 1.0.0, as it was released.
OLD = "6f9152166af65a461d0753c78ec79598d49ea6ab"
SETTINGS = {"slurm_pam": {"access": {"groups": {"hpc_admin_g": {"origins": ["192.0.2.0/24"], "members": ["admin"]}}}}}


@pytest.fixture(scope="module")
def old(node):
    """A function that applies the formula as it was released, from a place of its own."""
    git = ["git", "-C", REPO]
    if not run([*git, "cat-file", "-e", OLD], check=False).ok:
        # A checkout without its history
        run([*git, "fetch", "--quiet", "--depth=1", "origin", OLD])
    tar = [*git, "archive", OLD, "slurm_pam", "_modules", "_states"]
    archive = subprocess.run(tar, capture_output=True, check=True)
    directory = node.root / "srv/old"
    directory.mkdir()
    subprocess.run(["tar", "-xC", directory], input=archive.stdout, check=True)

    def state():
        # Salt remembers for 20 seconds which files there are, also of another place.
        forget = ["rm", "-rf", "/var/cache/salt/minion/file_lists"]
        node.run(forget, check=True)
        words = ["--file-root=/srv/old", "--out=json", "--log-level=error", "state.apply", "slurm_pam", "sync_mods=all"]
        states = json.loads(node.run(["salt-call", "--local", *words], check=True).stdout)["local"]
        node.run(forget, check=True)
        assert isinstance(states, dict), states
        assert not [each["comment"] for each in states.values() if each["result"] is False]

    return state


def restorable(node):
    """What clean brings back; chage, as a test uses it, leaves a copy behind."""
    return {path: what for path, what in etc(node).items() if path != "/etc/shadow-"}


@pytest.fixture(scope="module")
def before(node):
    pillar(node, SETTINGS)
    return restorable(node)


@pytest.fixture
def closed(node, before):
    """The node closed by this release, whatever the test before left."""
    applied(node)
    return node


def is_closed(node):
    return node.ssh("admin").ok and "you have no active jobs" in node.ssh("bob").stderr


def is_open(node):
    return all(node.ssh(user).ok for user in ("root", "admin", "alice", "bob"))


# An upgrade


def test_clean_takes_back_what_the_old_release_applied(node, before, old):
    old()
    assert is_closed(node)
    sync(node)
    applied(node, "slurm_pam.clean")
    assert restorable(node) == before
    assert is_open(node)


def test_an_apply_over_the_old_release(node, before, old):
    """The old modules are told from the new ones, and the node stays closed all the while."""
    old()
    told = failed(apply(node))
    assert list(told) == ["slurm_pam-ready"]
    assert all(words in told["slurm_pam-ready"] for words in ("on this minion are of 1.0.0", "sync_mods=all"))
    assert is_closed(node)
    applied(node, sync_mods="all")
    assert is_closed(node)
    assert changed(applied(node)) == []
    assert node.salt("slurm_pam.audit")["holds"]


# What people see


@pytest.fixture
def job(closed):
    number = closed.job("alice")
    yield number
    closed.cancel(number)


def said(node, message):
    """That the page has this message as a heading, and that a user of the node sees it."""
    assert re.search(rf'^### "{re.escape(message)}', PAGE, re.MULTILINE), message
    seen = node.ssh("alice")
    assert not seen.ok
    assert message in seen.stderr.replace("\r", ""), seen.stderr
    assert node.ssh("admin").ok and node.ssh("root").ok


def test_no_job(closed):
    said(closed, "Access denied by pam_slurm_adopt: you have no active jobs on this node")


def log(node, since):
    """What has been said since then, by the command that the page gives; journald has taken in all that was said."""
    (command,) = re.findall(r"^\| `(journalctl .*?)` \|", PAGE, re.MULTILINE)
    assert "--since=-10min" in command
    line = f"journalctl --sync; {command.replace('-10min', f'@{int(since)}')}"
    return node.run(["sh", "-c", line], check=True).stdout


MODULE, SLURM_CONF = "/lib64/security/pam_slurm_adopt.so", "/etc/slurm/slurm.conf"
FAULTS = {
    "Access denied for user alice by PAM account configuration": ("chage -E 0 alice", "chage -E -1 alice"),
    "PAM adding faulty module": (f"mv {MODULE} /root/module", f"mv /root/module {MODULE}"),
    "Could not establish a configuration source": (f"mv {SLURM_CONF} /root/conf", f"mv /root/conf {SLURM_CONF}"),
}


def test_connections_closed_without_a_reason(closed, job):
    """Each with what the page says of the log; administrators get in meanwhile."""
    seen = {}
    for words, (breaks, mends) in FAULTS.items():
        closed.run(["sh", "-ec", breaks], check=True)
        begun = time.time()
        login = closed.ssh("alice")
        there = words in (told := log(closed, begun)) or told
        seen[words] = (login.ok, "Connection closed by" in login.stderr, there, closed.ssh("admin").ok)
        closed.run(["sh", "-ec", mends], check=True)
    assert seen == dict.fromkeys(FAULTS, (False, True, True, True))
    assert [words for words in FAULTS if words not in PAGE] == []
    assert closed.ssh("alice").ok


def test_what_the_page_types(closed, job):
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    commands = re.findall(r"^(alice\$|node#) (.*)\n((?:(?!alice\$|node#).*\n)*)", "".join(blocks), re.MULTILINE)
    assert commands
    for prompt, line, told in commands:
        done = closed.ssh("alice", line) if prompt == "alice$" else closed.run(["sh", "-ec", line], check=True)
        assert done.ok and told.strip() in done.stdout, (line, done)


def test_an_audit_names_what_was_changed(node):
    """After the page's own change of a line."""
    assert "pam_systemd.so" in node.read("/etc/pam.d/sshd")
    audit = node.salt("slurm_pam.audit")
    node.run(["sed", "-i", "$d", "/etc/pam.d/sshd"], check=True)
    count = r"1 of \d+ states are not as they should be"
    assert not audit["holds"] and re.fullmatch(count, audit["summary"])
    assert re.search(f'^### .* says "{count}"', PAGE, re.MULTILINE)
    assert "must not reach pam_systemd.so, but gets to /etc/pam.d/sshd" in json.dumps(audit["findings"])
    assert node.salt("slurm_pam.audit")["holds"]


def test_after_an_update_of_slurmd_alone(closed):
    closed.write("/usr/local/sbin/slurmd", "#!/bin/sh\necho slurm 24.11.5\n")
    closed.run(["chmod", "755", "/usr/local/sbin/slurmd"], check=True)
    try:
        audit = closed.salt("slurm_pam.audit")
    finally:
        closed.run(["rm", "/usr/local/sbin/slurmd"], check=True)
    assert not audit["holds"] and "but slurmd is 24.11.5, whose libslurm is 42" in json.dumps(audit["findings"])


def test_a_node_that_was_renamed(closed, job):
    closed.run(["hostname", "renamed"], check=True)
    try:
        said(closed, "No Slurm jobs found on node.")
        told = closed.salt("slurm_pam.explain", "alice", "192.0.2.1")
        assert told["permitted"] is False and told["jobs"] == []
        names = f"Job {job} began under the NodeName {closed.name}, and pam_slurm_adopt looks for jobs of renamed"
        assert names in told["why"]
        assert [each["node"] for each in closed.salt("slurm_pam.jobs")] == [closed.name]
        audit = closed.salt("slurm_pam.audit")
        assert not audit["holds"] and "slurmctld knows no node renamed, the name of this host" in json.dumps(audit)
    finally:
        closed.run(["hostname", closed.name], check=True)
    assert closed.ssh("alice").ok


# Locked out


def test_the_three_lines_of_the_readme(closed, before):
    """Typed on a node that is closed to everyone: nobody is an administrator any more, and root is kept out."""
    _, _, section = (REPO / "README.md").read_text().partition("## Locked out?\n")
    lines = re.findall(r"^    (.*)$", section.partition("\n## ")[0], re.MULTILINE)
    assert len(lines) == 3
    closed.run(["sed", "-i", "/^+/d", "/etc/security/slurm-access.conf"], check=True)
    closed.run(["sed", "-i", "s/^PermitRootLogin.*/PermitRootLogin no/", "/etc/ssh/sshd_config.d/00-slurm_pam.conf"])
    closed.run(["systemctl", "reload", "sshd"], check=True)
    closed.until(lambda: not closed.ssh("root").ok, "root locked out")
    assert not any(closed.ssh(user).ok for user in ("admin", "alice", "bob"))
    for line in lines:
        closed.run(["sh", "-ec", line], check=True)
    closed.until(lambda: closed.ssh("root").ok, "root let in")
    assert is_open(closed)
    assert closed.run(["systemctl", "is-active", "systemd-logind"]).ok
    # Salt is there again.
    applied(closed, "slurm_pam.clean")
    assert restorable(closed) == before
    assert is_open(closed)
    applied(closed)
    assert is_closed(closed)
    applied(closed, "slurm_pam.clean")
    assert restorable(closed) == before
