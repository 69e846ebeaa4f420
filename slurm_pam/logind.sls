# Brings about: systemd-logind is stopped and masked, or only stopped, or left alone, as the setting logind says; once
# the PAM files are such that no session over SSH asks for it.
{%- from "slurm_pam/map.jinja" import settings with context %}

include:
  - slurm_pam.pam
{%- if settings.logind == "mask" %}

slurm_pam-logind-masked:
  systemd_logind.masked:
    - name: systemd-logind
    - require:
      - slurm_pam: slurm_pam-pam-stacks-managed
{%- elif settings.logind == "stop" %}

slurm_pam-logind-dead:
  service.dead:
    - name: systemd-logind
    - require:
      - slurm_pam: slurm_pam-pam-stacks-managed
{%- endif %}
