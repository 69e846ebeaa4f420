"""
Mask systemd-logind, and unmask it again.

Masking covers the service, its D-Bus alias and, from systemd 258 on, its Varlink socket. systemctl is asked again
afterwards: a mask that did not take is a failure, whatever the command returned. Sessions that are open stay open.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

# In the order to start them.
_UNITS = ("systemd-logind-varlink.socket", "systemd-logind.service")
# It follows the service, and is only looked at.
_ALIAS = "dbus-org.freedesktop.login1.service"


def masked(name: str, stop: bool = True, root: str | None = None) -> dict[str, Any]:
    """
    systemd-logind is masked, so that nothing starts it any more, and stopped.

    name
        Not used; a label.
    stop
        False leaves a running systemd-logind running until the next boot.
    root
        Work on the system in this directory, which does not run, as ``systemctl --root`` does.

    .. code-block:: yaml

        systemd-logind:
          systemd_logind.masked: []

    .. versionadded:: 1.0.0
    """
    verbs = ("mask", "stop") if stop and _booted(root) else ("mask",)
    return _brought_about(name, root, verbs, {"file": "masked", "active": "inactive" if "stop" in verbs else None})


def unmasked(name: str, root: str | None = None) -> dict[str, Any]:
    """
    systemd-logind is not masked, whoever masked it, and runs.

    name, root
        As for :py:func:`masked`.

    .. code-block:: yaml

        systemd-logind:
          systemd_logind.unmasked: []

    .. versionadded:: 1.0.0
    """
    verbs = ("unmask", "start") if _booted(root) else ("unmask",)
    return _brought_about(name, root, verbs, {"file": "unmasked", "active": "active" if "start" in verbs else None})


def _brought_about(
    name: str, root: str | None, verbs: Collection[str], wanted: Mapping[str, str | None]
) -> dict[str, Any]:
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    try:
        return ret | _outcome(root, verbs, wanted)
    except CommandExecutionError as error:
        return ret | {"comment": str(error)}


def _outcome(root: str | None, verbs: Collection[str], wanted: Mapping[str, str | None]) -> dict[str, Any]:
    if not __salt__["cmd.which"]("systemctl"):
        return {"comment": "There is no systemctl here: systemd-logind cannot be masked or unmasked without it"}
    before = {unit: found for unit in _UNITS if (found := _look(unit, root))}
    if not before:
        return {"result": True, "comment": "systemd-logind is not on this system"}
    changes = {unit: change for unit, found in before.items() if (change := _change(found, wanted))}
    if not changes:
        return {"result": True, "comment": f"systemd-logind is {_told(wanted)} already"}
    if "mask" in verbs and (reason := _in_the_way(before, root)):
        return {"comment": reason}
    if __opts__["test"]:
        return {"result": None, "changes": changes, "comment": f"systemd-logind would be {_told(wanted)}"}
    errors = [_systemctl(root, verb, *before)[1] for verb in verbs]
    after = {unit: found for unit in (*before, _ALIAS) if (found := _look(unit, root))}
    wrong = [f"{unit} is {_told(found)}" for unit, found in after.items() if _change(found, wanted)]
    if wrong:
        why = " ".join(error for error in errors if error) or "systemctl gave no reason"
        return {"comment": f"systemd-logind is not {_told(wanted)}: {', '.join(wrong)}. {why}"}
    return {"result": True, "changes": changes, "comment": f"systemd-logind is now {_told(wanted)}"}


def _look(unit: str, root: str | None) -> dict[str, str | None] | None:
    """The unit as systemctl sees it, ``active`` being None if nothing runs; None if there is no such unit."""
    if _booted(root):
        shown, error = _systemctl(root, "show", "-p", "LoadState,UnitFileState,ActiveState", unit)
        if error or not shown:
            raise CommandExecutionError(f"systemctl cannot tell how {unit} is: {error or 'it says nothing'}")
        found = dict(line.split("=", 1) for line in shown.splitlines())
        # Both must say so: UnitFileState is what the files say, LoadState what systemd has taken in. An alias that was
        # loaded before the mask has the LoadState error after it.
        state = found["UnitFileState"] if found["LoadState"] in ("masked", "error") else found["LoadState"]
        active = found["ActiveState"].replace("failed", "inactive")
    else:
        state, active = _systemctl(root, "is-enabled", unit)[0] or "not-found", None
    if state == "not-found":
        return None
    # A mask in /run is gone at the next boot, so it does not count.
    file = {"masked": "masked", "masked-runtime": "masked until the next boot"}.get(state, "unmasked")
    return {"file": file, "active": active}


def _change(found: Mapping[str, str | None], wanted: Mapping[str, str | None]) -> dict[str, str]:
    after = {"file": wanted["file"], "active": wanted["active"] or found["active"]}
    return {} if _told(after) == _told(found) else {"old": _told(found), "new": _told(after)}


def _told(state: Mapping[str, str | None]) -> str:
    return state["file"] + (f" and {state['active']}" if state["active"] else "")


def _in_the_way(units: Iterable[str], root: str | None) -> str:
    """systemctl does not replace a unit file that an administrator put where the mask would go."""
    for unit in units:
        path = os.path.join(root or "/", "etc/systemd/system", unit)
        if os.path.lexists(path) and not (os.path.islink(path) and os.readlink(path) == os.devnull):
            return f"{path} is a unit file of its own, which systemctl does not mask: move it away"
    return ""


def _booted(root: str | None) -> bool:
    return not root and os.path.isdir("/run/systemd/system") and not _in_chroot()


def _in_chroot() -> bool:
    """Whether this system is an image in a build, which may have the host's /run: systemctl answers nothing there."""
    try:
        return not os.path.samefile("/proc/1/root", "/")
    except OSError:
        return False


def _systemctl(root: str | None, *arguments: str) -> tuple[str, str]:
    """What it prints, and what it has to say if it fails."""
    command = ["systemctl", *([f"--root={root}"] if root else []), *arguments]
    run = __salt__["cmd.run_all"](
        command, env={"LC_ALL": "C"}, python_shell=False, ignore_retcode=True, output_loglevel="quiet"
    )
    return run["stdout"].strip(), (run["stderr"].strip() or f"exit status {run['retcode']}") if run["retcode"] else ""
