#!/bin/bash -p
# submit_notebook.sh: runs a notebook as a batch job
#
#   ./submit_notebook.sh NOTEBOOK           with the resources of settings.yml
#   ./submit_notebook.sh NOTEBOOK --time=24:00:00
#                                           other options are sbatch's, and take
#                                           precedence; values follow an equals
#                                           sign
#   ./submit_notebook.sh --execute NOTEBOOK
#                                           runs the notebook itself, in its own
#                                           kernel (Python, R, Julia)
#   ./submit_notebook.sh --resume NOTEBOOK  the same, from where its last run has
#                                           ended; --resume=FOLDER: that run
#   ./submit_notebook.sh --parameters=TABLE NOTEBOOK
#                                           once for each row of a table (.csv,
#                                           .json, .yml): a job array
#   ./submit_notebook.sh --print NOTEBOOK   writes the sbatch script instead of
#                                           submitting it
#   ./submit_notebook.sh --help             this text
#
# For anything longer than a session. The job converts the notebook to a Python
# script (nbconvert) and runs that with IPython; an error in it makes the job
# FAILED. With --execute, the notebook with all that it shows, and a report to
# read (HTML), are in a folder of their own in results/; each cell is there as
# soon as it has run. Variables are not kept: --resume runs the finished cells
# again, except those tagged "once". The columns of a TABLE are names to which the
# cell tagged "parameters" gives values; what is written as JSON writes numbers,
# true, false and null is that, all else is text. As many jobs are submitted as
# the cluster allows, or --jobs=NUMBER; they share the rows. Keep the script that
# --print writes, edit it, share it: sbatch takes it as it is.
[[ $- == *p* ]] || exec "$BASH" -p "$0" "$@"
set -euo pipefail
FOLDER=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$FOLDER/lib/cluster/clean.sh"
begin_clean "$@"
source "$FOLDER/lib/both/settings.sh"
source "$FOLDER/lib/both/login.sh"
source "$FOLDER/lib/cluster/environment.sh"
source "$FOLDER/lib/cluster/slurm.sh"
source "$FOLDER/lib/cluster/jobs.sh"
parse_options more "$@"
load_settings

notebook="" options=() execute="" resume="" table="" jobs=""
for option in ${OPTIONS[@]+"${OPTIONS[@]}"}; do
  case $option in
    --execute) execute=yes ;;
    --resume) execute=yes resume=last ;;
    --resume=?*) execute=yes resume=${option#*=} ;;
    --parameters=?*) execute=yes table=${option#*=} ;;
    --jobs=[1-9]*) jobs=${option#*=} ;;
    # they would make something else of it than one job, whose number sbatch says at once (getopt takes shortened names)
    --ar* | -a* | --te* | --wr* | --wait | -W* | --pars* | --qu* | -Q* | --usa* | --he* | -h* | --vers* | -V*)
      misuse not_for_notebooks option="$option"
      ;;
    -*)
      option=$(directive "$option")
      options+=("$option")
      ;;
    *)
      [[ ! $notebook ]] || misuse one_notebook first="$notebook" second="$option"
      notebook=$option
      ;;
  esac
done
[[ $FACT_scheduler == slurm ]] || misuse no_batch cluster="$CLUSTER_NAME" place="$LINE_cluster"
[[ $notebook ]] || misuse which_notebook
[[ $notebook == *.ipynb && -f $notebook ]] || misuse no_such_notebook notebook="$notebook"
# sbatch has no way to write these in #SBATCH --output
directory=$(cd -- "$(dirname -- "$notebook")" && pwd -P && echo .)
directory=${directory%$'\n'.}
[[ $directory/$notebook != *[\"\\$'\n']* ]] || misuse strange_path notebook="$notebook"
environment=$(environment_path)
language=$(python3 "$FOLDER/lib/login_node/language.py" "$notebook" "$environment") || misuse not_a_notebook notebook="$notebook"
kernel=${language#*$'\t'} language=${language%%$'\t'*}
case ${execute:-$language} in
  python) ;;
  yes)
    [[ ! $kernel ]] || misuse kernel_missing notebook="$notebook" kernel="$kernel" folder="$environment"
    ;;
  "kernel "*) misuse unknown_language notebook="$notebook" kernel="${language#kernel }" ;;
  *) misuse not_python notebook="$notebook" language="$language" ;;
esac

name=$(basename -- "$notebook" .ipynb) today=$(date +%F)
folder=$(submission_folder)
# ~/scratch is a link
[[ ! -d $folder ]] || folder=$(cd -- "$folder" && pwd -P)
[[ $FACT_home_on_compute == writable || $directory/ == "$folder"/* || $PRINT ]] \
  || misuse notebook_not_on_scratch notebook="$notebook" cluster="$CLUSTER_NAME" scratch="$folder"
slurm_options
# find_run: sets run_before to what the run that is taken up has left, as it is seen from the notebook
find_run() {
  local run newest=0
  if [[ $resume == last ]]; then
    for run in "$directory"/results/*-"$name"-*[0-9]; do
      if [[ -e $run/$name.ipynb ]] && ((${run##*-} > newest)); then newest=${run##*-} run_before=$run/$name.ipynb; fi
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

run_before="" parameters="" rows=0
[[ ! $resume$table || -x $environment/bin/python ]] || need_environment
[[ ! $resume ]] || find_run
[[ ! $table ]] || share_rows

if [[ ! $PRINT ]]; then
  [[ -w $directory ]] || misuse notebook_folder_closed notebook="$notebook" folder="$directory"
  not_elsewhere
  command -v sbatch >/dev/null || misuse no_slurm command=sbatch cluster="$CLUSTER_NAME" login="$(login_name)"
  complete_environment
fi
modules=$(recorded_modules)

batch_script() {
  local number=%j run results at_once=""
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
  show_command source "$environment/bin/activate"
  show_command cd "$directory"
  if [[ $execute ]]; then
    (
      # what the kernels need in a job
      # shellcheck disable=SC2030 # for these lines alone
      SLURMD_NODENAME=job PRINT=yes
      each_plugin plugin_environment
    )
    # an old kernel of people's own would hide the environment's
    echo 'export JUPYTER_PREFER_ENV_PATH=1'
    echo "# it takes the batch script's place, so that Slurm's warning before the time limit reaches it"
    run=$FOLDER/lib/compute_node/notebook results=results/$today-$name-
    if [[ $table ]]; then
      # whole nodes run as many rows as they have cores for
      [[ $FACT_allocation == core || $FACT_node_cores == unknown ]] || at_once=$((FACT_node_cores / SETTING_cores))
      # shellcheck disable=SC2016 # the job will know it
      printf 'exec %s"$SLURM_ARRAY_JOB_ID" %s\n' "$(show_command python "$run/rows.py" "./$name.ipynb" "$results")" \
        "$(show_command "$parameters" "${at_once:-1}")"
    else
      # shellcheck disable=SC2016
      printf 'exec %s"$SLURM_JOB_ID"%s\n' "$(show_command python "$run/run.py" "./$name.ipynb" "$results")" \
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

# record_job: keeps what the job is, for `lab status`, `logs` and `stop`
record_job() {
  local jobs=$FOLDER/.lab/jobs words path=$directory/$name.ipynb here
  here=$(cd -- "$FOLDER" && pwd -P)
  if ! words=$({ umask 077 && mkdir -p "$jobs" && printf '%s\n' "${path#"$here/"}" "$output" >"$jobs/$job"; } 2>&1); then
    warn not_recorded job="$job" words="${words##*: }"
  fi
  find "$jobs" -type f -mtime "+$LOG_DAYS" -delete 2>/dev/null || true
}

# shellcheck disable=SC2031 # it was not
if [[ $PRINT ]]; then
  batch_script
  exit
fi
need_environment
[[ ! $folder ]] || cd "$folder"
answer=$(run_in_slurm sbatch <<<"$(batch_script)")
job=$(job_number "$answer") || die no_job_number answer="${answer//$'\n'/ }"
# what a cluster says before
printf '%s' "${answer%Submitted batch job *}"
# what becomes of --output, Slurm knows best; it leaves "%%" alone
output=$(timeout "$SLURM_ANSWER" scontrol show job "$job" 2>/dev/null | sed -n 's/^ *StdOut=//p') || output=""
output=${output//%%/%}
output=${output:-$directory/$name-$job.out}
record_job
# requests.sh sets this
if [[ ${PASSERELLE_LAB:-} ]]; then
  say lab_submitted job="$job" output="$output"
else
  say submitted job="$job" output="$output"
fi
[[ ! $execute ]] || say results_folder folder="$directory/results/$today-$name-$job"
