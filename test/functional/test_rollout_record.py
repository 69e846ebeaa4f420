"""The record of a rollout, by several processes: killed at any moment it is true, and others may read it meanwhile."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading

import pytest
from harness.paths import REPO
from harness.runners import runner

Record, records = runner.Record, runner.records

# A rollout over many nodes: a batch is applying, then done; what was settled is said, one number a batch.
WRITER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from _rollout_record import Record
record = Record(sys.argv[2])
names = [f"cn{number:05}" for number in range(int(sys.argv[3]))]
record.resume(names)
record.settle()
print(0, flush=True)
for start in range(0, len(names), 10):
    for state in ("applying", "done"):
        for name in names[start:start + 10]:
            record.tell(name, state, state)
        record.settle()
        time.sleep(float(sys.argv[4]))
        print(start + 10 if state == "done" else start, state, flush=True)
"""


def words(directory, nodes, pause=0.0):
    return [sys.executable, "-c", WRITER, str(REPO / "_runners"), str(directory), str(nodes), str(pause)]


def writer(*what):
    return subprocess.Popen(words(*what), stdout=subprocess.PIPE, text=True)


def read(directory):
    with contextlib.closing(Record(str(directory))) as record:
        return record.nodes


@pytest.mark.parametrize("seed", range(12))
def test_killed_at_any_moment_it_is_what_was_settled(tmp_path, seed):
    """At most the one batch further that was being settled; no part of a batch."""
    last = random.Random(seed).randrange(3, 100)
    with writer(tmp_path, 500) as child:
        for number, line in enumerate(child.stdout):
            settled = line.split()
            if number == last:
                break
        child.send_signal(signal.SIGKILL)
        settled = ([settled] + [line.split() for line in child.stdout])[-1]
    nodes = read(tmp_path)
    states = [nodes[f"cn{number:05}"].state for number in range(500)]
    done, applying = states.count("done"), states.count("applying")
    assert states == ["done"] * done + ["applying"] * applying + ["waiting"] * (500 - done - applying)
    assert done % 10 == 0 and applying in (0, 10)
    now, after = done * 2 + applying, int(settled[0]) * 2 + 10 * (settled[1:] == ["applying"])
    assert after <= now <= after + 10


def test_others_read_it_and_wish_while_it_is_written(tmp_path):
    with writer(tmp_path, 2000, 0.005) as child:
        child.stdout.readline()
        seen = []
        while child.poll() is None and len(seen) < 50:
            states = [node.state for node in read(tmp_path).values()]
            assert len(states) == 2000 and states.count("applying") in (0, 10)
            seen.append(states.count("done"))
            with contextlib.closing(Record(str(tmp_path))) as record:
                record.wish("pause")
        child.stdout.read()
    assert child.returncode == 0 and seen == sorted(seen) and len(set(seen)) > 3
    with contextlib.closing(Record(str(tmp_path))) as record:
        assert record.wishes() == {"pause"}
        record.wish()
        assert record.wishes() == set()


def test_several_begin_it_at_once(tmp_path):
    (tmp_path / "rollout.json").write_text(json.dumps({"cn1": {"state": "failed", "reason": "no disk"}}))
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    children = [subprocess.Popen(words(tmp_path, 0), **pipes) for _ in range(6)]
    assert [child.communicate()[1] for child in children] == [b""] * 6
    assert {name: node.state for name, node in read(tmp_path).items()} == {"cn1": "failed"}
    assert not (tmp_path / "rollout.json").exists()


def test_there_is_one_rollout_and_its_lock_goes_with_it(tmp_path):
    with records.alone(str(tmp_path)) as first:
        assert first
        held = []
        thread = threading.Thread(target=lambda: held.append(_alone(tmp_path)))
        thread.start()
        thread.join()
        assert held == [False]
    assert _alone(tmp_path)


def _alone(directory):
    with records.alone(str(directory)) as free:
        return free


def test_a_link_that_somebody_put_there_is_not_followed(tmp_path):
    (tmp_path / "rollout.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        Record(str(tmp_path))
    assert os.listdir(tmp_path) == ["rollout.db"]
