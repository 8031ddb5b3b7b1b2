# shellcheck shell=bash
# Slurm: munge, the controller on the login node, slurmd on the nodes. The configuration is plain
# files, hosts/cluster/etc/slurm/.

# --- outside -----------------------------------------------------------------------------------

nodes_registered() {
  (($(in_host login sinfo --noheader --Node --format='%N %t' | sort -u | grep -cE ' (idle|mix|alloc)$') == 2))
}

# Also puts nodes back in service that a test has drained (Slurm refuses for those that are not).
cancel_all_jobs() {
  local jobs node
  mapfile -t jobs < <(in_host login squeue --noheader --format=%A)
  if ((${#jobs[@]})); then in_host login scancel "${jobs[@]}"; fi
  for node in node1 node2; do
    in_host login scontrol update "NodeName=$node" State=RESUME 2>/dev/null || true
  done
}
queue_is_empty() { [[ -z $(in_host login squeue --noheader) ]]; }

# --- on a host ---------------------------------------------------------------------------------

start_munge() {
  # munged checks owner and mode of each of these.
  install -d -o munge -g munge -m 755 /run/munge
  install -d -o munge -g munge -m 700 /var/lib/munge /var/log/munge /etc/munge
  install -o munge -g munge -m 400 /.boot/keys/munge.key /etc/munge/munge.key
  setpriv --reuid munge --regid munge --init-groups /usr/sbin/munged
}

start_slurmctld() {
  install -d -o slurm -g slurm /var/spool/slurmctld
  install -o slurm -g slurm -m 644 /dev/null /var/log/slurmctld.log
  /usr/sbin/slurmctld -D &
  disown
  retry 60 port_answers 10.78.0.1 6817
}

start_slurmd() {
  install -d /var/spool/slurmd
  # When the controller answers already, the node registers at once instead of after a pause.
  retry 60 port_answers 10.78.0.1 6817
  /usr/sbin/slurmd -D -N "${host:?}" &
  disown
  retry 20 port_answers "$(hostname --ip-address)" 6818
}
