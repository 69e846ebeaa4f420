"""systemd_logind on a node whose systemd runs: masked for good, open sessions stay, and back."""

import pytest
from harness.formula import sync
from harness.session import session

SERVICE = "systemd-logind.service"
ALIAS = "dbus-org.freedesktop.login1.service"
MASKED = {"old": "unmasked and active", "new": "masked and inactive"}
UNMASKED = {"old": "masked and inactive", "new": "unmasked and active"}

pytestmark = pytest.mark.parametrize("layout", ["debian12", "debian13"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def synced(node):
    sync(node)


@pytest.fixture
def logind(node, synced):
    """The states on a node that starts with a running logind, and gets it back."""

    def state(function, **arguments):
        (ret,) = node.salt("state.single", f"systemd_logind.{function}", "name=logind", **arguments).values()
        return ret["result"], ret["changes"], ret["comment"]

    yield state
    node.run(["rm", "-f", f"/etc/systemd/system/{SERVICE}"])
    node.run(["systemctl", "daemon-reload"], check=True)
    node.run(["systemctl", "start", SERVICE], check=True)


def show(node, unit=SERVICE):
    shown = node.run(["systemctl", "show", "-p", "LoadState,UnitFileState,ActiveState", unit], check=True).stdout
    return dict(line.split("=") for line in shown.splitlines())


def test_masked_and_back(node, logind):
    before, was = node.snapshot("/etc/systemd"), show(node)
    assert logind("masked", test=True) == (None, {SERVICE: MASKED}, "systemd-logind would be masked and inactive")
    assert show(node) == was
    assert logind("masked") == (True, {SERVICE: MASKED}, "systemd-logind is now masked and inactive")
    assert show(node) == {"LoadState": "masked", "UnitFileState": "masked", "ActiveState": "inactive"}
    assert not node.run(["systemctl", "start", ALIAS]).ok
    assert not node.run(["busctl", "call", "org.freedesktop.login1", "/", "org.freedesktop.DBus.Peer", "Ping"]).ok
    assert logind("masked") == (True, {}, "systemd-logind is masked and inactive already")
    assert logind("unmasked") == (True, {SERVICE: UNMASKED}, "systemd-logind is now unmasked and active")
    assert show(node) == was
    assert node.snapshot("/etc/systemd") == before


def test_a_mask_without_a_stop(node, logind):
    change = {"old": "unmasked and active", "new": "masked and active"}
    assert logind("masked", stop=False) == (True, {SERVICE: change}, "systemd-logind is now masked")
    assert show(node)["ActiveState"] == "active"


def test_a_mask_until_the_next_boot_does_not_count(node, logind):
    node.run(["systemctl", "mask", "--runtime", SERVICE], check=True)
    change = {"old": "masked until the next boot and active", "new": "masked and inactive"}
    assert logind("masked", test=True)[:2] == (None, {SERVICE: change})
    assert logind("masked")[:2] == (True, {SERVICE: change})
    node.run(["systemctl", "unmask", "--runtime", SERVICE], check=True)


def test_a_unit_file_in_the_way_is_a_failure(node, logind):
    own = f"/etc/systemd/system/{SERVICE}"
    node.run(["cp", f"/lib/systemd/system/{SERVICE}", own], check=True)
    result, changes, comment = logind("masked")
    assert (result, changes) == (False, {})
    assert comment == f"{own} is a unit file of its own, which systemctl does not mask: move it away"
    assert show(node)["ActiveState"] == "active"


def test_a_mask_that_does_not_take_is_a_failure(node, logind):
    """/etc/systemd cannot be written: systemctl fails, and the state says why."""
    node.run(["mount", "--bind", "/etc/systemd", "/etc/systemd"], check=True)
    node.run(["mount", "-o", "remount,bind,ro", "/etc/systemd"], check=True)
    try:
        result, changes, comment = logind("masked")
    finally:
        node.run(["umount", "/etc/systemd"], check=True)
    assert (result, changes) == (False, {})
    assert comment.startswith("systemd-logind is not masked and inactive: ")
    assert "Read-only file system" in comment


def test_an_open_session_stays(node, logind):
    with session(node, "alice") as alice:
        assert alice.ask("id -un") == "alice\n"
        assert logind("masked")[0] is True
        assert alice.ask("id -un") == "alice\n"
