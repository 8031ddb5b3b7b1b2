# shellcheck shell=bash
# The login node's side of lab, sent there by lab through its connection. It reads requests from standard input, one a
# line, words separated by tabs, and answers with lines that begin with "passerelle", a tab and a word; every other line
# is for the user's eyes. It asks Slurm 5 s after a request, then after 10, 20, 40 and every 60 s, and no more once the
# server is up: that is seen from the session's own record (lib/compute_node/session.sh).
exec 2>&1 8>&1
# Slurm's times in seconds since 1970: the laptop may be in another time zone
export SLURM_TIME_FORMAT=%s
PREFIX=passerelle-
CHILD="" JOB="" UP=""

# tell WORD...: answers lab
tell() {
  local IFS=$'\t'
  printf 'passerelle\t%s\n' "$*"
}

# attend: the loop; it ends when lab does
attend() {
  local line="" more status request patience=0.1
  while true; do
    status=0
    read -r -t "$patience" more || status=$?
    # what a time-out cut off comes with the next reading
    line+=$more
    if ((status == 0)); then
      IFS=$'\t' read -r -a request <<<"$line"
      line=""
      ((${#request[@]} == 0)) || "answer_${request[0]}" "${request[@]:1}"
    elif ((status <= 128)); then
      break
    fi
    patience=1
    if [[ $JOB && ! $UP ]] && ((SECONDS - SINCE < 60)); then patience=0.1; fi
    [[ ! $JOB ]] || look
  done
  # what was begun for a lab that is gone
  [[ ! $CHILD ]] || kill -TERM -- "-$CHILD" 2>/dev/null
}

# now: prints the seconds since 1970 (bash 4.4 has no EPOCHSECONDS)
now() {
  printf '%(%s)T\n' -1
}

answer_ping() {
  tell alive
}

# answer_folder NAME SUM: is the folder here, and is it the one that lab has? (a path, when lab runs here itself)
answer_folder() {
  [[ $1 == /* ]] && FOLDER=$1 || FOLDER=~/$1
  if [[ ! -e $FOLDER ]]; then
    tell folder missing
  elif [[ ! -e $FOLDER/settings.yml || ! -d $FOLDER/lib ]]; then
    tell folder other
  elif [[ $(sum_of_folder) != "$2" ]]; then
    tell folder differs
  else
    tell folder same
    return
  fi
  return 1
}

# sum_of_folder: one sum over what a session depends on (lib/laptop/lab/sync.py computes the same)
sum_of_folder() {
  cd -- "$FOLDER" && find ./settings.yml ./lab ./*.sh ./lib ./plugins "${LEFT_OUT[@]}" -prune -o -type f -print0 2>/dev/null \
    | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
}

# answer_open NAME SUM SESSION OPTION...: finds the session of that name, or submits one
answer_open() {
  answer_folder "$1" "$2" || return 0
  shift 2
  # in the background and in a process group of its own: it may build the environment first, and can be ended
  set -m
  open_session "$@" </dev/null &
  CHILD=$!
  set +m
}
open_session() {
  local name=$1 job answer
  shift
  # two labs at once make one session
  (umask 077 && mkdir -p ~/.local/state/passerelle && : >>~/.local/state/passerelle/lock)
  exec 7>>~/.local/state/passerelle/lock
  ! command -v flock >/dev/null || flock --wait 1800 7
  job=$(job_called "$name") || return
  if [[ $job ]]; then
    tell found "$job"
  elif answer=$("$FOLDER/submit_session.sh" --set-up --name="$name" "$@" 7>&-) && [[ $answer =~ ^Submitted\ batch\ job\ ([0-9]+) ]]; then
    tell submitted "${BASH_REMATCH[1]}"
  else
    tell failed submit_session.sh
  fi
}

# answer_withdraw SESSION: ends what answer_open has begun; tells the job that there is nevertheless
answer_withdraw() {
  local job
  if [[ $CHILD ]]; then
    kill -TERM -- "-$CHILD" 2>/dev/null
    wait "$CHILD" 2>/dev/null
    CHILD=""
  fi
  job=$(job_called "$1") || return
  tell withdrawn ${job:+"$job"}
}

# job_called NAME: prints the number of the user's oldest job of that name that has not ended; false when Slurm does not
# say, which is told
job_called() {
  local jobs job name
  jobs=$(squeue --me --noheader --states=PENDING,CONFIGURING,RUNNING,SUSPENDED --sort=i --format='%i %j' 2>&1) || {
    tell trouble "$jobs" >&8
    return 1
  }
  while read -r job name; do
    if [[ $name == "$PREFIX$1" ]]; then
      echo "$job"
      return
    fi
  done <<<"$jobs"
}

# answer_find NAME: tells the job of the session of that name; a session that was started by hand has its number
answer_find() {
  local job
  job=$(job_called "$1") || return
  record_of "$1"
  if [[ ! $job && $1 =~ ^[0-9]+$ && $RECORD ]]; then job=$1; fi
  tell found ${job:+"$job"}
}

# records: sets RECORDS to the paths of all sessions' records; listing a folder makes network file systems look anew
records() {
  local record
  RECORDS=()
  for record in ~/.local/state/passerelle/sessions/* "${SCRATCH:-/nonexistent}"/.passerelle/sessions/*; do
    [[ ! -r $record ]] || RECORDS+=("$record")
  done
}

# record_of JOB: sets RECORD to the path of its record
record_of() {
  local record
  RECORD=""
  records
  for record in "${RECORDS[@]}"; do
    if [[ ${record##*/} == "$1" ]]; then RECORD=$record; fi
  done
}

# answer_follow JOB: from now on tells when the server is up, and what Slurm says until then
answer_follow() {
  JOB=$1 UP="" SINCE=$SECONDS PAUSE=5
  NEXT=$((SECONDS + PAUSE))
  look
}

# look: one look at the job that is followed; ten times a second at first, so without another process
look() {
  local lines
  record_of "$JOB"
  if [[ $RECORD && ! $UP ]]; then
    UP=yes
    # the address, when Slurm will end the job, and this clock, by which that is meant
    mapfile -t lines <"$RECORD"
    tell up "$JOB" "${lines[0]}" "${lines[1]:-}" "$(now)"
  elif [[ ! $RECORD && $UP ]]; then
    UP=""
    answer_state "$JOB"
    NEXT=$((SECONDS + 5)) PAUSE=5
  elif [[ ! $RECORD ]] && ((SECONDS >= NEXT)); then
    answer_state "$JOB"
    PAUSE=$((PAUSE * 2 > 60 ? 60 : PAUSE * 2))
    NEXT=$((SECONDS + PAUSE))
  fi
}

# answer_state JOB: one query; tells state, reason, (expected) start, end and node
answer_state() {
  local answer words state
  answer=$(squeue --noheader --jobs="$1" --states=all --format='%T|%r|%S|%e|%N' 2>&1)
  if [[ $answer == *"Invalid job id"* || ! $answer ]]; then
    # it ended longer ago than squeue remembers; just after submission this is empty, too, which means nothing
    state=$(sacct --noheader --parsable2 --allocations --jobs="$1" --format=State)
    [[ ! $state ]] || tell state "$1" "$(now)" "${state%% *}" "$state" "" "" ""
  elif [[ $answer == *"|"*"|"* ]]; then
    IFS='|' read -r -a words <<<"$answer"
    tell state "$1" "$(now)" "${words[0]}" "${words[1]}" "${words[2]}" "${words[3]}" "${words[4]:-}" \
      "$(memory_words "$1" "${words[0]}")"
  else
    tell trouble "$answer"
  fi
}

# memory_words JOB STATE: prints what Slurm wrote into a killed job's log about its memory; not every cluster has a state
# for that
memory_words() {
  local log
  [[ $2 == FAILED || $2 == CANCELLED || $2 == OUT_OF_MEMORY ]] || return 0
  for log in {~/.local/state/passerelle,"${SCRATCH:-/nonexistent}"/.passerelle}/logs/*-"$1".log; do
    [[ ! -r $log ]] || grep -a -m 1 -i -E '^slurmstepd.*(memory limit|oom|out of memory)' "$log"
  done
}

# answer_list: tells every session that waits or runs: squeue once, sstat once
answer_list() {
  local jobs line job running=""
  jobs=$(squeue --me --noheader --sort=i \
    --Format='JobID:|,State:|,Reason:|,StartTime:|,EndTime:|,NodeList:|,tres-alloc:|,NumCPUs:|,Name:' 2>&1) || {
    tell trouble "$jobs"
    return
  }
  records
  while IFS='|' read -r -a job; do
    if [[ ${job[8]:-} == "$PREFIX"* ]] || [[ " ${RECORDS[*]##*/} " == *" ${job[0]:-} "* ]]; then
      tell session "$(now)" "${job[@]}"
      [[ ${job[1]} != RUNNING ]] || running+=,${job[0]}
    fi
  done <<<"$jobs"
  [[ ! $running ]] || sstat --noheader --parsable2 --allsteps --jobs="${running#,}" --format=JobID,AveRSS,AveCPU 2>/dev/null \
    | while IFS='|' read -r -a line; do tell usage "${line[@]}"; done
  tell listed
}

# answer_stop JOB NAME: cancels that job, if it still is the session of that name
answer_stop() {
  local words
  words=$(squeue --me --noheader --jobs="$1" --format=%j 2>/dev/null)
  if [[ $words != "$PREFIX$2" && $1 != "$2" ]]; then
    tell stopped
  elif words=$(scancel "$1" 2>&1); then
    tell stopped "$1"
  else
    tell trouble "$words"
  fi
}

# answer_address JOB: tells the address of a session, with its token
answer_address() {
  local lines
  record_of "$1"
  if [[ $RECORD ]]; then mapfile -t lines <"$RECORD"; fi
  tell address "${lines[0]:-}"
}

# answer_log NAME [follow]: shows what the newest session of that name has printed, without its token
answer_log() {
  local log newest=""
  for log in {~/.local/state/passerelle,"${SCRATCH:-/nonexistent}"/.passerelle}/logs/"$1"-*.log; do
    if [[ ${log##*/} =~ ^"$1"-[0-9]+[.]log$ && -r $log && (! $newest || $log -nt $newest) ]]; then newest=$log; fi
  done
  if [[ $newest ]]; then
    local show=(cat)
    [[ ! ${2:-} ]] || show=(tail -n +1 -f)
    set -m
    "${show[@]}" "$newest" </dev/null | sed -u 's/token=[A-Za-z0-9._-]*/token=.../g' &
    CHILD=$!
    set +m
    [[ ${2:-} ]] || wait "$CHILD"
  fi
  tell logged "$newest"
}

# answer_submit FOLDER SUM NOTEBOOK OPTION...: a notebook as a batch job
answer_submit() {
  answer_folder "$1" "$2" || return 0
  shift 2
  set -m
  (if cd -- "$FOLDER" && ./submit_notebook.sh "$@"; then tell "done"; else tell failed submit_notebook.sh; fi) </dev/null &
  CHILD=$!
  set +m
}

# answer_check FOLDER SUM: tells how each step of lib/login_node/check.sh went, up to the first that fails
answer_check() {
  answer_folder "$1" "$2" || return 0
  set -m
  check_steps </dev/null &
  CHILD=$!
  set +m
}
# the time that a step may take, in seconds
STEP_LIMIT=60
check_steps() {
  local step words status
  for step in account quota modules environment; do
    status=0
    words=$(timeout --kill-after=5 "$STEP_LIMIT" bash "$FOLDER/lib/login_node/check.sh" "$step" 2>&1) || status=$?
    # a command's own words may stand above ours
    [[ $status == 0 || $words != *$'\n'* ]] || printf '%s\n' "${words%$'\n'*}"
    words=${words##*$'\n'}
    tell step "$step" "$status" "${words#check.sh: }"
    ((status == 0)) || break
  done
}

# answer_node NODE: tells what Slurm says of a node
answer_node() {
  tell node "$(sinfo --noheader --nodes="$1" --format=%T 2>/dev/null | head -n 1)"
}

# --- lab sync (lib/laptop/lab/sync.py) --------------------------------------------------------------------------------
# NUMBER is a request's own, which its answers repeat: what still comes after an interruption is known by it. In a PATH,
# a tab, a backslash and what ends a line are written as "printf %b" reads them.

# what stays where it is: one person's own, what is made anew, and the history (sync.py: LEFT_OUT)
LEFT_OUT=('(' -path ./personal.yml -o -name .git -o -name .lab -o -name __pycache__ -o -name .ipynb_checkpoints
  -o -name .DS_Store -o -name Thumbs.db -o -name desktop.ini -o -name '.nfs*' ')')

# answer_files NUMBER FOLDER [scripts]: tells all files of a folder, or those that a session depends on, and this clock
answer_files() {
  local number=$1 state=there
  [[ $2 == /* ]] && FOLDER=$2 || FOLDER=~/$2
  if [[ ! -e $FOLDER ]]; then
    state=missing
  elif [[ ! -e $FOLDER/settings.yml || ! -d $FOLDER/lib ]]; then
    state=other
  elif [[ ${3:-} ]]; then
    (cd -- "$FOLDER" && show_files "$number" ./settings.yml ./lab ./*.sh ./lib ./plugins)
  else
    (cd -- "$FOLDER" && show_files "$number" .)
  fi
  tell listed "$number" "$state" "$(printf '%(%s)T' -1)"
}

# show_files NUMBER PATH...: tells what is there and below: type:size:time:mode, and the path
show_files() {
  find "${@:2}" "${LEFT_OUT[@]}" -prune -o ! -type d -printf "passerelle\tfile\t$1\t%y:%s:%T@:%m\t%p\0" 2>/dev/null \
    | one_a_line
}
one_a_line() {
  LC_ALL=C sed -z 's/\\/\\\\/g; s/\n/\\n/g; s/\r/\\r/g' | tr '\0' '\n'
}

# answer_look NUMBER PATH...: the same of these files
answer_look() {
  local number=$1 path paths=()
  for path in "${@:2}"; do
    printf -v path %b "$path"
    paths+=("./$path")
  done
  ((${#paths[@]} == 0)) || (cd -- "$FOLDER" && show_files "$number" "${paths[@]}")
  tell looked "$number"
}

# answer_sums NUMBER PATH...: tells their sums, one by one, which may take long
answer_sums() {
  set -m
  tell_sums "$@" </dev/null &
  CHILD=$!
  set +m
}
tell_sums() {
  local number=$1 path paths=()
  for path in "${@:2}"; do
    printf -v path %b "$path"
    paths+=("./$path")
  done
  # sha256sum writes each line at once, and begins it with a backslash where it writes the path as we do
  (cd -- "$FOLDER" && printf '%s\0' "${paths[@]}" | xargs -0 sha256sum) 2>/dev/null \
    | sed -u "s/^/passerelle\tsum\t$number\t/"
  tell summed "$number"
}

# answer_stage NUMBER: makes a folder for what comes, in the same file system, and removes it at the end
answer_stage() {
  local place=$FOLDER/.lab/incoming
  if [[ ! -e $FOLDER ]]; then
    place=~/.lab-incoming
  elif [[ ! -e ${place%/*} ]]; then
    mkdir -m 700 -- "${place%/*}"
  fi
  # of a login node that stopped at work
  find "${place%/*}" -maxdepth 1 -name "${place##*/}.*" -mmin +1440 -exec rm -rf -- {} + 2>/dev/null
  remove_stage
  STAGE=$(mktemp -d "$place.XXXXXX" 2>/dev/null) && : >"$STAGE/wanted"
  trap remove_stage EXIT
  tell stage "$1" "$STAGE"
}

remove_stage() {
  [[ ${STAGE:-} ]] || return 0
  rm -f -- "$STAGE/wanted"
  rm -rf -- "$STAGE" 2>/dev/null
}

# receive STAGE: in a channel of its own, whose input goes on with an archive
receive() {
  if cd -- "$1" && rm -rf files && mkdir files && tar -x -f - -C files 2>/dev/null && [[ -e wanted ]]; then
    tell received 0
  else
    # also what tar has written while the stage was being removed
    rm -rf -- "$1"
    tell received 1
  fi
}

# give FOLDER: in a channel of its own, whose input goes on with paths, each ended by NUL; prints an archive of them
give() {
  cd -- ~/"$1" && tell data \
    && tar -c -f - --format=gnu --hard-dereference --no-recursion --null --no-unquote --files-from=- 2>/dev/null
}

# answer_place NUMBER (EXPECTED PATH)...: puts the files of the stage where they belong, if what is there is still what
# lab has seen ("-" for nothing); tells where it has kept what was there, and which could not be put there
answer_place() {
  local number=$1 path
  shift
  while (($#)); do
    printf -v path %b "$2"
    if ! still_is "$FOLDER/$path" "$1"; then
      rm -f -- "$STAGE/files/$path"
      tell kept "$number" "$2"
    fi
    shift 2
  done
  if [[ -e $FOLDER ]]; then
    (put_in_place)
  else
    # it appears when it is complete
    mv -T -- "$STAGE/files" "$FOLDER"
  fi
  [[ ! -e $STAGE/files ]] || find "$STAGE/files" ! -type d -printf "passerelle\tfailed\t$number\t%P\0" | one_a_line
  tell settled "$number"
}
put_in_place() {
  local folder
  cd -- "$STAGE/files" || return
  find . -type d -print0 | while IFS= read -r -d '' folder; do
    mkdir -p -- "$FOLDER/$folder" && find "$folder" -maxdepth 1 ! -type d -exec mv -f -t "$FOLDER/$folder" -- {} +
  done
}

# still_is PATH EXPECTED: is it as it was seen?
still_is() {
  if [[ $2 == - ]]; then
    [[ ! -e $1 && ! -L $1 ]]
  else
    [[ $(find "$1" -maxdepth 0 -printf '%y:%s:%T@:%m' 2>/dev/null) == "$2" ]]
  fi
}

# answer_aside NUMBER (EXPECTED PATH)...: takes scripts out of the way that lab's folder has no more; nothing is lost
answer_aside() {
  local number=$1 path
  shift
  while (($#)); do
    printf -v path %b "$2"
    if still_is "$FOLDER/$path" "$1" && mkdir -p -- "$(dirname -- "$FOLDER/.lab/removed/$path")" \
      && mv -f -T -- "$FOLDER/$path" "$FOLDER/.lab/removed/$path"; then
      tell moved "$number" "$2"
    fi
    shift 2
  done
  tell aside "$number"
}
