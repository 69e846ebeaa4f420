"""What slurm_pam/modules.sls makes of a minion's Python, which is a grain, and so whatever the minion says."""

import pytest
import yaml
from harness.paths import REPO
from salt.utils.templates import render_jinja_tmpl

SLS = (REPO / "slurm_pam/modules.sls").read_text()
TOO_OLD = "slurm_pam-modules-python-too-old"
# A new state, a second key, a closing quote, markup of the template itself.
WORDS = [
    *("6\n\nevil:\n  cmd.run:\n    - name: id", "6\n    - name: other", "'\"", "{{ salt['cmd.run']('id') }}"),
    *("6: [", "\x1b[2J"),
]


@pytest.fixture
def rendered(opts):
    """The states, as Salt renders them for a minion that has none of the formula's modules."""

    def render(pythonversion, test=False):
        grains = {"pythonversion": pythonversion}
        context = {"grains": grains, "salt": {}, "opts": {**opts, "test": test}, "saltenv": "base"}
        return yaml.safe_load(render_jinja_tmpl(SLS, context))

    return render


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("word", WORDS)
def test_nothing_of_a_grain_but_numbers_is_rendered(rendered, word, test):
    for pythonversion in ([3, word, 0], [word, 6, 0]):
        states = rendered(pythonversion, test)
        assert states.keys() == {"exclude", TOO_OLD}
        ((function, ((key, text), *others)),) = ((name, [*each[0].items()]) for name, each in states[TOO_OLD].items())
        assert (function, key, others) == ("test.fail_without_changes", "name", [])
        assert len(states[TOO_OLD][function]) == 1
        assert "Python 3.0 on this" in text or "Python 0.6 on this" in text


@pytest.mark.parametrize(
    ("pythonversion", "told"),
    [
        ([3, 6, 15, "final", 0], "Python 3.6 on this minion, and the formula's modules need 3.10 or later"),
        ([3, 9, 2, "final", 0], "Python 3.9 on this minion"),
        ([2, 7, 18], "Python 2.7 on this minion"),
    ],
)
def test_a_python_that_is_too_old(rendered, pythonversion, told):
    assert told in rendered(pythonversion)[TOO_OLD]["test.fail_without_changes"][0]["name"]


@pytest.mark.parametrize("pythonversion", [[3, 10, 0], [3, 11, 2], [3, 14, 0], [4, 0, 0]])
def test_a_python_that_is_not(rendered, pythonversion):
    assert TOO_OLD not in rendered(pythonversion)
