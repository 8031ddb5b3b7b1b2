#!/bin/bash -p
# jupyterlab.sh: the JupyterLab server of a session, on a compute node
#
#   ./jupyterlab.sh            what start_salloc.sh runs within a job
#   ./jupyterlab.sh --print    shows the commands instead of running them
#   ./jupyterlab.sh --help     this text
#
# It prints the address of the server and the tunnel commands for this session,
# and runs until the job ends or Ctrl-C ends it (twice, quickly, under salloc).
# The server chooses a free port itself. Before the time limit it says how much
# time is left and makes a checkpoint of every open notebook. When nothing has
# been done in it for idle_minutes (settings.yml), it says so and ends.
[[ $- == *p* ]] || exec "$BASH" -p "$0" "$@"
set -euo pipefail
FOLDER=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$FOLDER/lib/cluster/clean.sh"
# bash looks at where it is whenever it looks for a command: on the node's own disk, that costs nothing
[[ $0 != /* ]] || cd "${SLURM_TMPDIR:-.}" 2>/dev/null || true
begin_clean "$@"
source "$FOLDER/lib/both/settings.sh"
source "$FOLDER/lib/both/login.sh"
source "$FOLDER/lib/cluster/environment.sh"
source "$FOLDER/lib/cluster/archive.sh"
source "$FOLDER/lib/cluster/places.sh"
source "$FOLDER/lib/compute_node/session.sh"
parse_options none "$@"
load_settings
complete_environment

[[ $PRINT || $FACT_scheduler == none ]] || on_compute_node || misuse not_on_compute_node
[[ $PRINT ]] || need_environment
modules=$(recorded_modules)
load_modules "$modules"
enter_environment
each_plugin plugin_environment

# the login node's, which does not exist here
run unset XDG_RUNTIME_DIR
# tokens and sockets are nobody else's business
run umask 077
choose_address
choose_start
private_folders
AT_END=()
[[ $PRINT ]] || {
  choose_idleness
  not_through_proxies
  as_many_threads_as_cores
  each_plugin plugin_session
}
command=(jupyter-lab --ip "$ADDRESS" --no-browser "--ServerApp.root_dir=$ROOT" "--FileContentsManager.preferred_dir=$START")
# the only user of many a container; on a cluster nobody is
((EUID)) || command+=(--allow-root)
if [[ $PRINT ]]; then
  # shellcheck disable=SC2016 # the node will know it
  show_command "${command[@]}" | sed "s/'\(\$(hostname -f)\)'/\1/"
  exit
fi

server="" watcher="" stopped=""
trap 'end_session' EXIT
# in a process group of its own, so that Ctrl-C comes here and not to the kernels
set -m
# the same command, sooner and surer; by its whole path, so that setup_env.sh sees that the build is used (runs_here)
"$VIRTUAL_ENV/bin/python" "$OURS/compute_node/jupyter-lab.py" "${command[@]:1}" </dev/null &
server=$!
set +m
trap 'stopped=yes; say stopping; kill -TERM "$server" 2>/dev/null' INT TERM HUP
trap 'warn_of_time_limit' USR1
announce_session "$server"
watch_the_time &
watcher=$!
# a trap interrupts wait; the server is still there then
while kill -0 "$server" 2>/dev/null; do
  wait "$server" || true
done
# bash keeps how it has ended
status=0
wait "$server" || status=$?
# stopped on request is no failure
[[ ! $stopped ]] || status=0
exit "$status"
