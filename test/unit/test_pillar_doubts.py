"""What in nodes' settings is right by itself, and still probably not as it was meant."""

import pytest
from harness.source import load

doubts_of = load("_runners/_pillar_doubts.py")
Rendered, doubts, differ = doubts_of.Rendered, doubts_of.doubts, doubts_of.differ_by_a_letter


def node(within=(), **given):
    return Rendered(given, list(within), {})


def administrators(*groups, users=()):
    return {"groups": {name: {"origins": ["ALL"]} for name in groups}, "users": {name: {} for name in users}}


@pytest.mark.parametrize(
    ("one", "other"),
    [("admin", "admins"), ("hpc_admin_g", "hpc_admn_g"), ("admin", "adnin"), ("xadmin", "admin"), ("Admins", "admins")],
)
def test_names_that_differ_by_a_letter(one, other):
    assert differ(one, other) and differ(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("gpu1_admin", "gpu2_admin"), ("cn1", "cn11"), ("admin", "operator"), ("admin", "admin_g"), ("abc", "acb")],
)
def test_names_that_are_meant_to_differ(one, other):
    assert not differ(one, other) and not differ(other, one)


def test_alike_in_a_partition_and_of_one_kind_only():
    partitions = {"gpu": {"nodes": "*", "settings": {"access": administrators("hpc_admins_g")}}}
    given = {"access": administrators("hpc_admin_g", users=["hpc_admin"]), "partitions": partitions}
    ((text, nodes),) = doubts({"cn1": node(["gpu"], **given), "cn2": node(["gpu"], **given)}).items()
    assert "hpc_admin_g and hpc_admins_g" in text
    assert nodes == ["cn1", "cn2"]


def two(first, second):
    return {"a": {"nodes": "cn*", "settings": first}, "b": {"nodes": "cn1", "settings": second}}


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({"mode": "audit"}, {"mode": "audit"}, []),
        ({"mode": "audit"}, {"logind": "keep"}, []),
        ({"mode": "audit"}, {"mode": "adopt"}, ["slurm_pam:mode is 'audit' in the partition a and 'adopt' in b"]),
        ({"slurm": {"use_pam": True}}, {"slurm": {"use_pam": False}}, ["slurm_pam:slurm:use_pam is True"]),
        ({"access": {"root": ["ALL"]}}, {"access": {"root": ["::1"]}}, ["slurm_pam:access:root is ['ALL']"]),
        ({"access": administrators("a")}, {"access": {"groups": {"a": None}}}, ["slurm_pam:access:groups:a is {"]),
        ({"doors": None}, {"doors": {"cron": "close"}}, ["slurm_pam:doors is None"]),
        ({"doors": {"cron": None}}, {"doors": {"cron": None}}, []),
        ({}, {"mode": "adopt"}, []),
        (None, {"mode": "adopt"}, []),
        ([1], "x", []),
    ],
)
def test_partitions_of_one_node_that_contradict_each_other(first, second, told):
    found = doubts({"cn1": node("ab", partitions=two(first, second)), "cn2": node("a", partitions=two(first, second))})
    assert len(found) == len(told) and all(map(str.startswith, found, told))
    assert all(nodes == ["cn1"] for nodes in found.values())


def test_a_partition_that_matches_no_node():
    partitions = {"gpu": {"nodes": "gpx*", "settings": {}}, "cpu": {"nodes": "cn*", "settings": {}}}
    ((text, nodes),) = doubts({"cn1": node(["cpu"], partitions=partitions)}).items()
    assert text.startswith("slurm_pam:partitions:gpu:nodes is 'gpx*', which matches none of the nodes")
    assert nodes == ["cn1"]


@pytest.mark.parametrize("given", [[], None, "x", {"partitions": []}, {"partitions": {"a": 1}}, {"access": [1]}])
def test_what_is_of_another_shape_is_the_schemas_business(given):
    assert doubts({"cn1": Rendered(given, [], {})}) == {}
