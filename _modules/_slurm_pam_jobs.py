"""The jobs that run on this node, as its own step daemons know them."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Iterator
from typing import Any

import _child
from _slurm_pam_ask import Unanswered, answer


def jobs() -> list[dict[str, Any]]:
    """
    The jobs of this node, whether slurmd and slurmctld answer or not: ``[{"job": 4711, "user": "alice", "extern":
    True}]``. ``extern`` is whether there is an extern step to adopt sessions into; ``user`` is None if nothing tells.

    Source: scontrol(1), listpids; the owners of what it lists.
    """
    try:
        processes = list(_processes())
    except Unanswered:
        return []
    found: dict[int, dict[str, Any]] = {}
    for pid, job, step in processes:
        entry = found.setdefault(job, {"job": job, "user": None, "extern": False})
        entry["extern"] |= step == "extern"
        entry["user"] = entry["user"] or _owner(pid)
    unknown = [job for job, entry in found.items() if entry["user"] is None]
    if unknown:
        try:
            for job, user in _owners(unknown):
                found[job]["user"] = user
        except Unanswered:
            pass
    return [found[job] for job in sorted(found)]


def _processes() -> Iterator[tuple[str, int, str]]:
    """Every process of a step: its number, its job and its step. Raises Unanswered if there is nobody to ask."""
    said = _child.ask(_child.which("scontrol") or "scontrol", "listpids")
    # Without a job here it fails, but for the heading, which comes as soon as it has read slurm.conf.
    if said.returncode and not said.stdout:
        raise Unanswered(said)
    for line in said.stdout.splitlines()[1:]:
        pid, job, step = line.split()[:3]
        yield pid, int(job), step


def _owner(pid: str) -> str | None:
    """The user that a step's process belongs to: its own, or by its cgroup if it is Slurm's placeholder."""
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
        if uid == 0:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as groups:
                in_path = re.search(r"/uid_(\d+)/", groups.read())
            uid = int(in_path[1]) if in_path else 0
        return pwd.getpwuid(uid).pw_name if uid else None
    except (OSError, KeyError):
        return None


def _owners(jobs: Iterable[int]) -> Iterator[tuple[int, str]]:
    """
    The users of jobs that only hold an allocation and have no process of theirs here, as slurmctld knows them. Raises
    Unanswered if it does not say.
    """
    wanted = set(jobs)
    squeue = _child.which("squeue") or "squeue"
    said = answer(squeue, "--noheader", "--format=%A %u", f"--jobs={','.join(map(str, jobs))}", timeout=5)
    for line in said.splitlines():
        job, user = line.split()
        if int(job) in wanted:  # with one job of an array it lists the others as well
            yield int(job), user
