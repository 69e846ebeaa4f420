"""Which compound targets Salt can read."""

import pytest

from _slurm_pam_target import is_target

READABLE = [
    *("*", "gpu*", "cn1", "cn[1-4]", "cn-1.example.org", "gpu* and not gpu9", "not gpu9", "cn1 or cn2", "a not b"),
    *("( cn* or gpu* ) and G@os:SLES", "not ( cn1 or cn2 )", "G@os:SLES", "G@cpu_flags:avx*", "G|@os|SLES"),
    *("P@os:(SLES|Leap)", "I@slurm:partition:gpu", "J@role:cn[0-9]+", "L@cn1,cn2", "N@gpus", "E@cn[0-9]+"),
    *("S@192.0.2.0/24", "S@192.0.2.7", "E@^cn(1|2)$ and not G@os:Debian"),
]
UNREADABLE = [
    *("G@(", "G@os", "G@:SLES", "G@os:", "( cn1", "cn1 )", "(cn1 or cn2)", "cn1 cn2", "and cn1", "cn1 and"),
    *("cn1 or or cn2", "( and cn1 )", "()", "( )", "not", "cn1 ( cn2 )", "P@os:(SLES", "E@cn[", "E@cn{99999999999}"),
    *("J@role:*", "S@192.0.2.0/40", "S@node"),
    *("X@os:SLES", "Z@cn1", ""),
]


@pytest.mark.parametrize("text", READABLE)
def test_readable(text):
    assert is_target(text)


@pytest.mark.parametrize("text", UNREADABLE)
def test_unreadable(text):
    assert not is_target(text)
