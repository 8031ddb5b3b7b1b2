# shellcheck shell=bash
# One step of `lab check` on the login node, in a process of its own, so that it can be given up: bash -p lib/login_node/check.sh STEP.
# The last line it prints is what lab shows: NAME=VALUE, tabs between, when all is well; else, with another status than 0,
# what is wrong and what to do; with the status 3 what the next `lab open` does by itself, which is no failure.
set -euo pipefail
FOLDER=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
source "$FOLDER/lib/cluster/clean.sh"
begin_clean "$@"
source "$FOLDER/lib/both/settings.sh"
source "$FOLDER/lib/both/login.sh"
source "$FOLDER/lib/cluster/environment.sh"
source "$FOLDER/lib/cluster/slurm.sh"

# check_account: would Slurm take the job of a session, and when would it start? (seconds since 1970)
check_account() {
  local script folder answer
  ! on_compute_node || misuse on_compute_node
  script=$("$FOLDER/submit_session.sh" --print)
  folder=$(submission_folder)
  [[ ! $folder ]] || cd "$folder"
  answer=$(run_in_slurm try_job <<<"$script" 2>&1) || {
    printf '%s\n' "$answer"
    exit 1
  }
  [[ $answer =~ " to start at "([0-9]+) ]] || die check_no_estimate words="$answer"
  printf 'start=%s\tnow=%s\n' "${BASH_REMATCH[1]}" "$(date +%s)"
}

# check_quota: can a file be written wherever one has to be?
check_quota() {
  local path folders=("$HOME") folder written=""
  path=$(environment_path)
  # who only uses a shared environment need not write there
  somebody_elses "$path" || folders+=("$path.builds")
  folder=$(submission_folder)
  [[ ! $folder ]] || folders+=("$folder")
  for folder in "${folders[@]}"; do
    until [[ -d $folder ]]; do folder=$(dirname "$folder"); done
    not_closed "$folder"
    [[ "$written, " != *", $folder, "* ]] || continue
    write_into "$folder"
    written+=", $folder"
  done
  printf 'folders=%s\n' "${written#, }"
}

# write_into FOLDER: one megabyte that cannot be compressed, to the disk and not only to memory, and away with it
write_into() {
  local words
  words=$(mktemp "$1/.passerelle-XXXXXX" 2>&1) || die check_cannot_write path="$1" reason="${words##*: }"
  MADE_FILE=$words
  words=$(dd if=/dev/urandom of="$MADE_FILE" bs=64k count=16 conv=fsync 2>&1) || {
    words=$(grep -m 1 '^dd: ' <<<"$words")
    die check_cannot_write path="$1" reason="${words##*: }"
  }
  rm -f "$MADE_FILE"
}

# check_modules: do the session's modules load?
check_modules() {
  local modules
  modules=$(recorded_modules)
  load_modules "$modules"
  printf 'modules=%s\n' "${modules//$'\n'/ }"
}

# check_environment: is it complete, built from today's settings, and does its JupyterLab start?
check_environment() {
  local path modules version
  path=$(environment_path)
  # these stop lab open, too
  check_location
  need_shared_environment
  if ! somebody_elses "$path" && ! built_from_these_settings; then
    (need_environment) || true
    exit 3
  fi
  # in what somebody else's differs is said, and nobody but its owner can do something about it
  need_environment
  modules=$(recorded_modules)
  load_modules "$modules"
  version=$("$path/bin/python" "$FOLDER/lib/compute_node/jupyter-lab.py" --version 2>&1) \
    || die environment_broken path="$path" words="${version##*$'\n'}"
  printf 'path=%s\tversion=%s\n' "$path" "${version##*$'\n'}"
}

MADE_FILE=""
trap 'rm -f "$MADE_FILE"' EXIT
load_settings
complete_environment
"check_$1"
