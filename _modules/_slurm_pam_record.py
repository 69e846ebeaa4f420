"""
What was applied to this node, so that it is found again after the settings have changed.

An apply writes it down before it changes anything, and ``slurm_pam.clean`` takes back what stands there, whatever the
settings say by then.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

import _slurm_pam_settings
import _slurm_pam_wanted
import file_transaction

# Settings that say where something of ours stands, or what stood in its place.
_PLACES = (
    ("access", "file"),
    ("pam", "service"),
    ("pam", "account_source"),
    ("pam", "session_source"),
    ("pam", "suffix"),
    ("sshd", "config"),
    ("sshd", "drop_in"),
    ("slurm", "conf"),
)
# Settings that say how much is done, the least first: an earlier apply may have done more than the last.
_DEEDS = {
    ("sshd", "manage"): (False, True),
    ("slurm", "manage"): ("keep", "check", "enforce"),
    ("slurm", "use_pam"): (False, True),
    ("logind",): ("keep", "stop", "mask"),
    ("selinux",): ("report", "manage"),
}
# The one that was applied last, since the file itself does not say that it is ours.
_MESSAGE = "pam", "message"
_WAS_MASKED = "systemd-logind was masked"
# All that were closed since the first apply, and what stood in the stead of each one's gate if it was not sshd's.
_DOORS = "slurm_pam:doors"
_SOURCES = "slurm_pam:pam:door_sources"


def recorded() -> dict[str, Any]:
    """
    What is written down: ``{"slurm_pam:access:file": "/etc/security/slurm-access.conf", ...}``, and whether
    systemd-logind was masked before the first apply. Empty where nothing was applied, or all of it was taken back.

    Raises CommandExecutionError where the file cannot be understood.
    """
    path = _slurm_pam_wanted.RECORD
    text = file_transaction.read(path)
    if text is None:
        return {}
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("it is not a mapping")
        for key, value in found.items():
            if not _can_be(key, value):
                raise ValueError(f"{key} cannot be {value!r}")
    except (TypeError, ValueError) as error:
        raise CommandExecutionError(
            f"{path}, the formula's record of what it has put where, cannot be read: {error}. "
            "Remove it, and look through README's list of what is changed on a node"
        ) from error
    return found


def _can_be(key: str, value: Any) -> bool:
    """Whether it was written by this formula, and not by somebody's hand or by a disk that fails."""
    if key == _DOORS:
        return isinstance(value, list) and all(isinstance(name, str) for name in value)
    if key == _SOURCES:
        return isinstance(value, dict) and all(isinstance(name, str) for name in value.values())
    orders = {_key(way): order for way, order in _DEEDS.items()}
    return value in orders[key] if key in orders else value is None or isinstance(value, (str, bool))


def record(settings: Mapping[str, Any]) -> str:
    """
    The text of the file for these settings. What was written down before stays: it is what has to be found again.

    settings
        The merged settings of the formula.
    """
    # The name of a door's stack that null takes out is none.
    settings = _slurm_pam_settings.without_nulls(settings)
    before = recorded() or {**_named(settings, _PLACES), _WAS_MASKED: is_masked()}
    deeds = {
        _key(way): max(before.get(_key(way), order[0]), _value(settings, way), key=order.index)
        for way, order in _DEEDS.items()
    }
    said = _value(settings, _MESSAGE) or message()
    closed, known = {door.service for door in _slurm_pam_wanted.closed(settings)}, before.get(_DOORS, [])
    doors = {*known, *closed}
    # One that was opened since, and is closed a second time, has what its file names by now.
    same = [*_standing(before, settings), *(name for name in known if name not in closed)]
    sources = _with_recorded_sources(settings, same, before)["pam"]["door_sources"]
    others = {
        _key(_MESSAGE): said,
        _DOORS: sorted(doors),
        _SOURCES: {name: source for name, source in sources.items() if name in doors},
    }
    told = {key: value for key, value in {**before, **deeds, **others}.items() if value or key not in others}
    return json.dumps(told, indent=1, sort_keys=True) + "\n"


def moved(settings: Mapping[str, Any]) -> list[str]:
    """
    The settings that now name another place than the last apply used, one text each. What stands at the old place would
    be left there, in force.

    settings
        The merged settings of the formula.
    """
    before = recorded()
    known = before | _door_sources(before.get(_SOURCES, {}), _standing(before, settings))
    places = _named(settings, _PLACES) | _door_sources(settings["pam"]["door_sources"], _standing(before, settings))
    return [
        f"{key} was {known[key]!r} when the formula was applied here, and is {now!r}. What stands at the old place "
        "would stay in force. Apply slurm_pam.clean first, which takes back what was applied, and then apply again"
        for key, now in places.items()
        if known.get(key, now) != now
    ]


def _standing(found: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """The doors of a record whose gate is there and is to stay."""
    closed = [door.service for door in _slurm_pam_wanted.closed(settings) if door.service in found.get(_DOORS, [])]
    return [name for name in closed if os.path.lexists(_slurm_pam_wanted.gate_of(name))]


def _door_sources(sources: Mapping[str, str], doors: Iterable[str]) -> dict[str, str | None]:
    return {f"{_SOURCES}:{name}": sources.get(name) for name in doors}


def applied(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The settings with the places that were used, and with as much as was done, for taking it back. Where systemd-logind
    was masked before the first apply, nothing was done to it.

    settings
        The merged settings of the formula.
    """
    before, settings = recorded(), copy.deepcopy(dict(settings))
    for *sections, name in (*_PLACES, *_DEEDS):
        section = _value(settings, sections)
        section[name] = before.get(_key((*sections, name)), section[name])
    settings["pam"]["message"] = message()
    settings["doors"] = dict.fromkeys(before.get(_DOORS, []), "close")
    settings = _with_recorded_sources(settings, settings["doors"], before)
    if before.get(_WAS_MASKED):
        settings["logind"] = "keep"
    return settings


def continued(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The settings, with the doors that were closed before and are not to be any longer.

    settings
        The merged settings of the formula.
    """
    doors, found = settings["doors"], recorded()
    before = [name for name in found.get(_DOORS, []) if doors.get(name) != "close"]
    opened = {**doors, **dict.fromkeys(before, _slurm_pam_wanted.OPENED)}
    return {**_with_recorded_sources(settings, before, found), "doors": opened}


def _with_recorded_sources(
    settings: Mapping[str, Any], doors: Iterable[str], found: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings, in which these doors have the sources that they had when they were closed."""
    pam, were = settings["pam"], found.get(_SOURCES, {})
    others = {name: source for name, source in pam["door_sources"].items() if name not in doors}
    sources = {**others, **{name: were[name] for name in doors if name in were}}
    return {**settings, "pam": {**pam, "door_sources": sources}}


def message() -> str | None:
    """The text for whoever Slurm turns away that was applied last, by which the file with it is ours."""
    return recorded().get(_key(_MESSAGE))


def is_masked() -> bool:
    """Whether systemd-logind is masked now: its unit file is a link to /dev/null (systemd.unit(5))."""
    return os.path.realpath(_slurm_pam_wanted.mask("systemd-logind.service")) == os.devnull


def _named(settings: Mapping[str, Any], ways: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    return {_key(way): _value(settings, way) for way in ways}


def _value(settings: Any, way: Iterable[str]) -> Any:
    for name in way:
        settings = settings[name]
    return settings


def _key(way: tuple[str, ...]) -> str:
    return ":".join(("slurm_pam", *way))
