"""
A small program that tells, without Salt, whether all that closes this node is still as the last apply left it.

It stands in ``/var/lib/slurm_pam`` beside ``accepted``, which says how everything was when that apply ended. One look
is one ``stat`` of all of it, compared as a text; a file is read only if it was written since. No shell reads a path:
they are parted by the control characters that are made for that.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from salt.exceptions import CommandExecutionError

import _child
import _file
import _pam_plan
import _processes
import _slurm_pam_record
import _slurm_pam_settings
import _slurm_pam_wanted
import _slurm_pam_watched
import file_transaction
import slurm_conf
import sshd_config
from _slurm_pam_ask import Unanswered, booted

# While a line of this names a process that runs, and for an hour at most, what differs is an apply's.
APPLYING = "/run/slurm_pam-applying"
# Between paths, and between what the file consists of.
_UNIT, _GROUP = "\x1f", "\x1d"
# The name, quoted, with where a link leads; type and mode, owner, group; what changes when a file is written: stat(1).
_LINE = f"%N{_UNIT}%f %u %g{_UNIT}%s %.9Y %.9Z %i"
_AS_STAT_QUOTES = {"LC_ALL": "C", "QUOTING_STYLE": "shell-escape-always"}
_MOST_LINKS = 40

_PROGRAM = r"""#!/bin/sh
# Written by slurm_pam. Says in one line whether all that closes this node is as the last apply left it. It changes
# nothing on this node.
#
#     watch              exit status 0; 1 if something differs; 3 if that cannot be told
#     watch --nagios     as Nagios and its like take it
#     watch --textfile   metrics for the textfile collector of node_exporter
#     watch --undrain    has Slurm give this node jobs again if all is well and drain took them from it
#     drain              for Slurm's HealthCheckProgram: drains this node if it is not as it was; never undrains it
PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C QUOTING_STYLE=shell-escape-always
export PATH LC_ALL QUOTING_STYLE
set -f
nl='
' unit='@UNIT@' group='@GROUP@'

tell() {
    count=$((count + 1))
    [ "$count" -gt 3 ] || told="$told${told:+; }$1"
}

look() {
    count=0 told='' status=0
    # It stays open, for look_again. By "command", a shell does not end where it is not there; a caller's stays unread.
    exec 3< /dev/null
    { command exec 3< accepted; } 2> /dev/null
    IFS=$group
    set -- $(exec cat 2> /dev/null <&3)
    if [ $# != 12 ]; then
        tell "$PWD/accepted cannot be read, which the last apply wrote: it has to be there, and this has to run as root"
        status=3
        return
    fi
    quick=$1 noted=$2 listing=$3 files=$4 others=$5 absent=$6 globs=$7 directories=$8
    scontrol=$9 conf=${10} node=${11} checker=${12}
    see
    case "$found" in *"$nl$quick") ;; *) compare ;; esac
    [ "$count" = 0 ] || status=1
}

see() {
    IFS=$unit
    found=$(exec stat -c '@LINE@' -- accepted $files $others $absent $directories 2> /dev/null)
}

# Where the last look would see what it saw, it would say what it said. It may have read what was accepted just before
# an apply wrote it anew, and seen the new file.
look_again() {
    seen=$found
    see
    [ "$found" = "$seen" ] && [ accepted -ef /proc/self/fd/3 ] || look
}

# What differs in more than its times. Both lists have one order; what is not there any more is in one of them alone.
compare() {
    written=''
    IFS=$nl
    set -- $found
    [ $# = 0 ] || shift
    for line in $noted; do
        case "$line" in
            *"$unit$1") shift && continue ;;
            *"$unit${1%"$unit"*}$unit"*)
                shift
                sum=${line%%"$unit"*} written=$written${sum:+$sum$nl}
                continue
                ;;
        esac
        name=${line#*"$unit"} name=${name%%"$unit"*} name=${name%%" -> "*}
        case "$1" in
            "$name$unit"* | "$name -> "*)
                shift
                tell "$name has another type, mode, owner or target"
                ;;
            *) tell "$name is not there any more" ;;
        esac
    done
    [ -z "$written" ] || contents
    IFS=$unit
    for path in $absent; do stay_away; done
    set +f
    for path in $globs; do
        case "$nl$listing$nl" in *"$nl$path$nl"*) ;; *) stay_away ;; esac
    done
    set -f
}

# A pattern that matches nothing stands for itself.
stay_away() {
    if [ -e "$path" ] || [ -L "$path" ]; then tell "'$path' is there, and was not"; fi
}

# Only what was written since is read.
contents() {
    other=$(printf %s "$written" | "$checker" --check --quiet 2> /dev/null) ||
        [ -n "$other" ] || tell "$checker could not be asked what is in the files"
    for line in $other; do
        name=${line#\\}
        tell "'${name%": FAILED"*}' has other content"
    done
}

# Whether a process that noted itself still runs; it is killed, say, before it takes that back.
applying() {
    [ -O '@APPLYING@' ] || return 1
    IFS=' '
    while read -r pid started begun; do
        runs && return
    done 2> /dev/null < '@APPLYING@'
    return 1
}

runs() {
    case "$pid$started$begun" in *[!0-9]*) return 1 ;; esac
    read -r process 2> /dev/null < "/proc/$pid/stat" || return 1
    set -- ${process##*) }
    [ "${20}" = "$started" ] || return 1
    read -r up rest < /proc/uptime
    [ $((${up%.*} - begun)) -lt 3600 ]
}

metric() {
    printf '# HELP slurm_pam_watch_%s %s\n# TYPE slurm_pam_watch_%s gauge\n' "$1" "$2" "$1"
    printf 'slurm_pam_watch_%s %s\n' "$1" "$3"
}

# What slurmctld calls this node, and what it knows of it. It shows a node by its own name alone, and not by its host's.
ask_slurm() {
    host=$(uname -n) node=${SLURMD_NODENAME:-${node:-${host%%.*}}}
    [ -z "$conf" ] || export SLURM_CONF="$conf"
    [ -n "$scontrol" ] || scontrol=scontrol
    show_node
    case "$shown" in
        *' not found')
            names=$(exec "$scontrol" show aliases "$node" 2> /dev/null) names=${names%% *}
            [ -z "$names" ] || { node=$names && show_node; }
            ;;
    esac
    case "$shown" in NodeName=*) node=${shown#NodeName=} node=${node%% *} ;; *) shown='' ;; esac
    state=${shown#* State=} state=${state%% *}
}

show_node() {
    shown=$(exec "$scontrol" --oneliner show node "$node" 2> /dev/null)
}

drain() {
    [ "$status" = 0 ] && return
    ask_slurm
    case "$state" in
        *DRAIN*) ;; # with this reason, or another that is to stay
        *) "$scontrol" update "nodename=$node" state=drain "reason=slurm_pam: $line" ;;
    esac
}

undrain() {
    [ "$status$busy" = 0 ] || return
    ask_slurm
    case "$state:$shown" in
        :) line="$line, but Slurm did not say whether this node is drained" ;;
        *DRAIN*:*' Reason=slurm_pam: '*)
            if "$scontrol" update "nodename=$node" state=resume; then
                line="$line, and Slurm gives it jobs again"
            else
                line="$line, but it is still drained: scontrol update nodename=$node state=resume"
            fi
            ;;
        *DRAIN*:*' Reason='*)
            why=${shown#*' Reason='} line="$line, but it is drained for another reason: ${why%%' ['*}"
            printable
            ;;
        *DRAIN*:*) line="$line, but it is drained, and no reason was given" ;;
    esac
}

# A name may be anything, and a reason; this goes to terminals and into tables.
printable() {
    case "$line" in *[![:print:]]* | *'|'*) line=$(printf %s "$line" | tr '|\000-\037\177-\377' '[?*]') ;; esac
}

cd "${0%/*}" || exit 3
found='' files='' others='' absent='' directories='' conf='' scontrol='' node=''
look
busy=''
if [ "$count" != 0 ]; then
    applying && busy=yes
    # Somebody may be between two files just now, as a package manager is.
    [ -n "$busy" ] || { sleep 1 && look_again && [ "$count" != 0 ] && applying && busy=yes; }
    # Whoever takes the watch away begins with what was accepted.
    [ -e "${0##*/}" ] || exit 0
fi
line='all that closes this node is as it was accepted'
if [ -n "$busy" ]; then
    line='an apply is changing this node' count=0 status=0
elif [ "$count" != 0 ]; then
    [ "$count" -le 3 ] || told="$told; and $((count - 3)) more"
    line=$told
    printable
fi
case "${0##*/}:$1" in
    drain:*)
        printf 'slurm_pam: %s\n' "$line"
        drain
        ;;
    *:--nagios)
        case $status in 0) word=OK ;; 1) word=CRITICAL status=2 ;; *) word=UNKNOWN count=U ;; esac
        printf 'SLURM_PAM %s - %s | differing_paths=%s\n' "$word" "$line" "$count"
        ;;
    *:--textfile)
        metric healthy 'Whether all that closes this node is as it was accepted.' "$((status == 0))"
        metric differing_paths 'Paths that are not as they were accepted.' "$count"
        metric accepted_timestamp_seconds 'When an apply accepted them.' "$(stat -c %Y accepted 2> /dev/null || echo 0)"
        status=0
        ;;
    *:--undrain)
        undrain
        printf 'slurm_pam: %s\n' "$line"
        ;;
    *:) printf 'slurm_pam: %s\n' "$line" ;;
    *)
        printf 'usage: watch [--nagios | --textfile | --undrain]\n' >&2
        status=3
        ;;
esac
exit "$status"
"""


def program() -> str:
    """The text of the program."""
    words = {"LINE": _LINE, "UNIT": _UNIT, "GROUP": _GROUP, "APPLYING": APPLYING}
    return re.sub("@([A-Z]+)@", lambda word: words[word[1]], _PROGRAM)


class Accepted(NamedTuple):
    """What the program holds the node against; paths as one text, parted by a control character."""

    quick: str  # what stat says of each path that is there
    noted: str  # that of files and others, each behind the line by which checker checks what is in it
    listing: str  # what matches globs
    files: str
    others: str  # what is there and has no content: directories, links that lead nowhere
    absent: str
    globs: str  # patterns of files that count as soon as they are there
    directories: str  # of these
    scontrol: str
    conf: str  # slurm.conf, where it is not in its place
    node: str  # its NodeName, where the settings say it
    checker: str  # the program that sums up what is in a file

    def text(self) -> str:
        return "".join(f"{field}{_GROUP}" for field in self)

    def facts(self) -> tuple[object, ...]:
        """All but times and inodes, which an update changes with the same content."""
        return self.of_paths(), self.listing, self.globs, self.scontrol, self.conf, self.node, self.checker

    def of_paths(self) -> dict[str, tuple[str, str]]:
        """What stat says of each path, and the sum of what is in it."""
        there = [*_split(self.files), *_split(self.others)]
        lines = [line.split(_UNIT) for line in self.noted.split("\n")]
        told = {
            path: (f"{how} {name}", check.lstrip("\\").partition(" ")[0])
            for path, (check, name, how, _) in zip(there, lines, strict=False)
        }
        return {**dict.fromkeys(_split(self.absent), ("", "")), **told}


def accepted() -> Accepted | None:
    """What was accepted last; nothing if nothing was, or the file is not as it was written."""
    text = file_transaction.read(_slurm_pam_wanted.ACCEPTED)
    fields = text.split(_GROUP) if isinstance(text, str) else []
    found = Accepted(*fields[:-1]) if len(fields) == len(Accepted._fields) + 1 else None
    return found if found and found.checker in _SUMS else None


def plan(settings: Mapping[str, Any], test: bool) -> dict[str, Any]:
    """
    What is to stand on the node for the watch, now that an apply has held.

    settings
        The merged settings of the formula.
    test
        Whether the apply is still to come.

    Returns ``{"files": [change], "anew": bool}``, the changes for ``file_transaction.commit``: whether the node is
    otherwise than it was accepted last, or will be. Where only times have changed, the last of the files is brought up
    to date without a change that counts, as git does with its index: reading these files each time would cost more.

    Raises CommandExecutionError if it cannot be told what there is to look at.
    """
    before = accepted()
    if before is None and test:
        anew, text = True, ""  # what is looked at need not be there yet
    else:
        now = look(settings)
        anew, text = _differs(before, now, settings if test else None), now.text()
    link = {"link": os.path.basename(_slurm_pam_wanted.WATCH)}
    files = [
        {"path": _slurm_pam_wanted.WATCH, "after": program(), "mode": 0o700},
        {"path": _slurm_pam_wanted.DRAIN, "after": link},
        {"path": _slurm_pam_wanted.ACCEPTED, "after": text, "mode": 0o600},
    ]
    return {"files": [{**file, "before": file_transaction.read(file["path"])} for file in files], "anew": anew}


def _differs(before: Accepted | None, now: Accepted, to_come: Mapping[str, Any] | None) -> bool:
    """Whether the node is otherwise than accepted, or will be when these settings are applied."""
    if before is None:
        return True
    return _will_differ(before, now, to_come) if to_come else before.facts() != now.facts()


def _will_differ(before: Accepted, now: Accepted, settings: Mapping[str, Any]) -> bool:
    """Whether the node will be otherwise than accepted once this apply has written what it is going to."""
    coming = _coming(settings)
    if not coming:
        return before.facts() != now.facts()
    was, found = before.of_paths(), _look(before.of_paths(), _split(before.globs), settings)
    differing = {path for path, fact in found.of_paths().items() if was[path] != fact}
    differing |= set(before.listing.split("\n")) ^ set(found.listing.split("\n"))
    others = any(not _is(was.get(path), content, before.checker) for path, content in coming.items())
    return others or not differing <= coming.keys()


def _is(fact: tuple[str, str] | None, content: file_transaction.Thing, checker: str) -> bool:
    """Whether what was accepted of a path is what comes to stand there."""
    if fact is None or content is None:
        return fact == ("", "")
    if isinstance(content, Mapping):
        return fact[0].endswith(f" -> '{content['link']}'")
    return fact[1] == _SUMS[checker](content.encode("utf-8", "surrogateescape"))


def _coming(settings: Mapping[str, Any]) -> dict[str, file_transaction.Thing]:
    """What an apply is going to write, by path."""
    settings = _slurm_pam_record.continued(settings)
    wanted = _slurm_pam_wanted.wanted(settings)
    found = {wanted["record"]: _slurm_pam_record.record(settings)}
    for part in filter(None, (wanted["pam"], wanted["access"], wanted["slurmstepd"])):
        how = {"marker": part["marker"], "replace": part.get("replace", False), "disk": file_transaction}
        found |= {change["path"]: change["after"] for change in _pam_plan.plan(part["files"], **how)}
    if wanted["message"]:
        found[wanted["message"]["path"]] = wanted["message"]["text"]
    if wanted["sshd"]:
        found |= sshd_config.plan(**wanted["sshd"])
    if wanted["slurm_conf"]["manage"] == "enforce":
        found |= slurm_conf.plan(*(wanted["slurm_conf"][name] for name in ("settings", "path", "tag")))
    if wanted["logind"] == "mask":
        units = map(_slurm_pam_wanted.mask, _slurm_pam_wanted.LOGIND_UNITS)
        found |= {path: {"link": os.devnull} for path in units if os.path.lexists(path)}
    return {path: after for path, after in found.items() if file_transaction.read(path) != after}


def undrain() -> str:
    """
    Have Slurm give this node jobs again, if the watch took them from it and finds all well now.

    Returns what the watch says; an empty text if there is none.
    """
    if not os.path.exists(_slurm_pam_wanted.WATCH):
        return ""
    said = _child.ask(_slurm_pam_wanted.WATCH, "--undrain")
    return said.stdout.strip().removeprefix("slurm_pam: ") or _child.reason(said)


# What is looked at


def look(settings: Mapping[str, Any]) -> Accepted:
    """What the node is now, in all that the program looks at under these settings."""
    settings = _slurm_pam_settings.without_nulls(settings)
    globs = _slurm_pam_watched.globs(settings)
    paths = [*_slurm_pam_watched.paths(settings), *(path for each in globs for path in glob.glob(each))]
    return _look((step for path in paths for step in _steps(path)), globs, settings)


def _look(paths: Iterable[str], globs: list[str], settings: Mapping[str, Any]) -> Accepted:
    groups: dict[str, list[str]] = {"files": [], "others": [], "absent": []}
    for path in dict.fromkeys(paths):
        groups[_kind(path)].append(path)
    # A link to a directory does not change with what is in there.
    directories = dict.fromkeys(step for each in globs for step in _steps(os.path.dirname(each)))
    groups |= {"globs": list(map(_pattern, globs)), "directories": list(directories)}
    there = [*groups["files"], *groups["others"]]
    lines = _stat([*there, *groups["absent"], *groups["directories"]])
    checker = next(name for name in _SUMS if _child.which(name) or name == "sha256sum")
    sums = [*(_checkable(path, checker) for path in groups["files"]), *("" for _ in groups["others"])]
    return Accepted(
        quick="\n".join(lines),
        noted="\n".join(f"{of_content}{_UNIT}{line}" for of_content, line in zip(sums, lines, strict=False)),
        listing="\n".join(path for each in globs for path in sorted(glob.glob(each))),
        scontrol=_child.which("scontrol") or "",
        conf=settings["slurm"]["conf"] or "",
        node=settings["pam_slurm_adopt"].get("nodename") or "",
        checker=checker,
        **{name: _joined(group) for name, group in groups.items()},
    )


def _kind(path: str) -> str:
    if os.path.isfile(path):
        return "files"
    return "others" if os.path.lexists(path) else "absent"


def _stat(paths: list[str]) -> list[str]:
    """A line for each path that is there."""
    said = _child.ask("stat", "-c", _LINE, "--", *paths, env=_AS_STAT_QUOTES)
    lines = said.stdout.splitlines()
    if len(lines) != sum(map(os.path.lexists, paths)):
        raise Unanswered(f"stat could not be asked what the watch is to look at: {_child.reason(said)}. Apply again")
    return lines


# The fastest first; b2sum is in coreutils from 8.26 on, which SLE 12 has not.
_SUMS = {
    "b2sum": lambda content: hashlib.blake2b(content, digest_size=32).hexdigest(),
    "sha256sum": lambda content: hashlib.sha256(content).hexdigest(),
}


def _checkable(path: str, checker: str) -> str:
    """As ``b2sum --check`` and its like take it."""
    try:
        with open(path, "rb") as file:
            line = f"{_SUMS[checker](file.read())}  {path}"
    except OSError as error:
        raise Unanswered(f"{path} cannot be read: {error.strerror}. Apply again") from error
    escaped = line.replace("\\", "\\\\").replace("\n", "\\n")
    return line if line == escaped else f"\\{escaped}"


def _pattern(path: str) -> str:
    """What a shell makes the same of as Python."""
    directory = os.path.dirname(path)
    if glob.has_magic(directory) or "\\" in directory:
        raise CommandExecutionError(
            f"{directory!r} has a character in its name that is a wildcard to the watch, which looks for what is new "
            "there. Rename it, and apply again"
        )
    return path


def _split(paths: str) -> list[str]:
    return paths.split(_UNIT)[:-1]


def _joined(paths: Iterable[str]) -> str:
    return "".join(f"{_checked(path)}{_UNIT}" for path in paths)


def _checked(path: str) -> str:
    if _UNIT in path or _GROUP in path:
        raise CommandExecutionError(
            f"{path!r} has a control character in its name that parts paths for the watch. Rename it, and apply again"
        )
    return path


def _steps(path: str) -> Iterator[str]:
    """A path, and each that it leads to as a link; where a mask leads to is new at every boot."""
    for _ in range(_MOST_LINKS):
        if path == os.devnull:
            return
        yield path
        if not os.path.islink(path):
            return
        path = os.path.join(os.path.dirname(path), os.readlink(path))


# While an apply runs


def suspend() -> None:
    """
    From now on, until this process ends or :py:func:`resume` is called, what differs is no drift. Nothing watches an
    image while it is built.

    Raises CommandExecutionError if that cannot be noted.
    """
    if not booted():
        return
    try:
        with open("/proc/uptime", encoding="utf-8") as file:
            now = file.read().partition(".")[0]
        resume()
        _note(f"{os.getpid()} {_processes.look(os.getpid()).ticks} {now}\n", os.O_CREAT)
    except OSError as error:
        raise CommandExecutionError(
            f"{APPLYING} could not be written: {error.strerror}. The watch takes what this apply changes for drift "
            "until it has ended"
        ) from error


def resume() -> None:
    """What differs is drift again, as soon as no other apply runs."""
    others = []
    with contextlib.suppress(OSError):
        lines = _file.text(APPLYING, flags=os.O_NOFOLLOW).splitlines(keepends=True)
        others = list(filter(_is_anothers, lines))
    if others:
        _note("".join(others), os.O_TRUNC)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(APPLYING)


def _note(text: str, flags: int) -> None:
    handle = os.open(APPLYING, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | flags, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)


def _is_anothers(line: str) -> bool:
    """Whether another process noted itself, and still runs."""
    try:
        pid, ticks, _ = map(int, line.split())
    except ValueError:
        return False  # not a line of ours
    process = _processes.look(pid)
    return pid != os.getpid() and process is not None and process.ticks == ticks
