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
import functools
import glob
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

import _library

_library.renew(os.path.dirname(__file__))

import _child
import _file
import _selinux
import _text

# A line, as parse returns it.
Entry = dict[str, Any]
# What is to be at each path, None where nothing is; laid over the real files.
Files = Mapping[str, str | None]
# A line: [its file, its number there].
Place = list[Any]

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
# Two names of one option that were two options up to OpenSSH 8.6: there both have to say no.
_ONCE_TWO = ("KbdInteractiveAuthentication", "ChallengeResponseAuthentication")
# Options that came late (9.8), with the value that says what an sshd without them does.
_LATE = {"persourcepenalties": "no"}
# A connection that no Match line means. Up to 8.0, sshd stops at a Match line on what it is not told.
_NOBODY = {"user": "nobody", "host": "203.0.113.1", "addr": "203.0.113.1", "laddr": "203.0.113.2", "lport": "65535"}
# What makes a Match line hold for every connection, and for none, in every release.
_ALWAYS, _NEVER = "Match all\n", "User !* "

_DIRECTIVE = re.compile(r'[ \t\r]*("?)([A-Za-z0-9]+)\1(?:[ \t]*=[ \t]*|[ \t]+)')
# A backslash counts ahead of a quote, another one, and a blank outside of quotes: argv_split in OpenSSH's misc.c.
_ESCAPED = r"""\\(["'\\])"""
_WITHIN = r"""\\["'\\]|\\(?!["'\\])"""
_QUOTED = rf""""((?:{_WITHIN}|[^"\\\n])*)"|'((?:{_WITHIN}|[^'\\\n])*)'"""
_PIECE = re.compile(rf"""{_QUOTED}|\\(["'\\ ])""")
_WORD = re.compile(rf"""\s*((?!\#)(?:{_PIECE.pattern}|\\(?!["'\\ ])|[^\s"'\\])+)""")
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
    return [{"text": raw, "line": number} | _meaning(raw) for number, raw in enumerate(_text.lines(text), 1)]


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
        "words": [_PIECE.sub(_plain, word.group(1)) for word in words],
        "span": (words[0].start(1), words[-1].end(1)),
    }


def _plain(piece: re.Match[str]) -> str:
    """What a piece of a word means that is quoted or escaped."""
    double, single, escaped = piece.groups(default="")
    return escaped or re.sub(_ESCAPED, r"\1", double or single)


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


def read(config: str | None = None, files: Files | None = None) -> list[Entry]:
    """
    Return every line in the order in which sshd reads it, includes in place.

    config, files
        As for :py:func:`effective`.

    Returns what :py:func:`parse` does, and with each line its ``file``, the ``targets`` of an Include, and ``within``:
    the Match lines that it stands under, outermost first, each as ``[file, line]``.

    Raises CommandExecutionError if a file cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-call sshd_config.read

    .. versionadded:: 1.1.0
    """
    return _reading_order(find(config), files or {})


def reads(path: str, config: str | None = None, files: Files | None = None) -> bool:
    """
    Return True if sshd reads a file, or would if it were there, whichever connection it is.

    path
        Its path.
    config, files
        As for :py:func:`effective`.

    Raises CommandExecutionError if a file cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-call sshd_config.reads /etc/ssh/sshd_config.d/00-salt.conf

    .. versionadded:: 1.1.0
    """
    there = {path: "", **(files or {})}
    return any(path in entry["targets"] and not entry["within"] for entry in read(config, there))


def _reading_order(path: str, files: Files, within: Sequence[Place] = (), depth: int = 0) -> list[Entry]:
    order: list[Entry] = []
    here = [*within]
    for entry in parse(_read(path, files)):
        if entry["kind"] == "match":
            here = [*within, [path, entry["line"]]]
        targets = _included(entry, files, depth) if entry["kind"] == "include" else []
        order.append(entry | {"file": path, "within": here, "targets": targets})
        for target in targets:
            order += _reading_order(target, files, here, depth + 1)
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
        order += sorted(p for p in paths if (files[p] is not None if p in files else not _is_empty(p)))
    return order


def _is_empty(path: str) -> bool:
    """Whether sshd takes what is there, and finds nothing in it: a directory, or a file that somebody has masked."""
    return os.path.isdir(path) or os.path.realpath(path) == os.devnull


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
    return _edited(text, _validated(options), tag)


def _edited(text: str, written: Mapping[str, str], tag: str) -> str:
    entries = parse(unedit(text, tag))
    head = next((i for i, entry in enumerate(entries) if entry["kind"] in ("include", "match")), len(entries))
    added = [""] * (len(entries) + 1)
    for name, value in written.items():
        entry = next((entry for entry in entries[:head] if _sets(entry, name, written)), None)
        if entry is None:
            added[_place(entries, head, name)] += f"# {tag} added: {name}\n{name} {value}\n"
        elif entry["text"][slice(*entry["span"])] != value:
            was = entry["text"]
            start, end = entry["span"]
            line = was[:start] + value + was[end:]
            if entry["name"].lower() != name.lower():
                line = line.replace(entry["name"], name, 1)
            entry["text"] = f"# {tag} was: {was.removesuffix(chr(10))}\n{line}"
    return "".join(new + entry["text"] for new, entry in zip(added, [*entries, {"text": ""}], strict=True))


def _sets(entry: Entry, name: str, written: Iterable[str]) -> bool:
    """Whether a line sets this one of the options. Of two that bear names of the same, each has its own lines."""
    if entry["kind"] != "setting":
        return False
    lines = entry["name"].lower()
    if lines in map(str.lower, written):
        return lines == name.lower()
    return entry["keyword"] == _keyword(name)


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
    kept, lines = [], _text.lines(text)
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
    written = _fitting(_validated(options))
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
        settings = [entry for entry in _settings(main, trial) if not entry["within"]]
        first = {name: next((s["file"] for s in settings if _sets(s, name, written)), None) for name in written}
        beaten = [name for name in written if first[name] != drop_in or not drop_in]
        if beaten and main == _VENDOR:
            raise CommandExecutionError(f"{drop_in} comes too late for {beaten[0]}, and {main} is not to be edited")
        after = after | {main: _edited(now[main], written, tag)} if beaten else trial
    # What is to be removed comes last: its options count from elsewhere by then.
    order = sorted(after, key=lambda path: after[path] is None)
    return {path: after[path] for path in order if after[path] != now.get(path)}


def check(
    options: Mapping[str, Any], config: str | None = None, files: Files | None = None, connection: str | None = None
) -> list[dict[str, Any]]:
    """
    Return the options that would not count. The wanted values are what sshd itself makes of the options alone, so its
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
    written = _fitting(_validated(options))
    main = find(config)
    wanted, found = _alone(written), effective(main, connection, files)
    order = _settings(main, files or {})
    findings = []
    for name, value in written.items():
        key = name.lower() if name.lower() in wanted else _keyword(name)
        # sshd took the line and does otherwise.
        flipped = {value, *wanted.get(key, ())} == {"yes", "no"}
        if flipped or wanted.get(key) != found.get(key):
            others = [line for line in order if _sets(line, name, written) and " ".join(line["words"]) != value]
            by = f"{others[0]['file']}:{others[0]['line']}" if others else None
            findings.append({"option": name, "wanted": value, "found": " ".join(found.get(key, ["not set"])), "by": by})
    return findings


def _alone(written: Mapping[str, str]) -> dict[str, list[str]]:
    """What sshd makes of these options, and of nothing else."""
    with _scratch() as scratch:
        path = _write(scratch, "options", (f"{name} {value}\n" for name, value in written.items()))
        said = _sshd("-T", "-f", path)
    if said.returncode:
        line = re.search(r"line (\d+)", said.stderr)
        named = list(written)[int(line.group(1)) - 1] if line else ", ".join(written)
        says = said.stderr.strip().replace(path, "options")
        raise CommandExecutionError(f"sshd refuses {named} {written.get(named, '')}: {says}")
    return _values(said.stdout)


def effective(
    config: str | None = None,
    connection: str | None = None,
    files: Files | None = None,
    program: str | None = None,
    options: Sequence[str] = (),
) -> dict[str, list[str]]:
    """
    Return the values that count, as ``sshd -T`` prints them.

    config
        The main file; by default the one that sshd reads.
    connection
        What the Match lines are held against, as for ``sshd -C`` ("user=root,host=h,addr=192.0.2.1"). Without it only
        ``Match all`` counts.
    files
        ``{path: text, or None for "not there"}``, laid over the real files.
    program
        The path of the sshd to ask; by default the one that is installed.
    options
        What it is told on its command line, each as for ``sshd -o``, which counts over the files.

    Returns ``{keyword in lower case: [value, ...]}``.

    Raises CommandExecutionError with sshd's words if it refuses the configuration.

    CLI Example:

    .. code-block:: bash

        salt-call sshd_config.effective connection=user=root,host=h,addr=192.0.2.1

    .. versionadded:: 1.0.0
    """
    told = [word for option in options for word in ("-o", option)]
    if connection is None:
        return _values(_asked(config, files, *told, "-T", "-C", _spec({}), match=_unless([]), program=program))
    said = dict(part.split("=", 1) for part in connection.split(",") if "=" in part)
    flags = [part for part in connection.split(",") if part and "=" not in part]
    return _values(_asked(config, files, *told, "-T", "-C", ",".join([_spec(said), *flags]), program=program))


def connections(
    config: str | None = None, files: Files | None = None, program: str | None = None, options: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """
    Return the kinds of connection that the configuration tells apart, each with the values that count for it: those
    that no Match line means, and for each Match line those that it means and no other one does.

    Nobody has to be found whom a Match line means: sshd is asked about a copy in which that line holds for all.

    config, files, program, options
        As for :py:func:`effective`.

    Returns a list of ``{match, file, line, values}``, the first three None for the connections that no line means.

    Raises CommandExecutionError with sshd's words if it refuses the configuration.

    CLI Example:

    .. code-block:: bash

        salt-call sshd_config.connections

    .. versionadded:: 1.1.0
    """
    question = [*(word for option in options for word in ("-o", option)), "-T", "-C", _spec({})]

    def values(held: Sequence[Place]) -> dict[str, list[str]]:
        return _values(_asked(config, files, *question, match=_unless(held), program=program))

    kinds = [{"match": None, "file": None, "line": None, "values": values([])}]
    # A file may be included twice.
    lines = {(entry["file"], entry["line"]): entry for entry in read(config, files) if entry["kind"] == "match"}
    for (file, line), entry in lines.items():
        if not _always(entry):
            # It counts only if those do that it stands under.
            match = f"Match {' '.join(entry['words'])}"
            kinds.append({"match": match, "file": file, "line": line, "values": values(entry["within"])})
    return kinds


def _always(entry: Entry) -> bool:
    return [word.lower() for word in entry["words"]] == ["all"]


def _unless(held: Sequence[Place]) -> Callable[[Entry], str]:
    """
    Match lines as they are to stand in a copy: those that are held true, and all others, which still have to be right.
    """

    def line(entry: Entry) -> str:
        if _always(entry) or [entry["file"], entry["line"]] in held:
            return _ALWAYS
        start = entry["span"][0]
        return entry["text"][:start] + _NEVER + entry["text"][start:]

    return line


def _spec(said: Mapping[str, str]) -> str:
    """What ``sshd -C`` is told: always all that a Match line may ask of a connection."""
    return ",".join(f"{key}={value}" for key, value in {**_NOBODY, **said}.items())


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


def _asked(
    config: str | None,
    files: Files | None,
    *arguments: str,
    match: Callable[[Entry], str] | None = None,
    program: str | None = None,
) -> str:
    """
    What sshd prints about the whole configuration, copied to where ``files`` can lie over it, with the Match lines as
    they are or as ``match`` has them.
    """
    main = find(config)
    with _scratch() as scratch:
        texts: dict[str, dict[int, Entry]] = {main: {}}
        for entry in _reading_order(main, files or {}):
            texts.setdefault(entry["file"], {})[entry["line"]] = entry
        copies = {path: os.path.join(scratch, str(number)) for number, path in enumerate(texts)}
        for number, entries in enumerate(texts.values()):
            _write(scratch, str(number), (_copied(entry, copies, match) for entry in entries.values()))
        said = _sshd("-f", copies[main], *arguments, program=program)
    if said.returncode:
        says = said.stderr.strip()
        for path, copy in copies.items():
            says = re.sub(rf"{re.escape(copy)}\b", lambda _, path=path: path, says)
        raise CommandExecutionError(f"sshd refuses the configuration: {says}")
    return said.stdout


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """A directory for a configuration that is asked about. Where SELinux gives sshd a domain, it reads no others."""
    with contextlib.ExitStack() as stack:
        with _selinux.labelling_like(_INCLUDE_BASE):
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="sshd_config."))
        yield scratch


def _write(scratch: str, name: str, lines: Iterable[str]) -> str:
    """The path of a file there."""
    path = os.path.join(scratch, name)
    with (
        _selinux.labelling_like(_INCLUDE_BASE),
        open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        file.writelines(lines)
    return path


def _copied(entry: Entry, copies: Mapping[str, str], match: Callable[[Entry], str] | None) -> str:
    """The line as it stands in the copy: an Include points to the copies, and a Match is as it is to be."""
    if entry["kind"] == "match" and match:
        return match(entry)
    if entry["kind"] != "include":
        return entry["text"]
    targets = [copies[target] for target in entry["targets"] if target in copies]
    return f"Include {' '.join(targets)}\n" if targets else "#\n"


def _sshd(*arguments: str, program: str | None = None) -> subprocess.CompletedProcess[str]:
    """What sshd says. What only its first start makes must not stand in the way."""
    sshd = program or _child.which("sshd")
    if not sshd:
        raise CommandExecutionError("sshd is not installed")
    with contextlib.ExitStack() as stack:
        command = [sshd, *arguments]
        while True:
            said = _child.ask(*command, timeout=_PATIENCE)
            missing = re.search(r"Missing privilege separation directory: (/run/\S+|/var/\S+)", said.stderr)
            if missing and not os.path.lexists(missing.group(1)):
                # It stays: an sshd that starts meanwhile needs it.
                _selinux.make_directory(missing.group(1), 0o755)
            elif "no hostkeys available" in said.stderr and "-h" not in command:
                key = os.path.join(stack.enter_context(tempfile.TemporaryDirectory(prefix="sshd_config.")), "key")
                _child.ask("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", key)
                command += ["-h", key]
            else:
                return said


def _fitting(written: Mapping[str, str]) -> dict[str, str]:
    """The options as the installed sshd has them: it may not know one yet, or have two where a newer one has one."""
    known = _known()
    if not known:
        return dict(written)
    fitting: dict[str, str] = {}
    for name, value in written.items():
        if name.lower() not in known and _LATE.get(name.lower()) == value:
            continue
        two = _keyword(name) == _ONCE_TWO[0].lower() and all(option.lower() in known for option in _ONCE_TWO)
        fitting |= dict.fromkeys(_ONCE_TWO if two else [name], value)
    return fitting


def _known() -> set[str]:
    """The keywords that the installed sshd prints; none if there is no sshd."""
    sshd = _child.which("sshd")
    return set(_printed(sshd, os.stat(sshd).st_mtime_ns)) if sshd else set()


@functools.lru_cache(maxsize=8)
def _printed(sshd: str, changed: int) -> frozenset[str]:
    """Asked once for each sshd that is installed in the life of this process."""
    said = _sshd("-T", "-f", os.devnull)
    if said.returncode:
        raise CommandExecutionError(f"sshd does not say its options: {said.stderr.strip()}")
    return frozenset(_values(said.stdout))


def _values(printed: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for line in printed.splitlines():
        keyword, _, value = line.partition(" ")
        # From 10.4 they are printed as the manual writes them.
        values.setdefault(keyword.lower(), []).append(value)
    return values


def _read(path: str, files: Files | None = None) -> str:
    if files and path in files:
        return files[path]
    try:
        return _file.text(path)
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
            raise SaltInvocationError(f"options: {name!r} is not an sshd_config keyword (letters and digits)")
        if _keyword(name) in ("match", "include"):
            raise SaltInvocationError(f"options: {name} is not allowed: it changes what other lines mean")
        if value is None:
            continue
        words = value if isinstance(value, list) else [value]
        if not words or not all(isinstance(w, (str, int)) and re.fullmatch(r"[^\s#][^\n]*", str(w)) for w in words):
            raise SaltInvocationError(f"options: {name}: {value!r} is not allowed: give words, a number or a boolean")
        text = " ".join(_word(word, isinstance(value, list)) for word in words)
        other = seen.setdefault(_keyword(name), name)
        if other == name:
            written[name] = text
        elif written[other] != text:
            raise SaltInvocationError(
                f"options: {name} and {other} are the same option, and {text} is not {written[other]}: give one, and "
                "null for the other"
            )
    return written


def _word(word: str | int | bool, one: bool) -> str:
    """A word as it is written; ``one`` of several is quoted if it has blanks in it."""
    if isinstance(word, bool):
        return "yes" if word else "no"
    return f'"{word}"' if one and re.search(r"\s", str(word)) else str(word)
