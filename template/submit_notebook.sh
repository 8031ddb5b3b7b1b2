#!/bin/bash -p
# submit_notebook.sh: runs a notebook as a batch job
#
#   ./submit_notebook.sh NOTEBOOK           with the resources of settings.yml
#   ./submit_notebook.sh NOTEBOOK --time=24:00:00
#                                           other options are sbatch's, and take
#                                           precedence; values follow an equals
#                                           sign
#   ./submit_notebook.sh --print NOTEBOOK   writes the sbatch script instead of
#                                           submitting it
#   ./submit_notebook.sh --help             this text
#
# For anything longer than a session. The job converts the notebook to a Python
# script (nbconvert) and runs that; an error in it makes the job FAILED. Keep the
# script that --print writes, edit it, share it: sbatch takes it as it is.
[[ $- == *p* ]] || exec "$BASH" -p "$0" "$@"
set -euo pipefail
FOLDER=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$FOLDER/lib/cluster/clean.sh"
begin_clean "$@"
source "$FOLDER/lib/both/settings.sh"
source "$FOLDER/lib/both/login.sh"
source "$FOLDER/lib/cluster/environment.sh"
source "$FOLDER/lib/cluster/slurm.sh"
parse_options more "$@"
load_settings

notebook="" options=()
for option in ${OPTIONS[@]+"${OPTIONS[@]}"}; do
  case $option in
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
[[ $(cd -- "$(dirname -- "$notebook")" && pwd -P)/$notebook != *[\"\\{}$'\n']* ]] || misuse strange_path notebook="$notebook"
language=$(python3 -c '
import json, sys
notebook = json.load(open(sys.argv[1], encoding="utf-8"))
notebook["nbformat"]
metadata = notebook.get("metadata", {})
print(metadata.get("language_info", {}).get("name") or metadata.get("kernelspec", {}).get("language") or "python")
' "$notebook" 2>/dev/null) || misuse not_a_notebook notebook="$notebook"
[[ $language == python ]] || misuse not_python notebook="$notebook" language="$language"

directory=$(cd -- "$(dirname -- "$notebook")" && pwd -P)
name=$(basename -- "$notebook" .ipynb)
folder=$(submission_folder)
# ~/scratch is a link
[[ ! -d $folder ]] || folder=$(cd -- "$folder" && pwd -P)
[[ $FACT_home_on_compute == writable || $directory/ == "$folder"/* || $PRINT ]] \
  || misuse notebook_not_on_scratch notebook="$notebook" cluster="$CLUSTER_NAME" scratch="$folder"
slurm_options

if [[ ! $PRINT ]]; then
  not_elsewhere
  command -v sbatch >/dev/null || misuse no_slurm command=sbatch cluster="$CLUSTER_NAME" login="$(login_name)"
  complete_environment
fi
modules=$(recorded_modules)
environment=$(environment_path)

batch_script() {
  echo '#!/bin/bash'
  # sbatch replaces %j in --output; a "%" of the path itself is doubled
  printf '#SBATCH %s\n' "${SLURM_OPTIONS[@]}" --job-name="${name//[^A-Za-z0-9._-]/_}" \
    --output="\"${directory//%/%%}/${name//%/%%}-%j.out\"" ${options[@]+"${options[@]}"}
  echo
  if [[ $modules ]]; then
    # a job does not always inherit the function
    echo 'type module &>/dev/null || source /etc/profile'
    # shellcheck disable=SC2086 # words
    show_command module load $modules
  fi
  show_command source "$environment/bin/activate"
  show_command cd "$directory"
  echo 'set -e'
  # a script of its own for each job, so that two jobs of one notebook do not meet; it stays as what was run
  printf 'name=%s\n' "$(show_command "$name")"
  cat <<'SCRIPT'
script=./$name-$SLURM_JOB_ID
jupyter nbconvert --to python --output "$script" "./$name.ipynb"
# %magics and !commands of a notebook need IPython
if grep -q get_ipython "$script.py"; then
  ipython "$script.py"
else
  python "$script.py"
fi
SCRIPT
}

if [[ $PRINT ]]; then
  batch_script
  exit
fi
need_environment
[[ ! $folder ]] || cd "$folder"
answer=$(run_in_slurm sbatch <<<"$(batch_script)")
# on some clusters more follows the number
[[ $answer =~ [0-9]+ ]] || true
if [[ $(given --output)$(given -o) ]]; then
  # Slurm knows where that is
  printf '%s\n' "$answer"
else
  say submitted answer="$answer" output="$directory/$name-${BASH_REMATCH[0]:-}.out"
fi
