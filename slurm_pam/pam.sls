# Brings about: the account and session stacks for a compute node, proven before they are written, and sshd's PAM file
# naming them. What they rely on comes first: the modules, the access file, slurm.conf, SELinux, sshd.
include:
  - slurm_pam.ready
  - slurm_pam.places
  - slurm_pam.packages
  - slurm_pam.access
  - slurm_pam.slurm
  - slurm_pam.selinux
  - slurm_pam.sshd

# The file is there before the PAM files name it.
slurm_pam-pam-message-managed:
  slurm_pam.message_managed:
    - use:
      - test: slurm_pam-settings
    - require:
      - slurm_pam: slurm_pam-ready
      - sls: slurm_pam.places

slurm_pam-pam-stacks-managed:
  slurm_pam.stacks_managed:
    - use:
      - test: slurm_pam-settings
    - require:
      - slurm_pam: slurm_pam-ready
      - slurm_pam: slurm_pam-pam-message-managed
      - sls: slurm_pam.packages
      - sls: slurm_pam.access
      - sls: slurm_pam.slurm
      - sls: slurm_pam.selinux
      - sls: slurm_pam.sshd
