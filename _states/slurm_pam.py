"""
What a Slurm compute node has to be, before and after it is closed to users without a job.

All of these states have the same form and take the same arguments; where one takes more, it says so.

name
    Not used; a label.
settings
    The merged settings of the formula, as :py:func:`slurm_pam.settings <salt.modules.slurm_pam.settings>` gives them.

.. code-block:: yaml

    {%- from "slurm_pam/map.jinja" import settings with context %}
    slurm_pam-sshd-config-managed:
      slurm_pam.sshd_managed:
        - settings: {{ settings | json }}

What they bring about is told by the manifest, :py:func:`slurm_pam.wanted <salt.modules.slurm_pam.wanted>`. Those that
take something back take back what was applied, whatever the settings say by then.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

# Whether this node may be changed


def ready(
    name: str,
    given: Any,
    settings: Mapping[str, Any],
    partitions: list[str],
    version: str,
    taking_back: bool = False,
    auditing: bool = False,
) -> dict[str, Any]:
    """
    The settings are right and this node may be changed. Changes nothing, ever.

    given
        The pillar ``slurm_pam`` as it came.
    partitions
        The partitions whose settings are among them. They are only shown.
    version
        The version of the formula that the master has; the modules on this minion have to be of the same.
    taking_back
        Whether this is on the way out: then only the shape of the settings counts, so that a node that could not be
        closed now can still be opened.
    auditing
        Whether this is part of an audit, which is to look at the other states as well: what was found is told then, and
        does not fail this state.

    .. versionadded:: 1.0.0
    """
    synced = __salt__["slurm_pam.version"]()
    if synced != version:
        comment = (
            f"The formula is version {version}, but its modules on this minion are of {synced}. Nothing was changed. "
            "Run this again with sync_mods=all, or run saltutil.sync_all first"
        )
        return _ret(name, False, comment)
    try:
        found = __salt__["slurm_pam.objections"](given, settings, taking_back, auditing)
    except CommandExecutionError as error:
        return _refused(name, [str(error)])
    told = f". Partitions: {', '.join(partitions)}" if partitions else ""
    ret = _ret(name, True, f"The settings are right and this node may be changed{told}")
    if found["problems"]:
        ret = _refused(name, found["problems"])
        # With settings of the wrong shape, the other states cannot tell anything.
        if auditing and not found["misfits"]:
            ret["result"] = None
    if found["warnings"]:
        ret["warnings"] = found["warnings"]
    if auditing:
        ret["open"] = found["open"]
    return ret


def audited(name: str, given: Any) -> dict[str, Any]:
    """
    Tells whether this node is as it should be. Changes nothing; what is not as it should be is a warning.

    given
        The pillar ``slurm_pam`` as it came; this state takes no settings.

    .. versionadded:: 1.0.0
    """
    try:
        audit = __salt__["slurm_pam.audit"](given, __env__)
    except CommandExecutionError as error:
        return _ret(name, False, f"The audit could not be made: {error}")
    ret = _ret(name, True, audit["summary"])
    if audit["findings"]:
        ret["warnings"] = [f"{finding['subject']}: {finding['found']}" for finding in audit["findings"]]
    return ret


# What was applied


def recorded(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The places where everything is put are written down, before anything is put there.

    .. versionadded:: 1.1.0
    """
    comment = "The places that the formula writes to are recorded"
    return _record_brought_about(name, settings, lambda: __salt__["slurm_pam.record"](settings), comment)


def forgotten(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Nothing is written down: all of it was taken back.

    .. versionadded:: 1.1.0
    """
    return _record_brought_about(name, settings, lambda: None, "No record of an apply is left")


def _record_brought_about(
    name: str, settings: Mapping[str, Any], after: Callable[[], str | None], comment: str
) -> dict[str, Any]:
    try:
        return _whole_file(name, _wanted(settings)["record"], after(), comment)
    except CommandExecutionError as error:
        return _ret(name, False, str(error))


def _whole_file(name: str, path: str, after: str | None, comment: str) -> dict[str, Any]:
    """A file of ours with this text, or no file."""
    try:
        change = {"path": path, "before": __salt__["file_transaction.read"](path), "after": after}
        return _ret(name, True, comment) | __salt__["file_transaction.bring_about"]([change], __opts__["test"])
    except CommandExecutionError as error:
        return _ret(name, False, str(error))


# Packages


def packages_installed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    What is needed of Slurm is installed, in one transaction: the node package if there is no slurmd, and the one with
    the PAM modules if they are not there. An installation that would remove a package, or bring an older one, is
    refused.

    .. versionadded:: 1.0.0
    """
    if not any(_wanted(settings)["packages"].values()):
        return _ret(name, True, "Packages are left alone, as slurm_pam:packages says")
    try:
        coming = __salt__["slurm_pam.installation"](settings)
    except CommandExecutionError as error:
        return _refused(name, [str(error)])
    if coming["losses"]:
        return _refused(name, coming["losses"])
    if not coming["changes"]:
        return _ret(name, True, "All that is needed of Slurm is on this node already")
    if __opts__["test"]:
        comment = f"Would install {', '.join(coming['missing'])}"
        return {**_ret(name, None, comment), "changes": coming["changes"]}
    return __states__["pkg.installed"](name, pkgs=coming["missing"], refresh=False)


def packages_removed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The package with the PAM modules is removed. The Slurm node package stays.

    .. versionadded:: 1.1.0
    """
    package = _wanted(settings)["packages"]["modules"]
    if not package:
        return _ret(name, True, "Packages are left alone, as slurm_pam:packages says")
    return __states__["pkg.removed"](name, pkgs=[package])


# Who gets in without a job


def access_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The access file says who gets in without a job, and from where. What an administrator wrote there stays below our
    block.

    .. versionadded:: 1.0.0
    """
    return __states__["pam_stack.managed"](name, **_wanted(settings)["access"])


def access_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Our block is taken out of the access file, and a file that is empty then is removed.

    .. versionadded:: 1.0.0
    """
    return _files_absent(name, _applied(settings)["access"])


# slurm.conf, and what slurmstepd asks


def service_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Where ``slurm_pam:slurm:use_pam`` says so, slurmstepd finds the PAM service that it opens with ``UsePAM=1``.

    .. versionadded:: 1.0.0
    """
    service = _wanted(settings)["slurmstepd"]
    if not service:
        return _ret(name, True, "slurmstepd asks no PAM service, as slurm_pam:slurm:use_pam says")
    return __states__["pam_stack.managed"](name, **service)


def service_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The PAM service of slurmstepd is gone. It stays where slurm.conf still asks for it: no job would start without.

    .. versionadded:: 1.0.0
    """
    applied = _applied(settings)
    if not applied["slurmstepd"]:
        return _ret(name, True, "slurmstepd was not given a PAM service")
    if applied["slurm_conf"]["manage"] != "enforce" and (reason := _asks_service(applied["slurm_conf"]["path"])):
        return _refused(name, [reason])
    return _files_absent(name, applied["slurmstepd"])


def _asks_service(path: str | None) -> str:
    """Why the PAM service of slurmstepd has to stay, or nothing."""
    try:
        path = __salt__["slurm_conf.find"](path)
    except CommandExecutionError:
        return ""  # Without Slurm nobody asks.
    try:
        findings = __salt__["slurm_conf.check"]({"UsePAM": "0"}, path, timeout=2)
    except CommandExecutionError as error:
        return (
            f"Whether UsePAM is on could not be asked: {error}. If it is, no job would start without its PAM service. "
            "Fix slurm.conf, and apply slurm_pam.clean again"
        )
    for finding in findings:
        if finding["found"] is not None:  # Slurm's own default is 0
            return (
                f"UsePAM is {finding['found']} ({finding['source']}), and without its PAM service no job would start. "
                "Take it out, restart slurmctld and every slurmd, and apply slurm_pam.clean again"
            )
    return ""


def slurm_conf_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    slurm.conf has what the modules need: looked at, or edited, as ``slurm_pam:slurm:manage`` says.

    .. versionadded:: 1.0.0
    """
    conf = _wanted(settings)["slurm_conf"]
    if conf["manage"] == "keep":
        return _ret(name, True, "slurm.conf is left alone, as slurm_pam:slurm:manage says")
    if conf["manage"] == "enforce":
        return __states__["slurm_conf.managed"](name, conf["settings"], conf["path"], tag=conf["tag"])
    # Seconds for slurmctld to answer; the file says it as well.
    return __states__["slurm_conf.checked"](name, conf["settings"], conf["path"], timeout=2)


def slurm_conf_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    What was edited in slurm.conf is as it was.

    .. versionadded:: 1.0.0
    """
    conf = _applied(settings)["slurm_conf"]
    if conf["manage"] != "enforce":
        return _ret(name, True, "slurm.conf was not edited")
    return __states__["slurm_conf.absent"](name, conf["path"], tag=conf["tag"])


def slurmd_restarted(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    slurmd is restarted, where it runs or is to run. Running jobs survive this: their step daemons are processes of
    their own.

    .. versionadded:: 1.0.0
    """
    unit = _wanted(settings)["units"]["slurmd"]
    runs = __salt__["service.status"](unit) or __salt__["service.enabled"](unit)
    if not runs or not __salt__["slurm_pam.booted"]():
        return _ret(name, True, f"{unit} does not run, and is not started")
    return _told(name, unit, "service.restart", "restarted")


# SELinux


def selinux_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    SELinux lets sshd reach the step daemons of Slurm, by a policy module where ``slurm_pam:selinux`` says so.

    .. versionadded:: 1.1.0
    """
    if _wanted(settings)["selinux"] != "manage":
        return _ret(name, True, "SELinux's policy is left alone, as slurm_pam:selinux says")
    try:
        denied = __salt__["slurm_pam.selinux"](settings)["denied"]
        if denied and not __opts__["test"]:
            __salt__["slurm_pam.load_selinux_module"](settings)
    except CommandExecutionError as error:
        return _ret(name, False, f"SELinux's policy was not changed: {error}")
    if not denied:
        return _ret(name, True, "SELinux does not keep sshd from the step daemons")
    verb = "would be" if __opts__["test"] else "is"
    changes = {what: {"old": "denied", "new": "allowed"} for what in denied}
    return _ret(name, None if __opts__["test"] else True, f"The policy module slurm_pam {verb} loaded", changes)


def selinux_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The policy module is gone.

    .. versionadded:: 1.1.0
    """
    if _applied(settings)["selinux"] != "manage":
        return _ret(name, True, "SELinux's policy was left alone")
    changes = {"SELinux module slurm_pam": {"old": "loaded", "new": "not there"}}
    try:
        if not __salt__["slurm_pam.selinux_module_is_loaded"]():
            return _ret(name, True, "There is no policy module of the formula")
        if __opts__["test"]:
            return _ret(name, None, "The policy module slurm_pam would be taken away", changes)
        __salt__["slurm_pam.unload_selinux_module"]()
    except CommandExecutionError as error:
        return _ret(name, False, f"The policy module slurm_pam could not be taken away: {error}")
    return _ret(name, True, "The policy module slurm_pam is taken away", changes)


# sshd


def sshd_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    sshd has the options that ``slurm_pam:sshd`` says.

    .. versionadded:: 1.0.0
    """
    sshd = _wanted(settings)["sshd"]
    if not sshd:
        return _ret(name, True, "sshd is left alone, as slurm_pam:sshd:manage says")
    return __states__["sshd_config.managed"](name, **sshd)


def sshd_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    sshd has the options that it had before.

    .. versionadded:: 1.0.0
    """
    sshd = _applied(settings)["sshd"]
    if not sshd:
        return _ret(name, True, "sshd was left alone")
    return __states__["sshd_config.absent"](name, sshd["config"], sshd["drop_in"], tag=sshd["tag"])


def sshd_reloaded(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    sshd has read its configuration again: a reload and never a restart, so that open sessions stay. One that does not
    run reads it when it starts. One that a socket started is stopped, and started anew for the next login: a reload
    would leave it without the socket. Afterwards, sshd still takes logins. Another sshd that runs and reads the same
    files is told as well.

    .. versionadded:: 1.0.0
    """
    unit = _wanted(settings)["units"]["sshd"]
    if not __salt__["slurm_pam.booted"]():
        return _ret(name, True, _AT_START.format(unit=unit))
    usual = _usual_reloaded(name, unit)
    others = __salt__["slurm_pam.other_sshds"](settings)
    if not others or usual["result"] is False:
        return usual
    verb = "would be" if __opts__["test"] else "was"
    comment = f"{usual['comment']}. {', '.join(others)} {verb} told as well"
    changes = usual["changes"] | {who: {"old": "running", "new": "reloaded"} for who in others}
    if __opts__["test"]:
        return _ret(name, None, comment, changes)
    failed = __salt__["slurm_pam.reload_other_sshds"](settings)
    if failed:
        told = "; ".join(f"{who} has not read its configuration again: {why}" for who, why in failed.items())
        return _ret(name, False, f"{told}. Its sessions stay. Make it right and reload it, or stop and disable it")
    return _ret(name, True, comment, changes)


_AT_START = "{unit} does not run, and reads its configuration when it starts"


def _usual_reloaded(name: str, unit: str) -> dict[str, Any]:
    if not __salt__["service.status"](unit):
        return _ret(name, True, _AT_START.format(unit=unit))
    socket = _listening_for(unit)
    if socket:
        ret = _told(name, unit, "service.stop", f"stopped, and started anew by {socket} for the next login")
    else:
        ret = _told(name, unit, "service.reload", "reloaded")
    if ret["result"] and not _goes_on(socket or unit):
        comment = (
            f"{unit} was told to read its configuration, and {socket or unit} has ended since. Sessions stay, but "
            f"nobody can log in. Start it, and look why it ended: systemctl start {socket or unit}; "
            f"systemctl status {unit}"
        )
        return _ret(name, False, comment)
    return ret


# Seconds in which sshd that cannot go on has ended.
_A_MOMENT = 1


def _goes_on(unit: str) -> bool:
    time.sleep(_A_MOMENT)
    return __salt__["service.status"](unit)


def _listening_for(unit: str) -> str:
    """The socket that systemd listens on for a service, if there is one (systemd.socket(5))."""
    sockets = str(__salt__["service.show"](unit).get("TriggeredBy") or "").split()
    return next((one for one in sockets if one.endswith(".socket") and __salt__["service.status"](one)), "")


# The PAM files


def message_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The text of ``slurm_pam:pam:message``, for whoever Slurm turns away, is where the PAM files name it; where there is
    none by now, that of an earlier apply is gone.

    .. versionadded:: 1.1.0
    """
    message = _wanted(settings)["message"]
    if not message:
        return message_absent(name, settings)
    return _whole_file(name, message["path"], message["text"], "The message for those whom Slurm turns away is there")


def message_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The text that was there for whoever Slurm turns away is gone.

    .. versionadded:: 1.1.0
    """
    message = _applied(settings)["message"]
    comment = "There is no message for those whom Slurm turns away"
    return _whole_file(name, message["path"], None, comment) if message else _ret(name, True, comment)


def stacks_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The node's PAM files close it to users without a job and keep administrators in.

    .. versionadded:: 1.0.0
    """
    unusable = __salt__["slurm_pam.unusable_modules"](settings)
    if unusable and not __opts__["test"]:
        return _refused(name, unusable)
    ret = __states__["pam_stack.managed"](name, **_wanted(settings)["pam"])
    if unusable and ret["result"]:
        return _refused(name, unusable)
    if unusable and ret["result"] is None:
        ret["comment"] = "\n".join(
            [ret["comment"], "Before that, the packages have to bring what is missing now:", *unusable]
        )
    return _asked_anew(ret, settings) if ret["result"] is not False else ret


# Any user can have as many as sshd lets wait.
_SHOWN = 20


def _asked_anew(ret: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """No connection that is not logged in yet is let in by the PAM files of before."""
    if settings["mode"] != "enforce":
        return ret
    if __opts__["test"]:
        ended, verb = __salt__["slurm_pam.waiting_logins"](settings, every=bool(ret["changes"])), "would be ended"
    else:
        ended, verb = __salt__["slurm_pam.end_waiting_logins"](settings), "were ended"
    if not ended:
        return ret
    more = f" and {len(ended) - _SHOWN} more" if len(ended) > _SHOWN else ""
    shown = f"{', '.join(ended[:_SHOWN])}{more}"
    told = f"Connections to sshd {verb}, since the old PAM files would let them in: {shown}"
    return {
        **ret,
        "result": None if __opts__["test"] else ret["result"],
        "changes": {**ret["changes"], "connections to sshd": {"old": f"{len(ended)} from before", "new": "ended"}},
        "comment": f"{ret['comment']}\n{told}",
    }


def stacks_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The node's PAM files are as they were: the service's own file first, so that nobody is locked out in between.

    .. versionadded:: 1.0.0
    """
    return _files_absent(name, _applied(settings)["pam"])


# systemd-logind


def logind_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    systemd-logind is masked, or only stopped, or left alone, as the setting ``slurm_pam:logind`` says.

    .. versionadded:: 1.0.0
    """
    logind = _wanted(settings)["logind"]
    if logind == "keep":
        return _ret(name, True, "systemd-logind is left alone, as slurm_pam:logind says")
    state = {"mask": "systemd_logind.masked", "stop": "service.dead"}[logind]
    ret = {**__states__[state]("systemd-logind"), "name": name}
    if logind == "mask" and ret["changes"]:
        since = settings["logind_kept_from"]
        told = f"From systemd {since} on, `shutdown` with a time goes down at once without it: use systemctl reboot"
        ret["comment"] = f"{ret['comment']}\n{told}"
    return ret if ret["result"] is False else _managers_stopped(ret, settings)


def _managers_stopped(ret: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without logind, nothing else ends the systemd managers of people whose sessions have ended."""
    # One that runs in a container is not this node's systemd's.
    units = [unit for unit in __salt__["slurm_pam.idle_managers"](settings) if __salt__["service.status"](unit)]
    if not units:
        return ret
    left = [] if __opts__["test"] else [unit for unit in units if not __salt__["service.stop"](unit)]
    if left:
        told = f"{', '.join(left)} could not be stopped. Look at systemctl status {left[0]}"
        return {**ret, "result": False, "changes": {}, "comment": f"{ret['comment']}\n{told}"}
    verb = "would be stopped" if __opts__["test"] else "were stopped"
    return {
        **ret,
        "result": None if __opts__["test"] else ret["result"],
        "changes": {**ret["changes"], **{unit: {"old": "running", "new": "stopped"} for unit in units}},
        "comment": f"{ret['comment']}\nsystemd managers of people without a session {verb}: {', '.join(units)}",
    }


def strays_ended(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Users who have processes outside of jobs are told so on their terminals, and these are ended some time later, as
    ``slurm_pam:strays`` says. A unit of systemd does it, and this state does not wait for that. Where the settings do
    not say so any more, one that waits is stopped.

    .. versionadded:: 1.1.0
    """
    try:
        found = __salt__["slurm_pam.strays_to_end"](settings)
        if settings["strays"]["action"] != "end" or settings["mode"] != "enforce":
            return _strays_spared(name, found["waits"])
        if not found["users"]:
            return _ret(name, True, "No user has processes outside of jobs that may be ended")
        if found["waits"]:
            told = "An earlier apply told the users; what they have outside of jobs is ended when the time is over"
            return _ret(name, True, f"{told}: systemctl status slurm_pam-strays")
        if not __opts__["test"]:
            __salt__["slurm_pam.end_strays"](settings, list(found["users"]))
    except CommandExecutionError as error:
        return _ret(name, False, f"What becomes of processes outside of jobs could not be settled: {error}")
    grace = settings["strays"]["grace"]
    changes = {
        f"processes of {user}": {"old": f"{count} outside of jobs", "new": f"told, and ended in {grace} s"}
        for user, count in found["users"].items()
    }
    verb = "would be" if __opts__["test"] else "are"
    comment = f"Users with processes outside of jobs {verb} told, and these {verb} ended {grace} s later"
    return _ret(name, None if __opts__["test"] else True, comment, changes)


def _strays_spared(name: str, waits: bool) -> dict[str, Any]:
    if not waits:
        return _ret(name, True, "Processes outside of jobs are left alone, as slurm_pam:strays and slurm_pam:mode say")
    changes = {"slurm_pam-strays": {"old": "ends processes when the time is over", "new": "stopped"}}
    if __opts__["test"]:
        return _ret(name, None, "Users who were told would keep their processes outside of jobs", changes)
    __salt__["slurm_pam.spare_strays"]()
    return _ret(name, True, "Users who were told keep their processes outside of jobs", changes)


def logind_restored(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    systemd-logind runs as it did before.

    .. versionadded:: 1.0.0
    """
    if _applied(settings)["logind"] == "keep":
        return _ret(name, True, "systemd-logind was left alone")
    return {**__states__["systemd_logind.unmasked"]("systemd-logind"), "name": name}


# The watch


def watch_suspended(name: str) -> dict[str, Any]:
    """
    Until this apply ends, the watch takes nothing that differs for drift. Nothing is left of this when it has ended,
    however it ends.

    name
        Not used; a label. This state takes no settings.

    .. versionadded:: 1.1.0
    """
    try:
        if not __opts__["test"]:
            __salt__["slurm_pam.suspend_watch"]()
    except CommandExecutionError as error:
        return _ret(name, False, str(error))
    return _ret(name, True, "What this apply changes does not count as drift")


def watch_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The program of ``slurm_pam:watch`` is there, and holds this node against what it is now. That is for the end of an
    apply that held.

    .. versionadded:: 1.1.0
    """
    if not _wanted(settings)["watch"]:
        return watch_absent(name, settings)
    try:
        plan = __salt__["slurm_pam.watch_plan"](settings, __opts__["test"])
        changes = _told_of_watch(plan["files"][:-1])
        if plan["anew"]:
            accepted = plan["files"][-1]
            old = "not there" if accepted["before"] is None else "this node as it was"
            changes[accepted["path"]] = {"old": old, "new": "this node as it is now"}
        if not __opts__["test"]:
            __salt__["file_transaction.commit"](plan["files"])
            __salt__["slurm_pam.resume_watch"]()
    except CommandExecutionError as error:
        return _ret(name, False, str(error))
    comment = "The watch compares this node with what it is now"
    return _ret(name, None if __opts__["test"] and changes else True, comment, changes)


def watch_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Nothing watches this node any more.

    .. versionadded:: 1.1.0
    """
    # Those that name others go first.
    paths = __salt__["slurm_pam.watch_files"]()[::-1]
    try:
        there = [(path, __salt__["file_transaction.read"](path)) for path in paths]
        files = [{"path": path, "before": found, "after": None} for path, found in there]
        changes = _told_of_watch(files)
        if not __opts__["test"] and changes:
            __salt__["file_transaction.commit"](files)
    except CommandExecutionError as error:
        return _ret(name, False, str(error))
    return _ret(name, None if __opts__["test"] and changes else True, "There is no watch on this node", changes)


def _told_of_watch(files: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """In a word: a diff of a program says nothing to anybody."""
    return {
        file["path"]: {
            "old": "not there" if file["before"] is None else "there",
            "new": "removed" if file["after"] is None else "written",
        }
        for file in files
        if file["before"] != file["after"]
    }


# What the states share


def _wanted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest."""
    return __salt__["slurm_pam.wanted"](settings)


def _applied(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of what was applied, and not of what the settings say now."""
    return _wanted(__salt__["slurm_pam.applied"](settings))


def _files_absent(name: str, managed: Mapping[str, Any]) -> dict[str, Any]:
    return __states__["pam_stack.absent"](name, files=managed["files"], marker=managed["marker"])


def _told(name: str, unit: str, function: str, participle: str) -> dict[str, Any]:
    """A running service was told to do something."""
    changes = {unit: {"old": "running", "new": participle}}
    if __opts__["test"]:
        return _ret(name, None, f"{unit} would be {participle}", changes)
    try:
        if not __salt__[function](unit):
            raise CommandExecutionError("systemctl gave no reason")
    except CommandExecutionError as error:
        return _ret(name, False, f"{unit} could not be {participle}: {error}. Look at systemctl status {unit}")
    return _ret(name, True, f"{unit} is {participle}", changes)


def _refused(name: str, problems: list[str]) -> dict[str, Any]:
    return _ret(name, False, "\n".join(["Nothing was changed.", *(f"- {problem}" for problem in problems)]))


def _ret(name: str, result: bool | None, comment: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a state returns; without changes, it left everything as it was."""
    return {"name": name, "result": result, "changes": dict(changes or {}), "comment": comment}
