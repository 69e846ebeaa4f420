"""The Slurm cluster of a site: slurm.conf and cgroup.conf, right for pam_slurm_adopt from the start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import cgroups

# Not where systemd has its own hierarchies.
MOUNTPOINT = "/run/slurm-cgroup"

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={controller}
SlurmUser=slurm
AuthType=auth/munge
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/lib/slurm/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
ReturnToService=2
KillWait=1
MpiDefault=none

PrologFlags=Contain
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup

SelectType=select/cons_tres
SelectTypeParameters={resources}
SlurmdParameters=config_overrides
{nodes}
{partitions}
"""


@dataclass(frozen=True)
class Shape:
    """What a node has for jobs: processors, and MiB of memory where jobs are held to theirs. ``held_to`` names what
    jobs are held to, as cgroup.conf does; where it names something, the node has a kernel of its own."""

    processors: int
    memory: int | None = None
    held_to: tuple[str, ...] = ()


# What a job gets that does not ask for memory, where memory counts.
DEFAULT_MEMORY = 200


def slurm_conf(addresses: Mapping[str, str], partitions: Mapping[str, Sequence[str]], shape: Shape) -> str:
    """The cluster's one slurm.conf; the first node is the controller, the first partition the default."""
    controller = next(iter(addresses))
    has = f"CPUs={shape.processors}" + (f" RealMemory={shape.memory}" if shape.memory else "")
    nodes = [f"NodeName={name} NodeAddr={address} {has} State=UNKNOWN" for name, address in addresses.items()]
    default = next(iter(partitions))
    rooms = [
        f"PartitionName={name} Nodes={','.join(members)} Default={'YES' if name == default else 'NO'} State=UP"
        for name, members in partitions.items()
    ]
    resources = f"CR_CPU_Memory\nDefMemPerNode={DEFAULT_MEMORY}" if shape.memory else "CR_CPU"
    told = {"nodes": "\n".join(nodes), "partitions": "\n".join(rooms), "resources": resources}
    return SLURM_CONF.format(controller=controller, **told)


def cgroup_conf(shape: Shape) -> str:
    """Controllers in cgroup v1 hierarchies need the plugin named and a mount point of the node's own."""
    if shape.held_to:
        return "CgroupPlugin=cgroup/v2\n" + "".join(f"Constrain{what}=yes\n" for what in shape.held_to)
    if cgroups.v1_controllers():
        return f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={MOUNTPOINT}\n"
    return "CgroupPlugin=cgroup/v2\n"


def fstab() -> str:
    """Those mounts: what CgroupAutomount did before Slurm dropped it."""
    return "".join(
        f"cgroup {MOUNTPOINT}/{names} cgroup {names} 0 0\n"
        for names in cgroups.v1_controllers()
        if names in ("cpuset", "devices", "freezer", "memory")
    )
