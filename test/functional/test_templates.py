"""Data of a pillar, a minion or an event stays data in every template and example, says Salt's renderer and reactor."""

import copy
import functools
import json
import pathlib
import re

import pytest
import salt._logging
import salt.config
import salt.loader
import salt.template
import salt.utils.reactor
import yaml
from salt.exceptions import SaltRenderError

ROOT = pathlib.Path(__file__).parents[2]
TEMPLATES = sorted([*ROOT.glob("slurm_pam/*.sls"), *ROOT.glob("slurm_pam/*.jinja")])
PAGES = sorted([ROOT / "README.md", ROOT / "pillar.example", *ROOT.glob("doc/*.md")])
BLOCKS = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Each ends what it stands in, where it is not quoted, and goes on with something of its own.
HOSTILE = {
    "another state": "x\ncmd-run:\n  cmd.run:\n    - name: touch /tmp/hostile",
    "another argument": "x\n    - name: touch /tmp/hostile",
    "a reaction": "x\n    - tgt_type: glob\nrunner-run:\n  runner.salt.cmd:\n    - args:\n      - fun: cmd.run",
    "a glob": "*",
    "a regular expression": "E@.*",
    "a compound": "x or *",
    "a list": "a,b",
    "a flow list": "[a, b]",
    "a mapping": "{a: b}",
    "a quote": '"\nx: "y',
    "another quote": "'\nx: 'y",
    "an end": "...\n---\nx: y",
    "a comment": "x # y",
    "an anchor": "&x *x",
    "a tag": "!!python/object/apply:os.system ['true']",
    "a template": "{{ salt['cmd.run']('touch /tmp/hostile') }}{% raw %}",
    "blanks": "  ",
    "an option": "-oProxyCommand=x",
    "null": "null",
    "a number": "0x10",
    "backslashes": "\\\"\\n\\",
    "a control character": "\x1b[2J",
    "long": "x" * 900 + "\n- y",
}
# YAML cannot hold these, in a key or anywhere.
IMPOSSIBLE = {
    "a surrogate": "\ud800",
    "a line separator": "\x85\u2028x: y",
    "DEL": "\x7f",
    "longer": "x" * 3000 + "\n- y",
}
PLAIN = "plain"


def replaced(value, old, new):
    """The value with one text for another, wherever it stands."""
    if isinstance(value, dict):
        return {replaced(key, old, new): replaced(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [replaced(each, old, new) for each in value]
    return value.replace(old, new) if isinstance(value, str) and old in value else value


def settings(text):
    """A pillar that has this text wherever one may stand."""
    group = {"members": [text], "origins": [text], "gid": text}
    return {
        "slurm_pam": {
            "confirm": text,
            "module": text,
            "access": {"file": text, "groups": {text: group}, "users": {text: {"origins": [text]}}},
            "clean": {"groups": True, "packages": True},
            "packages": {text: text},
            "pam_slurm_adopt": {text: text},
            "sshd": {"options": {text: text}, "service": text},
            "pam": {"service": text, "session_remove": [text], "policy": [{"name": text}]},
            "partitions": {text: {"nodes": "*", "settings": {"slurm": {"service": text, "settings": {text: [text]}}}}},
            text: text,
        },
        "rollout": {"nodes": text, "probes": [{"command": text}], "partitions": {text: text}, text: text},
    }


@pytest.fixture(scope="module")
def high(tmp_path_factory):
    """A function: a state file and a pillar -> what Salt makes of it."""
    salt._logging.shutdown_temp_handler()
    root = str(tmp_path_factory.mktemp("minion"))
    own = {"module_dirs": "_modules", "states_dirs": "_states", "runner_dirs": "_runners"}
    settings = {name: [str(ROOT / directory)] for name, directory in own.items()}
    settings |= {"root_dir": root, "extension_modules": root, "file_client": "local"}
    opts = salt.config.apply_minion_config({**settings, "file_roots": {"base": [str(ROOT)]}})
    opts |= {"grains": {"os_family": "Suse", "os": "SUSE", "kernel": "Linux"}, "pillar": {}}
    functions = salt.loader.minion_mods(opts)

    @functools.cache
    def renderers(grains):
        """Salt's on a node with these grains, which are JSON."""
        return salt.loader.render(opts | {"grains": opts["grains"] | json.loads(grains)}, functions)

    def compiled(path, pillar, **grains):
        functions.pack["__pillar__"] = copy.deepcopy(pillar)
        where, own = {"saltenv": "base", "sls": f"slurm_pam.{path.stem}"}, renderers(json.dumps(grains))
        return plain(salt.template.compile_template(str(path), own, "jinja|yaml", None, None, **where))

    return compiled


def plain(value):
    """Without the order of keys."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


WRITING = [path for path in TEMPLATES if path.suffix == ".sls" and "{{" in path.read_text()]


@pytest.mark.parametrize("path", WRITING, ids=lambda path: path.name)
def test_a_text_of_the_pillar_is_a_text_of_a_state(high, path):
    """Salt would run the same as with a plain one, with this text in the plain one's places."""
    expected = high(path, settings(PLAIN))
    assert PLAIN in repr(expected) or path.name == "modules.sls"
    for name, text in HOSTILE.items():
        assert high(path, settings(text)) == replaced(expected, PLAIN, text), name


@pytest.mark.parametrize("path", WRITING, ids=lambda path: path.name)
def test_a_text_that_yaml_cannot_hold_is_no_state(high, path):
    """The file is refused, or has the same states."""
    expected = high(path, settings(PLAIN))
    for name, text in IMPOSSIBLE.items():
        try:
            found = high(path, settings(text))
        except (SaltRenderError, UnicodeError, yaml.YAMLError):
            continue
        assert [list(state) for state in found.values()] == [list(state) for state in expected.values()], name


@pytest.mark.parametrize("order", [{"name": "salt.cmd", "fun": "x", "require": [{"x": "y"}], "order": 1}, 5, "x", []])
def test_the_pillar_of_a_rollout_is_the_arguments_of_the_runner_and_nothing_else(high, order):
    arguments = order if isinstance(order, dict) else {"rollout": order}
    (state,) = high(ROOT / "slurm_pam/rollout.sls", {"rollout": order}).values()
    assert state == {"salt.runner": [{"name": "slurm_pam.rollout"}, {"kwarg": arguments}]}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_what_a_template_writes_is_quoted(path):
    """As JSON, or it is a word that stands in the template itself."""
    for written in re.findall(r"\{\{-?(.*?)-?\}\}", path.read_text()):
        assert re.search(r"\| json(\(sort_keys=False\))?\s*$", written) or written.strip() == "part", written
    parts = re.findall(r"\{%-?\s*for part in (.*?)-?%\}", path.read_text())
    assert all(isinstance(yaml.safe_load(part), list) for part in parts)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_example_has_a_template(path):
    """What is copied from there may not depend on how somebody else's data is quoted."""
    assert not re.search(r"\{\{|\{%", path.read_text())


# Reactions

# What doc/cluster.md had in 1.0.0
ONCE = """\
slurm_pam-new-node-closed:
  local.state.highstate:
    - tgt: {{ data["id"] }}
"""


@pytest.fixture(scope="module")
def react(tmp_path_factory):
    """A function: a reaction's text and an event's id -> what Salt's reactor would do."""
    salt._logging.shutdown_temp_handler()
    root = tmp_path_factory.mktemp("master")
    opts = salt.config.apply_master_config({"root_dir": str(root), "extension_modules": str(root), "cluster_id": None})
    opts |= {"__role": "master", "file_roots": {"base": []}, "pillar_roots": {"base": []}, "grains": {}, "reactor": []}
    reactor = salt.utils.reactor.Reactor(opts)
    reaction = root / "reaction.sls"

    def reactions(text, name):
        reaction.write_text(text)
        tag = f"salt/minion/{name}/start"
        return reactor.reactions(tag, {"id": name, "data": name, "tag": tag, "cmd": "_minion_event"}, [str(reaction)])

    return reactions


SHAPES = {"nothing": "", "a list of ids": ["*"], "a mapping as id": {"*": "x"}, "no id": None, "a number as id": 5}


@pytest.mark.parametrize("name", (ids := HOSTILE | IMPOSSIBLE | SHAPES).values(), ids=ids)
def test_no_example_of_the_pages_is_a_reaction_to_what_a_minion_says(react, name):
    blocks = [block for path in PAGES for block in BLOCKS.findall(path.read_text())]
    assert len(blocks) > 5
    for block in blocks:
        assert "reactor" not in (yaml.safe_load(block) or {})
        assert react(block, name) == react(block, "cn1")


def test_the_reaction_of_1_0_0_was_one(react):
    """The test above can fail: an id is everyone, or goes on with a reaction of its own, on the master."""
    (reaction,) = react(ONCE, "cn1")
    assert (reaction["state"], reaction["fun"], reaction["tgt"]) == ("local", "state.highstate", "cn1")
    (everyone,) = react(ONCE, "'*'")
    assert everyone["tgt"] == "*" and "tgt_type" not in everyone
    states = [reaction["state"] for reaction in react(ONCE, HOSTILE["a reaction"])]
    assert sorted(states) == ["local", "runner"]


def version(number):
    return {"systemd": {"version": number, "features": ""}}


@pytest.mark.parametrize(
    ("given", "grains", "logind"),
    [
        ({}, version("234"), "mask"),
        ({}, version("239"), "mask"),
        ({}, version("240"), "keep"),
        ({}, version("254"), "keep"),
        ({}, version("258~rc2"), "keep"),
        ({}, {**version("252"), "os_family": "Debian"}, "mask"),
        ({}, {**version("257"), "os_family": "Debian"}, "keep"),
        # What is not known is not risked.
        ({}, {}, "keep"),
        ({}, {"systemd": None}, "keep"),
        ({}, version("unknown"), "keep"),
        # Whoever says so has it.
        ({"logind": "mask"}, version("257"), "mask"),
        ({"logind": "keep"}, version("234"), "keep"),
        ({"logind": None}, version("257"), "keep"),
        ({"logind_kept_from": 300}, version("257"), "mask"),
        ({"partitions": {"a": {"nodes": "*", "settings": {"logind": "stop"}}}}, version("257"), "stop"),
        # slurm_pam.ready says what is wrong.
        ({"logind_kept_from": "never"}, version("234"), "keep"),
        ({"logind": ["mask"]}, version("234"), ["mask"]),
    ],
)
def test_logind_is_kept_where_shutdown_would_not_wait_without(high, given, grains, logind):
    states = high(ROOT / "slurm_pam/ready.sls", {"slurm_pam": given}, **grains)
    (settings,) = (part["settings"] for part in states["slurm_pam-settings"]["test.nop"] if "settings" in part)
    assert settings["logind"] == logind


@pytest.mark.parametrize(
    ("doors", "partition", "merged"),
    [
        ({"login": "close"}, {"cockpit": "close"}, {"login": "close", "cockpit": "close"}),
        ({"login": "close"}, {"login": "leave"}, {"login": "leave"}),
        ({"login": "close"}, {"login": None}, {"login": None}),
        ({}, {}, {}),
    ],
)
def test_doors_of_a_partition(high, doors, partition, merged):
    given = {"doors": doors, "partitions": {"a": {"nodes": "*", "settings": {"doors": partition}}}}
    states = high(ROOT / "slurm_pam/ready.sls", {"slurm_pam": given})
    (settings,) = (part["settings"] for part in states["slurm_pam-settings"]["test.nop"] if "settings" in part)
    assert settings["doors"] == merged
