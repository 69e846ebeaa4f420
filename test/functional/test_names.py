"""Names of minions, by the real ssh and by Salt's own target parser: a name is one node's, and never an option."""

import shutil
import subprocess
import sys

import pytest
import salt._logging
import salt.config
import salt.loader
import salt.utils.minions
import salt.utils.verify
from harness.runners import NODES, Minions, Rollouts, became, logins, runner, said

NAMES = ["cn1", "gpu-1.example.org", "CN_1", "_x", "a" * 63, "android", "nor", "G", "L"]
# Salt takes all of these for the id of a minion.
UNUSABLE = [
    "a b",
    "cn1 or *",
    "cn1 or cn2",
    "or",
    "and",
    "not",
    "not cn1",
    "*",
    "cn?",
    "cn[1-3]",
    "E@cn.*",
    "L@cn1,cn2",
    "G@os:*",
    "cn1,cn2",
    ",cn1,",
    "(",
    ")",
    "-cn1",
    "-oProxyCommand=touch MARKER",
    "-E",
    "cn1\n",
    "cn1\ncn2",
    "cn1;touch MARKER",
    "$(touch MARKER)",
    "\x1b[2Jcn1",
]


# ssh

SSH = "ssh -F none -o BatchMode=yes -o ConnectTimeout=1"


@pytest.fixture
def ssh():
    if not shutil.which("ssh"):
        pytest.skip("no ssh")


@pytest.mark.parametrize("name", NAMES)
def test_ssh_takes_a_name_for_a_host(ssh, name):
    for where in (name, f"admin@{name}"):
        done = subprocess.run(["ssh", "-F", "none", "-G", where], capture_output=True, text=True, check=True)
        assert f"hostname {name.lower()}\n" in done.stdout.lower()


@pytest.mark.parametrize("command", [f"{SSH} {{node}} true", f"{SSH} admin@{{node}} true", f"{SSH} x -J {{node}} true"])
def test_ssh_is_never_run_with_a_name_that_is_none(ssh, tmp_path, command):
    marker = tmp_path / "marker"
    names = [name.replace("MARKER", str(marker)) for name in UNUSABLE]
    found = logins.failing(names, [{"command": command}])
    assert len(found) == len(names)
    assert all("this cannot be the name of a node" in problem for problem in found.values())
    assert not marker.exists()


def test_ssh_would_have_run_it(ssh, tmp_path):
    """What the test above keeps from happening does happen."""
    marker = tmp_path / "marker"
    subprocess.run([*SSH.split(), f"-oProxyCommand=touch {marker}", "true"], check=False, capture_output=True)
    assert marker.exists()


# Salt's targets


@pytest.fixture
def master(tmp_path):
    """A function: the keys that a master has accepted -> its own look at targets, and each minion's."""

    def make(names):
        # Salt's start-up handler keeps the stderr that pytest has taken away by the time it writes to it.
        salt._logging.shutdown_temp_handler()
        accepted = tmp_path / "pki/minions"
        shutil.rmtree(tmp_path / "pki", ignore_errors=True)
        accepted.mkdir(parents=True)
        for name in names:
            (accepted / name).write_text("key")
        directories = {"root_dir": str(tmp_path), "pki_dir": str(tmp_path / "pki"), "cachedir": str(tmp_path / "cache")}
        opts = salt.config.apply_master_config({**directories, "cluster_id": None})
        minion = {**salt.config.DEFAULT_MINION_OPTS, "grains": {"os": "Debian"}, "pillar": {}, "extension_modules": ""}
        return salt.utils.minions.CkMinions(opts), salt.loader.matchers(minion), minion

    return make


class Cluster(Minions):
    """Salt says who is meant, on the master and on each minion."""

    def __init__(self, master, names):
        super().__init__(names)
        self.checker, self.matchers, self.opts = master(names)

    def meant(self, whom):
        """Those for whom the master waits, and those who take it for theirs."""
        kind = "list" if isinstance(whom, list) else "compound"
        awaited = self.checker.check_minions(whom, kind)["minions"]
        match = self.matchers[f"{kind}_match.match"]
        return sorted(awaited), sorted(name for name in self.answers if match(whom, {**self.opts, "id": name}, name))

    def send(self, whom, *words):
        if isinstance(whom, list):
            assert self.meant(whom) == (sorted(whom), sorted(whom))
        return super().send(whom, *words)

    def matches(self, name):
        return name in self.meant("cn* or *")[1]


@pytest.mark.parametrize("name", UNUSABLE)
def test_salt_lets_a_minion_have_such_a_name(name, tmp_path):
    assert salt.utils.verify.valid_id({"pki_dir": str(tmp_path)}, name)
    assert said.unusable(name)


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_list_with_such_a_name_means_that_minion_alone(master, name):
    """So would a list with it, which no rollout sends."""
    cluster = Cluster(master, [*NODES, name])
    assert cluster.meant([name])[0] == [name]
    assert set(cluster.meant([name])[1]) <= {name, *(["cn1"] if name == ",cn1," else [])}


def test_a_target_made_of_such_a_name_would_mean_others(master):
    cluster = Cluster(master, [*NODES, "cn1 or *", "cn1 or cn2"])
    assert set(cluster.meant("L@cn1 or *")[1]) >= set(NODES)
    assert set(cluster.meant("L@cn1 or cn2 and ( cn* )")[1]) >= {"cn1", "cn2"}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_rollout_refuses_it_and_asks_exactly_those_whom_it_means(master, name, tmp_path):
    cluster = Cluster(master, [*NODES, name])
    report = Rollouts(tmp_path)(cluster)
    assert became(report) == {**dict.fromkeys(NODES, "waiting"), said.shown(name): "refused"}
    assert not any(name in whom for _, whom in cluster.asked if isinstance(whom, list))


def test_of_too_many_for_one_call_those_are_asked_who_they_are_that_have_no_name_of_a_node(master):
    """Salt itself says who is meant by that target: on the master, and on each minion."""
    cluster = Cluster(master, [*NAMES, *UNUSABLE])
    target = sys.modules["_meant"].nameless("cn* or *")
    assert cluster.meant(target) == (sorted(UNUSABLE), sorted(UNUSABLE))


def test_a_rollout_over_names_of_nodes(master, tmp_path):
    cluster = Cluster(master, NAMES)
    assert became(Rollouts(tmp_path)(cluster)) == dict.fromkeys(NAMES, "done")


UNREADABLE = ["cn* or", "( cn*", "cn1 cn2", "( )", "E@cn[", "E@cn{99999999999}", "S@node", "Z@cn1 cn2", "N@none"]


@pytest.mark.parametrize("target", UNREADABLE)
def test_a_target_that_salt_cannot_read_is_named(master, target):
    """It means no node, so that those of a partition would be among the others, with batches of another size."""
    *_, runner.__opts__ = master(NODES)
    runner.__context__ = {}
    told = f"is {target!r}, which Salt cannot read; it has to be a compound target such as 'cn* or gpu*'"
    assert runner.evidence(target)["summary"] == f"nodes {told}"
    assert runner.rollout(target)["summary"].startswith(f"nodes {told}")
    partitions = {"cpu": "cn*", "gpu": target}
    assert runner.rollout("*", partitions=partitions)["summary"].startswith(f"partitions: gpu {told}")


@pytest.mark.parametrize("target", ["cn*", "nobody", "not cn1", "L@cn1,cn2 and not ( cn2 )", "G@os:SLES", "N@all"])
def test_a_target_that_salt_can_read_is_taken(master, target):
    *_, opts = master(NODES)
    groups = {"all": "cn* or N@gpus", "gpus": ["gpu1", "gpu2"]}
    assert not runner.unreadable({"nodes": target}, {**opts, "nodegroups": groups})


@pytest.mark.parametrize(
    ("groups", "target", "spelled_out"),
    [
        ({}, "cn* or gpu*", "cn* or gpu*"),
        ({"g": "cn1,cn2"}, "N@g", "L@cn1,cn2"),
        ({"g": ["cn1", "cn2"]}, "N@g and not cn2", "L@cn1,cn2 and not cn2"),
        ({"g": "cn1 or N@h", "h": "cn3 or E@gpu.*"}, "N@g", "( cn1 or ( cn3 or E@gpu.* ) )"),
        ({}, "N@none", ""),
    ],
)
def test_node_groups_are_spelled_out_as_salt_does(master, groups, target, spelled_out):
    """The minions, which are asked by match.compound, do not know the master's."""
    assert sys.modules["_meant"].spelled_out(target, groups) == spelled_out
    cluster = Cluster(master, NODES)
    cluster.opts["nodegroups"] = groups
    assert cluster.meant(target)[1] == cluster.meant(spelled_out or "nobody")[1]
