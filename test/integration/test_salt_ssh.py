"""Over salt-ssh of each Salt, on a node that has no minion: modules, states and the library below them are brought."""

import json

import pytest
import yaml
from harness import host, network
from harness.formula import DENIED, EXAMPLE, failed
from harness.paths import REPO
from harness.salt_tree import HOME, SALTS
from harness.shell import Failed, run, tail

FORMULA = ("slurm_pam", "_modules", "_states")
MASTER = """\
root_dir: {root}
file_roots: {{base: [{root}/srv]}}
pillar_roots: {{base: [{root}/pillar]}}
"""


class SaltSsh:
    """One Salt's salt-ssh, configured in a directory of its own; it reaches the node from outside, as ssh does."""

    def __init__(self, salt, node, root):
        self.command = ["nsenter", f"--net={network.path(node.site.name, 'outside')}"]
        self.command += [host.venv(salt).with_name("salt-ssh"), "--config-dir", root, "--ignore-host-keys"]
        for directory in ("srv", "pillar"):
            (root / directory).mkdir()
        for part in FORMULA:
            (root / "srv" / part).symlink_to(REPO / part)
        roster = {"node": {"host": node.address, "user": "root", "priv": f"{node.site.directory}/key"}}
        (root / "master").write_text(MASTER.format(root=root))
        (root / "roster").write_text(yaml.safe_dump(roster))
        (root / "pillar/top.sls").write_text("base: {'*': [slurm_pam]}\n")
        (root / "pillar/slurm_pam.sls").write_text(yaml.safe_dump({"slurm_pam": EXAMPLE}))

    def __call__(self, function, *words):
        done = run([*self.command, "--static", "--out=json", "node", function, *words], check=False)
        try:
            return json.loads(done.stdout)["node"]
        except (ValueError, KeyError):
            raise Failed(f"salt-ssh {function}: exit {done.rc}\n{done.stdout}{tail(done.stderr)}") from None

    def apply(self, sls):
        results = self("state.apply", sls)
        assert isinstance(results, dict), results
        assert not failed(results), failed(results)
        return results


@pytest.fixture(scope="module")
def bare(node):
    """Where Python is on most systems."""
    (node.root / "usr/bin/python3").symlink_to(f"{HOME}/bin/python3")
    return node


@pytest.mark.parametrize("salt_ssh", SALTS)
def test_modules_states_and_clean(bare, tmp_path, salt_ssh):
    node, ssh = bare, SaltSsh(salt_ssh, bare, tmp_path)
    assert ssh("test.version") == SALTS[salt_ssh]
    before = node.snapshot("/etc/pam.d")
    # A face that nothing was applied with yet has its library.
    assert ssh("pam_stack.lint", "sshd") == []
    ssh.apply("slurm_pam")
    assert node.ssh("admin").ok
    assert DENIED in node.ssh("bob").stderr
    ssh.apply("slurm_pam.clean")
    assert node.ssh("bob").ok
    assert node.snapshot("/etc/pam.d") == before
