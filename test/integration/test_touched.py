"""What an apply writes is what slurm_pam.touched says, no more and no less, and all of it can be taken back."""

import json
import re

import pytest
from harness import trace
from harness.formula import EXAMPLE, etc, failed, settings, sync
from harness.layouts import LAYOUTS
from harness.node import Node
from harness.paths import REPO

SLURM = {"manage": "enforce", "use_pam": True}
COPY = {"account_base": "copy"}
CASES = {
    "enforce": {},
    "adopt": {"mode": "adopt"},
    "audit": {"mode": "audit"},
    "pam_slurm": {"module": "pam_slurm", "pam": {"message": "Get a job."}},
    "slurm.conf": {"slurm": SLURM},
    "adopt, slurm.conf": {"mode": "adopt", "slurm": SLURM},
    "pam_slurm, slurm.conf": {"module": "pam_slurm", "slurm": SLURM},
    "the guide's files": {"access": {**EXAMPLE["access"], "file": "/etc/security/access.conf"}, "pam": COPY},
    "doors, watch": {"doors": dict.fromkeys(("login", "su", "systemd-user"), "close"), "watch": True},
    "as little as can be": {"sshd": {"manage": False}, "logind": "keep", "packages": {"manage": False}},
}
# Where sshd_config includes no drop-ins, its single lines are edited.
SINGLE_LINES = "sle15, single lines"
# What they and their children write is theirs: an apply changes packages and groups through them.
TOOLS = {"apt-get", "dpkg", "gpasswd", "groupadd", "rpm", "zypper"}
# What is left of these when the apply ends or is confirmed is not the formula's, or nothing is.
OF_OTHERS = {
    r"/var/(cache|log|lib)/salt(/.*)?": "Salt: what it fetched, its log, its keys",
    r"/run/salt-file_transaction(/.*)?": "file_transaction: the lock of each file, while it is written",
    r"/run/slurm_pam-applying": "the watch: which apply runs",
    r"/var/lib/slurm_pam(/confirm(/.*)?)?": "confirm: its copies and its program",
    r"/etc/systemd/system/(.*/)?slurm_pam-take-back-at-boot\.service(\.new)?": "confirm: what runs it at the next boot",
}
# As file_transaction calls what it writes before it renames it.
BESIDE = re.compile(r"(?P<directory>.*)/\.(?P<name>[^/]+)\.salt-(new|old)")


@pytest.fixture(scope="module")
def node(request, machine, salt):
    """A node of this layout; the name of a layout is the first word."""
    layout = next(layout for layout in LAYOUTS if request.param.startswith(layout))
    with Node.boot(layout, salt) as booted:
        if request.param == SINGLE_LINES:
            config = booted.read("/etc/ssh/sshd_config")
            booted.write("/etc/ssh/sshd_config", re.sub("(?m)^Include .*\n", "", config))
            booted.run(["systemctl", "reload", "ssh"], check=True)
        sync(booted)
        yield booted


def applied(node):
    """What an apply writes below /etc, /var and /run."""
    before = node.snapshot("/etc")
    apply = ["salt-call", "--local", "--out=json", "--log-level=error", "state.apply", "slurm_pam"]
    done, writes = trace.writes(node, apply)
    results = json.loads(done.stdout)["local"]
    assert not failed(results), failed(results)
    theirs = {write.path for write in writes if TOOLS & set(write.programs)}
    ours = {write.path for write in writes if not TOOLS & set(write.programs)}
    after = node.snapshot("/etc")
    # A unit is masked by systemd itself.
    ours |= set(differing(before, after)) - theirs
    ours = {BESIDE.sub(r"\g<directory>/\g<name>", path) for path in ours if re.match("/(etc|var|run)/", path)}
    return {path for path in ours if not any(re.fullmatch(pattern, path) for pattern in OF_OTHERS)}


def there(node):
    """All that can be taken back, without confirm's own copies."""
    files = etc(node) | node.snapshot("/var/lib/slurm_pam")
    return {path: what for path, what in files.items() if not path.startswith("/var/lib/slurm_pam/confirm")}


def differing(before, after):
    return sorted(path for path in before | after if before.get(path) != after.get(path))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("node", ["sle15"], indirect=True)
def test_touched_and_taken_back(node, case):
    settings(node, confirm=3600, **CASES[case])
    touched, before = node.salt("slurm_pam.touched"), there(node)
    assert len(touched) == len(set(touched))
    wrote = applied(node)
    assert (sorted(wrote - set(touched)), sorted(set(touched) - wrote)) == ([], [])
    if not touched:
        return
    assert set(touched) <= set(differing(before, there(node)))
    node.salt("slurm_pam_confirm.take_back")
    assert differing(before, there(node)) == []


@pytest.mark.parametrize("case", ["enforce", "slurm.conf"])
@pytest.mark.parametrize("node", ["debian13", SINGLE_LINES], indirect=True)
def test_other_layouts(node, case):
    test_touched_and_taken_back(node, case)


@pytest.mark.parametrize("node", ["debian13"], indirect=True)
def test_the_readme_names_them(node):
    """Its table, whose first column is what is changed."""
    _, _, text = (REPO / "README.md").read_text().partition("## What it changes on a node")
    named = re.findall(r"^\| `(/[^`]+)` \|", text.partition("\n## ")[0], re.MULTILINE)
    settings(node)
    masks = "/etc/systemd/system/systemd-logind"
    assert {path for path in node.salt("slurm_pam.touched") if not path.startswith(masks)} == set(named)
