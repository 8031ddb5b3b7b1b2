#!/usr/bin/env bash
# tunnel_sshuttle.sh: opens the cluster's whole network to your computer
#
#   ./tunnel_sshuttle.sh            then open the address that start_salloc.sh
#                                   printed, as it is
#   ./tunnel_sshuttle.sh ADDRESS    the same, and says when that address answers
#   ./tunnel_sshuttle.sh --print    shows the command instead of running it
#   ./tunnel_sshuttle.sh --help     this text
#
# For Linux and macOS, with sshuttle (a Python package) and the right to use sudo.
# Leave it running; Ctrl-C closes it.
set -euo pipefail
unset CDPATH
FOLDER=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$FOLDER/lib/both/settings.sh"
source "$FOLDER/lib/both/login.sh"
source "$FOLDER/lib/laptop/host_key.sh"
source "$FOLDER/lib/laptop/tunnel.sh"
parse_options more "$@"
load_settings

need_tunnel
take_address
# sshuttle ends at the login node, and from there only ssh would pass
[[ $FACT_reach == node ]] || misuse no_sshuttle cluster="$CLUSTER_NAME"
((${#OPTIONS[@]} == 0)) || read_address "${OPTIONS[0]}"
need_user
command=(sshuttle --dns -Nr "$(login_name)" -e "ssh -F lib/laptop/ssh_config")
if [[ $PRINT ]]; then
  show_command "${command[@]}"
  exit
fi
command -v sshuttle >/dev/null || die sshuttle_missing
compare_host_key "$(login_name)"
if ((${#OPTIONS[@]})); then
  say_when_it_answers "$NODE" "$PORT" "${OPTIONS[0]}" &
  watcher=$!
  trap 'kill "$watcher" 2>/dev/null || true' EXIT
fi
trap 'say tunnel_closed; exit' INT TERM
if ((${#OPTIONS[@]})); then
  say connecting login="$(login_name)"
else
  say connecting_sshuttle login="$(login_name)"
fi
cd -- "$FOLDER"
"${command[@]}" || die tunnel_failed login="$(login_name)"
