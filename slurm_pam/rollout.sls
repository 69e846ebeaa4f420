# For the master (salt-run state.orch slurm_pam.rollout): brings the formula to the nodes that the pillar names, a few at a
# time. All of it is the runner slurm_pam.rollout.
{%- if "slurm_pam.rollout" not in salt["sys.list_runner_functions"]("slurm_pam") %}

slurm_pam-rollout-runner-missing:
  test.fail_without_changes:
    - name: >-
        This master does not have the formula's runner yet. Nothing was done. Run this first:
        salt-run saltutil.sync_runners
{%- else %}

slurm_pam-rollout-done:
  salt.runner:
    - name: slurm_pam.rollout
{%-   for argument, value in salt["pillar.get"]("rollout", {}).items() %}
    - {{ argument }}: {{ value | json(sort_keys=False) }}
{%-   endfor %}
{%- endif %}
