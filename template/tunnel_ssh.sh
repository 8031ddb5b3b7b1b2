#!/usr/bin/env bash
# tunnel_ssh.sh: an SSH tunnel from your computer to the running session
#
#   ./tunnel_ssh.sh ADDRESS    to the address that start_salloc.sh printed (in
#                              single quotes)
#   ./tunnel_ssh.sh            asks the cluster for your running session first,
#                              which is one more login
#   ./tunnel_ssh.sh --print ADDRESS
#                              shows the command and the address to open
#   ./tunnel_ssh.sh --help     this text
#
# It needs ssh alone: Linux, macOS, and on Windows MobaXterm and Git Bash. Leave
# it running; Ctrl-C closes the tunnel.
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
address=${OPTIONS[0]:-}
[[ ! $address ]] || read_address "$address"
need_user
login=$(login_name)
[[ $PRINT ]] || compare_host_key "$login"
if [[ $PRINT && ! $address ]]; then address='http://NODE:8888/lab?token=TOKEN'; fi
if [[ ! $address ]]; then
  say finding login="$login" >&2
  ask_for_sessions "$login"
  [[ $FOUND ]] || die no_session cluster="$CLUSTER_NAME"
  while IFS= read -r line; do read_address "$line"; done <<<"$FOUND"
  [[ $FOUND != *$'\n'* ]] || die many_sessions found="$FOUND"
  address=$FOUND
fi
read_address "$address"
choose_port "${SETTING_port:-$PORT}"

ssh=(ssh -F lib/laptop/ssh_config -N) port=127.0.0.1:$LOCAL_PORT
command=("${ssh[@]}" -L "$port:$NODE:$PORT" "$login")
# only ssh passes between such a cluster's nodes: log in on the node itself
on_node=$NODE
[[ $login != *@* ]] || on_node=${login%%@*}@$NODE
[[ ! ${SETTING_user:-} ]] || on_node=$SETTING_user@$NODE
[[ $FACT_reach != jump ]] || command=("${ssh[@]}" -J "$login" -L "$port:127.0.0.1:$PORT" "$on_node")
url=http://127.0.0.1:$LOCAL_PORT/$PAGE
if [[ $PRINT ]]; then
  show_command "${command[@]}"
  printf '%s\n' "$url"
  exit
fi
say connecting login="$login"
watcher="" tunnel=""
said=$(mktemp -d)
: >"$said/more"
trap 'kill $watcher $tunnel 2>/dev/null || true; rm -rf -- "$said"' EXIT
trap 'say tunnel_closed; exit' INT TERM HUP
cd -- "$FOLDER"
# in the background only so that a signal is heeded at once; ssh asks its questions at the terminal all the same
"${command[@]}" 2> >(
  tee -- "$said/words" >&2 || true
  rm -f -- "$said/more"
) &
tunnel=$!
say_when_it_answers 127.0.0.1 "$LOCAL_PORT" "$url" "$tunnel" "$said" &
watcher=$!
status=0
wait "$tunnel" || status=$?
# with a shared connection (ControlMaster) ssh is back at once, and the tunnel lives in that connection
((status != 0)) || ! answers 127.0.0.1 "$LOCAL_PORT" || {
  say tunnel_is_shared url="$url" command="ssh -O cancel ${command[*]:4}"
  exit
}
# say_when_it_answers may have closed it, and said why
wait "$watcher" || exit 1
last_words "$said"
! is_refused "$said" || die jump_refused login="$login" node="$NODE"
die tunnel_failed login="$login"
