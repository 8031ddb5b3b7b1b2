# shellcheck shell=bash
# What a session or a batch job has printed, and goes on printing.

# answer_log NAME JOB [follow|there]: shows what that job has printed, without its token; JOB is empty for the newest log of
# that name; "there" tells only whether there is a log
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
  if [[ ${3:-} == follow ]]; then
    begin_to_follow find_log "$2"
    return
  fi
  if [[ ${3:-} == there ]]; then
    tell logged "${newest:+$2}"
    return
  fi
  if [[ $newest ]]; then
    begin show_log "$newest"
    wait "$CHILD"
  fi
  log=${newest##*-}
  tell logged "${log%.log}"
}

# find_log JOB: sets LOG to the path of what it has printed
find_log() {
  find_state "logs/*-$1.log"
  LOG=${FOUND[0]:-}
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
