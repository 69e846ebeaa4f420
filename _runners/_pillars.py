"""Nodes' pillars on the master: rendered with the grains that it knows, merged as the states do, and checked."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import salt.loader
import salt.modules.slsutil
import salt.pillar
import salt.utils.minions
from _pillar_doubts import Rendered, doubts
from salt.exceptions import SaltRenderError

# What is wrong with a pillar and with what comes of it, one sentence each.
Rules = Callable[[Any, Mapping[str, Any]], list[str]]
# The one way in which settings are merged.
_MERGED = """\
{%- from "slurm_pam/map.jinja" import given, partitions, settings with context -%}
{{ {"given": given, "partitions": partitions, "settings": settings} | json }}"""


def checked(opts: Mapping[str, Any], target: str, rules: Rules) -> dict[str, Any]:
    """
    What is wrong with the settings of the nodes that match, as the runner's ``check_pillar`` tells it.

    opts
        The master's configuration.
    target
        A compound target. The master decides by the grains that it knows who matches.
    rules
        What says what is wrong.
    """
    problems: dict[str, list[str]] = {}
    rendered: dict[str, Rendered] = {}
    found = salt.utils.minions.CkMinions(opts).check_minions(target, "compound")
    names = sorted(found["minions"])
    if missing := found.get("missing"):
        problems["The target lists this name, and the master knows no minion that has it"] = sorted(missing)
    if not names:
        problems[f"{target!r} matches no minion that this master knows; salt-key --list-all names them"] = []
    matchers, renderers = salt.loader.matchers(opts), salt.loader.render(opts, {})
    for name in names:
        told = _rendered(opts, name, matchers["compound_match.match"], renderers["jinja"])
        if isinstance(told, Rendered):
            rendered[name] = told
            told = rules(told.given, told.settings)
        for text in told:
            problems.setdefault(text, []).append(name)
    warnings = doubts(rendered)
    return {
        "result": not problems,
        "summary": f"nodes: {len(names)}, problems: {len(problems)}, warnings: {len(warnings)}",
        "problems": problems,
        "warnings": warnings,
    }


def _rendered(opts: Mapping[str, Any], name: str, matches: Callable, render: Callable) -> Rendered | list[str]:
    """A node's pillar, or why there is none."""
    _, grains, _ = salt.utils.minions.get_minion_data(name, opts)
    if not grains:
        return ["The master knows no grains of this node, on which its pillar depends: let it connect once"]
    pillar = salt.pillar.Pillar(dict(opts), grains, name, "base").compile_pillar()
    if errors := pillar.get("_errors"):
        return [f"The pillar cannot be rendered: {error}" for error in errors]
    node = {**opts, "id": name, "grains": grains, "pillar": pillar}
    functions = {
        "pillar.get": pillar.get,
        "match.compound": lambda target: matches(target, opts=node, minion_id=name),
        "slsutil.merge": salt.modules.slsutil.merge,
    }
    # What the state files of this node would see.
    context = {"salt": functions, "grains": grains, "pillar": pillar}
    try:
        told = json.load(render(io.StringIO(_MERGED), context=context))
    except SaltRenderError as error:
        first = str(error).partition("\n")[0]
        return [f"No settings can be made of this pillar, and an apply would fail the same way: {first}"]
    # As JSON has the names of a mapping, which those of partitions are elsewhere.
    names = [name if isinstance(name, str) else json.dumps(name) for name in told["partitions"]]
    return Rendered(**{**told, "partitions": names})
