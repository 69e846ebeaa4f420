"""
The manifest: everything that an apply puts on a node or changes there, from the settings.

States, confirm, the record, preflight, audit and clean read it; nothing of it is written down a second time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import _child
import _slurm_pam_access
import _slurm_pam_accounts
import _slurm_pam_settings
import slurm_conf
import sshd_config
from _slurm_pam_doors import CONSOLE, INSIDE, KNOWN, LATER, NETWORK, Door

# The first line of each PAM file that is ours as a whole, and around our block in a file of others.
MARKER = "# slurm_pam: written by Salt, and again at every apply"
# Marks our lines in slurm.conf and in sshd's files.
TAG = "slurm_pam"
PAM_DIRECTORY = "/etc/pam.d"
# What a file has that is ours as a whole; others are edited.
WHOLE = {"contents", "source", "link"}
RECORD = "/var/lib/slurm_pam/places.json"
# It is shown as it is, so it has no marker; the record says whether it is ours.
MESSAGE = "/etc/security/slurm-message"
# The watch: its program, the name under which it drains the node, and what it holds the node against.
WATCH, DRAIN, ACCEPTED = WATCH_FILES = tuple(f"/var/lib/slurm_pam/{name}" for name in ("watch", "drain", "accepted"))
# Those that the node has are masked, and have to run again when an apply is taken back.
LOGIND_UNITS = ("systemd-logind.service", "systemd-logind-varlink.socket")


def wanted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    What these settings want of a node, as plain data; :py:func:`slurm_pam.wanted <salt.modules.slurm_pam.wanted>` says
    what each entry is. Nothing here looks at the node, but for which ids are the system's, where a door needs it.

    settings
        The merged settings of the formula, of the right shape.
    """
    settings = _slurm_pam_settings.without_nulls(settings)
    return {
        # Files
        "access": _access(settings),
        "slurmstepd": _slurmstepd(settings),
        "slurm_conf": _slurm_conf(settings["slurm"]),
        "sshd": _sshd(settings["sshd"]),
        "pam": _pam(settings),
        "message": _message(settings["pam"]),
        "record": RECORD,
        "watch": settings["watch"],
        # What is changed through a tool
        "packages": _packages(settings),
        "groups": _groups(settings["access"]["groups"]),
        "units": {"slurmd": settings["slurm"]["service"], "sshd": settings["sshd"]["service"]},
        "logind": settings["logind"],
        "selinux": settings["selinux"],
        # What has to be there
        "modules": _modules(settings),
    }


def touched(settings: Mapping[str, Any]) -> list[str]:
    """
    Every path that an apply of these settings may write below /etc, /var and /run, in the order in which they are
    brought back: the service's PAM file first, so that nobody is turned away in between, then what it names, and the
    rest. Where something of ours stands by now is among them.

    settings
        The merged settings of the formula, of the right shape.

    What is changed through a tool is the tool's: the package manager's files, /etc/group and /etc/gshadow with their
    copies. So is what is gone when the apply ends, beside the files and in /run, and what Salt and confirm keep.

    Raises CommandExecutionError if it cannot be told what is to become of sshd's configuration or of slurm.conf.
    """
    return [] if settings["mode"] == "audit" else list(dict.fromkeys(_touched(wanted(settings))))


def _touched(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield from map(_written, reversed(manifest["pam"]["files"]))
    yield from map(_written, manifest["access"]["files"])
    if manifest["message"] or os.path.lexists(MESSAGE):
        yield MESSAGE
    if manifest["logind"] == "mask":
        yield from (mask(unit) for unit in LOGIND_UNITS if _may_be_there(unit))
    if sshd := manifest["sshd"]:
        where = sshd["config"], sshd["drop_in"], sshd["tag"]
        # What is to come, and what there is of an earlier apply.
        for options in (sshd["options"], {}):
            yield from map(os.path.realpath, sshd_config.plan(options, *where))
    conf = manifest["slurm_conf"]
    if conf["manage"] == "enforce":
        for values in (conf["settings"], {}):
            yield from map(os.path.realpath, slurm_conf.plan(values, conf["path"], conf["tag"]))
    if manifest["slurmstepd"]:
        yield from map(_written, manifest["slurmstepd"]["files"])
    yield manifest["record"]
    if manifest["watch"] or os.path.lexists(ACCEPTED):
        yield from WATCH_FILES


def _written(file: Mapping[str, Any]) -> str:
    """A link is followed to the file that is edited; one that stands where a file of ours is to be is replaced."""
    return file["path"] if WHOLE & file.keys() else os.path.realpath(file["path"])


def mask(unit: str) -> str:
    """The path at which systemd finds that a unit is masked (systemd.unit(5))."""
    return f"/etc/systemd/system/{unit}"


def _may_be_there(unit: str) -> bool:
    return "LoadState=not-found" not in _child.ask("systemctl", "show", "--property=LoadState", unit).stdout


# Who gets in without a job


def _access(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The rules of pam_access (access.conf(5)), in the order in which they are read: root, groups, users, and nobody else.
    A group is written ``(group)``, which is never taken for a user of that name.

    There is no blank beside a word: with ``listsep=,``, for names that have blanks in them, it would be part of the
    word, and ``- : ALL : ALL`` would turn nobody away. Without it the file means the same, so that it may be written
    ahead of the rule that names it, or after.
    """
    access, mapped = settings["access"], any(door.reach == NETWORK for door in closed(settings))
    who = [("root", access["root"])]
    who += [(f"({name})", group["origins"]) for name, group in sorted(access["groups"].items())]
    who += [(name, user["origins"]) for name, user in sorted(access["users"].items())]
    rules = "".join(line for entry in who for line in _slurm_pam_access.lines(*entry, mapped)) + "-:ALL:ALL\n"
    return {"files": [{"path": access["file"], "block": rules}], "marker": MARKER}


def has_blanks(access: Mapping[str, Any]) -> bool:
    """Whether a group's name has blanks in it, as directories have them (``domain admins``)."""
    return any(" " in name for name, group in access["groups"].items() if group is not None)


def _groups(groups: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: {"members": group.get("members", []), "gid": group.get("gid")}
        for name, group in groups.items()
        if group.get("local", True)
    }


# Slurm


def _packages(settings: Mapping[str, Any]) -> dict[str, str | None]:
    packages = settings["packages"]
    names = {"node": packages["node"], "modules": packages[settings["module"]]}
    return names if packages["manage"] else dict.fromkeys(names)


def _slurm_conf(slurm: Mapping[str, Any]) -> dict[str, Any]:
    values = {**slurm["settings"], **({"UsePAM": "1"} if slurm["use_pam"] else {})}
    return {"manage": slurm["manage"], "settings": values, "path": slurm["conf"], "tag": TAG}


def _slurmstepd(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """slurm.conf(5), UsePAM."""
    if not settings["slurm"]["use_pam"]:
        return None
    file = {"path": f"{PAM_DIRECTORY}/slurm", "contents": _SLURMSTEPD}
    return {"files": [file], "marker": MARKER, "replace": settings["pam"]["replace"]}


# contribs/pam/README of Slurm
_SLURMSTEPD = """\
auth required pam_localuser.so
account required pam_unix.so
session required pam_limits.so
"""


# sshd


def _sshd(sshd: Mapping[str, Any]) -> dict[str, Any] | None:
    places = {name: sshd[name] for name in ("options", "config", "drop_in")}
    return {**places, "tag": TAG} if sshd["manage"] else None


# The PAM files


_ACCOUNT = "slurm-common-account"
_SESSION = "slurm-common-session"
_ROOT_MODULE = "pam_succeed_if.so quiet uid != 0"
_MESSAGE_MODULE = f"pam_echo.so file={MESSAGE}"
# The module takes no arguments; this one tells the line from the node's own.
_PERMIT_MODULE = f"pam_permit.so {TAG}"
# One of them is ours; a line with the other may be left over from before.
_SLURM_MODULES = ("pam_slurm_adopt.so", "pam_slurm.so")


def _pam(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The PAM files, those that the service includes first, and the policy that they have to meet.

    Source: https://slurm.schedmd.com/pam_slurm_adopt.html, access.conf(5), pam.d(5).
    """
    pam = settings["pam"]
    retargeted = [
        {"retarget": {"from": pam["account_source"], "to": _ACCOUNT, "type": "account"}},
        {"retarget": {"from": pam["session_source"], "to": _SESSION, "type": "session"}},
    ]
    return {
        "files": [
            *_file_and_link(_ACCOUNT, pam["suffix"], _account(settings)),
            *_file_and_link(_SESSION, pam["suffix"], _session(settings)),
            *(file for door in opened(settings) for file in _taken_back(_door_files(settings, door))),
            *(file for door in closed(settings) for file in _door_files(settings, door)),
            {"path": f"{PAM_DIRECTORY}/{pam['service']}", "changes": retargeted},
        ],
        "policy": [
            *_policy(settings),
            *(scenario for door in closed(settings) for scenario in _door_policy(settings, door)),
            *pam["policy"],
        ],
        "marker": MARKER,
        "replace": pam["replace"],
    }


def _file_and_link(name: str, suffix: str, spec: dict) -> Iterator[dict]:
    """SUSE's convention: the text in a file with a suffix, and a link of the plain name to it."""
    yield {"path": f"{PAM_DIRECTORY}/{name}{suffix}", **spec}
    if suffix:
        yield {"path": f"{PAM_DIRECTORY}/{name}", "link": f"{name}{suffix}"}


def _account(settings: Mapping[str, Any]) -> dict:
    """Slurm, with a way past it for administrators, and the node's own rules."""
    pam = settings["pam"]
    gate = _gate(settings)
    if pam["account_base"] == "copy":
        past = Rule(_past_a_copys_gate(gate), _access_module(settings))
        return {"source": pam["account_source"], "changes": list(_appended([past, *gate]))}
    # The first refusal is the answer (libpam/pam_dispatch.c). Behind the node's own rules Slurm's could be the second,
    # and sshd lets a user in whose password they say has expired.
    return {"contents": _stack([_access_module(settings)], gate, pam["account_source"])}


def _past_a_copys_gate(gate: list[Rule]) -> str:
    """How administrators get past it: sufficient does not end a stack in which a rule has failed before."""
    shows = any(rule.module == _MESSAGE_MODULE for rule in gate)
    return f"[success={len(gate) - 1} default=ignore]" if shows else "sufficient"


def _stack(past: list[str], gate: list[Rule], source: str) -> str:
    """Modules that each lead past the gate, the gate, and the node's own rules."""
    ways = [
        Rule(f"[success={len(past) - place + len(gate)} default=ignore]", module)
        for place, module in enumerate(past, 1)
    ]
    return "\n".join([*(rule.line() for rule in (*ways, *gate)), f"account substack {source}", ""])


def _appended(rules: list[Rule]) -> Iterator[dict]:
    for rule in rules:
        # Our own jumps come when all that they pass over is there, or they would be lengthened.
        plain = rule._replace(control="required")
        yield {"insert": plain.line(), "at": "last", "match": _same(rule), "jumps": "lengthen"}
    for rule in rules:
        yield {"set_control": _same(rule), "to": rule.control}


def _same(rule: Rule) -> dict:
    """What counts as our rule. The site may have rules of its own with the other modules, which stay as they are."""
    module, *args = rule.module.split()
    return {"type": "account", "module": module, **({} if module in _SLURM_MODULES else {"args": args})}


def _session(settings: Mapping[str, Any]) -> dict:
    """
    The node's own rules, byte for byte, less the modules that would move a session out of its job, or with the access
    file in front of those that administrators keep.

    Source: https://slurm.schedmd.com/pam_slurm_adopt.html (Administrative Access Configuration).
    """
    pam = settings["pam"]
    unless = f"session [success=ignore default=1] {_access_module(settings)}"
    changes = []
    for module in pam["session_remove"]:
        line = {"type": "session", "module": module}
        if module in pam["session_keep"]:
            changes.append({"insert": unless, "before": line, "match": "here", "missing": "ok", "jumps": "lengthen"})
        else:
            changes.append({"remove": line, "missing": "ok", "jumps": "shorten"})
    return {"source": pam["session_source"], "changes": changes}


def _access_module(settings: Mapping[str, Any]) -> str:
    # nodefgroup: a bare name in the access file is a user's, never a group's.
    words = ["pam_access.so", "nodefgroup", f"accessfile={settings['access']['file']}"]
    return " ".join([*words, *(["listsep=,"] if has_blanks(settings["access"]) else [])])


class Rule(NamedTuple):
    """A rule of an account stack."""

    control: str
    module: str  # with its arguments

    def line(self) -> str:
        return f"account {self.control} {self.module}"


def _gate(settings: Mapping[str, Any]) -> list[Rule]:
    """
    What everybody else has to get past.

    With a message, Slurm's refusal alone leads to it: success and ignore jump over it, and land where they count as
    they do with ``required``. A refusal that is not Slurm's own, such as a missing module's, ends the stack.
    """
    slurm = f"{settings['module']}.so"
    root = _root_rule(settings)
    if settings["mode"] == "adopt":
        return [*root, Rule("optional", " ".join([slurm, *_slurm_options(settings, _ADOPT_ONLY)]))]
    module = " ".join([slurm, *_slurm_options(settings, {})])
    if not _message(settings["pam"]):
        return [*root, Rule("required", module)]
    return [
        *root,
        Rule("[success=1 new_authtok_reqd=ok ignore=2 perm_denied=bad default=die]", module),
        Rule("[default=ignore]", _MESSAGE_MODULE),
        Rule("required", _PERMIT_MODULE),
    ]


def _message(pam: Mapping[str, Any]) -> dict[str, str] | None:
    """What is shown to whoever Slurm turns away; pam_echo(8) reads a percent sign as the beginning of an item."""
    if pam["message"] is None:
        return None
    return {"path": MESSAGE, "text": pam["message"].rstrip("\n").replace("%", "%%") + "\n"}


def _root_rule(settings: Mapping[str, Any]) -> list[Rule]:
    """Slurm's modules let root in from everywhere; this rule stands in the way where the settings do not."""
    if "ALL" in _slurm_pam_access.written(settings["access"]["root"]) or settings["mode"] == "adopt":
        return []
    return [Rule("requisite", _ROOT_MODULE)]


# In mode adopt nobody is turned away, so no answer of the module counts and it is told to deny nothing.
_ADOPT_ONLY = {
    "action_no_jobs": "ignore",
    "action_unknown": "newest",
    "action_adopt_failure": "allow",
    "action_generic_failure": "ignore",
}


def _slurm_options(settings: Mapping[str, Any], overrides: Mapping[str, str]) -> list[str]:
    """The module's options in its page's order, without those that say what it does anyway."""
    given = {**settings[settings["module"]], **overrides}
    if settings["module"] == "pam_slurm":
        return [flag for flag, on in sorted(given.items()) if on]
    words = {name: _slurm_pam_settings.as_word(value) for name, value in given.items()}
    options = _slurm_pam_settings.ADOPT_OPTIONS.items()
    return [f"{name}={words[name]}" for name, option in options if words.get(name, option.default) != option.default]


def _modules(settings: Mapping[str, Any]) -> list[str]:
    modules = ["pam_access.so", *(rule.module.split()[0] for rule in _gate(settings))]
    for door in closed(settings):
        rules = [*_past(settings, door), *(rule.module for rule in _door_gate(settings, door))]
        modules += [module.split()[0] for module in rules]
    return list(dict.fromkeys(modules))


# The other doors


# What the record makes of a door that an earlier apply has closed and these settings do not.
OPENED = "opened"
_DENY_MODULE = "pam_deny.so"


def closed(settings: Mapping[str, Any]) -> list[Door]:
    """The services besides sshd's that get a gate."""
    return _doors(settings, "close")


def opened(settings: Mapping[str, Any]) -> list[Door]:
    """Those that had one."""
    return _doors(settings, OPENED)


def _doors(settings: Mapping[str, Any], word: str) -> list[Door]:
    ours = settings["pam"]["service"]
    return [door_of(name) for name, said in sorted(settings["doors"].items()) if said == word and name != ours]


def door_of(service: str) -> Door:
    """A service that is not known is taken to be reached from elsewhere."""
    return KNOWN.get(service, Door(service, "not known", NETWORK))


def door_changes(settings: Mapping[str, Any], door: Door) -> list[dict]:
    """What changes in the service's own file."""
    pam = _as_if_sshds(settings, door)["pam"]
    changes = [{"retarget": {"from": pam["account_source"], "to": _gate_name(door), "type": "account"}}]
    if session := _door_session(settings, door):
        # Services in which nobody types have another base for sessions, without what is taken out here.
        changes.append({"retarget": {"from": pam["session_source"], "to": session, "type": "session"}, "missing": "ok"})
    return changes


def _door_session(settings: Mapping[str, Any], door: Door) -> str | None:
    """The stack of sessions that a door gets instead of the node's, if it gets one."""
    if not _is_adopted(settings, door) or included_door(settings, door):
        return None
    return _SESSION if _source(settings, door) is None else f"{_gate_name(door)}-session"


def _source(settings: Mapping[str, Any], door: Door) -> str | None:
    """The stack that the service's own file names, if it is another than sshd's."""
    return settings["pam"]["door_sources"].get(door.service)


def included_door(settings: Mapping[str, Any], door: Door) -> Door | None:
    """The other door whose whole file this one's includes: what is taken out of that one's sessions is out of these."""
    return KNOWN.get(_source(settings, door) or "")


def _door_files(settings: Mapping[str, Any], door: Door) -> list[dict]:
    """
    A file for each door, which names its service to Slurm's module, so that sshd's stays as it is, and each comes and
    goes alone. One whose own file names other stacks than sshd's has its sessions from there.
    """
    own = _as_if_sshds(settings, door)
    stack = _stack(_past(settings, door), _door_gate(settings, door), own["pam"]["account_source"])
    files = [{"path": gate_of(door.service), "contents": stack}]
    if (session := _door_session(settings, door)) not in (None, _SESSION):
        files.append({"path": f"{PAM_DIRECTORY}/{session}", **_session(own)})
    return [*files, {"path": f"{PAM_DIRECTORY}/{door.service}", "changes": door_changes(settings, door)}]


def _taken_back(files: list[dict]) -> list[dict]:
    return [{**file, "absent": True} for file in reversed(files)]


_GATE = "slurm-door-"


def _gate_name(door: Door) -> str:
    return _GATE + door.service


def gate_of(service: str) -> str:
    """The file that closes a door."""
    return f"{PAM_DIRECTORY}/{_GATE}{service}"


def _past(settings: Mapping[str, Any], door: Door) -> list[str]:
    """The modules that lead past a door's gate."""
    return [*([] if door.reach == NETWORK else [_exempt(door)]), _access_module(settings)]


def _exempt(door: Door) -> str:
    """root always has the console. What runs by itself is the system's as well, and su leads to its accounts."""
    return f"pam_succeed_if.so quiet uid {'= 0' if door.reach == CONSOLE else f'< {_slurm_pam_accounts.people()}'}"


# What is true of root alone that calls a program of the node, whoever it is to become: in su's own file on SUSE and EL.
_ROOT_CALLS = ("pam_rootok.so", "pam_succeed_if.so uid = 0 use_uid")


def exempts(rule: Mapping[str, Any], door: Door) -> bool:
    """Whether a rule of a door's stack lets nobody past but root and the system's accounts."""
    if rule["name"] == "pam_succeed_if.so" and os.path.basename(rule["file"]).startswith(_GATE):
        return True
    calls = (module.split() for module in _ROOT_CALLS) if door.reach == INSIDE else ()
    return any(name == rule["name"] and set(args) <= set(rule["args"]) for name, *args in calls)


def _door_gate(settings: Mapping[str, Any], door: Door) -> list[Rule]:
    if _is_adopted(settings, door):
        return _gate(_as_if_sshds(settings, door))
    return [Rule("optional", _PERMIT_MODULE) if settings["mode"] == "adopt" else Rule("required", _DENY_MODULE)]


def _is_adopted(settings: Mapping[str, Any], door: Door) -> bool:
    """Whether Slurm is asked: pam_slurm moves no process into a job, so it may be asked everywhere."""
    return door.adopts or settings["module"] == "pam_slurm"


def _as_if_sshds(settings: Mapping[str, Any], door: Door) -> dict[str, Any]:
    """The settings by which this service would be sshd's."""
    pam = {**settings["pam"], "service": door.service}
    if source := _source(settings, door):
        pam |= {"account_source": source, "session_source": source}
    if door.reach == LATER:
        pam["message"] = None  # nobody is there to read it
    access = settings["access"] if door.reach == NETWORK else {**settings["access"], "root": ["ALL"]}
    adopt = {**settings["pam_slurm_adopt"], "service": door.service}
    return {**settings, "pam": pam, "access": access, "pam_slurm_adopt": adopt}


# The policy


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


def _policy(settings: Mapping[str, Any]) -> list[dict]:
    """What a login has to come to under these settings, as scenarios of a proof."""
    service = settings["pam"]["service"]
    access = _access_module(settings)
    slurm = _acting(settings)
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
    if _message(settings["pam"]) and settings["mode"] != "adopt":
        scenarios += _shown_to_nobody_else(login, access, slurm)
    scenarios.append({"name": "a session opens", "service": service, "call": "open_session", "expect": "permit"})
    scenarios += [
        {
            "name": f"no session but an administrator's reaches {module}" if kept else f"no session reaches {module}",
            "service": service,
            "call": "open_session",
            "given": outsider if kept else {},
            "expect": "unreached",
            "module": module,
        }
        for module in settings["pam"]["session_remove"]
        for kept in [module in settings["pam"]["session_keep"]]
    ]
    return scenarios


def _acting(settings: Mapping[str, Any]) -> str:
    """Slurm's module as it acts for the service: for one that it is not told of it answers ignore, whoever comes."""
    words = [word for word in _slurm_options(settings, {}) if word.startswith("service=")]
    return " ".join([f"{settings['module']}.so", *words])


def _shown_to_nobody_else(login: Mapping[str, Any], access: str, slurm: str) -> Iterator[dict]:
    """The message is for those whom Slurm turns away."""
    given = {
        "an administrator": {access: ["success"]},
        "a user with a job": {access: _DENIALS, slurm: ["success"]},
        "root from other origins": {access: _DENIALS, _ROOT_MODULE: _DENIALS, slurm: ["ignore"]},
    }
    for who, answers in given.items():
        name = f"{who} is not shown the message"
        yield {"name": name, **login, "given": answers, "expect": "unreached", "module": _MESSAGE_MODULE}


def _door_policy(settings: Mapping[str, Any], door: Door) -> Iterator[dict]:
    """The same for another door, from which some more go on."""
    if _is_adopted(settings, door):
        scenarios = _policy(_as_if_sshds(settings, door))
    else:
        scenarios = list(_without_slurm(settings, door))
    exempt = [] if door.reach == NETWORK else [_exempt(door)]
    others = [*exempt, *(_ROOT_CALLS if door.reach == INSIDE else ())]
    for scenario in scenarios:
        given = {**dict.fromkeys(others, _DENIALS), **scenario.get("given", {})}
        if scenario.get("module") == _MESSAGE_MODULE:
            given |= _silent(settings, door)
        yield {**scenario, "name": f"{door.service}: {scenario['name']}", "given": given}
    for module in exempt:
        yield {
            "name": f"{door.service}: {'root gets' if door.reach == CONSOLE else 'root and system accounts get'} in",
            "service": door.service,
            "call": "acct_mgmt",
            "given": {_access_module(settings): _DENIALS, **dict.fromkeys(_SLURM_MODULES, "any"), module: ["success"]},
            "expect": "permit",
        }


def _silent(settings: Mapping[str, Any], door: Door) -> dict[str, list[str]]:
    """What the gate of a door answers whose whole file this one's includes: Slurm's module acts for that one alone."""
    included = included_door(settings, door)
    if settings["module"] == "pam_slurm" or included not in closed(settings) or not included.adopts:
        return {}
    return {_acting(_as_if_sshds(settings, included)): ["ignore"]}


def _without_slurm(settings: Mapping[str, Any], door: Door) -> Iterator[dict]:
    """What a door comes to at which Slurm is not asked."""
    access = _access_module(settings)
    adopting = settings["mode"] == "adopt"
    login = {"service": door.service, "call": "acct_mgmt"}
    yield {"name": "administrators get in", **login, "given": {access: ["success"]}, "expect": "permit"}
    name = "nobody is turned away" if adopting else "everybody else is turned away"
    yield {"name": name, **login, "given": {access: _DENIALS}, "expect": "permit" if adopting else "deny"}
