# shellcheck shell=bash
# What Slurm says of a session's job, and why it has ended.

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

# idle_reason JOB STATE REASON: prints Slurm's reason, or "idle MINUTES" for a session that ended because nothing was done in it
# for so long (leave_idle in session.sh)
idle_reason() {
  local words=""
  find_state 'idle/*'
  [[ $2 != COMPLETED ]] || ((${#FOUND[@]} == 0)) || words=$(grep -h -s -o -E "^$1 [0-9]{1,4} " "${FOUND[@]}" | head -n 1)
  words=${words% }
  if [[ $words ]]; then printf 'idle %s\n' "${words#* }"; else printf '%s\n' "$3"; fi
}

# memory_words JOB STATE: prints what Slurm wrote into a killed job's log about its memory; not every cluster has a state
# for that
memory_words() {
  [[ $2 == FAILED || $2 == CANCELLED || $2 == OUT_OF_MEMORY ]] || return 0
  find_state "logs/*-$1.log"
  ((${#FOUND[@]} == 0)) \
    || grep -a -h -m 1 -i -E '^slurmstepd.*(memory limit|oom|out of memory)' "${FOUND[@]}" | head -n 1
}

# answer_node NODE: tells what Slurm says of a node
answer_node() {
  tell node "$(slurm sinfo --noheader --nodes="$1" --format=%T 2>/dev/null | head -n 1)"
}
