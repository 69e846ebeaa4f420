# Brings about: the Slurm node package and the one with the PAM modules are installed, in one transaction.
include:
  - slurm_pam.ready

slurm_pam-packages-installed:
  slurm_pam.packages_installed:
    - use:
      - test: slurm_pam-settings
    - require:
      - slurm_pam: slurm_pam-ready
