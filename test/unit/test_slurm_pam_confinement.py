"""What slurm.conf and cgroup.conf of a node hold sessions to, and what is said where they do not."""

import pytest
from looks import given

import _child
import _slurm_pam_confinement
import _slurm_pam_modules
from _slurm_pam_confinement import KINDS, confinement

# As a site has it that holds its jobs to all there is.
SLURM = {
    "TaskPlugin": "task/cgroup,task/affinity",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_Core_Memory",
    "GresTypes": "gpu",
}
CGROUP = dict.fromkeys(("ConstrainCores", "ConstrainRAMSpace", "ConstrainSwapSpace", "ConstrainDevices"), "yes")
SWAPS = "Filename Type Size Used Priority\n"


class Site:
    def __init__(self, top):
        self.top, self.slurm, self.cgroup = top, dict(SLURM), dict(CGROUP)
        self.swaps(True)

    def swaps(self, some):
        (self.top / "swaps").write_text(SWAPS + ("/dev/sda2 partition 8 0 -2\n" if some else ""))

    def told(self, confine=(), **sections):
        for name in ("slurm", "cgroup"):
            if (values := getattr(self, name)) is not None:
                lines = values if isinstance(values, str) else "".join(f"{k}={v}\n" for k, v in values.items() if v)
                (self.top / f"{name}.conf").write_text(lines)
        sections.setdefault("slurm", {})
        sections["slurm"] = {"conf": str(self.top / "slurm.conf"), **sections["slurm"]}
        return list(confinement(*given(confine=list(confine), **sections)))


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(_child, "which", lambda program: f"/usr/sbin/{program}")
    monkeypatch.setattr(_slurm_pam_confinement, "_SWAPS", str(tmp_path / "swaps"))
    monkeypatch.setattr(_slurm_pam_modules, "slurm_version", lambda: "24.11.5")
    return Site(tmp_path)


def test_nothing_is_said_where_all_is_held(site):
    assert site.told() == []
    assert site.told(KINDS) == []


# What is changed of slurm.conf and of cgroup.conf, what is not held then, and what is said of it.
LACKING = {
    "no cores": ({}, {"ConstrainCores": "no"}, ["cores"], "ConstrainCores is no ("),
    "cores not set": ({}, {"ConstrainCores": None}, ["cores"], "ConstrainCores is not set ("),
    "another word for yes": ({}, {"ConstrainCores": "TRUE"}, [], ""),
    "no devices": ({}, {"ConstrainDevices": "No"}, ["devices"], "ConstrainDevices is No ("),
    "swap holds memory as well": ({}, {"ConstrainRAMSpace": None}, [], ""),
    "memory alone": ({}, {"ConstrainSwapSpace": None}, ["swap"], "ConstrainSwapSpace is not set"),
    "neither": (
        {},
        {"ConstrainRAMSpace": None, "ConstrainSwapSpace": None},
        ["memory", "swap"],
        "ConstrainRAMSpace is not set",
    ),
    "memory is not allocated": ({"SelectTypeParameters": "CR_Core"}, {}, ["memory", "swap"], "is CR_Core ("),
    "nothing is said to be allocated": ({"SelectTypeParameters": None}, {}, ["memory", "swap"], "is not set"),
    "memory by itself": ({"SelectTypeParameters": "CR_Memory"}, {}, [], ""),
    "memory among others": ({"SelectTypeParameters": "CR_ONE_TASK_PER_CORE,cr_cpu_memory"}, {}, [], ""),
    "no task/cgroup": ({"TaskPlugin": "task/affinity"}, {}, list(KINDS), "TaskPlugin is task/affinity ("),
    "the short name": ({"TaskPlugin": "affinity,cgroup"}, {}, [], ""),
}


@pytest.mark.parametrize("case", LACKING)
def test_what_is_not_held_is_a_warning_and_an_error_where_it_is_asked_for(site, case):
    slurm, cgroup, lacking, words = LACKING[case]
    site.slurm |= slurm
    site.cgroup |= cgroup
    warned, refused = site.told(), site.told(KINDS)
    if not lacking:
        assert warned == refused == []
        return
    (warning,), (problem,) = warned, refused
    assert (warning.kind, problem.kind) == ("warnings", "problems")
    assert warning.found.startswith(f"Jobs here are not held to their {', '.join(lacking)}: ")
    assert problem.found.startswith(f"slurm_pam:confine asks for {', '.join(lacking)}, but ")
    for finding in (warning, problem):
        assert words in finding.found
        assert all(KINDS[name].gets in finding.why for name in lacking)
        assert not any(KINDS[name].gets in finding.why for name in KINDS if name not in lacking)


def test_what_is_asked_for_and_what_is_not_are_two_findings(site):
    site.cgroup = {}
    problem, warning = site.told(["memory"])
    assert problem.why == "A session in a job of one core can use all of its memory"
    assert warning.found.startswith("Jobs here are not held to their cores, swap, devices: ")


def test_without_cgroup_conf_nothing_is_held(site):
    """Slurm's defaults count then."""
    site.cgroup = None
    (warning,) = site.told()
    assert f"ConstrainDevices is not set (there is no {site.top}/cgroup.conf)" in warning.found


def test_cgroup_conf_is_read_as_slurm_reads_it(site):
    more = site.top / "more.conf"
    more.write_text("constrainram\\\nspace = yes\nCONSTRAINDEVICES=yes # ConstrainDevices=no\n")
    site.cgroup = f"ConstrainCores=no\n#ConstrainDevices=no\nInclude {more}\nConstrainCores=yes\n"
    site.swaps(False)
    assert site.told(["cores", "memory", "devices"]) == []


# What of a node makes a warning needless. An error is one all the same.
NEEDLESS = {
    "no swap": (lambda site: site.swaps(False), "swap"),
    "no devices": (lambda site: site.slurm.pop("GresTypes"), "devices"),
    "jobs have whole nodes": (lambda site: site.slurm.update(SelectType="select/linear"), "cores"),
}


@pytest.mark.parametrize("case", NEEDLESS)
def test_no_warning_where_it_does_not_matter(site, case):
    change, name = NEEDLESS[case]
    change(site)
    site.cgroup |= dict.fromkeys(KINDS[name].keys, "no")
    assert site.told() == []
    (problem,) = site.told([name])
    assert problem.kind == "problems"


@pytest.mark.parametrize(("release", "warned"), [("23.02.7", 0), ("22.05.8", 0), ("23.11.0", 1), (None, 1)])
def test_whole_nodes_were_the_default_once(site, monkeypatch, release, warned):
    monkeypatch.setattr(_slurm_pam_modules, "slurm_version", lambda: release)
    del site.slurm["SelectType"], site.cgroup["ConstrainCores"]
    assert len(site.told()) == warned


def test_slurm_conf_counts_as_it_is_going_to_be(site):
    site.slurm["TaskPlugin"] = "task/affinity"
    assert site.told(slurm={"manage": "enforce"}) == []


@pytest.mark.parametrize(("asked", "kind"), [((), "warnings"), (("cores",), "problems")])
def test_a_file_that_cannot_be_read_is_told(site, asked, kind):
    site.cgroup = "Include /nonexistent/more.conf\n"
    (finding,) = site.told(asked)
    assert finding.kind == kind
    assert "/nonexistent/more.conf" in finding.found and "cgroup.conf:1" in finding.found


def test_an_older_module_holds_nobody_and_is_not_asked(site):
    site.cgroup = {}
    assert site.told(module="pam_slurm") == []


def test_a_node_that_is_to_get_its_slurm_is_not_asked(site, monkeypatch):
    monkeypatch.setattr(_child, "which", lambda program: None)
    site.slurm = site.cgroup = None
    assert site.told() == []
    (problem,) = site.told(["cores"])
    assert problem.kind == "problems" and "slurm.conf" in problem.found


# What slurm.conf says, whether sessions are to join, and whether that is told
JOINING = {
    "no namespaces": ({}, False, 0),
    "none": ({"JobContainerType": "job_container/none"}, False, 0),
    "none from 25.11 on": ({"NamespaceType": "none"}, False, 0),
    "joined": ({"JobContainerType": "job_container/tmpfs"}, True, 0),
    "not joined": ({"JobContainerType": "job_container/tmpfs"}, False, 1),
    "not joined from 25.11 on": ({"NamespaceType": "linux"}, False, 1),
}


@pytest.mark.parametrize("case", JOINING)
def test_sessions_that_do_not_join_the_namespaces_of_their_jobs(site, case):
    slurm, joins, count = JOINING[case]
    site.slurm |= slurm
    told = site.told(pam_slurm_adopt={"join_container": joins})
    assert [finding.kind for finding in told] == ["warnings"] * count
    for finding, (key, value) in zip(told, slurm.items()):
        assert finding.found.startswith(f"{key} is {value} (")
