# shellcheck shell=bash
# The life of one session on the compute node, for jupyterlab.sh.

# of lib/, what the server looks for again and again
SERVER_FILES=(both/limits.sh compute_node/{guard,idle,jupyter-lab,notice,proof}.py
  compute_node/jupyter/{jupyter_server_config.py,labconfig/default_setting_overrides.json}
  compute_node/jupyter/labextensions/passerelle-notice/{package.json,static/notice.js})

# enter_environment: sets environment, where it is for this session, OURS, where lib/ is, and activates it; from the node's
# own disk where it is to be there
enter_environment() {
  local file
  environment=$(environment_path) OURS=$FOLDER/lib
  if [[ $PRINT ]]; then
    show_activation "$environment"
    ! on_nodes || environment="\$VIRTUAL_ENV"
    return
  fi
  if on_nodes; then
    environment=$(unpack_environment "$environment")
  else
    # the link may lead to another build before this session ends
    environment=$(cd -P -- "$environment" && pwd)
  fi
  if [[ $environment == "${SLURM_TMPDIR:--}"/* ]]; then
    say on_node
    OURS=$environment/passerelle
    for file in "${SERVER_FILES[@]}"; do
      mkdir -p "$OURS/${file%/*}"
      cat "$FOLDER/lib/$file" >"$OURS/$file"
    done
  fi
  # shellcheck source=/dev/null
  source "$environment/bin/activate"
}

# private_folders: Jupyter's sockets, tokens and databases off the network disk, and nothing in a read-only home; where
# Jupyter finds settings and kernels
private_folders() {
  local private=${SLURM_TMPDIR:-} writable paths
  if [[ $PRINT ]]; then
    # shellcheck disable=SC2016 # the job will know it
    private='$SLURM_TMPDIR'
  elif [[ ! $private ]]; then
    # TMPDIR may be a folder of the login node
    private=$(mktemp -d 2>/dev/null || mktemp -d /tmp/passerelle-XXXXXXXX)
    MADE_FOLDER=$private
  fi
  run export JUPYTER_RUNTIME_DIR="$private/jupyter"
  [[ $PRINT ]] || need_folder "$JUPYTER_RUNTIME_DIR"
  # where language servers are given what is being typed; a folder of the home otherwise
  run export JP_LSP_VIRTUAL_DIR="$private/virtual_documents"
  export JUPYTER_CONFIG_PATH=$OURS/compute_node/jupyter${JUPYTER_CONFIG_PATH:+:$JUPYTER_CONFIG_PATH}
  # the modules' kernels, the environment's, and then people's own: an old python3 of theirs would hide the one that was
  # built for this session
  paths=${JUPYTER_PATH:+$JUPYTER_PATH:}$environment/share/jupyter
  if [[ $FACT_home_on_compute == read_only ]]; then
    writable=$(scratch_folder)/.passerelle
    [[ $PRINT ]] || need_folder "$writable"
    run export JUPYTER_CONFIG_DIR="$writable/config" JUPYTER_DATA_DIR="$writable/data" IPYTHONDIR="$writable/ipython" \
      XDG_CACHE_HOME="$writable/cache"
    paths+=:$HOME/.local/share/jupyter
    # people's own settings are read there, too
    JUPYTER_CONFIG_PATH+=:$HOME/.jupyter
  else
    # where it is anyway; IPython does not look for it then
    export IPYTHONDIR=${IPYTHONDIR:-$HOME/.ipython}
  fi
  run export JUPYTER_PATH="$paths"
}

# not_through_proxies: what stays on the node, or goes to another one, needs no proxy that the cluster has set, nor can one
# lead there (Vulcan: http://squid:3128, github.com/ualberta-rcg/vulcan-ood, 2026-07-27)
not_through_proxies() {
  local near=localhost,127.0.0.1,::1 set=${http_proxy:-}${https_proxy:-}${all_proxy:-}${HTTP_PROXY:-}${HTTPS_PROXY:-}${ALL_PROXY:-} before
  [[ $set ]] || return 0
  if [[ $NODE == *.* && $NODE != 127.* ]]; then near+=,${NODE%%.*},.${NODE#*.}; fi
  # programs read one or the other
  before=${no_proxy:-${NO_PROXY:-}}
  export no_proxy="${before:+$before,}$near" NO_PROXY="${before:+$before,}$near"
}

# as_many_threads_as_cores: libraries take all cores of the node otherwise, where the job has some of them; who has chosen a
# number keeps it
as_many_threads_as_cores() {
  local cores=${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-}}
  if [[ $cores && ! ${OMP_NUM_THREADS:-} ]]; then export OMP_NUM_THREADS=$cores; fi
}

# need_folder PATH: makes it; ends the script in a line when nothing can be written there, be it for want of space
need_folder() {
  local words
  words=$({ mkdir -p "$1" && echo >"$1/.passerelle" && rm "$1/.passerelle"; } 2>&1) || die not_written path="$1" words="${words##*: }"
}

# session_name: prints what lab calls this session: the name that its job has or, started by hand, the job's number
session_name() {
  local name=${SLURM_JOB_NAME:-}
  if [[ $name == "$SESSION_PREFIX"* ]]; then printf '%s\n' "${name#"$SESSION_PREFIX"}"; else printf '%s\n' "${SLURM_JOB_ID:-}"; fi
}

# choose_idleness: sets IDLE, after how many minutes in which nothing is done the session ends, 0 for never; and tells the
# server, in a file, these, when it is to warn, and in what words (idle.py)
choose_idleness() {
  IDLE=${SETTING_idle_minutes:-$RULE_idle_minutes_example}
  # on a computer without Slurm, nobody waits for the node
  [[ $FACT_scheduler != none ]] || IDLE=0
  ((IDLE > 0)) || return 0
  local before=$((IDLE / 6))
  before=$((before < 1 ? 1 : before > IDLE_WARNING / 60 ? IDLE_WARNING / 60 : before))
  {
    printf '%s\n' "$IDLE" "$before"
    message notice_idle minutes="$((IDLE - before))" left="$before"
    message notice_idle_end minutes="$IDLE"
  } >"$JUPYTER_RUNTIME_DIR/passerelle.idle"
}

# choose_start: sets START, where the page begins: this folder, whose new notebooks sync and submit see; and ROOT, the
# server's folder, from where the home can be reached
choose_start() {
  START=$FOLDER ROOT=$HOME
  if [[ ! -w $FOLDER && ! $PRINT ]]; then
    [[ $FACT_home_on_compute == writable ]] || START=$(scratch_folder)
    [[ $START != "$FOLDER" ]] || START=$HOME
    warn starts_elsewhere folder="$START"
  fi
  [[ $START/ == "$HOME"/* ]] || ROOT=/
  # Jupyter shows nothing in a hidden folder, unless that is its own
  [[ /${START#"$ROOT"} != */.* ]] || ROOT=$START
  # it looks for much where it is run from
  [[ $PRINT || $OURS != "$FOLDER/lib" ]] || cd -- "$START" || exit
  # folders of one home would open each other's tabs, and so would sessions of one folder; the next one of that name opens
  # what was open in this one (open_session in requests/sessions.sh looks there)
  local name=$SETTING_project_name opened=$FOLDER/$WORKSPACES
  [[ ${SLURM_JOB_NAME:-} != "$SESSION_PREFIX"* ]] || name=$(session_name)
  [[ $PRINT || -w $FOLDER ]] || opened=$(state_folder)/workspaces/$SETTING_project_name
  [[ ${JUPYTERLAB_WORKSPACES_DIR:-} ]] || run export JUPYTERLAB_WORKSPACES_DIR="$opened/$name"
}

# choose_address: sets ADDRESS, where the server listens, and NODE, by what it is reached. The node's name is asked for
# only where somebody needs it: not every computer knows its own.
choose_address() {
  ADDRESS=127.0.0.1 NODE=127.0.0.1
  if [[ $PRINT ]]; then
    # shellcheck disable=SC2016 # the node will know it
    NODE='$(hostname -f)'
  elif [[ $FACT_reach != local ]]; then
    NODE=$(hostname -f 2>/dev/null) || die no_node_name node="$(uname -n)"
  fi
  # where only ssh passes between the nodes, nobody else need reach the port either
  [[ $FACT_reach != node ]] || ADDRESS=$NODE
}

# announce_session SERVER: waits until the server (a process) says that it answers, then says how to reach it; ends the script
# when it does not, or when nobody could find the session. Sets END, when Slurm will end the job.
announce_session() {
  local ready=$JUPYTER_RUNTIME_DIR/passerelle.ready port token path url words
  until [[ -s $ready ]]; do
    if ! kill -0 "$1" 2>/dev/null; then
      [[ ! $stopped ]] || return 0
      tell_notes
      [[ ! $FAILED ]] || exit 1
      # is anything missing of what it was started with?
      words=$("$VIRTUAL_ENV/bin/python" "$OURS/compute_node/jupyter-lab.py" --version 2>&1) \
        || die environment_broken path="$(environment_path)" words="${words##*$'\n'}"
      die server_ended
    fi
    ((SECONDS < SERVER_START)) || die server_slow minutes="$((SERVER_START / 60))"
    # Ctrl-C ends it, too
    sleep 0.05 || true
  done
  tell_notes
  { read -r port && read -r token; } <"$ready"
  path="lab?token=$token"
  url=http://$NODE:$port/$path
  if [[ $FACT_scheduler != none ]]; then
    END=$(job_end)
    leave_record "$url"
  fi
  say ready url="$url"
  if [[ $FACT_scheduler == none ]]; then
    say stop_local
    return
  fi
  : "${SETTING_user:=$USER}"
  say "reach_$FACT_reach" url="$url" login="$(login_name)" node="$NODE" port="$port" path="$path" user="$SETTING_user"
  # unless the time limit comes before
  if ((IDLE)) && [[ ! $END || $((END - $(date +%s))) -gt $((IDLE * 60)) ]]; then say ends_when_idle minutes="$IDLE"; fi
  # in a job that salloc started, there is somebody to press it
  [[ ${SLURM_JOB_NAME:-} == "$SESSION_PREFIX"* ]] || say stop_slurm
  forget_ended_sessions
}

# tell_notes: says what jupyter-lab.py has to say, of people's own settings; sets FAILED when it is why there is no server
tell_notes() {
  local words
  FAILED=""
  [[ -e $JUPYTER_RUNTIME_DIR/passerelle.notes ]] || return 0
  while IFS=$'\t' read -r -a words; do
    warn "${words[@]}"
    [[ ${words[0]} != not_started && ${words[0]} != unsafe_server ]] || FAILED=yes
  done <"$JUPYTER_RUNTIME_DIR/passerelle.notes"
}

# leave_record URL: the session's address and, in a second line, when Slurm will end the job (seconds since 1970)
leave_record() {
  local folder words ended
  folder=$(state_folder)/sessions
  # in one step: somebody may be waiting for it (mkdir -p would ask for each folder above it)
  words=$({ { [[ -d $folder ]] || mkdir "$folder" 2>/dev/null || mkdir -p "$folder"; } && printf '%s\n%s\n' "$1" "$END" >"$folder/.$SLURM_JOB_ID" \
    && mv "$folder/.$SLURM_JOB_ID" "$folder/$SLURM_JOB_ID"; } 2>&1) \
    || die no_record path="$folder" words="${words##*: }"
  # how the last one of that name has ended is of no interest any more
  ended=$(state_folder)/idle/$(session_name)
  [[ ! -e $ended ]] || rm -f "$ended"
}

# leave_idle: leaves word, by the session's name, that it has ended because nothing was done in it: its job, the minutes, and
# the folder (requests/states.sh and requests/list.sh)
leave_idle() {
  local folder
  folder=$(state_folder)/idle
  { mkdir -p "$folder" && printf '%s %s %s\n' "$SLURM_JOB_ID" "$IDLE" "$FOLDER" >"$folder/$(session_name)" \
    && find "$folder" -type f -mtime "+$LOG_DAYS" -delete; } 2>/dev/null || true
}

# job_end: prints when Slurm will end this job, nothing where it does not say
job_end() {
  local end=${SLURM_JOB_END_TIME:-}
  [[ $end ]] || end=$(SLURM_TIME_FORMAT=%s timeout "$SLURM_ANSWER" squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e) || end=""
  [[ $end =~ ^[0-9]+$ ]] || end=""
  printf '%s\n' "$end"
}

# forget_ended_sessions: removes the records of sessions that were killed and could not do it themselves, and Dask's keys
forget_ended_sessions() {
  local running record
  running=$(timeout "$SLURM_ANSWER" squeue --me --noheader --format=%i) || return 0
  for record in "$(state_folder)"/{sessions,dask}/*; do
    grep -qx "${record##*/}" <<<"$running" || rm -rf "$record"
  done
}

# watch_the_time: sends jupyterlab.sh its warning some minutes before Slurm ends the job
watch_the_time() {
  local left
  [[ ${END:-} ]] || return 0
  left=$((END - $(date +%s) - TIME_LIMIT_WARNING))
  # it must not outlive the server, nor hold srun's output open: the job would go on without one
  sleep "$((left > 0 ? left : 0))" >/dev/null 2>&1 &
  trap 'kill "$!" 2>/dev/null || true' TERM
  wait "$!" && kill -USR1 $$
}

# warn_of_time_limit: says that the end is near, and saves what a server can save
warn_of_time_limit() {
  local words
  say time_is_short minutes="$((TIME_LIMIT_WARNING / 60))"
  words=$(message notice_time_is_short minutes="$((TIME_LIMIT_WARNING / 60))")
  python "$FOLDER/lib/compute_node/checkpoints.py" "$JUPYTER_RUNTIME_DIR/jpserver-$server.json" "$words" || warn no_checkpoints
}

# end_session: leaves nothing behind but what the user saved
end_session() {
  trap '' INT TERM HUP USR1
  if [[ $server ]] && kill -TERM "$server" 2>/dev/null; then
    # what has never answered may not hear that either
    (sleep "$SERVER_STOP" && kill -KILL "$server") >/dev/null 2>&1 &
    wait "$server" || true
    kill "$!" 2>/dev/null || true
  fi
  if [[ $watcher ]]; then kill "$watcher" 2>/dev/null || true; fi
  local command
  for command in ${AT_END[@]+"${AT_END[@]}"}; do "$command" || true; done
  local was_idle=""
  if [[ -s ${JUPYTER_RUNTIME_DIR:-}/passerelle.was_idle ]]; then
    was_idle=yes
    # who sees that the record is gone asks why
    leave_idle
  fi
  [[ $FACT_scheduler == none ]] || rm -f "$(state_folder)/sessions/$SLURM_JOB_ID"
  if [[ ${MADE_FOLDER:-} ]]; then rm -rf "$MADE_FOLDER"; fi
  if [[ $was_idle ]]; then say ended_idle minutes="$IDLE"; elif [[ ! ${PASSERELLE_SALLOC:-} ]]; then say ended; fi
}
