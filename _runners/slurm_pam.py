"""
Roll slurm_pam out over a cluster: audit all nodes, try it on one, then go on batch by batch while all goes well.

``salt-run saltutil.sync_runners`` brings this module to the master; ``slurm_pam/rollout.sls`` is the usual way to call
it. Every apply of a rollout waits to be confirmed (see :py:mod:`slurm_pam_confirm <salt.modules.slurm_pam_confirm>`),
so that a node which does not come through its verification is taken back, by the rollout or by itself.

.. versionadded:: 1.0.0
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import _evidence
import _evidence_files
import _evidence_page
import _node_answers as said
import _pillars
import _rollout_order
import _rollout_record as records
import salt.client
import salt.loader
import salt.utils.event
import salt.utils.minions
from _meant import unreadable
from _minions import Minions
from _rollout import Rollout
from _rollout_order import Order
from _rollout_record import STATES, Node, Record
from _rollout_report import chosen, counted, left_open, table
from _rollout_watch import Watch
from salt.exceptions import CommandExecutionError, SaltException

# Roll out


def rollout(
    nodes: str | None = None,
    canary: str | None = None,
    batch: int | str = "10%",
    partitions: Mapping[str, str] | None = None,
    confirm: int = 300,
    probes: list[Mapping[str, str]] | None = None,
    tolerate: int | str | Mapping[str, int | str] = 0,
    at_once: int = _rollout_order.AT_ONCE,
    **unknown: Any,
) -> dict[str, Any]:
    """
    Close the nodes, a few at a time. Stops at the first batch where something is not as it should be, and names it.
    Called again, it goes on where it stopped.

    nodes
        Which ones, as a compound target. The minions themselves decide whether they match it.
    canary
        The node to try it on before all others; the first one where none is named.
    batch
        How many at a time: a number, or a percentage of the partition or, without partitions, of all nodes that answer.
    partitions
        ``{name: compound target}``: they are done in this order, and nodes that are in none of them last.
    confirm
        Seconds after which a node takes an apply back that the rollout did not confirm. A node has to be applied when
        six tenths of them are over, audited when three quarters are, and logged in to when nine tenths are; one that is
        not by then is taken back.
    probes
        Real logins for the verification, made from the master: ``{command: "ssh alice@{node} true", expect: deny,
        says: "no active jobs"}``; see :py:func:`slurm_pam_logins.failing <salt.runners.slurm_pam_logins.failing>`.

    tolerate
        How many nodes of each partition may stay as they are, refused or not come through, before it stops: a number, a
        percentage, or ``{partition: number or percentage}``. They are named, and what was begun is taken back. The
        canary has to come through.
    at_once
        To how many nodes a call goes at most. The next ones have their turn as soon as others are through.

    Returns ``{"result": bool, "summary": str, "nodes": {name: {"state", "reason"}}}``, and what is left open, if there
    is something, by the nodes' last audits: ``{"open": {kind: {name: {"count", "nodes"}}}}``, where the kinds are
    ``doors`` besides SSH that let users without a job in, doors of which it is not known (``doubtful``), and users with
    processes outside every job (``strays``). While it runs, it says on standard error what happens, and fires events
    with the tag ``slurm_pam/rollout/<node>``.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.rollout 'cn* or gpu*' canary=cn1 batch=25%

    .. versionadded:: 1.0.0
    """
    order = Order(nodes or "", canary, batch, partitions or {}, confirm, probes or [], tolerate, at_once)
    # Salt itself adds arguments whose names begin so.
    strange = [name for name in unknown if not name.startswith("__")]
    if strange:
        return _ended({}, f"{strange[0]} is not an argument; there are {', '.join(Order._fields)}")
    wrong = _rollout_order.misused(order) or __salt__["slurm_pam_logins.misused"](order.probes)
    if wrong := wrong or unreadable(order.targets(), __opts__):
        return _ended({}, wrong)
    with records.alone(_directory()) as free:
        if not free:
            return _ended({}, "Another rollout is running on this master. Nothing was done")
        # From here on, whoever wishes something means this one.
        if wrong := _wished():
            return _ended({}, wrong)
        with _reached(order.nodes, order.probes) as (named, accepted, channel), _bus() as bus:
            return _carried_out(order, named, accepted, channel, lambda tag, data: bus.fire_event(data, tag))


def _carried_out(order: Order, named: set[str], accepted: set[str] | None, channel: Any, fire: Any) -> dict[str, Any]:
    try:
        record = Record(_directory())
    except ValueError as error:
        return _ended({}, str(error))
    with contextlib.closing(record):
        watch, groups = Watch(sys.stderr), __opts__.get("nodegroups", {})
        running = Rollout(order, channel, record, watch, fire, groups)
        unsettled = ""
        try:
            summary = running.carry_out(named, accepted)
        finally:
            unsettled = _settled(record)
        nodes = {name: record.nodes[name] for name in running.names}
        return {**_ended(nodes, f"{unsettled}{summary}"), **_left_open(nodes)}


def _settled(record: Record) -> str:
    try:
        record.settle()
    except ValueError as error:
        return f"What follows is not in the record: {error}. "
    return ""


def _failing(probes: list[Mapping[str, str]]) -> Callable[[list[str], float], Mapping[str, str]]:
    # Salt's loader is found by this thread alone, its function by those of the logins as well.
    failing = __salt__["slurm_pam_logins.failing"]
    return lambda nodes, seconds: failing(nodes, probes, seconds)


@contextlib.contextmanager
def _reached(target: str, probes: list[Mapping[str, str]]) -> Iterator[tuple[set[str], set[str] | None, Minions]]:
    """The minions that the master's cache knows for a target or that it lists, all that may be heard, and how they are
    reached."""
    with salt.client.get_local_client(mopts=__opts__) as client:
        accepted = set(client.gather_minions(r"[\s\S]", "pcre"))
        found = salt.utils.minions.CkMinions(client.opts).check_minions(target, "compound")
        named = accepted.intersection(found["minions"])
        # A master of masters does not know the minions below.
        below = client.opts.get("order_masters")
        with contextlib.closing(Minions(client, _failing(probes))) as channel:
            yield (named, None, channel) if below else (named.union(found["missing"]), accepted, channel)


def _bus() -> Any:
    return salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False)


# From another terminal


def pause() -> str:
    """
    The rollout that is running waits ahead of its next batch, or of the next nodes that it audits.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.pause

    .. versionadded:: 1.1.0
    """
    return _wish("The rollout waits ahead of its next batch; salt-run slurm_pam.resume lets it go on", records.PAUSE)


def resume() -> str:
    """
    The rollout that was paused goes on.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.resume

    .. versionadded:: 1.1.0
    """
    return _wish("The rollout goes on")


def stop() -> str:
    """
    The rollout that is running ends ahead of its next batch, or of the next nodes that it audits. Called again, it goes
    on there.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.stop

    .. versionadded:: 1.1.0
    """
    return _wish("The rollout ends ahead of its next batch", records.STOP)


def _wish(told: str, *wishes: str) -> str:
    with records.alone(_directory()) as free:
        if free:
            return "No rollout is running on this master"
    wrong = _wished(*wishes)
    return f"The rollout does not hear of this: {wrong}" if wrong else told


def _wished(*wishes: str) -> str:
    """These instead of those that were; what is wrong with the record, or nothing."""
    try:
        with contextlib.closing(Record(_directory())) as record:
            record.wish(*wishes)
    except ValueError as error:
        return str(error)
    return ""


# How it stands


def report(state: str | None = None, partition: str | None = None, form: str = "nodes") -> Any:
    """
    How the last rollout ended, or stands now, for each node.

    state, partition
        Only the nodes of these: each a name, or several with commas.
    form
        ``nodes`` is a mapping as :py:func:`rollout` returns it, with each node's ``partition``, and ``since`` in
        seconds since 1970 (``--out=json`` writes it as JSON). ``table`` is text; nodes that are alike are one row, and
        what is left open follows. ``counts`` is ``{partition: {state: number}}``.

    The exit status tells of all nodes, whichever are shown; with ``table`` and ``counts`` it is 0.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.report state=failed,refused form=table

    .. versionadded:: 1.0.0
    """
    if wrong := _misused_report(state, form):
        return _ended({}, wrong)
    if not records.there(_directory()):
        return _ended({}, "There was no rollout yet, or it was forgotten")
    try:
        with contextlib.closing(Record(_directory())) as record:
            nodes = record.nodes
    except ValueError as error:
        return _ended({}, str(error))
    ended = _ended(nodes, "The last rollout" if nodes else "The last rollout has no nodes, or has not found them yet")
    shown = chosen(nodes, _names(state), _names(partition))
    if form == "table":
        return table(shown)
    if form == "counts":
        return counted(shown)
    more = {name: {"partition": node.partition, "since": round(node.at)} for name, node in shown.items()}
    rows = {name: {**ended["nodes"][name], **more[name]} for name in sorted(shown)}
    return {**ended, "nodes": rows, **_left_open(shown)}


def _misused_report(state: Any, form: Any) -> str:
    if form not in ("nodes", "table", "counts"):
        return f"form is {form!r}; allowed is nodes, table or counts"
    odd = [name for name in _names(state) or () if name not in STATES]
    return f"state is {odd[0]!r}; there are {', '.join(STATES)}" if odd else ""


def _names(given: Any) -> set[str] | None:
    """Of names with commas; None is all of them."""
    return None if given is None else {name.strip() for name in str(given).split(",")}


def forget() -> str:
    """
    Forget the last rollout: the next one begins with its canary again.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.forget

    .. versionadded:: 1.0.0
    """
    with records.alone(_directory()) as free:
        if not free:
            return "A rollout is running, and nothing was forgotten; salt-run slurm_pam.stop ends it"
        records.forget(_directory())
    return "The next rollout begins with its canary"


# Pillars before they go out


def check_pillar(nodes: str = "*") -> dict[str, Any]:
    """
    What is wrong with the settings of nodes, and what is probably not as it was meant. Nothing is asked of a node: the
    master renders their pillars with the grains that it knows. For a hook or a pipeline, the exit status says it too.

    nodes
        Which ones, as a compound target.

    Returns ``{"result": bool, "summary": str, "problems": {text: nodes}, "warnings": {text: nodes}}``; with problems,
    ``"retcode": 1`` as well.
    Warnings are partitions that match no node, partitions of one node that contradict each other, and names of
    administrators that differ by one letter.

    Raises CommandExecutionError where the master's file server does not have the formula's modules.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.check_pillar 'cn*'

    .. versionadded:: 1.1.0
    """
    __salt__["saltutil.sync_modules"]()
    functions = salt.loader.minion_mods({**__opts__, "grains": {}})
    if "slurm_pam.wrong_settings" not in functions:
        raise CommandExecutionError(
            "This master's file server does not have the formula's modules, so that nothing could be checked. Put "
            "_modules into file_roots, next to the folder slurm_pam"
        )
    told = _pillars.checked(__opts__, nodes, functions["slurm_pam.wrong_settings"])
    return {**told, **_status(told["result"])}


# What is true now


def evidence(
    nodes: str | None = None,
    to: str | None = None,
    earlier: str | None = None,
    key: str | None = None,
    at_once: int = _rollout_order.AT_ONCE,
) -> dict[str, Any]:
    """
    What is true of the nodes now, as a page for people and as JSON: which are closed, since when, who gets in without a
    job and from where, what is proven, what has drifted, who does not answer. Changes nothing on them.

    nodes
        Which ones, as a compound target.
    to
        Where the files go, ``.html`` and ``.json`` with this beginning; ``evidence`` in the master's cache directory if
        it is not given. They are readable for root alone.
    earlier
        A JSON file of before: the page says what is otherwise since then. By default the one that is replaced.
    key
        A private key of SSH with which both files are signed; the signatures are beside them.
    at_once
        To how many nodes a call goes at most.

    Returns ``{"result": bool, "summary": str, "files": [path]}``: whether all nodes have answered, keep what is
    promised and are as their settings want them.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.evidence 'cn* or gpu*' to=/srv/evidence/today key=/root/.ssh/evidence

    .. versionadded:: 1.1.0
    """
    order = Order(nodes or "", None, 1, {}, 1, [], 0, at_once)
    if wrong := _rollout_order.misused(order) or unreadable(order.targets(), __opts__):
        return _evident(False, wrong)
    with _reached(order.nodes, []) as (named, accepted, channel):
        return _made(order, named, accepted, channel, to or os.path.join(_directory(), "evidence"), earlier, key)


def _made(
    order: Order,
    named: set[str],
    accepted: set[str] | None,
    channel: Any,
    to: str,
    earlier: str | None,
    key: str | None,
) -> dict[str, Any]:
    files = [f"{to}.json", f"{to}.html"]
    try:
        before = _evidence_files.read(earlier or files[0]) if earlier or os.path.exists(files[0]) else None
        found = _evidence.gathered(order.nodes, __opts__.get("nodegroups", {}), named, accepted, channel, order.at_once)
        if not _evidence.states(found):
            return _evident(False, f"There is no new evidence: no accepted minion matches {order.nodes}")
        _evidence_files.write(files[0], json.dumps(found, indent=1) + "\n")
        _evidence_files.write(files[1], _evidence_page.written(found, before))
    except (SaltException, OSError, ValueError) as error:
        return _evident(False, f"There is no new evidence: {error}")
    try:
        files += [_evidence_files.sign(path, key) for path in files] if key else []
    except (OSError, ValueError) as error:
        return _evident(False, f"The evidence is new, but it is not signed: {error}", files)
    counts = Counter(_evidence.states(found).values())
    told = ", ".join(f"{counts[state]} {state}" for state in _evidence.STATES if counts[state])
    return _evident(not any(counts[state] for state in ("open", "unknown", "drifted")), told, files)


def evidence_signed(file: str, key: str) -> dict[str, Any]:
    """
    Whether a file is what was signed, to the last byte. Its signature is beside it.

    file
        One that :py:func:`evidence` wrote.
    key
        The public key of SSH.

    Returns ``{"result": bool, "summary": str}``, with the words of ``ssh-keygen -Y verify``.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.evidence_signed /srv/evidence/today.html /root/.ssh/evidence.pub

    .. versionadded:: 1.1.0
    """
    try:
        return _evident(True, _evidence_files.verify(file, key))
    except (OSError, ValueError) as error:
        return _evident(False, f"{file} is not what was signed with this key: {error}")


def _evident(result: bool, summary: str, files: list[str] | None = None) -> dict[str, Any]:
    told = {"result": result, "summary": said.line(summary, records.REASON), **({"files": files} if files else {})}
    return {**told, **_status(result)}


# The plan


def batches(
    names: list[str],
    canary: str | None,
    size: int | str,
    partitions: Mapping[str, Iterable[str]],
    nodes: Iterable[str] = (),
) -> list[tuple[str, list[str]]]:
    """
    Who is done with whom, in order: ``[(label, [node, ...]), ...]``.

    names
        The nodes that are to be done.
    canary
        Goes first and alone, unless it is done already; without one, the first node does.
    size
        A number of nodes, or a percentage of each partition, of which at least one node.
    partitions
        The members of each; a node goes with the first that has it.
    nodes
        Those that are done already, or of all: a percentage counts them as well.

    CLI Example:

    .. code-block:: bash

        salt-run slurm_pam.batches '[cn1, cn2, gpu1]' cn1 50% '{gpu: [gpu1]}'

    .. versionadded:: 1.0.0
    """
    return _rollout_order.batches(names, canary, size, partitions, nodes)


# What is answered


def _ended(nodes: Mapping[str, Node], summary: str) -> dict[str, Any]:
    counts = Counter(node.state for node in nodes.values())
    result = bool(nodes) and all(STATES[state] for state in counts)
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return {
        "result": result,
        "summary": said.line(f"{summary}: {told}" if told else summary, records.REASON),
        "nodes": {name: {"state": node.state, "reason": node.reason} for name, node in sorted(nodes.items())},
        **_status(result),
    }


def _left_open(nodes: Mapping[str, Node]) -> dict[str, Any]:
    """What is left open, where anything is."""
    found = left_open(nodes)
    return {"open": found} if found else {}


def _status(result: bool) -> dict[str, int]:
    """What an answer has besides where not all is well: salt-run ends with it, an orchestration by the context."""
    __context__["retcode"] = int(not result)
    return {} if result else {"retcode": 1}


def _directory() -> str:
    directory = os.path.join(__opts__["cachedir"], "slurm_pam")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    return directory
