"""Whether sessions keep the modules that they need and stay in their job, and administrators keep what they rely on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import _child
import _pam_dispatch
import _pam_edit
import _pam_expand
import _pam_libpam
import _slurm_pam_record
from _pam_errors import PamError
from _slurm_pam_doors import KNOWN
from _slurm_pam_finding import Finding
from _text import some

# Modules that a session needs, and what is missing without them. A few are left out for a reason now and then.
_NEEDED = {
    "pam_unix.so": ("nothing records when a login begins and ends", "problems"),
    "pam_selinux.so": ("a session runs in sshd's own SELinux context, which allows too much, or nothing", "problems"),
    "pam_loginuid.so": ("the audit log does not tell whose a process is", "problems"),
    "pam_namespace.so": ("people share the one /tmp where each should have their own", "problems"),
    "pam_limits.so": ("a session lacks the site's limits, such as that of locked memory, which MPI needs", "problems"),
    "pam_keyinit.so": ("a session has sshd's own keyring, with which Kerberos and encrypted homes fail", "warnings"),
    "pam_env.so": ("a session lacks the environment that the site sets", "warnings"),
    "pam_mkhomedir.so": ("people without a home directory get none", "warnings"),
    "pam_oddjob_mkhomedir.so": ("people without a home directory get none", "warnings"),
    "pam_mount.so": ("home directories are not mounted", "warnings"),
    "pam_afs_session.so": ("there is no token for AFS", "warnings"),
    "pam_sss.so": ("sssd does not see a session begin and end", "warnings"),
    "pam_winbind.so": ("winbind does not see a session begin and end", "warnings"),
    "pam_krb5.so": ("tickets are neither kept nor removed with the session", "warnings"),
}


def kept(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """What administrators are to keep, and nobody has."""
    pam = settings["pam"]
    path = _pam_libpam.locate(pam["session_source"]) if pam["session_keep"] else None
    try:
        lines = _pam_expand.read(path) if path else []
    except PamError:
        return  # the look at the stacks tells
    for module in pam["session_keep"]:
        if path and not _pam_edit.find(lines, type="session", module=module):
            yield Finding(
                f"{path} has no {module} that administrators could keep (slurm_pam:pam:session_keep)",
                "Their sessions do without it, as they do now",
                "Put it there (pam-config, pam-auth-update, authselect), or take it out of the list",
                "warnings",
            )


_AT_ONCE = "With systemd-logind masked, `shutdown -r +60` reboots at once and ends every job"
_KEEP = (
    "slurm_pam:logind: keep leaves logind alone, and sessions stay in their jobs all the same, since pam_systemd is "
    "out of sshd's session"
)


def shutdown(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """
    Whether a shutdown that an administrator schedules would happen at once, since logind is not there to wait.

    Source: halt_main in systemd's src/systemctl/systemctl-compat-halt.c, before 246 in systemctl.c.
    """
    closing, masked = wanted["logind"] == "mask", _slurm_pam_record.is_masked()
    if not closing and not masked:
        return
    said = _child.ask("systemctl", "--version").stdout.split()
    release = re.match(r"\d+", said[1]) if len(said) > 1 else None
    if release is None:
        found = "systemd did not say which release it is (systemctl --version)"
    elif int(release[0]) < settings["logind_kept_from"]:
        return
    elif closing:
        found = f"slurm_pam:logind is {wanted['logind']!r}, and this is systemd {release[0]}"
    else:
        found = f"systemd-logind is masked here, by an earlier apply or by hand, and this is systemd {release[0]}"
    unmask = "" if closing else "Unmask it: systemctl unmask --now systemd-logind. "
    then = "Until then, use systemctl reboot, which has no time, or scontrol reboot"
    yield Finding(found, _AT_ONCE, f"{unmask}{_KEEP}. {then}", "warnings")


def left_by_su(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """
    Programs of the node that take whoever is in a job out of it: where logind is kept, su begins a session of logind's.

    Source: pam_systemd(8), which puts a session into a scope of its own.
    """
    if wanted["logind"] != "keep":
        return
    said = {service for service, word in settings["doors"].items() if word != "report"}
    there = (door.service for door in KNOWN.values() if door.setuid and any(map(_child.which, door.programs)))
    if services := [service for service in there if not said & _files(service) and _begins_a_session(service)]:
        yield Finding(
            f"The session rules of {some(services)} have pam_systemd.so, and logind is kept",
            "Whoever uses it in a job is outside of the job from then on, neither limited by it nor ended with it",
            f"Close it (slurm_pam:doors:{services[0]}: close), or say that it is meant (leave)",
            "warnings",
        )


def _files(service: str) -> set[str]:
    """A service, and those whose files its own includes: su-l is su on Debian."""
    path = _pam_libpam.locate(service)
    try:
        lines = _pam_expand.read(path) if path else []
    except PamError:
        lines = []  # slurm_pam.doors tells
    return {service, *(line["target"] for line in lines if line["kind"] == "include")}


def _begins_a_session(service: str) -> bool:
    try:
        stack = _pam_dispatch.compile(service, calls=["open_session"]).stacks.get("open_session", ())
    except PamError:
        return False
    return any(entry.rule["name"] == "pam_systemd.so" for entry in stack)


def removed(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    """What is to be taken out of sessions and must not, or is seldom meant."""
    for module in settings["pam"]["session_remove"]:
        why, kind = _NEEDED.get(module.rpartition("/")[2], (None, None))
        if why:
            yield Finding(
                f"slurm_pam:pam:session_remove names {module}, which a session needs",
                f"Without it, {why}",
                "Leave it out of the list: what takes a session out of its job is pam_systemd.so or pam_cgfs.so",
                kind,
            )
