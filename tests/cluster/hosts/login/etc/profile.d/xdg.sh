# As pam_systemd does on a real login node. The folder does not exist on the compute nodes, hence
# the `unset XDG_RUNTIME_DIR` of job scripts. (sshd.sh does the same for shells without /etc/profile.)
XDG_RUNTIME_DIR=/run/user/$(id -u)
export XDG_RUNTIME_DIR
