"""README's table of what was tried on which node is what the tests boot: read from them, not written a second time."""

import ast
import re

import pytest
from harness.layouts import LAYOUTS
from harness.node import MACHINES
from harness.paths import REPO
from libpam.layouts import DISTRIBUTIONS

SECTION = (REPO / "README.md").read_text().partition("### What was tried where\n")[2].partition("\n## ")[0]
WALK = REPO / "test/walk"
# Fixtures of conftest.py that boot the default layout if a test names none.
DEFAULT, FIXTURES = ("sle15", "container"), {"node", "fresh_node", "site"}
APPLIES = {"harness.formula", "harness.ends", "harness.figures"}
# What a column's name stands for: a word of these is in the text of whoever tries it.
SIGNS = {
    "reboot": {".reboot", ".power_cut"},
    "directory": {"sle15-directory"},
    "image": {"chroot"},
    "ssh.socket": {"ssh.socket"},
    "SELinux": {"setenforce"},
}


def constants(tree):
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def calls(tree, *names):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in names]


def marked(nodes):
    """The layouts that decorators or a pytestmark name."""
    marks = [call for node in nodes for call in calls(node, "pytest.mark.parametrize")]
    named = [mark.args[1] for mark in marks if ast.unparse(mark.args[0]) == "'layout'"]
    return {name for names in named for name in (LAYOUTS if ast.unparse(names) == "LAYOUTS" else constants(names))}


def table_of_machines(tree):
    """MACHINES of a test file: pairs, or what is to be tried by machine."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MACHINES":
            value = ast.literal_eval(node.value)
            return {(rest[0], machine) for machine, rest in value.items()} if isinstance(value, dict) else set(value)
    return set()


def boots(tree):
    """The nodes, as layout and machine, that a test file boots by name or by default."""
    named = set()
    for call in calls(tree, "Node.boot", "Node.start"):
        at = 0 if call.func.attr == "boot" else 2
        layout = call.args[at] if len(call.args) > at else ast.Constant(DEFAULT[0])
        machine = next((word.value for word in call.keywords if word.arg == "machine"), ast.Constant(DEFAULT[1]))
        if isinstance(layout, ast.Constant) and isinstance(machine, ast.Constant):
            named.add((layout.value, machine.value))
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    everywhere = marked(node for node in tree.body if not isinstance(node, ast.FunctionDef))
    own = {node.name for node in defined}
    for test in defined:
        asked = {argument.arg for argument in test.args.args} & FIXTURES - own
        layouts = marked(test.decorator_list) | everywhere
        is_pytests = test.name.startswith("test_") or "fixture" in "".join(map(ast.unparse, test.decorator_list))
        if is_pytests and (layouts or asked):
            named |= {(layout, "container") for layout in layouts} or {DEFAULT}
    return named | table_of_machines(tree)


def walks():
    """The nodes of the walks that test/run takes."""
    tree = ast.parse((REPO / "test/run").read_text())
    commands = [ast.literal_eval(call.args[1]) for call in calls(tree, "Part") if ast.unparse(call.args[0]) == "'walk'"]
    options = [dict(zip(command[1::2], command[2::2])) for command in commands]
    return {(each.get("--layout", DEFAULT[0]), each.get("--machine", DEFAULT[1])) for each in options}


def tried():
    """What each test file that applies the formula boots, and what it does there: path -> nodes, words."""
    found = {}
    for path in [WALK, *sorted(REPO.glob("test/integration/test_*.py"))]:
        tree = ast.parse(path.read_text())
        imported = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        if path == WALK or APPLIES & imported:
            done = {f".{node.attr}" for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            found[str(path.relative_to(REPO))] = walks() if path == WALK else boots(tree), done | constants(tree)
    return found


TRIED = tried()
LINES = [[cell.strip() for cell in line.split("|")[1:-1]] for line in SECTION.splitlines() if line.startswith("| ")]
COLUMNS = LINES[0] if LINES else []
ROWS = {line[0]: dict(zip(COLUMNS, line)) for line in LINES[1:]}


def node_of(row):
    """Layout and machine of a row; none where it was no running node."""
    words = re.findall(r"`([^`]+)`", row)
    return (words[0], words[1] if words[1:] else "container") if words else None


NODES = [row for row in ROWS if node_of(row)]


def linked(cell):
    """The files that a cell leads to, by their names."""
    links = re.findall(r"\[([^]]+)\]\(([^)]+)\)", cell)
    return {path for name, path in links if path.removesuffix(".py").endswith(name)}


def test_the_rows_are_the_layouts_and_the_machines_that_walk():
    nodes = [node_of(row) for row in NODES]
    assert {layout for layout, _ in nodes} == set(LAYOUTS)
    assert {machine for _, machine in nodes} <= set(MACHINES)
    assert walks() <= set(nodes) and len(nodes) == len(set(nodes))
    assert set(COLUMNS) == {"node", "four figures", *SIGNS, "PAM files"}


@pytest.mark.parametrize("row", NODES)
def test_whoever_is_named_for_the_figures_boots_this_node_and_applies_the_formula(row):
    files = linked(ROWS[row]["four figures"])
    assert files
    assert files == {path for path in files if path in TRIED and node_of(row) in TRIED[path][0]}
    assert "test/walk" in files or node_of(row) not in walks()


@pytest.mark.parametrize("column", SIGNS)
@pytest.mark.parametrize("row", NODES)
def test_a_cell_names_all_that_try_it_there_and_is_empty_if_nobody_does(row, column):
    layout, machine = node_of(row)
    there = {path for path, (nodes, words) in TRIED.items() if (layout, machine) in nodes and SIGNS[column] & words}
    # A container only starts again.
    reboots = column != "reboot" or machine != "container"
    wanted = {path for path in there if reboots and (column != "directory" or layout == "sle15-directory")}
    assert linked(ROWS[row][column]) == wanted


@pytest.mark.parametrize("row", ROWS)
def test_the_pam_files_are_those_of_the_layouts_beside_libpam(row):
    names = re.findall(r"`([^`]+)`", ROWS[row]["PAM files"])
    assert set(names) <= {re.split("[ ,]", layout.name)[0] for layout in DISTRIBUTIONS}
    assert names or node_of(row) == ("sle15-directory", "container")


@pytest.mark.parametrize("row", [row for row in ROWS if not node_of(row)])
def test_where_no_node_ran_the_cells_are_empty(row):
    assert not any(ROWS[row][column] for column in ("four figures", *SIGNS))


def test_what_tries_the_pam_files_takes_all_of_them():
    (path,) = (path for path in linked(SECTION) if path.startswith("test/functional/"))
    assert "from libpam.layouts import LAYOUTS" in (REPO / path).read_text()
