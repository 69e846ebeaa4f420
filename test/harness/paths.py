"""Where things are: the repository, what is kept between runs, and what lives as long as a run."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("SLURM_PAM_CACHE") or Path.home() / ".cache" / "slurm_pam")
RUN = Path("/run/slurm_pam-test")
