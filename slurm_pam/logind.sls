# Brings about: systemd-logind is stopped and masked, or only stopped, or left alone, as the setting logind says.
{%- from "slurm_pam/map.jinja" import settings with context %}

include:
  - slurm_pam.confirm
{%- if settings.logind == "mask" %}

slurm_pam-logind-masked:
  systemd_logind.masked:
    - name: systemd-logind
    - require:
      - slurm_pam: slurm_pam-ready
{%- elif settings.logind == "stop" %}

slurm_pam-logind-dead:
  service.dead:
    - name: systemd-logind
    - require:
      - slurm_pam: slurm_pam-ready
{%- endif %}
