"""
Read, check and edit the configuration of sshd.

For each keyword the first value counts, what follows a Match line belongs to it, and Include lines are read in
place: sshd_config(5). What a value means is never decided here: sshd is asked, by ``sshd -t`` and ``sshd -T``, and
it can be asked about files that are not yet written.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

import _library

_library.renew(os.path.dirname(__file__))

import _child

# A line, as parse returns it.
Entry = dict[str, Any]
# What is to be at each path, None where nothing is; laid over the real files.
Files = Mapping[str, str | None]

# The vendor's file is read where there is none in /etc (openSUSE, SLE 16), and is never edited.
_VENDOR = "/usr/etc/ssh/sshd_config"
_MAIN = ("/etc/ssh/sshd_config", _VENDOR)
_INCLUDE_BASE = "/etc/ssh"
_INCLUDE_DEPTH = 16
# Seconds for sshd to answer: it looks up the names in ListenAddress, and a name server may be dead.
_PATIENCE = 120

# Names of one and the same option, as OpenSSH's servconf.c has them; sshd -T prints the newer one.
_ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
    "hostbasedacceptedkeytypes": "hostbasedacceptedalgorithms",
    "hostdsakey": "hostkey",
    "keepalive": "tcpkeepalive",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
}

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_DIRECTIVE = re.compile(r'[ \t\r]*("?)([A-Za-z0-9]+)\1(?:[ \t]*=[ \t]*|[ \t]+)')
_WORD = re.compile(r"""\s*((?!\#)(?:"[^"\n]*"|'[^'\n]*'|[^\s"'])+)""")
_COMMENTED_OUT = re.compile(r"[ \t]*#[ \t]*([A-Za-z0-9]+)\b")


def parse(text: str) -> list[Entry]:
    """
    Split the text of an sshd_config into its lines, without losing a byte.

    text
        The text of a file.

    Returns a list of dicts whose ``text`` joined gives the input. Each has ``text``, ``line`` and ``kind``: setting,
    include, match, comment, blank or invalid. All but the last three have ``keyword`` (lower case, the newer of two
    names), ``name`` (as written), ``words`` (the value, without quotes) and ``span`` (where it stands in ``text``).

    Source: sshd_config(5), and ``process_server_config_line`` in OpenSSH's servconf.c.

    CLI Example:

    .. code-block:: bash

        salt-call sshd_config.parse 'PermitRootLogin no'

    .. versionadded:: 1.0.0
    """
    return [{"text": raw, "line": number} | _meaning(raw) for number, raw in enumerate(_LINE.findall(text), 1)]


def _meaning(raw: str) -> Entry:
    if not raw.strip():
        return {"kind": "blank"}
    if raw.lstrip().startswith("#"):
        return {"kind": "comment"}
    directive = _DIRECTIVE.match(raw)
    words, at = [], directive.end() if directive else 0
    while directive and (word := _WORD.match(raw, at)):
        words.append(word)
        at = word.end()
    if not words or not re.match(r"\s*(#|\Z)", raw[at:]):
        return {"kind": "invalid"}
    keyword = _keyword(directive.group(2))
    return {
        "kind": keyword if keyword in ("include", "match") else "setting",
        "keyword": keyword,
        "name": directive.group(2),
        "words": [re.sub(r"[\"']", "", word.group(1)) for word in words],
        "span": (words[0].start(1), words[-1].end(1)),
    }


def _keyword(name: str) -> str:
    return _ALIASES.get(name.lower(), name.lower())


def find(config: str | None = None) -> str:
    """
    Return the path of the main configuration file that sshd reads.

    config
        The one file to look for; by default each that sshd reads.

    Raises CommandExecutionError if there is none.

    CLI Example:

    .. code-block:: bash

        salt-call sshd_config.find

    .. versionadded:: 1.0.0
    """
    places = [config] if config else _MAIN
    for place in places:
        if os.path.isfile(place):
            return place
    raise CommandExecutionError(f"No sshd_config here: looked for {', '.join(places)}")


def _reading_order(path: str, files: Files, match: bool = False, depth: int = 0) -> list[Entry]:
    """
    Every line in the order in which sshd reads it, includes in place, each with its ``file``, with the ``targets`` of
    an Include, and with ``match`` if it holds for some connections only.
    """
    order = []
    for entry in parse(_read(path, files)):
        match = match or entry["kind"] == "match"
        targets = _included(entry, files, depth) if entry["kind"] == "include" else []
        order.append(entry | {"file": path, "match": match, "targets": targets})
        for target in targets:
            order += _reading_order(target, files, match, depth + 1)
    return order


def _settings(main: str, files: Files) -> list[Entry]:
    return [entry for entry in _reading_order(main, files) if entry["kind"] == "setting"]


def _included(entry: Entry, files: Files, depth: int) -> list[str]:
    """The files that an Include line names, in sshd's order."""
    if depth == _INCLUDE_DEPTH:
        raise CommandExecutionError(f"Include {' '.join(entry['words'])}: more than {_INCLUDE_DEPTH} deep")
    order = []
    for word in entry["words"]:
        pattern = os.path.join(_INCLUDE_BASE, word)
        paths = set(glob.glob(pattern)) | {p for p in files if _matches(p, pattern)}
        order += sorted(p for p in paths if files.get(p, "") is not None)
    return order


def _matches(path: str, pattern: str) -> bool:
    """Like glob(3), of which a ``*`` does not reach over a slash."""
    parts = path.split("/"), pattern.split("/")
    return len(parts[0]) == len(parts[1]) and all(map(fnmatch.fnmatchcase, *parts))


def edit(text: str, options: Mapping[str, Any], tag: str = "salt") -> str:
    """
    Return the text with these options set where they are sure to count: ahead of the first Include and Match.

    A line there that sets the keyword gets the value; its spacing and comment stay, and a comment above it, headed by
    the tag, keeps the line that it was. A keyword that is missing goes below its commented-out line, else to the end of
    that part, below a comment that says so. Every earlier edit with this tag is taken back first, so that
    :py:func:`unedit` gives back what was there.

    text
        The text of a file.
    options
        ``{keyword: value}``. A value is a string, a number, a boolean, a list of words, or None to leave the keyword
        alone.
    tag
        A word that marks what is written as ours.

    Raises SaltInvocationError for what cannot be an option or a tag.

    CLI Example:

    .. code-block:: bash

        salt-call sshd_config.edit 'PermitRootLogin yes' '{"PermitRootLogin": false}'

    .. versionadded:: 1.0.0
    """
    written = _validated(options)
    entries = parse(unedit(text, tag))
    head = next((i for i, entry in enumerate(entries) if entry["kind"] in ("include", "match")), len(entries))
    added = [""] * (len(entries) + 1)
    for name, value in written.items():
        entry = next((entry for entry in entries[:head] if entry.get("keyword") == _keyword(name)), None)
        if entry is None:
            added[_place(entries, head, name)] += f"# {tag} added: {name}\n{name} {value}\n"
        elif entry["text"][slice(*entry["span"])] != value:
            was = entry["text"]
            start, end = entry["span"]
            line = was[:start] + value + was[end:]
            # An older sshd has two options where a newer one has two names.
            if entry["name"].lower() != name.lower():
                line = line.replace(entry["name"], name, 1)
            entry["text"] = f"# {tag} was: {was.removesuffix(chr(10))}\n{line}"
    return "".join(new + entry["text"] for new, entry in zip(added, [*entries, {"text": ""}], strict=True))


def _place(entries: Sequence[Entry], head: int, name: str) -> int:
    """The index before which a new line goes."""
    at = head
    for index, entry in enumerate(entries[:head]):
        commented = _COMMENTED_OUT.match(entry["text"])
        if commented and _keyword(commented.group(1)) == _keyword(name):
            at = index + 1
    # Nothing can follow a last line without a newline, and it gets none.
    return at - 1 if at and not entries[at - 1]["text"].endswith("\n") else at


def unedit(text: str, tag: str = "salt") -> str:
    """
    Return the text with every edit of this tag taken back: if nobody changed it since, it is what it was, to the byte.

    text, tag
        As for :py:func:`edit`.

    Raises SaltInvocationError for what cannot be a tag.

    CLI Example:

    .. code-block:: bash

        salt-call sshd_config.unedit "$(cat /etc/ssh/sshd_config)" tag=salt

    .. versionadded:: 1.0.0
    """
    if not re.fullmatch(r"[\w.-]+", tag):
        raise SaltInvocationError(f"tag: {tag!r} is not allowed: give one word of letters, digits, _, - and .")
    marker = re.compile(rf"# {re.escape(tag)} (was|added): (.*)\n", re.DOTALL)
    kept, lines = [], _LINE.findall(text)
    while lines:
        line = lines.pop(0)
        marked = marker.fullmatch(line)
        if not marked:
            kept.append(line)
            continue
        kind, was = marked.groups()
        name = _meaning(f"{was} yes" if kind == "added" else was).get("keyword")
        ours = lines.pop(0) if lines and _meaning(lines[0]).get("keyword") == name else "\n"
        if kind == "was":
            kept.append(was + ("\n" if ours.endswith("\n") else ""))
    return "".join(kept)


def plan(
    options: Mapping[str, Any], config: str | None = None, drop_in: str | None = None, tag: str = "salt"
) -> dict[str, str | None]:
    """
    Return the files to write so that these options count. That is the drop-in if sshd reads it before anything else
    that sets one of the options, else the main file (see :py:func:`edit`).

    options, tag
        As for :py:func:`edit`. No options means to take back what there is with this tag.
    config
        The main file; by default the one that sshd reads.
    drop_in
        The path of the drop-in, None for none.

    Returns ``{path: text, or None to remove it}``, empty if nothing is to be done.

    Raises CommandExecutionError if that is impossible, naming what is in the way.

    CLI Example:

    .. code-block:: bash

        salt-call sshd_config.plan '{"X11Forwarding": false}' drop_in=/etc/ssh/sshd_config.d/00-salt.conf

    .. versionadded:: 1.0.0
    """
    written = _validated(options)
    try:
        main = find(config)
    except CommandExecutionError:
        if written:
            raise
        main = None
    now = {path: _read(path) for path in (main, drop_in) if path and os.path.lexists(path)}
    header = f"# Managed by Salt ({tag}): changes here are lost.\n"
    ours = now.get(drop_in, header).startswith(header)
    if written and not ours:
        raise CommandExecutionError(f"{drop_in} is there and is not managed with tag {tag}: move it away")
    after = {drop_in: None} if drop_in and ours else {}
    if main:
        after[main] = unedit(now[main], tag)
    if written:
        trial = after | ({drop_in: header + "".join(f"{k} {v}\n" for k, v in written.items())} if drop_in else {})
        first = {s["keyword"]: s["file"] for s in reversed(_settings(main, trial)) if not s["match"]}
        beaten = [name for name in written if first.get(_keyword(name)) != drop_in or not drop_in]
        if beaten and main == _VENDOR:
            raise CommandExecutionError(f"{drop_in} comes too late for {beaten[0]}, and {main} is not to be edited")
        after = after | {main: edit(now[main], options, tag)} if beaten else trial
    # What is to be removed comes last: its options count from elsewhere by then.
    order = sorted(after, key=lambda path: after[path] is None)
    return {path: after[path] for path in order if after[path] != now.get(path)}


def check(
    options: Mapping[str, Any], config: str | None = None, files: Files | None = None, connection: str | None = None
) -> list[dict[str, Any]]:
    """
    Return the options that would not count. What sshd itself makes of the options alone is what is wanted, so that its
    other spellings (``without-password``) are equal.

    options
        As for :py:func:`edit`.
    config, files, connection
        As for :py:func:`effective`.

    Returns a list of ``{option, wanted, found, by}``, empty if every option is in effect; ``by`` is the file and line
    that sets it otherwise, or None.

    Raises CommandExecutionError if sshd refuses the options, or the configuration with them.

    CLI Example:

    .. code-block:: bash

        salt-call sshd_config.check '{"PermitRootLogin": "prohibit-password"}'

    .. versionadded:: 1.0.0
    """
    written = _validated(options)
    main = find(config)
    wanted, found = _alone(written), effective(main, connection, files)
    order = _settings(main, files or {})
    findings = []
    for name, value in written.items():
        key = name.lower() if name.lower() in wanted else _keyword(name)
        # sshd took the line and does otherwise.
        flipped = {value, *wanted.get(key, ())} == {"yes", "no"}
        if flipped or wanted.get(key) != found.get(key):
            others = [line for line in order if line["keyword"] == _keyword(name) and " ".join(line["words"]) != value]
            by = f"{others[0]['file']}:{others[0]['line']}" if others else None
            findings.append({"option": name, "wanted": value, "found": " ".join(found.get(key, ["not set"])), "by": by})
    return findings


def _alone(written: Mapping[str, str]) -> dict[str, list[str]]:
    """What sshd makes of these options, and of nothing else."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="sshd_config.") as file:
        file.writelines(f"{name} {value}\n" for name, value in written.items())
        file.flush()
        said = _sshd("-T", "-f", file.name)
    if said.returncode:
        line = re.search(r"line (\d+)", said.stderr)
        named = list(written)[int(line.group(1)) - 1] if line else ", ".join(written)
        says = said.stderr.strip().replace(file.name, "options")
        raise CommandExecutionError(f"sshd refuses {named} {written.get(named, '')}: {says}")
    return _values(said.stdout)


def effective(
    config: str | None = None, connection: str | None = None, files: Files | None = None
) -> dict[str, list[str]]:
    """
    Return the values that count, as ``sshd -T`` prints them.

    config
        The main file; by default the one that sshd reads.
    connection
        What the Match lines are held against, as for ``sshd -C`` ("user=root,host=h,addr=192.0.2.1"). Without it they
        do not count.
    files
        ``{path: text, or None for "not there"}``, laid over the real files.

    Returns ``{keyword in lower case: [value, ...]}``.

    Raises CommandExecutionError with sshd's words if it refuses the configuration.

    CLI Example:

    .. code-block:: bash

        salt-call sshd_config.effective connection=user=root,host=h,addr=192.0.2.1

    .. versionadded:: 1.0.0
    """
    # If it is told nothing, sshd itself takes no Match line to hold, but stops at one with LocalPort.
    return _values(_asked(config, files, "-T", "-C", connection or "lport=65535"))


def test_config(config: str | None = None, files: Files | None = None) -> bool:
    """
    Return True if ``sshd -t`` accepts the configuration.

    config, files
        As for :py:func:`effective`.

    Raises CommandExecutionError with sshd's words if it does not.

    CLI Example:

    .. code-block:: bash

        salt-call sshd_config.test_config

    .. versionadded:: 1.0.0
    """
    _asked(config, files, "-t")
    return True


def _asked(config: str | None, files: Files | None, *arguments: str) -> str:
    """What sshd prints about the whole configuration, copied to where ``files`` can lie over it."""
    main = find(config)
    with tempfile.TemporaryDirectory(prefix="sshd_config.") as scratch:
        texts: dict[str, dict[int, Entry]] = {main: {}}
        for entry in _reading_order(main, files or {}):
            texts.setdefault(entry["file"], {})[entry["line"]] = entry
        copies = {path: os.path.join(scratch, str(number)) for number, path in enumerate(texts)}
        for path, entries in texts.items():
            with open(copies[path], "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.writelines(_pointed(entry, copies) for entry in entries.values())
        said = _sshd("-f", copies[main], *arguments)
    if said.returncode:
        says = said.stderr.strip()
        for path, copy in copies.items():
            says = re.sub(rf"{re.escape(copy)}\b", lambda _, path=path: path, says)
        raise CommandExecutionError(f"sshd refuses the configuration: {says}")
    return said.stdout


def _pointed(entry: Entry, copies: Mapping[str, str]) -> str:
    """The line as it stands in the copy: an Include points to the copies, everything else stays."""
    if entry["kind"] != "include":
        return entry["text"]
    targets = [copies[target] for target in entry["targets"] if target in copies]
    return f"Include {' '.join(targets)}\n" if targets else "#\n"


def _sshd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What sshd says. What only its first start makes must not stand in the way."""
    sshd = _child.which("sshd")
    if not sshd:
        raise CommandExecutionError("sshd is not installed")
    with contextlib.ExitStack() as stack:
        command = [sshd, *arguments]
        while True:
            said = _child.ask(*command, timeout=_PATIENCE)
            missing = re.search(r"Missing privilege separation directory: (/run/\S+|/var/\S+)", said.stderr)
            if missing and not os.path.lexists(missing.group(1)):
                # It stays: an sshd that starts meanwhile needs it.
                os.mkdir(missing.group(1), 0o755)
            elif "no hostkeys available" in said.stderr and "-h" not in command:
                key = os.path.join(stack.enter_context(tempfile.TemporaryDirectory(prefix="sshd_config.")), "key")
                _child.ask("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", key)
                command += ["-h", key]
            else:
                return said


def _values(printed: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for line in printed.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword, []).append(value)
    return values


def _read(path: str, files: Files | None = None) -> str:
    if files and path in files:
        return files[path]
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError as error:
        raise CommandExecutionError(f"Cannot read {path}: {error.strerror}") from error


def _validated(options: Mapping[str, Any]) -> dict[str, str]:
    """The options as they are written: ``{name: text}``, without those that are None."""
    if not isinstance(options, Mapping):
        raise SaltInvocationError(f"options: {options!r} is not a mapping of sshd_config keywords to values")
    written: dict[str, str] = {}
    seen: dict[str, str] = {}
    for name, value in options.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name):
            raise SaltInvocationError(f"options: {name!r} is no sshd_config keyword (letters and digits)")
        if _keyword(name) in ("match", "include"):
            raise SaltInvocationError(f"options: {name} is not allowed: it changes what other lines mean")
        if seen.setdefault(_keyword(name), name) != name:
            raise SaltInvocationError(f"options: {name} and {seen[_keyword(name)]} are the same option: give one")
        if value is None:
            continue
        words = value if isinstance(value, list) else [value]
        if not words or not all(isinstance(w, (str, int)) and re.fullmatch(r"[^\s#][^\n]*", str(w)) for w in words):
            raise SaltInvocationError(f"options: {name}: {value!r} is not allowed: give words, a number or a boolean")
        written[name] = " ".join(_word(word, isinstance(value, list)) for word in words)
    return written


def _word(word: str | int | bool, one: bool) -> str:
    """A word as it is written; ``one`` of several is quoted if it has blanks in it."""
    if isinstance(word, bool):
        return "yes" if word else "no"
    return f'"{word}"' if one and re.search(r"\s", str(word)) else str(word)
