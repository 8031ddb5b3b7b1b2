#!/bin/bash -p
# setup_env.sh: builds JupyterLab's Python environment and installs the kernels
#
#   ./setup_env.sh                does what is missing; safe to run at any time
#   ./setup_env.sh --rebuild      builds the environment anew, with the newest
#                                 versions, and writes requirements.lock anew
#   ./setup_env.sh --fetch        as without, or with another option; what the
#                                 wheelhouse lacks is fetched from PyPI
#   ./setup_env.sh --add KERNEL PACKAGE...
#                                 installs more packages: --add python numpy,
#                                 --add julia Glob, --add r doParallel
#   ./setup_env.sh --register ENVIRONMENT NAME
#                                 makes another Python environment a kernel called
#                                 NAME
#   ./setup_env.sh --print        shows the commands instead of running them
#   ./setup_env.sh --help         this text
#
# Run it on a login node. A new environment is built beside the old one and takes
# its place when it is complete: environment_path is a link to it. Whatever you
# installed yourself with pip is carried over. Packages are those of settings.yml
# and of requirements.txt, if there is one; requirements.lock keeps their
# versions, and the next setup_env.sh, here or elsewhere, installs these.
[[ $- == *p* ]] || exec "$BASH" -p "$0" "$@"
set -euo pipefail
FOLDER=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
source "$FOLDER/lib/cluster/clean.sh"
begin_clean "$@"
source "$FOLDER/lib/both/settings.sh"
source "$FOLDER/lib/both/login.sh"
source "$FOLDER/lib/cluster/environment.sh"
source "$FOLDER/lib/cluster/archive.sh"
source "$FOLDER/lib/cluster/places.sh"
source "$FOLDER/lib/login_node/progress.sh"
source "$FOLDER/lib/login_node/build.sh"
source "$FOLDER/lib/login_node/quota.sh"
parse_options more "$@"
load_settings
FETCH="" RENEW="" words=()
for option in ${OPTIONS[@]+"${OPTIONS[@]}"}; do
  if [[ $option == --fetch ]]; then FETCH=yes; else words+=("$option"); fi
done
OPTIONS=(${words[@]+"${words[@]}"})
[[ ${OPTIONS[0]:-} != --rebuild ]] || RENEW=yes
[[ $PRINT ]] || on_compute_node || not_elsewhere
complete_environment

[[ $PRINT || $FACT_internet_on_compute == direct ]] || ! on_compute_node \
  || misuse no_internet_here cluster="$CLUSTER_NAME" login="$(login_name)"
path=$(environment_path)
check_location
PIP_OPTIONS=()
[[ $FACT_pip_source == pypi ]] || PIP_OPTIONS=(--no-index)
[[ $FETCH ]] || find_wheels

if [[ ${OPTIONS[0]:-} != --register && ! $PRINT ]] && somebody_elses "$path"; then
  [[ -x $path/bin/jupyter-lab ]] || die environment_closed path="$path" owner="$(owner_of "$path")"
  misuse not_yours path="$path" owner="$(owner_of "$path")" example="$(own_place "$RULE_environment_path_example")"
fi
[[ $PRINT ]] || not_closed "$path"
[[ $PRINT ]] || as_open_as_before

case ${OPTIONS[0]:-} in
  --add)
    ((${#OPTIONS[@]} > 2)) || misuse what_to_add
    begin_log
    add_packages "${OPTIONS[@]:1}"
    exit
    ;;
  --register)
    ((${#OPTIONS[@]} == 3)) || misuse what_to_register
    begin_log
    register_environment "${OPTIONS[@]:1}"
    exit
    ;;
  --rebuild | "") ((${#OPTIONS[@]} < 2)) || misuse unknown_option option="${OPTIONS[1]}" ;;
  *) misuse unknown_option option="${OPTIONS[0]}" ;;
esac

if [[ -e $path && ! -L $path ]]; then die not_ours path="$path" place="$LINE_environment_path"; fi
rebuild=yes
if [[ ${OPTIONS[0]:-} != --rebuild ]]; then
  if built_from_these_settings; then rebuild=""; else need_own_environment; fi
fi
if [[ $rebuild ]]; then modules=$(session_modules); else modules=$(recorded_modules); fi
load_modules "$modules"
if [[ ! $PRINT ]]; then
  # the person's own computer may have modules, too
  [[ $FACT_scheduler != slurm ]] || on_compute_node || command -v sbatch >/dev/null \
    || misuse no_slurm command=sbatch cluster="$CLUSTER_NAME" login="$(login_name)"
  # from here on nothing is refused, and something may be written
  one_at_a_time "$path.lock"
  # another one may have done it meanwhile
  [[ ${OPTIONS[0]:-} == --rebuild ]] || ! built_from_these_settings || rebuild=""
  begin_log
  # scp makes a file of the link; as a link, "copier update" finds what was edited in settings.yml
  if [[ -f $FOLDER/.copier-answers.yml && ! -L $FOLDER/.copier-answers.yml ]]; then ln -sf settings.yml "$FOLDER/.copier-answers.yml"; fi
  remove_leftovers "$path.builds"
fi
if [[ $rebuild ]]; then
  [[ $PRINT ]] || mind_the_quota
  build_environment
else
  run source "$path/bin/activate"
  : "${VIRTUAL_ENV:=$path}"
  pip_settings pip
  set_up_plugins
  if [[ ! $PRINT ]]; then
    record_modules "$path" "$modules"
    record_kernels "$path"
    # of an environment that was built before this was kept
    [[ -e $path/passerelle.folder ]] || record_folder "$path"
    [[ -e $FOLDER/requirements.lock ]] || write_lock
  fi
  pack_environment "$path"
fi
if [[ $PRINT ]]; then exit; fi

# the wiki's check, for who has typed this
[[ ${PASSERELLE_REQUEST:-} ]] || pip freeze | grep '^jupyter'
[[ ! $FAILED ]] || die plugins_failed names="${FAILED# }"
say environment_ready path="$path"
# a script that goes on from here says what comes next
[[ ${PASSERELLE_GOES_ON:-} ]] || say environment_next
