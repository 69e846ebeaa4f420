#!/usr/bin/env python3
"""
What the formula costs a node.

    .venv/bin/python test/bench/cost.py

boots real nodes, measures in one run rendering and its growth, and an apply that changes nothing beside the same number
of test.nop states, beside Ansible and beside the guide's commands; prints what it found and writes it to
test/bench/report-cost.md. What it costs a master is in scale.py and rollout.py. Ansible is PyPI's, in a tree that
is kept for the next time.
"""

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml
from harness import host, progress
from harness.node import Node
from harness.paths import REPO
from harness.salt_tree import HOME, SALTS
from harness.shell import run
from harness.site import Site, interrupt_on_signals
from harness.store import kept

HERE = Path(__file__).resolve().parent
REPORT = HERE / "report-cost.md"
ANSIBLE = "12.3.0"
FORMULA, PLAYBOOK = "slurm_pam", f"Ansible {ANSIBLE}"
EXAMPLE = yaml.safe_load((REPO / "pillar.example").read_text())["slurm_pam"]
COUNTS = (1, 10, 100)
TARGET_RENDERING, TARGET_RATIO, TARGET_ANSIBLE = 60, 1.3, 5  # ms, times, times

# Runs in the node: one HighState as an apply has it, rendered again and again with its modules loaded.
RENDER = """
import json, sys, time
import salt.config, salt.loader, salt.state
opts = salt.config.minion_config("/etc/salt/minion")
opts["grains"] = salt.loader.grains(opts)
given, sls, rounds = json.load(sys.stdin)
state = salt.state.HighState(opts, pillar_override={"slurm_pam": given})
state.push_active()
seconds = []
for _ in range(rounds + 1):
    state.building_highstate.clear()
    start = time.process_time()
    high, errors = state.render_highstate({"base": [sls]})
    seconds.append(time.process_time() - start)
    assert not errors, errors
print(json.dumps(seconds[1:]))
"""
# Runs in the node: salt-call, and what it used itself and in its children.
SPLIT = """
import atexit, json, os, resource, sys
def tell():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    with open("/root/used", "w") as file:
        json.dump([one.ru_utime + one.ru_stime for one in used], file)
atexit.register(tell)
from salt.scripts import salt_call
sys.argv = ["salt-call", *sys.argv[1:]]
sys.exit(salt_call())
"""
PYTHON = f"{HOME}/bin/python3.11"
APPLY = ["--local", "--out=quiet", "--retcode-passthrough", "state.apply"]


@dataclass
class Cost:
    cpu: float  # seconds, with all children
    wall: float  # seconds
    memory: float  # MiB, of the largest process


def cost(command: list[str]) -> Cost:
    """What a command uses, of which every process that it waits for is part."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/")
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            output.seek(0)
            sys.exit(f"{' '.join(command)}: exit {child.returncode}\n{output.read().decode()[-3000:]}")
    return Cost(used.ru_utime + used.ru_stime, time.monotonic() - start, used.ru_maxrss / 1024)


def middle(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(one, name) for one in costs) for name in ("cpu", "wall", "memory")))


def milliseconds(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f} ({min(seconds) * 1000:.0f} at best)"


# Rendering


def groups(count: int) -> dict:
    members = {f"group{number}": {"origins": ["192.0.2.0/24"], "members": ["admin"]} for number in range(count)}
    return {**EXAMPLE, "access": {**EXAMPLE["access"], "groups": members}}


def partitions(count: int) -> dict:
    settings = {"access": {"groups": {"other": {"origins": ["ALL"]}}}}
    # The node is in the last one only, as nodes are.
    names = [*(f"elsewhere{number}*" for number in range(count - 1)), "*"]
    return {**EXAMPLE, "partitions": {f"p{n}": {"nodes": name, "settings": settings} for n, name in enumerate(names)}}


def rendering(node: Node, rounds: int) -> tuple[list[str], float]:
    """Rows of the table, and the CPU milliseconds with the example's settings."""

    def rendered(given: dict, sls: str = "slurm_pam") -> list[float]:
        asked = json.dumps([given, sls, rounds])
        done = node.run([PYTHON, "-c", RENDER], input=asked, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    subjects = {"pillar.example": EXAMPLE}
    subjects |= {f"{count} groups": groups(count) for count in COUNTS[1:]}
    subjects |= {f"{count} partitions, the node in one": partitions(count) for count in COUNTS}
    found = {name: rendered(given) for name, given in subjects.items()}
    empty = rendered({}, "empty")
    rows = [f"| {name} | {milliseconds(seconds)} |" for name, seconds in found.items()]
    rows.append(f"| as many SLS files, each with one test.nop and nothing to import | {milliseconds(empty)} |")
    return rows, min(found["pillar.example"]) * 1000


# An apply that changes nothing


def ansible() -> Path:
    """Ansible for the nodes' Python."""

    def build(tree: Path) -> None:
        with (
            progress.step(f"installing Ansible {ANSIBLE}, kept for the next time"),
            tempfile.TemporaryDirectory() as venv,
        ):
            run(["/usr/bin/python3", "-m", "venv", venv])
            pip = [f"{venv}/bin/python", "-m", "pip", "install", "--quiet", "--no-compile"]
            run([*pip, "--target", tree, f"ansible=={ANSIBLE}"], timeout=1800)
            run([f"{venv}/bin/python", "-m", "compileall", "-q", "-j", "0", tree], check=False, timeout=1800)

    return kept("bench-ansible", (ANSIBLE,), build)


def files(node: Node) -> None:
    """Everything the subjects need, before the node boots."""
    node.pillar((REPO / "pillar.example").read_text())
    node.write("/srv/bench/playbook.yml", (HERE / "playbook.yml").read_text())
    node.write("/srv/bench/guide.sh", (HERE / "guide.sh").read_text())
    node.write("/srv/bench/split.py", SPLIT)
    (node.root / "usr/bin/python3").symlink_to(PYTHON)
    (node.root / "opt/ansible").mkdir()
    run(["mount", "--bind", "--options", "ro", ansible(), node.root / "opt/ansible"])
    roots = "file_roots:\n  base: [/srv/formula, /srv/bench]\n"
    node.write("/etc/salt/minion", re.sub(r"file_roots:\n.*\n", roots, node.read("/etc/salt/minion")))


def nothing(node: Node, states: int, sls_files: int) -> None:
    """As many states that do nothing; and as many files."""
    lines = "".join(f"nop-{number}:\n  test.nop: []\n" for number in range(states))
    node.write("/srv/bench/nops.sls", lines)
    names = [f"empty{number}" for number in range(sls_files - 1)]
    for name in names:
        node.write(f"/srv/bench/{name}.sls", f"nop-{name}:\n  test.nop: []\n")
    node.write("/srv/bench/empty.sls", "include:\n" + "".join(f"  - {name}\n" for name in names))


def applies(node: Node, others: dict[str, Node], rounds: int) -> dict[str, Cost]:
    """Each subject on a node that is as it wants it, in turn, so that a busy moment meets all of them."""
    play = ["env", "PYTHONPATH=/opt/ansible", "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3", "HOME=/root"]
    play += [PYTHON, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", "/srv/bench/playbook.yml"]
    commands = {
        FORMULA: node.command(["salt-call", *APPLY, "slurm_pam"]),
        "as many test.nop": node.command(["salt-call", *APPLY, "nops"]),
        PLAYBOOK: others["ansible"].command(play),
        "the guide's commands in a script": others["guide"].command(["sh", "/srv/bench/guide.sh"]),
    }
    for command in commands.values():
        cost(command)
    told = others["ansible"].run(play).stdout
    assert "changed=0" in told and "failed=0" in told, told
    for closed in (node, *others.values()):
        assert closed.ssh("admin").ok and not closed.ssh("alice").ok, closed.name
    found: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append(cost(command))
    return {name: middle(costs) for name, costs in found.items()}


def split(node: Node, sls: str, rounds: int) -> tuple[float, float]:
    """CPU seconds of salt-call itself and of its children."""
    found = []
    for _ in range(rounds):
        node.run([PYTHON, "/srv/bench/split.py", *APPLY, sls], check=True)
        found.append(json.loads(node.read("/root/used")))
    return tuple(statistics.median(one) for one in zip(*found))


def children(node: Node) -> list[str]:
    """The programs that an apply starts, with how often."""
    trace = ["strace", "-f", "-qq", "-e", "trace=execve", "-e", "signal=none", "-o", "/root/trace"]
    node.run([*trace, "salt-call", *APPLY, "slurm_pam"], check=True)
    started: dict[str, int] = {}
    for program, words in re.findall(r'execve\("([^"]+)", \[([^]]*)\].* = 0$', node.read("/root/trace"), re.MULTILINE):
        arguments = re.findall(r'"([^"]*)"', words)
        verb = next((word for word in arguments[1:] if re.fullmatch(r"[a-z][a-z-]+", word)), "")
        name = f"{Path(program).name} {verb}".strip()
        if "salt-call" not in words:
            started[name] = started.get(name, 0) + 1
    return [f"{name} ({count})" if count > 1 else name for name, count in sorted(started.items())]


# What it comes to


def report(rows: list[str], render: float, costs: dict[str, Cost], own: list, names: list[str]) -> str:
    formula, play = costs[FORMULA], costs[PLAYBOOK]
    machine = platform.processor() or platform.machine()
    (formula_self, formula_children), (nop_self, _) = own
    ratio = formula_self / nop_self
    verdict = {True: "reached", False: "**missed**"}

    table = [
        f"| {name} | {one.cpu:.2f} | {one.wall:.2f} | {one.memory:.0f} | {one.cpu / formula.cpu:.2f} |"
        for name, one in costs.items()
    ]
    return "\n".join(
        [
            "# What slurm_pam costs",
            "",
            f"`test/bench/cost.py`, {datetime.date.today()}, Salt {SALTS['3008']}, {machine} with "
            f"{os.cpu_count()} processors, load {os.getloadavg()[1]:.1f}. Node: layout sle15, `pillar.example`.",
            "",
            "## Rendering on a node",
            "",
            "CPU milliseconds for all of the formula's state files, modules loaded.",
            "",
            "| settings | ms |",
            "|---|---|",
            *rows,
            "",
            f"Target: under {TARGET_RENDERING} ms: {verdict[render < TARGET_RENDERING]} ({render:.0f} ms at best).",
            "",
            "## An apply that changes nothing",
            "",
            "CPU seconds with all child processes, wall seconds, MiB of the largest process; each subject on a node",
            "that it has closed itself. Ansible runs there with `-c local`, so that no SSH is in its numbers.",
            "",
            "| | CPU s | wall s | MiB | CPU, slurm_pam = 1 |",
            "|---|---|---|---|---|",
            *table,
            "",
            f"salt-call itself used {formula_self:.2f} s, beside {nop_self:.2f} s with test.nop: {ratio:.2f} times as "
            f"much. Target: at most {TARGET_RATIO}, besides child processes: {verdict[ratio <= TARGET_RATIO]}.",
            "",
            f"The child processes used {formula_children:.2f} s: {', '.join(names)}.",
            "",
            f"Ansible used {play.cpu / formula.cpu:.1f} times the CPU of slurm_pam. "
            f"Target: at least {TARGET_ANSIBLE}: {verdict[play.cpu / formula.cpu >= TARGET_ANSIBLE]}.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    host.install_packages()
    interrupt_on_signals()
    site = Site.create(hosts=("formula", "ansible", "guide"))
    try:
        nodes = {name: Node.start(site, name, prepare=files) for name in site.hosts}
        node = nodes.pop("formula")
        node.run(["salt-call", *APPLY, "slurm_pam"], check=True)
        low = node.salt("state.show_low_sls", "slurm_pam")
        # init and modules are files without a state of their own.
        nothing(node, len(low), len({chunk["__sls__"] for chunk in low}) + 2)
        with progress.step("rendering"):
            rows, render = rendering(node, 3 * arguments.rounds)
        with progress.step("applies that change nothing"):
            costs = applies(node, nodes, arguments.rounds)
            own = [split(node, sls, arguments.rounds) for sls in ("slurm_pam", "nops")]
            names = children(node)
    finally:
        site.remove()
    text = report(rows, render, costs, own, names)
    REPORT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
