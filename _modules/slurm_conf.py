"""
Read, check and edit slurm.conf the way Slurm itself reads it.

The grammar is that of Slurm's ``src/common/parse_config.c`` and of slurm.conf(5): ``#`` starts a comment unless
escaped, a backslash at the end joins lines, keys are case-insensitive, ``Include`` lines are read in place, and
if a key is given more than once the last value counts.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

import _library

_library.renew(os.path.dirname(__file__))

import _child
import _file
import _text

# A logical line, as parse returns it.
Entry = dict[str, Any]
# A character of a logical line, and where it begins and ends in the text.
Char = tuple[str, int, int]

_UNCOMMENTED = re.compile(r"(?:\\.|[^\\#])*\\?", re.DOTALL)
_CONTINUED = re.compile(r"(?<!\\)(?:\\\\)*(\\)\s*\Z", re.ASCII)
_UNESCAPED = re.compile(r"\\?(.)", re.DOTALL)
_PAIR = re.compile(r'\s*([A-Za-z0-9_.]+)\s*[-*+/]?=\s*(?:"([^"]*)"|(\S+))(?=\s|\Z)', re.ASCII)
# Slurm takes an Include only at the very start of a line.
_INCLUDE = re.compile(r"include\s+(\S+)", re.ASCII | re.IGNORECASE)
_COMMENTED_OUT = re.compile(r"\s*#\s*([A-Za-z0-9_.]+)\s*=", re.ASCII)

BOOLEANS = dict.fromkeys(("yes", "up", "true", "1"), True) | dict.fromkeys(("no", "down", "false", "0"), False)
# Items that say "nothing" and cannot stand in a list beside another one.
_NOTHING = re.compile(r"(?:.*/)?none|\(null\)|", re.IGNORECASE)
# PrologFlags that switch on others, by slurm.conf(5).
_IMPLIED = {"x11": {"contain", "alloc"}, "runinjob": {"contain", "alloc"}, "contain": {"alloc"}}
# PrologFlags that no file may have beside each other (Slurm's src/common/read_config.c).
_EXCLUDED = {"nohold": {"contain", "x11", "runinjob"}, "serial": {"runinjob"}}
# What counts where nothing sets the key, and since which release.
_DEFAULTS = {"proctracktype": ("proctrack/cgroup", (20, 11))}
_PATIENCE = 5  # seconds for slurmd
# From this release on a relative Include starts from slurm.conf's directory; before, from that of its own file.
_ONE_DIRECTORY = (23, 2)

# A local file comes first, then what slurmd keeps on nodes that get their configuration from slurmctld.
_FETCHED = (
    "/run/slurm/conf/slurm.conf",
    "/var/spool/slurmd/conf-cache/slurm.conf",
    "/var/spool/slurm/d/conf-cache/slurm.conf",
    "/var/lib/slurm/slurmd/conf-cache/slurm.conf",
)
_PATHS = ("/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf", "/usr/local/etc/slurm.conf", *_FETCHED)


def parse(text: str) -> list[Entry]:
    """
    Split the text of a slurm.conf into entries, one for each logical line, without losing a byte.

    text
        The text of a file.

    Returns a list of dicts whose ``text`` joined gives the input. Each has ``text``, ``line`` (first physical line)
    and ``kind``: setting, include, comment, blank or invalid. A setting has ``key``, ``value`` (unescaped, without
    quotes), ``quoted`` and ``span`` (where the value stands in ``text``); an include has ``path`` as written.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_conf.parse text=PrologFlags=Contain

    .. versionadded:: 1.0.0
    """
    entries: list[Entry] = []
    chars: list[Char] = []
    raw, first = "", 1
    for number, physical in enumerate(_text.lines(text), 1):
        kept = _UNCOMMENTED.match(physical).group()
        more = _CONTINUED.search(kept)
        kept = kept[: more.start(1)] if more else kept
        chars += [(m.group(1), len(raw) + m.start(), len(raw) + m.end()) for m in _UNESCAPED.finditer(kept)]
        raw += physical
        if not more:
            entries.append(_entry(raw, first, chars))
            raw, chars, first = "", [], number + 1
    return entries + ([_entry(raw, first, chars)] if raw else [])


def _entry(raw: str, line: int, chars: Sequence[Char]) -> Entry:
    """One logical line."""
    logical = "".join(char for char, _, _ in chars)
    entry = {"text": raw, "line": line}
    if not logical.strip():
        return entry | {"kind": "comment" if "#" in raw else "blank"}
    if include := _INCLUDE.match(logical):
        return entry | {"kind": "include", "path": include.group(1)}
    pair = _PAIR.match(logical)
    if not pair:
        return entry | {"kind": "invalid"}
    group = 2 if pair.group(2) is not None else 3
    start = chars[pair.start(group)][1]
    end = chars[pair.end(group) - 1][2] if pair.group(group) else start
    found = {"key": pair.group(1), "value": pair.group(group), "quoted": group == 2, "span": (start, end)}
    return entry | {"kind": "setting"} | found


def find(path: str | None = None) -> str:
    """
    Return the path of this node's slurm.conf: ``$SLURM_CONF``, one of the usual places, or the copy that slurmd keeps
    on a node without a file of its own ("configless").

    path
        The one file to look for instead.

    Raises CommandExecutionError if there is none.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_conf.find

    .. versionadded:: 1.0.0
    """
    places = [path] if path else [p for p in (os.environ.get("SLURM_CONF"), *_PATHS) if p]
    for place in places:
        if os.path.isfile(place):
            return place
    raise CommandExecutionError(f"No slurm.conf here: looked for {', '.join(places)}")


def effective(path: str | None = None) -> dict[str, dict[str, Any]]:
    """
    Return what slurm.conf and the files it includes say.

    path
        The file to read, by default the one that :py:func:`find` names.

    Returns ``{key in lower case: {key, value, file, line, source}}``. Keys that may stand more than once (NodeName and
    the like) are there with their last value.

    Raises CommandExecutionError, naming file and line, for an Include that cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_conf.effective path=/etc/slurm/slurm.conf

    .. versionadded:: 1.0.0
    """
    values = {}
    for file, entry in _reading_order(find(path), {}):
        if entry["kind"] == "setting":
            at = {"file": file, "line": entry["line"], "source": f"{file}:{entry['line']}"}
            values[entry["key"].lower()] = {"key": entry["key"], "value": entry["value"], **at}
    return values


def _reading_order(
    path: str, files: dict[str, list[Entry]], origin: str | None = None, within: tuple[str, ...] = ()
) -> list[tuple[str, Entry]]:
    """The entries of a file with its includes in place, as (file, entry); ``files`` collects each file's entries."""
    if path in within:
        raise CommandExecutionError(f"{origin}: Include {path} includes itself")
    if path not in files:
        try:
            files[path] = parse(_file.text(path))
        except OSError as error:
            raise CommandExecutionError(f"{origin or path}: cannot read {path}: {error.strerror}") from error
    order = []
    for entry in files[path]:
        order.append((path, entry))
        if entry["kind"] == "include":
            here = f"{path}:{entry['line']}"
            target = _expand(entry["path"], order, here)
            target = os.path.join(_base(target, (*within, path)), target)
            entry["target"] = target
            order += _reading_order(target, files, here, (*within, path))
    return order


def _base(target: str, within: Sequence[str]) -> str:
    """The directory that a relative Include starts from; ``within`` is the way from slurm.conf to its file."""
    main, own = os.path.dirname(within[0]), os.path.dirname(within[-1])
    if main == own or os.path.isabs(target):
        return own
    release = _release()
    return main if release and release >= _ONE_DIRECTORY else own


def _release() -> tuple[int, ...] | None:
    """The release of the installed Slurm, such as (22, 5); None if nothing tells. Asked only where it matters."""
    try:
        told = version()
    except CommandExecutionError:
        return None
    return tuple(map(int, told.split(".")[:2])) if told else None


def _by_default(key: str) -> str | None:
    """The value of a key that nothing sets, as far as it is known for the installed release."""
    value, since = _DEFAULTS.get(key.lower(), (None, ()))
    release = _release() if value else None
    return value if release and release >= since else None


def _expand(path: str, order: Sequence[tuple[str, Entry]], here: str) -> str:
    """``%c`` in an Include is the ClusterName read so far, in lower case."""
    if "%c" not in path:
        return path
    for _, entry in reversed(order):
        if entry.get("key", "").lower() == "clustername":
            return path.replace("%c", entry["value"].lower())
    raise CommandExecutionError(f"{here}: Include {path} needs ClusterName above it")


def config(
    path: str | None = None, timeout: float = 5, unanswered: list[str] | None = None
) -> dict[str, dict[str, Any]]:
    """
    Return the configuration in effect: what ``scontrol show config`` says if slurmctld answers, else what the file
    says, as in :py:func:`effective`.

    path
        The slurm.conf, by default the one that :py:func:`find` names.
    timeout
        How many seconds slurmctld has to answer.
    unanswered
        A list that gets the reason if slurmctld did not answer, so that only the file is known; for callers in Python.

    Returns ``{key in lower case: {key, value, source}}``.

    Raises CommandExecutionError if there is no slurm.conf, or one that cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_conf.config timeout=2

    .. versionadded:: 1.0.0
    """
    path = find(path)
    try:
        shown = _shown(path, timeout)
    except CommandExecutionError as error:
        if unanswered is not None:
            unanswered.append(str(error))
        return effective(path)
    return {key.lower(): {"key": key, "value": value, "source": "scontrol show config"} for key, value in shown.items()}


def _shown(path: str, timeout: float) -> dict[str, str]:
    """What slurmctld says. Raises CommandExecutionError if it cannot be asked or says nothing."""
    scontrol = _child.which("scontrol") or "scontrol"
    said = _child.ask(scontrol, "show", "config", env={"SLURM_CONF": path}, timeout=timeout)
    shown = dict(re.findall(r"^(\w+)\s+= (.*?)\s*$", said.stdout, re.MULTILINE))
    if said.returncode or not shown:
        raise CommandExecutionError(f"scontrol show config: {_child.reason(said)}")
    return shown


def version() -> str | None:
    """
    Return the version of the installed Slurm, such as ``22.05.8``; None if slurmd is not installed.

    Raises CommandExecutionError if slurmd does not say it.

    Source: slurmd(8), -V. It is asked once for as long as it stays the same file.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_conf.version

    .. versionadded:: 1.1.0
    """
    slurmd = _child.which("slurmd")
    return _version_of(slurmd, os.stat(slurmd).st_mtime_ns) if slurmd else None


@functools.lru_cache(maxsize=1)
def _version_of(slurmd: str, _changed: int) -> str:
    said = _child.ask(slurmd, "-V", timeout=_PATIENCE)
    if said.returncode:
        raise CommandExecutionError(f"{slurmd} -V: {_child.reason(said)}")
    if found := re.search(r"\d+\.\d+(?:\.\d+)?", said.stdout):
        return found[0]
    raise CommandExecutionError(f"{slurmd} -V says {said.stdout.strip()[:80]!r}")


def check(
    wanted: Mapping[str, Any], path: str | None = None, timeout: float = 5, unanswered: list[str] | None = None
) -> list[dict[str, Any]]:
    """
    Return the settings that are not in effect.

    wanted
        ``{key: value}``. A list means that these must be among the key's values, anything else that the value is this
        one, both without regard to case; yes, true and 1 are the same to Slurm, and so they are here. None leaves the
        key alone.
    path, timeout, unanswered
        As for :py:func:`config`.

    Returns a list of ``{key, wanted, found, source}``, empty if every setting is in effect. ``found`` is None if
    nothing sets the key. One of Slurm's defaults counts: ProctrackType is proctrack/cgroup from 20.11 on.

    Raises SaltInvocationError for a key or value that slurm.conf cannot have.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_conf.check '{"PrologFlags": ["Contain"], "ProctrackType": "proctrack/cgroup"}'

    .. versionadded:: 1.0.0
    """
    wanted = _validated(wanted)
    values = config(path, timeout, unanswered)
    told = next((value["source"] for value in values.values() if "line" not in value), None)
    missing = {"value": None, "source": told or find(path)}
    findings = []
    for key, value in wanted.items():
        found = values.get(key.lower(), missing)
        now = found["value"]
        if not _holds(key, _by_default(key) if now is None else now, value):
            findings.append({"key": key, "wanted": value, "found": found["value"], "source": found["source"]})
    return findings


def _holds(key: str, found: str | None, wanted: Any) -> bool:
    if found is None:
        return False
    plugin = key.lower() == "taskplugin"
    if isinstance(wanted, list) or plugin:
        items = {_item(key, item) for item in _items(found)}
        if key.lower() == "prologflags":
            items = items.union(*(_IMPLIED.get(item, ()) for item in items))
        asked = {_item(key, item) for item in _items(wanted)}
        return items.issuperset(asked) if isinstance(wanted, list) else items == asked
    return _normal(found) == _normal(wanted)


def _item(key: str, word: str) -> str:
    """An item of a list as it is compared. TaskPlugin's alone may do without ``task/`` (Slurm's task_plugin.c)."""
    word = word.lower()
    return word.removeprefix("task/") if key.lower() == "taskplugin" else word


def _normal(value: str | int | bool) -> str | bool:
    word = str(value).lower()
    return BOOLEANS.get(word, word)


def _validated(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that are None."""
    if not isinstance(wanted, Mapping):
        raise SaltInvocationError(f"settings: {wanted!r} is not a mapping of slurm.conf keys to values")
    wanted = {key: value for key, value in wanted.items() if value is not None}
    for key, value in wanted.items():
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9_.]+", key):
            raise SaltInvocationError(f"settings: {key!r} is not a slurm.conf key (letters, digits, _ and .)")
        if isinstance(value, list):
            good = value and all(isinstance(item, str) and re.fullmatch(r'[^",\s]+', item) for item in value)
        else:
            good = isinstance(value, (str, int)) and re.fullmatch(r'[^"\n]*[^"\s]', str(value))
        if not good:
            raise SaltInvocationError(f"settings: {key}: {value!r} is not allowed: give a value or a list of words")
    return wanted


def edit(text: str, wanted: Mapping[str, Any], tag: str = "salt") -> str:
    """
    Return the text of one slurm.conf with these settings in it.

    Nothing else changes: comments, blanks, order and the list values found stay. A line that is changed is kept in a
    comment above it, headed by the tag. A key that is not there goes below its commented-out line, or to the end, below
    a comment that says so. Edits with this tag of keys that are not wanted are taken back, so with no key at all the
    text is again what it was, to the byte.

    slurmctld compares every byte of its slurm.conf with that of each node, comments included, and logs each node that
    differs (slurm.conf(5), ``DebugFlags=NO_CONF_HASH``): the whole cluster needs the same text.

    text
        The text of a file.
    wanted
        As for :py:func:`check`.
    tag
        A word that marks what is written as ours.

    Raises SaltInvocationError for what slurm.conf cannot have, and what cannot be a tag.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_conf.edit text=PrologFlags=Alloc wanted='{"PrologFlags": ["Contain"]}'

    .. versionadded:: 1.0.0
    """
    wanted = _validated(wanted)
    entries = _taken_back(parse(text), wanted, tag)
    _apply(entries, entries, wanted, tag)
    return _render(entries)


def plan(wanted: Mapping[str, Any], path: str | None = None, tag: str = "salt") -> dict[str, str]:
    """
    Return the files to write so that slurm.conf and the files it includes have these settings. A key is changed in the
    file where its effective value stands, and edits with this tag of other keys are taken back (see :py:func:`edit`).

    wanted
        As for :py:func:`check`.
    path
        The slurm.conf, by default the one that :py:func:`find` names.
    tag
        A word that marks what is written as ours.

    Returns ``{path: text}``, empty if nothing is to be done.

    Raises CommandExecutionError on a node that gets its slurm.conf from slurmctld: it has to be changed there. Also if
    a wanted item and one found in the list exclude each other.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_conf.plan '{"PrologFlags": ["Contain"]}'

    .. versionadded:: 1.0.0
    """
    wanted = _validated(wanted)
    try:
        path = find(path)
    except CommandExecutionError:
        if wanted:
            raise
        return {}
    files: dict[str, list[Entry]] = {}
    _reading_order(path, files)
    before = {file: _render(entries) for file, entries in files.items()}
    files = {file: _taken_back(entries, wanted, tag) for file, entries in files.items()}
    order = _reading_order(path, files)
    _refuse_contradictions(order, wanted)
    _apply([entry for _, entry in order], files[path], wanted, tag, defaults=True)
    changed = {file: _render(entries) for file, entries in files.items() if _render(entries) != before[file]}
    if changed and (path in _FETCHED or "/conf-cache/" in os.path.realpath(path)):
        raise CommandExecutionError(f"{path} comes from slurmctld: change slurm.conf there")
    return changed


def _refuse_contradictions(order: Sequence[tuple[str, Entry]], wanted: Mapping[str, Any]) -> None:
    """Raise for PrologFlags that exclude each other once the wanted ones are among those found."""
    for value in (value for key, value in wanted.items() if key.lower() == "prologflags"):
        found = [(file, entry) for file, entry in order if entry.get("key", "").lower() == "prologflags"]
        words = _merged("PrologFlags", found[-1][1]["value"], value) if found else _items(value)
        place = f" ({found[-1][0]}:{found[-1][1]['line']})" if found else ""
        for one in words:
            others = [word for word in words if word.lower() in _EXCLUDED.get(one.lower(), ())]
            if others:
                raise CommandExecutionError(
                    f"PrologFlags{place} would be {','.join(words)}, and {one} excludes {' and '.join(others)}: every "
                    f"Slurm program ends with a fatal error on such a file. Take {one} out on the whole cluster first"
                )


def _items(value: Any) -> list[str]:
    return list(value) if isinstance(value, list) else [item.strip() for item in str(value).split(",")]


def _merged(key: str, found: str, wanted: Any) -> list[str]:
    """The items of a value with the wanted ones among them; a wanted value that is not a list takes its place."""
    if not isinstance(wanted, list):
        return _items(wanted)
    kept = [item for item in _items(found) if not _NOTHING.fullmatch(item)]
    there = {_item(key, item) for item in kept}
    return kept + [item for item in wanted if _item(key, item) not in there]


def test_config(path: str | None = None, files: Mapping[str, str] | None = None, timeout: float = 10) -> bool | None:
    """
    Return True if Slurm's own parser accepts slurm.conf and the files it includes; None if there is no scontrol to ask.

    Nothing but scontrol's own start is asked: slurmctld is not. Every Slurm program, pam_slurm_adopt among them, reads
    the file in the same way and ends with a fatal error on one it does not accept.

    path
        The slurm.conf, by default the one that :py:func:`find` names.
    files
        ``{path: text}`` to try in place of what these files have now, as :py:func:`plan` returns them.
    timeout
        How many seconds scontrol has.

    Raises CommandExecutionError with Slurm's words if it does not accept the text, or cannot be asked.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_conf.test_config

    .. versionadded:: 1.1.0
    """
    path = find(path)
    scontrol = _child.which("scontrol")
    if not scontrol:
        return None
    with tempfile.TemporaryDirectory(prefix="slurm_conf-") as place:
        copies = _copied(path, files or {}, place)
        # Of all that scontrol can be asked, this needs no slurmctld in any release.
        said = _child.ask(scontrol, "show", "hostnames", "n1", env={"SLURM_CONF": copies[path]}, timeout=timeout)
    if said.returncode:
        words = "; ".join(said.stderr.split("\n")).strip("; ") or f"exit status {said.returncode}"
        for real, copy in copies.items():
            words = re.sub(rf"{re.escape(copy)}\b", lambda _, real=real: real, words)
        raise CommandExecutionError(f"scontrol does not accept {path} as it would be: {words}")
    return True


def _copied(path: str, files: Mapping[str, str], place: str) -> dict[str, str]:
    """
    Write what is read of slurm.conf into a directory, each Include with the path of its copy, so that all resolve as in
    the real place and lines keep their numbers. What stands beside slurm.conf (cgroup.conf, keys) is linked.

    Returns ``{path: its copy}``.
    """
    parsed = {file: parse(text) for file, text in files.items()}
    _reading_order(path, parsed)
    parts = [file for file in parsed if file != path]
    copies = {path: f"{place}/slurm.conf"} | {file: f"{place}/.{number}" for number, file in enumerate(parts)}
    for neighbour in os.scandir(os.path.dirname(path) or "."):
        # Whoever can make files there may have one of any name.
        if (link := f"{place}/{neighbour.name}") not in copies.values():
            os.symlink(os.path.abspath(neighbour.path), link)
    for file, copy in copies.items():
        lines = (_redirected(entry, copies) for entry in parsed[file])
        with open(copy, "x", encoding="utf-8", errors="surrogateescape", newline="") as out:
            out.writelines(lines)
    return copies


def _redirected(entry: Entry, copies: Mapping[str, str]) -> str:
    """A line as its copy has it: an Include names the copy, in as many physical lines as it had."""
    if entry["kind"] != "include":
        return entry["text"]
    return f"Include {copies[entry['target']]}" + "\\\n" * (entry["text"].count("\n") - 1) + "\n"


def _render(entries: Iterable[Entry]) -> str:
    return "".join(entry["text"] for entry in entries)


def _taken_back(entries: Sequence[Entry], wanted: Mapping[str, Any], tag: str) -> list[Entry]:
    """
    The entries without our edits of keys that are not wanted. If an edit stays, its comment and its line are one entry,
    flagged ``ours``.
    """
    if not re.fullmatch(r"[\w.-]+", tag):
        raise SaltInvocationError(f"tag: {tag!r} is not allowed: give one word of letters, digits, _, - and .")
    marker = re.compile(rf"# {re.escape(tag)} (was|added): (.*\n)", re.DOTALL)
    kept = {key.lower() for key in wanted}
    back: list[Entry] = []
    marks: list[Entry] = []
    keys: set[str] = set()
    was = ""
    for entry in [*entries, {"text": ""}]:
        if mark := marker.fullmatch(entry["text"]):
            marks.append(entry)
            if mark.group(1) == "was":
                was += mark.group(2)
            else:
                keys.add(mark.group(2).strip().lower())
            continue
        keys.update(old["key"].lower() for old in parse(was) if "key" in old)
        key = entry.get("key", "").lower()
        if key in keys & kept:
            above = _render(marks)
            span = tuple(len(above) + place for place in entry["span"])
            back.append(entry | {"text": above + entry["text"], "span": span, "ours": True})
        elif key in keys:
            back += parse(was if entry["text"].endswith("\n") else was.removesuffix("\n"))
        else:
            back += [*parse(was), entry]
        marks, keys, was = [], set(), ""
    return back[:-1]


def _apply(
    order: Sequence[Entry], home: list[Entry], wanted: Mapping[str, Any], tag: str, defaults: bool = False
) -> None:
    """
    Make ``wanted`` hold: in the entry that counts, the last of ``order``; else as a new entry in ``home``, unless this
    node's Slurm has it by default and ``defaults`` count.
    """
    for key, value in wanted.items():
        entry = next((entry for entry in reversed(order) if entry.get("key", "").lower() == key.lower()), None)
        if entry is None and defaults and _holds(key, _by_default(key), value):
            continue
        if entry is None:
            line = f"{key}={_written(','.join(value) if isinstance(value, list) else value)}\n"
            home.insert(_place(home, key), {"text": f"# {tag} added: {key}\n{line}", "kind": "setting"})
        elif not _holds(key, entry["value"], value):
            was = "".join(f"# {tag} was: {line}" for line in _text.lines(entry["text"]))
            _replace(entry, value)
            if "ours" not in entry:
                entry["text"] = was.removesuffix("\n") + "\n" + entry["text"]


def _replace(entry: Entry, wanted: Any) -> None:
    start, end = entry["span"]
    new = wanted
    if isinstance(wanted, list):
        found, items = _items(entry["value"]), _merged(entry["key"], entry["value"], wanted)
        new = ",".join(items)
        if items[: len(found)] == found:
            # Appended in place, so that the lines it may be joined from stay.
            start, new = end, "," + ",".join(items[len(found) :])
    new = _written(new, entry["quoted"])
    entry["text"] = entry["text"][:start] + new + entry["text"][end:]


def _written(value: str | int | bool, quoted: bool = False) -> str:
    """A value as it stands in the file."""
    word = re.sub(r"([\\#])", r"\\\1", str(int(value)) if isinstance(value, bool) else str(value))
    return f'"{word}"' if re.search(r"\s", word) and not quoted else word


def _place(entries: Sequence[Entry], key: str) -> int:
    """The index before which a new line goes."""
    at = len(entries)
    for index, entry in enumerate(entries):
        commented = _COMMENTED_OUT.match(entry["text"])
        if entry["kind"] == "comment" and commented and commented.group(1).lower() == key.lower():
            at = index + 1
    # A last line without newline, or one that ends in a backslash, would take the new line in.
    last = entries[at - 1]["text"] if at else "\n"
    return at - 1 if len(parse(last + "#")) == len(parse(last)) else at
