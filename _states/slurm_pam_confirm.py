"""
An apply that has to be confirmed, or else the node takes it back by itself.

The ``name`` of each of these states is not used; it is a label.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

_UNTOLD = "It could not be told whether the last apply waits to be confirmed"


def armed(name: str, seconds: int, given: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    If this apply is going to change this node, the node will go back to what it is now unless it is confirmed in time.

    Whether it is going to is asked of the apply itself, with test=True.

    seconds
        How long to wait for :py:func:`slurm_pam.confirm <salt.modules.slurm_pam.confirm>`.
    given
        The pillar ``slurm_pam`` as it came.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import given, settings with context %}
        slurm_pam-confirm-armed:
          slurm_pam_confirm.armed:
            - seconds: 300
            - given: {{ given | json }}
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "This apply changes nothing that needs confirmation"}
    before = {"state": "nothing"}
    try:
        before = __salt__["slurm_pam_confirm.status"]()
        if not _changes(given):
            ret["comment"] += _earlier(before)
            return ret
        old = f"at {_clock(before['at'])}" if _earlier(before) else "not armed"
        if __opts__["test"]:
            ret.update(result=None, comment=f"Would be taken back after {seconds} s unless confirmed")
        else:
            ret["comment"] = f"This apply {_waits('waiting', __salt__['slurm_pam_confirm.arm'](seconds, settings))}"
        ret["changes"] = {"taken back unless confirmed": {"old": old, "new": f"in {seconds} s"}}
    except (CommandExecutionError, OSError) as error:
        comment = f"Nothing was changed, since it could not be taken back: {error}"
        ret.update(result=False, comment=comment + _earlier(before))
    return ret


def awaited(name: str) -> dict[str, Any]:
    """
    The last of an apply: says how to confirm it. An apply that took longer than it may is taken back, all of it.

    .. code-block:: yaml

        slurm_pam-confirm-awaited:
          slurm_pam_confirm.awaited:
            - onchanges:
              - slurm_pam_confirm: slurm_pam-confirm-armed
            - order: last

    .. versionadded:: 1.0.0
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "Would wait for slurm_pam.confirm"}
    if __opts__["test"]:
        return ret
    try:
        now = __salt__["slurm_pam_confirm.status"]()
    except CommandExecutionError as error:
        return {**ret, "result": False, "comment": f"{_UNTOLD}: {error}"}
    if now["state"] in ("waiting", "without a timer"):
        ret["comment"] = f"This apply {_waits(**now)}"
        return ret
    ret.update(result=False, comment="This apply did not end within the time to confirm it. ")
    try:
        ret["comment"] += f"{__salt__['slurm_pam_confirm.take_back']()}. Set slurm_pam:confirm to more seconds"
    except CommandExecutionError as error:
        ret["comment"] += str(error)
    return ret


def disarmed(name: str) -> dict[str, Any]:
    """
    Nothing waits to be confirmed, and nothing of a take-back is left.

    .. code-block:: yaml

        slurm_pam-clean-confirm-disarmed:
          slurm_pam_confirm.disarmed: []

    .. versionadded:: 1.0.0
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "Nothing waits to be confirmed"}
    try:
        if __salt__["slurm_pam_confirm.status"]()["state"] == "nothing":
            return ret
    except CommandExecutionError as error:
        return {**ret, "result": False, "comment": f"{_UNTOLD}: {error}"}
    ret["changes"] = {"take-back": {"old": "there", "new": "removed"}}
    if __opts__["test"]:
        ret.update(result=None, comment="What is kept for taking back an apply would be removed")
        return ret
    try:
        __salt__["slurm_pam_confirm.forget"]()
    except CommandExecutionError as error:
        return {**ret, "result": False, "changes": {}, "comment": str(error)}
    ret["comment"] = "What was kept for taking back an apply is removed"
    return ret


def _changes(given: Any) -> bool:
    """Whether the apply would change anything. Where that cannot be told, as over salt-ssh, it may."""
    try:
        # The pillar as it came, since it may have been given on the command line.
        results = __salt__["slurm_pam.dry_run"](given, __env__)
    except CommandExecutionError:
        return True
    return any(result["result"] is None or result["changes"] for result in results.values())


def _earlier(status: Mapping[str, Any]) -> str:
    return "" if status["state"] in ("nothing", "taken back") else f"; an earlier one {_waits(**status)}"


def _waits(state: str, at: float) -> str:
    if state == "being taken back":
        return "is being taken back just now"
    if state == "taking back failed":
        return (
            f"was to be taken back at {_clock(at)}, and not all of it could be. "
            "salt-call slurm_pam_confirm.take_back tries it again, and says what is in the way"
        )
    if state == "without a timer":
        return (
            f"was to be taken back at {_clock(at)}, but its timer is gone. Keep it with "
            "salt-call slurm_pam.confirm, or take it back with salt-call slurm_pam_confirm.take_back"
        )
    return f"is taken back at {_clock(at)}, unless confirmed before: salt-call slurm_pam.confirm"


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))
