# Brings about: slurm.conf has what pam_slurm_adopt needs, checked by default and edited where slurm:manage is enforce;
# and, where slurm:use_pam says so, slurmstepd's own PAM service.
{%- from "slurm_pam/map.jinja" import settings with context %}
{%- set slurm = settings.slurm %}
{%- set wanted = slurm.settings %}
{%- if slurm.use_pam and wanted is mapping %}
{%-   do wanted.update({"UsePAM": "1"}) %}
{%- endif %}

include:
  - slurm_pam.ready
{%- if slurm.use_pam %}

# The file is there before slurm.conf asks for it.
slurm_pam-slurm-pam-service-managed:
  pam_stack.managed:
    - files:
        - path: /etc/pam.d/slurm
          contents: |
            auth required pam_localuser.so
            account required pam_unix.so
            session required pam_limits.so
    - require:
      - slurm_pam: slurm_pam-ready
{%- endif %}
{%- if slurm.manage == "check" %}

slurm_pam-slurm-conf-checked:
  slurm_conf.checked:
    - path: {{ slurm.conf | json }}
    - settings: {{ wanted | json }}
    # Seconds for slurmctld to answer; the file says it as well.
    - timeout: 2
    - require:
      - slurm_pam: slurm_pam-ready
{%- elif slurm.manage == "enforce" %}

slurm_pam-slurm-conf-managed:
  slurm_conf.managed:
    - path: {{ slurm.conf | json }}
    - settings: {{ wanted | json }}
    - tag: slurm_pam
    - require:
      - slurm_pam: slurm_pam-ready
{%-   if slurm.use_pam %}
      - pam_stack: slurm_pam-slurm-pam-service-managed
{%-   endif %}

# Running jobs survive this: their step daemons are processes of their own.
slurm_pam-slurm-service-restarted:
  service.running:
    - name: {{ slurm.service | json }}
    - watch:
      - slurm_conf: slurm_pam-slurm-conf-managed
{%- endif %}
