"""
What a Slurm compute node has to be, before and after it is closed to users without a job.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
    if taking_back:
        found = {"problems": __salt__["slurm_pam_settings.misfits"](given), "warnings": []}
    elif settings["mode"] == "audit" and not auditing:
        # The audit that follows tells what there is on the node.
        found = {"problems": __salt__["slurm_pam_settings.problems"](given, settings), "warnings": []}
    else:
        found = __salt__["slurm_pam.preflight"](given, settings)
    if found["problems"]:
        ret = _refused(name, found["problems"])
        # With settings of the wrong shape, the other states cannot tell anything.
        if auditing and not __salt__["slurm_pam_settings.misfits"](given):
            ret["result"] = None
    if found["warnings"]:
        ret["warnings"] = found["warnings"]
    return ret


def audited(name: str) -> dict[str, Any]:
    """
    Tells whether this node is as it should be. Changes nothing; what is not as it should be is a warning.

    name
        For the reader.

    .. code-block:: yaml

        slurm_pam-audited:
          slurm_pam.audited: []

    .. versionadded:: 1.0.0
    """
    audit = __salt__["slurm_pam.audit"]()
    ret = {"name": name, "result": True, "changes": {}, "comment": audit["summary"]}
    if audit["findings"]:
        ret["warnings"] = [f"{finding['subject']}: {finding['found']}" for finding in audit["findings"]]
    return ret


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


def access_managed(name: str, access: Mapping[str, Any]) -> dict[str, Any]:
    """
    The access file says who gets in without a job, and from where. What an administrator wrote there stays below our
    block.

    name
        For the reader.
    access
        The settings ``slurm_pam:access``.

    .. code-block:: yaml

        slurm_pam-access-file-managed:
          slurm_pam.access_managed:
            - access:
                file: /etc/security/slurm-access.conf
                root: [ALL]
                groups: {hpc_admin_g: {origins: [192.0.2.0/24]}}
                users: {}

    .. versionadded:: 1.0.0
    """
    return __states__["pam_stack.managed"](name, **_access_file(access))


def access_absent(name: str, access: Mapping[str, Any]) -> dict[str, Any]:
    """
    Our block is taken out of the access file, and a file that is empty then is removed.

    name
        For the reader.
    access
        The settings ``slurm_pam:access``.

    .. code-block:: yaml

        slurm_pam-clean-access-file-absent:
          slurm_pam.access_absent:
            - access:
                file: /etc/security/slurm-access.conf
                root: [ALL]
                groups: {}
                users: {}

    .. versionadded:: 1.0.0
    """
    return __states__["pam_stack.absent"](name, **_access_file(access))


_SUBSTACK = "With slurm_pam:pam:account_base: substack, nothing in the node's own rules can end the stack ahead of ours"


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
    if ret["result"] is False and settings["pam"]["account_base"] == "copy":
        ret["comment"] += "\n" + _SUBSTACK
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
    files = __salt__["slurm_pam_plan.stacks"](settings)["files"]
    return __states__["pam_stack.absent"](name, files=files, marker=__salt__["slurm_pam_plan.marker"]())


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


def _access_file(access: Mapping[str, Any]) -> dict[str, Any]:
    rules = __salt__["slurm_pam_plan.access_rules"](access)
    return {"files": [{"path": access["file"], "block": rules}], "marker": __salt__["slurm_pam_plan.marker"]()}


def _left_alone(name: str, comment: str) -> dict[str, Any]:
    return {"name": name, "result": True, "changes": {}, "comment": comment}


def _refused(name: str, problems: list[str]) -> dict[str, Any]:
    comment = "\n".join(["Nothing was changed.", *(f"- {problem}" for problem in problems)])
    return {"name": name, "result": False, "changes": {}, "comment": comment}
