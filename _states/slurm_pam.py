"""
What a Slurm compute node has to be, before and after it is closed to users without a job.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salt.exceptions import CommandExecutionError

_TAG = "slurm_pam"  # marks our lines in slurm.conf and in sshd's files


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

    name
        For the reader.
    given
        The pillar ``slurm_pam`` as it came.
    settings
        The merged settings of the formula.
    partitions
        The partitions whose settings are among them, for the reader.
    version
        The version of the formula that the master has; the modules on this minion have to be of the same.
    taking_back
        Whether this is on the way out: then only the shape of the settings counts, so that a node that could not be
        closed now can still be opened.
    auditing
        Whether this is part of an audit, which is to look at the other states as well: what was found is told then, and
        does not fail this state.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import given, settings with context %}
        slurm_pam-ready:
          slurm_pam.ready:
            - given: {{ given | json }}
            - settings: {{ settings | json }}
            - partitions: []
            - version: 1.0.0

    .. versionadded:: 1.0.0
    """
    ret = {
        "name": name,
        "result": True,
        "changes": {},
        "comment": "The settings are right and this node may be changed",
    }
    if partitions:
        ret["comment"] += f". Partitions: {', '.join(partitions)}"
    synced = __salt__["slurm_pam_settings.version"]()
    if synced != version:
        ret.update(
            result=False,
            comment=f"The formula is version {version}, but its modules on this minion are of {synced}. Nothing was "
            "changed. Run this again with sync_mods=all, or run saltutil.sync_all first",
        )
        return ret
    try:
        found = _found(given, settings, taking_back, auditing)
    except CommandExecutionError as problem:
        return _refused(name, [str(problem)])
    if found["problems"]:
        ret = _refused(name, found["problems"])
        # With settings of the wrong shape, the other states cannot tell anything.
        if auditing and not __salt__["slurm_pam_settings.misfits"](given):
            ret["result"] = None
    if found["warnings"]:
        ret["warnings"] = found["warnings"]
    return ret


def _found(given: Any, settings: Mapping[str, Any], taking_back: bool, auditing: bool) -> dict[str, list[str]]:
    """What stands against this run, and what the reader should know."""
    if taking_back:
        # Raises where it cannot be told what there is to take back.
        __salt__["slurm_pam_places.recorded"]()
        return {"problems": __salt__["slurm_pam_settings.misfits"](given), "warnings": []}
    if settings["mode"] == "audit" and not auditing:
        # The audit that follows tells what there is on the node.
        return {"problems": __salt__["slurm_pam_settings.problems"](given, settings), "warnings": []}
    return __salt__["slurm_pam.preflight"](given, settings)


def audited(name: str, given: Any) -> dict[str, Any]:
    """
    Tells whether this node is as it should be. Changes nothing; what is not as it should be is a warning.

    name
        For the reader.
    given
        The pillar ``slurm_pam`` as it came.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import given with context %}
        slurm_pam-audited:
          slurm_pam.audited:
            - given: {{ given | json }}

    .. versionadded:: 1.0.0
    """
    audit = __salt__["slurm_pam.audit"](given, __env__)
    ret = {"name": name, "result": True, "changes": {}, "comment": audit["summary"]}
    if audit["findings"]:
        ret["warnings"] = [f"{finding['subject']}: {finding['found']}" for finding in audit["findings"]]
    return ret


# Packages


def packages_installed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The Slurm node package and the one with the PAM modules are installed, in one transaction.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-packages-installed:
          slurm_pam.packages_installed:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    packages = settings["packages"]
    wanted = [package for package in (packages["node"], packages[settings["module"]]) if package]
    if not packages["manage"] or not wanted:
        return _left_alone(name, "Packages are left alone, as slurm_pam:packages says")
    return __states__["pkg.installed"](name, pkgs=wanted, refresh=False)


# Who gets in without a job


def access_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The access file says who gets in without a job, and from where. What an administrator wrote there stays below our
    block.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-access-file-managed:
          slurm_pam.access_managed:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    return __states__["pam_stack.managed"](name, **_access_file(settings["access"]))


def access_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Our block is taken out of the access file, and a file that is empty then is removed.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-clean-access-file-absent:
          slurm_pam.access_absent:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    return __states__["pam_stack.absent"](name, **_access_file(_applied(settings)["access"]))


# slurm.conf, and what slurmstepd asks


def service_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Where ``slurm_pam:slurm:use_pam`` says so, slurmstepd finds the PAM service that it opens with ``UsePAM=1``.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-service-managed:
          slurm_pam.service_managed:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    if not settings["slurm"]["use_pam"]:
        return _left_alone(name, "slurmstepd asks no PAM service, as slurm_pam:slurm:use_pam says")
    return __states__["pam_stack.managed"](name, **_service_file(), replace=settings["pam"]["replace"])


def service_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The PAM service of slurmstepd is gone. It stays where slurm.conf still asks for it: no job would start without.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-service-absent:
          slurm_pam.service_absent:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    slurm = _applied(settings)["slurm"]
    if not slurm["use_pam"]:
        return _left_alone(name, "slurmstepd was not given a PAM service")
    if slurm["manage"] != "enforce" and (problem := _asks_service(slurm)):
        return _refused(name, [problem])
    return __states__["pam_stack.absent"](name, **_service_file())


def _asks_service(slurm: Mapping[str, Any]) -> str:
    """Why the PAM service of slurmstepd has to stay, or nothing."""
    try:
        findings = __salt__["slurm_conf.check"]({"UsePAM": "0"}, slurm["conf"], timeout=2)
    except CommandExecutionError:
        return ""  # Without Slurm nobody asks.
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

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-slurm-conf-managed:
          slurm_pam.slurm_conf_managed:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    slurm = settings["slurm"]
    wanted = {**slurm["settings"], **({"UsePAM": "1"} if slurm["use_pam"] else {})}
    if slurm["manage"] == "keep":
        return _left_alone(name, "slurm.conf is left alone, as slurm_pam:slurm:manage says")
    if slurm["manage"] == "enforce":
        return __states__["slurm_conf.managed"](name, wanted, slurm["conf"], tag=_TAG)
    # Seconds for slurmctld to answer; the file says it as well.
    return __states__["slurm_conf.checked"](name, wanted, slurm["conf"], timeout=2)


def slurm_conf_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    What was edited in slurm.conf is as it was.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-slurm-conf-absent:
          slurm_pam.slurm_conf_absent:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    slurm = _applied(settings)["slurm"]
    if slurm["manage"] != "enforce":
        return _left_alone(name, "slurm.conf was not edited")
    return __states__["slurm_conf.absent"](name, slurm["conf"], tag=_TAG)


def slurmd_restarted(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    slurmd is restarted, where it runs or is to run. Running jobs survive this: their step daemons are processes of
    their own.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-slurmd-restarted:
          slurm_pam.slurmd_restarted:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    service = settings["slurm"]["service"]
    if not (__salt__["service.status"](service) or __salt__["service.enabled"](service)):
        return _left_alone(name, f"{service} does not run, and is not started")
    return _done(name, service, "service.restart", "restarted")


# sshd


def sshd_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    sshd has the options that ``slurm_pam:sshd`` says.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-sshd-managed:
          slurm_pam.sshd_managed:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    sshd = settings["sshd"]
    if not sshd["manage"]:
        return _left_alone(name, "sshd is left alone, as slurm_pam:sshd:manage says")
    return __states__["sshd_config.managed"](name, sshd["options"], sshd["config"], sshd["drop_in"], tag=_TAG)


def sshd_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    sshd has the options that it had before.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-sshd-absent:
          slurm_pam.sshd_absent:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    sshd = _applied(settings)["sshd"]
    if not sshd["manage"]:
        return _left_alone(name, "sshd was left alone")
    return __states__["sshd_config.absent"](name, sshd["config"], sshd["drop_in"], tag=_TAG)


def sshd_reloaded(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    sshd has read its configuration again: a reload and never a restart, so that open sessions stay. One that does not
    run reads it when it starts.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-sshd-reloaded:
          slurm_pam.sshd_reloaded:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    service = settings["sshd"]["service"]
    if not __salt__["service.status"](service):
        return _left_alone(name, f"{service} does not run, and reads its configuration when it starts")
    return _done(name, service, "service.reload", "reloaded")


# The PAM files


def stacks_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The node's PAM files close it to users without a job and keep administrators in; see
    :py:func:`slurm_pam_plan.stacks <salt.modules.slurm_pam_plan.stacks>`.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-pam-stacks-managed:
          slurm_pam.stacks_managed:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    unusable = __salt__["slurm_pam_preflight.unusable_modules"](settings)
    if unusable and not __opts__["test"]:
        return _refused(name, unusable)
    plan = __salt__["slurm_pam_plan.stacks"](settings)
    marker = __salt__["slurm_pam_plan.marker"]()
    ret = __states__["pam_stack.managed"](name, **plan, marker=marker, replace=settings["pam"]["replace"])
    if unusable and ret["result"]:
        return _refused(name, unusable)
    if unusable and ret["result"] is None:
        ret["comment"] = "\n".join(
            [ret["comment"], "Before that, the packages have to bring what is missing now:", *unusable]
        )
    return ret


def stacks_absent(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The node's PAM files are as they were: the service's own file first, so that nobody is locked out in between.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-clean-stacks-absent:
          slurm_pam.stacks_absent:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    files = __salt__["slurm_pam_plan.stacks"](_applied(settings))["files"]
    return __states__["pam_stack.absent"](name, files=files, marker=__salt__["slurm_pam_plan.marker"]())


# systemd-logind


def logind_managed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    systemd-logind is masked, or only stopped, or left alone, as the setting ``slurm_pam:logind`` says.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-logind-managed:
          slurm_pam.logind_managed:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    if settings["logind"] == "keep":
        return _left_alone(name, "systemd-logind is left alone, as slurm_pam:logind says")
    state = {"mask": "systemd_logind.masked", "stop": "service.dead"}[settings["logind"]]
    return {**__states__[state]("systemd-logind"), "name": name}


def logind_restored(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    systemd-logind runs as it did before.

    name
        For the reader.
    settings
        The merged settings of the formula.

    .. code-block:: yaml

        {%- from "slurm_pam/map.jinja" import settings with context %}
        slurm_pam-logind-restored:
          slurm_pam.logind_restored:
            - settings: {{ settings | json }}

    .. versionadded:: 1.0.0
    """
    if _applied(settings)["logind"] == "keep" or __salt__["slurm_pam_places.logind_was_masked"]():
        return _left_alone(name, "systemd-logind was left alone")
    return {**__states__["systemd_logind.unmasked"]("systemd-logind"), "name": name}


# What the states share


def _applied(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """What to take back is told by what was applied, and not by what the settings say now."""
    return __salt__["slurm_pam_places.applied"](settings)


def _service_file() -> dict[str, Any]:
    return {"files": [__salt__["slurm_pam_plan.service_file"]()], "marker": __salt__["slurm_pam_plan.marker"]()}


def _access_file(access: Mapping[str, Any]) -> dict[str, Any]:
    rules = __salt__["slurm_pam_plan.access_rules"](access)
    return {"files": [{"path": access["file"], "block": rules}], "marker": __salt__["slurm_pam_plan.marker"]()}


def _done(name: str, service: str, function: str, participle: str) -> dict[str, Any]:
    """A service was told to do something."""
    changes = {service: {"old": "running", "new": participle}}
    if __opts__["test"]:
        return {"name": name, "result": None, "changes": changes, "comment": f"{service} would be {participle}"}
    try:
        if not __salt__[function](service):
            raise CommandExecutionError("systemctl gave no reason")
    except CommandExecutionError as problem:
        comment = f"{service} could not be {participle}: {problem}. Look at systemctl status {service}"
        return {"name": name, "result": False, "changes": {}, "comment": comment}
    return {"name": name, "result": True, "changes": changes, "comment": f"{service} is {participle}"}


def _left_alone(name: str, comment: str) -> dict[str, Any]:
    return {"name": name, "result": True, "changes": {}, "comment": comment}


def _refused(name: str, problems: list[str]) -> dict[str, Any]:
    comment = "\n".join(["Nothing was changed.", *(f"- {problem}" for problem in problems)])
    return {"name": name, "result": False, "changes": {}, "comment": comment}
