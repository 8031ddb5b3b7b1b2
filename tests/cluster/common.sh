# shellcheck shell=bash
# shellcheck disable=SC2034  # these are for whoever sources this file
# What every part knows: the hosts, the folders, and how to speak and to wait.

HOSTS=(inet laptop login node1 node2)

# Kept between runs: wheels, R packages, tools, keys, the accounting database as it is when new.
CACHE=${PASSERELLE_CLUSTER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/passerelle-cluster}
# One run: for each host its process id and logs; the homes; the software tree.
STATE=${PASSERELLE_CLUSTER_STATE:-$CACHE/state}
# Folders of the machine that the laptop sees, separated by ":".
SHARE=${PASSERELLE_CLUSTER_SHARE:-}

# The software tree as the cluster sees it, like /cvmfs/soft.computecanada.ca.
CVMFS=/cvmfs/soft.vcluster.example

# The version of the machine's Python, which the cluster's modules offer: 3.11 on Debian 12, 3.13 on Debian 13.
python_version() { /usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# The second factor of every user. The same code may be used again within its 30 seconds, so that
# two logins in a row need no wait.
TOTP_SECRET=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP

say() { printf 'cluster: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

# retry SECONDS COMMAND...: until it succeeds, twenty times a second.
retry() {
  local tries=$(($1 * 20))
  shift
  until "$@" >/dev/null 2>&1; do
    ((--tries > 0)) || {
      say "waited in vain for: $*"
      return 1
    }
    sleep 0.05
  done
}

port_answers() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }
