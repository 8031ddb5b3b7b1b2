# shellcheck shell=bash
# The modules and the Python environment of a session, the same at installation, in a job and in a batch job.

# spelt_out PATH PLACE: prints a path that may begin with $HOME, $SCRATCH or $PROJECT; with --print what is unset stays
spelt_out() {
  local path=$1 root
  if [[ $path == \$* ]]; then
    root=${path%%/*}
    root=${root#\$}
    [[ ${!root:-} || $PRINT ]] || die variable_not_set place="$2" name="$root"
    path=${!root:-\$$root}${path#"\$$root"}
  fi
  printf '%s\n' "$path"
}

# environment_path: prints where the environment lives
environment_path() {
  spelt_out "$SETTING_environment_path" "$LINE_environment_path"
}

# on_nodes: do sessions and batch jobs use a copy on their node's own disk?
on_nodes() {
  [[ ${SETTING_environment_location:-} == node && $FACT_scheduler == slurm ]]
}

# check_location: refuses an environment_location that environment_path does not lead to
check_location() {
  local place=${LINE_environment_location:-} at=$LINE_environment_path
  case ${SETTING_environment_location:-} in
    home) ! shared_environment || misuse location_not_home place="$place" path="$(environment_path)" path_place="$at" ;;
    project) shared_environment || misuse location_not_project place="$place" path="$(environment_path)" path_place="$at" ;;
  esac
}

# need_shared_environment: an environment that many are to share must be there: the first one belongs to whoever builds it, so
# nobody does that by the way
need_shared_environment() {
  local path
  path=$(environment_path)
  [[ ${SETTING_environment_location:-} != project || -e $path ]] || die nobodys_environment path="$path" login="$(login_name)"
}

# own_place PATH: prints what to write for an environment of one's own
own_place() {
  [[ ${SETTING_environment_location:-} != project ]] || printf 'environment_location: home, '
  printf 'environment_path: %s\n' "$1"
}

# scratch_folder: prints the user's scratch, which new users may not have yet
scratch_folder() {
  local folder=${SCRATCH:-\$SCRATCH}
  [[ -d $folder || $PRINT ]] || die no_scratch folder="$folder" cluster="$CLUSTER_NAME"
  printf '%s\n' "$folder"
}

# shared_environment: does the environment serve more people than its owner? Then kernels go into it, too.
shared_environment() {
  local around
  around=$(dirname "$(environment_path)")
  # ~/projects leads out of the home
  around=$(cd -P -- "$around" 2>/dev/null && pwd || printf '%s\n' "$around")
  [[ $around/ != "$(cd -P -- "$HOME" && pwd)"/* ]]
}

# somebody_elses PATH: is that somebody else's environment? Of a link that leads where nobody else gets, the link is asked.
somebody_elses() {
  local fields
  [[ -e $1 || -L $1 ]] || return 1
  [[ ! -e $1 || -O $1 ]] || return 0
  IFS=' ' read -r -a fields < <(ls -ldn -- "$1")
  ((fields[2] != EUID))
}

# not_closed PATH: ends the script where this person may not enter a folder on the way there
not_closed() {
  local folder=$1
  until [[ -d $folder ]]; do folder=$(dirname -- "$folder"); done
  [[ -x $folder ]] || die folder_closed path="$1" folder="$folder" owner="$(owner_of "$folder")"
}

# owner_of PATH: prints whose it is
owner_of() {
  local fields
  IFS=' ' read -r -a fields < <(ls -ldL -- "$1" 2>/dev/null || ls -ld -- "$1")
  printf '%s\n' "${fields[2]}"
}

# load_plugin KIND NAME: sources plugins/KIND/NAME.sh, which replaces some of these
load_plugin() {
  plugin_modules_before_python() { :; } # names of modules, printed
  plugin_modules() { :; }               # the same, to be loaded after python
  plugin_packages() { :; }              # Python packages for the environment, printed
  plugin_setup() { :; }                 # on the login node, in the environment: does what is missing
  plugin_add() { misuse cannot_add name="$PLUGIN"; }
  plugin_environment() { :; } # on the compute node: exports what the kernel needs
  plugin_session() { :; }     # there, in a session only; what it adds to AT_END is run when the session ends
  plugin_batch() { :; }       # what the batch script of a notebook that runs itself does before, printed
  PLUGIN=$2
  source "$FOLDER/plugins/$1/$2.sh"
}

# each_plugin COMMAND...: runs COMMAND once for each chosen extension and kernel, with its functions loaded
each_plugin() {
  local names name kind
  for kind in extensions kernels; do
    names="SETTING_$kind"
    for name in ${!names}; do
      load_plugin "$kind" "$name"
      "$@"
    done
  done
}

# session_modules: prints the modules in the order of the wiki page, rstudio-server before python
session_modules() {
  [[ $SETTING_python_module != none ]] || return 0
  local before="" after=""
  each_plugin collect_modules
  # shellcheck disable=SC2086 # words, and newlines between them
  echo $FACT_modules_first $before $SETTING_python_module $after
}
collect_modules() {
  before+=" $(plugin_modules_before_python)"
  after+=" $(plugin_modules)"
}

# temporary_file: prints a new one, in the home where there is no room for it elsewhere: a login node's /tmp is everybody's
temporary_file() {
  local folder file
  for folder in "${TMPDIR:-/tmp}" "$HOME"; do
    file=$(mktemp "$folder/.passerelle-XXXXXXXX" 2>&1) || continue
    # a file may still be made where nothing can be written
    if { echo >"$file"; } 2>/dev/null; then
      : >"$file"
      printf '%s\n' "$file"
      return
    fi
    rm -f "$file"
    file="No space left on device"
  done
  die not_written path="$folder" words="${file##*: }"
}

# complete_environment: a job may start with nothing (srun --export=NONE, as on Trillium), and a clean bash (clean.sh) has
# no `module`
complete_environment() {
  export USER=${USER:-$(id -un)}
  if [[ ! ${HOME:-} ]]; then
    unset HOME
    export HOME=~
  fi
  [[ $SETTING_python_module != none && ! $PRINT ]] || return 0
  type module &>/dev/null && return
  set +eu
  # where modules are in use, their function alone: /etc/profile may begin PATH anew
  # shellcheck source=/dev/null
  ! the_clusters "${MODULESHOME:-}/init/bash" || source "$MODULESHOME/init/bash"
  type module &>/dev/null || source /etc/profile &>/dev/null
  [[ ! ${TAKEN:-} || ! ${LOADEDMODULES:-} ]] || module reload &>/dev/null
  set -eu
}

# load_modules MODULES: loads what of these words is not loaded yet, in that order
load_modules() {
  local module missing=() words status unknown
  for module in $1; do
    [[ ":${LOADEDMODULES:-}:" == *":$module"[:/]* ]] || missing+=("$module")
  done
  ((${#missing[@]})) || return 0
  if [[ $PRINT ]]; then
    show_command module load "${missing[@]}"
    return
  fi
  type module &>/dev/null || misuse no_modules cluster="$CLUSTER_NAME" login="$(login_name)"
  words=$(temporary_file)
  # Lmod's function is not written for -e and -u
  set +eu
  module load "${missing[@]}" 2>"$words"
  status=$?
  set -eu
  unknown=$(sed -n 's/^"\(.*\)"$/\1/p' "$words")
  [[ $unknown && $status != 0 ]] || cat "$words" >&2
  rm -f "$words"
  ((status == 0)) || die module_missing modules="${unknown:-${missing[*]}}" place="$LINE_python_module"
}

# recorded_modules: the same, but with the versions that the environment was built with; somebody else's, whose settings
# may have changed, with all of its Python
recorded_modules() {
  local wanted module record name recorded="" own=""
  wanted=$(session_modules)
  record=$(environment_path)/passerelle.modules
  { IFS= read -r -d '' recorded <"$record"; } 2>/dev/null || true
  if [[ -O $record ]]; then own=yes; fi
  for module in $wanted; do
    name=$module
    [[ $own ]] || name=${module%%/*}
    if [[ $'\n'$recorded$'\n' =~ $'\n'("$name"/[^$'\n']*)$'\n' ]]; then module=${BASH_REMATCH[1]}; fi
    printf '%s\n' "$module"
  done
}

# specification: prints what an environment is built from; another text means another environment
specification() {
  local packages
  packages=$(wanted_packages)
  echo "python_module: $SETTING_python_module; modules_first: ${FACT_modules_first:-none}; pip_source: $FACT_pip_source; packages: ${packages//$'\n'/ }"
}

# wanted_packages: prints the Python packages of these settings
wanted_packages() {
  local packages
  packages=$(each_plugin plugin_packages)
  # an array: no "*" of a version is a file's name
  IFS=' ' read -r -a packages <<<"${packages//$'\n'/ } $SETTING_packages ${SETTING_requirements:-}"
  printf '%s\n' jupyterlab nbconvert "${packages[@]}"
}

# built_from_these_settings: is the environment complete, and what settings.yml asks for today? Sets LACKS and HAS, the
# packages in which it differs, BUILT_WITH where that is another Python, other modules or another source of packages, PINNED,
# of requirements.lock, which versions it has not, and GONE, its Python where that is no longer there
built_from_these_settings() {
  local built wanted package part asked="" there="" python words
  LACKS="" HAS="" BUILT_WITH="" PINNED="" GONE=""
  built=$(cat "$(environment_path)/passerelle.specification" 2>/dev/null) || return 1
  wanted=$(specification)
  asked=" ${wanted##*packages: } " there=" ${built##*packages: } "
  IFS=' ' read -r -a words <<<"$asked"
  for package in "${words[@]}"; do [[ $there == *" $package "* ]] || LACKS+=${LACKS:+, }$package; done
  IFS=' ' read -r -a words <<<"$there"
  for package in "${words[@]}"; do [[ $asked == *" $package "* ]] || HAS+=${HAS:+, }$package; done
  while IFS= read -r part; do
    [[ "; $wanted; " == *"; $part; "* ]] || BUILT_WITH+=${BUILT_WITH:+; }$part
  done < <(sed 's/; packages: .*//; s/; /\n/g' <<<"$built")
  python=$(environment_path)/bin/python
  [[ ! -L $python || -e $python ]] || GONE=$(readlink -- "$python")
  PINNED=$(other_pins "$FOLDER/requirements.lock" "$(environment_path)/passerelle.lock")
  LACKS=${LACKS//%20/ } HAS=${HAS//%20/ }
  [[ ! $LACKS$HAS$BUILT_WITH$PINNED$GONE ]]
}

# other_pins LOCK KEPT: prints those of LOCK, commas between, of which KEPT, what was locked when the environment was built, has
# another version. What only one of them has is no difference: another Python needs other packages.
other_pins() {
  if [[ ! -e $1 || ! -e $2 ]] || cmp -s -- "$1" "$2"; then return; fi
  pins "$1" | awk -F == 'FNR == NR { has[$1] = $2; next }
    $1 in has && has[$1] != $2 { shown = shown (shown ? ", " : "") $0 }
    END { print shown }' <(pins "$2") -
}

# a line of requirements.lock without its comment
PIN='[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+'

# pins LOCK: prints its lines "name==version" without their comments, and nothing else of it
pins() {
  LC_ALL=C sed -n -E "s/^($PIN) *(#.*)?\r?\$/\1/p" "$1"
}

# need_environment: ends the script when setup_env.sh has not built the environment; one line when it is not what
# settings.yml asks for
need_environment() {
  local path kernels
  path=$(environment_path)
  check_location
  if [[ ! -x $path/bin/jupyter-lab ]]; then
    if somebody_elses "$path"; then die environment_closed path="$path" owner="$(owner_of "$path")"; fi
    not_closed "$path"
    die no_environment path="$path" command="$(build_command)"
  fi
  # on the node it would be said a second time
  if on_compute_node; then return; fi
  if built_from_these_settings; then
    somebody_elses "$path" || return 0
  elif ! somebody_elses "$path"; then
    warn settings_changed path="$path" differences="$(differences)" command="$(build_command)"
    return
  fi
  kernels=$(missing_kernels)
  # that it has more than was asked for, as after its owner has added something, is no news
  [[ $LACKS$BUILT_WITH$PINNED$GONE$kernels ]] || return 0
  warn environment_differs path="$path" owner="$(owner_of "$path")" differences="$(differences "$kernels")" \
    example="$(own_place "$RULE_environment_path_example")"
}

# differences [KERNELS]: prints what built_from_these_settings has found, and the kernels that are missing
differences() {
  local words=()
  [[ ! ${1:-} ]] || words+=("$(message environment_lacks_kernels kernels="$1")")
  [[ ! $LACKS ]] || words+=("$(message environment_lacks packages="$LACKS")")
  [[ ! $HAS ]] || words+=("$(message environment_has packages="$HAS")")
  [[ ! $BUILT_WITH ]] || words+=("$(message environment_built_with words="$BUILT_WITH")")
  [[ ! $PINNED ]] || words+=("$(message environment_pinned packages="$PINNED")")
  [[ ! $GONE ]] || words+=("$(message environment_python_gone python="$GONE")")
  ((${#words[@]})) || words+=("$(message environment_no_record)")
  printf '%s; ' "${words[@]}" | sed 's/; $//'
}

# missing_kernels: prints those of settings.yml that the environment was built without, commas between; of one that was built
# before that was kept, none
missing_kernels() {
  local name record lacking=""
  record=$(environment_path)/passerelle.kernels
  [[ -r $record ]] || return 0
  for name in $SETTING_kernels; do
    # the others are modules of the cluster's, or packages
    ! grep -q '^plugin_setup' "$FOLDER/plugins/kernels/$name.sh" || grep -q -x "$name" "$record" || lacking+=${lacking:+, }$name
  done
  printf '%s\n' "$lacking"
}

# show_activation ENVIRONMENT: prints what activates it in a job
show_activation() {
  if on_nodes; then
    # shellcheck disable=SC2016 # the job will know it
    printf 'environment=$(%s)\n' "$(show_command bash -p "$FOLDER/lib/compute_node/unpack.sh" "$1")"
    # shellcheck disable=SC2016
    echo 'source "$environment/bin/activate"'
  else
    show_command source "$1/bin/activate"
  fi
}

# build_command: prints what builds the environment for who works by hand, and for who works with lab (requests/sessions.sh)
build_command() {
  if [[ ${PASSERELLE_LAB:-} ]]; then echo "./lab open"; else echo "./setup_env.sh"; fi
}

# cluster_kernel_module MODULE: prints it, for a kernel plugin, if the cluster's facts list it
cluster_kernel_module() {
  [[ " $FACT_kernel_modules " == *" ${1%%/*} "* ]] \
    || misuse no_kernel_module place="$LINE_kernels" name="${1%%/*}" cluster="$CLUSTER_NAME"
  printf '%s\n' "$1"
}
