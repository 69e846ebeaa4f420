"""
Say what a PAM stack decides, exactly as libpam decides it, and prove what it can never decide.

- :py:func:`decide` and :py:func:`trace` answer a call when every module's answer is known
- :py:func:`outcomes` gives every answer that remains possible when only some are known
- :py:func:`prove` holds a stack to a list of promises, and shows how one is broken

The behaviour is that of ``libpam/pam_dispatch.c`` of Linux-PAM (:manpage:`pam.conf(5)` describes it, and where the two
differ the library is followed). What the stack *says* comes from ``pam_stack.expand``; no module is ever run.

Codes are libpam's names in lower case and without their prefix: ``success``, ``perm_denied``.
"""

from __future__ import annotations

import os
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

import _library

_library.renew(os.path.dirname(__file__))

import _pam_errors
import _pam_prove
from _pam_expand import Content
from _pam_given import Results
from _pam_grammar import Libpam

# For people: half as long as Salt's nested output, and what a terminal would take for a command is escaped. It is data
# all the same, for --out=json and in Python.
__outputter__ = {"decide": "yaml", "prove": "yaml"}

_raising = _pam_errors.translated(CommandExecutionError, SaltInvocationError)


@_raising
def decide(
    service: str,
    calls: str | list[str],
    results: Results,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> list[dict[str, Any]]:
    """
    Return what a service's stack answers when its modules answer as given.

    service
        The PAM service, such as ``sshd``.

    calls
        One call, several separated by commas, or a list: ``authenticate``, ``setcred``, ``acct_mgmt``,
        ``open_session``, ``close_session``, ``chauthtok``. They are made in this order on one handle, so that
        ``setcred`` and ``close_session`` follow the way that ``authenticate`` and ``open_session`` took.

    results
        What each module answers: ``{module: code}`` or ``{module: {call: code}}``, where ``prechauthtok`` is the first
        of ``chauthtok``'s two passes. A module is named as in the stack or, if it is in one of libpam's own
        directories, by its name; ``"pam_access.so accessfile=/etc/x"`` names the rules that have this argument, and the
        key with most words wins. From Python also a function ``(rule, call) -> code``.

    confdirs, libpam, files
        The directories with PAM files, the libpam to be, and files that are not yet there, as for
        :py:func:`pam_stack.expand <salt.modules.pam_stack.expand>`; this node's by default.

    Modules are not looked for: one that is not on the disk answers ``module_unknown``, which ``results`` has to say.

    Returns a list with, for each call, a dictionary with ``call``, ``code`` and ``trace``: the lines that ran, each
    with ``file``, ``line``, ``rule``, ``answer``, ``action``, the state it left (``impression`` and ``status``) and
    ``why``, a sentence. Where the service cannot even be started, the list is one step with the call ``start`` and the
    code ``abort``. The command line shows it as YAML; :py:func:`trace` says the same as a text to be read.

    Raises SaltInvocationError where a module is asked that ``results`` does not name, or on a bad argument, call or
    code, and CommandExecutionError where :py:func:`pam_stack.expand <salt.modules.pam_stack.expand>` does.

    Source: ``_pam_dispatch_aux`` in ``libpam/pam_dispatch.c``; :manpage:`pam.conf(5)`.

    CLI Example:

    .. code-block:: bash

        salt-call pam_verdict.decide login acct_mgmt '{pam_nologin.so: success, pam_unix.so: acct_expired}'
        salt-call --out=json pam_verdict.decide sshd acct_mgmt results='{pam_nologin.so: perm_denied}'

    .. versionadded:: 1.0.0
    """
    return _pam_prove.decide(service, calls, results, confdirs, libpam, files)


@_raising
def trace(
    service: str,
    calls: str | list[str],
    results: Results,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> str:
    """
    Return :py:func:`decide`'s answer as text to be read: line by line what each module answered and what came of it.

    The arguments and errors are those of :py:func:`decide`. Characters that cannot be printed are escaped.

    CLI Example:

    .. code-block:: bash

        salt-call pam_verdict.trace su acct_mgmt '{pam_unix.so: acct_expired}'

    .. versionadded:: 1.0.0
    """
    return _pam_prove.trace(service, calls, results, confdirs, libpam, files)


@_raising
def outcomes(
    service: str,
    call: str,
    given: dict[str, Any] | None = None,
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> list[str]:
    """
    Return every code that a call can return, sorted, when some modules answer as given and the others anything at all.

    The list is exact: each code in it can be reached, and no other can. The call is made on a fresh handle.

    service
        The PAM service.

    call
        One of :py:func:`decide`'s calls.

    given
        What is known: ``{module: answer}`` or ``{module: {call: answer}}``, with modules named as in :py:func:`decide`.
        An answer is a code, a list of codes, ``any``, or ``failure`` for every code but ``success`` and
        ``new_authtok_reqd``. Each rule chooses on its own. Modules that are not named may give any of libpam's 32
        codes, ``incomplete`` included, which ends the call at once.

    confdirs, libpam, files
        As in :py:func:`decide`.

    Raises SaltInvocationError on a bad argument, call or code, and CommandExecutionError where
    :py:func:`pam_stack.expand <salt.modules.pam_stack.expand>` does.

    CLI Example:

    .. code-block:: bash

        salt-call pam_verdict.outcomes login acct_mgmt '{pam_unix.so: [success, acct_expired]}'

    .. versionadded:: 1.0.0
    """
    return _pam_prove.outcomes(service, call, given, confdirs, libpam, files)


@_raising
def prove(
    policy: list[dict],
    confdirs: str | list[str] | None = None,
    libpam: Libpam | None = None,
    files: dict[str, Content] | None = None,
) -> list[dict[str, Any]]:
    """
    Return, for each scenario of a policy, whether a service's stack keeps it.

    policy
        A list of scenarios, each a dictionary with

        ``name``
            what it is about; each name once
        ``service``, ``call``
            as in :py:func:`decide`; of several calls, each is looked at on its own
        ``given``
            as in :py:func:`outcomes`
        ``expect``
            ``permit``: the call returns success when the modules that are not given succeed. ``deny``: it cannot let
            anybody in, whatever the modules that are not given answer. ``unreached``: it cannot get to the rule named
            by ``module``, whatever they answer.

        libpam's own ``pam_permit.so`` and ``pam_deny.so`` answer what they always do unless given. ``new_authtok_reqd``
        from ``acct_mgmt`` leads to a change of password and then in, so it is neither a permit nor a denial.

    confdirs, libpam, files
        As in :py:func:`decide`; ``files`` is how a policy is proven for files before they are written.

    Returns a list of dictionaries:

    ``name``, ``expect``
        as in the scenario
    ``holds``
        whether the stack keeps it
    ``unmatched``
        the keys of ``given`` that answer for no rule in the stacks of its calls. What is said under such a key had no
        part in the proof: the module is not there, or the key is mistyped, and then a permit was proven with the module
        that was meant succeeding. It is no violation by itself.
    ``counterexample``
        None where the scenario holds, and otherwise a case that breaks it: ``call``; ``answers``, what the modules
        answer in it, one by one (``call``, ``file``, ``line``, ``rule``, ``answer``); the ``code`` that the call then
        returns, or ``reached``; ``decided_by``, the line that decided (``file``, ``line``, ``rule``; None where there
        is none); and ``why``, in words, with what to do. It is a short one, and a run of the stack has confirmed it.

    The modules themselves are not looked at. One that is not on the disk answers ``module_unknown``, whatever is
    ``given`` of it: a permit with it may be proven and nobody get in. :py:func:`pam_stack.lint
    <salt.modules.pam_stack.lint>` finds such a line.

    Raises SaltInvocationError on a bad policy, naming the scenario and the key, and CommandExecutionError where
    :py:func:`pam_stack.expand <salt.modules.pam_stack.expand>` does.

    CLI Example:

    .. code-block:: bash

        salt-call pam_verdict.prove '[{name: expired, service: su, call: acct_mgmt, given: {pam_unix.so: acct_expired},
            expect: deny}]'

    .. versionadded:: 1.0.0
    """
    return _pam_prove.prove(policy, confdirs, libpam, files)
