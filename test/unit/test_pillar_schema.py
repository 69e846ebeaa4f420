"""The JSON Schema of the settings says what the formula says, and is made from it."""

import runpy

import pytest
import test_slurm_pam_settings as tables
import yaml
from harness.paths import REPO
from jsonschema import Draft202012Validator

import _slurm_pam_settings as settings
from explained import explained, in_force
from pillar_schema import pillar_schema, values

generate = runpy.run_path(str(REPO / "tools/generate"))
EXAMPLE = (REPO / "pillar.example").read_text()
SCHEMA = pillar_schema(tables.DEFAULTS, explained(EXAMPLE))
VALIDATOR = Draft202012Validator(SCHEMA)
# What only the formula can say: whether a path is a directory, whether Salt can read a target, what can be printed.
BEYOND_JSON_SCHEMA = [
    {"access": {**tables.ADMINS, "file": "/etc"}},
    {"partitions": {"gpu": {"nodes": "G@("}}},
    {"access": {"users": {"a": {"origins": ["fe80::1"]}}}},
    {"access": {"users": {"a": {"origins": ["1:2"]}}}},
    {"pam": {"message": "Get\u202e a job"}},
]


def cases(test):
    """What a test is given, case by case."""
    return test.pytestmark[0].args[1]


def of_a_user(name="a", origin="ALL"):
    return {"access": {"users": {name: {"origins": [origin]}}}}


GIVEN = [
    tables.DEFAULTS,
    tables.EXAMPLE,
    yaml.safe_load(in_force(EXAMPLE))["slurm_pam"],
    *(given for given, *_ in cases(tables.test_a_misfit_is_named_with_what_was_found_and_what_is_allowed)),
    *(given for given, _ in cases(tables.test_null_takes_an_entry_out_and_is_a_value_elsewhere)),
    *(of_a_user(origin=origin) for origin in cases(tables.test_origins_that_pam_access_understands)),
    *(of_a_user(origin=origin) for origin in cases(tables.test_origins_that_are_none)),
    *(of_a_user(origin=origin) for origin in ("fe80::1%eth0", "fe80::1%", "::1", "fd00::/129", "10.0.0.1\n", "1.2.3")),
    *(of_a_user(name) for name in cases(tables.test_a_name_that_only_begins_like_a_keyword_is_a_name)),
    *(of_a_user(name) for name in cases(tables.test_no_name_says_more_than_a_name)),
    *({"access": {"groups": {name: {}}}} for name in cases(tables.test_no_name_says_more_than_a_name)),
    *({"access": {"groups": {name: {}}}} for name in ("domain admins", "EXAMPLE\\domain admins", "hpc@example.org")),
    *({"confirm": number} for number in (0, 300, -1, True, "300", None)),
    *({"pam_slurm_adopt": {"disable_x11": value}} for value in (0, 1, 2, "0", True, None)),
    *({"pam_slurm_adopt": {"join_container": value}} for value in (True, False, "true", "yes", 1)),
    *({"sshd": {"options": {"Port": value}}} for value in (22, True, "yes", ["a"], [], [1], "", " ", None, {})),
    *({"slurm": {"settings": {"TaskPlugin": value}}} for value in ("a", ["a", "b"], [], "a b", 1)),
    *({"pam": {"suffix": value}} for value in ("", "-pc", "a b", None)),
    *({"pam": {"policy": value}} for value in ([], [{}], ["a"], {})),
]


def says(given):
    """Whether the schema takes the settings."""
    return VALIDATOR.is_valid({"slurm_pam": given})


def test_it_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", generate["generated"]())
def test_the_file_in_the_repository_is_what_the_command_makes(name):
    assert (REPO / name).read_text() == generate["generated"]()[name], "run tools/generate"


@pytest.mark.parametrize("given", [each for each in GIVEN if each not in BEYOND_JSON_SCHEMA], ids=repr)
def test_it_accepts_and_refuses_what_the_formula_does(given):
    assert says(given) == (not settings.misfits(given))


@pytest.mark.parametrize("given", BEYOND_JSON_SCHEMA, ids=repr)
def test_what_it_cannot_say_is_left_to_the_formula(given):
    assert says(given)
    assert settings.misfits(given)


def test_a_partition_is_held_to_the_same():
    for given in (each for each in GIVEN if isinstance(each, dict) and each not in BEYOND_JSON_SCHEMA):
        inside = {name: value for name, value in given.items() if name != "partitions"}
        partition = {"partitions": {"gpu": {"nodes": "gpu*", "settings": inside}}}
        assert says(partition) == (not settings.misfits(partition)), inside


def test_every_setting_is_said_as_json_schema():
    """One that is not would be anything to an editor."""
    assert not [path for path, value in values() if not value.schema]


def defaults(part):
    """Each default below a part of the schema, beside what it is the default of."""
    if isinstance(part, dict) and "default" in part and "description" in part:
        yield part["default"], part
    for below in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from defaults(below)


def test_each_default_is_what_its_setting_may_be():
    """An editor offers it."""
    found = list(defaults(SCHEMA))
    assert len(found) > 20
    assert not [part for default, part in found if not Draft202012Validator(part).is_valid(default)]


def test_a_pillar_file_may_have_other_pillars():
    assert VALIDATOR.is_valid({"chrony": {}, "slurm_pam": {}})


def test_explanations_are_those_above_the_settings():
    lines = ("# All.", "a:", "  # One thing", "  # and more", "  # b:", "  #   # x    first", "  #   # y    second")
    text = "\n".join((*lines, "  #   c: 1", "  d: 2", ""))
    a = explained(text).below["a"]
    assert a.words == "All."
    assert a.below["b"].words == "One thing and more"
    assert a.below["b"].below["c"].words == "x: first. y: second"
    assert a.below["d"].words == ""


def test_the_example_tells_editors_of_the_schema():
    assert EXAMPLE.startswith("# yaml-language-server: $schema=pillar.schema.json\n")
