"""Salt's own loader over the repository's modules and states, without a master."""

import functools
import sys
from types import SimpleNamespace

import pytest
import salt._logging
import salt.config
import salt.loader
import salt.state
from harness.paths import REPO
from harness.warm import Warm


class Functions:
    """The states of one module."""

    def __init__(self, states, module):
        self._states, self._module = states, module

    def __getattr__(self, function):
        return self._states[f"{self._module}.{function}"]


class States:
    """States by their names, each called as one of a single run: Salt loads its modules once for all of them."""

    def __init__(self, opts):
        self.run = salt.state.State(opts)

    def __getattr__(self, module):
        return Functions(self, module)

    def __getitem__(self, name):
        return functools.partial(self.call, *name.split("."))

    def call(self, module, function, name, test=False, **arguments):
        low = {"state": module, "fun": function, "__id__": name, "name": name, **arguments}
        assert self.run.verify_data(low) == []
        # As Salt does for a prereq.
        self.run.states.opts["test"] = test
        return SimpleNamespace(**self.run.call(low))


@pytest.fixture(scope="session")
def opts(tmp_path_factory):
    # Salt's start-up handler keeps the stderr that pytest has taken away by the time it writes to it.
    salt._logging.shutdown_temp_handler()
    told = {"id": "functional", "file_client": "local", "root_dir": str(tmp_path_factory.mktemp("minion"))}
    told |= {"module_dirs": [f"{REPO}/_modules"], "states_dirs": [f"{REPO}/_states"]}
    opts = salt.config.apply_minion_config(told, salt.config.DEFAULT_MINION_OPTS.copy())
    return opts | {"grains": salt.loader.grains(opts), "pillar": {}}


@pytest.fixture(scope="session")
def modules(opts):
    return salt.loader.minion_mods(opts)


@pytest.fixture(scope="session")
def states(opts):
    return States(opts)


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """Salt's programs, forked from one process that has imported Salt."""
    environment = ["PYTHONWARNINGS=ignore", f"SALT_COMPILED={tmp_path_factory.mktemp('compiled')}"]
    warm = Warm(lambda command: ["env", *environment, *command], sys.executable)
    yield warm
    warm.end()


@pytest.fixture(params=[False, True], ids=["real", "dry"])
def test_mode(request):
    """Each state once for real and once with test=True."""
    return request.param
