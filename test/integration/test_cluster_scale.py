"""What minions cost a master is measured with real ones: the short form of test/bench/scale.py."""

import sys

from harness.paths import REPO
from harness.shell import run

BENCH = REPO / "test/bench/scale.py"
COMMANDS = ("sync", "audit", "apply that changes nothing", "rollout")


def test_scale(machine, tmp_path):
    report = tmp_path / "report.md"
    run([sys.executable, BENCH, "--minions=1,3", f"--report={report}"], timeout=1200)
    rows = [line.strip("| ").split(" | ") for line in report.read_text().splitlines() if line.startswith("| ")]
    measured = {(what, int(minions)): float(cpu) for what, minions, cpu, *_ in rows if minions in ("1", "3")}
    assert measured.keys() == {(what, minions) for what in COMMANDS for minions in (1, 3)}
    assert all(cpu > 0 for cpu in measured.values())
    projected = {row[0] for row in rows if len(row) == 3 and row[0] in COMMANDS}
    assert projected == set(COMMANDS)
