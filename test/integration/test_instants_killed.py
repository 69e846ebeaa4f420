"""Killed at any point: administrators get in, every file is the old or the new one, and the next run completes it.

SLURM_PAM_FULL=1 tries every point.
"""

from itertools import zip_longest

from harness.ends import APPLY, CLEAN, Ends
from harness.full import FULL
from harness.injection import Run, spread

SOME = 3


def kill(ends, run, point, then):
    run.killed(point)
    try:
        ends.look()
        ends.complete(then)
    except AssertionError as failure:
        raise AssertionError(f"{run.sls} was killed before {point}, then {then}: {failure}") from failure


def test_killed_at_any_point(node):
    ends = Ends(node)
    apply, clean = Run(node, APPLY), Run(node, CLEAN)
    some_of_apply, some_of_clean = (run.points if FULL else spread(run.points, SOME) for run in (apply, clean))
    # Open, an apply is killed and taken back, then killed and completed; closed, a clean is, the other way round.
    for apply_point, clean_point in zip_longest(some_of_apply, some_of_clean):
        if apply_point:
            kill(ends, apply, apply_point, then=CLEAN)
            kill(ends, apply, apply_point, then=APPLY)
        else:
            ends.run(APPLY)
        if clean_point:
            kill(ends, clean, clean_point, then=APPLY)
            kill(ends, clean, clean_point, then=CLEAN)
        else:
            ends.run(CLEAN)
    for run, points in ((apply, some_of_apply), (clean, some_of_clean)):
        print(f"{run.sls}: killed before {len(points)} of {len(run.points)} calls, each completed both ways")
