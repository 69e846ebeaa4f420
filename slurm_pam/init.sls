# Closes a Slurm compute node to everyone without a job on it; the order in which that is brought about.
include:
  - slurm_pam.ready
  - slurm_pam.places
  - slurm_pam.packages
  - slurm_pam.access
  - slurm_pam.slurm
  - slurm_pam.selinux
  - slurm_pam.sshd
  - slurm_pam.pam
  - slurm_pam.logind
  - slurm_pam.strays
  - slurm_pam.watch
