#!/usr/bin/env bash
# boot.sh HOST: PID 1 of a host. Writes its configuration, starts its services, then stays.
set -euo pipefail
umask 022

cd /
umount --lazy /.machine
rmdir /.machine
here=/.boot/cluster
host=$1
for part in common users network sshd slurm accounting; do
  # shellcheck source=/dev/null  # each is checked by itself
  source "$here/$part.sh"
done

# The files of hosts/ are what they say they are: hosts/login/etc/dnsmasq.conf is /etc/dnsmasq.conf
# on the login node. The more particular folder comes last.
case $host in
  login) kinds=(all cluster login) ;;
  node*) kinds=(all cluster) ;;
  *) kinds=(all "$host") ;;
esac
for kind in "${kinds[@]}"; do
  cp --recursive --no-dereference --remove-destination "$here/hosts/$kind/." /
done
printf '%s\n' "$host" >/etc/hostname
make_users

retry 60 test -e /.boot/state/connected
case $host in
  inet)
    start_dns
    start_cran
    ;;
  laptop)
    take_phone
    install -m 755 "$here/browser.py" /usr/local/bin/browser
    ;;
  login)
    start_dns
    start_sshd
    start_munge
    start_accounting
    start_slurmctld
    ;;
  node*)
    start_sshd
    start_munge
    start_slurmd
    ;;
esac
touch /.boot/state/ready
umount --lazy /.boot/{cluster,keys,accounting,state}

# bash reaps the orphans that PID 1 inherits while it waits. Only SIGKILL from outside ends it.
while :; do
  sleep 3600 &
  wait $! || true
done
