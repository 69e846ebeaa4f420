# Brings about: nothing. Stops the run here, with one failed state, where the settings are wrong or this node must not be
# changed. In mode audit it reports what the other states would change, and leaves them out.
{%- from "slurm_pam/map.jinja" import given, partitions, settings with context %}

include:
  - slurm_pam.modules

slurm_pam-ready:
  slurm_pam.ready:
    - given: {{ given | json }}
    - settings: {{ settings | json }}
    - partitions: {{ partitions | json }}
    - version: 1.0.0
    - auditing: {{ salt["pillar.get"]("slurm_pam_auditing", False) | json }}
    # One clear failure, instead of one for each state that would have come after it.
    - failhard: True
{%- if settings.mode == "audit" and not salt["pillar.get"]("slurm_pam_auditing") %}

slurm_pam-ready-audited:
  slurm_pam.audited:
    - require:
      - slurm_pam: slurm_pam-ready

exclude:
{%-   for part in ["confirm", "packages", "access", "slurm", "sshd", "pam", "logind"] %}
  - sls: slurm_pam.{{ part }}
{%-   endfor %}
{%- endif %}
