"""An upgrade of the formula within one process, as a minion's: each face has the library that it came with."""

import json
import shutil
import subprocess
import sys

import pytest
from harness.paths import REPO

# A face's answer that comes out of the library, before and after.
VERSION = ("1.1.0", "1.1.0+upgrade")
# One function of each face and neighbour; asking for it has Salt load the file.
FUNCTIONS = [
    "file_transaction.read",
    "pam_stack.parse",
    "pam_verdict.decide",
    "slurm_conf.parse",
    "slurm_pam.version",
    "slurm_pam_confirm.status",
    "sshd_config.parse",
]

PROCESS = """
import json, pathlib, shutil, sys

import salt.config
import salt.loader

extmods, new, renewing, functions = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "True", sys.argv[4:]
opts = {**salt.config.DEFAULT_MINION_OPTS, "extension_modules": str(extmods.parent), "grains": {}}


def asked():
    "What a new loader makes of the files: which generation the rooms are of, and what a face answers."
    loader = salt.loader.minion_mods(opts, utils={})
    for function in functions:
        assert function in loader, loader.missing_fun_string(function)
    rooms = {pathlib.Path(file).stem: module for module in list(sys.modules.values())
             if (file := getattr(module, "__file__", None)) and file.startswith(f"{extmods}/_")}
    return {name: getattr(module, "GENERATION", 1) for name, module in rooms.items()}, loader["slurm_pam.version"]()


before = asked()
if not renewing:
    sys.modules["_library"].renew = lambda directory: None
shutil.rmtree(extmods)
shutil.copytree(new, extmods)
print(json.dumps([before, asked()]))
"""


@pytest.fixture
def generations(tmp_path):
    """The directory of a minion's modules, and the upgrade: every room of the library is another one."""
    old, new = tmp_path / "extmods/modules", tmp_path / "new"
    for directory in (old, new):
        shutil.copytree(REPO / "_modules", directory, ignore=shutil.ignore_patterns("__pycache__"))
    for room in new.glob("_*.py"):
        room.write_text(room.read_text().replace(f'"{VERSION[0]}"', f'"{VERSION[1]}"') + "\nGENERATION = 2\n")
    return old, new


def upgrade(generations, renewing):
    command = [sys.executable, "-c", PROCESS, *map(str, generations), str(renewing), *FUNCTIONS]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_every_face_is_asked():
    assert [name.partition(".")[0] for name in FUNCTIONS] == sorted(
        path.stem for path in (REPO / "_modules").glob("[!_]*.py")
    )


def test_every_room_is_the_new_one(generations):
    (rooms, version), (new_rooms, new_version) = upgrade(generations, renewing=True)
    # _pam_asker is a program of its own, which a child runs.
    every = {path.stem for path in (REPO / "_modules").glob("_*.py")} - {"_pam_asker"}
    assert rooms.keys() == new_rooms.keys() == every
    assert set(rooms.values()) == {1}
    # It has to remember what it was, so it is the one that stays.
    assert {name for name, generation in new_rooms.items() if generation == 1} == {"_library"}
    assert (version, new_version) == VERSION


def test_a_face_without_the_renewal_would_have_the_old_library(generations):
    (rooms, version), (new_rooms, new_version) = upgrade(generations, renewing=False)
    assert (new_rooms, new_version) == (rooms, version)
