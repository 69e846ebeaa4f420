"""What is tried each time, and what only with SLURM_PAM_FULL=1, since it takes long."""

import os

import pytest

from harness import releases

FULL = os.environ.get("SLURM_PAM_FULL") == "1"
# A test that is tried only then. Any other run leaves it out: a skipped one would be a gap to CI.
LONG = pytest.mark.long
# Whose libpam, and whose sshd's logins, differ in what they are tried for.
RELEASES = tuple(releases.RELEASES) if FULL else ("bullseye", "bookworm", "trixie")
