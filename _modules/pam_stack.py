"""
Read, edit and explain PAM configuration exactly as libpam reads it.

What a stack *says*: text in, text out. What it *decides* is :py:mod:`pam_verdict <salt.modules.pam_verdict>`. Nothing
here evaluates a stack or writes a file.

- :py:func:`parse`, :py:func:`read` and :py:func:`find` give the entries of a text or a file
- :py:func:`edit` changes a text and leaves every other byte alone
- :py:func:`expand` follows includes and substacks as ``pam_start`` does; :py:func:`libpam` is this node's libpam
- :py:func:`show`, :py:func:`diagram` and :py:func:`lint` show a stack to people, and what is wrong with it
- :py:func:`plan` and :py:func:`plan_back` compute and prove a set of files before any of them is written

The behaviour is that of ``libpam/pam_handlers.c`` and ``libpam/pam_misc.c`` of Linux-PAM (:manpage:`pam.conf(5)`
describes it; where the two differ the library is followed), with Debian's ``@include`` where the library has it.

Text is ``str``; bytes that are not UTF-8 are surrogate escapes, so they go out as they came in.
"""

from __future__ import annotations

import os
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

import _library

_library.renew(os.path.dirname(__file__))

import _pam_edit
import _pam_errors
import _pam_expand
import _pam_grammar
import _pam_libpam
import _pam_lint
import _pam_plan
import _pam_show
import file_transaction
from _pam_expand import Content
from _pam_grammar import Entry, Libpam
from _pam_plan import MARKER, Change

# For people: half as long as Salt's nested output, and what a terminal would take for a command is escaped. It is data
# all the same, for --out=json and in Python.
__outputter__ = {"lint": "yaml"}

_raising = _pam_errors.translated(CommandExecutionError, SaltInvocationError)


@_raising
def parse(text: str, libpam: Libpam | None = None, conf: bool = False) -> list[Entry]:
    """
    Return the entries of a PAM file's text, in order.

    text
        The file's text.
    libpam
        The libpam to read as, such as ``{"version": "1.5.2", "debian": true}``; this node's by default. It matters only
        for ``@include``, NULs, lines of 1024 bytes and more, and a blank or comment line after a continuation.
    conf
        Read as ``pam.conf``, whose lines begin with a service.

    Returns a list of dictionaries. Joining their ``text`` gives the text back, whatever it is. Each has ``text``,
    ``line`` (the first line's number) and ``kind``:

    ========  =========================================================================================
    kind      further keys
    ========  =========================================================================================
    rule      ``type`` (lower case), ``silent`` (the type had a ``-``), ``control`` (as written),
              ``module``, ``args`` (words without their brackets)
    include   ``type`` (none for ``@include``), ``silent``, ``control`` (``include``, ``substack`` or
              ``@include``), ``target``
    blank
    comment   nothing in the line reaches libpam
    invalid   ``reason``, as many of the above as could be read and, where libpam gives the whole file up
              at it, ``fatal``: ``unfinished`` (it ends in a continuation), ``endless`` (libpam does not
              return) or ``nameless`` (no module or substack is named)
    ========  =========================================================================================

    With ``conf`` also ``service``, in lower case.

    Raises CommandExecutionError if ``libpam`` is not given where it matters, and this node has none.

    Source: ``_assemble_line`` in ``libpam/pam_misc.c`` or ``libpam/pam_line.c``, ``_pam_parse_conf_file`` in
    ``libpam/pam_handlers.c``.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.parse 'account required pam_unix.so'

    .. versionadded:: 1.0.0
    """
    return _pam_grammar.parse(text, libpam, conf)


@_raising
def find(text: str | list[Entry], **selector: Any) -> list[Entry]:
    """
    Return the entries of a PAM file that a selector matches. Comments never match.

    text
        The file's text, or its entries.
    selector
        One or more of these; all of them must match.

        ===========  =====================================================================================
        ``type``     ``auth``, ``account``, ``password`` or ``session``
        ``control``  the control; blanks, and the case of a keyword, make no difference
        ``module``   the module; ``pam_unix.so`` also finds ``/lib/security/pam_unix.so``
        ``target``   the file that an ``include``, ``substack`` or ``@include`` names
        ``args``     arguments the rule must have, in any order; a list, or text as in a PAM file
        ===========  =====================================================================================

    Returns entries as :py:func:`parse` does.

    Raises SaltInvocationError if the selector is not understood.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.find 'account required pam_unix.so' type=account module=pam_unix.so

    .. versionadded:: 1.0.0
    """
    # Salt passes what it knows of the caller as well.
    return _pam_edit.find(text, **{key: value for key, value in selector.items() if not key.startswith("__")})


@_raising
def edit(text: str, changes: list[dict[str, Any]], libpam: Libpam | None = None) -> str:
    """
    Return the text of a PAM file with changes made to it, one after the other.

    Every byte that no change asks for stays. A new line is written as its neighbours are: indentation, columns, tabs,
    line end. What is in place already is left as it is, so applying changes again changes nothing.

    text
        The file's text.
    changes
        A list of dictionaries, each one change. A selector is what :py:func:`find` takes, and must match one line,
        unless said otherwise.

        =====================================================  ======================================================
        change                                                 what it does
        =====================================================  ======================================================
        ``insert: LINE`` with ``before: SELECTOR``,            puts the rule or include there. Where it is in the file
        ``after: SELECTOR``, ``at: first`` or ``at: last``     it is moved and rewritten, never doubled. ``first`` and
        (of its type)                                          ``last`` count an ``@include`` as a line of every type
        ``jumps: lengthen`` with it                            jumps of the lines above that pass over it go on landing
                                                               where they did; without it, such an insert is refused. A
                                                               jump that lands where the line comes lands on it
        ``match: SELECTOR`` with it                            which line counts as the one to insert; by default that
                                                               of the same type and module, for an include of the same
                                                               type, control and target
        ``match: here`` with it                                only at its place before or after that line it counts
                                                               as there, so that each of several lines can have one
        ``missing: ok`` with it                                nothing is put before or after a line that is not there
        ``replace: SELECTOR``, ``with: LINE``                  gives the line other words
        ``set_control: SELECTOR``, ``to: CONTROL``             sets the control
        ``set_args: SELECTOR``, ``to: ARGS``                   sets all arguments, in this order
        ``add_args: SELECTOR``, ``args: ARGS``                 adds arguments at the end; ``name=value`` replaces the
                                                               value of ``name`` where it stands
        ``remove_args: SELECTOR``, ``args: ARGS``              removes arguments; ``name`` also removes ``name=value``
        ``remove: SELECTOR``                                   removes every line that matches
        ``jumps: shorten`` with it                             jumps of the lines above go on landing where they did
        ``comment_out: SELECTOR``                              comments out every line that matches
        ``jumps: shorten`` with it                             as for ``remove``
        ``uncomment: SELECTOR``                                makes the one commented line that matches a rule again
        ``jumps: lengthen`` with it                            as for ``insert``; refused without it where that is
        ``retarget: {from: FILE, to: FILE, type: TYPE}``       changes the file in every ``include``, ``substack`` and
                                                               ``@include`` that names it; ``type`` may be left out
        =====================================================  ======================================================

        ``ARGS`` is a list of words, or text as it stands in a PAM file. ``missing: ok`` lets ``remove``,
        ``comment_out`` and ``retarget`` find nothing; ``remove`` needs it where the changes are applied again.
    libpam
        As for :py:func:`parse`.

    Returns the new text.

    Raises CommandExecutionError, with the lines, if a selector matches no line, or several where one is meant, and if a
    line would come where a jump passes over. Raises SaltInvocationError if a change is not understood.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.edit 'account required pam_unix.so' \\
            '[{"insert": "account required pam_nologin.so", "before": {"type": "account", "module": "pam_unix.so"}}]'

    .. versionadded:: 1.0.0
    """
    return _pam_edit.edit(text, changes, libpam)


@_raising
def read(path: str, libpam: Libpam | None = None, files: dict[str, Content] | None = None) -> list[Entry]:
    """
    Return the entries of the PAM file at a path.

    path
        The file. A ``pam.conf`` is read with its service column, and a directory as an empty file, as in libpam.
    libpam, files
        As for :py:func:`expand`.

    Returns entries as :py:func:`parse` does.

    Raises CommandExecutionError if the file cannot be read, and SaltInvocationError if an argument is not what it may
    be.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.read /etc/pam.d/sshd

    .. versionadded:: 1.0.0
    """
    return _pam_expand.read(path, libpam, files)


@_raising
def libpam() -> dict[str, Any]:
    """
    Return what this node's libpam is. All of it is found in the library's binary.

    Returns a dictionary: ``version``, the release from which on libpam behaves as this one does (1.1.0, 1.2.0, 1.4.0,
    1.5.0 or 1.6.0), not the package's; ``debian`` (it knows ``@include``); ``confdirs`` (the directories it reads, in
    order); and ``module_dirs``.

    Raises CommandExecutionError if there is no libpam.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.libpam

    .. versionadded:: 1.0.0
    """
    return _pam_libpam.libpam()


@_raising
def expand(
    service: str,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
    strict: bool = True,
) -> dict[str, Any]:
    """
    Return the handlers libpam would run for a service, includes and substacks followed, as ``pam_start`` builds them.

    service
        The service's name. What follows the last ``/`` counts, in lower case.
    confdirs
        The directories to read, in search order, or the only one; by default those of ``libpam`` or, where it has none,
        of this node's. ``pam.conf`` beside the first of them is read where none of them exists.
    libpam
        The libpam to read as, such as ``{"version": "1.5.2", "debian": false}`` or what :py:func:`libpam` gives on
        another node; this node's by default, also of ``version`` and ``debian`` alone.
    files
        Files that are not yet written, laid over those that are: ``{path: text}``, ``{path: null}`` for a file that is
        not there, ``{path: {"link": target}}`` for a link.
    strict
        Raise where the handlers cannot be said. If false, the places are ``refused`` in the result, and the rest of the
        files is read without them.

    Returns a dictionary:

    ``abort``
        Why ``pam_start`` itself fails (``file``, ``line``, ``reason``), or none.
    ``types``
        For each facility its handlers, in order.
    ``from``
        For each facility the service whose handlers those are, ``other`` where the service has none, or none.
    ``opened``
        The files that were read, in order, also those that gave no handler.
    ``refused``
        Where the handlers cannot be said, which is nowhere if ``strict``: a list of dictionaries with ``file``,
        ``line``, ``reason`` and ``kind``: ``unreadable``, ``special`` (no regular file), ``large`` (over 1 MiB),
        ``nameless`` and ``unset`` (libpam goes on with memory it never set, because a module or substack has no name,
        or an ``@include`` that fails is the first line), ``circle`` or ``long`` (too many lines; there it ends).
    ``confdirs``, ``libpam``
        What was read, and as which libpam.

    A handler is a dictionary: ``kind`` (``module``, ``must_fail`` or ``substack``), ``level`` (0 at the top), ``type``,
    ``silent``, ``control`` (as written), ``actions`` (for each of the 32 return codes ``ignore``, ``ok``, ``done``,
    ``bad``, ``die``, ``reset`` or how many handlers to jump; a negative number, which only a libpam before 1.6.0 can
    come to, jumps none and fails), ``module``, ``name`` (a module's name if it is one of libpam's own, named without a
    path or by one in its ``module_dirs``; any other's path), ``args``, ``always`` (what ``pam_permit.so`` and
    ``pam_deny.so`` of libpam's own answer to each call; empty for all others), ``file``, ``line``, ``reason`` (why it
    must fail), ``fault`` (what is wrong with the file that it includes: ``unnamed``, ``missing``, ``deep`` or ``given
    up``) and ``paired`` (false where
    ``setcred`` and ``close_session`` lack it).

    Raises CommandExecutionError if ``strict`` and the handlers cannot be said: a libpam before 1.6.0 would follow files
    that include each other without end, a service comes to more than 20,000 lines to read or to run, or a file may not
    be read. The exception has ``kind``, ``file`` and ``line`` as ``refused`` has them. Raises SaltInvocationError if an
    argument is not what it may be.

    Source: ``_pam_init_handlers`` in ``libpam/pam_handlers.c``.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.expand sshd
        salt-call pam_stack.expand sshd files='{"/etc/pam.d/sshd": "account required pam_deny.so"}'

    .. versionadded:: 1.0.0
    """
    return _pam_expand.expand(service, confdirs, libpam, files, strict)


@_raising
def show(
    service: str,
    type: str | None = None,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> str:
    """
    Return a service's effective stack as a table: every line libpam runs, includes and substacks followed, with the
    file and line it comes from.

    service
        As for :py:func:`expand`.
    type
        Only this of ``auth``, ``account``, ``password`` and ``session``.
    confdirs, libpam, files
        As for :py:func:`expand`.

    Returns text. The lines of a substack are indented. A line libpam cannot use is marked with ``!`` and the reason.
    Characters that cannot be printed are escaped.

    Raises CommandExecutionError if libpam cannot start the service, and SaltInvocationError if an argument is not what
    it may be.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.show sshd
        salt-call pam_stack.show sshd account

    .. versionadded:: 1.0.0
    """
    return _pam_show.show(service, type, confdirs, libpam, files)


@_raising
def diagram(
    service: str,
    type: str,
    format: str = "mermaid",
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> str:
    """
    Return a picture of a service's stack of one type, as text for Mermaid or Graphviz: each line a box, each way from
    it an arrow with the answers that take it, each substack a frame.

    service
        As for :py:func:`expand`.
    type
        ``auth``, ``account``, ``password`` or ``session``.
    format
        ``mermaid`` or ``dot``.
    confdirs, libpam, files
        As for :py:func:`expand`.

    Returns text. An arrow for ``done`` holds where nothing has failed before; a stack that has failed goes on to the
    next line. Characters that cannot be printed are escaped. On the command line Salt writes the node's name above it:
    without that line, ``salt-call pam_stack.diagram sshd account format=dot | tail -n +2 | dot -Tsvg`` draws it.

    Raises CommandExecutionError if libpam cannot start the service, and SaltInvocationError if an argument is not what
    it may be.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.diagram sshd account
        salt-call pam_stack.diagram sshd auth format=dot

    .. versionadded:: 1.0.0
    """
    return _pam_show.diagram(service, type, format, confdirs, libpam, files)


@_raising
def lint(
    service: str,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> list[dict[str, Any]]:
    """
    Return what is surely or probably wrong with a service's files.

    It finds lines libpam cannot use, controls with an error, jumps out of the stack or past the end of their own file,
    lines that no answer leads to, missing modules and files, a ``-`` that does not do what it seems to, carriage
    returns, lines and nested files that libpam reads differently before and from 1.6.0 on, an ``ignore`` that counts as
    a grant, files that include each other or may not be read, a service without any line, and included files that are
    outside the directories libpam reads. It looks at every file that ``pam_start`` opens, ``other`` among them. A line
    with pam_deny.so that nothing leads to is no finding: it stands there as a fence.

    service
        As for :py:func:`expand`.
    confdirs, libpam, files
        As for :py:func:`expand`. Modules are looked for in ``libpam``'s ``module_dirs``, and not at all where it has
        none.

    Returns a list of dictionaries, in the order in which libpam reads the files: ``file``, ``line`` (none where a whole
    file is meant, and no file where there is none), ``severity`` (``error`` or ``warning``), ``finding`` and
    ``remedy``. The command line shows them as YAML; ``--out=json`` has them for programs.

    Raises SaltInvocationError if an argument is not what it may be.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.lint sshd
        salt-call --out=json pam_stack.lint sshd

    .. versionadded:: 1.0.0
    """
    return _pam_lint.lint(service, confdirs, libpam, files)


@_raising
def plan(
    files: list[dict], policy: list[dict] | None = None, marker: str = MARKER, replace: bool = False
) -> list[Change]:
    """
    Return what has to be written for these files to be as described. Changes nothing.

    files
        In the order in which they are written. Each is a mapping with ``path`` and

        - ``contents``: the whole text, below the marker line; or
        - ``source``: a file of the search order (``common-session``) that it is derived from at every run, unless
          nothing but comments has changed there; or
        - ``link``: the target of a symbolic link; or
        - ``block``: lines that come first in a file such as access.conf(5), ahead of all that others wrote there; or
        - none of these: the file itself is edited. Where only a vendor directory has it, its copy is.

        and, unless it is a link, ``changes``: edits in the form of :py:func:`edit`. With
        ``absent: true`` it is taken back instead, as :py:func:`plan_back` does.
    policy
        Scenarios for :py:func:`pam_verdict.prove <salt.modules.pam_verdict.prove>` that the new files have to meet,
        laid over the rest of the node's PAM configuration: all of them after the last write. A scenario that holds
        before the first write also has to hold after each single one. One that does not hold before comes to hold with
        some write; what it is until then is not asked.
    marker
        The first line of each file with ``contents`` or ``source``. A file without it is somebody else's.
    replace
        Whether such a file of somebody else's is replaced.

    Returns ``[{"path", "before", "after"}]``, in the order of the files, as :py:func:`file_transaction.commit
    <salt.modules.file_transaction.commit>` takes it. A path that stays as it is, is among them.

    Raises CommandExecutionError, saying why and what to do, if a file cannot become what it should be, if the policy
    would not hold, and if a line of any PAM file would name a file that is not there, unless it does so already.
    Raises SaltInvocationError if files, changes or a policy are not understood.

    Source: pam.d(5), ``libpam/pam_handlers.c`` of Linux-PAM.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.plan '[{path: /etc/pam.d/sshd,
            changes: [{insert: account required pam_access.so, at: last}]}]'

    .. versionadded:: 1.0.0
    """
    return _pam_plan.plan(files, policy, marker, replace, disk=file_transaction)


@_raising
def plan_back(files: list[dict], marker: str = MARKER) -> list[Change]:
    """
    Return what has to be written for what :py:func:`plan` planned to be taken back, in the opposite order. Changes
    nothing.

    files, marker
        As for :py:func:`plan`. Files with ``contents`` or ``source`` and links go, in so far as they are still ours. A
        file that was edited gets the opposite edits; a copy of a vendor's file goes if nobody else has changed it
        and there is a vendor's file to fall back to.

    Returns what :py:func:`plan` does.

    Raises what :py:func:`plan` does; CommandExecutionError also if there is no way back from an edit.

    CLI Example:

    .. code-block:: bash

        salt-call pam_stack.plan_back '[{path: /etc/pam.d/site, contents: ""}]'

    .. versionadded:: 1.0.0
    """
    return _pam_plan.plan_back(files, marker, disk=file_transaction)
