# Brings about: systemd-logind is stopped and masked, or only stopped, or left alone, as the setting logind says; once
# the PAM files are such that no session over SSH asks for it.
include:
  - slurm_pam.pam

slurm_pam-logind-managed:
  slurm_pam.logind_managed:
    - use:
      - test: slurm_pam-settings
    - require:
      - slurm_pam: slurm_pam-pam-stacks-managed
