# Brings about: nothing. Stops the run here, with one failed state, where the settings are wrong or this node must not be
# changed.
{%- from "slurm_pam/map.jinja" import given, partitions, settings with context %}

include:
  - slurm_pam.modules

slurm_pam-ready:
  slurm_pam.ready:
    - given: {{ given | json }}
    - settings: {{ settings | json }}
    - partitions: {{ partitions | json }}
    - version: 1.0.0
    # One clear failure, instead of one for each state that would have come after it.
    - failhard: True
