"""slurm_conf's states through Salt's loader, and its reading of a messy slurm.conf against Slurm's own."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

SETTINGS = {"PrologFlags": ["Contain"], "TaskPlugin": ["task/cgroup"]}
BEFORE = "# site\nPrologFlags=Alloc # ours\nInclude part.conf\n"
PART = "TaskPlugin=task/affinity\n"
WHAT_FOLLOWS = (
    "It counts once slurmctld and slurmd are restarted. Give the whole cluster the same text: "
    "slurmctld logs every node whose slurm.conf differs from its own, even in a comment."
)


@pytest.fixture
def conf(tmp_path):
    (tmp_path / "slurm.conf").write_text(BEFORE)
    (tmp_path / "part.conf").write_text(PART)
    (tmp_path / "part.conf").chmod(0o604)
    return tmp_path / "slurm.conf"


@pytest.fixture
def no_slurm(tmp_path, monkeypatch):
    """A node without Slurm. Salt and the library look beyond the PATH, so the look-up itself is narrowed."""
    which = shutil.which
    monkeypatch.setattr("salt.utils.path.which", lambda name: which(name, path=str(tmp_path / "bin")))
    monkeypatch.setattr("shutil.which", lambda name, path=None: which(name, path=str(tmp_path / "bin")))


@pytest.fixture
def slurmd(no_slurm, tmp_path):
    """A node whose slurmd is installed and whose slurmctld cannot be asked."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "slurmd").symlink_to("/bin/true")


def test_checked_fails_with_every_finding(states, conf, slurmd, test_mode):
    ret = states.slurm_conf.checked("needs", settings=SETTINGS, path=str(conf), test=test_mode)
    assert ret.result is False
    assert ret.changes == {}
    assert ret.comment == (
        f"PrologFlags is Alloc ({conf}:2), must contain Contain; "
        f"TaskPlugin is task/affinity ({conf.parent}/part.conf:1), must contain task/cgroup. "
        "Change slurm.conf on the whole cluster, then restart slurmctld and every slurmd."
    )


def test_checked_names_a_key_that_is_not_set(states, conf, slurmd, test_mode):
    wanted = {"ProctrackType": "proctrack/cgroup"}
    ret = states.slurm_conf.checked("needs", settings=wanted, path=str(conf), test=test_mode)
    assert ret.result is False
    assert ret.comment.startswith(f"ProctrackType is not set ({conf}), must be proctrack/cgroup. ")


def test_checked_holds(states, conf, slurmd, test_mode):
    wanted = {"prologflags": ["alloc"]}
    ret = states.slurm_conf.checked("needs", settings=wanted, path=str(conf), test=test_mode)
    assert (ret.result, ret.changes) == (True, {})
    assert ret.comment == "slurm.conf has what is needed: prologflags"


def test_managed(states, conf, slurmd, test_mode):
    part = conf.parent / "part.conf"
    arguments = {"settings": SETTINGS, "path": str(conf), "use_pam": True}
    ret = states.slurm_conf.managed("needs", **arguments, test=test_mode)
    assert ret.changes == {
        str(conf): {
            "diff": f"--- {conf}\n+++ {conf}\n@@ -1,3 +1,6 @@\n # site\n-PrologFlags=Alloc # ours\n"
            "+# salt was: PrologFlags=Alloc # ours\n+PrologFlags=Alloc,Contain # ours\n Include part.conf\n"
            "+# salt added: UsePAM\n+UsePAM=1\n"
        },
        str(part): {
            "diff": f"--- {part}\n+++ {part}\n@@ -1 +1,2 @@\n-TaskPlugin=task/affinity\n"
            "+# salt was: TaskPlugin=task/affinity\n+TaskPlugin=task/affinity,task/cgroup\n"
        },
    }
    if test_mode:
        assert (ret.result, ret.comment) == (None, f"Would change {conf}, {part}")
        assert (conf.read_text(), part.read_text()) == (BEFORE, PART)
        return
    assert ret.result is True
    assert ret.comment == f"Changed {conf}, {part}. {WHAT_FOLLOWS}"
    assert part.stat().st_mode & 0o777 == 0o604
    again = states.slurm_conf.managed("needs", **arguments)
    assert (again.result, again.changes) == (True, {})
    assert again.comment == "slurm.conf has what is needed already: PrologFlags, TaskPlugin, UsePAM"


def test_absent(states, conf, slurmd, test_mode):
    part = conf.parent / "part.conf"
    states.slurm_conf.managed("needs", settings=SETTINGS, path=str(conf), use_pam=True, tag="t")
    edited = conf.read_text(), part.read_text()
    ret = states.slurm_conf.absent("needs not", path=str(conf), tag="t", test=test_mode)
    assert ret.changes[str(part)] == {
        "diff": f"--- {part}\n+++ {part}\n@@ -1,2 +1 @@\n-# t was: TaskPlugin=task/affinity\n"
        "-TaskPlugin=task/affinity,task/cgroup\n+TaskPlugin=task/affinity\n"
    }
    assert list(ret.changes) == [str(conf), str(part)]
    if test_mode:
        assert (ret.result, ret.comment) == (None, f"Would change {conf}, {part}")
        assert (conf.read_text(), part.read_text()) == edited
        return
    assert ret.result is True
    assert ret.comment == f"Changed {conf}, {part}. {WHAT_FOLLOWS}"
    assert (conf.read_text(), part.read_text()) == (BEFORE, PART)
    assert part.stat().st_mode & 0o777 == 0o604
    again = states.slurm_conf.absent("needs not", path=str(conf), tag="t")
    assert (again.result, again.changes, again.comment) == (True, {}, "slurm.conf has no edits of t")


@pytest.mark.parametrize("file", ["slurm.conf", "none.conf"])
def test_absent_where_nothing_is_ours(states, conf, no_slurm, file, test_mode):
    ret = states.slurm_conf.absent("needs not", path=str(conf.with_name(file)), test=test_mode)
    assert (ret.result, ret.changes, ret.comment) == (True, {}, "slurm.conf has no edits of salt")
    assert conf.read_text() == BEFORE


def test_absent_says_what_keeps_it_from_looking(states, conf, slurmd, test_mode):
    (conf.parent / "part.conf").unlink()
    ret = states.slurm_conf.absent("needs not", path=str(conf), test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment == f"{conf}:3: cannot read {conf.parent}/part.conf: No such file or directory"


def test_managed_keeps_a_link_and_bytes_that_are_not_utf8(states, conf, slurmd, tmp_path):
    real = tmp_path / "shared.conf"
    real.write_bytes(b"# Universit\xe4t\r\nPrologFlags=Alloc\r\n")
    conf.unlink()
    conf.symlink_to(real)
    ret = states.slurm_conf.managed("needs", settings={"PrologFlags": ["Contain"]}, path=str(conf))
    assert ret.result is True
    assert conf.is_symlink()
    assert real.read_bytes() == (b"# Universit\xe4t\r\n# salt was: PrologFlags=Alloc\r\nPrologFlags=Alloc,Contain\r\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file immutable")
def test_a_write_that_fails_half_way_leaves_everything_as_it_was(states, conf, slurmd):
    part = conf.parent / "part.conf"
    subprocess.run(["chattr", "+i", part], check=True)
    try:
        ret = states.slurm_conf.managed("needs", settings=SETTINGS, path=str(conf))
    finally:
        subprocess.run(["chattr", "-i", part], check=True)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment == (
        f"{part} could not be written: Operation not permitted. Everything is as it was. "
        "See with lsattr whether it is immutable, and apply again"
    )
    assert (conf.read_text(), part.read_text()) == (BEFORE, PART)


def test_what_somebody_else_changes_meanwhile_is_kept(states, conf, slurmd, monkeypatch):
    part = conf.parent / "part.conf"
    rename = os.rename

    def rename_and_interfere(*paths):
        rename(*paths)
        part.write_text("TaskPlugin=task/none # theirs\n")

    monkeypatch.setattr(os, "rename", rename_and_interfere)
    ret = states.slurm_conf.managed("needs", settings=SETTINGS, path=str(conf))
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment == (
        f"{part} could not be written: somebody else has changed it since it was read. Everything is as it was. "
        "Apply again"
    )
    assert (conf.read_text(), part.read_text()) == (BEFORE, "TaskPlugin=task/none # theirs\n")


@pytest.mark.parametrize("function", ["checked", "managed"])
def test_a_missing_slurm_conf(states, tmp_path, slurmd, function, test_mode):
    path = f"{tmp_path}/none.conf"
    ret = states[f"slurm_conf.{function}"]("needs", settings=SETTINGS, path=path, test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment == f"No slurm.conf here: looked for {path}"


@pytest.mark.parametrize("function", ["checked", "managed"])
def test_a_missing_slurm_conf_waits_for_the_package_in_a_dry_run(states, tmp_path, no_slurm, function, test_mode):
    path = f"{tmp_path}/none.conf"
    ret = states[f"slurm_conf.{function}"]("needs", settings=SETTINGS, path=path, test=test_mode)
    assert (ret.result, ret.changes) == (None if test_mode else False, {})
    waits = "Waits for Slurm to be installed: " if test_mode else ""
    assert ret.comment == f"{waits}No slurm.conf here: looked for {path}"


@pytest.mark.parametrize("function", ["checked", "managed"])
def test_bad_settings_change_nothing(states, conf, slurmd, function, test_mode):
    ret = states[f"slurm_conf.{function}"]("needs", settings={"PrologFlags": ["a b"]}, path=str(conf), test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert "PrologFlags: ['a b'] is not allowed" in ret.comment
    assert conf.read_text() == BEFORE


# Slurm's own parser


LEAST = "ClusterName=c\nSlurmctldHost=localhost\nAuthType=auth/none\nNodeName=n1 CPUs=1\nPartitionName=p Nodes=n1\n"
needs_scontrol = pytest.mark.skipif(not shutil.which("scontrol"), reason="no scontrol here")


@needs_scontrol
@pytest.mark.parametrize(
    ("lines", "part", "settings", "says"),
    [
        ("PrologFlags=Alloc", "", SETTINGS, None),
        ("", "PrologFlags=Serial\nTaskPlugin=affinity", SETTINGS, None),
        ("PrologFlags=NoHold", "", SETTINGS, "slurm.conf:7) would be NoHold,Contain, and NoHold excludes Contain"),
        ("", "PrologFlags=nohold,\\\nSerial", SETTINGS, "conf:1) would be nohold,Serial,Contain, and nohold excludes"),
        ("PrologFlags=Alloc", "", {"PrologFlags": ["NoHold", "X11"]}, "NoHold excludes X11"),
        ("", "", {"PrologFlags": "NoHold,Contain"}, "would be NoHold,Contain, and NoHold excludes Contain"),
        # Nothing that this formula knows of itself.
        ("Nonsense=1", "", SETTINGS, "unrecognized key: Nonsense"),
        ("", "Nonsense=1", SETTINGS, "unrecognized key: Nonsense"),
        ("", "", {"Nonsense": "1"}, "unrecognized key: Nonsense"),
        ("", "", {"PrologFlags": ["Contain", "Bogus"]}, "Invalid PrologFlag: Bogus"),
        ("", "", {"UsePAM": "perhaps"}, "UsePAM"),
    ],
)
def test_nothing_that_slurm_refuses_is_written(states, tmp_path, lines, part, settings, says, test_mode):
    (tmp_path / "sub").mkdir()
    conf, included = tmp_path / "slurm.conf", tmp_path / "sub" / "part.conf"
    conf.write_text(f"{LEAST}Include sub/part.conf\n{lines}\n")
    included.write_text(part)
    before = conf.read_text()
    ret = states.slurm_conf.managed("needs", settings=settings, path=str(conf), test=test_mode)
    assert ret.result is (False if says else None if test_mode else True), ret.comment
    assert bool(ret.changes) is not bool(says)
    assert (says or "") in ret.comment
    if says or test_mode:
        assert (conf.read_text(), included.read_text()) == (before, part)
    else:
        run = subprocess.run(["scontrol", "show", "hostnames", "n1"], env={**os.environ, "SLURM_CONF": str(conf)})
        assert run.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".conf") == ["slurm.conf"]


@needs_scontrol
def test_slurms_words_name_the_real_file(modules, tmp_path):
    conf = tmp_path / "slurm.conf"
    conf.write_text(f"{LEAST}Include {tmp_path}/a.conf\n")
    (tmp_path / "a.conf").write_text("Include b.conf\n")
    (tmp_path / "b.conf").write_text("NodeName=n2 Nonsense=1\n")
    with pytest.raises(Exception, match=f"scontrol does not accept {conf} as it would be: .*Nonsense") as refused:
        modules.slurm_conf.test_config(str(conf))
    assert "/slurm_conf-" not in str(refused.value)
    (tmp_path / "b.conf").write_text("UsePAM=1\n")
    assert modules.slurm_conf.test_config(str(conf)) is True
    with pytest.raises(Exception, match="unrecognized key: Other"):
        modules.slurm_conf.test_config(str(conf), {f"{tmp_path}/b.conf": "Other=1\n"})


@needs_scontrol
def test_whatever_stands_beside_slurm_conf_is_in_nobodys_way(modules, tmp_path):
    """Where /etc/slurm is slurm's, slurm can put a file of any name there."""
    conf = tmp_path / "slurm.conf"
    conf.write_text(f"{LEAST}Include a.conf\n")
    (tmp_path / "a.conf").write_text("UsePAM=1\n")
    for number in range(3):
        (tmp_path / f".{number}").symlink_to("/etc/shadow")
    os.mkfifo(tmp_path / "topology.conf")
    assert modules.slurm_conf.test_config(str(conf)) is True


def test_without_scontrol_there_is_nobody_to_ask(modules, conf, no_slurm):
    assert modules.slurm_conf.test_config(str(conf)) is None


MESSY = r"""clustername=TestC
SlurmctldHost=localhost
SlurmctldPort=17817
SlurmUser=root
AuthType=auth/none
CredType=cred/none
MpiDefault=none
StateSaveLocation={dir}
SlurmctldPidFile={dir}/slurmctld.pid
SlurmctldLogFile={dir}/slurmctld.log
SchedulerParameters=defer
PrologFlags = NoHold,\
Serial # joined \
TaskProlog=/bin/a\#b\\c  # what \
TaskEpilog="/bin/d e" # x
Include part-%c.conf
include	sub/a.conf
SchedulerParameters="batch_sched_delay=3,bf_interval=4"
NodeName=n1 CPUs=1
PartitionName=p Nodes=n1 Default=yes
SlurmdTimeout=\
\
 77
"""

IN_A_NETWORK_OF_ITS_OWN = """
set -e
ip link set lo up
ip link add v0 type veth peer name v1
ip addr add 192.0.2.1/24 dev v0
ip link set v0 up
ip link set v1 up
slurmctld -D -c -f "$1" >/dev/null 2>&1 & daemon=$!
trap 'kill $daemon; wait $daemon || true' EXIT
until SLURM_CONF="$1" scontrol ping 2>/dev/null | grep -q 'is UP'; do
    kill -0 $daemon
    sleep 0.1
done
"$(dirname "$2")/salt-call" -c "$3" --local --out=json slurm_conf.config path="$1" timeout=120
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="slurmctld gets a network namespace of its own, which needs root")
@pytest.mark.skipif(not shutil.which("slurmctld") or not shutil.which("ip"), reason="no slurmctld or no ip here")
def test_we_read_it_as_slurm_does(modules, opts, tmp_path):
    (tmp_path / "sub").mkdir()
    conf = tmp_path / "slurm.conf"
    conf.write_text(MESSY.replace("{dir}", str(tmp_path)))
    (tmp_path / "part-testc.conf").write_text("UsePAM=yes\nPrologFlags=Alloc")
    (tmp_path / "sub" / "a.conf").write_text("Include b.conf\n")
    (tmp_path / "sub" / "b.conf").write_text("proctracktype=proctrack/linuxproc\n  taskplugin=task/none\n#taskplugin=x")
    salt = tmp_path / "salt"
    salt.mkdir()
    minion = {key: opts[key] for key in ("module_dirs", "states_dirs")}
    minion |= {"id": "functional", "root_dir": str(salt), "file_client": "local"}
    (salt / "minion").write_text(json.dumps(minion))
    apart = ["unshare", "--net", "--pid", "--fork", "--kill-child"]
    script = ["sh", "-c", IN_A_NETWORK_OF_ITS_OWN, "sh", str(conf), sys.executable, str(salt)]
    run = subprocess.run([*apart, *script], capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    slurms = json.loads(run.stdout)["local"]
    assert slurms["prologflags"]["source"] == "scontrol show config"
    ours = modules.slurm_conf.effective(str(conf))
    for key in ("prologflags", "taskprolog", "taskepilog", "proctracktype", "taskplugin", "schedulerparameters"):
        assert slurms[key]["value"] == ours[key]["value"], key
    assert slurms["clustername"]["value"] == ours["clustername"]["value"].lower()
    assert (slurms["usepam"]["value"], ours["usepam"]["value"]) == ("Yes", "yes")
    assert (slurms["slurmdtimeout"]["value"], ours["slurmdtimeout"]["value"]) == ("77 sec", "77")
    assert pathlib.Path(ours["proctracktype"]["file"]) == tmp_path / "sub" / "b.conf"
