# Brings about: sshd's settings, in a drop-in or by keyed edits as its configuration allows, and sshd told to read them.
{%- from "slurm_pam/map.jinja" import settings with context %}
{%- set sshd = settings.sshd %}

include:
  - slurm_pam.ready
{%- if sshd.manage %}

slurm_pam-sshd-config-managed:
  sshd_config.managed:
    - config: {{ sshd.config | json }}
    - options: {{ sshd.options | json }}
    - drop_in: {{ sshd.drop_in | json }}
    - tag: slurm_pam
    - require:
      - slurm_pam: slurm_pam-ready

# A reload and never a restart: open sessions stay.
slurm_pam-sshd-service-reloaded:
  service.running:
    - name: {{ sshd.service | json }}
    - reload: True
    - watch:
      - sshd_config: slurm_pam-sshd-config-managed
{%- endif %}
