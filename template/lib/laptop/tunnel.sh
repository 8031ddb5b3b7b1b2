# shellcheck shell=bash
# What the tunnel scripts share. Bash 3.2 is enough (macOS).

# mktemp would end the script in a folder that is gone
[[ -d ${TMPDIR:-} && -w ${TMPDIR:-} ]] || unset TMPDIR

# need_user: asks once for the user's name on the cluster and keeps it in personal.yml, which git ignores
need_user() {
  local name
  [[ ! ${SETTING_user:-}${SETTING_ssh_host:-} && ! $PRINT ]] || return 0
  [[ -t 0 ]] || misuse no_user cluster="$CLUSTER_NAME"
  say which_user cluster="$CLUSTER_NAME"
  read -r name
  check_value personal.yml user "$name" ""
  # the file's last line may lack its newline
  [[ ! -s $FOLDER/personal.yml || ! $(tail -c 1 "$FOLDER/personal.yml") ]] || printf '\n' >>"$FOLDER/personal.yml"
  printf 'user: %s\n' "$name" >>"$FOLDER/personal.yml"
  SETTING_user=$name
}

# need_tunnel: ends the script for this computer itself, where there is nothing to tunnel to
need_tunnel() {
  [[ $FACT_reach != local ]] || misuse no_tunnel_needed place="$LINE_cluster"
  ! on_the_cluster || misuse not_on_your_computer
}

# take_address: what the script has been given; a token in its arguments would be in the list of processes while it runs
take_address() {
  ((${#OPTIONS[@]} < 2)) || misuse one_address
  if [[ ${PASSERELLE_ADDRESS:-} ]]; then
    OPTIONS=("$PASSERELLE_ADDRESS")
    unset PASSERELLE_ADDRESS
  elif [[ ${OPTIONS[0]:-} && ! $PRINT ]]; then
    PASSERELLE_ADDRESS=${OPTIONS[0]} exec "$BASH" "$0"
  fi
}

# read_address URL: sets NODE, PORT and PAGE from the address that start_salloc.sh printed
read_address() {
  if [[ ! $1 =~ ^$RULE_address$ ]] || ((BASH_REMATCH[2] > 65535)); then misuse bad_address address="${1:0:200}"; fi
  [[ ${BASH_REMATCH[1]} != localhost && ${BASH_REMATCH[1]} != 127.* ]] || misuse browser_address address="$1"
  NODE=${BASH_REMATCH[1]} PORT=${BASH_REMATCH[2]} PAGE=${BASH_REMATCH[3]}
}

# ask_for_sessions LOGIN: sets FOUND to the addresses of the user's sessions, a line each. What the login node prints is
# data: no more of it is read than sessions take, and nothing reaches the terminal as it is.
ask_for_sessions() {
  local login=$1 asking began=$SECONDS status=0 trouble="" folder said
  folder=$(mktemp -d)
  # the first line is for another shell that a startup file has put in bash's place (exec zsh)
  (cd -- "$FOLDER" && at_most_a_megabyte && exec ssh -F lib/laptop/ssh_config "$login" /bin/bash --noprofile --norc -p -s) \
    < <(echo 'exec /bin/bash --noprofile --norc -p -s' \
      && cat "$FOLDER/lib/cluster/clean.sh" "$FOLDER/lib/cluster/places.sh" "$FOLDER/lib/login_node/list_sessions.sh") \
    >"$folder/answer" 2>"$folder/words" &
  asking=$!
  # in the background it would not hear of a Ctrl-C
  trap 'kill "$asking" 2>/dev/null; rm -rf -- "$folder"' EXIT
  trap 'exit 130' INT TERM HUP
  said=0
  while [[ ! $trouble ]] && kill -0 "$asking" 2>/dev/null; do
    sleep 0.1
    show_more "$folder/words"
    if (($(wc -c <"$folder/answer") + said >= 65536)); then trouble=garbled; fi
    if ((SECONDS - began >= LOGIN + LOGIN_SHELL)); then trouble=no_answer; fi
  done
  [[ ! $trouble ]] || kill "$asking" 2>/dev/null || true
  wait "$asking" 2>/dev/null || status=$?
  trap - EXIT INT TERM HUP
  [[ $trouble ]] || show_more "$folder/words"
  FOUND=$(head -c 65536 "$folder/answer" | cat -v)
  rm -rf -- "$folder"
  # it may all have come at once
  ((${#FOUND} < 65536)) || trouble=garbled
  said=${FOUND:0:200}
  [[ ! $trouble ]] || die "$trouble" login="$login" words="${said//$'\n'/ }"
  ((status == 0)) || die no_connection login="$login"
  FOUND=$(sed -n 's/^passerelle-session //p' <<<"$FOUND")
}

# show_more FILE: shows what has come since the last time, 64 kB at most, control characters spelt out; counts it in said
show_more() {
  local size
  size=$(wc -c <"$1")
  ((size > said && said < 65536)) || return 0
  tail -c "+$((said + 1))" "$1" | head -c "$((size - said < 65536 ? size - said : 65536))" | cat -v >&2 || true
  said=$size
  # what follows begins a line of its own
  ((said < 65536)) || echo >&2
}

# listens HOST PORT: does anything?
listens() {
  (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null
}

# choose_port WANTED: sets LOCAL_PORT to the first port of this computer from there on where nothing listens
choose_port() {
  local last=$(($1 + LOCAL_PORTS - 1))
  ((last <= 65535)) || last=65535
  LOCAL_PORT=$1
  while listens 127.0.0.1 "$LOCAL_PORT"; do
    ((LOCAL_PORT < last)) || die no_free_port first="$1" last="$last"
    LOCAL_PORT=$((LOCAL_PORT + 1))
  done
  ((LOCAL_PORT == $1)) || say other_port port="$LOCAL_PORT" taken="$1" >&2
}

# answers HOST PORT: does a Jupyter server answer there? (an open port proves nothing)
answers() {
  # in a process of its own: who writes to a connection that has been closed again is killed (SIGPIPE)
  (
    exec 3<>"/dev/tcp/$1/$2" && printf 'GET /api HTTP/1.0\r\n\r\n' >&3 \
      && IFS= read -r -t "$SERVER_ANSWER" line <&3 && [[ $line == HTTP/*" 200 "* ]]
  ) 2>/dev/null
}

# is_refused SAID: is that what ssh says (in a folder) where the login node does not let it lead anywhere?
is_refused() {
  grep -q -s -a 'open failed: administratively prohibited' "$1/words"
}

# last_words SAID: waits until all is shown that an ssh has said that has ended: it comes before ours. What that ssh has
# started may keep its standard error open.
last_words() {
  local tries=0
  while [[ -e $1/more ]] && ((tries < 10 * SSH_ANSWER)); do
    sleep 0.1
    tries=$((tries + 1))
  done
}

# say_when_it_answers HOST PORT URL [TUNNEL SAID]: in the background; a tunnel (its process, and a folder of what it says) to
# nothing is closed after a while
say_when_it_answers() {
  local tries=0
  until answers "$1" "$2"; do
    kill -0 "${4:-$$}" 2>/dev/null || return 0
    # counted from when the tunnel is there: before, somebody may be typing a password
    if [[ ${4:-} ]] && listens "$1" "$2"; then tries=$((tries + 1)); fi
    if ((tries > 5)) || { ((tries > 1)) && is_refused "$5"; }; then
      kill "$4"
      last_words "$5"
      if is_refused "$5"; then
        warn forwarding_refused login="$(login_name)" node="$NODE" port="$PORT"
      else
        warn nothing_answers node="$NODE" port="$PORT"
      fi
      return 1
    fi
    sleep "$((tries + 1))"
  done
  say tunnel_works url="$3"
}
