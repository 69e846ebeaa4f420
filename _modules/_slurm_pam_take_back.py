"""
Confirm an apply, or have the node take it back by itself.

Before an apply changes anything, the files that it may write are copied to ``/var/lib/slurm_pam/confirm``, beside a
small program that brings them back, and a transient systemd timer is started that runs it. None of this needs Salt, its
master or its cache. Confirming ends the timer and removes the copies. The file ``until`` is the last to come and the
first to go: where it is not there, nothing waits, and the program does nothing.

A reboot or a power cut ends the timer. So a unit runs the program as soon as the node is up again, whatever time is
left: whoever is locked out power-cycles the node, and whoever could have confirmed has not.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from salt.exceptions import CommandExecutionError

import _child
import _selinux
import _slurm_pam_record
import _slurm_pam_selinux
import _slurm_pam_wanted
import file_transaction
from _slurm_pam_finding import Finding
from _slurm_pam_watch import APPLYING

DIRECTORY = "/var/lib/slurm_pam/confirm"
# Two, so that an apply's timer can be started before that of an earlier apply is stopped.
UNITS = ("slurm_pam-take-back", "slurm_pam-take-back-2")
# The unit that runs the program when the node comes up; it is not started before.
_AT_BOOT = "slurm_pam-take-back-at-boot"
_BOOT_UNIT = f"/etc/systemd/system/{_AT_BOOT}.service"
_BOOT_LINK = f"/etc/systemd/system/multi-user.target.wants/{_AT_BOOT}.service"
_BOOT = f"""\
[Unit]
Description=Take back what slurm_pam changed, since it was not confirmed before the node went down
RequiresMountsFor={DIRECTORY}

[Service]
Type=oneshot
ExecStart=/bin/sh {DIRECTORY}/take-back
"""
_RUNNING = {"active", "activating"}
# Seconds for a program to answer.
_PATIENCE = 60
_BUSY = (
    "The last apply is being taken back just now, which takes some seconds. Do this again when it has ended: "
    "systemctl status 'slurm_pam-take-back*' shows it"
)
_FIX = f"Fix what blocks it (journalctl -u '{UNITS[0]}*'), and run {DIRECTORY}/take-back again on the node"
_PROGRAM = """\
#!/bin/sh
# Written by slurm_pam before it changed this node; a timer runs it unless the change is confirmed, and so does the next
# boot. Brings every file in "paths" back to what it was, in that order, and then the units; takes SELinux's "modules"
# away. Twice does no harm.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
cd "${0%/*}" || exit 1
here="$(pwd -P)"
exec 9< .
flock 9
[ -e until ] || exit 0 # confirmed in the meantime
failed=0
token="$(cat token)" && [ -n "$token" ] || exit 1

# While this runs, what the watch sees change is not drift.
read -r process < "/proc/$$/stat"
set -- ${process##*) }
read -r up rest < /proc/uptime
(umask 077 && echo "$$ ${20} ${up%.*}" >> @APPLYING@)

# Into a directory that is root's alone, as is all of the way to it: nobody else can put anything at a name there, nor
# move it away. Whatever links led here, the way is looked at from here upward.
into() {
    cd -P "$1" && [ "$(pwd -P)" = "$1" ] || return 1
    up=.
    while :; do
        case "$(stat -c %u:%A "$up")" in
            0:d????-??-? | 0:d????????[tT]) ;;
            *) return 1 ;;
        esac
        [ "$up" -ef / ] && return 0
        up="$up/.."
    done
}

bring_back() (
    copy="$here/before$1" directory="${1%/*}" name="${1##*/}"
    [ -e "$copy" ] || [ -L "$copy" ] || copy=
    [ -n "$copy" ] || [ -d "$directory" ] || exit 0
    into "${directory:-/}" || {
        echo "$1 was left as it is: others than root can write to the way to it, or it is not there" >&2
        exit 1
    }
    if [ -z "$copy" ]; then
        rm -f "./$name"
        exit
    fi
    # In a sticky directory a name can be taken; nobody knows this one before it is root's.
    new="./.slurm_pam-back-$token"
    [ ! -L "$new" ] && [ -O "$new" ] && rm -rf "$new" # of a run that was killed
    mkdir -m 700 "$new" && cp -a "$copy" "$new/new" && mv -fT "$new/new" "./$name"
    done=$?
    [ -O "$new" ] && rm -rf "$new"
    exit "$done"
)

while IFS= read -r path; do
    bring_back "$path" || failed=1
done < paths
systemctl daemon-reload || failed=1
while read -r verb unit; do
    systemctl "$verb" "$unit" || failed=1
done < units
while read -r module; do
    ! semodule -lfull | grep -q " $module " || semodule -r "$module" || failed=1
done < modules
# Whole as soon as it is there, also after a power cut.
date +%s > taken-back.new && sync || failed=1
[ "$failed" = 0 ] && rm -f @BOOT@ && mv -f taken-back.new taken-back && sync
""".replace("@BOOT@", f"{_BOOT_LINK} {_BOOT_UNIT}").replace("@APPLYING@", APPLYING)


def arm(seconds: int, settings: Mapping[str, Any]) -> float:
    """
    From now on this node goes back to what it is now, unless :py:func:`disarm` is called in time.

    seconds
        How long to wait.
    settings
        The merged settings of the formula.

    Returns when it will be taken back, in seconds since 1970. Where an earlier apply still waits, what was before that
    one is kept, and the time starts anew; where that cannot be, the earlier one waits on as it did.

    Raises CommandExecutionError, with no timer started, if something stands against writing a path.
    """
    paths = [_real(path) for path in _slurm_pam_wanted.touched(_slurm_pam_record.continued(settings))]
    obstacles = file_transaction.obstacles([*paths, os.path.join(DIRECTORY, "until"), _BOOT_UNIT])
    if told := [*obstacles["unsafe"], *obstacles["unwritable"]]:
        raise CommandExecutionError("; ".join(told))
    _make_directory()
    with _undisturbed():
        earlier = pending() is not None
        try:
            if not earlier:
                _empty()
            _keep(settings, paths)
            until = time.time() + seconds
            _arm_boot()
            _start_timer(seconds)
            _write(_in("until"), f"{until:.0f}\n")
            _do("sync", "-f", DIRECTORY)
        except (CommandExecutionError, OSError):
            if not earlier:
                _remove()
            raise
    return until


def confirm() -> str:
    """
    The last apply stays.

    Raises CommandExecutionError if nothing waits to be confirmed, and says why.
    """
    if pending() is None:
        when = taken_back()
        raise CommandExecutionError(
            "Nothing waits to be confirmed"
            if when is None
            else f"Too late: the last apply was taken back at {time.strftime('%F %T', time.localtime(when))}"
        )
    disarm()
    return "Confirmed: this node stays as it is"


def pending() -> float | None:
    """When the last apply will be taken back, in seconds since 1970; nothing where none waits to be confirmed."""
    return _time("until") if taken_back() is None else None


def taken_back() -> float | None:
    """When the last apply was taken back, in seconds since 1970; nothing where it was not."""
    return _time("taken-back")


def _time(name: str) -> float | None:
    lines = _lines(name)
    return float(lines[0]) if lines else None


def status() -> dict[str, Any]:
    """
    How it stands with the last apply: ``{"state": "waiting", "at": 1767225600.0}``, in seconds since 1970.

    state
        ``waiting`` to be confirmed, or else taken back then; ``without a timer``: it waits, but will not be taken back
        by itself before the next boot; ``being taken back`` just now; ``taking back failed``, so that not all is as it
        was; ``taken back`` then; or ``nothing`` of all this.
    """
    until, back = pending(), taken_back()
    if until is None:
        return {"state": "nothing" if back is None else "taken back", "at": back}
    services = _states(*(f"{unit}.service" for unit in (*UNITS, _AT_BOOT)))
    if not _RUNNING.isdisjoint(services):
        return {"state": "being taken back", "at": until}
    if not _RUNNING.isdisjoint(_states(*(f"{unit}.timer" for unit in UNITS))):
        return {"state": "waiting", "at": until}
    if pending() != until:
        return status()  # it was taken back, or confirmed, between the looks
    return {"state": "taking back failed" if "failed" in services else "without a timer", "at": until}


def disarm() -> None:
    """
    The node stays as it is: the timer is stopped and the copies are removed.

    Raises CommandExecutionError where it is too late for that.
    """
    with _undisturbed():
        if taken_back() is not None:
            raise CommandExecutionError("Too late: the last apply was taken back. Apply again")
        if status()["state"] == "taking back failed":
            raise CommandExecutionError(f"Too late: the last apply was to be taken back, and not all could be. {_FIX}")
        _remove()


def forget() -> None:
    """Nothing is left of the last apply's copies, whether it still waits or was taken back."""
    with _undisturbed():
        _remove()


def take_back() -> str:
    """
    Take the last apply back now, and not when its time is over.

    Raises CommandExecutionError where there is nothing to take back, or where not all of it could be.
    """
    if pending() is None and taken_back() is None:
        raise CommandExecutionError("Nothing to take back: the last apply was confirmed, or needed no confirmation")
    # The timer goes on meanwhile: should this process die here, the node still goes back.
    done = _child.ask("/bin/sh", os.path.join(DIRECTORY, "take-back"), timeout=300)
    if done.returncode != 0:
        reason = done.stderr.strip() or f"exit status {done.returncode}"
        raise CommandExecutionError(f"Not all could be taken back: {reason}. {_FIX}")
    if taken_back() is None:
        raise CommandExecutionError("Nothing was taken back: the last apply was confirmed meanwhile")
    _stop(*UNITS)
    return "This node is as it was before the last apply"


def unconfirmed(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """A look: an earlier apply that is not to stay yet."""
    if pending() is None:
        return
    now = status()
    if now["state"] in ("nothing", "taken back"):
        return  # confirmed, or taken back, between the looks
    if now["state"] == "taking back failed":
        yield Finding(
            "The last apply was to be taken back, and not all could be",
            "Some of this node is as it was before, and some is not. The next boot tries it again, and takes back "
            "whatever was applied since",
            f"{_FIX}. Or keep this node as it is: salt-call slurm_pam_confirm.forget",
            # An apply that is to be confirmed has the copies of before the last one, and a timer of its own.
            "warnings" if settings["confirm"] else "problems",
        )
        return
    when = time.strftime("%F %T", time.localtime(now["at"]))
    yield Finding(
        f"The last apply waits to be confirmed ({now['state']}, until {when})",
        "It is taken back then, or as soon as this node comes up again after a reboot or a power cut",
        "Keep it: salt-call slurm_pam.confirm. Or take it back: salt-call slurm_pam_confirm.take_back",
        "warnings",
    )


# The timers, and what they run


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Nothing is taken back meanwhile; the program waits for the same lock."""
    try:
        directory = os.open(DIRECTORY, os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandExecutionError(_BUSY) from None
        yield
    finally:
        os.close(directory)


def _start_timer(seconds: int) -> None:
    """A new timer first, and then no other: whatever waits is never without one."""
    free = [unit for unit in UNITS if _RUNNING.isdisjoint(_states(f"{unit}.timer"))]
    unit = free[0] if free else UNITS[0]
    _stop(unit)
    _do(
        *("systemd-run", f"--unit={unit}", "--description=Take back what slurm_pam changed"),
        *(f"--on-active={seconds}", "--timer-property=AccuracySec=1s"),
        *("/bin/sh", os.path.join(DIRECTORY, "take-back")),
    )
    _stop(*(other for other in UNITS if other != unit))


def _arm_boot() -> None:
    """The next boot runs the program too; systemd reads the unit then."""
    _write(_BOOT_UNIT, _BOOT, 0o644)
    _selinux.make_directory(os.path.dirname(_BOOT_LINK), 0o755)
    if not os.path.lexists(_BOOT_LINK):
        with _selinux.labelling(_BOOT_LINK, stat.S_IFLNK):
            os.symlink(_BOOT_UNIT, _BOOT_LINK)
    _do("sync", "-f", os.path.dirname(_BOOT_UNIT))


def _disarm_boot() -> None:
    for path in (_BOOT_LINK, _BOOT_UNIT):
        with suppress(FileNotFoundError):
            os.unlink(path)


def _stop(*units: str) -> None:
    for unit in units:
        # The service as well: it may have begun to wait for the lock.
        both = (f"{unit}.timer", f"{unit}.service")
        done = _child.ask("systemctl", "stop", *both, timeout=_PATIENCE)
        if not _RUNNING.isdisjoint(_states(*both)):
            raise _failure(done)
        _child.ask("systemctl", "reset-failed", f"{unit}.service", timeout=_PATIENCE)


def _states(*units: str) -> list[str]:
    """What systemd says of each: active, inactive, failed and the like."""
    answer = _child.ask("systemctl", "is-active", *units, timeout=_PATIENCE)
    states = answer.stdout.split()
    if len(states) != len(units):
        raise _failure(answer)
    return states


# What is kept for taking back


def _make_directory() -> None:
    for directory in (os.path.dirname(DIRECTORY), DIRECTORY):
        _selinux.make_directory(directory, 0o700)


def _empty() -> None:
    """First that which tells that something waits: what is left of a removal that was cut short is nothing."""
    for name in ("until", "taken-back", "paths", "units", "modules", "token", "take-back"):
        path = os.path.join(DIRECTORY, name)
        if os.path.exists(path):
            os.unlink(path)
    shutil.rmtree(os.path.join(DIRECTORY, "before"), ignore_errors=True)


def _real(path: str) -> str:
    """The path without links on the way, so that the program finds the place, and no other in its stead."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _keep(settings: Mapping[str, Any], touched: list[str]) -> None:
    """Copies of all that is not kept yet, then what names them."""
    earlier = _lines("paths")
    paths = list(dict.fromkeys([*touched, *earlier]))
    _copy([path for path in paths if path not in earlier])
    units = _unit_commands(_slurm_pam_wanted.wanted(settings))
    _write(_in("units"), _text(list(dict.fromkeys([*_lines("units"), *units]))))
    _write(_in("modules"), _text(list(dict.fromkeys([*_lines("modules"), *_modules(settings)]))))
    if not _lines("token"):
        _write(_in("token"), f"{secrets.token_hex(16)}\n")
    _write(_in("take-back"), _PROGRAM)
    _write(_in("paths"), _text(paths))
    _do("sync", "-f", DIRECTORY)


def _unit_commands(wanted: Mapping[str, Any]) -> Iterator[str]:
    """What systemctl has to do when the files are back."""
    if wanted["sshd"]:
        unit = wanted["units"]["sshd"]
        # A reload would leave it without the socket; stopped, it is started anew for the next login.
        yield f"{'stop' if _is_started_by_socket(unit) else 'reload-or-try-restart'} {unit}"
    if wanted["slurm_conf"]["manage"] == "enforce":
        yield f"try-restart {wanted['units']['slurmd']}"
    if wanted["logind"] != "keep":
        units = _slurm_pam_wanted.LOGIND_UNITS
        yield from (f"start {unit}" for unit, state in zip(units, _states(*units)) if state == "active")


def _modules(settings: Mapping[str, Any]) -> list[str]:
    """SELinux's that the apply may load, and that are not there."""
    if settings["selinux"] != "manage" or not _selinux.is_on() or _slurm_pam_selinux.is_loaded():
        return []
    return [_slurm_pam_selinux.NAME]


def _is_started_by_socket(unit: str) -> bool:
    """Whether systemd listens for a service (systemd.socket(5))."""
    said = _child.ask("systemctl", "show", "--property=TriggeredBy", unit, timeout=_PATIENCE)
    if said.returncode != 0:
        raise _failure(said)
    sockets = [word for word in said.stdout.strip().partition("=")[2].split() if word.endswith(".socket")]
    return bool(sockets) and "active" in _states(*sockets)


def _remove() -> None:
    _stop(*UNITS)
    try:
        _empty()
        _disarm_boot()
    except OSError as error:
        raise CommandExecutionError(
            f"{error.filename} could not be removed: {error.strerror}. Until it is, the next boot may take the last "
            "apply back. See to it that it can be written, and do this again"
        ) from error
    # Or a power cut now would have the next boot take back what was confirmed.
    _do("sync", "-f", *filter(os.path.isdir, (DIRECTORY, os.path.dirname(_BOOT_UNIT))))
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    if os.path.isdir(os.path.dirname(DIRECTORY)) and not os.listdir(os.path.dirname(DIRECTORY)):
        os.rmdir(os.path.dirname(DIRECTORY))


# Files and programs


def _copy(paths: list[str]) -> None:
    """Copies with mode, owner, labels and times; a link as a link. What is not there is not copied: that says so."""
    target = os.path.join(DIRECTORY, "before")
    os.makedirs(target, mode=0o700, exist_ok=True)
    for path in paths:
        # Left by an apply that was cut short before it named them.
        if os.path.lexists(target + path):
            os.unlink(target + path)
    there = [path.lstrip("/") for path in paths if os.path.lexists(path)]
    if there:
        _do("cp", "-a", "--parents", "--", *there, target, cwd="/")


def _in(name: str) -> str:
    return os.path.join(DIRECTORY, name)


def _write(path: str, text: str, mode: int = 0o600) -> None:
    with suppress(FileNotFoundError):
        os.unlink(f"{path}.new")
    with _selinux.labelling(path, stat.S_IFREG):
        handle = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(handle, "w", encoding="utf-8") as file:
        os.fchmod(handle, mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _lines(name: str) -> list[str]:
    try:
        with open(os.path.join(DIRECTORY, name), encoding="utf-8") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def _do(*words: str, **options: Any) -> None:
    done = _child.ask(*words, timeout=_PATIENCE, **options)
    if done.returncode != 0:
        raise _failure(done)


def _failure(done: subprocess.CompletedProcess) -> CommandExecutionError:
    return CommandExecutionError(f"{' '.join(done.args)} failed: {done.stderr.strip() or done.returncode}")
