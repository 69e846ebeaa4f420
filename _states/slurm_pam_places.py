"""
Write down where the formula puts what on a node, so that it can be taken back after the settings have changed.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError


def recorded(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Where everything is put is written down, before it is put there; see :py:mod:`slurm_pam_places
    <salt.modules.slurm_pam_places>`.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-places-recorded:
          slurm_pam_places.recorded:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    return _brought_about(
        name, lambda: __salt__["slurm_pam_places.record"](settings), "Where the formula puts what is written down"
    )


def forgotten(name: str) -> dict[str, Any]:
    """
    Nothing is written down: all of it was taken back.

    name
        For the reader.

    .. code-block:: yaml

        slurm_pam-clean-places-forgotten:
          slurm_pam_places.forgotten: []

    .. versionadded:: 1.0.0
    """
    return _brought_about(name, lambda: None, "Nothing of the formula is left to be found")


def _brought_about(name: str, wanted: Callable[[], str | None], comment: str) -> dict[str, Any]:
    ret: dict[str, Any] = {"name": name, "result": True, "changes": {}, "comment": comment}
    path = __salt__["slurm_pam_places.path"]()
    try:
        change = {"path": path, "before": __salt__["file_transaction.read"](path), "after": wanted()}
        changes = __salt__["file_transaction.diff"]([change])
        if changes and not __opts__["test"]:
            __salt__["file_transaction.commit"]([change])
    except CommandExecutionError as problem:
        return {**ret, "result": False, "comment": str(problem)}
    if changes:
        ret.update(changes=changes, result=None if __opts__["test"] else True)
    return ret
