"""What this node is to Slurm: by which name slurmctld knows it, and whether jobs can come to it."""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import _child
from _slurm_pam_ask import Unanswered, answer, booted
from _slurm_pam_finding import Finding
from _slurm_pam_steps import is_closed

_PATIENCE = 2  # seconds for slurmctld; a node is closed without its answer as well


def node(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """
    A node that slurmctld knows by another name, or that is in no partition.

    slurmctld is asked on the way to closing a node, and of a closed node that slurm.conf does not have: ten thousand
    closed nodes leave it alone.
    """
    # An image has no name yet: it is built on some other host.
    if _child.which("slurmd") is None or not booted():
        return
    host = _host()
    given = settings["pam_slurm_adopt"].get("nodename") if settings["module"] == "pam_slurm_adopt" else None
    asked = given or host
    try:
        if is_closed(settings) and (given or _by_host(host)):
            return
        told = _told(asked)
        if not told and not given and (name := _by_host(host)):
            asked, told = name, _told(name)
    except Unanswered as error:
        yield Finding(
            f"slurmctld did not say what it knows of this node ({error})",
            "It is not known whether jobs can come to it, and whether pam_slurm_adopt finds them by this name",
            "Apply again when slurmctld answers, or look yourself: scontrol show node",
            "warnings",
        )
        return
    kind = "warnings" if settings["mode"] == "adopt" else "problems"
    if told.get("NodeName") != asked:
        yield Finding(
            f"slurmctld knows no node {asked}, "
            + ("which slurm_pam:pam_slurm_adopt:nodename names" if given else "the name of this host"),
            "Slurm's PAM module looks for jobs by the NodeName, and finds nobody's under this one",
            "Give this host the NodeName that it has in slurm.conf, or set slurm_pam:pam_slurm_adopt:nodename to it",
            kind,
        )
    elif "Partitions" not in told:
        yield Finding(
            f"The node {asked} is in no partition of Slurm",
            "No job can come to it, as on a login node of a cluster without slurm.conf files: everyone who works here "
            "without being an administrator would be turned away",
            "Take it out of the formula's target, or put it into a partition",
            kind,
        )


def looked_for(running: Collection[str]) -> str:
    """
    The NodeName by which Slurm's PAM modules look for jobs on this host, where they are not told one.

    running
        The NodeNames of its jobs. If this host's own name is the only one, nothing is asked.

    Raises Unanswered if slurm.conf cannot be asked.

    Source: _guess_nodename in src/common/stepd_api.c. In 24.11 the host's own name stands for a node that slurm.conf
    does not have. To 22.05 such a node has no jobs.
    """
    host = _host()
    if set(running) <= {host}:
        return host
    try:
        aliases = socket.gethostbyname_ex(socket.gethostname())[1]
    except OSError:
        aliases = []
    names = (host, *(alias.partition(".")[0] for alias in aliases), "localhost")
    return next(filter(None, map(_by_host, dict.fromkeys(names))), host)


def has_gres(settings: Mapping[str, Any]) -> bool:
    """
    Whether Slurm gives out generic resources on this node, such as GPUs.

    settings
        The merged settings of the formula.

    Raises Unanswered if slurmctld does not say.

    Source: scontrol(1), show node.
    """
    name = settings["pam_slurm_adopt"].get("nodename") or _by_host(_host()) or _host()
    if told := _told(name):
        return told.get("Gres", _NONE) != _NONE
    raise Unanswered(f"slurmctld knows no node {name}")


_NONE = "(null)"


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _told(name: str) -> dict[str, str]:
    """What slurmctld says of a node; nothing if it knows none of this name. Raises Unanswered if it does not say."""
    said = _child.ask(_child.which("scontrol") or "scontrol", "show", "node", name, timeout=_PATIENCE)
    if re.search(r"\bnot found$", f"{said.stdout}\n{said.stderr}", re.MULTILINE):
        return {}
    told = dict(re.findall(r"(?:^|\s)(NodeName|Partitions|Gres)=(\S+)", said.stdout))
    if said.returncode or "NodeName" not in told:
        raise Unanswered(f"{' '.join(said.args)}: {_child.reason(said)}")
    return told


def _by_host(host: str) -> str | None:
    """
    The NodeName that has this host as its NodeHostname in slurm.conf, by which Slurm's PAM modules find it themselves
    (src/common/stepd_api.c, _guess_nodename). slurmctld is not asked for it.
    """
    names = answer(_child.which("scontrol") or "scontrol", "show", "aliases", host, timeout=_PATIENCE).split()
    return names[0] if names else None
