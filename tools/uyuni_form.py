"""
The settings as a form of Uyuni and SUSE Multi-Linux Manager, made from their JSON Schema.

What a form hands over shapes it. An empty text or list with ``$optional`` is left out of the pillar, so that the
formula's default holds. A box to tick and a number always say something: ``$optional`` would leave out false and 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What a form cannot ask for, and why.
LEFT_OUT = {
    "pam:policy": "a scenario is a mapping of any shape",
    "slurm:settings": "one word and a list of one word mean different things there, and a form has but one of them",
}
HELP = "A field or list that is left empty keeps the formula's default. Where a help text says null, leave it empty."


def form(schema: Mapping[str, Any]) -> dict[str, Any]:
    """
    What ``form.yml`` says.

    schema
        The schema of a pillar file.
    """
    fields = _fields(schema["properties"]["slurm_pam"], schema, "", False)
    return {"slurm_pam": {"$type": "group", "$name": "slurm_pam", "$help": HELP, **fields}}


def _fields(mapping: Mapping[str, Any], schema: Mapping[str, Any], path: str, in_entry: bool) -> dict[str, Any]:
    fields = {}
    for name, setting in mapping["properties"].items():
        at = f"{path}:{name}".lstrip(":")
        if field := None if _general(at) in LEFT_OUT else _field(setting, schema, at, in_entry):
            about = {"$help": setting["description"]} if "description" in setting else {}
            required = {"$required": True} if name in mapping.get("required", ()) else {}
            fields[name] = {"$name": name, **field, **required, **about}
    return fields


def _general(path: str) -> str:
    """A setting of a partition by its path outside of partitions."""
    return path.removeprefix("partitions:*:settings:")


def _field(setting: Mapping[str, Any], schema: Mapping[str, Any], path: str, in_entry: bool) -> dict[str, Any]:
    """One setting; nothing where it cannot be left open in a partition, which would then say it for its nodes."""
    setting = {**_referred(setting, schema), **setting}
    if "properties" in setting:
        fields = _fields(setting, schema, path, in_entry)
        return {"$type": "group", **fields} if fields else {}
    if "additionalProperties" in setting:
        return _entries(setting, schema, path)
    open_to = path.startswith("partitions:*:settings:") and not in_entry
    default = {"$default": setting["default"]} if "default" in setting and not open_to else {}
    return _input(list(_shapes(setting)), default, open_to)


def _input(shapes: list[Mapping[str, Any]], default: dict[str, Any], open_to: bool) -> dict[str, Any]:
    """What is typed, ticked or chosen for a value of these shapes."""
    kinds = [shape.get("type") for shape in shapes]
    if words := [word for shape in shapes for word in shape.get("enum", ()) if isinstance(word, str)]:
        nothing = {} if default else {"$optional": True, "$default": ""}
        return {"$type": "select", "$values": [*([] if default else [""]), *words], **nothing, **default}
    if kinds == ["array"]:
        # Not a select: the form shows one entry where there is none, and leaves it out only if it is empty.
        return {"$type": "edit-group", "$optional": True, "$prototype": {"$type": "text"}, **default}
    if "string" in kinds:
        return {"$type": "text", "$optional": True, **default}
    if open_to:
        return {}
    if kinds == ["boolean"]:
        return {"$type": "boolean", "$default": False, **default}
    at_least = {"$min": shapes[0]["minimum"]} if "minimum" in shapes[0] else {}
    return {"$type": "number", **({"$optional": True} if "null" in kinds else {}), **at_least, **default}


def _entries(setting: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Entries under names that the site chooses."""
    entry = setting["additionalProperties"]["anyOf"][0]
    name = {"$type": "text", "$name": "name", "$help": setting["propertyNames"]["description"]}
    prototype: dict[str, Any] = {"$key": name}
    group = {"$type": "edit-group", "$optional": True, "$itemName": "${$key}", "$prototype": prototype}
    if "properties" in _referred(entry, schema):
        # A partition's entry has settings of its own, which may be left open; another's is a whole.
        fields = _fields(_referred(entry, schema), schema, f"{path}:*", not path.endswith("partitions"))
        return {**group, "$prototype": {**prototype, "$type": "group", **fields}}
    return {**group, "$prototype": {**prototype, "$type": "text"}}


def _shapes(setting: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a value may be, one by one."""
    for shape in setting.get("anyOf", [setting]):
        yield from _shapes(shape) if "anyOf" in shape else [shape]


def _referred(setting: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What stands where a ``$ref`` leads to."""
    if "$ref" not in setting:
        return setting
    for name in setting["$ref"].removeprefix("#/").split("/"):
        schema = schema[int(name)] if isinstance(schema, list) else schema[name]
    return schema
