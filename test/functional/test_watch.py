"""The watch's program under each shell that may be /bin/sh, on files of its own: what it says, what it leaves be."""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess

import pytest
from harness import source  # noqa: F401 (the library's place)
from salt.exceptions import CommandExecutionError

import _slurm_pam_watch
import _slurm_pam_watched

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root's program")
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]
SETTINGS = {"slurm": {"conf": None}, "pam_slurm_adopt": {}}
# Of files that are there, and that have to stay away.
HOSTILE = ["with blank", "with 'quotes' and \"others\"", "with\nnewline", "last\n", "$(touch hit)", "`touch hit`"]
HOSTILE += ["*", "-n", "back\\slash", "tab\t", "\x1b[31m", "'x' -> 'y'", ";touch hit;", "caf\u00e9", "\udcff"]
WELL = "all that closes this node is as it was accepted"


class Place:
    """The program, what it looks at, and a way to run it."""

    def __init__(self, directory, shell, monkeypatch):
        self.shell, self.etc, self.bin = shell, directory / "etc", directory / "bin"
        self.home, self.applying = directory / "home", directory / "applying"
        for each in (self.etc, self.etc / "d", self.etc / "srv", self.etc / "top/d", self.etc / "bare"):
            each.mkdir(parents=True)
        for each in (self.bin, self.home):
            each.mkdir(parents=True)
        for name in ("one", "two", "d/1.conf", "d/notes", "srv/1.conf", "top/d/1.conf"):
            self.write(name, name)
        (self.etc / "link").symlink_to("one")
        (self.etc / "lost").symlink_to("nowhere")
        (self.etc / "mask").symlink_to("/dev/null")
        # Directories behind links: one with a file, an empty one, one below a link, and none.
        for link, target in {"far": "by", "by": "srv", "so": "as", "as": "bare", "up": "top", "void": "later"}.items():
            (self.etc / link).symlink_to(target)
        monkeypatch.setattr(_slurm_pam_watch, "APPLYING", str(self.applying))
        monkeypatch.setattr(_slurm_pam_watch, "booted", lambda: True)
        # The second look waits for others, and there are none here.
        self.program = self.home / "watch"
        self.program.write_text(_slurm_pam_watch.program().replace("sleep 1", "sleep 0.01"))
        (self.home / "drain").symlink_to("watch")
        self.names = ["one", "two", "link", "lost", "mask", "d/1.conf", "none", "also/none"]
        self.names += ["far/1.conf", "up/d/1.conf"]
        self.globs = [f"{self.etc}/{name}/*.conf" for name in ("d", "e", "far", "so", "up/d", "void")]
        self.globs += _slurm_pam_watched._in_parts(f"{self.etc}/s[r]v/x")

    def write(self, name, text):
        (self.etc / name).write_text(text)

    def accept(self, settings=SETTINGS):
        paths = [os.path.join(self.etc, name) for name in self.names]
        look = _slurm_pam_watch._look(paths, self.globs, settings)
        look = look._replace(scontrol=f"{self.bin}/scontrol")
        with open(self.home / "accepted", "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(look.text())

    def run(self, *words, name="watch", **more):
        return subprocess.run(
            [self.shell, str(self.home / name), *words], capture_output=True, text=True, **{"timeout": 300, **more}
        )

    def says(self):
        done = self.run()
        assert done.stderr == ""
        line = done.stdout.removesuffix("\n")
        assert line.isprintable() and line.startswith("slurm_pam: ")
        return done.returncode, line.removeprefix("slurm_pam: ").replace(f"{self.etc}/", "")


@pytest.fixture(params=SHELLS)
def place(request, tmp_path, monkeypatch):
    made = Place(tmp_path, request.param, monkeypatch)
    made.accept()
    return made


def test_all_is_well(place):
    assert place.says() == (0, WELL)


def swap(place, *names):
    first, second = (place.etc / name for name in names)
    first.rename(place.etc / "aside")
    second.rename(first)
    (place.etc / "aside").rename(second)


def relink(place, name, target):
    (place.etc / name).unlink()
    (place.etc / name).symlink_to(target)


def linked(place, name, files):
    """A link leads to another directory from now on, with these files."""
    for file, text in files.items():
        (place.etc / "new" / file).parent.mkdir(parents=True, exist_ok=True)
        place.write(f"new/{file}", text)
    relink(place, name, "new")


def moved(place):
    (place.etc / "d").rename(place.etc / "d.moved")
    (place.etc / "d").symlink_to("d.moved")


def same_size_and_time(place):
    times = os.stat(place.etc / "one")
    place.write("one", "ONE")
    os.utime(place.etc / "one", ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced_by(make):
    def change(place):
        (place.etc / "one").unlink()
        make(place.etc / "one")

    return change


OTHERWISE = "has another type, mode, owner or target"
DRIFT = {
    "other content": (lambda at: at.write("one", "1"), "'one' has other content"),
    "other content of the same size and time": (same_size_and_time, "'one' has other content"),
    "one for another": (lambda at: swap(at, "one", "two"), "'one' has other content; 'two' has other content"),
    "mode": (lambda at: (at.etc / "two").chmod(0o600), f"'two' {OTHERWISE}"),
    "setuid": (lambda at: (at.etc / "two").chmod(0o4644), f"'two' {OTHERWISE}"),
    "owner": (lambda at: os.chown(at.etc / "two", 1234, -1), f"'two' {OTHERWISE}"),
    "group": (lambda at: os.chown(at.etc / "two", -1, 1234), f"'two' {OTHERWISE}"),
    "gone": (lambda at: (at.etc / "two").unlink(), "'two' is not there any more"),
    "its directory gone": (lambda at: shutil.rmtree(at.etc / "d"), "'d/1.conf' is not there any more"),
    "a directory": (replaced_by(os.mkdir), f"'one' {OTHERWISE}"),
    "a FIFO": (replaced_by(os.mkfifo), f"'one' {OTHERWISE}"),
    "a link to the same": (replaced_by(lambda path: path.symlink_to("d/1.conf")), f"'one' {OTHERWISE}"),
    "a link elsewhere": (lambda at: relink(at, "link", "two"), f"'link' {OTHERWISE}"),
    "a link that is a file": (lambda at: swap(at, "link", "two"), f"'two' {OTHERWISE}; 'link' {OTHERWISE}"),
    "a mask gone": (lambda at: (at.etc / "mask").unlink(), "'mask' is not there any more"),
    "a link that leads somewhere now": (lambda at: at.write("nowhere", ""), None),
    "there and was not": (lambda at: at.write("none", ""), "'none' is there, and was not"),
    "a dangling link that was not there": (
        lambda at: (at.etc / "none").symlink_to("x"),
        "'none' is there, and was not",
    ),
    "below a directory that was not there": (
        lambda at: ((at.etc / "also").mkdir(), at.write("also/none", "")),
        "'also/none' is there, and was not",
    ),
    "moved to where nothing was": (
        lambda at: (at.etc / "two").rename(at.etc / "none"),
        "'two' is not there any more; 'none' is there, and was not",
    ),
    "one more that counts": (lambda at: at.write("d/2.conf", ""), "'d/2.conf' is there, and was not"),
    "one more in a new directory": (
        lambda at: ((at.etc / "e").mkdir(), at.write("e/1.conf", "")),
        "'e/1.conf' is there, and was not",
    ),
    "one more in a linked directory": (
        lambda at: at.write("srv/2.conf", ""),
        "'far/2.conf' is there, and was not",
    ),
    "one more below a link": (lambda at: at.write("top/d/2.conf", ""), "'up/d/2.conf' is there, and was not"),
    "one more where a link led nowhere": (
        lambda at: ((at.etc / "later").mkdir(), at.write("later/1.conf", "")),
        "'void/1.conf' is there, and was not",
    ),
    "one more where a link led nowhere, by another link": (
        lambda at: (at.etc / "later").symlink_to("srv"),
        "'void/1.conf' is there, and was not",
    ),
    "one more in an empty linked directory": (
        lambda at: at.write("bare/1.conf", ""),
        "'so/1.conf' is there, and was not",
    ),
    "one more by a link on the way to an empty directory": (
        lambda at: linked(at, "as", {"1.conf": ""}),
        "'so/1.conf' is there, and was not",
    ),
    "one more in a directory that is a link now": (
        lambda at: (moved(at), at.write("d/2.conf", "")),
        "'d/2.conf' is there, and was not",
    ),
    "a directory that is a link to the same now": (moved, None),
    "a linked directory that is another, with one more": (
        lambda at: linked(at, "far", {"1.conf": "srv/1.conf", "2.conf": ""}),
        "'far/2.conf' is there, and was not",
    ),
    "a link on the way that leads to another, with one more": (
        lambda at: linked(at, "by", {"1.conf": "srv/1.conf", "2.conf": ""}),
        "'far/2.conf' is there, and was not",
    ),
    "a link on the way that leads to other content": (
        lambda at: linked(at, "by", {"1.conf": "other"}),
        "'far/1.conf' has other content",
    ),
    "a link further up that leads to other content": (
        lambda at: linked(at, "up", {"d/1.conf": "other"}),
        "'up/d/1.conf' has other content",
    ),
    "a link further up that leads to another, with one more": (
        lambda at: linked(at, "up", {"d/1.conf": "top/d/1.conf", "d/2.conf": ""}),
        "'up/d/2.conf' is there, and was not",
    ),
    "a link further up that leads nowhere": (
        lambda at: relink(at, "up", "nowhere"),
        "'up/d/1.conf' is not there any more",
    ),
    "a link further up that leads to the same": (
        lambda at: linked(at, "up", {"d/1.conf": "top/d/1.conf"}),
        None,
    ),
    "one more of a certain name in one of several directories": (
        lambda at: at.write("srv/x", ""),
        "'srv/x' is there, and was not",
    ),
    "one more, hidden, that does not count": (lambda at: at.write("d/.3.conf", ""), None),
    "one more that does not count": (lambda at: at.write("d/2.conf~", ""), None),
    "a file that is not looked at": (lambda at: at.write("d/notes", "other"), None),
    "written again": (lambda at: at.write("one", "one"), None),
    "replaced by its like": (replaced_by(lambda path: path.write_text("one")), None),
    "touched": (lambda at: os.utime(at.etc / "two", (1, 1)), None),
    "a second name": (lambda at: os.link(at.etc / "two", at.etc / "second"), None),
    "all written again": (lambda at: [at.write(name, name) for name in ("one", "two", "d/1.conf")], None),
    "many": (
        lambda at: [(at.etc / name).unlink() for name in ("one", "two", "link", "lost", "mask")],
        "'one' is not there any more; 'two' is not there any more; 'd/1.conf' is not there any more",
    ),
}


@pytest.mark.parametrize("case", DRIFT)
def test_what_differs(place, case):
    change, told = DRIFT[case]
    change(place)
    status, said = place.says()
    if case == "many":
        assert status == 1 and said.startswith("'one' is not there") and said.endswith("; and 2 more"), said
    else:
        assert (status, said) == ((1, told) if told else (0, WELL))


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_more_than_a_name(place, name):
    place.names += [f"{name}/there", f"{name}/none"]
    (place.etc / name).mkdir()
    place.write(f"{name}/there", "there")
    place.accept()
    assert place.says() == (0, WELL)
    place.write(f"{name}/there", "other")
    assert place.says()[1].endswith("there' has other content") or "other content" in place.says()[1]
    place.write(f"{name}/there", "there")
    assert place.says() == (0, WELL)
    place.write(f"{name}/none", "")
    status, told = place.says()
    assert status == 1 and told.endswith("/none' is there, and was not")
    (place.etc / name / "none").unlink()
    (place.etc / name / "there").rename(place.etc / name / "none")
    status, told = place.says()
    assert status == 1 and "not there any more" in told and "is there, and was not" in told
    assert not list(place.home.parent.rglob("hit"))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_new(place, name):
    place.write(f"d/{name}.conf", "")
    status, told = place.says()
    assert status == 1 and "is there, and was not" in told
    place.accept()
    assert place.says() == (0, WELL)


@pytest.mark.parametrize("name", [*HOSTILE, "[a]", "a?"])
def test_a_directory_of_any_name_behind_a_link(place, name):
    """Wildcards in its own name would be patterns; behind a link, they are none."""
    (place.etc / name).mkdir()
    relink(place, "so", name)
    place.accept()
    assert place.says() == (0, WELL)
    place.write(f"{name}/1.conf", "")
    assert place.says() == (1, "'so/1.conf' is there, and was not")


@pytest.mark.parametrize("separator", ["\x1d", "\x1f"])
def test_a_name_that_cannot_be_written_down(place, separator):
    place.names.append(f"a{separator}b")
    with pytest.raises(CommandExecutionError, match="control character"):
        place.accept()


def reshape(place, change):
    accepted = place.home / "accepted"
    before = accepted.read_text()
    accepted.write_text(change(before))
    assert accepted.read_text() != before


UNTOLD = {
    "nothing was accepted": lambda at: (at.home / "accepted").unlink(),
    "empty": lambda at: (at.home / "accepted").write_text(""),
    "cut": lambda at: (at.home / "accepted").write_text((at.home / "accepted").read_text()[:200]),
    "an earlier form": lambda at: reshape(at, lambda text: text.replace("scontrol\x1d\x1d", "scontrol \x1d")),
    "a directory": lambda at: ((at.home / "accepted").unlink(), (at.home / "accepted").mkdir()),
}


@pytest.mark.parametrize("case", UNTOLD)
def test_what_cannot_be_told_is_not_well(place, case):
    UNTOLD[case](place)
    status, told = place.says()
    assert status == 3 and "accepted cannot be read" in told
    done = place.run("--nagios")
    assert done.returncode == 3 and done.stdout.endswith(" | differing_paths=U\n")


def test_what_the_caller_has_open_is_not_waited_for(place):
    (place.home / "accepted").unlink()
    ours, theirs = os.pipe()
    done = place.run(preexec_fn=lambda: os.dup2(ours, 3), close_fds=False, timeout=20)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 3 and "accepted cannot be read" in done.stdout


@pytest.mark.parametrize("program", ["cat", "stat", "b2sum"])
def test_what_cannot_be_asked_is_not_well(place, program):
    tools = place.bin / "tools"
    tools.mkdir()
    for name in {"cat", "stat", "b2sum", "sleep", "tr"} - {program}:
        (tools / name).symlink_to(shutil.which(name))
    place.program.write_text(place.program.read_text().replace("PATH=/usr/sbin:", f"PATH={tools} OLD=:"))
    place.write("one", "one")
    place.write("d/2.conf", "")
    (place.etc / "d/2.conf").unlink()
    done = place.run()
    assert done.returncode == (3 if program == "cat" else 1)
    assert {"cat": "cannot be read", "stat": "not there any more"}.get(program, program) in done.stdout


@pytest.mark.parametrize("checker", ["b2sum", "sha256sum"])
def test_what_is_in_a_file_is_told_by_what_the_node_has(place, monkeypatch, checker):
    """An old coreutils has no b2sum."""
    which = _slurm_pam_watch._child.which
    hidden = {"b2sum", "sha256sum"} - {checker}
    monkeypatch.setattr(_slurm_pam_watch._child, "which", lambda name: None if name in hidden else which(name))
    place.accept()
    assert (place.home / "accepted").read_text().endswith(f"\x1d{checker}\x1d")
    for name in ("one", "two"):
        place.write(name, name)
    assert place.says() == (0, WELL)
    place.write("one", "1")
    assert place.says() == (1, "'one' has other content")


# An apply in progress


def suspended(place):
    """This process is the apply."""
    _slurm_pam_watch.suspend()
    assert place.applying.stat().st_mode & 0o777 == 0o600
    place.write("one", "changed")


def edited(**fields):
    def change(place):
        suspended(place)
        found = dict(zip(("pid", "started", "begun"), place.applying.read_text().split(), strict=True)) | fields
        place.applying.write_text(f"{found['pid']} {found['started']} {found['begun']}\n")

    return change


def up():
    with open("/proc/uptime", encoding="utf-8") as file:
        return int(float(file.read().split()[0]))


NOT_APPLYING = {
    "another process of this number": edited(started="1"),
    "a process that is gone": edited(pid="4194305"),
    "more than an hour ago": edited(begun=str(up() - 3601)),
    "a number that is none": edited(begun="a[$(touch hit)0]"),
    "a path": edited(pid="../self"),
    "somebody else's": lambda at: (suspended(at), os.chown(at.applying, 1234, -1)),
    "empty": lambda at: (suspended(at), at.applying.write_text("")),
    "over": lambda at: (suspended(at), _slurm_pam_watch.resume()),
}


def test_an_apply_in_progress_is_no_drift(place):
    suspended(place)
    assert place.says() == (0, "an apply is changing this node")
    (place.home / "accepted").unlink()
    assert place.says() == (0, "an apply is changing this node")
    _slurm_pam_watch.suspend()  # another one, after one that was killed
    assert place.says()[0] == 0


@pytest.fixture
def another():
    """Another process that applies: called, it begins, and what this returns ends it."""
    children = []

    def ended():
        while children:
            child = children.pop()
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def begun():
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                _slurm_pam_watch.suspend()
                os.write(theirs, b"x")
                signal.pause()
            os._exit(0)
        children.append(child)
        assert os.read(ours, 1) == b"x"
        return ended

    yield begun
    ended()


@pytest.mark.parametrize("first", ["this", "another"])
def test_the_first_to_end_of_two_applies_at_once(place, another, first):
    if first == "this":
        suspended(place)
    ended = another()
    if first == "another":
        suspended(place)
    _slurm_pam_watch.resume()
    place.write("one", "changed")
    assert place.says() == (0, "an apply is changing this node")
    ended()
    assert place.says() == (1, "'one' has other content")


def test_an_apply_that_cannot_note_itself(place):
    place.applying.mkdir()
    with pytest.raises(CommandExecutionError, match="could not be written"):
        _slurm_pam_watch.suspend()


def test_an_apply_that_notes_itself_while_another_does(place, monkeypatch):
    """What was there was removed, and is there again."""
    monkeypatch.setattr(_slurm_pam_watch, "resume", lambda: place.applying.touch(0o600))
    suspended(place)
    assert place.says() == (0, "an apply is changing this node")


@pytest.mark.parametrize("case", NOT_APPLYING)
def test_what_an_apply_left_behind_is_not_in_progress(place, case, tmp_path):
    NOT_APPLYING[case](place)
    assert place.says() == (1, "'one' has other content")
    assert not list(tmp_path.rglob("hit"))


APPLY_ENDS = {"between the two looks": "sleep 0.01", "between what a look reads and what it sees": "quick=$1"}


@pytest.mark.parametrize("case", APPLY_ENDS)
def test_an_apply_that_ends_meanwhile(place, case):
    """It accepts what it wrote."""
    place.write("one", "new")
    apply = f"if [ -e {place.home}/next ]; then mv {place.home}/next {place.home}/accepted; fi"
    before = (place.home / "accepted").read_bytes()
    place.accept()
    shutil.copy(place.home / "accepted", place.home / "next")
    (place.home / "accepted").write_bytes(before)
    step = APPLY_ENDS[case]
    place.program.write_text(place.program.read_text().replace(step, f"{apply}; {step}", 1))
    assert place.says() == (0, WELL)
    assert not (place.home / "next").exists()


# Its forms


def test_nagios(place):
    assert place.run("--nagios").stdout == f"SLURM_PAM OK - {WELL} | differing_paths=0\n"
    place.write("d/a|b.conf", "")
    done = place.run("--nagios")
    assert done.returncode == 2
    assert done.stdout == f"SLURM_PAM CRITICAL - '{place.etc}/d/a?b.conf' is there, and was not | differing_paths=1\n"


METRIC = re.compile(r"# HELP (\S+) \S.*\n# TYPE \1 gauge\n\1 (\d+)\n")


def test_textfile(place):
    def metrics():
        done = place.run("--textfile")
        assert METRIC.sub("", done.stdout) == "" and done.returncode == 0
        return {name.removeprefix("slurm_pam_watch_"): int(value) for name, value in METRIC.findall(done.stdout)}

    when = int((place.home / "accepted").stat().st_mtime)
    assert metrics() == {"healthy": 1, "differing_paths": 0, "accepted_timestamp_seconds": when}
    for name in ("one", "two", "link", "lost", "mask"):
        (place.etc / name).unlink()
    assert metrics() == {"healthy": 0, "differing_paths": 5, "accepted_timestamp_seconds": when}
    (place.home / "accepted").unlink()
    assert metrics() == {"healthy": 0, "differing_paths": 1, "accepted_timestamp_seconds": 0}


def test_what_it_does_not_know(place):
    done = place.run("--help")
    assert done.returncode == 3 and done.stdout == "" and done.stderr.startswith("usage: ")


SCONTROL = """\
#!/bin/sh
cd "${0%/*}"
printf '%s\\n' "$SLURM_CONF" "$@" >> asked
case "$*" in
    update*) [ ! -e refuses ] ;;
    "show aliases"*) cat aliases ;;
    *) if [ -e known ] && ! grep -qx "$4" known; then echo "Node $4 not found" && exit 1; fi && cat shown ;;
esac
"""
HOST = os.uname().nodename.partition(".")[0]


@pytest.fixture
def slurm(place):
    """A slurmctld that says of its node what it is told to, and notes what it is asked."""
    (place.bin / "scontrol").write_text(SCONTROL)
    (place.bin / "scontrol").chmod(0o755)

    def asked(shown, *words, **options):
        (place.bin / "shown").write_text(shown)
        (place.bin / "asked").write_text("")
        done = place.run(*words, **options)
        return done, (place.bin / "asked").read_text().splitlines()

    return asked


def node_line(name, state, reason=""):
    return f"NodeName={name} Arch=x86_64 State={state} ThreadsPerCore=1 OS=Linux{reason and ' Reason='}{reason}\n"


@pytest.mark.parametrize("state", ["IDLE", "MIXED+DRAIN", "DRAINED", "IDLE+DRAIN+MAINTENANCE", "DOWN*"])
@pytest.mark.parametrize("node", ["cn1", None])
def test_a_node_is_drained_once(place, slurm, state, node):
    env = {"SLURMD_NODENAME": node} if node else {}
    # Its name as the host that it is, and as slurmctld has it.
    shown = node_line(node or "n7", state)
    done, asked = slurm(shown, name="drain", env=env)
    assert (done.returncode, asked) == (0, [])  # a healthy node is nobody's to drain, nor to undrain
    place.write("one", "1")
    done, asked = slurm(shown, name="drain", env=env)
    assert (done.returncode, done.stdout) == (1, f"slurm_pam: '{place.etc}/one' has other content\n")
    reason = f"reason=slurm_pam: '{place.etc}/one' has other content"
    told = [] if "DRAIN" in state else ["", "update", f"nodename={node or 'n7'}", "state=drain", reason]
    assert asked == ["", "--oneliner", "show", "node", node or HOST, *told]


def test_a_node_that_slurm_does_not_show_is_drained_by_the_name_of_its_host(place, slurm):
    place.write("one", "1")
    _, asked = slurm("", name="drain")
    assert asked[6:9] == ["update", f"nodename={HOST}", "state=drain"]


def test_a_node_whose_watch_is_just_being_taken_away_is_not_drained(place, slurm):
    """What was accepted goes first, and the rest while the program waits for its second look."""
    gone = f"rm {place.home}/drain {place.home}/watch"
    place.program.write_text(place.program.read_text().replace("sleep 0.01", f"{gone}; sleep 0.01"))
    (place.home / "accepted").unlink()
    done, asked = slurm(node_line("n7", "IDLE"), name="drain")
    assert (done.returncode, done.stdout, done.stderr, asked) == (0, "", "", [])


def test_a_node_of_which_nothing_can_be_told_is_drained_by_the_scontrol_on_the_path(place, slurm):
    """The path of another one was noted in what cannot be read."""
    place.program.write_text(place.program.read_text().replace("PATH=", f"PATH={place.bin}:", 1))
    (place.home / "accepted").unlink()
    done, asked = slurm(node_line("n7", "IDLE"), name="drain")
    assert (done.returncode, done.stderr) == (3, "")
    assert asked[6:9] == ["update", "nodename=n7", "state=drain"] and "accepted cannot be read" in asked[9]


def test_slurm_is_asked_by_the_slurm_conf_of_the_settings(place, slurm):
    reshape(place, lambda text: text.replace("scontrol\x1d", "scontrol\x1d/opt/my slurm.conf"))
    assert slurm("", "--undrain")[1][0] == "/opt/my slurm.conf"


OURS = "slurm_pam: '/etc/pam.d/sshd' has other content [root@2026-11-28T20:00:00]"


@pytest.mark.parametrize(
    ("state", "reason", "resumed"),
    [
        ("IDLE+DRAIN", OURS, True),
        ("DRAINED", OURS, True),
        ("ALLOCATED+DRAIN", OURS, True),
        # Somebody else's, or nobody's.
        ("IDLE+DRAIN", "memory [root@2026-11-28T20:00:00]", "memory"),
        ("IDLE+DRAIN", "a\x1b[31m|b [root@2026-11-28T20:00:00] Comment=c", "a?[31m?b"),
        ("IDLE+DRAIN", "after slurm_pam: ask bob [root@2026-11-28T20:00:00]", "after slurm_pam: ask bob"),
        ("IDLE+DRAIN", "", ""),
        # A reason may stay behind.
        ("IDLE", OURS, False),
        ("DOWN*", OURS, False),
    ],
)
def test_a_node_is_undrained_if_the_watch_drained_it(place, slurm, state, reason, resumed):
    done, asked = slurm(node_line("n7", state, reason), "--undrain")
    more = {
        True: ", and Slurm gives it jobs again",
        False: "",
        "": ", but it is drained, and no reason was given",
    }.get(resumed, f", but it is drained for another reason: {resumed}")
    assert (done.returncode, done.stdout) == (0, f"slurm_pam: {WELL}{more}\n")
    assert asked[5:] == (["", "update", "nodename=n7", "state=resume"] if resumed is True else [])
    place.write("one", "1")
    done, asked = slurm(node_line("n7", state, reason), "--undrain")
    assert (done.returncode, asked) == (1, [])


# What slurm.conf has for this host, the settings and slurmd's environment
NAMED = {
    "by slurm.conf": ("n7 n8", {}, {}),
    "by the settings": ("", {"nodename": "n7"}, {}),
    "by slurmd": ("", {}, {"SLURMD_NODENAME": "n7"}),
}


@pytest.mark.parametrize("case", NAMED)
def test_a_node_whose_name_is_not_that_of_its_host(place, slurm, case):
    """Slurm shows a node by its own name alone, and drains it by either."""
    aliases, options, env = NAMED[case]
    place.accept({**SETTINGS, "pam_slurm_adopt": options})
    (place.bin / "known").write_text("n7\n")
    (place.bin / "aliases").write_text(f"{aliases}\n")
    done, asked = slurm(node_line("n7", "IDLE+DRAIN", OURS), "--undrain", env=env)
    assert (done.returncode, done.stdout) == (0, f"slurm_pam: {WELL}, and Slurm gives it jobs again\n")
    assert asked[-3:] == ["update", "nodename=n7", "state=resume"]
    place.write("one", "1")
    _, asked = slurm(node_line("n7", "IDLE+DRAIN", "mine [root@2026-11-28T20:00:00]"), name="drain", env=env)
    assert "update" not in asked


def test_a_node_that_slurm_does_not_know(place, slurm):
    for name in ("known", "aliases"):
        (place.bin / name).write_text("\n")
    done, asked = slurm(node_line("n7", "IDLE+DRAIN", OURS), "--undrain")
    told = f"slurm_pam: {WELL}, but Slurm did not say whether this node is drained\n"
    assert (done.returncode, done.stdout) == (0, told)
    assert "update" not in asked


def test_what_slurm_does_not_say_or_do_is_told(place, slurm):
    done, asked = slurm("", "--undrain")
    told = f"slurm_pam: {WELL}, but Slurm did not say whether this node is drained\n"
    assert (done.returncode, done.stdout, asked[5:]) == (0, told, [])
    (place.bin / "refuses").touch()
    done, _ = slurm(node_line("n7", "IDLE+DRAIN", OURS), "--undrain")
    told = f"slurm_pam: {WELL}, but it is still drained: scontrol update nodename=n7 state=resume\n"
    assert (done.returncode, done.stdout) == (0, told)


# What it costs


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("drifted", [False, True])
def test_it_writes_nothing(place, drifted, tmp_path):
    if drifted:
        place.write("one", "1")
        place.write("d/2.conf", "")
    log = tmp_path / "log"
    calls = "trace=open,creat,openat,/^(mkdir|unlink|rename|link|symlink|chmod|chown|utime).*"
    done = subprocess.run(
        ["strace", "-f", "-e", calls, "-o", str(log), place.shell, str(place.program)], capture_output=True
    )
    assert done.returncode == int(drifted)
    lines = log.read_text().splitlines()
    assert any('"accepted"' in line for line in lines)
    writing = [line for line in lines if not re.search(r"O_RDONLY|resumed|\+\+\+|---|= -1 E", line)]
    assert not [line for line in writing if '"/dev/null"' not in line], writing


# Beside much other work. What is reached with less of it is in test/bench/report-watch.md.
MOST = {"all is well": 0.02, "all written again": 0.03, "one differs": 0.03, "all written again, one differs": 0.04}


@pytest.mark.parametrize("case", MOST)
def test_what_it_costs(place, case):
    """As many paths as a node has. One turn of some is enough, since others work here."""
    place.names += [f"file{number}" for number in range(80)] + [f"none{number}" for number in range(40)]
    for number in range(80):
        place.write(f"file{number}", "x" * 2000)
    place.accept()
    if "all written again" in case:
        for number in range(80):
            place.write(f"file{number}", "x" * 2000)
    if "one differs" in case:
        place.write("one", "other")
    assert place.says() == ((1, "'one' has other content") if "one differs" in case else (0, WELL))
    assert any(cost(place) < MOST[case] for _ in range(40))


def cost(place):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    place.run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
