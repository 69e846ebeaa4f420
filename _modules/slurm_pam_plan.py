"""
The files that close a Slurm compute node, as text, and the policy that they are proven against.

They are computed here and nowhere else, from the merged settings of the formula; states, audit and command line share
them. Nothing here looks at the node.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

DIRECTORY = "/etc/pam.d"
MARKER = "# slurm_pam: written by Salt, and again at every apply"
_ACCOUNT = "slurm-common-account"
_SESSION = "slurm-common-session"
_ROOT_MODULE = "pam_succeed_if.so quiet uid != 0"
# One of them is ours; a line with the other may be left over from before.
_SLURM_MODULES = ("pam_slurm_adopt.so", "pam_slurm.so")
_SERVICE = """\
auth required pam_localuser.so
account required pam_unix.so
session required pam_limits.so
"""
# What a module answers when it turns somebody away or cannot work, not being there included.
_DENIALS = [
    "perm_denied",
    "auth_err",
    "user_unknown",
    "session_err",
    "service_err",
    "system_err",
    "abort",
    "module_unknown",
]


# Who gets in without a job


def access_rules(access: Mapping[str, Any]) -> str:
    """
    The rules of pam_access, in the order in which they are read: root, groups, users, and nobody else.

    access
        The settings ``slurm_pam:access``: ``root``, ``groups`` and ``users``, each with its origins.

    Returns the lines of access.conf(5). A group is written ``(group)``, which is never taken for a user of that name.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_plan.access_rules '{root: [ALL], groups: {wheel: {origins: [192.0.2.0/24]}}, users: {}}'

    .. versionadded:: 1.0.0
    """
    who = [("root", access["root"])]
    who += [(f"({name})", entry["origins"]) for name, entry in sorted(access["groups"].items()) if entry is not None]
    who += [(name, entry["origins"]) for name, entry in sorted(access["users"].items()) if entry is not None]
    return "".join(f"+ : {name} : {' '.join(origins)}\n" for name, origins in who) + "- : ALL : ALL\n"


# What the PAM files say


def stacks(settings: Mapping[str, Any] | None = None) -> dict[str, list[dict]]:
    """
    The PAM files for these settings, and the policy that they have to meet.

    settings
        The merged settings of the formula; this node's where none are given.

    Returns ``{"files": [...], "policy": [...]}`` as :py:func:`pam_stack.managed <salt.states.pam_stack.managed>` takes
    them, the files that the service includes first.

    Source: https://slurm.schedmd.com/pam_slurm_adopt.html, access.conf(5), pam.d(5).

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_plan.stacks

    .. versionadded:: 1.0.0
    """
    settings = settings or __salt__["slurm_pam.settings"]()
    pam = settings["pam"]
    service = pam["service"]
    return {
        "files": [
            *_file_and_link(_ACCOUNT, pam["suffix"], _account(settings)),
            *_file_and_link(_SESSION, pam["suffix"], _session(pam)),
            {
                "path": f"{DIRECTORY}/{service}",
                "changes": [
                    {"retarget": {"from": pam["account_source"], "to": _ACCOUNT, "type": "account"}},
                    {"retarget": {"from": pam["session_source"], "to": _SESSION, "type": "session"}},
                ],
            },
        ],
        "policy": [*policy(settings), *pam["policy"]],
    }


def _file_and_link(name: str, suffix: str, spec: dict) -> Iterator[dict]:
    """SUSE's convention: the text in a file with a suffix, and a link of the plain name to it."""
    yield {"path": f"{DIRECTORY}/{name}{suffix}", **spec}
    if suffix:
        yield {"path": f"{DIRECTORY}/{name}", "link": f"{name}{suffix}"}


def _account(settings: Mapping[str, Any]) -> dict:
    """Slurm, with a way past it for administrators, and the node's own rules."""
    pam = settings["pam"]
    gate = [*_root_rule(settings), _slurm_rule(settings)]
    if pam["account_base"] == "copy":
        rules = [f"account sufficient {_access_module(settings)}", *gate]
        changes = [{"insert": rule, "at": "last", "match": _same(rule)} for rule in rules]
        return {"source": pam["account_source"], "changes": changes}
    # The first refusal is the answer (libpam/pam_dispatch.c). Behind the node's own rules Slurm's could be the second,
    # and sshd lets a user in whose password they say has expired.
    way_past = f"account [success={len(gate)} default=ignore] {_access_module(settings)}"
    return {"contents": "\n".join([way_past, *gate, f"account substack {pam['account_source']}", ""])}


def _same(rule: str) -> dict:
    """What counts as our rule. The site may have rules of its own with the other modules, which stay as they are."""
    kind, _, module, *args = rule.split()
    return {"type": kind, "module": module, **({} if module in _SLURM_MODULES else {"args": args})}


def _session(pam: Mapping[str, Any]) -> dict:
    """The node's own rules, byte for byte, less the modules that would move a session out of its job."""
    return {
        "source": pam["session_source"],
        "changes": [
            {"remove": {"type": "session", "module": module}, "missing": "ok", "jumps": "shorten"}
            for module in pam["session_remove"]
        ],
    }


def _access_module(settings: Mapping[str, Any]) -> str:
    # nodefgroup: a bare name in the access file is a user's, never a group's.
    return f"pam_access.so nodefgroup accessfile={settings['access']['file']}"


def _root_rule(settings: Mapping[str, Any]) -> list[str]:
    """Slurm's modules let root in from everywhere; this rule stands in the way where the settings do not."""
    if "ALL" in settings["access"]["root"] or settings["mode"] == "adopt":
        return []
    return [f"account requisite {_ROOT_MODULE}"]


# In mode adopt nobody is turned away, so no answer of the module counts and it is told to deny nothing.
_ADOPT_ONLY = {
    "action_no_jobs": "ignore",
    "action_unknown": "newest",
    "action_adopt_failure": "allow",
    "action_generic_failure": "ignore",
}


def _slurm_rule(settings: Mapping[str, Any]) -> str:
    adopting = settings["mode"] == "adopt"
    control = "optional" if adopting else "required"
    words = " ".join(["account", control, f"{settings['module']}.so"])
    return " ".join([words, *_slurm_options(settings, _ADOPT_ONLY if adopting else {})])


def _slurm_options(settings: Mapping[str, Any], overrides: Mapping[str, str]) -> list[str]:
    """The module's options in its page's order, without those that say what it does anyway."""
    given = {**settings[settings["module"]], **overrides}
    if settings["module"] == "pam_slurm":
        return [flag for flag, wanted in sorted(given.items()) if wanted]
    word = __salt__["slurm_pam_settings.as_word"]
    defaults = __salt__["slurm_pam_settings.adopt_defaults"]()
    return [
        f"{option}={word(given[option])}"
        for option, default in defaults.items()
        if given.get(option) is not None and word(given[option]) != default
    ]


def service_file() -> dict[str, str]:
    """
    The PAM service that slurmstepd opens where slurm.conf has ``UsePAM=1``, as :py:func:`pam_stack.managed
    <salt.states.pam_stack.managed>` takes a file.

    Source: slurm.conf(5), UsePAM; contribs/pam/README of Slurm.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_plan.service_file

    .. versionadded:: 1.0.0
    """
    return {"path": f"{DIRECTORY}/slurm", "contents": _SERVICE}


def policy(settings: Mapping[str, Any] | None = None) -> list[dict]:
    """
    What a login has to come to under these settings, as scenarios for :py:func:`pam_verdict.prove
    <salt.modules.pam_verdict.prove>`.

    settings
        The merged settings of the formula; this node's where none are given.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_plan.policy

    .. versionadded:: 1.0.0
    """
    settings = settings or __salt__["slurm_pam.settings"]()
    service = settings["pam"]["service"]
    access = _access_module(settings)
    slurm = f"{settings['module']}.so"
    outsider = {access: _DENIALS}
    login = {"service": service, "call": "acct_mgmt"}
    scenarios = [
        {
            "name": "root and administrators get in from their origins with Slurm broken",
            **login,
            "given": {access: ["success"], **dict.fromkeys(_SLURM_MODULES, "any")},
            "expect": "permit",
        },
        {
            "name": "a user with a job gets in",
            **login,
            "given": {**outsider, slurm: ["success"]},
            "expect": "permit",
        },
        {
            "name": "a user without a job is turned away",
            **login,
            "given": {**outsider, slurm: _DENIALS},
            "expect": "deny",
        }
        if settings["mode"] != "adopt"
        else {
            "name": "nobody is turned away",
            **login,
            "given": {**outsider, **dict.fromkeys(_SLURM_MODULES, _DENIALS)},
            "expect": "permit",
        },
    ]
    if _root_rule(settings):
        scenarios.append(
            {
                "name": "root is turned away from other origins",
                **login,
                "given": {**outsider, _ROOT_MODULE: _DENIALS, slurm: ["success"]},
                "expect": "deny",
            }
        )
    scenarios.append({"name": "a session opens", "service": service, "call": "open_session", "expect": "permit"})
    scenarios += [
        {
            "name": f"no session reaches {module}",
            "service": service,
            "call": "open_session",
            "given": {},
            "expect": "unreached",
            "module": module,
        }
        for module in settings["pam"]["session_remove"]
    ]
    return scenarios


def modules(settings: Mapping[str, Any] | None = None) -> list[str]:
    """
    The PAM modules that these settings ask for, besides those that the node's own stacks have.

    settings
        The merged settings of the formula; this node's where none are given.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_plan.modules

    .. versionadded:: 1.0.0
    """
    settings = settings or __salt__["slurm_pam.settings"]()
    rules = [*_root_rule(settings), _slurm_rule(settings)]
    return ["pam_access.so", *(rule.split()[2] for rule in rules)]


def marker() -> str:
    """
    The first line of each PAM file that is ours as a whole.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam_plan.marker

    .. versionadded:: 1.0.0
    """
    return MARKER
