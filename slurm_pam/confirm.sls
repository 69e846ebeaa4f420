# Brings about: with the setting confirm, an apply that changes this node is taken back by the node itself unless
# slurm_pam.confirm is called in time. All that changes anything comes after this.
{%- from "slurm_pam/map.jinja" import given, settings with context %}

include:
  - slurm_pam.ready
{%- if settings.confirm and not salt["pillar.get"]("slurm_pam_auditing") %}

slurm_pam-confirm-armed:
  slurm_pam_confirm.armed:
    - seconds: {{ settings.confirm | json }}
    - given: {{ given | json }}
    - settings: {{ settings | json }}
    - require:
      - slurm_pam: slurm_pam-ready
    # What could not be taken back is not begun.
    - failhard: True

slurm_pam-confirm-awaited:
  slurm_pam_confirm.awaited:
    - onchanges:
      - slurm_pam_confirm: slurm_pam-confirm-armed
    - order: last
{%- endif %}
