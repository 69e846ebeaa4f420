#!/bin/sh
# The commands of SUSE's deployment guide, as a script that may be run again.
set -e
rpm -q slurm-node slurm-pam_slurm > /dev/null || zypper --non-interactive install slurm-pam_slurm
getent group hpc_admin_g > /dev/null || groupadd hpc_admin_g
id -nG admin | grep -qw hpc_admin_g || usermod -a -G hpc_admin_g admin
grep -q 'PrologFlags=.*Contain' /etc/slurm/slurm.conf
printf '%s\n' '+ : (hpc_admin_g) : 192.0.2.0/24' '+ : root : ALL' '- : ALL : ALL' > /etc/security/access.conf
cd /etc/pam.d
cp common-account-pc slurm-common-account-pc
printf '%s\n' 'account sufficient pam_access.so' 'account required pam_slurm_adopt.so' >> slurm-common-account-pc
ln -sf slurm-common-account-pc slurm-common-account
grep -v pam_systemd common-session-pc > slurm-common-session-pc
ln -sf slurm-common-session-pc slurm-common-session
sed -i -e '/^account/s/ common-account/ slurm-common-account/' -e '/^session/s/ common-session/ slurm-common-session/' sshd
sed -i -e 's/^#*PermitRootLogin .*/PermitRootLogin without-password/' \
    -e 's/^#*PasswordAuthentication .*/PasswordAuthentication no/' /etc/ssh/sshd_config
sshd -t
systemctl reload sshd
systemctl stop systemd-logind
systemctl mask --quiet systemd-logind
