"""The library within one process: renewed when its files were replaced, and left alone otherwise."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from harness.paths import REPO

FACE = "import _library\n_library.renew({directory!r})\nimport _room\nprint(_room.WORDS, end=' ')\n"


@pytest.fixture
def directories(tmp_path):
    """Two directories as a sync fills them, each with the library, a face, and a room that the face imports."""
    for name in ("one", "two"):
        directory = tmp_path / name
        directory.mkdir()
        for file in (REPO / "_modules").glob("_*.py"):
            (directory / file.name).write_bytes(file.read_bytes())
        (directory / "face.py").write_text(FACE.format(directory=str(directory)))
        (directory / "_room.py").write_text(f"import _corner\nWORDS = '{name}-' + _corner.WORD\n")
        (directory / "_corner.py").write_text("WORD = 'old'\n")
    return tmp_path


PROCESS = """
import importlib.util, os, pathlib, sys

def face(directory):
    "What Salt's loader does."
    sys.path.append(directory)
    spec = importlib.util.spec_from_file_location("salt.loaded.ext.module.face", f"{directory}/face.py")
    module = sys.modules.get(spec.name) or importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sys.path.remove(directory)

def replace(directory, name, text):
    "What a sync does."
    pathlib.Path(directory, name).write_text(text)

def modules():
    return set(sys.modules.items())

one, two = (os.path.join(sys.argv[1], name) for name in ("one", "two"))
"""


def said(directories: Path, script: str) -> str:
    """What a process of its own prints."""
    command = [sys.executable, "-c", PROCESS + textwrap.dedent(script), str(directories)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


REPLACED = {
    "a file": ("replace(one, '_corner.py', 'WORD = \"brand-new\"\\n')", "one-old one-brand-new"),
    "a file, with one of the same length": (
        "replace(one, '_corner.py', 'WORD = \"new\"\\n'); os.utime(f'{one}/_corner.py', (1, 1))",
        "one-old one-new",
    ),
    "a file, with an older one": (
        "replace(one, '_corner.py', 'WORD = \"older\"\\n'); os.utime(f'{one}/_corner.py', (1, 1))",
        "one-old one-older",
    ),
    "a file that was imported, with one of another name": (
        "replace(one, '_room.py', 'from _added import WORDS\\n'); replace(one, '_added.py', 'WORDS = \"added\"\\n'); "
        "os.unlink(f'{one}/_corner.py')",
        "one-old added",
    ),
    "nothing": ("", "one-old one-old"),
}


@pytest.mark.parametrize(("upgrade", "words"), REPLACED.values(), ids=REPLACED)
def test_an_upgrade_in_one_process(directories, upgrade, words):
    assert said(directories, f"face(one)\n{upgrade}\nface(one)") == words


def test_every_face_after_an_upgrade_has_the_same_new_library(directories):
    script = """
    face(one)
    replace(one, '_corner.py', 'WORD = "brand-new"')
    face(one)
    room = sys.modules["_room"]
    face(one)
    print(sys.modules["_room"] is room)
    """
    assert said(directories, script) == "one-old one-brand-new one-brand-new True"


def test_nothing_is_dropped_where_nothing_changed(directories):
    """Not even what was imported before the first face was loaded, as a test does."""
    script = """
    sys.path.append(one)
    import _room
    sys.path.remove(one)
    face(one)
    before = modules()
    face(one)
    print(sys.modules["_room"] is _room, before == modules())
    """
    assert said(directories, script) == "one-old one-old True True"


def test_what_is_not_of_the_library_is_never_dropped(directories):
    script = """
    import json, email.message
    face(one)
    before = modules()
    replace(one, '_corner.py', 'WORD = "brand-new"')
    face(one)
    print(sorted(name for name, module in before - modules()))
    """
    assert said(directories, script) == "one-old one-brand-new ['_corner', '_room']"


def test_two_directories_one_after_the_other(directories):
    """Each face has the library that lies beside it."""
    assert said(directories, "face(one); face(two); face(one); face(one)") == "one-old two-old one-old one-old"


def test_a_face_that_the_library_imports_renews_nothing_under_it(directories):
    """A neighbour is a face to Salt, and a plain module to the library."""
    script = """
    replace(one, '_room.py', 'import os, neighbour\\nWORDS = neighbour.WORD\\n')
    replace(one, 'neighbour.py', f'''
    import os, _library
    os.utime({one!r} + "/_corner.py", (1, 1))
    _library.renew({one!r})
    from _corner import WORD
    '''.replace("    ", ""))
    face(one)
    replace(one, '_corner.py', 'WORD = "brand-new"')
    face(one)
    """
    assert said(directories, script) == "old brand-new"


def test_a_file_that_is_none_is_not_looked_at(directories):
    """Such as the lock of an editor, which is a link to nowhere."""
    script = """
    face(one)
    room = sys.modules["_room"]
    os.symlink("me@here.1", f"{one}/.#_room.py")
    os.mkdir(f"{one}/package.py")
    face(one)
    print(sys.modules["_room"] is room)
    """
    assert said(directories, script) == "one-old one-old True"


def test_a_file_that_a_sync_takes_away_just_then(directories):
    script = """
    face(one)
    replace(one, "_gone.py", "")
    import _library
    is_python = _library._is_python

    def slow(entry):
        found = is_python(entry)
        if entry.name == "_gone.py":
            os.unlink(entry.path)
        return found

    _library._is_python = slow
    face(one)
    """
    assert said(directories, script) == "one-old one-old"
