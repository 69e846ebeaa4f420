"""The settings as JSON Schema 2020-12, for editors and pipelines; made from the schema that the formula itself has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import _slurm_pam_settings as settings
from explained import Explained

NOTHING = Explained("", None, {})


def pillar_schema(defaults: Mapping[str, Any], explanations: Explained) -> dict[str, Any]:
    """
    The schema of a pillar file that has settings of the formula among others.

    defaults
        What is in force where nothing else is said.
    explanations
        What pillar.example says of the settings.
    """
    seen: dict[int, str] = {}
    below = explanations.below["slurm_pam"]
    # A partition's settings are those of all nodes once more, and explained there.
    below.below["partitions"] = _of_partitions(below)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Pillar of the Salt formula slurm_pam {settings.VERSION}",
        "type": "object",
        "properties": {"slurm_pam": _schema(settings.SETTINGS, defaults, below, "#/properties/slurm_pam", seen)},
    }


def _of_partitions(all_nodes: Explained) -> Explained:
    partitions = all_nodes.below["partitions"]
    entry = next(iter(partitions.below.values()))
    of_one = entry._replace(below={**entry.below, "settings": entry.below["settings"]._replace(below=all_nodes.below)})
    return partitions._replace(below={"any": of_one})


def _schema(setting: Any, default: Any, explanation: Explained, pointer: str, seen: dict[int, str]) -> dict[str, Any]:
    """A setting with what is below it; one that was there before is referred to."""
    about = {"description": explanation.words} if explanation.words else {}
    if isinstance(setting, settings.Required):
        setting = setting.value
    if isinstance(setting, settings.Value):
        words = ". ".join(filter(None, (explanation.words.rstrip("."), f"Allowed: {setting.allowed}")))
        return {"description": words, **({} if default is None else {"default": default}), **setting.schema}
    if id(setting) in seen:
        return {**about, "$ref": seen[id(setting)]}
    seen[id(setting)] = pointer
    if isinstance(setting, settings.Named):
        # The example has one entry, under a name that it has chosen. Its lists are examples, what it switches is not.
        of_one = next(iter(explanation.below.values()), NOTHING)
        switches = {name: each.default for name, each in of_one.below.items() if isinstance(each.default, bool)}
        entry = _schema(setting.entry, switches or None, of_one, f"{pointer}/additionalProperties/anyOf/0", seen)
        names = {"description": f"Allowed: {setting.name.allowed}", **setting.name.schema}
        may_be = {"anyOf": [entry, {"type": "null"}]}
        return {**about, "type": "object", "propertyNames": names, "additionalProperties": may_be}
    defaults = default if isinstance(default, Mapping) else {}
    properties = {
        name: _schema(
            entry, defaults.get(name), explanation.below.get(name, NOTHING), f"{pointer}/properties/{name}", seen
        )
        for name, entry in setting.items()
    }
    required = [name for name, entry in setting.items() if isinstance(entry, settings.Required)]
    shape = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**about, **shape, **({"required": required} if required else {})}


def values(setting: Any = settings.SETTINGS, path: str = "slurm_pam") -> Iterator[tuple[str, settings.Value]]:
    """Every value by its path; ``*`` stands for what the site names, and ``*name`` for that name itself."""
    if isinstance(setting, settings.Required):
        setting = setting.value
    if isinstance(setting, settings.Value):
        yield path, setting
    elif isinstance(setting, settings.Named):
        yield f"{path}:*name", setting.name
        yield from values(setting.entry, f"{path}:*")
    else:
        for name, entry in setting.items():
            yield from values(entry, f"{path}:{name}")
