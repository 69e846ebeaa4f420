"""The look at all that an apply writes: what is in the way of any of it is told."""

import copy
import os

import pytest
import yaml
from harness.paths import REPO

import _slurm_pam_paths
import _slurm_pam_record
import _slurm_pam_settings
import _slurm_pam_wanted
from _slurm_pam_paths import paths

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which only root can")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A node below a directory: its settings' places, each in a directory of its own; returns what a look tells."""
    for name in ("pam.d", "security", "ssh/sshd_config.d", "slurm", "system", "record"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "pam.d/sshd").write_text("account include common-account\n")
    (tmp_path / "ssh/sshd_config").write_text(f"Include {tmp_path}/ssh/sshd_config.d/*.conf\n")
    (tmp_path / "slurm/slurm.conf").write_text("ClusterName=c\nInclude more.conf\n")
    (tmp_path / "slurm/more.conf").write_text("TaskPlugin=task/none\n")
    monkeypatch.setattr(_slurm_pam_wanted, "PAM_DIRECTORY", str(tmp_path / "pam.d"))
    monkeypatch.setattr(_slurm_pam_wanted, "RECORD", str(tmp_path / "record/places.json"))
    watch = tuple(f"{tmp_path}/record/{name}" for name in ("watch", "drain", "accepted"))
    monkeypatch.setattr(_slurm_pam_wanted, "WATCH_FILES", watch)
    monkeypatch.setattr(_slurm_pam_wanted, "mask", lambda unit: f"{tmp_path}/system/{unit}")
    settings = copy.deepcopy(yaml.safe_load((REPO / "slurm_pam/defaults.yaml").read_text()))
    settings |= {"logind": "mask", "watch": True}
    settings["access"]["file"] = f"{tmp_path}/security/access.conf"
    ssh = {"config": f"{tmp_path}/ssh/sshd_config", "drop_in": f"{tmp_path}/ssh/sshd_config.d/00.conf"}
    settings["sshd"] |= {"manage": True, **ssh}
    settings["slurm"] |= {"manage": "enforce", "use_pam": True, "conf": f"{tmp_path}/slurm/slurm.conf"}
    settings["slurm"]["settings"] = {"TaskPlugin": ["task/cgroup"]}
    settings = _slurm_pam_settings.without_nulls(settings)
    return lambda: list(paths(settings, _slurm_pam_wanted.wanted(settings)))


WRITTEN = {
    "pam.d": ["slurm", "slurm-common-account", "slurm-common-session", "sshd"],
    "security": ["access.conf"],
    "ssh/sshd_config.d": ["00.conf"],
    "slurm": ["more.conf"],
    "system": ["systemd-logind.service"],
    "record": ["places.json", "watch", "drain", "accepted"],
}
PATHS = [(directory, name) for directory, names in WRITTEN.items() for name in names]
OPENED = {"a user's": lambda path: os.chown(path, 1234, -1), "a group's": lambda path: path.chmod(0o775)}
THINGS = {"a directory": os.mkdir, "a FIFO": os.mkfifo}


def test_nothing_stands_against_a_good_node(place):
    assert place() == []


@pytest.mark.parametrize("opened", OPENED)
@pytest.mark.parametrize("directory", WRITTEN)
def test_a_directory_of_others(place, tmp_path, directory, opened):
    OPENED[opened](tmp_path / directory)
    told = place()
    assert told and {finding.kind for finding in told} == {"problems"}
    for name in WRITTEN[directory]:
        assert any(f"{tmp_path}/{directory}/{name}" in finding.found for finding in told), name
    assert all(f"write to {tmp_path}/{directory}" in finding.found for finding in told)


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize(("directory", "name"), PATHS)
def test_something_else_in_its_place(place, tmp_path, directory, name, thing):
    path = tmp_path / directory / name
    path.unlink(missing_ok=True)
    THINGS[thing](path)
    if name in ("more.conf", "00.conf"):
        # It cannot be planned then, and the looks at Slurm and sshd tell so.
        return
    (told,) = place()
    assert f"{path} is neither a file nor a link" in told.found and told.kind == "problems"


def test_a_drop_in_that_is_a_link(place, tmp_path):
    (tmp_path / "ssh/sshd_config.d/00.conf").symlink_to("/etc/passwd")
    assert any("00.conf is a link" in finding.found for finding in place())


@pytest.mark.parametrize(("recorded", "kind"), [({}, "problems"), ({"slurm_pam:access:file": "x"}, "warnings")])
def test_what_is_read_only_stops_no_node_that_is_closed(place, monkeypatch, recorded, kind):
    unwritable = {"unsafe": [], "unwritable": ["/etc/x could not be written"]}
    monkeypatch.setattr(_slurm_pam_paths.file_transaction, "obstacles", lambda paths: unwritable)
    monkeypatch.setattr(_slurm_pam_record, "recorded", lambda: recorded)
    assert [(finding.found, finding.kind) for finding in place()] == [("/etc/x could not be written", kind)]
