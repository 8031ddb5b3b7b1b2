#!/bin/bash -p
# submit_session.sh: asks Slurm for a session that needs no open window
#
#   ./submit_session.sh                   with the resources of settings.yml,
#                                         named after the project
#   ./submit_session.sh --name=NAME       another name, for a second session at
#                                         the same time
#   ./submit_session.sh --set-up          first runs ./setup_env.sh if the
#                                         environment is missing or out of date
#   ./submit_session.sh --time=3:00:00    other options are sbatch's, and take
#                                         precedence; values follow an equals sign
#   ./submit_session.sh --print           writes the sbatch script instead of
#                                         submitting it
#   ./submit_session.sh --help            this text
#
# The session waits and runs as a batch job; one of that name that is there
# already is not made twice. Run this on a login node; `./lab open` on your
# computer does it for you. Without lab, ./tunnel_ssh.sh finds the session as soon
# as it runs; `scancel JOB` ends it.
[[ $- == *p* ]] || exec "$BASH" -p "$0" "$@"
set -euo pipefail
FOLDER=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$FOLDER/lib/cluster/clean.sh"
begin_clean "$@"
source "$FOLDER/lib/both/settings.sh"
source "$FOLDER/lib/both/login.sh"
source "$FOLDER/lib/cluster/environment.sh"
source "$FOLDER/lib/cluster/archive.sh"
source "$FOLDER/lib/cluster/slurm.sh"
source "$FOLDER/lib/cluster/jobs.sh"
source "$FOLDER/lib/cluster/places.sh"
parse_options more "$@"
load_settings

name=$SETTING_project_name set_up="" options=()
for option in ${OPTIONS[@]+"${OPTIONS[@]}"}; do
  case $option in
    --name=*) name=${option#*=} ;;
    --set-up) set_up=yes ;;
    # they would make something else of it than one session of that name, whose log lab finds
    --job-name* | -J* | --array* | -a* | --test-only | --wait | -W | --wrap* | --parsable | --output* | -o* | --error* | -e*) misuse unknown_option option="$option" ;;
    -*)
      option=$(directive "$option")
      options+=("$option")
      ;;
    *) not_understood "$option" ;;
  esac
done
[[ $FACT_scheduler == slurm ]] || misuse no_session_job cluster="$CLUSTER_NAME" place="$LINE_cluster"
[[ $name =~ ^$RULE_project_name$ && ${#name} -le $SESSION_NAME ]] || misuse bad_session_name name="$name" most="$SESSION_NAME"
slurm_options

batch_script() {
  echo '#!/bin/bash'
  # sbatch replaces %j in --output; a "%" of the path itself is doubled
  local logs
  logs=$(state_folder)/logs
  printf '#SBATCH %s\n' "${SLURM_OPTIONS[@]}" --job-name="$SESSION_PREFIX$name" --output="\"${logs//%/%%}/$name-%j.log\"" \
    --no-requeue ${options[@]+"${options[@]}"}
  # what it was submitted with, for who edits settings.yml later (lib/login_node/changed.sh)
  session_settings | sed 's/^/# settings.yml: /'
  show_command exec "$FOLDER/jupyterlab.sh"
}

if [[ ! $PRINT ]]; then
  ! on_compute_node || misuse on_compute_node
  not_elsewhere
  command -v sbatch >/dev/null || misuse no_slurm command=sbatch cluster="$CLUSTER_NAME" login="$(login_name)"
  # where Slurm does not say, sbatch will
  job=$(job_of "$name") || job=""
  [[ ! $job ]] || die session_there name="$name" job="$job"
  complete_environment
  folder=$(submission_folder)
  # standard output is for sbatch's answer
  [[ ! $set_up ]] || need_shared_environment
  if [[ $set_up ]] && ! up_to_date && ! somebody_elses "$(environment_path)"; then
    # what Slurm refuses is said now, and not minutes later
    words=$(cd "${folder:-.}" && run_in_slurm try_job <<<"$(batch_script)" 2>&1) || {
      printf '%s\n' "$words" >&2
      exit 1
    }
    PASSERELLE_GOES_ON=yes "$FOLDER/setup_env.sh" >&2
    # lab shows what else it waits for
    [[ ! ${PASSERELLE_REQUEST:-} ]] || printf '\npasserelle\t%s\tbuilding\t\n' "$PASSERELLE_REQUEST" >&2
  fi
  # which is lab's, and not the job's
  unset PASSERELLE_REQUEST
  need_environment
  # the job inherits them, so that the node need not load them
  modules=$(recorded_modules)
  load_modules "$modules"
  # the server prints its token: what it prints is nobody else's business
  umask 077
  logs_folder >/dev/null
fi

if [[ $PRINT ]]; then
  batch_script
  exit
fi
[[ ! $folder ]] || cd "$folder"
answer=$(run_in_slurm sbatch <<<"$(batch_script)")
printf '%s\n' "$answer"
if job=$(job_number "$answer"); then say session_waits name="$name" job="$job"; fi
