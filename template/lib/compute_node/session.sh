# shellcheck shell=bash
# The life of one session on the compute node, for jupyterlab.sh.

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

# announce_session SERVER ADDRESS NODE: waits until the server (a process) answers at ADDRESS, then says how to reach it
announce_session() {
  local server=$1 address=$2 node=$3 status=$JUPYTER_RUNTIME_DIR/jpserver-$1.json port token path url
  until [[ -s $status ]] && port=$(value_in "$status" port) && token=$(value_in "$status" token) \
    && leave_proof "$token" && shows_proof "$address" "$port"; do
    kill -0 "$server" 2>/dev/null || return 0
    sleep 0.05
  done
  path="lab?token=$token"
  url=http://$node:$port/$path
  [[ $FACT_scheduler == none ]] || leave_record "$url"
  say ready url="$url"
  if [[ $FACT_scheduler == none ]]; then
    say stop_local
    return
  fi
  : "${SETTING_user:=$USER}"
  say "reach_$FACT_reach" url="$url" login="$(login_name)" node="$node" port="$port" path="$path" user="$SETTING_user"
  # in a job that salloc started, there is somebody to press it
  [[ ${SLURM_JOB_NAME:-} == "$SESSION_PREFIX"* ]] || say stop_slurm
  forget_ended_sessions
  watch_the_time
}

# leave_proof TOKEN: what the server shows to anybody, and what only somebody who knows the token can have computed: so
# lab sees that it talks to this server before it sends the token (lib/compute_node/jupyter/jupyter_server_config.py)
leave_proof() {
  [[ ${PROOF_OF-} != "of $1" ]] || return 0
  PROOF_OF="of $1"
  PROOF=$(printf '%s' "$1" | sha256sum)
  PROOF=${PROOF%% *}
  mkdir -p "$JUPYTER_RUNTIME_DIR/proof"
  printf '%s\n' "$PROOF" >"$JUPYTER_RUNTIME_DIR/proof/passerelle"
}

# shows_proof ADDRESS PORT: does this server answer there? (it may have lost the port to another one)
shows_proof() {
  # in a process of its own: who writes to a connection that has been closed again is killed (SIGPIPE)
  (
    exec 3<>"/dev/tcp/$1/$2" && printf 'GET /static/passerelle HTTP/1.0\r\n\r\n' >&3 \
      && while IFS= read -r -t "$SERVER_ANSWER" line <&3 && [[ $line != "$PROOF" ]]; do :; done && [[ $line == "$PROOF" ]]
  ) 2>/dev/null
}

# leave_record URL: the session's address and, in a second line, when Slurm will end the job (seconds since 1970)
leave_record() {
  local record
  record=$(state_folder)/sessions/$SLURM_JOB_ID
  mkdir -p "${record%/*}"
  # in one step: somebody may be waiting for it
  printf '%s\n%s\n' "$1" "$(job_end)" >"${record%/*}/.$SLURM_JOB_ID"
  mv "${record%/*}/.$SLURM_JOB_ID" "$record"
}

# job_end: prints when Slurm will end this job
job_end() {
  local end=${SLURM_JOB_END_TIME:-}
  [[ $end ]] || end=$(SLURM_TIME_FORMAT=%s squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e) || end=""
  printf '%s\n' "$end"
}

# forget_ended_sessions: removes the records of sessions that were killed and could not do it themselves
forget_ended_sessions() {
  local running record
  running=$(squeue --me --noheader --format=%i) || return 0
  for record in "$(state_folder)"/sessions/*; do
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
  end=$(job_end)
  [[ $end ]] || return 0
  left=$((end - $(date +%s) - TIME_LIMIT_WARNING))
  # it must not outlive the server, nor hold srun's output open: the job would go on without one
  sleep "$((left > 0 ? left : 0))" >/dev/null 2>&1 &
  trap 'kill "$!"' TERM
  wait "$!" && kill -USR1 $$
}

# warn_of_time_limit: says that the end is near, and saves what a server can save
warn_of_time_limit() {
  say time_is_short minutes="$((TIME_LIMIT_WARNING / 60))"
  python "$FOLDER/lib/compute_node/checkpoints.py" "$JUPYTER_RUNTIME_DIR/jpserver-$server.json" || warn no_checkpoints
}

# end_session: leaves nothing behind but what the user saved
end_session() {
  kill "$background" 2>/dev/null || true
  [[ $FACT_scheduler == none ]] || rm -f "$(state_folder)/sessions/$SLURM_JOB_ID"
  if [[ ${MADE_FOLDER:-} ]]; then rm -rf "$MADE_FOLDER"; fi
  say ended
}
