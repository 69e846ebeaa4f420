# Brings about: slurm.conf has what pam_slurm_adopt needs, looked at by default and edited where slurm:manage is enforce;
# and, where slurm:use_pam says so, slurmstepd's own PAM service.
include:
  - slurm_pam.places

# The file is there before slurm.conf asks for it.
slurm_pam-slurm-pam-service-managed:
  slurm_pam.service_managed:
    - use:
      - test: slurm_pam-settings
    - require:
      - slurm_pam: slurm_pam-places-recorded

slurm_pam-slurm-conf-managed:
  slurm_pam.slurm_conf_managed:
    - use:
      - test: slurm_pam-settings
    - require:
      - slurm_pam: slurm_pam-slurm-pam-service-managed

slurm_pam-slurm-service-restarted:
  slurm_pam.slurmd_restarted:
    - use:
      - test: slurm_pam-settings
    - onchanges:
      - slurm_pam: slurm_pam-slurm-conf-managed
