"""The house as doc/architecture.md draws it: who imports whom, what is said once, and that the page is true."""

import ast
import itertools
import re
import sys

import pytest
from harness.paths import REPO

PAGE = REPO / "doc/architecture.md"
FACES = {"pam_stack", "pam_verdict", "slurm_pam", "slurm_pam_confirm"}
NEIGHBOURS = {"file_transaction", "slurm_conf", "sshd_config"}
GROUND = {"_child", "_file", "_library", "_processes", "_selinux", "_text"}
# What may stand in a file's imports, besides the standard library.
MAY_IMPORT = {
    "ground": {"ground"},
    "neighbours": {"ground", "salt.exceptions"},
    "_pam_*": {"ground", "_pam_*"},
    "_slurm_pam_*": {"ground", "neighbours", "_pam_*", "_slurm_pam_*", "salt.exceptions"},
    "faces": {"ground", "neighbours", "_pam_*", "_slurm_pam_*", "salt"},
    # Of another process, or of another directory on Python's path: these ask the faces.
    "_states": {"salt.exceptions"},
    "_runners": {"salt", "runners' library"},
}
# These know nothing of Slurm.
NOT_EITHER = {"pam_stack": {"_slurm_pam_*"}, "pam_verdict": {"_slurm_pam_*"}}
DUNDERS = {"__context__", "__env__", "__grains__", "__opts__", "__pillar__", "__runner__", "__salt__", "__states__"}
RUNNERS = {path.stem for path in (REPO / "_runners").glob("_*.py")}
RENEWAL = "import _library\n_library.renew(os.path.dirname(__file__))"

FILES = sorted(path for part in ("_modules", "_states", "_runners") for path in (REPO / part).glob("*.py"))
TREES = {f"{path.parent.name}/{path.stem}": ast.parse(path.read_text()) for path in FILES}
ROOMS = {name.removeprefix("_modules/"): tree for name, tree in TREES.items() if name.startswith("_modules/")}


def floor(module):
    """Where a module lives: a floor of the house, or else its own name; nothing for the standard library."""
    named = {"ground": GROUND, "neighbours": NEIGHBOURS, "faces": FACES, "runners' library": RUNNERS}
    for name, rooms in named.items():
        if module in rooms:
            return name
    for prefix in ("_pam_", "_slurm_pam_"):
        if module.startswith(prefix):
            return f"{prefix}*"
    return "" if module.partition(".")[0] in sys.stdlib_module_names else module


def imports(tree):
    """Every module that is imported, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def names(tree):
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


# Who imports whom


@pytest.mark.parametrize("name", TREES)
def test_imports_go_down(name):
    part, room = name.split("/")
    may = MAY_IMPORT[floor(room) if part == "_modules" else part] - NOT_EITHER.get(room, set())
    found = {floor(module) for module in imports(TREES[name])} - {""}
    wrong = {where for where in found if not {where, where.partition(".")[0]} & may}
    assert not wrong, f"{name} may import of these alone: {', '.join(sorted(may)) or 'the standard library'}"


def test_there_is_no_circle():
    needs = {room: {module for module in imports(tree) if module in ROOMS} for room, tree in ROOMS.items()}
    while free := {room for room, needed in needs.items() if not needed & needs.keys()}:
        needs = {room: needed for room, needed in needs.items() if room not in free}
    assert not needs, f"a circle is among {', '.join(sorted(needs))}"


@pytest.mark.parametrize("name", TREES)
def test_imports_stand_at_the_top(name):
    """So that a file's first lines say what it needs."""
    tree = TREES[name]
    deeper = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)) and node.col_offset]
    assert not deeper, f"line {deeper[0].lineno}"


@pytest.mark.parametrize("room", sorted(ROOMS.keys() - FACES))
def test_what_can_be_imported_uses_nothing_of_salts_loader(room):
    assert not names(ROOMS[room]) & DUNDERS


def test_salt_shows_faces_and_neighbours_and_nothing_else():
    """Its loader leaves out what begins with an underscore."""
    assert {room for room in ROOMS if not room.startswith("_")} == FACES | NEIGHBOURS
    assert {room for room in ROOMS if room.startswith("_")} == {
        room for room in ROOMS if floor(room) in ("ground", "_pam_*", "_slurm_pam_*")
    }


@pytest.mark.parametrize("room", sorted(FACES | NEIGHBOURS))
def test_what_salt_loads_renews_the_library_before_it_imports_it(room):
    words = [ast.unparse(node) for node in ROOMS[room].body]
    of_the_house = [index for index, node in enumerate(ROOMS[room].body) if set(imports(node)) & ROOMS.keys()]
    if of_the_house:
        assert "\n".join(words[of_the_house[0] :][:2]) == RENEWAL


@pytest.mark.parametrize("room", sorted(RUNNERS))
def test_what_a_runner_imports_uses_nothing_of_salts_loader(room):
    assert not names(TREES[f"_runners/{room}"]) & DUNDERS


# Once


def constants(tree):
    """The values that are written down in a module, of those that are long enough to be worth a name."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set, ast.Dict)):
            try:
                value = ast.literal_eval(node)
            except ValueError:
                continue
            if len(value) > 2:
                yield repr(sorted(value, key=repr) if not isinstance(value, dict) else value), node.lineno


def functions(tree):
    """What functions do, without what they are called, of those that are more than a line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            text = "\n".join(map(ast.unparse, body))
            if len(text) > 80:
                yield text, node.lineno


@pytest.mark.parametrize("what", [constants, functions])
def test_each_thing_is_said_once(what):
    said = [(thing, f"{room}:{line}") for room, tree in ROOMS.items() for thing, line in what(tree)]
    said.sort()
    places = {thing: [place for _, place in same] for thing, same in itertools.groupby(said, key=lambda each: each[0])}
    twice = {thing: where for thing, where in places.items() if len({place.split(":")[0] for place in where}) > 1}
    assert not twice


# The page


def test_the_page_names_every_file_of_the_house():
    page = PAGE.read_text()
    missing = {name for name in TREES if not re.search(rf"`(_modules/|_states/)?{name.split('/')[1]}(\.py)?`", page)}
    assert not missing


def test_every_file_that_the_page_names_is_there():
    words = set(re.findall(r"`([\w./*-]+)`|\]\(([^)#:]+)\)", PAGE.read_text()))
    named = {word or link for word, link in words}
    paths = {name for name in named if "/" in name or re.search(r"\.(py|sls|jinja|yaml|toml|md|json|example)$", name)}
    rooms = {name for name in named if re.fullmatch(r"_(slurm_)?pam_\w+", name)}
    lost = {path for path in paths if not path.startswith("/") and not _there(path)}
    assert paths and rooms
    assert not lost
    assert not {room for room in rooms if room not in ROOMS}


def _there(path):
    return any([*REPO.glob(path), *PAGE.parent.glob(path), *REPO.glob(f"slurm_pam/{path}"), *REPO.glob(f"_*/{path}")])
