"""The form of Uyuni asks for every setting, and the formula takes what the form hands over."""

import pytest
import yaml
from harness.paths import REPO
from test_slurm_pam_settings import DEFAULTS, merged

import _slurm_pam_settings as settings
from pillar_schema import values
from uyuni_form import LEFT_OUT

FORM = yaml.safe_load((REPO / "metadata/form.yml").read_text())
GROUP = {"groups": {"hpc_admin_g": {"origins": ["192.0.2.0/24"], "members": ["admin"], "gid": "", "local": True}}}
# What cannot be left open in a form, so that a partition does not ask for it.
SAYS_SOMETHING = {"boolean", "number"}


def handed_over(layout, saved, in_entry=False):
    """
    The pillar of a form, as Uyuni's documentation has it: what was saved, or else ``$default``, which an entry of an
    edit-group had in the browser already. Empty values with ``$optional`` are left out.
    """
    pillar = {}
    for name, element in layout.items():
        if name.startswith("$"):
            continue
        kind, prototype = element.get("$type", "text"), element.get("$prototype", {})
        if kind == "group":
            value = handed_over(element, saved.get(name, {}), in_entry)
        else:
            value = saved.get(name, "" if in_entry else element.get("$default", ""))
        if kind == "edit-group" and prototype.get("$type", "group") == "group":
            value = {key: handed_over(prototype, entry, True) for key, entry in (value or {}).items()}
        if value or not element.get("$optional"):
            pillar[name] = value
    return pillar


def filled(**saved):
    return handed_over(FORM, {"slurm_pam": saved})["slurm_pam"]


def fields(layout, path=""):
    """Every field of the form by its path, ``*`` for what a site names."""
    for name, element in layout.items():
        if name.startswith("$"):
            continue
        below = f"{path}:{name}".lstrip(":")
        prototype = element.get("$prototype", {})
        if element.get("$type") == "group":
            yield from fields(element, below)
        elif prototype.get("$type") == "group":
            yield from fields(prototype, f"{below}:*")
        else:
            yield f"{below}:*" if "$key" in prototype else below, element


FIELDS = dict(fields(FORM["slurm_pam"]))


def test_every_setting_is_asked_for_or_left_out_with_a_reason():
    wanted = set()
    for path in (path.removeprefix("slurm_pam:") for path, _ in values() if not path.endswith("*name")):
        of_all_nodes = path.removeprefix("partitions:*:settings:")
        in_partition = path != of_all_nodes and ":*:" not in of_all_nodes
        left_open = FIELDS.get(of_all_nodes, {}).get("$type") not in SAYS_SOMETHING
        if of_all_nodes.removesuffix(":*") not in LEFT_OUT and (left_open or not in_partition):
            wanted.add(path)
    assert FIELDS.keys() == wanted


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_has_a_help_text(path):
    assert FIELDS[path]["$help"]


def test_a_form_that_nobody_filled_in_changes_no_default():
    assert settings.misfits(filled()) == []
    assert merged(filled()) == merged({"pam_slurm": dict.fromkeys(settings.LEGACY_FLAGS, False)})


def test_a_group_with_its_origins_is_all_that_it_needs():
    given = filled(access=GROUP)
    assert settings.problems(given, merged(given)) == []
    assert given["access"]["groups"] == {
        "hpc_admin_g": {"origins": ["192.0.2.0/24"], "members": ["admin"], "local": True}
    }


@pytest.mark.parametrize(
    "saved",
    [
        {"mode": "audit", "logind": "keep", "confirm": 300, "require_slurmd": False},
        {"pam_slurm_adopt": {"join_container": "false", "disable_x11": "1", "log_level": "debug5", "nodename": ""}},
        {"pam_slurm": {"debug": True}},
        {"packages": {"manage": True, "node": "slurm_24_11-node", "pam_slurm_adopt": "", "pam_slurm": ""}},
        {"access": {"root": ["192.0.2.0/24"], "root_only": True, "groups": {}, "users": {}}},
        {"access": {"users": {"operator": {"origins": ["192.0.2.10"]}}}},
        {"sshd": {"options": {"MaxAuthTries": "3", "UsePAM": "yes"}, "config": ""}},
        {"pam": {"session_remove": ["pam_systemd.so"], "suffix": ""}},
        {"partitions": {"gpu": {"nodes": "gpu*", "settings": {}}}},
        {"partitions": {"gpu": {"nodes": "gpu*", "settings": {"mode": "", "access": GROUP, "slurm": {"conf": ""}}}}},
    ],
    ids=repr,
)
def test_what_a_form_hands_over_is_taken(saved):
    given = filled(**{"access": GROUP, **saved})
    assert settings.problems(given, merged(given)) == []


def test_a_partition_says_no_more_than_what_was_filled_in():
    given = filled(access=GROUP, partitions={"gpu": {"nodes": "gpu*", "settings": {"mode": "audit", "logind": ""}}})
    over = given["partitions"]["gpu"]["settings"]
    assert over["mode"] == "audit"
    assert not [value for section in over.values() if isinstance(section, dict) for value in section.values() if value]
    assert "logind" not in over


@pytest.mark.parametrize(
    ("saved", "key"),
    [
        # A number that somebody deleted stays an empty text.
        ({"confirm": ""}, "slurm_pam:confirm is ''"),
        ({"partitions": {"gpu": {"nodes": "", "settings": {}}}}, "slurm_pam:partitions:gpu:nodes is missing"),
        ({"sshd": {"options": {"UsePAM": ""}}}, "slurm_pam:sshd:options:UsePAM is ''"),
    ],
)
def test_what_is_half_filled_in_is_refused_by_its_key(saved, key):
    (problem,) = settings.misfits(filled(**saved))
    assert problem.startswith(key)


def test_metadata_tells_what_the_formula_says_of_itself():
    about = yaml.safe_load((REPO / "metadata/metadata.yml").read_text())
    formula = yaml.safe_load((REPO / "FORMULA").read_text())
    assert about == {"description": formula["description"], "group": "security_configuration"}
    assert DEFAULTS.keys() == FORM["slurm_pam"].keys() - {"$type", "$name", "$help"}
