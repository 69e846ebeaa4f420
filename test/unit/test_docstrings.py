"""Every public function says what it does, since when, and by an example that its signature can take."""

import inspect
import pathlib
import re
import shlex

import pytest
import salt.utils.args
from harness.source import load

ROOT = pathlib.Path(__file__).parents[2]
KINDS = {"_modules": "execution", "_states": "state", "_runners": "runner"}
COMMANDS = {"execution": ("salt", "salt-call"), "state": ("salt", "salt-call"), "runner": ("salt-run",)}
REQUISITES = {"require", "require_in", "watch", "watch_in", "onchanges", "order", "onlyif", "unless"}


def functions():
    """Every public function of the formula: (kind, name Salt gives its module, function)."""
    for directory, kind in KINDS.items():
        for path in sorted((ROOT / directory).glob("[!_]*.py")):
            module = load(f"{directory}/{path.name}")
            name = getattr(module, "__virtualname__", path.stem)
            for attribute, value in sorted(vars(module).items()):
                if inspect.isfunction(value) and value.__module__ == module.__name__ and not attribute.startswith("_"):
                    yield pytest.param(kind, name, value, id=f"{directory}/{path.stem}.{attribute}")


FUNCTIONS = list(functions())


def examples(docstring):
    """The words of each command below CLI Example."""
    _, _, block = docstring.partition("CLI Example:")
    commands, command = [], ""
    for line in block.splitlines():
        if command or line.strip().startswith("salt"):
            command += line + "\n"
            try:
                words = shlex.split(command)
            except ValueError:  # a quoted word goes on, or a backslash ends the line
                continue
            if not command.endswith("\\\n"):
                commands.append(words)
                command = ""
    assert not command, f"this example does not end: {command}"
    return commands


@pytest.mark.parametrize("kind, name, function", FUNCTIONS)
def test_documented(kind, name, function):
    docstring = inspect.getdoc(function)
    assert docstring, "there is no docstring"
    assert re.search(r"^\.\. versionadded:: \d+\.\d+\.\d+$", docstring, re.MULTILINE), "it does not say since when"
    if kind != "state":
        assert re.search(r"CLI Example:\n\n\.\. code-block:: bash\n\n    salt", docstring), "there is no CLI example"


@pytest.mark.parametrize("kind, name, function", FUNCTIONS)
def test_examples_can_be_called(kind, name, function):
    """The example calls this function, with arguments that Salt's command line makes fit its signature."""
    for words in examples(inspect.getdoc(function) or ""):
        called = next(
            (index for index, word in enumerate(words) if re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", word)), None
        )
        assert called is not None and words[0] in COMMANDS[kind], words
        assert words[called] == f"{name}.{function.__name__}"
        positional, keywords = [], {}
        for value in salt.utils.args.parse_input(words[called + 1 :]):
            if isinstance(value, dict) and value.pop("__kwarg__", False):
                keywords |= value
            else:
                positional.append(value)
        inspect.signature(function).bind(*positional, **keywords)


@pytest.mark.parametrize("kind, name, function", [each for each in FUNCTIONS if each.values[0] == "state"])
def test_state_examples_take_these_arguments(kind, name, function):
    """In a state's YAML example every argument is one of the function's."""
    _, *blocks = re.split(rf"\b{name}\.{function.__name__}(?::| |\n|\Z)", inspect.getdoc(function))
    assert blocks, "there is no example in YAML"
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    allowed = {parameter.name for parameter in parameters} | REQUISITES
    for block in (block.partition("\n")[2] for block in blocks):
        depth = len(block) - len(block.lstrip(" "))
        keys = re.findall(rf"^ {{{depth}}}- (\w+)", re.split(rf"\n(?! {{{depth}}}|\n)", block)[0], re.MULTILINE)
        assert set(keys) <= allowed


def test_there_are_functions():
    assert {"parse", "edit", "expand", "show", "rollout"} <= {parameter.values[2].__name__ for parameter in FUNCTIONS}
