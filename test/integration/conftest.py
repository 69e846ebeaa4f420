"""Real compute nodes as fixtures.

A test that needs another layout or Salt asks for it with
``@pytest.mark.parametrize("layout", ["debian13"], indirect=True)``.
"""

import contextlib
import os

import pytest
from harness import host
from harness.formula import settings, sync
from harness.full import FULL
from harness.layouts import LAYOUTS
from harness.node import Node
from harness.salt_tree import SALTS
from harness.site import Site, interrupt_on_signals


def pytest_addoption(parser):
    parser.addoption("--layout", choices=LAYOUTS, default="sle15", help="layout of nodes whose test names none")
    parser.addoption("--salt", choices=SALTS, default="3008", help="Salt of nodes whose test names none")


def pytest_configure(config):
    interrupt_on_signals()


def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items if not FULL and item.get_closest_marker("long")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def machine():
    """This machine, able to run nodes."""
    if reason := host.why_no_node():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"compute node {reason}")
    host.install_packages()


@pytest.fixture(scope="module")
def layout(request):
    return getattr(request, "param", None) or request.config.getoption("--layout")


@pytest.fixture(scope="module")
def salt(request):
    return getattr(request, "param", None) or request.config.getoption("--salt")


@pytest.fixture(scope="module")
def node(machine, layout, salt):
    """One node for all tests of a module."""
    with Node.boot(layout, salt) as booted:
        yield booted


@pytest.fixture(scope="module")
def open_node(node):
    """That node with the formula's modules and Slurm's package, and nothing of it in place."""
    settings(node)
    sync(node)
    node.run(["zypper", "--non-interactive", "--no-gpg-checks", "install", "slurm-pam_slurm"], check=True)
    return node


@pytest.fixture
def fresh_node(machine, layout, salt):
    """A node that nothing has happened to yet."""
    with Node.boot(layout, salt) as booted:
        yield booted


@pytest.fixture(scope="module")
def site(machine):
    """A function that makes a site of several nodes: hosts, partitions -> Site; each is removed at the end."""
    with contextlib.ExitStack() as made:

        def make(hosts, partitions=None):
            created = Site.create(hosts=hosts, partitions=partitions)
            made.callback(created.remove)
            return created

        yield make
