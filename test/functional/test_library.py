"""The library as a minion gets it: synced beside the faces, skipped by the loader, and renewed by an upgrade."""

import json
from pathlib import Path

import pytest
from harness.paths import REPO
from harness.warm import Warm

PROBE = '''
from __future__ import annotations

import os

import _library

_library.renew(os.path.dirname(__file__))

import _child
import _room


def word() -> str:
    return f"{_room.WORD}: {_child.__file__}"
'''

# A state calls the face, the next one syncs as the formula's first state does, and the third calls the face again.
APPLY = """
before:
  module.run:
    - name: probe.word
sync:
  module.run:
    - name: saltutil.sync_all
    - reload_modules: True
after:
  module.run:
    - name: probe.word
"""


class Minion:
    """Salt on this machine with a master's file_roots, everything in a directory of its own."""

    def __init__(self, path: Path, warm: Warm) -> None:
        self.path, self.warm = path, warm
        self.roots = path / "srv"
        for directory in ("_modules", "_states"):
            (self.roots / directory).mkdir(parents=True)
            for file in (REPO / directory).glob("*.py"):
                (self.roots / directory / file.name).write_bytes(file.read_bytes())
        (self.roots / "_modules/probe.py").write_text(PROBE)
        (self.roots / "apply.sls").write_text(APPLY)
        config = {"id": "library", "file_client": "local", "file_roots": {"base": [str(self.roots)]}}
        config |= {"root_dir": str(path / "root")}
        (path / "minion").write_text(json.dumps(config))

    def call(self, *words: str) -> object:
        done = self.warm.call("salt-call", "-c", str(self.path), "--local", "--out=json", *words)
        assert done.ok, done.stderr + done.stdout
        return json.loads(done.stdout)["local"]


@pytest.fixture(scope="module")
def minion(tmp_path_factory, warm):
    minion = Minion(tmp_path_factory.mktemp("minion"), warm)
    (minion.roots / "_modules/_room.py").write_text("WORD = 'old'\n")
    synced = minion.call("saltutil.sync_all")
    assert {"modules._library", "modules._child", "modules._text", "modules.probe"} <= set(synced["modules"])
    return minion


def test_the_loader_takes_the_faces_and_leaves_the_library(minion):
    modules = minion.call("sys.list_modules")
    assert {"file_transaction", "slurm_conf", "sshd_config", "probe"} <= set(modules)
    assert [name for name in modules if name.startswith("_")] == []
    # What a face imports is no function of its own.
    assert minion.call("sys.list_functions", "probe") == ["probe.word"]


def test_an_upgrade_in_one_process(minion):
    (minion.roots / "_modules/_room.py").write_text("WORD = 'brand-new'\n")
    results = minion.call("state.apply", "apply").values()
    words = [result["changes"]["ret"] for result in results if result["name"] == "probe.word"]
    library = f"{minion.path}/root/var/cache/salt/minion/extmods/modules/_child.py"
    assert words == [f"old: {library}", f"brand-new: {library}"]
