# Brings about: where the setting watch says so, a program that tells without Salt whether this node is still as an apply
# left it. This comes last: what there is when all else holds, is what the program holds the node against. Where the
# setting has changed, the program goes first, so that nothing that is changed then is drift to it.
{%- from "slurm_pam/map.jinja" import settings with context %}

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

slurm_pam-watch-managed:
  slurm_pam.watch_managed:
    - use:
      - test: slurm_pam-settings
    - require:
      - slurm_pam: slurm_pam-ready
{%- if not settings.watch %}
    - require_in:
{%- endif %}
      - sls: slurm_pam.places
      - sls: slurm_pam.packages
      - sls: slurm_pam.access
      - sls: slurm_pam.slurm
      - sls: slurm_pam.selinux
      - sls: slurm_pam.sshd
      - sls: slurm_pam.pam
      - sls: slurm_pam.logind
      - sls: slurm_pam.strays
