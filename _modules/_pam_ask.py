"""What this node's own modules answer about an account, of those that may be asked without a login."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import _child
import _pam_grammar

_LIMIT = 5  # seconds for one module

# Why asking about an account changes nothing.
SAFE = {
    "pam_access.so": "it reads its file",
    "pam_debug.so": "it answers what its arguments say",
    "pam_deny.so": "its answer is always the same",
    "pam_echo.so": "it shows a text",
    "pam_ldap.so": "it asks the directory",
    "pam_listfile.so": "it reads its file",
    "pam_localuser.so": "it reads /etc/passwd",
    "pam_nologin.so": "it looks for a file",
    "pam_permit.so": "its answer is always the same",
    "pam_rootok.so": "it looks who asks, which is root here as in sshd",
    "pam_securetty.so": "it reads /etc/securetty",
    "pam_shells.so": "it reads /etc/shells",
    "pam_sss.so": "it asks sssd, which looks the user up",
    "pam_succeed_if.so": "it looks the user up",
    "pam_time.so": "it reads its file, and the clock",
    "pam_unix.so": "it looks the user up",
    "pam_usertype.so": "it looks the user up",
    "pam_wheel.so": "it looks the user up",
}

# Why others are never asked.
UNSAFE = {
    "pam_exec.so": "it runs a program",
    "pam_faillock.so": "it sets the count of failures back",
    "pam_script.so": "it runs a program",
    "pam_sepermit.so": "it locks the user's files",
    "pam_tally.so": "it sets the count of failures back",
    "pam_tally2.so": "it sets the count of failures back",
}
_UNKNOWN = "whether asking it changes anything is not known"


class Said(NamedTuple):
    """What a rule's module answers; None if it was not asked, or could not be, and why."""

    code: str | None
    why_not: str = ""
    tried: bool = True


Rule = tuple[str, tuple[str, ...]]


def rule_of(handler: Mapping[str, Any]) -> Rule:
    """A rule as it is asked: its module and its arguments."""
    return handler["module"], tuple(handler["args"])


def answers(
    handlers: Iterable[Mapping[str, Any]], service: str, user: str, rhost: str, mounting: bool = False
) -> dict[Rule, Said]:
    """
    What each rule's module answers about the account of a user who has logged in to sshd with a key. A module that is
    none of libpam's own is not known by its name.

    handlers
        Rules that ask a module, as _pam_expand has them.
    service, user, rhost
        As sshd tells them to PAM.
    mounting
        Ask as with libpam up to 1.3, which reads /etc/pam.d alone.
    """
    found, asking = {}, []
    for rule, name in {rule_of(handler): handler["name"] for handler in handlers}.items():
        written = " ".join(map(_written, (rule[0], *rule[1])))
        if name not in SAFE:
            found[rule] = Said(None, UNSAFE.get(name, _UNKNOWN), tried=False)
        elif re.search(r"[#\0\n]", written) or _pam_grammar.words(written) != [rule[0], *rule[1]]:
            found[rule] = Said(None, "its rule cannot be written")
        else:
            asking.append((rule, written))
    if asking:
        said = _asked([written for _, written in asking], service, user, rhost, mounting)
        found.update(zip((rule for rule, _ in asking), said, strict=True))
    return found


def _written(word: str) -> str:
    return "[" + word.replace("]", "\\]") + "]"


def _asked(rules: list[str], service: str, user: str, rhost: str, mounting: bool) -> list[Said]:
    request = {"rules": rules, "service": service, "user": user, "rhost": rhost, "limit": _LIMIT, "mounting": mounting}
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_pam_asker.py")
    # Salt's own Python; one for all of them.
    said = _child.ask(
        *(sys.executable, "-I", "-S", program), timeout=_LIMIT * (len(rules) + 1), input=json.dumps(request)
    )
    words = said.stderr.strip().splitlines()
    lost = Said(None, words[-1] if words else "nothing was said")
    told = [_said(line) for line in said.stdout.splitlines()[: len(rules)]]
    return [*told, *[lost] * (len(rules) - len(told))]


def _said(line: str) -> Said:
    try:
        told = json.loads(line)
    except ValueError:
        told = None
    told = told if isinstance(told, dict) else {}
    if "error" in told:
        return Said(None, str(told["error"]))
    code = told.get("code")
    if type(code) is not int or code not in range(len(_pam_grammar.RETURN_CODES)):
        return Said(None, "what it answered is none of PAM's answers")
    return Said(_pam_grammar.RETURN_CODES[code])
