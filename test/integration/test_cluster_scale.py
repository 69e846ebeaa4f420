"""What minions cost a master is measured with real ones: the short form of test/bench/scale.py."""

import sys

from harness.paths import REPO
from harness.shell import run

BENCH = REPO / "test/bench/scale.py"
COMMANDS = ("sync", "audit", "apply that changes nothing", "rollout")


def test_scale(machine, tmp_path):
    report = tmp_path / "report.md"
    run([sys.executable, BENCH, "--minions=2", f"--report={report}"], timeout=1200)
    rows = [line.strip("| ").split(" | ") for line in report.read_text().splitlines() if line.startswith("| ")]
    measured = {what: float(cpu) for what, minions, cpu, *_ in rows if minions == "2"}
    assert measured.keys() == set(COMMANDS)
    assert all(cpu > 0 for cpu in measured.values())
