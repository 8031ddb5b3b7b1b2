# shellcheck shell=bash
# Where sessions are found: by the names of their jobs, and their records (address, end; that idleness ended them) and logs,
# readable by their owner alone.

# what the job of a session that runs as a batch job is called, before the session's own name
SESSION_PREFIX=passerelle-
# in the home, or on scratch where jobs cannot write to the home
STATE_IN_HOME=.local/state/passerelle
STATE_ON_SCRATCH=.passerelle
# in the project's folder, a folder for each session's name: what its page has open
WORKSPACES=.lab/workspaces

# state_folder: prints the one that the cluster's facts choose
state_folder() {
  local scratch
  if [[ $FACT_home_on_compute == read_only ]]; then
    scratch=$(scratch_folder)
    printf '%s\n' "$scratch/$STATE_ON_SCRATCH"
  else
    printf '%s\n' "$HOME/$STATE_IN_HOME"
  fi
}

# logs_folder: prints where logs are, which only their owner can read; those of long ago go
logs_folder() {
  local folder words
  folder=$(state_folder)/logs
  words=$( (umask 077 && mkdir -p "$folder") 2>&1) || die not_written path="$folder" words="${words##*: }"
  # Dask names its workers' by itself
  find "$folder" '(' -name '*.log' -o -name 'dask-*.err' -o -name 'dask-*.out' ')' -mtime "+$LOG_DAYS" -delete 2>/dev/null || true
  printf '%s\n' "$folder"
}

# find_state PATTERN...: sets FOUND to what fits in either place, for who does not know the cluster's facts. Listing a
# folder makes network file systems look anew.
find_state() {
  local folder pattern file
  FOUND=()
  for folder in "$HOME/$STATE_IN_HOME" "${SCRATCH:-/nonexistent}/$STATE_ON_SCRATCH"; do
    for pattern; do
      # shellcheck disable=SC2231 # it is a pattern
      for file in "$folder"/$pattern; do
        [[ ! -r $file ]] || FOUND+=("$file")
      done
    done
  done
}
