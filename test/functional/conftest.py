"""Salt's own loader over the repository's modules and states, without a master."""

import pathlib

import pytest
import salt._logging
from saltfactories.utils.functional import Loaders

ROOT = pathlib.Path(__file__).parents[2]
SALT_DIRS = {"module_dirs": [str(ROOT / "_modules")], "states_dirs": [str(ROOT / "_states")]}


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory):
    # Without a root_dir of its own the plugin leaves directories in /tmp.
    return {"code_dir": None, "root_dir": str(tmp_path_factory.mktemp("salt-factories"))}


@pytest.fixture(scope="session")
def loaders(salt_factories):
    # Salt's start-up handler keeps the stderr that pytest has taken away by the time it writes to it.
    salt._logging.shutdown_temp_handler()
    minion = salt_factories.salt_minion_daemon("functional", defaults={"file_client": "local", **SALT_DIRS})
    return Loaders(minion.config.copy())


@pytest.fixture
def modules(loaders):
    return loaders.modules


@pytest.fixture
def states(loaders):
    return loaders.states


@pytest.fixture(params=[False, True], ids=["real", "dry"])
def test_mode(request):
    """Each state once for real and once with test=True."""
    return request.param
