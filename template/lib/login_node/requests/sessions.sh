# shellcheck shell=bash
# A session: opened, found, told of, stopped.

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

# answer_record JOB: tells the address of a session, with its token; when Slurm will end the job; and this clock, by
# which that is meant
answer_record() {
  local lines=()
  record_of "$1"
  if [[ $RECORD ]]; then mapfile -t lines <"$RECORD"; fi
  tell "${2:-record}" "${lines[0]:-}" "${lines[1]:-}" "$(now)"
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
