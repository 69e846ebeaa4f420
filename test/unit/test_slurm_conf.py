"""slurm_conf: lossless parsing as Slurm's parse_config.c does it, and edits that change only what was asked."""

import pathlib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError

import slurm_conf


@pytest.fixture(autouse=True)
def scontrol(tmp_path_factory, monkeypatch):
    """A scontrol that cannot ask slurmctld; a test writes another one."""
    program = tmp_path_factory.mktemp("bin") / "scontrol"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


WANTED = {"PrologFlags": ["Contain"], "ProctrackType": "proctrack/cgroup", "TaskPlugin": ["task/cgroup"]}

# Pieces that meet in real files: comments, escapes, quotes, joined lines, includes, Windows line ends.
PIECES = st.sampled_from(
    ["PrologFlags", "prologflags=Alloc", "=", "Alloc,Serial", '"task/none"', "TaskPlugin = task/affinity", "#", "\\"]
    + ["\\\n", "\n", "\r\n", " ", "\t", "Include x", "NodeName=n[1-4] CPUs=4", "\\#", "\x0b", "é", "\udcff", "+="]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


def unmarked(text):
    """Without the comments that say what was there."""
    return re.sub(r"# salt (was|added): .*\n", "", text)


def values(text):
    return {e["key"].lower(): e["value"] for e in slurm_conf.parse(text) if e["kind"] == "setting"}


@given(TEXTS | st.text())
def test_parse_loses_nothing(text):
    assert "".join(e["text"] for e in slurm_conf.parse(text)) == text


@given(TEXTS)
def test_spans_hold_the_value(text):
    for entry in slurm_conf.parse(text):
        if entry["kind"] == "setting" and "\\" not in entry["text"]:
            start, end = entry["span"]
            assert entry["text"][start:end] == entry["value"]


@given(TEXTS)
def test_edit_brings_it_about_and_twice_is_once(text):
    edited = slurm_conf.edit(text, WANTED)
    found = values(edited)
    assert "contain" in found["prologflags"].lower().split(",")
    assert found["proctracktype"] == "proctrack/cgroup"
    assert "task/cgroup" in found["taskplugin"].lower().split(",")
    assert slurm_conf.edit(edited, WANTED) == edited


LISTS = st.lists(st.sampled_from(["Contain", "Alloc", "Serial"]), min_size=1, unique=True)


@given(TEXTS, LISTS, LISTS)
def test_every_edit_can_be_taken_back_to_the_byte(text, flags, others):
    edited = slurm_conf.edit(text, {**WANTED, "PrologFlags": flags})
    assert slurm_conf.edit(edited, {}) == text
    once_more = slurm_conf.edit(edited, {"PrologFlags": others, "UsePAM": True})
    assert slurm_conf.edit(once_more, {}) == text


@given(TEXTS)
def test_edit_keeps_every_other_setting(text):
    others = {k: v for k, v in values(text).items() if k not in map(str.lower, WANTED)}
    after = values(slurm_conf.edit(text, WANTED))
    assert {k: v for k, v in after.items() if k not in map(str.lower, WANTED)} == others


@pytest.mark.parametrize(
    "text, kind, key, value",
    [
        ("PrologFlags=Alloc\n", "setting", "PrologFlags", "Alloc"),
        ("  PrologFlags \t= Alloc # why\n", "setting", "PrologFlags", "Alloc"),
        ('TaskPlugin="task/none,task/affinity"\r\n', "setting", "TaskPlugin", "task/none,task/affinity"),
        ("TaskProlog=/bin/a\\#b\n", "setting", "TaskProlog", "/bin/a#b"),
        ("TaskProlog=/bin/a\\\\#b\n", "setting", "TaskProlog", "/bin/a\\"),
        ("PrologFlags=Alloc,\\\nSerial\n", "setting", "PrologFlags", "Alloc,Serial"),
        ("PrologFlags=Alloc,\\  # joined, comment or not\nSerial\n", "setting", "PrologFlags", "Alloc,Serial"),
        ("# PrologFlags=Alloc\\\n", "comment", None, None),
        (" \n", "blank", None, None),
        ("include\tpart.conf\n", "include", None, None),
        (" Include part.conf\n", "invalid", None, None),
        ("PrologFlags=\n", "invalid", None, None),
    ],
)
def test_parse(text, kind, key, value):
    (entry,) = slurm_conf.parse(text)
    assert (entry["kind"], entry.get("key"), entry.get("value")) == (kind, key, value)


def test_a_comment_does_not_join_lines():
    assert [e["line"] for e in slurm_conf.parse("a=1\\\n\n# b \\\nc=1\n")] == [1, 3, 4]


@pytest.mark.parametrize(
    "before, after",
    [
        ("PrologFlags=Alloc,Serial\n", "PrologFlags=Alloc,Serial,Contain\n"),
        ("prologflags = Alloc  # why\n", "prologflags = Alloc,Contain  # why\n"),
        ("PrologFlags=Alloc,\\\nSerial # x\n", "PrologFlags=Alloc,\\\nSerial,Contain # x\n"),
        ("PrologFlags=Alloc,\n", "PrologFlags=Alloc,Contain\n"),
        ('PrologFlags="Alloc" # c\n', 'PrologFlags="Alloc,Contain" # c\n'),
        ("PrologFlags=none\n", "PrologFlags=Contain\n"),
        ("PrologFlags=X11\n", "PrologFlags=X11\n"),
        ("PrologFlags=CONTAIN\n", "PrologFlags=CONTAIN\n"),
        ("PrologFlags=Contain\nPrologFlags=Alloc\n", "PrologFlags=Contain\nPrologFlags=Alloc,Contain\n"),
        ("#PrologFlags=\nNodeName=n1", "#PrologFlags=\nPrologFlags=Contain\nNodeName=n1"),
        ("NodeName=n1\n", "NodeName=n1\nPrologFlags=Contain\n"),
        ("NodeName=n1", "PrologFlags=Contain\nNodeName=n1"),
        ("NodeName=n1\\\n", "PrologFlags=Contain\nNodeName=n1\\\n"),
        ("", "PrologFlags=Contain\n"),
    ],
)
def test_edit_a_list(before, after):
    assert unmarked(slurm_conf.edit(before, {"PrologFlags": ["Contain"]})) == after


CGROUP = ["task/cgroup"]


@pytest.mark.parametrize(
    ("line", "wanted", "after"),
    [
        ("TaskPlugin=affinity,cgroup\n", CGROUP, "TaskPlugin=affinity,cgroup\n"),
        ("TaskPlugin=cgroup\n", CGROUP, "TaskPlugin=cgroup\n"),
        ("taskplugin=task/affinity,cgroup\n", CGROUP, "taskplugin=task/affinity,cgroup\n"),
        ("TaskPlugin=task/cgroup,affinity\n", ["cgroup"], "TaskPlugin=task/cgroup,affinity\n"),
        ("TaskPlugin=affinity\n", CGROUP, "TaskPlugin=affinity,task/cgroup\n"),
        ("TaskPlugin=none\n", CGROUP, "TaskPlugin=task/cgroup\n"),
        ("TaskPlugin=affinity,cgroup\n", "task/cgroup,task/affinity", "TaskPlugin=affinity,cgroup\n"),
        ("TaskPlugin=affinity,cgroup\n", "task/cgroup", "TaskPlugin=task/cgroup\n"),
        # No other key has its prefix left out.
        ("ProctrackType=cgroup\n", "proctrack/cgroup", "ProctrackType=proctrack/cgroup\n"),
    ],
)
def test_plugins_with_and_without_their_prefix(line, wanted, after):
    key = "ProctrackType" if line.startswith("Proc") else "TaskPlugin"
    assert unmarked(slurm_conf.edit(line, {key: wanted})) == after


@pytest.fixture
def slurmd(scontrol):
    """What makes this a node with slurmd of a release."""

    def write(release):
        program = scontrol.parent / "slurmd"
        program.write_text(f"#!/bin/sh\necho slurm-wlm {release}\n")
        program.chmod(0o755)

    return write


@pytest.mark.parametrize(
    ("release", "holds"), [("20.02.7", False), ("20.11.0", True), ("22.05.8", True), ("24.11.5", True), (None, False)]
)
def test_proctrack_is_by_cgroup_where_nothing_sets_it(tmp_path, slurmd, release, holds):
    if release:
        slurmd(release)
    conf = tmp_path / "slurm.conf"
    conf.write_text("# none\n")
    wanted = {"ProctrackType": "proctrack/cgroup"}
    assert (slurm_conf.check(wanted, str(conf)) == []) is holds
    assert (slurm_conf.plan(wanted, str(conf)) == {}) is holds
    # What was written before stays.
    text = slurm_conf.edit("# none\n", wanted)
    conf.write_text(text)
    assert slurm_conf.plan(wanted, str(conf)) == {}
    conf.write_text("ProctrackType=proctrack/pgid\n")
    assert len(slurm_conf.check(wanted, str(conf))) == 1


@pytest.mark.parametrize(
    ("release", "found"), [("20.11.9", "own"), ("22.05.8", "own"), ("23.02.0", "main"), ("24.11.5", "main")]
)
def test_a_nested_relative_include_is_read_as_the_installed_release_reads_it(tmp_path, slurmd, release, found):
    slurmd(release)
    (tmp_path / "sub").mkdir()
    (tmp_path / "slurm.conf").write_text("Include sub/a.conf\n")
    (tmp_path / "sub" / "a.conf").write_text("Include b.conf\n")
    (tmp_path / "sub" / "b.conf").write_text("TaskProlog=own\n")
    (tmp_path / "b.conf").write_text("TaskProlog=main\n")
    assert slurm_conf.effective(str(tmp_path / "slurm.conf"))["taskprolog"]["value"] == found


@pytest.mark.parametrize(
    "before, wanted, after",
    [
        ("ProctrackType=proctrack/pgid # x\n", "proctrack/cgroup", "ProctrackType=proctrack/cgroup # x\n"),
        ("ProctrackType=Proctrack/CGroup\n", "proctrack/cgroup", "ProctrackType=Proctrack/CGroup\n"),
        ("ProctrackType=x\n", "a b#c", 'ProctrackType="a b\\#c"\n'),
        ('ProctrackType="x y"\n', "a b", 'ProctrackType="a b"\n'),
        ("ProctrackType=yes\n", True, "ProctrackType=yes\n"),
        ("ProctrackType=yes\n", "1", "ProctrackType=yes\n"),
        ("ProctrackType=yes\n", False, "ProctrackType=0\n"),
        ("", 17, "ProctrackType=17\n"),
    ],
)
def test_edit_a_value(before, wanted, after):
    assert unmarked(slurm_conf.edit(before, {"ProctrackType": wanted})) == after


@pytest.mark.parametrize(
    "before, after",
    [
        ("PrologFlags=Alloc # why\n", "# t was: PrologFlags=Alloc # why\nPrologFlags=Alloc,Contain # why\n"),
        (
            "PrologFlags=Alloc,\\\nSerial",
            "# t was: PrologFlags=Alloc,\\\n# t was: Serial\nPrologFlags=Alloc,\\\nSerial,Contain",
        ),
        ("", "# t added: PrologFlags\nPrologFlags=Contain\n"),
    ],
)
def test_what_was_there_is_kept_in_a_comment(before, after):
    assert slurm_conf.edit(before, {"PrologFlags": ["Contain"]}, "t") == after
    assert slurm_conf.edit(after, {"PrologFlags": ["Contain"]}, "t") == after
    assert slurm_conf.edit(after, {"PrologFlags": ["Contain"]}, "another") == after
    assert slurm_conf.edit(after, {}, "another") == after
    assert slurm_conf.edit(after, {}, "t") == before


def test_what_is_no_longer_wanted_goes_back_and_the_rest_stays():
    before = "PrologFlags=Alloc\nTaskPlugin=task/none\n"
    edited = slurm_conf.edit(before, {**WANTED, "UsePAM": True})
    assert slurm_conf.edit(edited, {"PrologFlags": ["Contain"], "UsePAM": None}) == (
        "# salt was: PrologFlags=Alloc\nPrologFlags=Alloc,Contain\nTaskPlugin=task/none\n"
    )


def test_what_an_administrator_adds_to_our_line_counts_until_it_is_taken_back():
    ours = slurm_conf.edit("PrologFlags=Alloc\n", {"PrologFlags": ["Contain"]})
    theirs = ours.replace("Contain", "Contain,Serial")
    assert slurm_conf.edit(theirs, {"PrologFlags": ["Contain"]}) == theirs
    more = slurm_conf.edit(theirs, {"PrologFlags": ["Contain", "X11"]})
    assert more == "# salt was: PrologFlags=Alloc\nPrologFlags=Alloc,Contain,Serial,X11\n"
    assert slurm_conf.edit(more, {}) == "PrologFlags=Alloc\n"


def test_a_line_of_ours_that_is_gone():
    edited = slurm_conf.edit("PrologFlags=Alloc\n", WANTED)
    without = "".join(line for line in edited.splitlines(True) if line.startswith("#"))
    assert slurm_conf.edit(without, {}) == "PrologFlags=Alloc\n"


def test_a_tag_is_one_word():
    with pytest.raises(SaltInvocationError, match="tag: 'a b' is not allowed"):
        slurm_conf.edit("", {}, "a b")


@pytest.mark.parametrize(
    "wanted, named",
    [
        ({"Prolog Flags": ["x"]}, "'Prolog Flags'"),
        ({"PrologFlags": ["a,b"]}, "PrologFlags: ['a,b']"),
        ({"PrologFlags": []}, "PrologFlags: []"),
        ({"PrologFlags": "a\nb"}, "PrologFlags"),
        ({"PrologFlags": 'a"b'}, "PrologFlags"),
        ({"PrologFlags": {"a": 1}}, "PrologFlags"),
        (["PrologFlags"], "mapping"),
    ],
)
def test_what_slurm_conf_cannot_have_is_refused(wanted, named):
    with pytest.raises(SaltInvocationError) as refused:
        slurm_conf.edit("", wanted)
    assert named in str(refused.value)


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "sub").mkdir()
    main = "ClusterName=TestC\nPrologFlags=Serial\nInclude sub/%c.conf\n#ProctrackType=\n"
    (tmp_path / "slurm.conf").write_text(main)
    (tmp_path / "sub" / "testc.conf").write_text("# part\ninclude more.conf\nTaskPlugin=task/affinity # t\n")
    (tmp_path / "sub" / "more.conf").write_text("PrologFlags=Alloc")
    return tmp_path


def test_effective_follows_includes_and_the_last_value_counts(tree):
    found = slurm_conf.effective(str(tree / "slurm.conf"))
    assert found["prologflags"] == {
        "key": "PrologFlags",
        "value": "Alloc",
        "file": f"{tree}/sub/more.conf",
        "line": 1,
        "source": f"{tree}/sub/more.conf:1",
    }
    assert found["taskplugin"]["source"] == f"{tree}/sub/testc.conf:3"


def test_check_says_what_does_not_hold_and_where_it_stands(tree):
    path, part = str(tree / "slurm.conf"), f"{tree}/sub/testc.conf"
    assert slurm_conf.check(WANTED, path) == [
        {"key": "PrologFlags", "wanted": ["Contain"], "found": "Alloc", "source": f"{tree}/sub/more.conf:1"},
        {"key": "ProctrackType", "wanted": "proctrack/cgroup", "found": None, "source": path},
        {"key": "TaskPlugin", "wanted": ["task/cgroup"], "found": "task/affinity", "source": f"{part}:3"},
    ]


def test_plan_changes_the_file_where_the_value_stands(tree):
    path = str(tree / "slurm.conf")
    planned = slurm_conf.plan(WANTED, path)
    assert {file: unmarked(text) for file, text in planned.items()} == {
        path: "ClusterName=TestC\nPrologFlags=Serial\nInclude sub/%c.conf\n"
        "#ProctrackType=\nProctrackType=proctrack/cgroup\n",
        f"{tree}/sub/testc.conf": "# part\ninclude more.conf\nTaskPlugin=task/affinity,task/cgroup # t\n",
        f"{tree}/sub/more.conf": "PrologFlags=Alloc,Contain",
    }
    before = {file: pathlib.Path(file).read_text() for file in planned}
    for file, text in planned.items():
        pathlib.Path(file).write_text(text)
    assert slurm_conf.plan(WANTED, path) == {}
    assert slurm_conf.check(WANTED, path) == []
    assert slurm_conf.plan({}, path) == before


def test_what_slurmctld_says_counts_before_the_file(tree, scontrol):
    scontrol.write_text(
        f"#!/bin/sh\n[ $SLURM_CONF = {tree}/slurm.conf ] && cat <<END\n"
        "Configuration data as of 2026-01-01T00:00:00\nPrologFlags             = Alloc,Contain\nUsePAM = No\nEND\n"
    )
    wanted = {"PrologFlags": ["contain"], "usepam": True, "TaskPlugin": ["task/cgroup"]}
    assert slurm_conf.check(wanted, str(tree / "slurm.conf")) == [
        {"key": "usepam", "wanted": True, "found": "No", "source": "scontrol show config"},
        {"key": "TaskPlugin", "wanted": ["task/cgroup"], "found": None, "source": "scontrol show config"},
    ]


@pytest.mark.parametrize("script", ["exec sleep 60", "echo PrologFlags = Contain; exit 1", "echo slurmctld is away"])
def test_the_file_counts_where_slurmctld_does_not_answer(tree, scontrol, script):
    scontrol.write_text(f"#!/bin/sh\n{script}\n")
    path = str(tree / "slurm.conf")
    begin = time.monotonic()
    unanswered = []
    assert slurm_conf.config(path, timeout=0.5, unanswered=unanswered) == slurm_conf.effective(path)
    assert len(unanswered) == 1 and unanswered[0].startswith("scontrol show config: ")
    assert time.monotonic() - begin < 15


@pytest.mark.parametrize(
    "text, says",
    [
        ("\nInclude nothere.conf\n", ":2: cannot read {dir}/nothere.conf: No such file or directory"),
        ("Include slurm.conf\n", ":1: Include {dir}/slurm.conf includes itself"),
        ("Include %c.conf\nClusterName=c\n", ":1: Include %c.conf needs ClusterName above it"),
    ],
)
def test_an_include_that_cannot_be_read_is_named(tmp_path, text, says):
    path = tmp_path / "slurm.conf"
    path.write_text(text)
    with pytest.raises(CommandExecutionError) as refused:
        slurm_conf.effective(str(path))
    assert str(refused.value) == str(path) + says.format(dir=tmp_path)


def test_a_configless_node_is_read_and_never_edited(tmp_path):
    path = tmp_path / "conf-cache" / "slurm.conf"
    path.parent.mkdir()
    path.write_text("PrologFlags=Alloc\n")
    assert slurm_conf.effective(str(path))["prologflags"]["value"] == "Alloc"
    with pytest.raises(CommandExecutionError, match=r"comes from slurmctld: change slurm\.conf there"):
        slurm_conf.plan(WANTED, str(path))
    assert slurm_conf.plan({"PrologFlags": ["Alloc"]}, str(path)) == {}


def test_no_slurm_conf_says_where_it_looked(tmp_path):
    with pytest.raises(CommandExecutionError, match=f"No slurm.conf here: looked for {tmp_path}/x"):
        slurm_conf.find(f"{tmp_path}/x")
    assert slurm_conf.plan({}, f"{tmp_path}/x") == {}
