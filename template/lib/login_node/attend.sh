# shellcheck shell=bash
# The login node's side of lab, sent there by lab through its connection (lib/laptop/lab/channel.py), together with
# limits.sh, places.sh, jobs.sh and requests/*.sh, whose answer_NAME answer the requests. A request is a line from standard input:
# a number, its name and its words, with tabs between. An answer is a line that begins with "passerelle" and that number; every
# other line is for the user's eyes.
exec 2>&1 8>&1
# for this bash alone: a comma in LANG's numbers is none of "read -t"
LC_ALL=C
# Slurm's times in seconds since 1970: the laptop may be in another time zone
export SLURM_TIME_FORMAT=%s
CHILD="" JOB="" UP="" STOPPED="" NUMBER=0

# tell KIND WORD...: answers the request that is being served; what Slurm says may have a tab or a new line in it. Whatever
# has printed before may have left its line open.
tell() {
  local IFS=$'\t'
  set -- "${@//[$'\t\n']/ }"
  printf '\npasserelle\t%s\t%s\n' "$NUMBER" "$*"
}

# now: prints the seconds since 1970 (bash 4.4 has no EPOCHSECONDS)
now() { printf '%(%s)T\n' -1; }

# attend: the loop; it ends when lab does
attend() {
  local line="" more status request patience=0.1
  # whoever listened may have gone; what was begun is ended all the same
  trap : PIPE
  # unasked, as on a slow line the question may wait behind all that is on its way here; and by itself: a disk that stalls must
  # not look like a network that is down
  (while sleep "$PING" >/dev/null 2>&1 8>&- && kill -0 $$ 2>/dev/null; do tell alive; done) </dev/null &
  while true; do
    status=0
    # what a time-out cut off comes with the next reading, and may end with a tab
    IFS= read -r -t "$patience" more || status=$?
    line+=$more
    if ((status == 0)); then
      IFS=$'\t' read -r -a request <<<"$line"
      line=""
      ((${#request[@]} < 2)) || serve "${request[@]}"
    elif ((status <= 128)); then
      break
    fi
    patience=1
    if [[ $JOB && ! $UP ]] && ((SECONDS - SINCE < EAGER)); then patience=0.1; fi
    [[ ! $JOB ]] || look
  done
  # what was begun for a lab that is gone
  [[ ! $CHILD ]] || kill -TERM -- "-$CHILD" 2>/dev/null
  # queries that still wait for Slurm
  # shellcheck disable=SC2046 # words
  kill $(jobs -p) 2>/dev/null
}

# serve NUMBER REQUEST WORD...
serve() {
  NUMBER=$1
  case $2 in
    # Slurm and the network may take their time, and other requests must not wait for them
    find | last | list | node | reach | state | stop) "answer_$2" "${@:3}" </dev/null & ;;
    *) ! declare -F "answer_$2" >/dev/null || "answer_$2" "${@:3}" ;;
  esac
}

# begin COMMAND...: in the background and in a process group of its own, so that it may take long and can be ended
begin() {
  set -m
  "$@" </dev/null &
  CHILD=$!
  set +m
}

answer_ping() { tell alive; }

# look: one look at the job that is followed; ten times a second at first, so without another process
look() {
  local NUMBER=$FOLLOW
  if [[ ! $STOPPED && -e $HOME/$STATE_IN_HOME/stopped/$JOB ]]; then
    # another lab has cancelled it: Slurm says soon how it has ended
    STOPPED=yes PAUSE=1 NEXT=$SECONDS
  fi
  record_of "$JOB"
  if [[ $RECORD && ! $UP ]]; then
    answer_record "$JOB" up
    UP=yes NEXT=$((SECONDS + JOB_LOOK))
  elif [[ $UP && ! $RECORD ]]; then
    UP="" PAUSE=1 NEXT=$SECONDS
  fi
  ((SECONDS >= NEXT)) || return 0
  # later on, a job that Slurm does not know is over
  answer_state "$JOB" "$( ((SECONDS - SINCE < EAGER)) || echo forgotten)" </dev/null &
  # ever more seldom, and hardly any more once the server is up: that is seen from the session's own record
  PAUSE=$((PAUSE * 2 > LONGEST_PAUSE ? LONGEST_PAUSE : PAUSE * 2))
  [[ $UP && ! $STOPPED ]] && NEXT=$((SECONDS + JOB_LOOK)) || NEXT=$((SECONDS + PAUSE))
}

# answer_follow JOB: from now on tells when the server is up, and what Slurm says until then
answer_follow() {
  JOB=$1 UP="" STOPPED="" SINCE=$SECONDS FOLLOW=$NUMBER PAUSE=$FIRST_QUERY
  NEXT=$((SECONDS + PAUSE))
  look
}
