"""What the formula takes for a compound target, beside what Salt's own matcher makes of it."""

import pytest
from unit.test_slurm_pam_target import READABLE, UNREADABLE


@pytest.mark.parametrize("text", READABLE)
def test_salt_reads_what_we_take(modules, text):
    """Of a target that Salt can read, it says of this minion either that it matches or that it does not."""
    found = modules.match.compound(text, minion_id="cn1")
    assert modules.match.compound(f"not ( {text} )", minion_id="cn1") is not found


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_we_refuse_matches_nothing(modules, text):
    assert not modules.match.compound(text, minion_id="cn1")
