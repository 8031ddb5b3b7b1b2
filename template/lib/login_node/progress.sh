# shellcheck shell=bash
# What a build is doing, how much of it is done, and for how long. What pip, R and Julia say goes to a log.

# begin_log: chooses LOG, which is made when there is something to write, and where pip, R and Julia have room for their own
begin_log() {
  [[ ! $PRINT ]] || return 0
  LOG=$(logs_folder)/setup_env-$(date +%Y%m%d-%H%M%S).log
  local file
  file=$(temporary_file)
  rm -f "$file"
  [[ $file == "${TMPDIR:-/tmp}"/* ]] || export TMPDIR=${file%/*}
}

# watched STEP COMMAND...: runs a command and shows how far it is; of an error, its words from there on. STEP is
# a text. FROM is the log's line where its words begin.
watched() {
  local step=$1 status=0 words
  shift
  if [[ $PRINT ]]; then
    "$@"
    return
  fi
  # nobody else can read it: addresses of packages may have a password in them
  words=$( (umask 077 && : >>"$LOG") 2>&1) || die not_written path="$LOG" words="${words##*: }"
  FROM=$(($(wc -l <"$LOG") + 1))
  # it must not wait for an answer to what nobody sees
  "$@" </dev/null 2>&1 | tee -a "$LOG" \
    | grep --line-buffered -E '^(Collecting |Processing |Installing collected packages: |WARNING: Retrying |[*] DONE |passerelle total | +Installed )' \
    | follow "$step" || status=${PIPESTATUS[0]}
  words=$(its_words | sed -n -E '/^ *(ERROR|Error|error|Traceback)/,$p' | tail -n 40)
  # pip may succeed, and say so of packages that do not go together
  if ((status == 0)) && [[ $words != ERROR* ]]; then return; fi
  printf '%s\n' "${words:-$(its_words | tail -n 10)}" >&2
  warn build_log log="$LOG"
  return "$status"
}

# its_words: prints what the last command that was watched has said
its_words() { tail -n "+$FROM" "$LOG"; }

# follow STEP: reads the lines that say how far pip, R or Julia is, and shows it every second
follow() {
  local step=$1 line="" more="" status since=$SECONDS shown="" said=$SECONDS looked=$SECONDS width
  local seen=" " found=0 number=0 total="" pip="" silent="" before what=""
  read -r _ width < <(stty size 2>/dev/null <&1) || width=80
  before=" $(printf '%s ' "${VIRTUAL_ENV:-/nonexistent}"/lib/python*/site-packages/*.dist-info/INSTALLER)"
  while true; do
    status=0
    IFS= read -r -t 1 more || status=$?
    line+=$more
    ((status == 0 || status > 128)) || break
    if ((status == 0)); then
      count "$line"
      line=""
    fi
    show_progress
  done
  # how it stands at the end, if there was anything to do
  [[ ! -t 1 ]] || printf '\r\033[K'
  weigh
  ((found + number == 0)) || message build_time what="$what" time="$(clock $((SECONDS - since)))"
}

# count LINE: what a line says of how far it is
count() {
  local name
  case $1 in
    # pip looks at some of them several times
    "Collecting "* | "Processing "*)
      name=${1#* }
      if [[ $name == */* ]]; then
        # a wheel
        name=${name##*/}
        name=${name%%-*}
      fi
      name=${name%%[ <>=!~;[(]*}
      [[ $seen == *" $name "* ]] || seen+="$name " found=$((found + 1))
      ;;
    "Installing collected packages: "*)
      name=${1//[^,]/}
      total=$((${#name} + 1)) pip=yes
      ;;
    # whatever it asks for packages does not answer, and pip tries it again for each of them
    "WARNING: Retrying "*) silent=yes ;;
    # the plugin of R counts what is missing
    "passerelle total "*) total=${1##* } ;;
    *) number=$((number + 1)) ;;
  esac
}

# weigh: sets WHAT, the step and how much of it is done; a package that pip has installed has a file INSTALLER, written last
weigh() {
  local file
  if [[ $pip ]]; then
    number=0
    for file in "${VIRTUAL_ENV:-/nonexistent}"/lib/python*/site-packages/*.dist-info/INSTALLER; do
      [[ $before == *" $file "* || ! -e $file ]] || number=$((number + 1))
    done
  fi
  what=$step
  if [[ ${total:-0} != 0 ]]; then
    # more than that are no mistake: some were there, and too old
    ((total >= number)) || total=$number
    what=$(message build_of step="$step" number="$number" total="$total")
  elif ((number)); then
    what=$(message build_some step="$step" number="$number")
  elif ((found)); then
    what=$(message build_found step="$step" number="$found")
    [[ ! $silent ]] || what=$(message build_no_answer what="$what" place="${LINE_pip_source:-settings.yml}")
  fi
}

# show_progress: for lab an answer to its request, on a terminal one line in place, elsewhere a line now and then
show_progress() {
  local text
  ((SECONDS > looked)) || return 0
  looked=$SECONDS
  weigh
  if [[ ${PASSERELLE_REQUEST:-} ]]; then
    [[ $what == "$shown" ]] || say_step "$what"
  elif [[ -t 1 ]]; then
    text=$(message build_time what="$what" time="$(clock $((SECONDS - since)))")
    # a second line would stay
    printf '\r\033[K%s' "${text:0:(width > 1 ? width : 80)-1}"
  elif ((SECONDS - said >= PROGRESS_LINE)) && [[ $what != "$shown" ]]; then
    message build_time what="$what" time="$(clock $((SECONDS - since)))"
  else
    return 0
  fi
  said=$SECONDS shown=$what
}

# say_step STEP: what is done now, before it says anything
say_step() {
  if [[ ${PASSERELLE_REQUEST:-} ]]; then
    printf '\npasserelle\t%s\tbuilding\t%s\n' "$PASSERELLE_REQUEST" "$1"
  else
    printf '%s\n' "$1"
  fi
}

# clock SECONDS: prints them as 0:05 or 1:02:03
clock() {
  if (($1 < 3600)); then
    printf '%d:%02d\n' $(($1 / 60)) $(($1 % 60))
  else
    printf '%d:%02d:%02d\n' $(($1 / 3600)) $(($1 / 60 % 60)) $(($1 % 60))
  fi
}
