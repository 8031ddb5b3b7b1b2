#!/bin/bash -p
# dask_job.sh: Dask in the job of a notebook that runs itself, configured as in a session
#
#   DASK_CONFIG=$(bash -p lib/compute_node/dask_job.sh)
#   DASK_CONFIG=FOLDER bash -p lib/compute_node/dask_job.sh --end
#
# It prints the folder of the configuration, or nothing, with a line that says why. --end withdraws the workers; what is in
# the folder is worth nothing any more, and goes.
[[ $- == *p* ]] || exec "$BASH" -p "$0" "$@"
set -euo pipefail
FOLDER=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
folder=${DASK_CONFIG:-}
source "$FOLDER/lib/cluster/clean.sh"
begin_clean "$@"
source "$FOLDER/lib/both/settings.sh"
source "$FOLDER/lib/both/login.sh"
source "$FOLDER/lib/cluster/environment.sh"
source "$FOLDER/lib/cluster/places.sh"
source "$FOLDER/lib/compute_node/session.sh"
parse_options more "$@"
load_settings
complete_environment

load_plugin extensions dask
if [[ ${OPTIONS[*]-} == --end ]]; then
  DASK_CONFIG=$folder
  end_dask
  exit
fi
forget_ended_sessions
# the key is nobody else's business
umask 077
environment=$(environment_path)
choose_address
AT_END=()
plugin_session
[[ ! ${DASK_CONFIG:-} ]] || printf '%s\n' "$DASK_CONFIG"
