"""What kind of node this is: a compute node, or one that people need without a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from _slurm_pam_ask import Unanswered, units
from _slurm_pam_finding import Finding


def role(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Nodes that are no compute nodes."""
    unit = wanted["units"]["slurmd"]
    try:
        slurmd, controller = _units(unit, "slurmctld")
    except Unanswered as error:
        yield Finding(
            f"systemd could not be asked whether this node runs slurmd or slurmctld: {error}",
            "On a login node or a controller everyone would be turned away",
            "Find out what is wrong with systemd, or, where this is a compute node all the same, set "
            "slurm_pam:require_slurmd: false",
            "problems" if settings["require_slurmd"] else "warnings",
        )
        return
    runs = slurmd.get("ActiveState") == "active" or slurmd.get("UnitFileState") in ("enabled", "enabled-runtime")
    if settings["require_slurmd"] and not runs:
        yield Finding(
            "slurm_pam:require_slurmd is true, but this node does not run slurmd: the unit "
            f"{unit} is {slurmd.get('ActiveState') or 'unknown'} and {slurmd.get('UnitFileState') or 'not installed'}",
            "On a login node or a controller everyone would be turned away",
            "Enable slurmd first, or, where this is a compute node all the same, set slurm_pam:require_slurmd: false",
        )
    if controller.get("ActiveState") == "active":
        yield Finding(
            "slurmctld runs on this node",
            "Whoever works on the controller without being an administrator needs a job on it from now on",
            "If that is not meant, take this node out of the formula's target and apply slurm_pam.clean to it",
            "warnings",
        )


def _units(*names: str) -> list[dict[str, str]]:
    """What systemd knows of each unit: ActiveState and UnitFileState. Raises Unanswered if it does not answer."""
    shown = [{key: texts[0] for key, texts in unit.items()} for unit in units("ActiveState,UnitFileState", *names)]
    # In a chroot it prints nothing, and has not failed.
    return (shown + [{}] * len(names))[: len(names)]
