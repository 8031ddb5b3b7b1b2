# shellcheck shell=bash
# A notebook as a batch job, for submit_notebook.sh, which sets what stands in small letters: the script that Slurm is given,
# and what has to be known before.

# find_run: sets run_before to what the run that is taken up has left, or rows_before to the folder of a table's rows, and
# claim to a folder that is this submission's alone
find_run() {
  local run newest=0 job
  # the run knows its table
  [[ ! $table ]] || misuse resume_has_table
  if [[ $resume == last ]]; then
    for run in "$directory"/results/????-??-??-"$name"-*[0-9]; do
      # a name that is no number would be looked up, or worse
      job=${run##*-}
      [[ $job =~ ^[1-9][0-9]{0,11}$ && ${run##*/} == ????-??-??-"$name-$job" ]] || continue
      if [[ -e $run/$name.ipynb || -e $run/rows.json ]] && ((job > newest)); then newest=$job resume=$run; fi
    done
  fi
  run=$(cd -- "$resume" 2>/dev/null && pwd) || run=""
  if [[ -e $run/rows.json ]]; then
    rows_before=$run
  elif [[ -e $run/$name.ipynb ]]; then
    run_before=$run/$name.ipynb
  else
    local command=./submit_notebook.sh
    [[ ! ${PASSERELLE_LAB:-} ]] || command="./lab submit"
    command+=" $(show_command "$notebook" --execute)"
    misuse no_run_before notebook="$notebook" folder="${resume/#last/$directory/results}" command="$command"
  fi
  [[ $PRINT ]] || claim_run "$run"
  [[ $rows_before ]] || take_up "$run_before" || exit 64
}

# not_too_long NAME: ends the script where what the job makes would have a name that no disk takes (255 bytes)
not_too_long() {
  local LC_ALL=C most=220
  # its number, a task's, the day, and the ends of these names
  ((${#1} <= most)) || misuse name_too_long notebook="$notebook" most="$most"
}

# find_output_folders: ends the script where there is no folder for what the job prints; "%" in its name is Slurm's to replace
find_output_folders() {
  local option path
  for option in ${OPTIONS[@]+"${OPTIONS[@]}"}; do
    case $option in
      --ou*=*/* | --er*=*/*) path=${option#*=} ;;
      -[oe]*/*) path=${option:2} ;;
      *) continue ;;
    esac
    path=${path%/*}/
    # it is below the folder that the job begins in
    [[ $path == /* || $(given --chd)$(given -D) ]] || path=${folder:-$PWD}/$path
    [[ $path == *%* || $path != /* || -d $path ]] || misuse output_folder_missing option="$option" folder="${path%/}"
  done
}

# claim_run FOLDER: ends the script where another submission goes on with that run, or where its own job, or one that has gone
# on with it, waits or runs: both would write the same files of the notebook's own. Of several at once, one can make a folder.
claim_run() {
  local job
  if [[ -w $1 ]]; then
    mkdir -- "$1/resuming" 2>/dev/null || misuse resume_claimed notebook="$notebook" folder="$(show_command "$1/resuming")"
    claim=$1
  fi
  for job in "${1##*-}" "$1"/resumed/*; do
    job=${job##*/}
    if [[ $job =~ ^[1-9][0-9]{0,11}$ ]] && slurm squeue --me --noheader --jobs="$job" --format=%T 2>/dev/null \
      | grep -q -x -E 'PENDING|CONFIGURING|RUNNING|SUSPENDED'; then
      misuse resume_still_runs job="$job" notebook="$notebook"
    fi
  done
}

# take_up EARLIER [COPY]: checks that a run can be taken up; prints how many rows of a table are to run, which go to COPY
take_up() { "$environment/bin/python" "$FOLDER/lib/compute_node/notebook/resume.py" "$notebook" "$@"; }

# leave: at the end; nothing is left of what is refused, but after a signal Slurm may have the job already
leave() {
  local status=$?
  [[ ! $claim ]] || rmdir -- "$claim/resuming"
  [[ ! $copies || $copies_stay ]] || ((status > 128)) || rm -rf -- "$copies"
}

# make_copies: sets copies to a folder of this submission's own, for what people may change before all of it has run; and copy to
# that of the notebook
make_copies() {
  local folder=$FOLDER/.lab/submitted words
  words=$({ umask 077 && mkdir -p "$folder"; } 2>&1) || die not_written path="$folder" words="${words##*: }"
  copies=$(mktemp -d "$folder/$today-$name-XXXXXX" 2>&1) || die not_written path="$folder" words="${copies##*: }"
  # a script that is kept runs the notebook as it is by then
  [[ ! $PRINT ]] || return 0
  copy=$copies/$name.ipynb
  words=$(cp -- "$notebook" "$copy" 2>&1) || die not_written path="$copy" words="${words##*: }"
}

# forget_copies: removes those of jobs that were submitted long ago, and have ended
forget_copies() {
  local folder=$FOLDER/.lab/submitted place job old live
  old=$(find "$folder" -mindepth 2 -maxdepth 2 -name job -mtime "+$LOG_DAYS" -printf '%P\n' 2>/dev/null) || return 0
  [[ $old ]] && live=$(slurm squeue --me --noheader --format=%F 2>/dev/null) || return 0
  while IFS= read -r place; do
    read -r job <"$folder/$place" || continue
    grep -q -x -F -e "$job" <<<"$live" || rm -rf -- "${folder:?}/${place%/job}"
  done <<<"$old"
}

# share_rows: sets parameters to a copy of the table, rows to how many of it are to run, and jobs to how many share them
share_rows() {
  local queued=0 most=$ARRAY_JOBS
  [[ ! $jobs || $jobs =~ ^[1-9][0-9]{0,5}$ ]] || misuse unknown_option option="--jobs=$jobs"
  parameters=$copies/rows.json
  if [[ $rows_before ]]; then
    rows=$(take_up "$rows_before" "$parameters") || exit 64
  else
    rows=$("$environment/bin/python" "$FOLDER/lib/login_node/parameters.py" "$notebook" "$table" "$parameters" "$language") \
      || exit 64
  fi
  if [[ $FACT_max_jobs != unknown ]]; then
    [[ $PRINT ]] || queued=$(slurm squeue --me --noheader --array --format=%i | wc -l) || queued=0
    ((FACT_max_jobs - queued >= most)) || most=$((FACT_max_jobs - queued))
    ((most > 0)) || die too_many_jobs queued="$queued" limit="$FACT_max_jobs" cluster="$CLUSTER_NAME"
  fi
  ((rows >= most)) || most=$rows
  ((${jobs:-$most} >= most)) || most=$jobs
  jobs=$most
}

# batch_script: prints what sbatch takes
batch_script() {
  local number=%j run at_once="" cores more=${requeue:+ --requeue $requeue}${keep_state:+ --keep-state}
  [[ ! $parameters ]] || number=%A_%a
  echo '#!/bin/bash'
  # sbatch replaces %j in --output; a "%" of the path itself is doubled
  printf '#SBATCH %s\n' "${SLURM_OPTIONS[@]}" --job-name="${name//[^A-Za-z0-9._-]/_}.ipynb" \
    --output="\"${directory//%/%%}/${name//%/%%}-$number.out\"" ${parameters:+--array="0-$((jobs - 1))"} \
    ${execute:+--signal="B:USR1@$BATCH_WARNING" --open-mode=append} ${requeue:+--requeue} \
    ${options[@]+"${options[@]}"}
  echo
  if [[ $modules ]]; then
    # a job does not always inherit the function
    echo 'type module &>/dev/null || source /etc/profile'
    # shellcheck disable=SC2086 # words
    show_command module load $modules
  fi
  # the cluster's own Python would run it otherwise
  printf '%s || exit\n' "$(show_activation "$environment")"
  show_command cd "$directory"
  # whole nodes run as many rows as they have cores for
  [[ ! $parameters || $FACT_allocation == core || $FACT_node_cores == unknown ]] \
    || at_once=$((FACT_node_cores > SETTING_cores ? FACT_node_cores / SETTING_cores : 1))
  # as in a session (session.sh): not all cores of the node where the job has some of them, and no proxy to what is near
  cores="\${SLURM_CPUS_PER_TASK:-\$SLURM_CPUS_ON_NODE}"
  [[ ! $at_once ]] || cores=$SETTING_cores
  echo "export OMP_NUM_THREADS=\${OMP_NUM_THREADS:-$cores}"
  if [[ $FACT_internet_on_compute == @(proxy|unknown) ]]; then
    echo "export no_proxy=\${no_proxy:+\$no_proxy,}localhost,127.0.0.1,::1"
    echo "export NO_PROXY=\$no_proxy"
  fi
  if [[ $execute ]]; then
    # what the kernels need in a job
    SLURMD_NODENAME=job each_plugin printed plugin_environment
    each_plugin plugin_batch
    # an old kernel of people's own would hide the environment's
    echo 'export JUPYTER_PREFER_ENV_PATH=1'
    echo "# it takes the batch script's place, so that Slurm's warning before the time limit reaches it"
    run=$FOLDER/lib/compute_node/notebook
    if [[ $parameters ]]; then
      # shellcheck disable=SC2016 # the job will know it
      printf 'exec %s"$SLURM_ARRAY_JOB_ID" %s\n' "$(show_command python "$run/rows.py" "${copy:-./$name.ipynb}" "$results-")" \
        "$(show_command "$parameters" "${at_once:-1}")$more"
    else
      # shellcheck disable=SC2016
      printf 'exec %s"$SLURM_JOB_ID"%s\n' "$(show_command python "$run/run.py" "${copy:-./$name.ipynb}" "$results-")" \
        "${run_before:+ $(show_command --again "$run_before")}$more"
    fi
    return
  fi
  echo 'set -e'
  # a script of its own for each job, so that two jobs of one notebook do not meet; it stays as what was run
  printf 'name=%s\n' "$(show_command "$name")"
  cat <<'SCRIPT'
script=./$name-$SLURM_JOB_ID.py
jupyter nbconvert --to python --stdin --stdout <"./$name.ipynb" >"$script"
# only IPython takes an "await" outside of functions, in a file named .ipy
compile='compile(open(0, "rb").read(), "", "exec")'
if ! python -c "$compile" <"$script" 2>/dev/null; then
  mv "$script" "${script%.py}.ipy"
  script=${script%.py}.ipy
fi
# what is printed is not lost when the time limit ends the job
export PYTHONUNBUFFERED=1
# display(), %magics and !commands need IPython
ipython --colors=NoColor "$script"
SCRIPT
}

# find_output: sets output to where the job prints
find_output() {
  output=""
  if [[ $parameters ]]; then
    # Slurm names those of each task, and a number that none has for tasks that are still to come
    output=$(given --output=) output=${output#*=}
    output=${output//%A/$job} output=${output//%a/*}
    [[ ! $output || $output == /* ]] || output=$PWD/$output
    output=${output:-$directory/$name-${job}_*.out}
  elif [[ $(given --ou)$(given -o) ]]; then
    # what becomes of it, Slurm knows best; it leaves "%%" alone
    output=$(timeout "$SLURM_ANSWER" scontrol show job "$job" 2>/dev/null | sed -n 's/^ *StdOut=//p') || output=""
    output=${output//%%/%}
  fi
  output=${output:-$directory/$name-$job.out}
}

# printed COMMAND...: what it runs is shown instead
printed() { PRINT=yes "$@"; }

# keep_rows: puts the rows beside their results, for their table, and to go on with
keep_rows() {
  local words
  words=$({ mkdir -p -- "$results" && cp -- "$parameters" "$results/rows.json"; } 2>&1) || warn not_recorded job="$job" words="${words##*: }"
}

# say_results: says where they will be
say_results() {
  if [[ $parameters ]]; then
    [[ ! $rows_before ]] || say rows_as_submitted folder="$rows_before"
    say results_of_rows folder="$results"
  else
    say results_folder folder="$results"
  fi
}

# record_job: keeps what the job is, for `lab status`, `logs` and `stop`, and for claim_run (a folder, which lab sync leaves
# where it is)
record_job() {
  local folder=$FOLDER/.lab/jobs words path=$directory/$name.ipynb here
  here=$(cd -- "$FOLDER" && pwd -P)
  if ! words=$({ umask 077 && mkdir -p "$folder" && printf '%s\n' "${path#"$here/"}" "$output" ${execute:+"$results" "$rows" "${jobs:-0}"} >"$folder/$job"; } 2>&1); then
    warn not_recorded job="$job" words="${words##*: }"
  fi
  find "$folder" -type f -mtime "+$LOG_DAYS" -delete 2>/dev/null || true
  [[ ! $claim ]] || mkdir -p -- "$claim/resumed/$job" 2>/dev/null || true
  [[ ! $copies ]] || printf '%s\n' "$job" >"$copies/job" || true
  forget_copies
}
