"""systemd_logind's states with the real systemctl, on a system in a directory that does not run."""

import os
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(not shutil.which("systemctl"), reason="no systemctl here")

SERVICE = "systemd-logind.service"
SOCKET = "systemd-logind-varlink.socket"
ALIAS = "dbus-org.freedesktop.login1.service"


@pytest.fixture
def root(tmp_path):
    vendor = tmp_path / "usr/lib/systemd/system"
    vendor.mkdir(parents=True)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (vendor / SERVICE).write_text("[Service]\nExecStart=/bin/true\nBusName=org.freedesktop.login1\n")
    (vendor / ALIAS).symlink_to(SERVICE)
    return tmp_path


@pytest.fixture
def socket(root):
    (root / "usr/lib/systemd/system" / SOCKET).write_text("[Socket]\nListenStream=/run/x\n")


def seen(root, unit):
    run = subprocess.run(["systemctl", f"--root={root}", "is-enabled", unit], capture_output=True, text=True)
    return run.stdout.strip()


def links(root):
    return sorted(p.name for p in (root / "etc/systemd/system").iterdir())


def change(old, new, *units):
    return {unit: {"old": old, "new": new} for unit in units}


def test_masked_and_back(states, root, test_mode):
    ret = states.systemd_logind.masked("logind", root=str(root), test=test_mode)
    assert ret.changes == change("unmasked", "masked", SERVICE)
    if test_mode:
        assert (ret.result, ret.comment) == (None, "systemd-logind would be masked")
        assert links(root) == []
        return
    assert (ret.result, ret.comment) == (True, "systemd-logind is now masked")
    assert os.readlink(root / "etc/systemd/system" / SERVICE) == "/dev/null"
    assert (seen(root, SERVICE), seen(root, ALIAS)) == ("masked", "masked")
    again = states.systemd_logind.masked("logind", root=str(root))
    assert (again.result, again.changes, again.comment) == (True, {}, "systemd-logind is masked already")
    would = states.systemd_logind.unmasked("logind", root=str(root), test=True)
    assert (would.result, would.changes) == (None, change("masked", "unmasked", SERVICE))
    back = states.systemd_logind.unmasked("logind", root=str(root))
    assert (back.result, back.changes) == (True, would.changes)
    assert (links(root), seen(root, SERVICE), seen(root, ALIAS)) == ([], "static", "alias")
    again = states.systemd_logind.unmasked("logind", root=str(root))
    assert (again.result, again.changes, again.comment) == (True, {}, "systemd-logind is unmasked already")


def test_the_varlink_socket_goes_with_it(states, root, socket, test_mode):
    ret = states.systemd_logind.masked("logind", root=str(root), test=test_mode)
    assert ret.changes == change("unmasked", "masked", SERVICE, SOCKET)
    assert links(root) == ([] if test_mode else sorted([SERVICE, SOCKET]))


def test_what_is_masked_in_part_is_completed(states, root, socket, test_mode):
    (root / "etc/systemd/system" / SERVICE).symlink_to("/dev/null")
    ret = states.systemd_logind.masked("logind", root=str(root), test=test_mode)
    assert (ret.result, ret.changes) == (None if test_mode else True, change("unmasked", "masked", SOCKET))


def test_a_mask_until_the_next_boot_does_not_count(states, root, test_mode):
    runtime = root / "run/systemd/system"
    runtime.mkdir(parents=True)
    (runtime / SERVICE).symlink_to("/dev/null")
    assert seen(root, SERVICE) == "masked-runtime"
    ret = states.systemd_logind.masked("logind", root=str(root), test=test_mode)
    assert ret.result is (None if test_mode else True)
    assert ret.changes == change("masked until the next boot", "masked", SERVICE)
    assert seen(root, SERVICE) == ("masked-runtime" if test_mode else "masked")


def test_a_unit_file_in_the_way_of_the_mask(states, root, test_mode):
    own = root / "etc/systemd/system" / SERVICE
    own.write_text("[Service]\nExecStart=/bin/true\n")
    ret = states.systemd_logind.masked("logind", root=str(root), test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment == f"{own} is a unit file of its own, which systemctl does not mask: move it away"
    assert own.read_text().startswith("[Service]")


def test_an_alias_that_is_not_masked_with_it(states, root):
    """A unit of that name of its own would still let D-Bus start a logind."""
    (root / "etc/systemd/system" / ALIAS).write_text("[Service]\nExecStart=/bin/true\n")
    ret = states.systemd_logind.masked("logind", root=str(root))
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment == f"systemd-logind is not masked: {ALIAS} is unmasked. systemctl gave no reason"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory immutable")
def test_a_mask_that_cannot_be_written(states, root):
    target = root / "etc/systemd/system"
    subprocess.run(["chattr", "+i", target], check=True)
    try:
        ret = states.systemd_logind.masked("logind", root=str(root))
    finally:
        subprocess.run(["chattr", "-i", target], check=True)
    assert (ret.result, ret.changes) == (False, {})
    found = f"{SERVICE} is unmasked, {ALIAS} is unmasked"
    assert ret.comment.startswith(f"systemd-logind is not masked: {found}. Failed to ")


def test_no_logind_on_this_system(states, tmp_path, test_mode):
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    for function in ("masked", "unmasked"):
        ret = states[f"systemd_logind.{function}"]("logind", root=str(tmp_path), test=test_mode)
        assert (ret.result, ret.changes, ret.comment) == (True, {}, "systemd-logind is not on this system")


def test_no_systemctl(states, root, monkeypatch, test_mode):
    monkeypatch.setattr("salt.utils.path.which", lambda name: None)
    ret = states.systemd_logind.masked("logind", root=str(root), test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment.startswith("There is no systemctl here")
