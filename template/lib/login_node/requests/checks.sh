# shellcheck shell=bash
# The steps of `lab check`, and whether a computer can be reached.

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
