# shellcheck shell=bash
# The life of one session on the compute node, for jupyterlab.sh.

# how long before the time limit the session says so, in seconds
WARNING_SECONDS=300

# private_folders: Jupyter's sockets, tokens and databases off the network disk, and nothing in a read-only home
private_folders() {
  local private=${SLURM_TMPDIR:-} writable
  if [[ $PRINT ]]; then
    # shellcheck disable=SC2016 # the job will know it
    private='$SLURM_TMPDIR'
  elif [[ ! $private ]]; then
    private=$(mktemp -d)
    MADE_FOLDER=$private
  fi
  run export JUPYTER_RUNTIME_DIR="$private/jupyter"
  [[ $FACT_home_on_compute == read_only ]] || return 0
  writable=$(scratch_folder)/.passerelle
  [[ $PRINT ]] || mkdir -p "$writable"
  run export JUPYTER_CONFIG_DIR="$writable/config" JUPYTER_DATA_DIR="$writable/data" IPYTHONDIR="$writable/ipython" \
    XDG_CACHE_HOME="$writable/cache" JUPYTER_PATH="$HOME/.local/share/jupyter${JUPYTER_PATH:+:$JUPYTER_PATH}"
}

# sessions_folder: where a session leaves its address for tunnel_ssh.sh, readable by its owner alone
sessions_folder() {
  if [[ $FACT_home_on_compute == read_only ]]; then
    printf '%s\n' "$(scratch_folder)/.passerelle/sessions"
  else
    printf '%s\n' "$HOME/.local/state/passerelle/sessions"
  fi
}

# session_record: this session's file there; its name is the job's number
session_record() {
  printf '%s\n' "$(sessions_folder)/$SLURM_JOB_ID"
}

# announce_session SERVER ADDRESS NODE: waits until the server (a process) answers at ADDRESS, then says how to reach it
announce_session() {
  local server=$1 address=$2 node=$3 record=$JUPYTER_RUNTIME_DIR/jpserver-$1.json port path url
  until [[ -s $record ]] && port=$(value_in "$record" port) && answers "$address" "$port"; do
    kill -0 "$server" 2>/dev/null || return 0
    sleep 0.1
  done
  path="lab?token=$(value_in "$record" token)"
  url=http://$node:$port/$path
  say ready url="$url"
  if [[ $FACT_scheduler == none ]]; then
    say stop_local
    return
  fi
  mkdir -p "$(sessions_folder)"
  forget_ended_sessions
  printf '%s\n' "$url" >"$(session_record)"
  : "${SETTING_user:=$USER}"
  say "reach_$FACT_reach" url="$url" login="$(login_name)" node="$node" port="$port" path="$path" user="$SETTING_user"
  say stop_slurm
  watch_the_time
}

# forget_ended_sessions: removes the records of sessions that were killed and could not do it themselves
forget_ended_sessions() {
  local running record
  running=$(squeue --me --noheader --format=%i) || return 0
  for record in "$(sessions_folder)"/*; do
    grep -qx "${record##*/}" <<<"$running" || rm -f "$record"
  done
}

# value_in FILE NAME: prints the value of a name in Jupyter's one-level JSON
value_in() {
  sed -n 's/^ *"'"$2"'": "\{0,1\}\([^",]*\)"\{0,1\},\{0,1\}$/\1/p' "$1"
}

# watch_the_time: sends jupyterlab.sh its warning some minutes before Slurm ends the job
watch_the_time() {
  local end left
  end=${SLURM_JOB_END_TIME:-$(date -d "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e)" +%s)}
  left=$((end - $(date +%s) - WARNING_SECONDS))
  # it must not outlive the server, nor hold srun's output open: the job would go on without one
  sleep "$((left > 0 ? left : 0))" >/dev/null 2>&1 &
  trap 'kill "$!"' TERM
  wait "$!" && kill -USR1 $$
}

# warn_of_time_limit: says that the end is near, and saves what a server can save
warn_of_time_limit() {
  say time_is_short minutes="$((WARNING_SECONDS / 60))"
  python "$FOLDER/lib/passerelle/checkpoints.py" "$JUPYTER_RUNTIME_DIR/jpserver-$server.json" || warn no_checkpoints
}

# end_session: leaves nothing behind but what the user saved
end_session() {
  kill "$background" 2>/dev/null || true
  [[ $FACT_scheduler == none ]] || rm -f "$(session_record)"
  if [[ ${MADE_FOLDER:-} ]]; then rm -rf "$MADE_FOLDER"; fi
  say ended
}
