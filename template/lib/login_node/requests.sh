# shellcheck shell=bash
# What lab can ask of the login node: each answer_NAME tells its answers by attend.sh, whose other half this is.

# Slurm's times in seconds since 1970: the laptop may be in another time zone
export SLURM_TIME_FORMAT=%s

# now: prints the seconds since 1970 (bash 4.4 has no EPOCHSECONDS)
now() { printf '%(%s)T\n' -1; }

# --- the folder -------------------------------------------------------------------------------------------------------

# find_folder NAME: sets FOLDER (NAME is a path, when lab runs here itself), and STATE: there, missing, or other where
# something else has that name; a folder that is still on its way is ours
find_folder() {
  [[ $1 == /* ]] && FOLDER=$1 || FOLDER=~/$1
  STATE=there
  if [[ ! -e $FOLDER ]]; then
    STATE=missing
  elif [[ ! -d $FOLDER/.lab/incoming && (! -e $FOLDER/settings.yml || ! -d $FOLDER/lib) ]]; then
    STATE=other
  fi
}

# begin_in_folder COMMAND NAME SUM WORD...: where the folder here is the one that lab has; what it is, is told
begin_in_folder() {
  find_folder "$2"
  if [[ $STATE == there ]]; then
    [[ $(sum_of_folder) == "$3" ]] && STATE=same || STATE=differs
  fi
  tell folder "$STATE"
  [[ $STATE != same ]] || begin "$1" "${@:4}"
}

# sum_of_folder: one sum over what a session depends on (lib/laptop/lab/paths.py computes the same)
sum_of_folder() {
  cd -- "$FOLDER" && find ./settings.yml ./requirements.txt ./lab ./*.sh ./lib ./plugins "${LEFT_OUT[@]}" -prune -o -type f -print0 2>/dev/null \
    | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
}

# answer_files NAME: tells all files of the folder as type:size:time:mode and path, and this clock. In a path, a
# backslash and what ends a line or a word are written as "printf %b" reads them.
answer_files() {
  find_folder "$1"
  # as tell does
  echo
  [[ $STATE != there ]] || (cd -- "$FOLDER" \
    && find . "${LEFT_OUT[@]}" -prune -o ! -type d -printf '%y:%s:%T@:%m/%P\0' 2>/dev/null \
    | LC_ALL=C sed -z 's/\\/\\\\/g; s/\n/\\n/g; s/\r/\\r/g; s/\t/\\t/g; s/\//\t/; s/^/passerelle\t'"$NUMBER"'\tfile\t/' \
      | tr '\0' '\n')
  tell listed "$STATE" "$(now)"
}

# answer_sums NAME PATH...: tells the sum of each file that can be read, by its place in the request
answer_sums() { begin tell_sums "$@"; }
tell_sums() {
  local path line="" paths=() number=0
  find_folder "$1"
  for path in "${@:2}"; do
    printf -v path %b "$path"
    paths+=("$FOLDER/$path")
  done
  # the sums come in the order of the paths, without those that cannot be read
  {
    IFS= read -r -d '' line
    for path in ${paths[@]+"${paths[@]}"}; do
      if [[ ${line:66} == "$path" ]]; then
        tell sum "$number" "${line:0:64}"
        IFS= read -r -d '' line || line=""
      fi
      number=$((number + 1))
    done
  } < <(printf '%s\0' ${paths[@]+"${paths[@]}"} | xargs -0 sha256sum --zero -- 2>/dev/null)
  tell summed
}

# answer_prepare NAME: makes the folder and the place where what is sent arrives
answer_prepare() {
  find_folder "$1"
  forget_old
  if command -v rsync >/dev/null; then
    (umask 077 && mkdir -p -- "$FOLDER/.lab/incoming") && tell prepared yes && return
    tell prepared no
  else
    tell prepared no_rsync
  fi
}

# answer_aside NAME PATH...: takes scripts out of the way that lab's folder has no more; nothing is lost
answer_aside() {
  local path removed
  find_folder "$1"
  forget_old
  printf -v removed '%s/.lab/removed/%(%Y%m%d-%H%M%S)T' "$FOLDER" -1
  for path in "${@:2}"; do
    printf -v path %b "$path"
    mkdir -p -- "$(dirname -- "$removed/$path")" && mv -f -T -- "$FOLDER/$path" "$removed/$path"
  done
  tell aside
}

# forget_old: removes what was replaced or put aside long ago, in the background: it may be much
forget_old() {
  find "$FOLDER/.lab/replaced" "$FOLDER/.lab/removed" -mindepth 1 -maxdepth 1 -type d -mtime "+$REPLACED_DAYS" \
    -name '[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]-[0-9][0-9][0-9][0-9][0-9][0-9]' -exec rm -rf -- {} + \
    </dev/null >/dev/null 2>&1 8>&- &
}

# --- sessions ---------------------------------------------------------------------------------------------------------

# answer_open FOLDER SUM SESSION OPTION...: finds the session of that name, or submits one
answer_open() { begin_in_folder open_session "$@"; }
open_session() {
  local name=$1 job answer TURN lock=$HOME/$STATE_IN_HOME/lock
  shift
  # two labs at once make one session
  (umask 077 && mkdir -p "${lock%/*}" && : >>"$lock")
  take_turn "$lock"
  if ! job=$(job_called "$name"); then
    : # that is told
  elif [[ $job ]] && ! understood "$name" "$@"; then
    tell failed submit_session.sh
  elif [[ $job ]]; then
    # a word for the user alone: where it cannot be had, there is none
    tell changed "$(timeout --kill-after="$SSH_ANSWER" "$SLURM_ANSWER" "$BASH" -p "$FOLDER/lib/login_node/changed.sh" "$job" 2>/dev/null)"
    tell found "$job"
  else
    # what the last one had open, the page opens again (choose_start in session.sh)
    [[ ! $(compgen -G "$FOLDER/$WORKSPACES/$name/*") ]] || tell again
    if answer=$(PASSERELLE_REQUEST=$NUMBER "$FOLDER/submit_session.sh" --set-up --name="$name" "$@" 7>&-) && job=$(job_number "$answer"); then
      tell submitted "$job"
    else
      tell failed submit_session.sh
    fi
  fi
  [[ ! $TURN ]] || rm -f -- "$TURN"
}

# understood SESSION OPTION...: would a session's job be submitted with these options, as far as they can be read? Else what is
# wrong is shown. Slurm is asked for nothing: sbatch ends with its help once it has read them.
understood() {
  local name=$1
  shift
  (($# == 0)) || { "$FOLDER/submit_session.sh" --print --name="$name" "$@" >/dev/null && sbatch "$@" --help >/dev/null; } 7>&-
}

# take_turn FILE: waits until nobody else holds it, but not longer than a submission may take. The kernel takes a lock from
# a holder that has ended. Where there is no flock, or the disk has no locks, a link that names the holder stands for
# it, which is set aside when there is no such process; of another login node's, only time tells.
take_turn() {
  local holder status=0 none=0 me="$HOSTNAME $BASHPID" end=$((SECONDS + SUBMISSION))
  TURN=""
  exec 7>>"$1"
  flock --nonblock 7 2>/dev/null || status=$?
  if ((status == 1)); then
    # its holder may be building an environment
    tell turn another
    flock --wait "$SUBMISSION" 7 2>/dev/null || true
    tell turn ours
  fi
  ((status > 1)) || return 0
  TURN=$1.held
  until ln -s -- "$me" "$TURN" 2>/dev/null; do
    # gone again; or nothing can be written here, which the submission will say
    holder=$(readlink -- "$TURN") || none=$((none + 1))
    ((none < 10)) || return 0
    if ((SECONDS >= end)) || { [[ $holder == "$HOSTNAME "* ]] && ! kill -0 "${holder##* }" 2>/dev/null; }; then
      # all who see that come here, but one at a time takes it away, and only from that holder: another may have it by now
      if mkdir -- "$TURN.aside" 2>/dev/null; then
        [[ $(readlink -- "$TURN") != "$holder" ]] || rm -f -- "$TURN"
        rmdir -- "$TURN.aside"
        continue
      elif ((SECONDS >= end)); then
        # who made it was killed
        rmdir -- "$TURN.aside" 2>/dev/null
      fi
    fi
    sleep 0.2
  done
}

# answer_withdraw SESSION: ends what answer_open has begun; tells the job that there is nevertheless
answer_withdraw() {
  local job
  if [[ $CHILD ]]; then
    kill -TERM -- "-$CHILD" 2>/dev/null
    wait "$CHILD" 2>/dev/null
    CHILD=""
  fi
  { job=$(job_called "$1") && tell withdrawn "$job"; } </dev/null &
}

# job_called NAME: prints the number of the job of that session, if there is one; false when Slurm does not say, which is
# told
job_called() {
  local job
  job=$(job_of "$1") || {
    tell trouble "$job" >&8
    return 1
  }
  printf '%s\n' "$job"
}

# answer_find NAME: tells the job of the session of that name; a session that was started by hand has its number
answer_find() {
  local job
  job=$(job_called "$1") || return
  record_of "$1"
  if [[ ! $job && $1 =~ ^[0-9]+$ && $RECORD ]]; then job=$1; fi
  tell found "$job"
}

# record_of JOB: sets RECORD to the path of its record
record_of() {
  find_state "sessions/$1"
  RECORD=${FOUND[0]:-}
}

# idle_reason JOB STATE REASON: prints Slurm's reason, or "idle MINUTES" for a session that ended because nothing was done in it
# for so long (leave_idle in session.sh)
idle_reason() {
  local words=""
  find_state 'idle/*'
  [[ $2 != COMPLETED ]] || ((${#FOUND[@]} == 0)) || words=$(grep -h -s -o -E "^$1 [0-9]{1,4} " "${FOUND[@]}" | head -n 1)
  words=${words% }
  if [[ $words ]]; then printf 'idle %s\n' "${words#* }"; else printf '%s\n' "$3"; fi
}

# answer_state JOB [forgotten]: one query; tells state, reason, (expected) start, node, and what Slurm wrote about its memory;
# the state of a job that Slurm does not know is "forgotten", where that is asked for
answer_state() {
  local answer state reason start node ended
  answer=$(slurm squeue --noheader --jobs="$1" --states=all --format='%T|%r|%S|%N' 2>&1)
  if [[ $answer == *"Invalid job id"* || ! $answer ]]; then
    # it ended longer ago than squeue remembers; just after submission this is empty, too, which means nothing
    state=$(accounted_state "$1")
    [[ ! ${state:=${2:-}} ]] || tell state "${state%% *}" "$(idle_reason "$1" "${state%% *}" "$state")" "" "" ""
  elif [[ $answer == *"|"*"|"* ]]; then
    IFS='|' read -r state reason start node <<<"$answer"
    if [[ $state == COMPLETING ]]; then
      # it is over, and how is known already, though its processes may take half a minute to end
      ended=$(accounted_state "$1")
      [[ ! $ended || $ended == RUNNING ]] || state=${ended%% *}
      [[ $reason != None || $state == COMPLETING ]] || reason=$ended
    fi
    tell state "$state" "$(idle_reason "$1" "$state" "$reason")" "$start" "$node" "$(memory_words "$1" "$state")"
  else
    tell trouble "$answer"
  fi
}

# accounted_state JOB: prints its state as Slurm's accounts have it, which may be "CANCELLED by 1001"
accounted_state() { slurm sacct --noheader --parsable2 --allocations --jobs="$1" --format=State 2>/dev/null; }

# answer_last NAME STATE,STATE...: tells the session of that name that ended last in one of these states, as squeue still
# knows it, or else Slurm's accounts, which hear of an end some time later: its job, state, all that they say of it, its
# end, and what Slurm wrote about its memory; a number is the job of one that was started by hand
answer_last() {
  local job state end select=--name=$SESSION_PREFIX$1
  [[ ! $1 =~ ^[0-9]+$ ]] || select=--jobs=$1
  IFS='|' read -r job state end <<<"$(slurm squeue --me --noheader "$select" --states="$2" --sort=-i --format='%i|%T|%e' 2>/dev/null)"
  # without states it would leave out what was never eligible; with states it wants both times
  [[ $job =~ ^[0-9]+$ ]] || IFS='|' read -r job state end <<<"$(slurm sacct --noheader --parsable2 --allocations "$select" --state="$2" \
    --starttime="now-${LOG_DAYS}days" --endtime=now+1minute --format=JobID,State,End 2>/dev/null | tail -n 1)"
  # nor one of an array, which is no session
  [[ $job =~ ^[0-9]+$ ]] || job="" state="" end=""
  tell last "$job" "${state%% *}" "$(idle_reason "$job" "${state%% *}" "$state")" "$end" "$([[ ! $job ]] || memory_words "$job" "${state%% *}")"
}

# memory_words JOB STATE: prints what Slurm wrote into a killed job's log about its memory; not every cluster has a state
# for that
memory_words() {
  [[ $2 == FAILED || $2 == CANCELLED || $2 == OUT_OF_MEMORY ]] || return 0
  find_state "logs/*-$1.log"
  ((${#FOUND[@]} == 0)) \
    || grep -a -h -m 1 -i -E '^slurmstepd.*(memory limit|oom|out of memory)' "${FOUND[@]}" | head -n 1
}

# answer_list FOLDER: tells every session that waits or runs, the folder's that ended lately because nothing was done in them,
# and its batch jobs, also those that ended lately: squeue, sstat and sacct once each
answer_list() {
  local jobs line job task state reason start end node given cores name running="" asked="" accounts="" live=" " tasks="" sweeps=()
  find_folder "$1"
  find_jobs
  jobs=$(slurm squeue --me --noheader --sort=i \
    --Format='ArrayJobID:|,State:|,Reason:|,StartTime:|,EndTime:|,NodeList:|,tres-alloc:|,NumCPUs:|,JobArrayID:|,Name:' 2>&1) || {
    tell trouble "$jobs"
    return
  }
  find_state 'sessions/*'
  # a name may have the bar in it that stands between the fields
  while IFS='|' read -r job state reason start end node given cores task name; do
    if [[ $job && ${NOTEBOOK[$job]:-} ]]; then
      # sacct hears a little later that a task has begun
      [[ $state != RUNNING && $state != PENDING ]] || tasks+="$task|$state"$'\n'
      # of an array's jobs, one for each state
      [[ $live != *" $job.$state "* ]] || continue
      live+="$job.$state "
      tell batch "$(now)" "$job" "$state" "$reason" "$start" "$end" "$node" "$given" "$cores" "${NOTEBOOK[$job]}"
    elif [[ $name == "$SESSION_PREFIX"* || ($job && " ${FOUND[*]##*/} " == *" $job "*) ]]; then
      live+="${name#"$SESSION_PREFIX"} "
      tell session "$(now)" "$job" "$state" "$reason" "$start" "$end" "$node" "$given" "$cores" "$name"
    else
      continue
    fi
    [[ $state != RUNNING ]] || running+=,$job
  done <<<"$jobs"
  find_state 'idle/*'
  for name in "${FOUND[@]}"; do
    end=$(find "$name" -mtime "-$ENDED_DAYS" -printf '%Ts')
    read -r job given line <"$name" || continue
    [[ ! $end || ! $line -ef $FOLDER || $live == *" ${name##*/} "* ]] || tell idle "$job" "${name##*/}" "$given" "$end"
  done
  [[ ! $running ]] || slurm sstat --noheader --parsable2 --allsteps --jobs="${running#,}" --format=JobID,AveRSS,AveCPU 2>/dev/null \
    | while IFS='|' read -r -a line; do tell usage "${line[@]}"; done
  # of what waits or runs, an array may have tasks that have ended
  for job in "${JOBS[@]}"; do [[ $live == *" $job."* && ${ROWS[$job]} == 0 ]] || asked+=,$job; done
  [[ ! $asked ]] || accounts=$(slurm sacct --noheader --parsable2 --allocations --jobs="${asked#,}" --format=JobID,State,ExitCode,End 2>/dev/null)
  while IFS='|' read -r job state given end; do
    [[ $live != *" $job."* ]] || continue
    [[ ! $end =~ ^[0-9]+$ ]] || ((end > $(now) - ENDED_DAYS * 86400)) || continue
    tell ended "$job" "${state%% *}" "$given" "$end" "${NOTEBOOK[$job]:-}"
    tell_progress "$job" over
  done < <(one_for_an_array <<<"$accounts" | tail -n "$ENDED_SHOWN")
  for job in "${JOBS[@]}"; do
    [[ $live != *" $job."* ]] || tell_progress "$job" live
  done
  ((${#sweeps[@]} == 0)) || timeout "$CHECK_STEP" python3 -I "$FOLDER/lib/cluster/sweep.py" "${sweeps[@]}" <<<"$accounts"$'\n'"$tasks" 2>/dev/null \
    | while IFS=$'\t' read -r job line; do
      IFS=$'\t' read -r -a lines <<<"$line"
      tell rows "$job" "${lines[@]:0:6}" "${RESULTS[$job]#"$FOLDER/"}/rows.csv" "${lines[6]:-}"
    done
  tell end
}

# one_for_an_array: of sacct's lines 8_0|STATE|CODE|END, one for each array: its last end, and a failure if there is one
one_for_an_array() {
  awk -F'|' -v OFS='|' 'NF { sub(/_.*/, "", $1); if (!($1 in line)) order[++count] = $1
    if (!($1 in line) || line[$1] ~ /^COMPLETED/) line[$1] = $2 OFS $3; if ($4 > end[$1]) end[$1] = $4 }
    END { for (i = 1; i <= count; i++) print order[i], line[order[i]], end[order[i]] }'
}

# tell_progress JOB live|over: tells how far a notebook that runs itself has come: its state, cell, cells, and why; those of
# tables it puts into sweeps, for sweep.py, which looks at all of them
tell_progress() {
  local results=${RESULTS[$1]:-} words
  [[ $results ]] || return 0
  if [[ ${ROWS[$1]} == 0 ]]; then
    IFS=$'\t' read -r -a words 2>/dev/null <"$results/state" || return 0
    tell cells "$1" "${words[@]:0:3}" "${words[4]:-}"
  else
    sweeps+=("$1" "${TASKS[$1]}" "$2" "$results")
  fi
}

# find_jobs: sets NOTEBOOK, OUTPUT, RESULTS, ROWS and TASKS, by their numbers, of the folder's newest batch jobs, as
# submit_notebook.sh has recorded them; JOBS are these numbers, the newest first
find_jobs() {
  local job lines
  declare -gA NOTEBOOK=() OUTPUT=() RESULTS=() ROWS=() TASKS=()
  JOBS=()
  while read -r job; do
    mapfile -t lines <"$FOLDER/.lab/jobs/$job"
    [[ ${lines[1]:-} ]] || continue
    JOBS+=("$job") NOTEBOOK[$job]=${lines[0]} OUTPUT[$job]=${lines[1]} RESULTS[$job]=${lines[2]:-} ROWS[$job]=${lines[3]:-0} TASKS[$job]=${lines[4]:-0}
  done < <(find "$FOLDER/.lab/jobs" -type f -user "$EUID" -printf '%f\n' 2>/dev/null | grep -x -E '[0-9]{1,12}' | sort -r -n | head -n "$JOBS_LOOKED_AT")
}

# answer_batch FOLDER NAME: tells the newest batch job of that notebook, or the one of that number; sets JOB_FOUND
answer_batch() {
  local job name
  JOB_FOUND=""
  printf -v name %b "$2"
  find_folder "$1"
  find_jobs
  for job in "${JOBS[@]}"; do
    if [[ $job == "$name" || ${NOTEBOOK[$job]} == "$name" ]]; then
      JOB_FOUND=$job
      break
    fi
  done
  tell batch_job "$JOB_FOUND" "${NOTEBOOK[${JOB_FOUND:-0}]:-}"
}

# answer_output FOLDER NAME [follow]: the same, and shows what it has printed
answer_output() {
  answer_batch "$1" "$2"
  find_output "$JOB_FOUND"
  if [[ ${3:-} ]]; then
    begin_to_follow find_output "$JOB_FOUND"
  elif [[ -r $LOG ]]; then
    begin show_logs "${LOGS[@]}"
    wait "$CHILD"
    tell logged "$JOB_FOUND"
  else
    tell logged ""
  fi
}

# find_output JOB: sets LOGS to the paths of what a batch job that find_jobs has found has printed, one for each task of an
# array, and LOG to the one that has been printed into last
find_output() {
  local output=${OUTPUT[${1:-0}]:-} file
  LOG="" LOGS=("$output")
  if [[ ${ROWS[${1:-0}]:-0} != 0 ]]; then LOGS=("${output%\**}"*"${output##*\*}"); fi
  for file in "${LOGS[@]}"; do
    if [[ -f $file && (! $LOG || $file -nt $LOG) ]]; then LOG=$file; fi
  done
}

# answer_stop JOB NAME: cancels that job, if it still is the session of that name
answer_stop() {
  local words
  words=$(slurm squeue --me --noheader --jobs="$1" --format=%j 2>&1) || {
    # it has forgotten a job that ended a while ago; any other trouble says nothing of the job
    [[ $words == *"Invalid job id"* ]] || {
      tell trouble "$words"
      return
    }
    words=""
  }
  if [[ ! $words || ($'\n'$words$'\n' != *$'\n'"$SESSION_PREFIX$2"$'\n'* && $1 != "$2") ]]; then
    tell stopped ""
  elif words=$(slurm scancel "$1" 2>&1); then
    # other labs ask Slurm now, and not only when it is time to (look in attend.sh)
    (umask 077 && mkdir -p "$HOME/$STATE_IN_HOME/stopped" && cd "$HOME/$STATE_IN_HOME/stopped" && : >"$1" && find . -type f -mtime +1 -delete)
    tell stopped "$1"
  else
    tell trouble "$words"
  fi
}

# answer_record JOB: tells the address of a session, with its token; when Slurm will end the job; and this clock, by
# which that is meant
answer_record() {
  local lines=()
  record_of "$1"
  if [[ $RECORD ]]; then mapfile -t lines <"$RECORD"; fi
  tell "${2:-record}" "${lines[0]:-}" "${lines[1]:-}" "$(now)"
}

# answer_log NAME JOB [follow]: shows what that job has printed, without its token; JOB is empty for the newest log of that
# name
answer_log() {
  local log newest=""
  if [[ $2 ]]; then
    find_log "$2"
    newest=$LOG
  else
    find_state "logs/$1-*.log" "logs/*-$1.log"
    for log in "${FOUND[@]}"; do
      if [[ ${log##*/} =~ ^("$1"-[0-9]+|[^/]*-"$1")[.]log$ && (! $newest || $log -nt $newest) ]]; then newest=$log; fi
    done
  fi
  if [[ ${3:-} ]]; then
    begin_to_follow find_log "$2"
    return
  fi
  if [[ $newest ]]; then
    begin show_log "$newest"
    wait "$CHILD"
  fi
  log=${newest##*-}
  tell logged "${log%.log}"
}
# begin_to_follow FINDER JOB: shows it from when it is there until lab asks for its end
begin_to_follow() {
  # tail goes on for as long as this process lives, and shows the rest after that
  sleep infinity >/dev/null 2>&1 8>&- &
  FOLLOWED=$!
  begin follow_log "$@"
}
follow_log() {
  until
    "$@"
    [[ -r $LOG ]]
  do
    kill -0 "$FOLLOWED" 2>/dev/null || return 0
    sleep 1
  done
  show_log "$LOG" -f --pid="$FOLLOWED"
}
show_logs() {
  local file
  for file; do show_log "$file"; done
}
show_log() {
  # nor is anything in it an answer
  tail -n +1 "${@:2}" "$1" | sed -u 's/token=[A-Za-z0-9._-]*/token=.../g; s/^passerelle\t/passerelle /'
}

# answer_log_end: shows the rest of the log that is followed
answer_log_end() {
  kill "$FOLLOWED" 2>/dev/null
  wait "$CHILD"
  tell logged ""
}

# find_log JOB: sets LOG to the path of what it has printed
find_log() {
  find_state "logs/*-$1.log"
  LOG=${FOUND[0]:-}
}

# answer_submit FOLDER SUM NOTEBOOK OPTION...: a notebook as a batch job
answer_submit() { begin_in_folder submit_notebook "$@"; }
submit_notebook() {
  local notebook
  printf -v notebook %b "$1"
  # no option
  [[ $notebook != -* ]] || notebook=./$notebook
  if cd -- "$FOLDER" && PASSERELLE_LAB=yes ./submit_notebook.sh "$notebook" "${@:2}"; then
    tell "done"
  else
    tell failed submit_notebook.sh
  fi
}

# answer_check FOLDER SUM: tells how each step of lib/login_node/check.sh went, up to the first that fails; also in a folder
# that differs, for it is still the way to its own sessions
answer_check() {
  begin_in_folder check_steps "$@"
  [[ $STATE != differs ]] || begin check_steps
}
check_steps() {
  local step words status
  for step in account quota modules environment; do
    status=0
    # its end is enough: bash takes a minute to look through a megabyte
    words=$(
      set -o pipefail
      PASSERELLE_LAB=yes timeout --kill-after="$SSH_ANSWER" "$CHECK_STEP" "$BASH" -p "$FOLDER/lib/login_node/check.sh" "$step" 2>&1 | tail -c 4096
    ) || status=$?
    # a command's own words may stand above ours
    [[ $status == 0 || $words != *$'\n'* ]] || printf '%s\n' "${words%$'\n'*}"
    words=${words##*$'\n'}
    IFS=$'\t' read -r -a words <<<"${words#check.sh*: }"
    # at least one word, also of a step that said nothing before its time was up
    tell step "$step" "$status" "${words[@]:-}"
    ((status == 0)) || break
  done
}

# answer_reach HOST PORT: tells whether anything listens there, as seen from here
answer_reach() {
  # shellcheck disable=SC2016 # for the other bash
  if timeout "$SERVER_ANSWER" "$BASH" -p -c 'exec 3<>"/dev/tcp/$1/$2"' - "$1" "$2" 2>/dev/null; then tell reached yes; else tell reached no; fi
}

# answer_node NODE: tells what Slurm says of a node
answer_node() {
  tell node "$(slurm sinfo --noheader --nodes="$1" --format=%T 2>/dev/null | head -n 1)"
}
