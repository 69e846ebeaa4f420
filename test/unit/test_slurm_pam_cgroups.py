"""A job's cgroup in trees as the kernel shows them: where a process is, and what it is held to there."""

import os
from types import SimpleNamespace

import pytest

import _processes
import _slurm_pam_cgroups as cgroups
from _slurm_pam_cgroups import Held, Job

JOB = "/slurm/uid_1001/job_7"
JOB_V2 = "/system.slice/cn1_slurmstepd.scope/job_7"
EXTERN, EXTERN_V2 = f"{JOB}/step_extern/task_0", f"{JOB_V2}/step_extern/user/task_0"
CONTROLLERS = ("cpuset", "memory", "devices", "freezer")
HUGE = str(0x7FFFFFFFFFFFF000)  # what cgroup v1 has for no limit


class Tree:
    """A kernel with its hierarchies mounted, 8 GB of memory and 1 of swap."""

    def __init__(self, top, monkeypatch):
        self.top, self.cgroups, self.mounts = top, {}, []
        monkeypatch.setattr(cgroups, "_MOUNTS", str(top / "mountinfo"))
        monkeypatch.setattr(cgroups, "_MEMORY", str(top / "meminfo"))
        monkeypatch.setattr(cgroups, "_programs", lambda directory: self.programs.get(directory, 0))
        monkeypatch.setattr(_processes, "cgroups", lambda pid: self.cgroups.get(pid, ""))
        self.programs, self.memory = {}, ""
        self.swap(1_000_000)
        self.mount("proc", "proc", "rw", "proc")

    def swap(self, size):
        (self.top / "meminfo").write_text(f"MemTotal:  8000000 kB\nMemFree: 10 kB\nSwapTotal: {size} kB\n")

    def mount(self, name, system, options, point=None, root="/"):
        place = self.top / (point or name)
        place.mkdir(exist_ok=True)
        shown = str(place).replace(" ", r"\040")
        self.mounts.append(f"{len(self.mounts)} 20 0:3 {root} {shown} rw,nosuid shared:9 - {system} none {options}\n")
        (self.top / "mountinfo").write_text("".join(self.mounts))
        return place

    def make(self, place, path, **files):
        directory = f"{place}{path}"
        os.makedirs(directory, exist_ok=True)
        for name, text in files.items():
            with open(f"{directory}/{name.replace('__', '.')}", "w") as file:
                file.write(f"{text}\n")


@pytest.fixture
def v1(tmp_path, monkeypatch):
    """As Slurm makes it with all that it can constrain, and an adopted process."""
    tree = Tree(tmp_path, monkeypatch)
    for name in CONTROLLERS:
        tree.mount(name, "cgroup", f"rw,{name}")
        tree.make(tmp_path / name, EXTERN)
    cpus = {"cpuset__cpus": "0-1", "cpuset__effective_cpus": "0-1"}
    for path in (JOB, os.path.dirname(EXTERN), EXTERN):
        tree.make(tmp_path / "cpuset", path, **cpus)
        tree.make(
            tmp_path / "memory",
            path,
            memory__limit_in_bytes=200 * 1024**2 if path == JOB else HUGE,
            memory__memsw__limit_in_bytes=300 * 1024**2 if path == JOB else HUGE,
        )
    tree.cgroups[1] = "9:name=systemd:/system.slice/slurmd.service\n" + "".join(
        f"{number}:{name}:{EXTERN}\n" for number, name in enumerate(CONTROLLERS, 1)
    )
    return tree


@pytest.fixture
def v2(tmp_path, monkeypatch):
    tree = Tree(tmp_path, monkeypatch)
    tree.mount("unified", "cgroup2", "rw,nsdelegate")
    tree.make(tmp_path / "unified", EXTERN_V2, memory__max="max", memory__swap__max="max", cpuset__cpus="")
    tree.make(
        tmp_path / "unified",
        JOB_V2,
        memory__max=200 * 1024**2,
        memory__swap__max=0,
        cpuset__cpus="0-1",
        cpuset__cpus__effective="0-1",
    )
    tree.programs[f"{tmp_path}/unified{JOB_V2}"] = 1
    tree.cgroups[1] = f"0::{EXTERN_V2}\n"
    return tree


def held(pid=1):
    where = cgroups.places(pid)
    return {kind: cgroups.held(kind, where, cgroups.job(where)) for kind in cgroups._LIMITS}


def test_v1_all_of_it(v1):
    where = cgroups.places(1)
    assert cgroups.job(where) == Job(7, JOB) and cgroups.left(where, Job(7, JOB)) == []
    assert held() == {
        "cores": Held(True, "0-1"),
        "memory": Held(True, "200 MiB"),
        "swap": Held(True, "300 MiB"),
        "devices": Held(True, "its job's cgroup"),
    }


def test_v2_all_of_it(v2):
    where = cgroups.places(1)
    assert cgroups.job(where) == Job(7, JOB_V2) and cgroups.left(where, Job(7, JOB_V2)) == []
    assert held() == {
        "cores": Held(True, "0-1"),
        "memory": Held(True, "200 MiB"),
        "swap": Held(True, "0 MiB"),
        "devices": Held(True, "1 programs on devices"),
    }


# What is changed, and what is not as above then.
def _without(*names):
    def change(tree):
        """Slurm has made nothing there, and has left its processes where they were."""
        for name in names:
            os.rename(f"{tree.top}/{name}/slurm", f"{tree.top}/{name}/other")
            tree.cgroups[1] = tree.cgroups[1].replace(f":{name}:{EXTERN}", f":{name}:/")

    return change


def _said(name, file, text, path=JOB):
    return lambda tree: tree.make(tree.top / name, path, **{file: text})


def _unmounted(tree):
    tree.mounts.clear()
    tree.mount("freezer", "cgroup", "rw,freezer")


NOT_MADE = Held(False, "its job has no cgroup for it")
NO_LIMIT = Held(False, "no limit")
NOT_SHOWN = Held(None, f"{EXTERN}: no mount shows this cgroup")
NO_CONTROLLER = "this kernel has no controller"
V1 = {
    "ConstrainCores=no": (_without("cpuset"), {"cores": NOT_MADE}),
    "ConstrainDevices=no": (_without("devices"), {"devices": NOT_MADE}),
    "ConstrainRAMSpace=no": (_without("memory"), {"memory": NOT_MADE, "swap": NOT_MADE}),
    "accounting alone": (_said("memory", "memory__limit_in_bytes", HUGE), {"memory": NO_LIMIT}),
    "as much as there is": (_said("memory", "memory__limit_in_bytes", 8_000_000 * 1024), {"memory": NO_LIMIT}),
    "a step has less": (
        _said("memory", "memory__limit_in_bytes", 100 * 1024**2, EXTERN),
        {"memory": Held(True, "100 MiB")},
    ),
    "ConstrainSwapSpace=no": (_said("memory", "memory__memsw__limit_in_bytes", HUGE), {"swap": NO_LIMIT}),
    "no swap": (lambda tree: tree.swap(0), {"swap": Held(True, "this node has no swap")}),
    "no controller": (
        lambda tree: tree.cgroups.update({1: f"4:freezer:{EXTERN}\n"}),
        {
            "cores": Held(False, f"{NO_CONTROLLER} cpuset"),
            "memory": Held(False, f"{NO_CONTROLLER} memory"),
            "swap": Held(False, f"{NO_CONTROLLER} memory"),
            "devices": Held(False, f"{NO_CONTROLLER} devices"),
        },
    ),
    "not mounted": (_unmounted, dict.fromkeys(("cores", "memory", "swap", "devices"), NOT_SHOWN)),
}
V2 = {
    "ConstrainCores=no": (
        _said("unified", "cpuset__cpus", "", JOB_V2),
        {"cores": Held(False, "no cpuset of its job")},
    ),
    "ConstrainRAMSpace=no": (_said("unified", "memory__max", "max", JOB_V2), {"memory": NO_LIMIT}),
    "ConstrainSwapSpace=no": (_said("unified", "memory__swap__max", "max", JOB_V2), {"swap": NO_LIMIT}),
    "ConstrainDevices=no": (
        lambda tree: tree.programs.clear(),
        {"devices": Held(False, "no program of its job's on devices")},
    ),
}


@pytest.mark.parametrize("case", V1)
def test_v1(v1, case):
    change, differing = V1[case]
    expected = {**held(), **differing}
    change(v1)
    assert held() == expected


@pytest.mark.parametrize("case", V2)
def test_v2(v2, case):
    change, differing = V2[case]
    expected = {**held(), **differing}
    change(v2)
    assert held() == expected


@pytest.mark.parametrize("name", CONTROLLERS)
def test_v1_a_process_that_left_one_hierarchy(v1, name):
    v1.cgroups[1] = v1.cgroups[1].replace(f":{name}:{EXTERN}", f":{name}:/")
    where = cgroups.places(1)
    assert cgroups.job(where) == Job(7, JOB) and cgroups.left(where, Job(7, JOB)) == [name]
    if kind := {"cpuset": "cores", "memory": "memory", "devices": "devices"}.get(name):
        assert held()[kind] == Held(False, "it is in /")


def test_a_job_of_another_number_is_another(v1):
    """By its beginning, /slurm/uid_1001/job_70 is in job_7."""
    v1.cgroups[1] = v1.cgroups[1].replace(f":memory:{JOB}/", f":memory:{JOB}0/")
    assert cgroups.left(cgroups.places(1), Job(7, JOB)) == ["memory"]


def test_a_kernel_that_does_not_say_which_programs_there_are(v2, monkeypatch):
    def refuses(directory):
        raise PermissionError(1, "bpf(2): Operation not permitted", directory)

    monkeypatch.setattr(cgroups, "_programs", refuses)
    found = held()["devices"]
    assert found.held is None and found.found.endswith("bpf(2): Operation not permitted")


NO_JOB = {
    "outside": "0::/user.slice/user-1001.slice/session-3.scope\n",
    "a name that a user chose": "0::/user.slice/user-1001.slice/user@1001.service/job_7/step_extern\n",
    "a line that a user made up in a name": f"0::/user.slice/user-1001.slice/user@1001.service/x\x0c9:memory:{JOB}\n",
    "a name that ends a line for a typewriter": "0::/user.slice/user-1001.slice/user@1001.service/x\u2028y\n",
    "gone": "",
    "another word": "0::/system.slice/job_7x/a\n",
}


@pytest.mark.parametrize("case", NO_JOB)
def test_a_process_in_no_job(v2, case):
    v2.cgroups[1] = NO_JOB[case]
    assert cgroups.job(cgroups.places(1)) is None


def test_a_cgroup_below_a_job_that_is_called_like_one_is_the_outer_jobs(v2):
    v2.cgroups[1] = f"0::{EXTERN_V2}/job_9\n"
    assert cgroups.job(cgroups.places(1)) == Job(7, JOB_V2)


MOUNTS = {
    "a place with a blank": ("with blank", "/"),
    "a part of the hierarchy": ("part", "/slurm"),
}


@pytest.mark.parametrize("case", MOUNTS)
def test_wherever_it_is_mounted(tmp_path, monkeypatch, case):
    point, root = MOUNTS[case]
    tree = Tree(tmp_path, monkeypatch)
    tree.mount("elsewhere", "cgroup", "rw,memory", root="/other")
    place = tree.mount(point, "cgroup", "rw,memory", root=root)
    path = JOB.removeprefix(root) if root != "/" else JOB
    tree.make(place, path, memory__limit_in_bytes=1024**2)
    tree.cgroups[1] = f"4:memory:{JOB}\n"
    assert held()["memory"] == Held(True, "1 MiB")


def test_a_mount_with_a_name_that_ends_a_line_elsewhere(v1):
    """A user chooses where a file system of their own is mounted (fusermount)."""
    first, found = "37 36 0:40 / /home/alice/x\x0cy rw - fuse.sshfs host rw\n", held()
    (v1.top / "mountinfo").write_text(first + "".join(v1.mounts))
    assert held() == found


def test_bpf_is_asked_by_the_number_that_this_machine_has(monkeypatch):
    monkeypatch.setattr(cgroups, "os", SimpleNamespace(uname=lambda: SimpleNamespace(machine="vax")))
    with pytest.raises(OSError, match="vax is not known"):
        cgroups._programs("/nonexistent")
