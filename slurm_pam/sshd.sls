# Brings about: sshd's settings, in a drop-in or by keyed edits as its configuration allows, and sshd told to read them.
include:
  - slurm_pam.places

slurm_pam-sshd-config-managed:
  slurm_pam.sshd_managed:
    - use:
      - test: slurm_pam-settings
    - require:
      - slurm_pam: slurm_pam-places-recorded

slurm_pam-sshd-service-reloaded:
  slurm_pam.sshd_reloaded:
    - use:
      - test: slurm_pam-settings
    - onchanges:
      - slurm_pam: slurm_pam-sshd-config-managed
