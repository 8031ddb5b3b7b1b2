# shellcheck shell=bash
# For lab, where there is a Slurm: is this computer the folder's cluster? Status 0: yes; 1: no; 64: the line says what is
# wrong.
set -euo pipefail
FOLDER=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
source "$FOLDER/lib/both/settings.sh"
source "$FOLDER/lib/both/login.sh"
load_settings
on_the_cluster
