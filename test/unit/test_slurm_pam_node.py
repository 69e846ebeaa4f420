"""What a node is to Slurm, from what scontrol prints."""

import socket
import subprocess

import pytest
from looks import given

import _child
import _slurm_pam_node
from _slurm_pam_ask import Unanswered
from _slurm_pam_node import has_gres, node

# As scontrol 22.05.8 prints them.
KNOWN = "NodeName={} CoresPerSocket=1 \n   NodeAddr=127.0.0.1 NodeHostName=host1 \n{}   CfgTRES=cpu=1\n"
PARTITION = "   Partitions=p,q \n"


@pytest.fixture
def slurm(monkeypatch):
    """slurmctld with the nodes of a table; returns it, and what is asked."""
    nodes, asked = {}, []

    def ask(*words, **how):
        asked.append(words[1:])
        if words[1:3] == ("show", "aliases"):
            return subprocess.CompletedProcess(words, 0, nodes.get("aliases", ""), "")
        said = nodes.get(words[3], (1, f"Node {words[3]} not found\n", ""))
        return subprocess.CompletedProcess(words, *said)

    monkeypatch.setattr(_child, "ask", ask)
    monkeypatch.setattr(_child, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(socket, "gethostname", lambda: "host1.example.org")
    monkeypatch.setattr(_slurm_pam_node, "is_closed", lambda settings: False)
    monkeypatch.setattr(_slurm_pam_node, "booted", lambda: True)
    return nodes, asked


def test_a_node_by_its_own_name_in_a_partition(slurm):
    nodes, asked = slurm
    nodes["host1"] = (0, KNOWN.format("host1", PARTITION), "")
    assert list(node(*given())) == []
    assert asked == [("show", "node", "host1")]


@pytest.mark.parametrize(("mode", "kind"), [("enforce", "problems"), ("adopt", "warnings")])
def test_another_name_or_none(slurm, mode, kind):
    nodes, _ = slurm
    (finding,) = node(*given(mode=mode))
    assert (finding.kind, finding.found) == (kind, "slurmctld knows no node host1, the name of this host")
    assert "the NodeName that it has in slurm.conf" in finding.do
    nodes["cn1"] = (0, KNOWN.format("cn1", PARTITION), "")
    assert list(node(*given(mode=mode, pam_slurm_adopt={"nodename": "cn1"}))) == []
    (finding,) = node(*given(mode=mode, pam_slurm_adopt={"nodename": "cn2"}))
    assert finding.found == "slurmctld knows no node cn2, which slurm_pam:pam_slurm_adopt:nodename names"


def test_a_node_that_slurm_conf_tells_by_its_host(slurm):
    """As the PAM module does, which finds its jobs then."""
    nodes, asked = slurm
    nodes |= {"aliases": "cn1\n", "cn1": (0, KNOWN.format("cn1", PARTITION), "")}
    assert list(node(*given())) == []
    assert asked == [("show", "node", "host1"), ("show", "aliases", "host1"), ("show", "node", "cn1")]
    nodes["cn1"] = (0, KNOWN.format("cn1", " "), "")
    (finding,) = node(*given())
    assert finding.found == "The node cn1 is in no partition of Slurm"


@pytest.mark.parametrize(("mode", "kind"), [("enforce", "problems"), ("adopt", "warnings")])
def test_a_node_in_no_partition(slurm, mode, kind):
    slurm[0]["host1"] = (0, KNOWN.format("host1", ""), "")
    (finding,) = node(*given(mode=mode))
    assert (finding.kind, finding.found) == (kind, "The node host1 is in no partition of Slurm")


@pytest.mark.parametrize(
    "said",
    [
        (1, "", "no answer within 2 seconds"),
        (1, "", "slurm_load_node error: Unable to contact slurm controller (connect failure)"),
        (0, "", ""),
        (0, "something else", ""),
    ],
)
def test_a_slurmctld_that_does_not_answer_is_told_and_stops_nothing(slurm, said):
    slurm[0]["host1"] = said
    (finding,) = node(*given())
    assert finding.kind == "warnings"
    assert finding.found.startswith("slurmctld did not say what it knows of this node (/usr/bin/scontrol show node")


@pytest.fixture
def closed(monkeypatch):
    monkeypatch.setattr(_slurm_pam_node, "is_closed", lambda settings: True)


def test_slurmctld_is_not_asked_on_a_closed_node_that_slurm_conf_has(slurm, closed):
    nodes, asked = slurm
    nodes["aliases"] = "host1\n"
    assert list(node(*given())) == []
    assert asked == [("show", "aliases", "host1")]
    assert list(node(*given(pam_slurm_adopt={"nodename": "cn1"}))) == []
    assert len(asked) == 1


def test_a_closed_node_that_was_renamed(slurm, closed):
    nodes, _ = slurm
    (finding,) = node(*given())
    assert (finding.kind, finding.found) == ("problems", "slurmctld knows no node host1, the name of this host")
    # A dynamic node is in no slurm.conf.
    nodes["host1"] = (0, KNOWN.format("host1", PARTITION), "")
    assert list(node(*given())) == []


def test_nobody_is_asked_before_slurm_is_there(slurm, monkeypatch):
    monkeypatch.setattr(_child, "which", lambda program: None)
    assert list(node(*given())) == []
    assert slurm[1] == []


def test_an_image_has_no_name_yet(slurm, monkeypatch):
    """The host that builds it has one, and may reach slurmctld."""
    monkeypatch.setattr(_slurm_pam_node, "booted", lambda: False)
    assert list(node(*given())) == [] and slurm[1] == []


@pytest.mark.parametrize(("gres", "has"), [("(null)", False), ("gpu:2", True), ("gpu:a100:2(S:0),shard:8", True)])
def test_what_slurm_gives_out_on_a_node(slurm, gres, has):
    nodes, _ = slurm
    nodes |= {"aliases": "cn1\n", "cn1": (0, KNOWN.format("cn1", f"   Gres={gres}\n"), "")}
    assert has_gres(given()[0]) is has
    nodes["cn2"] = (0, KNOWN.format("cn2", "   Gres=gpu:1\n"), "")
    assert has_gres(given(pam_slurm_adopt={"nodename": "cn2"})[0]) is True


@pytest.mark.parametrize("said", [(1, "", "no controller"), (0, "", ""), (1, "Node x not found\n", "")])
def test_what_slurm_gives_out_is_not_known(slurm, said):
    nodes, _ = slurm
    nodes["host1"] = said
    with pytest.raises(Unanswered):
        has_gres(given()[0])
