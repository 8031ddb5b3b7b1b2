# shellcheck shell=bash
# A notebook as a batch job, for submit_notebook.sh, which sets what stands in small letters: the script that Slurm is given,
# and what has to be known before.

# find_run: sets run_before to what the run that is taken up has left, as it is seen from the notebook
find_run() {
  local run newest=0
  if [[ $resume == last ]]; then
    for run in "$directory"/results/*-"$name"-*[0-9]; do
      # a name that is no number would be looked up, or worse
      [[ ${run##*-} =~ ^[1-9][0-9]{0,11}$ && -e $run/$name.ipynb ]] || continue
      if ((${run##*-} > newest)); then newest=${run##*-} run_before=$run/$name.ipynb; fi
    done
  elif [[ -e $resume/$name.ipynb ]]; then
    run_before=$(cd -- "$resume" && pwd)/$name.ipynb
  fi
  [[ $run_before ]] || misuse no_run_before notebook="$notebook" folder="${resume/#last/$directory/results}"
  "$environment/bin/python" "$FOLDER/lib/compute_node/notebook/resume.py" "$notebook" "$run_before" || exit 64
}

# share_rows: sets parameters to a copy of the table, which may change before all of it has run, rows to how many it has, and
# jobs to how many share them
share_rows() {
  local queued=0 most=$ARRAY_JOBS
  [[ ! $resume ]] || misuse not_both first=--resume second=--parameters
  [[ ! $jobs || $jobs =~ ^[1-9][0-9]{0,5}$ ]] || misuse unknown_option option="--jobs=$jobs"
  parameters=$FOLDER/.lab/parameters/$today-$name-$$.json
  words=$({ umask 077 && mkdir -p "${parameters%/*}"; } 2>&1) || die not_written path="${parameters%/*}" words="${words##*: }"
  rows=$("$environment/bin/python" "$FOLDER/lib/login_node/parameters.py" "$notebook" "$table" "$parameters") || exit 64
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
  local number=%j run at_once=""
  [[ ! $table ]] || number=%A_%a
  echo '#!/bin/bash'
  # sbatch replaces %j in --output; a "%" of the path itself is doubled
  printf '#SBATCH %s\n' "${SLURM_OPTIONS[@]}" --job-name="${name//[^A-Za-z0-9._-]/_}.ipynb" \
    --output="\"${directory//%/%%}/${name//%/%%}-$number.out\"" ${table:+--array="0-$((jobs - 1))"} \
    ${execute:+--signal="B:USR1@$BATCH_WARNING"} \
    ${options[@]+"${options[@]}"}
  echo
  if [[ $modules ]]; then
    # a job does not always inherit the function
    echo 'type module &>/dev/null || source /etc/profile'
    # shellcheck disable=SC2086 # words
    show_command module load $modules
  fi
  show_activation "$environment"
  show_command cd "$directory"
  if [[ $execute ]]; then
    # what the kernels need in a job
    SLURMD_NODENAME=job each_plugin printed plugin_environment
    # an old kernel of people's own would hide the environment's
    echo 'export JUPYTER_PREFER_ENV_PATH=1'
    echo "# it takes the batch script's place, so that Slurm's warning before the time limit reaches it"
    run=$FOLDER/lib/compute_node/notebook
    if [[ $table ]]; then
      # whole nodes run as many rows as they have cores for
      [[ $FACT_allocation == core || $FACT_node_cores == unknown ]] || at_once=$((FACT_node_cores > SETTING_cores ? FACT_node_cores / SETTING_cores : 1))
      # shellcheck disable=SC2016 # the job will know it
      printf 'exec %s"$SLURM_ARRAY_JOB_ID" %s\n' "$(show_command python "$run/rows.py" "./$name.ipynb" "$results-")" \
        "$(show_command "$parameters" "${at_once:-1}")"
    else
      # shellcheck disable=SC2016
      printf 'exec %s"$SLURM_JOB_ID"%s\n' "$(show_command python "$run/run.py" "./$name.ipynb" "$results-")" \
        "${run_before:+ $(show_command --again "$run_before")}"
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

# printed COMMAND...: what it runs is shown instead
printed() { PRINT=yes "$@"; }

# record_job: keeps what the job is, for `lab status`, `logs` and `stop`
record_job() {
  local jobs=$FOLDER/.lab/jobs words path=$directory/$name.ipynb here
  here=$(cd -- "$FOLDER" && pwd -P)
  if ! words=$({ umask 077 && mkdir -p "$jobs" && printf '%s\n' "${path#"$here/"}" "$output" ${execute:+"$results" "$rows"} >"$jobs/$job"; } 2>&1); then
    warn not_recorded job="$job" words="${words##*: }"
  fi
  find "$jobs" -type f -mtime "+$LOG_DAYS" -delete 2>/dev/null || true
}
