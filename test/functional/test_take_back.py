"""The program that takes an apply back, as root runs it: what others can put at a name leads it nowhere."""

import contextlib
import os
import signal
import stat
import subprocess
import time

import pytest
from harness import source  # noqa: F401 (the library's place)

import _slurm_pam_take_back
import _slurm_pam_watch

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root's program")
USER = 1234
TOKEN = "0123456789abcdef"
NEW = f".slurm_pam-back-{TOKEN}"


@pytest.fixture
def node(tmp_path):
    """The program with its copies of etc/file, and etc/new, which was not there."""
    for name in ("confirm", "etc", "roots"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "etc").chmod(0o755)
    confirm, etc = tmp_path / "confirm", tmp_path / "etc"
    (confirm / f"before{etc}").mkdir(parents=True)
    (confirm / f"before{etc}/file").write_text("before\n")
    (confirm / f"before{etc}/link").symlink_to("file")
    (confirm / "paths").write_text(f"{etc}/file\n{etc}/link\n{etc}/new\n")
    for name in ("units", "modules"):
        (confirm / name).write_text("")
    (confirm / "until").write_text("1\n")
    (confirm / "token").write_text(f"{TOKEN}\n")
    # Nothing of this machine is reloaded.
    (tmp_path / "bin").mkdir()
    program = _slurm_pam_take_back._PROGRAM.replace("systemctl ", "true ")
    program = program.replace(_slurm_pam_watch.APPLYING, f"{tmp_path}/applying")
    for path in (_slurm_pam_take_back._BOOT_UNIT, _slurm_pam_take_back._BOOT_LINK):
        program = program.replace(path, f"{tmp_path}/units/{os.path.basename(os.path.dirname(path))}")
    (tmp_path / "units").mkdir()
    for name in ("system", "multi-user.target.wants"):
        (tmp_path / "units" / name).write_text("")
    (confirm / "take-back").write_text(program)
    for name in ("file", "link", "new"):
        (etc / name).write_text("after\n")
    (tmp_path / "roots/secret").write_text("root's\n")
    return tmp_path


def run(node):
    return subprocess.run(["/bin/sh", str(node / "confirm/take-back")], capture_output=True, text=True, timeout=300)


def stands(node):
    found = (node / "etc").iterdir()
    return {path.name: os.readlink(path) if path.is_symlink() else path.read_text() for path in found}


BACK = {"file": "before\n", "link": "file"}


def test_everything_is_as_it_was_and_a_second_time_too(node):
    os.chown(node / f"confirm/before{node}/etc/file", USER, USER)
    for _ in range(2):
        done = run(node)
        assert (done.returncode, done.stderr) == (0, "")
        assert stands(node) == BACK
        assert (node / "etc/file").stat().st_uid == USER
    assert (node / "confirm/taken-back").exists()


def test_the_watch_takes_nothing_of_it_for_drift(node):
    watch = _slurm_pam_watch.program().replace(_slurm_pam_watch.APPLYING, f"{node}/applying")
    asks = watch[watch.index("applying() {") : watch.index("metric() {")] + "applying"
    (node / "asks").write_text(asks)
    program = node / "confirm/take-back"
    program.write_text(program.read_text().replace("true daemon-reload", f"sh {node}/asks && touch {node}/known"))
    assert run(node).returncode == 0
    assert (node / "known").exists()
    assert subprocess.run(["/bin/sh", node / "asks"]).returncode == 1


def test_the_next_boot_has_nothing_to_do_once_all_is_back(node):
    (node / "confirm/paths").write_text(f"{node}/etc/file\n{node}/etc/none/file\n")
    (node / f"confirm/before{node}/etc/none").mkdir()
    (node / f"confirm/before{node}/etc/none/file").write_text("")
    run(node)
    assert len(list((node / "units").iterdir())) == 2
    (node / "etc/none").mkdir()
    run(node)
    assert list((node / "units").iterdir()) == []


def test_when_it_was_is_never_half_written(node):
    """Whoever looks just then, or after a power cut, finds nothing, or a time."""
    program = node / "confirm/take-back"
    program.write_text(program.read_text().replace("date +%s", "sh -c 'test ! -e taken-back && date +%s'"))
    assert run(node).returncode == 0
    assert (node / "confirm/taken-back").read_text().strip().isdecimal()


# Who else can write to the way
LOOSE = {
    "a user's directory": lambda node: os.chown(node / "etc", USER, -1),
    "a group's directory": lambda node: (node / "etc").chmod(0o775),
    "everybody's directory": lambda node: (node / "etc").chmod(0o777),
    "a user's directory above": lambda node: os.chown(node, USER, -1),
    "a link of directories": lambda node: (
        (node / "etc").rename(node / "moved"),
        (node / "etc").symlink_to("moved"),
    ),
}


@pytest.mark.parametrize("case", LOOSE)
def test_where_others_can_put_names_nothing_is_written(node, case):
    before = stands(node)
    LOOSE[case](node)
    if case == "a user's directory above":
        # The program's own directory is root's alone on a node; here it is below.
        (node / "confirm").chmod(0o700)
    done = run(node)
    assert done.returncode or done.stderr
    assert stands(node) == before
    assert f"{node}/etc/file was left as it is" in done.stderr
    assert not (node / "confirm/taken-back").exists()


def at(name):
    return lambda node: node / "etc" / name


PLANTS = {
    "a link": lambda path, node: path.symlink_to(node / "roots/secret"),
    "a dangling link": lambda path, node: path.symlink_to(node / "roots/none"),
    "a link to a directory": lambda path, node: path.symlink_to(node / "roots"),
    "a FIFO": lambda path, node: os.mkfifo(path),
    "a hard link": lambda path, node: os.link(node / "roots/secret", path),
    "a directory": lambda path, node: (path.mkdir(), (path / "x").write_text("")),
    "a user's directory": lambda path, node: (path.mkdir(), os.chown(path, USER, USER)),
}


@pytest.mark.parametrize("name", ["file", "new", "link", NEW, f"{NEW}/new", ".file.slurm_pam-back"])
@pytest.mark.parametrize("what", PLANTS)
def test_what_is_planted_leads_nowhere(node, what, name):
    """In a sticky directory, as of a moment ago, everybody can take a name that is free."""
    (node / "etc").chmod(0o1777)
    path = node / "etc" / name
    if path.parent.name == NEW:
        path.parent.mkdir()
        os.chown(path.parent, USER, USER)
    if os.path.lexists(path):
        path.unlink()
    PLANTS[what](path, node)
    done = run(node)
    roots = {each.name: each.read_text() for each in (node / "roots").iterdir()}
    assert roots == {"secret": "root's\n"}
    found = (node / "roots/secret").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o644)
    if name == ".file.slurm_pam-back":
        assert done.returncode == 0, done.stderr
    if (node / "confirm/taken-back").exists():
        assert {each: text for each, text in safe(node).items() if each in ("file", "link", "new")} == BACK
    else:
        assert done.stderr


def safe(node):
    paths = [path for path in (node / "etc").iterdir() if path.is_symlink() or path.is_file()]
    return {path.name: os.readlink(path) if path.is_symlink() else path.read_text() for path in paths}


def test_what_a_killed_run_left_is_removed(node):
    (node / "etc" / NEW).mkdir(mode=0o700)
    (node / "etc" / NEW / "new").write_text("half")
    assert run(node).returncode == 0
    assert stands(node) == BACK


def test_a_directory_that_is_gone(node):
    """What was not there is not there; what was cannot be brought back, and that is said."""
    for path in (node / "etc").iterdir():
        path.unlink()
    (node / "etc").rmdir()
    done = run(node)
    assert f"{node}/etc/file was left as it is" in done.stderr and "etc/new" not in done.stderr
    assert not (node / "confirm/taken-back").exists()


def plants_for_ever(etc, secret):
    """As a user: at each name that is seen or known, a link to root's file, or to root's directory, or a directory."""
    names = {"file", "link", "new", NEW, ".file.slurm_pam-back"}
    kinds = [
        lambda name: os.symlink(secret, name),
        lambda name: os.symlink(secret.parent, name),
        os.mkfifo,
        os.mkdir,
        lambda name: os.symlink(secret, f"{name}/new"),
    ]
    os.chdir(etc)
    while True:
        for name in names | set(os.listdir(".")):
            for act in (os.unlink, os.rmdir, *kinds):
                with contextlib.suppress(OSError):
                    act(name)


@pytest.mark.parametrize("owner", ["root's, and sticky", "the user's"])
def test_a_user_who_plants_all_the_time(node, owner):
    for place in [node, *node.parents][:-2]:
        place.chmod(place.stat().st_mode | 0o011)
    (node / "etc").chmod(0o1777)
    if owner == "the user's":
        os.chown(node / "etc", USER, USER)
    (node / "roots").chmod(0o755)
    secret = node / "roots/secret"
    secret.chmod(0o600)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            plants_for_ever(node / "etc", secret)
        finally:
            os._exit(1)
    try:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            # What the user may not remove there, and what is to be removed.
            with contextlib.suppress(FileExistsError):
                os.symlink("x", node / "etc/new")
            run(node)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert [path.name for path in (node / "roots").iterdir()] == ["secret"]
    found = secret.stat()
    assert (secret.read_text(), found.st_uid, stat.S_IMODE(found.st_mode), found.st_nlink) == ("root's\n", 0, 0o600, 1)
    if owner == "the user's":
        assert not (node / "confirm/taken-back").exists()
