"""Which processes count: those that see this node's files."""

import os

import pytest

import _processes


def test_a_process_of_this_node():
    assert _processes.at_home(_processes.look(os.getpid()).pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its root")
def test_a_process_that_sees_other_files(tmp_path):
    ready, told = os.pipe()
    ends, goes_on = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(goes_on)
        os.chroot(tmp_path)
        os.write(told, b"x")
        os.read(ends, 1)
        os._exit(0)
    try:
        os.read(ready, 1)
        found = _processes.look(child)
        assert not _processes.at_home(found.pid)
    finally:
        os.close(goes_on)
        os.waitpid(child, 0)
    # One that is gone asks nothing.
    assert not _processes.at_home(found.pid)
