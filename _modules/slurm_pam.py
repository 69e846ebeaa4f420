"""
What this node is: whether it may be closed, whether it is as it should be, and who gets in.

The functions from :py:func:`version` on are what the states of the formula ask. Settings are the formula's, merged, as
:py:func:`settings` gives them.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import os

import _library

_library.renew(os.path.dirname(__file__))

from collections.abc import Mapping
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

import _pam_errors
import _pam_prove
import _slurm_pam_ask
import _slurm_pam_audit
import _slurm_pam_before
import _slurm_pam_confined
import _slurm_pam_connections
import _slurm_pam_daemons
import _slurm_pam_evidence
import _slurm_pam_ending
import _slurm_pam_explain
import _slurm_pam_jobs
import _slurm_pam_modules
import _slurm_pam_packages
import _slurm_pam_preflight
import _slurm_pam_record
import _slurm_pam_selinux
import _slurm_pam_settings
import _slurm_pam_strays
import _slurm_pam_take_back
import _slurm_pam_wanted
import _slurm_pam_watch
import _slurm_pam_ways_in

# On a command line, where nothing else is asked for: each rule and each proof as one block.
__outputter__ = {"prove": "yaml", "explain": "yaml", "doors": "yaml", "confined": "yaml"}

_salts_errors = _pam_errors.translated(CommandExecutionError, SaltInvocationError)


# What this node's settings are


def settings(origins: bool = False) -> dict[str, Any]:
    """
    The settings that this node ends up with.

    origins
        Say for each where it comes from: ``{"slurm_pam:mode": {"value": "enforce", "from": "defaults.yaml"}}``.

    They are taken from the rendered ``slurm_pam.ready``, so that there is one way in which they are merged.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.settings origins=True

    .. versionadded:: 1.0.0
    """
    rendered = _rendered()
    if not origins:
        return rendered["settings"]
    return _slurm_pam_settings.origins(rendered["settings"], _layers(rendered))


def _rendered() -> dict[str, Any]:
    """What slurm_pam.ready is rendered to on this node: ``given``, ``partitions`` and ``settings``."""
    # concurrent: it changes nothing, so that it need not wait for states that run.
    chunks = __salt__["state.show_low_sls"]("slurm_pam.ready", concurrent=True)
    mine = [chunk for chunk in chunks if isinstance(chunk, dict)]
    if len(mine) != len(chunks):
        raise CommandExecutionError(f"The settings cannot be rendered: {chunks}")
    return {key: chunk[key] for chunk in mine for key in ("given", "partitions", "settings") if key in chunk}


def _layers(rendered: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What the settings are merged from, in that order, each with what it is called."""
    given, family = rendered["given"], __grains__["os_family"]
    layers = [
        ("defaults.yaml", _data_file("defaults.yaml")),
        (f"platforms.yaml:{family}", _data_file("platforms.yaml").get(family, {})),
        ("pillar slurm_pam", given),
        *(
            (f"pillar slurm_pam:partitions:{name}", given["partitions"][name].get("settings", {}))
            for name in rendered["partitions"]
        ),
    ]
    # map.jinja decides where nobody else has, or the last one says null.
    said = [layer["logind"] for _, layer in layers if isinstance(layer, Mapping) and "logind" in layer]
    decides = not said or said[-1] is None
    return layers + [("the release of systemd", {"logind": rendered["settings"]["logind"]})] * decides


def _data_file(name: str) -> dict[str, Any]:
    return __salt__["slsutil.renderer"](f"salt://slurm_pam/{name}", default_renderer="yaml")


# Whether this node may be changed


@_salts_errors
def preflight(given: Any = None, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    Everything that stands against applying these settings to this node: what is wrong with the settings, and if nothing
    is, what is found on the node. Changes nothing.

    given
        The pillar ``slurm_pam`` as it came; this node's where it is not given.
    settings
        The merged settings of the formula; this node's where none are given.

    Returns ``{"problems": [...], "warnings": [...], "open": {...}}``. Each text says what was found, why it matters and
    what to do. A problem stops an apply; a warning does not. ``open`` is as :py:func:`audit` has it.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.preflight

    .. versionadded:: 1.0.0
    """
    if given is None or settings is None:
        rendered = _rendered()
        given = rendered["given"] if given is None else given
        settings = rendered["settings"] if settings is None else settings
    return _slurm_pam_preflight.preflight(given, settings)


# Whether it stays


def wrong_settings(given: Any, settings: Mapping[str, Any]) -> list[str]:
    """
    What is wrong with settings, one sentence each, without a look at this node; an empty list where nothing is.

    given
        The pillar ``slurm_pam`` as it came.
    settings
        What it was merged to.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.wrong_settings '{mode: enforced}' '{}'

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_settings.problems(given, settings)


def confirm() -> str:
    """
    The last apply stays: it was made with the setting ``confirm``, and the node no longer takes it back by itself. With
    the setting ``watch``, Slurm gives it jobs again if the watch had drained it, and finds all well now.

    Returns what was done, and what the watch says.

    Raises CommandExecutionError where nothing waits to be confirmed, and says why.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.confirm

    .. versionadded:: 1.0.0
    """
    done, watch = _slurm_pam_take_back.confirm(), _slurm_pam_watch.undrain()
    return f"{done}. The watch: {watch}" if watch else done


# Whether it is as it should be


def audit(given: Any = None, saltenv: str = "base") -> dict[str, Any]:
    """
    Whether this node is as the settings want it. Changes nothing.

    given
        The pillar ``slurm_pam`` as it came; this node's where it is not given.
    saltenv
        Where the formula is.

    Returns ``{"holds": bool, "summary": str, "findings": [{"subject", "result", "found", "changes"}], "warnings":
    [str], "open": {"doors": [name], "doubtful": [name], "strays": [user]}}``. A finding is what an apply would change
    (``subject`` is the state's ID, ``result`` is null), or what stands in its way (``result`` is false). Warnings are
    the preflight's, and do not count. ``open`` has in few words what they say of doors that let users without a job in,
    of those that may, and of users with processes outside every job. It is the apply itself that tells
    (:py:func:`dry_run`), so that nothing can be right here and wrong there.

    With ``--retcode-passthrough`` the exit status is 0 where it holds and 1 where it does not, for health checks.

    CLI Example:

    .. code-block:: bash

        salt-call --retcode-passthrough slurm_pam.audit

    .. versionadded:: 1.0.0
    """
    told = _slurm_pam_audit.audit(dry_run(given, saltenv))
    __context__["retcode"] = int(not told["holds"])
    return told


def dry_run(given: Any = None, saltenv: str = "base") -> dict[str, dict]:
    """
    What each state of an apply comes to with test=True: the one way in which audit and confirm ask what an apply would
    change.

    given, saltenv
        As for :py:func:`audit`.

    Raises CommandExecutionError if the states cannot be rendered.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.dry_run

    .. versionadded:: 1.1.0
    """
    # The pillar keeps mode audit from asking for another audit, and confirm from asking again.
    pillar = {"slurm_pam_auditing": True, **({} if given is None else {"slurm_pam": given})}
    # concurrent: this may be part of an apply.
    results = __salt__["state.sls"]("slurm_pam", saltenv=saltenv, test=True, concurrent=True, pillar=pillar)
    if not isinstance(results, dict):
        raise CommandExecutionError(f"The states cannot be rendered: {results}")
    return results


@_salts_errors
def prove() -> list[dict]:
    """
    The policy of the formula and of the site, held against the PAM files as they are on this node now; and whether sshd
    asks that PAM service for every login that its configuration tells apart.

    Returns what :py:func:`pam_verdict.prove <salt.modules.pam_verdict.prove>` does: one entry for each scenario, with a
    counterexample where it does not hold. The exit status is as for :py:func:`audit`.

    CLI Example:

    .. code-block:: bash

        salt-call --retcode-passthrough slurm_pam.prove

    .. versionadded:: 1.0.0
    """
    given = _slurm_pam_settings.without_nulls(settings())
    proofs = _pam_prove.prove(wanted(given)["pam"]["policy"])
    # What is proven of a stack counts for the logins that come to it.
    proofs.append(_slurm_pam_connections.proof(given["sshd"]["config"], given["pam"]["service"]))
    proofs.append(_slurm_pam_daemons.proof(given))
    __context__["retcode"] = int(not all(proof["holds"] for proof in proofs))
    return proofs


@_salts_errors
def evidence() -> dict[str, Any]:
    """
    What is true of this node now, in few words, for a page about the whole cluster
    (:py:func:`slurm_pam.evidence <salt.runners.slurm_pam.evidence>`). Changes nothing.

    Returns ``{"mode", "version", "since", "access", "promises", "doors", "unseen", "strays", "loose", "drift",
    "warnings", "stack"}``: ``since`` is when the PAM files that close this node were changed last, in seconds since
    1970, ``access`` the rules for who gets in without a job, ``promises`` what :py:func:`prove` finds, ``doors`` those
    of :py:func:`doors` that are on, ``unseen`` what that could not ask, ``strays`` who :py:func:`strays` finds,
    ``loose`` the problems of :py:func:`confined`, ``drift`` what :py:func:`audit` finds, ``stack`` the account rules
    and where their answers lead.

    Raises CommandExecutionError if one of these cannot be told.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.evidence

    .. versionadded:: 1.1.0
    """
    given = _slurm_pam_settings.without_nulls(settings())
    found = _slurm_pam_evidence.evidence(given, audit(), prove(), doors(), strays(), confined())
    __context__["retcode"] = 0
    return found


# Who gets in


def jobs() -> list[dict[str, Any]]:
    """
    The jobs that run on this node, as its own step daemons know them, whether slurmd and slurmctld answer or not.

    Returns ``[{"job": 4711, "user": "alice", "extern": True, "node": "cn1"}]``: ``extern`` is whether there is an
    extern step to adopt sessions into. ``user`` is a number if this node has no name for it, and None if no step daemon
    of the job answers. ``node`` is the NodeName that slurmd had when the job began; pam_slurm_adopt has to look for it.

    Raises CommandExecutionError if it cannot be asked what step daemons there are.

    Source: the sockets of the step daemons, which pam_slurm_adopt asks as well.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.jobs

    .. versionadded:: 1.0.0
    """
    return _slurm_pam_jobs.jobs()


def strays() -> list[dict[str, Any]]:
    """
    Who is on this node outside every job: the processes of users who are neither root, nor the system's, nor
    administrators. Changes nothing.

    Returns an entry for those of a user's that came the same way: ``{"user": "alice", "came": "ssh", "since":
    "2026-11-28 15:00", "count": 3, "pids": [4711, 4712, 4713], "commands": ["sshd: alice@pts/0", ...], "outlives":
    [17], "spared": ""}``. ``came`` is ssh, cron, at, console, ``systemd --user``, a container, ``left behind by`` one
    of these, or the unit whose process it is. ``pids`` has the first 100, ``commands`` five of them, each cut after 60
    characters. ``outlives`` are the user's jobs on this node, whose end does not take these along. ``spared`` is why
    they would not be ended by ``slurm_pam:strays:action: end``; it is empty if they would.

    Source: /proc, where only root can put a process into a job's cgroup; cgroups(7).

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.strays

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_strays.told(_slurm_pam_strays.strays(_slurm_pam_settings.without_nulls(settings())))


@_salts_errors
def confined() -> dict[str, Any]:
    """
    Whether each session over SSH of this node is in its job, and held to what its job has: measured in /proc and the
    cgroup tree, now, and not read from a configuration. Changes nothing.

    Returns ``{"holds": bool, "sessions": [{"user", "pid", "job", "cgroup", "outside": [pid], "problems": [str],
    ...}]}``: the sessions in a job, and those of users with a job here that are in none (``job`` is None). ``pid`` is
    sshd's process of the session, ``outside`` are processes of it that are not in the job's cgroup, ``problems`` say
    what is wrong and what to do.

    A session in a job has ``cores``, ``memory``, ``swap``, ``devices`` and ``namespaces`` as well, each ``{"held":
    bool, "found": str}``: whether it is held to what its job has, and to what, or why not; ``held`` is None if it could
    not be asked. That a session is not held is a problem if ``slurm_pam:confine`` asks for it, and that it is in other
    namespaces unless ``join_container`` is false. The exit status is as for :py:func:`audit`.

    Administrators are let in past Slurm, and are outside with a job as well.

    Raises CommandExecutionError if it cannot be asked what jobs there are.

    Source: cgroups(7), namespaces(7), bpf(2).

    CLI Example:

    .. code-block:: bash

        salt-call --retcode-passthrough slurm_pam.confined

    .. versionadded:: 1.1.0
    """
    told = _slurm_pam_confined.confined(_slurm_pam_settings.without_nulls(settings()))
    __context__["retcode"] = int(not told["holds"])
    return told


@_salts_errors
def explain(user: str, origin: str = "127.0.0.1", service: str | None = None) -> dict[str, Any]:
    """
    Whether a user would get in over SSH from an origin, now, and why. Changes nothing and logs nobody in.

    user
        A name.
    origin
        The address or host name that sshd sees.
    service
        Another PAM service than sshd's, such as cockpit or login, of which the account rules alone are looked at. The
        origin is LOCAL where nobody comes from an address.

    Returns ``{"user", "origin", "permitted": bool, "why": str, "access": str, "jobs": [int], "decided_by", "trace"}``:
    ``permitted`` is None if Slurm's rule decides and a step daemon that does not answer may have a job of the user's,
    ``access`` is the rule of the access file that fits, ``jobs`` those that count to Slurm's module, ``decided_by`` the
    PAM rule that decides (``file``, ``line``, ``rule``), and ``trace`` each PAM rule that is asked, as
    :py:func:`pam_verdict.decide <salt.modules.pam_verdict.decide>` gives it.

    Each sshd that listens is looked at, and whoever gets in through one of them is in.

    sshd's own rules are asked of sshd, jobs of Slurm's step daemons, and other modules through libpam: pam_access,
    pam_unix and the like, where asking changes nothing. The rest is taken to succeed, and ``why`` names it and the
    reason. The login is taken to be one by key, from an origin that is not a node of one of the user's jobs.

    Raises CommandExecutionError if this node's name services do not answer, or sshd refuses its configuration, and
    SaltInvocationError if a name is not a text: 4711 on a command line has to be quoted twice: ``"'4711'"``.

    Source: access.conf(5), https://slurm.schedmd.com/pam_slurm_adopt.html, sshd_config(5), pam_acct_mgmt(3).

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.explain alice 192.0.2.1
        salt-call slurm_pam.explain alice service=cron

    .. versionadded:: 1.0.0
    """
    return _slurm_pam_explain.login(user, origin, settings(), service)


@_salts_errors
def doors() -> dict[str, Any]:
    """
    Every way onto this node, SSH or not: whether it is there and on, and whether a user without a job and an
    administrator would get in by it, now. Changes nothing and logs nobody in.

    Returns ``{"doors": [...], "findings": [text]}``: what could not be asked or is not known is a finding. Each door is
    a PAM service:

    ``service``, ``what``
        its name, and what asks it in a word; ``not known`` where the formula's table does not have it
    ``reach``
        ``network``, ``console`` (at the machine or its management controller), ``later`` (what somebody left there runs
        by itself) or ``inside`` (only by who is on the node already)
    ``shell``
        whether whoever gets in can run programs, and not only fetch files, say
    ``stays``
        why it is not closed by its account rules, if it is not: ``passwd`` lets nobody in
    ``there``, ``on``, ``listening``
        its units and programs; which of them run or are started by the next boot; and where they listen. Another sshd,
        and a unit with this ``PAMName``, are told by ``on``.
    ``setting``
        ``close``, ``report`` or ``leave``
    ``stranger``, ``administrator``
        ``in`` is whether they get in, None if that could not be told; ``decided_by`` the PAM rule that decides
        (``file``, ``line``, ``rule``), and ``why`` says it in words. The user without a job has a valid password, and
        the worst case counts: rules that are not ours may answer anything. For an administrator they succeed.

    Source: pam_verdict's evaluator; systemctl(1); proc(5); https://slurm.schedmd.com/pam_slurm_adopt.html (service=).

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.doors

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_ways_in.report(_slurm_pam_settings.without_nulls(settings()))


@_salts_errors
def show_doors() -> str:
    """
    What :py:func:`doors` says, as a table to be read: the ways in that are on come first.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.show_doors

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_ways_in.table(doors())


# What the states ask


def version() -> str:
    """
    The version of the formula that these modules came with.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.version

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_settings.VERSION


def booted() -> bool:
    """
    Whether systemd runs this system. It runs none that is an image in a build, where no unit can be reloaded.

    Source: sd_booted(3).

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.booted

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_ask.booted()


def wanted(settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    The manifest: everything that an apply of these settings puts on a node or changes there, doors included that it
    opens again. It looks at two things of the node: what was applied before and, if a door needs it, login.defs.

    settings
        The merged settings of the formula; this node's where none are given.

    Returns a mapping. Each entry for a file is what the state that brings it about takes:

    - ``access``: the access file, for ``pam_stack.managed``
    - ``slurmstepd``: the PAM service that slurmstepd opens with UsePAM=1, for ``pam_stack.managed``; None without
    - ``slurm_conf``: ``settings``, ``path`` and ``tag``, for ``slurm_conf.managed``, and ``manage``
    - ``sshd``: ``options``, ``config``, ``drop_in`` and ``tag``, for ``sshd_config.managed``; None if not managed
    - ``pam``: the PAM files and the ``policy`` that they have to meet, for ``pam_stack.managed``
    - ``record``: the path of the file in which it is written down what was applied
    - ``watch``: whether this node is watched

    These are changed through a tool:

    - ``packages``: the names of those with the ``node`` daemon and with the PAM ``modules``; None if not managed
    - ``groups``: local groups, each with the ``members`` to add and a ``gid``
    - ``units``: the names of ``slurmd``, which is restarted, and of ``sshd``, which is reloaded
    - ``logind``: mask, stop or keep
    - ``selinux``: report or manage

    And ``modules`` are the PAM modules that have to be there besides those of the node's own stacks.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.wanted

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_wanted.wanted(_slurm_pam_record.continued(settings or _rendered()["settings"]))


def installation(settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    What an apply of these settings would install, and what this would do to the packages that are there. A package is
    left out if what it brings is on the node already, from whatever package or from none. Changes nothing.

    settings
        The merged settings of the formula; this node's where none are given.

    Returns ``{"missing": [name], "changes": {package: {"old", "new"}}, "losses": [text]}``: what is to be installed,
    what becomes of each package, and in words what would be removed or get an older version. An apply refuses losses.

    Raises CommandExecutionError where the package manager would not install them.

    Source: zypper(8), ``--dry-run``; apt-get(8), ``--simulate``; dnf(8), ``--assumeno``.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.installation

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_packages.installation(wanted(settings))


def touched(settings: Mapping[str, Any] | None = None) -> list[str]:
    """
    Every path that an apply of these settings may write below /etc, /var and /run, in the order in which they are
    brought back. The places where something of ours stands by now are among them.

    settings
        The merged settings of the formula; this node's where none are given.

    What is changed through a tool is the tool's: the package manager's files, /etc/group and /etc/gshadow with their
    copies. So is what is gone when the apply ends, beside the files and in /run, and what Salt and confirm keep.

    Raises CommandExecutionError if it cannot be told what is to become of sshd's configuration or of slurm.conf.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.touched

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_wanted.touched(_slurm_pam_record.continued(settings or _rendered()["settings"]))


def record(settings: Mapping[str, Any]) -> str:
    """
    The part of these settings that is written down, so that everything is found again after they have changed. What was
    written down before stays.

    settings
        The merged settings of the formula.

    Returns the text of the file that :py:func:`wanted` names as ``record``.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.record '{...}'

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_record.record(settings)


def recorded() -> dict[str, Any]:
    """
    What is written down: ``{"slurm_pam:access:file": "/etc/security/slurm-access.conf", ...}``, and whether
    systemd-logind was masked before the first apply. Empty where nothing was applied, or all of it was taken back.

    Raises CommandExecutionError where the file cannot be understood.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.recorded

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_record.recorded()


def applied(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The settings with the places that were used, and with as much as was done, for taking it back.

    settings
        The merged settings of the formula.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.applied '{...}'

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_record.applied(settings)


def other_sshds(settings: Mapping[str, Any]) -> list[str]:
    """
    The other sshds that run here and read the files that an apply writes for sshd. Changes nothing.

    settings
        The merged settings of the formula.

    Returns each as people know it: ``["sshd (process 870: /usr/local/sbin/second -D -p 2222)"]``.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.other_sshds '{...}'

    .. versionadded:: 1.1.0
    """
    return [daemon.who for daemon in _slurm_pam_daemons.reading(_slurm_pam_settings.without_nulls(settings))]


def reload_other_sshds(settings: Mapping[str, Any]) -> dict[str, str]:
    """
    Have each of :py:func:`other_sshds` read its configuration again. Sessions stay. One that would refuse what is there
    now is left as it is.

    settings
        The merged settings of the formula.

    Returns ``{who: why}`` of those that did not do it, or have ended since.

    Source: sshd(8), SIGHUP.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.reload_other_sshds '{...}'

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_daemons.reload(_slurm_pam_settings.without_nulls(settings))


def waiting_logins(settings: Mapping[str, Any], every: bool = False) -> list[str]:
    """
    Connections to sshd that are not logged in yet and are older than the PAM files: sshd has read the PAM files of
    before for them, or may have. Changes nothing.

    settings
        The merged settings of the formula.
    every
        Whether those that are younger are told as well, since the PAM files are going to be written.

    Returns a text for each.

    Source: OpenSSH's auth2.c, which starts PAM as soon as it is told a user's name.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.waiting_logins '{...}'

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_before.told(_slurm_pam_before.waiting(None if every else _read_at_login(settings)))


def end_waiting_logins(settings: Mapping[str, Any]) -> list[str]:
    """
    End what :py:func:`waiting_logins` tells, where it is not through by itself within five seconds. Whoever was about
    to log in can do so again.

    settings
        The merged settings of the formula.

    Returns a text for each that was ended.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.end_waiting_logins '{...}'

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_before.told(_slurm_pam_before.end(_slurm_pam_before.waiting(_read_at_login(settings))))


def _read_at_login(settings: Mapping[str, Any]) -> list[str]:
    """What sshd reads for a login before it knows who it is."""
    manifest = wanted(settings)
    sshd = manifest["sshd"] or {}
    return [file["path"] for file in manifest["pam"]["files"]] + list(filter(None, [sshd.get("drop_in")]))


def idle_managers(settings: Mapping[str, Any]) -> list[str]:
    """
    The units of systemd managers (``user@1001.service``) of people without a session, administrators aside.

    settings
        The merged settings of the formula.

    Source: user@.service(5).

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.idle_managers '{...}'

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_before.managers(_slurm_pam_settings.without_nulls(settings)["access"])


def strays_to_end(settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    The users whose processes outside of jobs an apply ends, as ``slurm_pam:strays`` says. Changes nothing.

    settings
        The merged settings of the formula.

    Returns ``{"users": {"alice": 3}, "waits": bool}``: how many processes each of them has, and whether people were
    told by an earlier apply and the grace is not over yet. ``users`` is empty where nobody is to be ended.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.strays_to_end '{...}'

    .. versionadded:: 1.1.0
    """
    settings = _slurm_pam_settings.without_nulls(settings)
    if settings["strays"]["action"] != "end" or settings["mode"] != "enforce":
        return {"users": {}, "waits": _slurm_pam_ending.waits()}
    # Managers of people without a session are stopped before.
    idle = [] if settings["logind"] == "keep" else _slurm_pam_before.managers(settings["access"])
    users = _slurm_pam_strays.by_user(_slurm_pam_strays.to_end(settings, idle))
    return {"users": users, "waits": bool(users) and _slurm_pam_ending.waits()}


def end_strays(settings: Mapping[str, Any], users: list[str]) -> None:
    """
    Tell users on their terminals that their processes outside of jobs are going to be ended, and end them after
    ``slurm_pam:strays:grace`` seconds. Does not wait: a transient unit of systemd does it (``slurm_pam-strays``).

    settings
        The merged settings of the formula.
    users
        As :py:func:`strays_to_end` names them.

    Raises CommandExecutionError if systemd does not start the unit.

    Source: systemd-run(1), pidfd_send_signal(2).

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.end_strays '{...}' '[alice]'

    .. versionadded:: 1.1.0
    """
    _slurm_pam_ending.start(_slurm_pam_settings.without_nulls(settings), users)


def spare_strays() -> None:
    """
    Users whom :py:func:`end_strays` has told, and whose time is not over yet, keep their processes.

    Raises CommandExecutionError if systemd does not stop the unit.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.spare_strays

    .. versionadded:: 1.1.0
    """
    _slurm_pam_ending.stop()


def selinux(settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    What SELinux keeps sshd from that pam_slurm_adopt needs, asked of the loaded policy with the types that this node
    has. Changes nothing.

    settings
        The merged settings of the formula; this node's where none are given.

    Returns ``{"denied": ["sshd_t -> var_lib_t:sock_file (write)"], "module": text}``: ``module`` is the text of the
    policy module that allows it, as semodule takes it. Both are empty if nothing is denied, or SELinux is off.

    Raises CommandExecutionError if it could not be asked.

    Source: selinuxfs; the CIL reference guide of SELinux.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.selinux

    .. versionadded:: 1.1.0
    """
    settings = _slurm_pam_settings.without_nulls(settings or _rendered()["settings"])
    lacking = _slurm_pam_selinux.denied(settings)
    text = _slurm_pam_selinux.module_text(settings, lacking) if lacking else ""
    return {"denied": [need.told() for need in lacking], "module": text}


def load_selinux_module(settings: Mapping[str, Any]) -> None:
    """
    Load the policy module ``slurm_pam``, which allows what :py:func:`selinux` finds denied.

    settings
        The merged settings of the formula.

    Raises CommandExecutionError if semodule does not take it, or if it does not suffice; then it is taken away again.

    Source: semodule(8).

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.load_selinux_module '{...}'

    .. versionadded:: 1.1.0
    """
    _slurm_pam_selinux.load(_slurm_pam_settings.without_nulls(settings))


def selinux_module_is_loaded() -> bool:
    """
    Return whether the policy module ``slurm_pam`` is there.

    Raises CommandExecutionError if semodule does not say.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.selinux_module_is_loaded

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_selinux.is_loaded()


def unload_selinux_module() -> None:
    """
    Take the policy module ``slurm_pam`` away.

    Raises CommandExecutionError with semodule's words if it does not.

    Source: semodule(8).

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.unload_selinux_module

    .. versionadded:: 1.1.0
    """
    _slurm_pam_selinux.unload()


@_salts_errors
def watch_plan(settings: Mapping[str, Any], to_come: bool = False) -> dict[str, Any]:
    """
    What the watch needs on this node: its program, the name under which this drains the node, and how everything is now
    that keeps the node closed.

    settings
        The merged settings of the formula.
    to_come
        Whether an apply of these settings is still to come.

    Returns ``{"files": [change], "anew": bool}``: the files as :py:func:`file_transaction.commit
    <salt.modules.file_transaction.commit>` takes them, and whether the node is, or will be, otherwise than an apply
    accepted last. If it is not, the last of the files is new only in what costs the program less.

    Raises CommandExecutionError if it cannot be told what keeps the node closed.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.watch_plan '{...}'

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_watch.plan(settings, to_come)


def watch_files() -> list[str]:
    """
    Where the files of the watch stand, whether they are there or not.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.watch_files

    .. versionadded:: 1.1.0
    """
    return [*_slurm_pam_wanted.WATCH_FILES]


def suspend_watch() -> None:
    """
    Until this process ends, or for an hour at most, the watch takes nothing that differs for drift.

    Raises CommandExecutionError if that cannot be noted.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.suspend_watch

    .. versionadded:: 1.1.0
    """
    _slurm_pam_watch.suspend()


def resume_watch() -> None:
    """
    The watch takes what differs for drift again.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.resume_watch

    .. versionadded:: 1.1.0
    """
    _slurm_pam_watch.resume()


@_salts_errors
def objections(
    given: Any, settings: Mapping[str, Any], taking_back: bool = False, auditing: bool = False
) -> dict[str, Any]:
    """
    What stands against a run, and what its reader should know. Changes nothing.

    given
        The pillar ``slurm_pam`` as it came.
    settings
        The merged settings of the formula.
    taking_back
        Whether it is on the way out: then only the shape of the settings counts.
    auditing
        Whether it is part of an audit. In mode ``audit`` itself, the audit looks at the node.

    Returns what :py:func:`preflight` does, and ``misfits``: whether the settings are of the wrong shape, so that the
    other states cannot tell anything.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.objections '{...}' '{...}' taking_back=True

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_preflight.objections(given, settings, taking_back, auditing)


@_salts_errors
def unusable_modules(settings: Mapping[str, Any] | None = None) -> list[str]:
    """
    The PAM modules that the settings ask for and this node's libpam cannot use, one text each: they are not where it
    looks, do not load, or belong to another release of Slurm than slurmd, as happens after an update.

    settings
        The merged settings of the formula; this node's where none are given.

    CLI Example:

    .. code-block:: bash

        salt-call slurm_pam.unusable_modules

    .. versionadded:: 1.1.0
    """
    return _slurm_pam_modules.unusable(wanted(settings))
