# For the master (salt-run state.orch slurm_pam.rollout): brings the formula to the nodes that the pillar names, a few at a
# time. All of it is the runner slurm_pam.rollout.
{%- set order = salt["pillar.get"]("rollout", {}) %}
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
    # The runner names what is no argument of its own.
    - kwarg: {{ (order if order is mapping else {"rollout": order}) | json(sort_keys=False) }}
{%- endif %}
