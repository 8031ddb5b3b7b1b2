#!/bin/bash -p
# start_salloc.sh: asks Slurm for a compute node and starts JupyterLab on it
#
#   ./start_salloc.sh                   with the resources of settings.yml
#   ./start_salloc.sh --time=3:00:00    other options go to salloc as they are,
#                                       and take precedence; values follow an
#                                       equals sign
#   ./start_salloc.sh --print           shows the command instead of running it
#   ./start_salloc.sh --help            this text
#
# Run it on a login node, after setup_env.sh. While the job waits, salloc says so;
# Ctrl-C then cancels it.
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

server=("$FOLDER/jupyterlab.sh")
if [[ $FACT_scheduler == none ]]; then
  ((${#OPTIONS[@]} == 0)) || misuse unknown_option option="${OPTIONS[0]}"
  run exec "${server[@]}"
  exit
fi

for option in ${OPTIONS[@]+"${OPTIONS[@]}"}; do
  [[ $option == -* ]] || not_understood "$option"
done
at_most hours "$FACT_interactive_hours_max"
slurm_options
command=(salloc "${SLURM_OPTIONS[@]}" ${OPTIONS[@]+"${OPTIONS[@]}"} srun "${server[@]}")
if [[ ! $PRINT ]]; then
  ! on_compute_node || misuse on_compute_node
  not_elsewhere
  command -v salloc >/dev/null || misuse no_slurm command=salloc cluster="$CLUSTER_NAME" login="$(login_name)"
  complete_environment
  need_environment
  # the job inherits them, so that the node need not load them
  modules=$(recorded_modules)
  load_modules "$modules"
fi
folder=$(submission_folder)
[[ ! $folder ]] || run cd "$folder"
status=0
# this script has the last word, also where a session could not say its own
export PASSERELLE_SALLOC=yes
run_in_slurm "${command[@]}" || status=$?
[[ ! ${ALLOCATED:-} ]] || say ended
exit "$status"
