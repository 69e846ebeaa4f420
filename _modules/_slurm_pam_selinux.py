"""
A look: whether SELinux lets sshd reach the step daemons, and a policy module that has it do so.

pam_slurm_adopt runs in sshd, and so in its domain. It finds a user's jobs by the sockets in SlurmdSpoolDir. A policy
that knows nothing of Slurm keeps sshd from these without a word in any log (dontaudit), and users with a job are turned
away. The loaded policy is asked, with the types that this node has.

Source: stepd_available and stepd_connect in src/common/stepd_api.c of Slurm; unix(7), path_resolution(7).
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from salt.exceptions import CommandExecutionError

import _child
import _selinux
import _slurm_pam_daemons
import _slurm_pam_jobs
import _slurm_pam_login
import slurm_conf
import sshd_config
from _slurm_pam_ask import Unanswered, every_process
from _slurm_pam_finding import Finding

NAME = "slurm_pam"
_SPOOL = "/var/spool/slurmd"  # slurm.conf(5), SlurmdSpoolDir
_BUILDING = 300  # seconds for a policy that is built anew


class Need(NamedTuple):
    """Something that sshd has to be allowed; source and target are contexts."""

    source: str
    target: str
    kind: str
    permissions: tuple[str, ...]

    def told(self) -> str:
        source, target = map(_selinux.type_of, self[:2])
        return f"{source} -> {target}:{self.kind} ({' '.join(self.permissions)})"


def denied(settings: Mapping[str, Any]) -> list[Need]:
    """
    What sshd needs to reach the step daemons, and the loaded policy does not allow. Nothing if SELinux is off.

    settings
        The merged settings of the formula.

    Raises Unanswered if it could not be asked.
    """
    if settings["module"] != "pam_slurm_adopt" or not _selinux.is_on():
        return []
    try:
        asked = (need._replace(permissions=_selinux.denied(*need)) for need in needs(settings))
        return [need for need in asked if need.permissions]
    except (OSError, IndexError, ValueError) as error:
        raise Unanswered(f"SELinux did not say what sshd may do: {error}") from error


def needs(settings: Mapping[str, Any]) -> list[Need]:
    """
    All that sshd needs on this node, each kind once.

    settings
        The merged settings of the formula.

    Raises OSError if the kernel does not say.
    """
    asks, (spool, there, conf) = _who_asks(settings), _places(settings)
    steps = _step_daemon()
    found = [
        (_selinux.of_file(there) if there else _socket(steps, spool), "sock_file", ("write",)),
        (steps, "unix_stream_socket", ("connectto",)),
        (_selinux.of_file(spool), "dir", ("getattr", "open", "read", "search")),
        *((_selinux.of_file(place), "dir", ("search",)) for path in (spool, conf) for place in _above(path)),
        (_selinux.of_file(conf), "file", ("getattr", "open", "read")),
    ]
    merged: dict[tuple[str, str], dict[str, None]] = {}
    for target, kind, permissions in found:
        merged.setdefault((target, kind), {}).update(dict.fromkeys(permissions))
    return [Need(asks, *what, tuple(permissions)) for what, permissions in merged.items()]


def _above(path: str) -> Iterator[str]:
    """The directories on the way to where a path leads."""
    path = os.path.realpath(path)
    while path != "/":
        path = os.path.dirname(path)
        yield path


# Who is asked, and who asks


def _who_asks(settings: Mapping[str, Any]) -> str:
    """The context in which sshd asks PAM: from 9.8 on a program of its own does, which may have a domain of its own."""
    running = [daemon.process.pid for daemon in _slurm_pam_daemons.listening(settings) if daemon.process]
    listener = _selinux.of_process(running[0]) if running else _executed(_init(), _program("sshd"))
    try:
        told = sshd_config.effective(settings["sshd"]["config"])
    except CommandExecutionError:
        told = {}  # the look at sshd tells
    session = _slurm_pam_login.value(told, "sshdsessionpath", "")
    return _executed(listener, session) if session else listener


def _step_daemon() -> str:
    """The context of the step daemons: of one that runs, or of one that slurmd would start."""
    if running := _running("slurmstepd"):
        return running
    slurmd = _program("slurmd")
    daemon = _running("slurmd") or _executed(_init(), slurmd)
    return _executed(daemon, os.path.join(os.path.dirname(slurmd), "slurmstepd"))


def _running(name: str) -> str:
    """The context of root's processes of this name; empty if there is none, or all have ended meanwhile."""
    pids = (one.pid for one in every_process() if one.uid == 0 and os.path.basename(one.program) == name)
    return next(filter(None, map(_selinux.of_process, pids)), "")


def _init() -> str:
    return _selinux.of_process(1)


def _program(name: str) -> str:
    """Where a program is, or is to be when its package is installed."""
    return os.path.realpath(_child.which(name) or f"/usr/sbin/{name}")


def _executed(source: str, program: str) -> str:
    return _selinux.becomes(source, _selinux.of_file(program), "process")


# Where


def _places(settings: Mapping[str, Any]) -> tuple[str, str | None, str]:
    """SlurmdSpoolDir, a socket in it if there is one, and slurm.conf."""
    try:
        conf = slurm_conf.find(settings["slurm"]["conf"])
        spool = slurm_conf.effective(conf).get("slurmdspooldir", {}).get("value") or _SPOOL
    except CommandExecutionError:
        conf, spool = "/etc/slurm/slurm.conf", _SPOOL  # the look at slurm.conf tells
    there = next(iter(_slurm_pam_jobs.sockets()), None)
    host = socket.gethostname().partition(".")[0]
    node = settings["pam_slurm_adopt"].get("nodename") or host
    return os.path.dirname(there) if there else spool.replace("%n", node).replace("%h", host), there, conf


def _socket(steps: str, spool: str) -> str:
    """The context that a socket of theirs will have."""
    return _selinux.becomes(steps, _selinux.of_file(spool), "sock_file")


# The policy module


def module(allowed: Iterable[Need]) -> str:
    """
    The text of a policy module that allows this.

    allowed
        What sshd needs.

    Source: the CIL reference guide of SELinux, allow and optional.
    """
    types = [(*map(_selinux.type_of, need[:2]), need.kind, " ".join(need.permissions)) for need in allowed]
    rules = {"(allow {} {} ({} ({})))".format(*words) for words in types}
    # Where a later policy lacks one of the types, it would be refused as a whole without this.
    body = "\n".join(f"    {rule}" for rule in sorted(rules))
    return f"; {NAME}: sshd may reach the step daemons of Slurm\n(optional {NAME}\n{body}\n)\n"


def module_text(settings: Mapping[str, Any], lacking: list[Need]) -> str:
    """
    The text of the module that is to be loaded: what is lacking, or all that is needed where it takes the place of one.

    settings
        The merged settings of the formula.
    lacking
        As :py:func:`denied` gives it.
    """
    return module(needs(settings) if is_loaded() else lacking)


def is_loaded() -> bool:
    """
    Whether the module is there, in force or disabled.

    Raises Unanswered if semodule does not say, where a policy is loaded.
    """
    if _child.which("semodule") is None:
        return False
    try:
        said = _semodule("-lfull")
    except Unanswered:
        if _selinux.is_on():
            raise
        return False  # there is no policy to have modules
    return any(NAME in line.split() for line in said.splitlines())


def load(settings: Mapping[str, Any]) -> None:
    """
    Load the module, which stays over a boot.

    settings
        The merged settings of the formula.

    Raises CommandExecutionError if semodule does not take it, or if it does not suffice; it is taken away then.
    """
    there = is_loaded()
    _install(module_text(settings, denied(settings)))
    if lacking := denied(settings):
        if not there:
            unload()
        raise CommandExecutionError(
            f"The module {NAME} does not suffice: {_told(lacking)}. Something else stands against it, such as a "
            "constraint of the policy. Write a policy for Slurm, in which its daemons have a domain of their own"
        )


def _install(text: str) -> None:
    with tempfile.TemporaryDirectory(prefix="slurm_pam-") as directory:
        path = os.path.join(directory, f"{NAME}.cil")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        _semodule("-i", path, "-e", NAME)


def unload() -> None:
    """
    Take the module away.

    Raises Unanswered with semodule's words if it does not.
    """
    _semodule("-r", NAME)


def _semodule(*words: str) -> str:
    said = _child.ask(_child.which("semodule") or "semodule", *words, timeout=_BUILDING)
    if said.returncode:
        raise Unanswered(f"semodule {' '.join(words)}: {_child.reason(said)}")
    return said.stdout


# What it tells


_WHY = "Users with a job are turned away, or stay outside of it, and no log says why"


def look(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether users with a job would be turned away because SELinux keeps sshd from the step daemons."""
    try:
        lacking = denied(settings)
        # The apply loads the module before it closes the node.
        if not lacking or (wanted["selinux"] == "manage" and _child.which("semodule")):
            return
        text, enforces = module_text(settings, lacking), _enforces()
    except Unanswered as error:
        yield Finding(
            f"Whether SELinux lets sshd reach the step daemons could not be asked: {error}",
            f"If it does not: {_WHY}",
            "Find out why, or log in as a user with a job after the apply",
            "warnings",
        )
        return
    yield Finding(
        _KEPT.format(_told(lacking)),
        _WHY if enforces else f"It is permissive now. As soon as it enforces: {_WHY}",
        f"Set slurm_pam:selinux: manage, with semodule there (policycoreutils), or load this yourself, as {NAME}.cil:\n"
        f"{text}",
        "problems" if enforces and settings["mode"] != "adopt" else "warnings",
    )


def refusal(settings: Mapping[str, Any]) -> str:
    """
    Why Slurm's module finds no job in sshd, whoever comes; empty if nothing keeps it from them.

    settings
        The merged settings of the formula.

    Raises Unanswered if it could not be asked.
    """
    lacking = denied(settings)
    return _KEPT.format(_told(lacking)) if lacking and _enforces() else ""


_KEPT = "SELinux keeps sshd from the step daemons of Slurm: {}"


def _told(lacking: Iterable[Need]) -> str:
    return ", ".join(need.told() for need in lacking)


def _enforces() -> bool:
    try:
        return _selinux.enforces()
    except OSError as error:
        raise Unanswered(f"SELinux did not say whether it enforces: {error}") from error
