"""pam_verdict beside the libpam of a node, which is newer than this machine's."""

import pytest
from harness.formula import sync
from harness.salt_tree import HOME
from libpam import differential

EACH = 5000


@pytest.mark.parametrize("layout", ["debian13"], indirect=True)
@pytest.mark.parametrize("seed", [0, 1])
def test_random_configurations(node, seed):
    for file in differential.PROGRAM:
        node.write(f"/root/{file.name}", file.read_text())
    sync(node)
    libpam = node.salt("pam_stack.libpam")
    assert (libpam["version"], libpam["debian"]) == ("1.6.0", True)
    ask = node.command([f"{HOME}/bin/python3", "/root/driver.py"])
    disagreements = []
    tally, count = differential.compare(seed, EACH, libpam, ask, lambda *told, **_: disagreements.append(told))
    assert count == 0, disagreements[:3]
    assert tally["answered"] > EACH / 2
