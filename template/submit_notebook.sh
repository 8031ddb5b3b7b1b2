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
#   ./submit_notebook.sh --requeue=3 NOTEBOOK
#                                           with each of these: goes on in the
#                                           same job when the time limit has
#                                           come, at most 3 times
#   ./submit_notebook.sh --keep-state NOTEBOOK
#                                           with each of these: keeps variables
#                                           (Python, R), so that finished cells
#                                           need not run again
#   ./submit_notebook.sh --print NOTEBOOK   writes the sbatch script instead of
#                                           submitting it
#   ./submit_notebook.sh --help             this text
#
# For anything longer than a session. The job converts the notebook to a Python
# script (nbconvert) and runs that with IPython; an error in it makes the job
# FAILED. With --execute, the notebook with all that it shows, and a report to
# read (HTML), are in a folder of their own in results/; each cell is there as
# soon as it has run. Without --keep-state, --resume runs the finished cells
# again, except those tagged "once"; with it, those tagged "always". The columns
# of a TABLE are names to which the cell tagged "parameters" gives values; what
# is written as JSON writes numbers, true, false and null is that, all else is
# text. As many jobs are submitted as the cluster allows, or --jobs=NUMBER; they
# share the rows. What has become of each row is in rows.csv, beside their
# results; --resume runs those that have failed or never run. Keep the script
# that --print writes, edit it, share it: sbatch takes it as it is.
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
source "$FOLDER/lib/login_node/notebook.sh"
parse_options more "$@"
load_settings

notebook="" options=() execute="" resume="" table="" jobs="" requeue="" keep_state=""
for option in ${OPTIONS[@]+"${OPTIONS[@]}"}; do
  case $option in
    --execute) execute=yes ;;
    --resume) execute=yes resume=last ;;
    --resume=?*) execute=yes resume=${option#*=} ;;
    --parameters=?*) execute=yes table=${option#*=} ;;
    --jobs=[1-9]*) jobs=${option#*=} ;;
    --requeue) misuse requeue_number ;;
    --requeue=*) execute=yes requeue=${option#*=} ;;
    --keep-state) execute=yes keep_state=yes ;;
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
not_too_long "$(basename -- "$notebook" .ipynb)"
environment=$(environment_path)
language=$(python3 "$FOLDER/lib/login_node/language.py" "$notebook" "$environment") || misuse not_a_notebook notebook="$notebook"
kernel=${language#*$'\t'} language=${language%%$'\t'*}
case ${execute:-$language} in
  python) ;;
  yes)
    [[ ! $kernel || ! -x $environment/bin/python ]] || misuse kernel_missing notebook="$notebook" kernel="$kernel" folder="$environment"
    [[ ! $keep_state || $language == [Rr] || $language == python ]] || misuse variables_of_language notebook="$notebook" language="$language"
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
results=results/$today-$name run_before="" rows_before="" claim="" parameters="" rows=0 copies="" copies_stay="" copy=""
trap leave EXIT
[[ ! $requeue || $requeue =~ ^[1-9][0-9]?$ ]] || misuse unknown_option option="--requeue=$requeue"
[[ ! $resume$table || -x $environment/bin/python ]] || need_environment
[[ $PRINT ]] || find_output_folders
[[ ! $resume ]] || find_run
[[ ! $jobs || $table$rows_before ]] || misuse jobs_without_table
[[ ! $execute || ($PRINT && ! $table$rows_before) ]] || make_copies
[[ ! $table$rows_before ]] || share_rows

if [[ ! $PRINT ]]; then
  [[ -w $directory ]] || misuse notebook_folder_closed notebook="$notebook" folder="$directory"
  not_elsewhere
  command -v sbatch >/dev/null || misuse no_slurm command=sbatch cluster="$CLUSTER_NAME" login="$(login_name)"
  complete_environment
fi
modules=$(recorded_modules)

if [[ $PRINT ]]; then
  batch_script
  copies_stay=yes
  exit
fi
need_environment
[[ ! $folder ]] || cd "$folder"
OPTIONS=(${options[@]+"${options[@]}"})
answer=$(run_in_slurm sbatch <<<"$(batch_script)")
copies_stay=yes
job=$(job_number "$answer") || die no_job_number answer="${answer//$'\n'/ }"
# what a cluster says before
printf '%s' "${answer%Submitted batch job *}"
find_output
results=${execute:+$directory/$results-$job}
[[ ! $parameters ]] || keep_rows
record_job
# requests/batch.sh sets this
if [[ ${PASSERELLE_LAB:-} ]]; then
  say lab_submitted job="$job" output="$output"
else
  say submitted job="$job" output="$output"
fi
[[ ! $execute ]] || say_results
