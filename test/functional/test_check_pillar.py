"""`salt-run slurm_pam.check_pillar`: pillars rendered on a master that asks no node, with Salt's own salt-run."""

import json
import os
import sys
from pathlib import Path

import pytest
import salt.cache
import salt.config
import yaml
from harness.formula import EXAMPLE
from harness.paths import REPO
from harness.shell import Result, run
from harness.warm import Warm

GRAINS = {
    "cn1": {"os_family": "Suse", "partition": "batch"},
    "cn2": {"os_family": "Suse", "partition": "batch"},
    "gpu1": {"os_family": "Debian", "partition": "gpu"},
    # Accepted, and never heard since.
    "new1": None,
}


class Master:
    """A master's configuration, accepted keys and what it has cached of minions; no daemon runs."""

    def __init__(self, directory: Path, warm: Warm) -> None:
        self.directory, self.warm = directory, warm
        self.pillars = directory / "pillar"
        roots = directory / "salt"
        for path in (self.pillars, roots, directory / "pki/minions", directory / "var/cache/salt/master/proc"):
            path.mkdir(parents=True)
        for part in ("slurm_pam", "_modules", "_runners"):
            (roots / part).symlink_to(REPO / part)
        config = {
            "root_dir": str(directory),
            "pki_dir": str(directory / "pki"),
            "file_roots": {"base": [str(roots)]},
            "pillar_roots": {"base": [str(self.pillars)]},
            "log_level": "error",
        }
        (directory / "master").write_text(yaml.safe_dump(config))
        cache = salt.cache.factory(salt.config.master_config(str(directory / "master")))
        for name, grains in GRAINS.items():
            (directory / "pki/minions" / name).touch()
            if grains:
                # As 3008 and as 3006 keep it.
                cache.store("grains", name, {"id": name, **grains})
                cache.store(f"minions/{name}", "data", {"grains": {"id": name, **grains}})

        self.command = ["salt-run", f"--config-dir={directory}", "--out=json"]

    def run(self, *words: str) -> Result:
        return self.warm.call(*self.command, *words)

    def check(self, nodes: str = "cn* or gpu*", top: dict | None = None, **pillars: object) -> tuple[int, dict]:
        """The exit status and the answer to these pillars, of which every node has ``all``."""
        for name, pillar in pillars.items():
            text = pillar if isinstance(pillar, str) else yaml.safe_dump({"slurm_pam": pillar}, sort_keys=False)
            (self.pillars / f"{name}.sls").write_text(text)
        (self.pillars / "top.sls").write_text(yaml.safe_dump({"base": top or {"*": ["all"]}}))
        done = self.run("slurm_pam.check_pillar", nodes)
        assert done.stdout.startswith("{"), done.stdout.encode().decode("unicode_escape") + done.stderr
        return done.rc, json.loads(done.stdout)


@pytest.fixture(scope="module")
def master(tmp_path_factory, warm):
    directory = Master(tmp_path_factory.mktemp("master"), warm)
    assert directory.run("saltutil.sync_runners").ok
    return directory


def partition(nodes, **settings):
    return {"nodes": nodes, "settings": settings}


def test_pillars_that_are_right(master):
    right = {**EXAMPLE, "partitions": {"gpu": partition("G@partition:gpu", mode="adopt")}}
    status, told = master.check(all=right)
    assert told["summary"] == "nodes: 3, problems: 0, warnings: 0"
    assert told["result"] and told["problems"] == told["warnings"] == {}
    assert status == 0 and "retcode" not in told


def test_each_node_is_held_to_its_own_pillar(master):
    """By top.sls, by a partition's target with grains, and by what is wrong only once it is merged."""
    partitions = {
        "gpu": partition("G@partition:gpu", pam_slurm_adopt={"service": "login"}),
        "batch": partition("E@cn\\d+", mode="audit"),
        "odd": partition("cn1", mode="adopt"),
        "nowhere": partition("G@partition:gqu", mode="adopt"),
    }
    status, told = master.check(
        top={"*": ["all"], "cn2": ["two"]},
        all={**EXAMPLE, "partitions": partitions},
        two={"access": {"groups": {"hpc_admins_g": {"origins": ["10.0.0.0/33"]}}}},
    )
    assert status == 1 and not told["result"]
    (first, gpu), (second, cn) = sorted(told["problems"].items())
    assert first.startswith("slurm_pam:access:groups:hpc_admins_g:origins is ['10.0.0.0/33']") and gpu == ["cn2"]
    assert second.startswith("slurm_pam:pam_slurm_adopt:service is 'login'") and cn == ["gpu1"]
    (alike, of_two), (mode, of_one), (nobody, of_all) = sorted(told["warnings"].items())
    assert "has hpc_admin_g and hpc_admins_g, which differ by one letter" in alike and of_two == ["cn2"]
    assert "mode is 'audit' in the partition batch and 'adopt' in odd" in mode and of_one == ["cn1"]
    assert "slurm_pam:partitions:nowhere:nodes is 'G@partition:gqu'" in nobody and of_all == ["cn1", "cn2", "gpu1"]


def test_what_could_not_be_looked_at_is_a_problem(master):
    status, told = master.check("*", all="slurm_pam: {{ no_such_thing.at_all }}\n")
    assert status == 1
    unknown = next(text for text, nodes in told["problems"].items() if nodes == ["new1"])
    assert unknown.startswith("The master knows no grains of this node")
    (rendering,) = (text for text, nodes in told["problems"].items() if nodes == ["cn1", "cn2", "gpu1"])
    assert rendering.startswith("The pillar cannot be rendered: ")
    status, told = master.check("nobody*", all=EXAMPLE)
    assert status == 1 and list(told["problems"].values()) == [[]]
    assert "'nobody*' matches no minion" in next(iter(told["problems"]))
    status, told = master.check("gpu* or L@cn1,cn9", all=EXAMPLE)
    ((unknown, nodes),) = told["problems"].items()
    assert status == 1 and unknown.startswith("The target lists this name") and nodes == ["cn9"]


def test_of_a_pillar_that_breaks_the_rendering_its_nodes_are_told(master):
    """And all others are looked at."""
    status, told = master.check(
        top={"cn1": ["broken"], "cn2": ["mixed"], "gpu1": ["all"]},
        broken={**EXAMPLE, "partitions": {"a": partition("E@cn(", mode="adopt")}},
        mixed={**EXAMPLE, "access": {"groups": {5: {"origins": ["ALL"]}, "a": {"origins": ["ALL"]}}}},
        all={**EXAMPLE, "mode": "odd"},
    )
    problems = {nodes[0]: text for text, nodes in told["problems"].items()}
    assert status == 1 and sorted(problems) == ["cn1", "cn2", "gpu1"]
    rendering = "No settings can be made of this pillar, and an apply would fail the same way: Jinja error: "
    assert problems["cn1"].startswith(f"{rendering}missing ), unterminated") and "\n" not in problems["cn1"]
    assert problems["cn2"].startswith(f"{rendering}'<' not supported")
    assert problems["gpu1"].startswith("slurm_pam:mode is 'odd'")


def test_partitions_whose_names_are_numbers(master):
    partitions = {5: partition("cn1", mode="adopt"), 7: partition("cn*", mode="audit"), 9: partition("nowhere*")}
    status, told = master.check(all={**EXAMPLE, "partitions": partitions})
    assert status == 0 and told["problems"] == {}
    (mode, of_one), (nobody, of_all) = sorted(told["warnings"].items())
    assert "mode is 'adopt' in the partition 5 and 'audit' in 7" in mode and of_one == ["cn1"]
    assert nobody.startswith("slurm_pam:partitions:9:nodes is 'nowhere*'") and len(of_all) == 3


@pytest.mark.parametrize("words", [("report",), ("evidence_signed", "/etc/hosts", "/etc/hosts")])
def test_what_is_not_well_ends_salt_run(master, words):
    """Other answers of the runner than a pillar's, by the program itself: no rollout, and a file that nobody signed."""
    command, *arguments = words
    program = [Path(sys.executable).with_name("salt-run"), *master.command[1:], f"slurm_pam.{command}", *arguments]
    done = run(program, check=False, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    assert (done.rc, json.loads(done.stdout)["result"]) == (1, False)
