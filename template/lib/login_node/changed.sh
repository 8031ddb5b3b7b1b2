# shellcheck shell=bash
# Which settings have changed since a session was submitted, in a process of its own: bash -p lib/login_node/changed.sh JOB.
# Prints their names; none where its script, which Slurm keeps, does not say what it was submitted with.
set -euo pipefail
FOLDER=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
source "$FOLDER/lib/cluster/clean.sh"
begin_clean "$@"
source "$FOLDER/lib/both/settings.sh"
load_settings
then=$(scontrol write batch_script "$1" - | sed -n 's/^# settings\.yml: //p')
[[ ! $then ]] || LC_ALL=C comm -3 <(LC_ALL=C sort <<<"$then") <(session_settings | LC_ALL=C sort) \
  | sed -E 's/^\t?([a-z_]+):.*/\1/' | uniq | paste -s -d ' '
