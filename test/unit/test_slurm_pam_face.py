"""What slurm_pam itself makes of what this node's settings are rendered to."""

import pytest
from harness.source import load

import _slurm_pam_preflight


def face(given, partitions=(), logind="mask"):
    """The module on a node whose pillar is this one."""
    rendered = {"given": given, "partitions": list(partitions), "settings": {"mode": "enforce", "logind": logind}}
    files = {"defaults.yaml": {"mode": "enforce", "logind": None}, "platforms.yaml": {}}
    salt = {
        "state.show_low_sls": lambda sls, concurrent: [rendered],
        "slsutil.renderer": lambda path, default_renderer: files[path.rpartition("/")[2]],
    }
    return load("_modules/slurm_pam.py", __salt__=salt, __grains__={"os_family": "Suse"}, __context__={})


@pytest.mark.parametrize("given", ["enforce", None, ["mode"], 5])
def test_where_settings_come_from_where_the_pillar_is_no_mapping(given):
    assert face(given).settings(origins=True)["slurm_pam:mode"] == {"value": "enforce", "from": "defaults.yaml"}


PARTITION = {"partitions": {"gpu": {"nodes": "*", "settings": {"logind": "keep"}}}}
BY_SYSTEMD = "the release of systemd"


@pytest.mark.parametrize(
    ("given", "partitions", "source"),
    [
        ({}, [], BY_SYSTEMD),
        ({"logind": None}, [], BY_SYSTEMD),
        ({"logind": "keep"}, [], "pillar slurm_pam"),
        ({"logind": None, **PARTITION}, ["gpu"], "pillar slurm_pam:partitions:gpu"),
        ({"logind": "mask", "partitions": {"a": {"nodes": "*", "settings": {"logind": None}}}}, ["a"], BY_SYSTEMD),
        ({"logind": "stop", "partitions": {"a": {"nodes": "*", "settings": None}}}, ["a"], "pillar slurm_pam"),
    ],
)
def test_who_has_decided_about_logind(given, partitions, source):
    assert face(given, partitions).settings(origins=True)["slurm_pam:logind"]["from"] == source


@pytest.mark.parametrize("given", [None, {"mode": "enforced"}])
@pytest.mark.parametrize("settings", [None, {"mode": "audit"}])
def test_what_is_not_given_to_a_preflight_is_this_nodes(monkeypatch, given, settings):
    monkeypatch.setattr(_slurm_pam_preflight, "preflight", lambda *asked: asked)
    own = {"mode": "enforce"}
    node = face(own)
    asked = given or own, settings or {"mode": "enforce", "logind": "mask"}
    assert node.preflight(given, settings) == asked
