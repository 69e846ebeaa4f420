"""
Confirm an apply, or have the node take it back by itself.

Before an apply changes anything, the files that it may write are copied to ``/var/lib/slurm_pam/confirm``, beside a
small program that brings them back, and a transient systemd timer is started that runs it. Neither needs Salt, its
master or its cache. Confirming ends the timer and removes the copies.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

DIRECTORY = "/var/lib/slurm_pam/confirm"
UNIT = "slurm_pam-take-back"
_MASKED = ("systemd-logind.service", "systemd-logind-varlink.socket")
_PROGRAM = """\
#!/bin/sh
# Written by slurm_pam before it changed this node; a timer runs it unless the change is confirmed. Brings every file in
# "paths" back to what it was, in that order, and then the units. Running it twice does no harm.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd "${0%/*}" || exit 1
exec 9< paths
flock 9
failed=0

bring_back() {
    new="${1%/*}/.${1##*/}.slurm_pam-back"
    if [ -e "before$1" ] || [ -L "before$1" ]; then
        rm -f "$new" && cp -a "before$1" "$new" && mv -fT "$new" "$1"
    else
        rm -f "$1"
    fi
}

while IFS= read -r path; do
    bring_back "$path" || failed=1
done < paths
systemctl daemon-reload || failed=1
while read -r verb unit; do
    systemctl "$verb" "$unit" || failed=1
done < units
sync
[ "$failed" = 0 ] && date +%s > taken-back
"""


def arm(seconds: int, settings: Mapping[str, Any]) -> float:
    """
    From now on this node goes back to what it is now, unless :py:func:`disarm` is called in time.

    seconds
        How long to wait.
    settings
        The merged settings of the formula.

    Returns when it will be taken back, in seconds since 1970. Where an earlier apply still waits, what was before that
    one is kept, and the time starts anew.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_confirm.arm 300 '{...}'

    .. versionadded:: 1.0.0
    """
    if _run("systemctl", "is-active", f"{UNIT}.service").stdout.strip() in ("active", "activating"):
        raise CommandExecutionError("An earlier apply is being taken back just now. Apply again when that has ended")
    until = time.time() + seconds
    new = f"{DIRECTORY}.new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(os.path.dirname(DIRECTORY), mode=0o700, exist_ok=True)
    os.mkdir(new, 0o700)
    earlier = _lines("paths") if pending() else []
    paths = list(dict.fromkeys([*_paths(settings), *earlier]))
    units = _lines("units") if earlier else list(_units(settings))
    _copy(os.path.join(DIRECTORY, "before"), earlier, new)
    _copy("/", [path for path in paths if path not in earlier], new)
    for name, text in {
        "paths": _text(paths),
        "units": _text(units),
        "until": f"{until:.0f}\n",
        "take-back": _PROGRAM,
    }.items():
        with open(os.path.join(new, name), "w", encoding="utf-8") as file:
            file.write(text)
    _ask("sync", "-f", new)
    _stop_timer()
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    os.rename(new, DIRECTORY)
    try:
        _ask(
            *("systemd-run", f"--unit={UNIT}", "--description=Take back what slurm_pam changed"),
            *(f"--on-active={seconds}", "--timer-property=AccuracySec=1s"),
            *("/bin/sh", os.path.join(DIRECTORY, "take-back")),
        )
    except CommandExecutionError:
        if not earlier:
            disarm()
        raise
    return until


def pending() -> float | None:
    """
    When the last apply will be taken back, in seconds since 1970; nothing where none waits to be confirmed.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_confirm.pending

    .. versionadded:: 1.0.0
    """
    if taken_back() is not None or not os.path.exists(os.path.join(DIRECTORY, "until")):
        return None
    return float(_lines("until")[0])


def taken_back() -> float | None:
    """
    When the last apply was taken back, in seconds since 1970; nothing where it was not.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_confirm.taken_back

    .. versionadded:: 1.0.0
    """
    path = os.path.join(DIRECTORY, "taken-back")
    return float(_lines("taken-back")[0]) if os.path.exists(path) else None


def disarm() -> None:
    """
    The node stays as it is: the timer is stopped and the copies are removed.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_confirm.disarm

    .. versionadded:: 1.0.0
    """
    _stop_timer()
    # First that which tells that something waits: what is left of a removal that was cut short is nothing.
    for path in (os.path.join(DIRECTORY, "until"), os.path.join(DIRECTORY, "taken-back")):
        if os.path.exists(path):
            os.unlink(path)
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    if os.path.isdir(os.path.dirname(DIRECTORY)) and not os.listdir(os.path.dirname(DIRECTORY)):
        os.rmdir(os.path.dirname(DIRECTORY))


def take_back() -> str:
    """
    Take the last apply back now, and not when its time is over.

    Raises CommandExecutionError where there is nothing to take back, or where not all of it could be.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_confirm.take_back

    .. versionadded:: 1.0.0
    """
    if pending() is None and taken_back() is None:
        raise CommandExecutionError("There is nothing to take back: the last apply was confirmed, or was not to be")
    # The timer goes on meanwhile: should this process die here, the node still goes back.
    _ask("/bin/sh", os.path.join(DIRECTORY, "take-back"))
    _stop_timer()
    return "This node is as it was before the last apply"


def _stop_timer() -> None:
    _run("systemctl", "stop", f"{UNIT}.timer")
    _run("systemctl", "reset-failed", f"{UNIT}.service")


# What an apply may write, in the order in which it is brought back


def _paths(settings: Mapping[str, Any]) -> list[str]:
    return [way for path in _named(settings) for way in dict.fromkeys((path, os.path.realpath(path)))]


def _named(settings: Mapping[str, Any]) -> Iterator[str]:
    """sshd's PAM file first, so that nobody is turned away in between; then what it names, and the rest."""
    for file in reversed(__salt__["slurm_pam_plan.stacks"](settings)["files"]):
        yield file["path"]
    yield settings["access"]["file"]
    yield from (f"/etc/systemd/system/{unit}" for unit in _MASKED)
    if settings["sshd"]["manage"]:
        yield settings["sshd"]["drop_in"]
        yield settings["sshd"]["config"] or "/etc/ssh/sshd_config"
    slurm = settings["slurm"]
    if slurm["manage"] == "enforce":
        wanted = {**slurm["settings"], "UsePAM": "1" if slurm["use_pam"] else None}
        yield from __salt__["slurm_conf.plan"](wanted, slurm["conf"], tag="slurm_pam")
    if slurm["use_pam"]:
        yield "/etc/pam.d/slurm"


def _units(settings: Mapping[str, Any]) -> Iterator[str]:
    """What systemctl has to do when the files are back."""
    if settings["sshd"]["manage"]:
        yield f"reload-or-try-restart {settings['sshd']['service']}"
    if settings["slurm"]["manage"] == "enforce":
        yield f"try-restart {settings['slurm']['service']}"
    for unit in _MASKED:
        if _run("systemctl", "is-active", unit).stdout.strip() == "active":
            yield f"start {unit}"


# Files and programs


def _copy(root: str, paths: list[str], target: str) -> None:
    """Copies with mode, owner, labels and times; a link as a link. What is not there is not copied: that says so."""
    target = os.path.join(target, "before")
    os.makedirs(target, mode=0o700, exist_ok=True)
    there = [path.lstrip("/") for path in paths if os.path.lexists(os.path.join(root, path.lstrip("/")))]
    if there:
        _ask("cp", "-a", "--parents", "--", *there, target, cwd=root)


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _lines(name: str) -> list[str]:
    with open(os.path.join(DIRECTORY, name), encoding="utf-8") as file:
        return file.read().splitlines()


def _ask(*words: str, **options: Any) -> None:
    done = _run(*words, **options)
    if done.returncode != 0:
        raise CommandExecutionError(f"{' '.join(words)} failed: {done.stderr.strip() or done.returncode}")


def _run(*words: str, **options: Any) -> subprocess.CompletedProcess:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, **options)
