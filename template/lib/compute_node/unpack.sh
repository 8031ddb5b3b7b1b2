#!/bin/bash -p
# unpack.sh: for any job, puts an environment on the node's own disk
#
#   environment=$(bash -p lib/compute_node/unpack.sh ENVIRONMENT)
#   source "$environment/bin/activate"
#
# It prints where the environment is: in $SLURM_TMPDIR, or, with a line that says why, where it was built.
[[ $- == *p* ]] || exec "$BASH" -p "$0" "$@"
set -euo pipefail
FOLDER=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
source "$FOLDER/lib/cluster/clean.sh"
begin_clean "$@"
source "$FOLDER/lib/both/messages.sh"
source "$FOLDER/lib/cluster/archive.sh"
unpack_environment "$1"
