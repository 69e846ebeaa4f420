# Brings about: it is written down where everything is put, so that clean finds it after the settings have changed.
include:
  - slurm_pam.ready

slurm_pam-places-recorded:
  slurm_pam.recorded:
    - use:
      - test: slurm_pam-settings
    - require:
      - slurm_pam: slurm_pam-ready
