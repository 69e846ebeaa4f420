# Brings about: no user has processes outside of jobs, where the setting strays says so; once nobody gets in by the old files.
# Managers of people without a session end with logind before.
include:
  - slurm_pam.pam
  - slurm_pam.logind

slurm_pam-strays-ended:
  slurm_pam.strays_ended:
    - use:
      - test: slurm_pam-settings
    - require:
      - slurm_pam: slurm_pam-pam-stacks-managed
