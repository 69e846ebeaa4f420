# Brings about: where SELinux would keep sshd from Slurm's step daemons, a small policy module allows it, as the setting
# selinux says; before the PAM files ask for it.
include:
  - slurm_pam.places
  - slurm_pam.packages

slurm_pam-selinux-managed:
  slurm_pam.selinux_managed:
    - use:
      - test: slurm_pam-settings
    - require:
      - slurm_pam: slurm_pam-places-recorded
      - sls: slurm_pam.packages
