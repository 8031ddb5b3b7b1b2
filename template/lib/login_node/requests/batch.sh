# shellcheck shell=bash
# Notebooks as batch jobs: submitted, and found again.

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
