# shellcheck shell=bash
# How setup_env.sh builds an environment: in a folder of its own, and in its place only when it is complete.

LOCKED=""
# what pip_install hands on of requirements.lock, and how many reports of pip's there are
PIP_PINS=() REPORTS=""

# one_at_a_time FILE: holds a lock until the script ends; a second setup_env.sh is refused, or waits where a session is to
# follow: what the first one builds may serve both
one_at_a_time() {
  local status=0
  mkdir -p "$(dirname "$1")" || die cannot_write path="$(dirname "$1")"
  # macOS has no flock; a build then leaves other builds alone (remove_leftovers)
  command -v flock >/dev/null || return 0
  { exec 9>"$1"; } 2>/dev/null || die cannot_write path="$1"
  flock --nonblock 9 || status=$?
  if ((status == 1)) && [[ ${PASSERELLE_GOES_ON:-} ]]; then
    status=0
    say_step "$(message build_other)"
    flock --wait "$SUBMISSION" 9 || status=$?
  fi
  ((status != 1)) || die already_running file="$1"
  ((status != 0)) || LOCKED=yes
}

# as_open_as_before: of an environment for many, what is written from now on can be read by whom what is there can
as_open_as_before() {
  local mode
  if ! shared_environment || [[ ! -e $path ]]; then return; fi
  read -r mode _ < <(ls -ldL -- "$path")
  [[ ${mode:4:3} != r?[xs] ]] || umask g+rx
  [[ ${mode:7:3} != r?[xt] ]] || umask o+rx
}

# need_own_environment: refuses to rebuild what another folder of the same person's has built, and still needs
need_own_environment() {
  local folder
  folder=$(cat "$path/passerelle.folder" 2>/dev/null) || return 0
  if [[ $PRINT || $folder -ef $FOLDER || ! -e $folder/settings.yml ]]; then return; fi
  misuse other_folders_environment path="$path" folder="$folder" place="$LINE_environment_path" \
    example="environment_path: $SETTING_environment_path-$SETTING_project_name"
}

# build_environment: the wiki's steps, then the new environment takes the place of the old
build_environment() {
  local builds=$path.builds new old="" wanted package packages=() carried=()
  wanted=$(wanted_packages)
  while IFS= read -r package; do packages+=("${package//%20/ }"); done <<<"$wanted"
  check_lock
  new=$builds/$(date +%Y%m%d-%H%M%S)
  if [[ ! $PRINT ]]; then
    say build_begins path="$path" log="$LOG"
    old=$(readlink "$path" || true)
    if [[ $old && -x $path/bin/pip ]]; then
      # shellcheck disable=SC2207 # words
      carried=($("$path/bin/pip" list --not-required --format=freeze 2>/dev/null)) || carried=()
    fi
    mkdir -p "$builds"
    NEW=$new
    trap 'rm -rf "$NEW"' EXIT
    # pip ends as after any other error
    trap '[[ ! -t 1 ]] || echo; warn build_interrupted path="$path"; exit 130' INT
  fi
  make_virtual_environment "$new"
  run source "$new/bin/activate"
  : "${VIRTUAL_ENV:=$new}"
  pip_settings pip
  pip_install "$(message build_pip)" --upgrade pip
  # from here on pip is a new one
  REPORTS=0
  # what is fetched anew, is
  [[ ! $FETCH || $PRINT ]] || rm -rf "$path.wheels"
  choose_pins "${packages[@]}"
  pip_install "$(message build_packages)" "${packages[@]}"
  reinstall ${carried[@]+"${carried[@]}"}
  write_wrapper
  keep_history_in_memory "$VIRTUAL_ENV"
  keep_registered
  set_up_plugins
  if [[ ! $PRINT ]]; then
    record_modules "$new" "$modules"
    record_kernels "$new"
    record_folder "$new"
    write_lock
    specification >"$new/passerelle.specification"
  fi
  pack_environment "$new"
  # from here on it is the environment, and remove_leftovers knows it
  trap - EXIT INT
  put_in_place "$new"
  [[ ! -d $old ]] || mark_replaced "$old"
}

# make_virtual_environment FOLDER: by virtualenv as on the wiki page, or by Python itself where there is none
make_virtual_environment() {
  # nothing of a virtualenv.ini of the person's own
  [[ $PRINT ]] || export VIRTUALENV_CONFIG_FILE=${VIRTUALENV_CONFIG_FILE:-/dev/null}
  local step command=(python3 -m venv)
  step=$(message build_virtual_environment)
  if [[ $FACT_pip_source == wheelhouse ]] || command -v virtualenv >/dev/null; then command=(virtualenv --no-download); fi
  watched "$step" run "${command[@]}" "$1" || die no_virtual_environment path="$1"
}

# pip_settings PIP...: of a person's pip.conf, where packages come from; whatever else it says would put them elsewhere.
# Where a site has its own file (PIP_CONFIG_FILE), pip reads no other.
pip_settings() {
  local line name
  [[ ! $PRINT && ! ${PIP_CONFIG_FILE:-} ]] || return 0
  while IFS= read -r line; do
    if [[ $line =~ ^(global|install)[.]((extra-)?index-url|trusted-host|(client-)?cert|proxy|timeout|retries|(no-)?cache-dir)=\'(.*)\'$ ]]; then
      name=PIP_$(tr 'a-z-' 'A-Z_' <<<"${BASH_REMATCH[2]}")
      # several addresses stand in lines of their own
      [[ ${!name+set} ]] || export "$name=${BASH_REMATCH[6]//\\n/ }"
    fi
  done < <("$@" config list 2>/dev/null)
  export PIP_CONFIG_FILE=/dev/null
}

# pip_install STEP PACKAGE...: pip, with a clear line when it fails. It installs nothing before it has found everything; what
# the wheelhouse lacks is named then, and fetched, if that is wanted.
pip_install() {
  local step=$1 full missing report=() lacking fetched=" "
  shift
  while true; do
    [[ ! $REPORTS || $PRINT ]] || report=(--report "$VIRTUAL_ENV/passerelle.report-$((++REPORTS))")
    if watched "$step" run pip install ${PIP_OPTIONS[@]+"${PIP_OPTIONS[@]}"} ${PIP_PINS[@]+"${PIP_PINS[@]}"} ${report[@]+"${report[@]}"} "$@"; then return; fi
    full=$(its_words | grep -E -m 1 -o 'Disk quota exceeded|No space left on device' || true)
    [[ ! $full ]] || die disk_full reason="$full" path="$path"
    missing=$(its_words | sed -n 's/^ERROR: No matching distribution found for \([^ ]*\).*/\1/p')
    if [[ $FACT_pip_source == pypi ]]; then
      [[ ! $missing ]] || die no_such_package package="$missing" place="$(asked_in "$missing")"
      break
    fi
    find_lacking "$@"
    ((${#lacking[@]})) || break
    # what has been fetched does not help
    [[ $fetched != *" ${lacking[0]} "* ]] || break
    fetch_lacking
    fetched+="${lacking[*]} "
  done
  [[ ! ${PIP_PINS[*]:-} ]] || ! its_words | grep -q ResolutionImpossible || die pins_contradict
  die pip_failed
}

# asked_in PACKAGE: prints where it is asked for
asked_in() {
  local place=$LINE_packages
  [[ " ${SETTING_requirements:-} " != *" $1"[\ \;]* ]] || place=$LINE_requirements
  printf '%s\n' "${PACKAGES_FROM:-$place}"
}

# find_lacking PACKAGE...: sets lacking to what the wheelhouse has not, of these and of what is pinned, or else to what pip has
# missed, and says so
find_lacking() {
  local package versions words=() shown="" gone=""
  lacking=()
  for package; do [[ $package == -* ]] || words+=("$package"); done
  while IFS=$'\t' read -r package versions; do
    lacking+=("$package")
    [[ ! $versions ]] || package=$(message lacks_but_has package="$package" versions="$versions")
    shown+=${shown:+, }$package
  done < <("$VIRTUAL_ENV/bin/python" "$FOLDER/lib/login_node/pins.py" lacking "${PIP_PINS[1]:-}" "$path.wheels" ${words[@]+"${words[@]}"} 2>/dev/null)
  if [[ ! $shown && $missing ]]; then lacking=("$missing") shown=$missing; fi
  [[ ! $shown ]] || warn wheelhouse_lacks packages="$shown"
}

# fetch_lacking: gets what the wheelhouse lacks from PyPI, if that is wanted: who is there is asked
fetch_lacking() {
  local package answer="" yes step command
  if [[ ! $FETCH && -t 0 && -t 1 ]]; then
    message fetch_question
    read -r answer || true
    yes=$(message word_yes)
    [[ ! $answer || $yes != "$(tr '[:upper:]' '[:lower:]' <<<"$answer")"* ]] || FETCH=yes
  fi
  if [[ ! $FETCH ]]; then
    command=$(show_command ./setup_env.sh --fetch ${OPTIONS[@]+"${OPTIONS[@]}"})
    [[ ! ${PIP_PINS[*]:-} ]] || die fetch_or_rebuild command="$command"
    die fetch_how command="$command"
  fi
  for package in "${lacking[@]}"; do
    step=$(message build_fetch package="$package")
    watched "$step" run pip wheel --no-deps --wheel-dir "$path.wheels" "$package" || die fetch_failed package="$package"
  done
  find_wheels
}

# find_wheels: has pip look at what was fetched, now or for an earlier build
find_wheels() {
  if [[ -d $path.wheels && " ${PIP_OPTIONS[*]:-} " != *" $path.wheels "* ]]; then PIP_OPTIONS+=(--find-links "$path.wheels"); fi
}

# check_lock: refuses a requirements.lock that is none, as after a merge, before anything else is done
check_lock() {
  local line
  [[ -e $FOLDER/requirements.lock && ! $RENEW ]] || return 0
  line=$(LC_ALL=C grep -n -v -m 1 -E "^($PIN *)?(#.*)?"$'\r?$' "$FOLDER/requirements.lock") || line=""
  [[ ! $line ]] || misuse bad_pin place="requirements.lock:${line%%:*}" text="${line#*:}"
}

# choose_pins PACKAGE...: has pip install the versions of requirements.lock, unless the newest are asked for, or others
choose_pins() {
  [[ -e $FOLDER/requirements.lock && ! $RENEW ]] || return 0
  PIP_PINS=(-c requirements.lock)
  if [[ $PRINT ]]; then return; fi
  PIP_PINS=(-c "$VIRTUAL_ENV/passerelle.pins")
  "$VIRTUAL_ENV/bin/python" "$FOLDER/lib/login_node/pins.py" keep "$FOLDER/requirements.lock" "$@" >"${PIP_PINS[1]}"
}

# write_lock: keeps the versions and the sums of their files in the folder, for git, and says in what they are others than
# those that were there
write_lock() {
  local words changed="" rebuilt="" new=""
  [[ -e $FOLDER/requirements.lock ]] || new=yes
  words=$("$VIRTUAL_ENV/bin/python" "$FOLDER/lib/login_node/lock.py" "$FOLDER" 2>&1) || {
    words=${words##*$'\n'}
    warn not_written path="$FOLDER/requirements.lock" words="${words#*: }"
    return 0
  }
  { IFS= read -r changed && IFS= read -r rebuilt; } <<<"$words" || true
  [[ ! $new ]] || say lock_new
  [[ ! $changed ]] || say lock_changed differences="$changed"
  [[ ! $rebuilt ]] || warn lock_rebuilt files="$rebuilt"
}

# reinstall NAME==VERSION...: what people had added to the old environment by themselves and the new one lacks
reinstall() {
  local package name present before lost=() options
  (($#)) || return 0
  present=$(pip list --format=freeze | plain_names)
  before=$(plain_names <"$path/passerelle.specification" 2>/dev/null || true)
  for package; do
    # not what settings.yml asked for then and no longer does
    name=$(plain_names <<<"${package%%==*}")
    if [[ " ${before##*packages: } " != *" $name"[]\ =\<\>!~\;[]* ]] && ! grep -qx -e "$name==.*" <<<"$present"; then
      options=(--report "$VIRTUAL_ENV/passerelle.report-$((++REPORTS))" ${PIP_OPTIONS[@]+"${PIP_OPTIONS[@]}"})
      # as it was, or as it is locked
      if [[ ${PIP_PINS[*]:-} ]] && plain_names <"${PIP_PINS[1]}" | grep -q -e "^$name=="; then package=$name options+=("${PIP_PINS[@]}"); fi
      watched "$(message build_added package="$package")" pip install "${options[@]}" "$package" \
        || lost+=("$package")
    fi
  done
  ((${#lost[@]} == 0)) || warn not_carried_over packages="${lost[*]}"
}

# plain_names: prints what it reads with the names of packages as they are compared: Foo_bar is foo-bar
plain_names() { LC_ALL=C tr 'A-Z_.' 'a-z--'; }

# write_wrapper: the wiki's script, for those who type salloc by hand
write_wrapper() {
  if [[ $PRINT ]]; then
    cat <<'SHOWN'
echo -e '#!/bin/bash\nunset XDG_RUNTIME_DIR\njupyter lab --ip $(hostname -f) --no-browser' > $VIRTUAL_ENV/bin/jupyterlab.sh
chmod u+x $VIRTUAL_ENV/bin/jupyterlab.sh
SHOWN
    return
  fi
  cat >"$VIRTUAL_ENV/bin/jupyterlab.sh" <<'WRAPPER'
#!/bin/bash
unset XDG_RUNTIME_DIR
jupyter lab --ip $(hostname -f) --no-browser
WRAPPER
  chmod u+x "$VIRTUAL_ENV/bin/jupyterlab.sh"
}

# keep_history_in_memory ENVIRONMENT: IPython's history is an SQLite file, and those lock up on network file systems
keep_history_in_memory() {
  local file=$1/etc/ipython/ipython_config.py
  if [[ $PRINT || -e $file ]]; then return; fi
  mkdir -p "${file%/*}"
  echo 'get_config().HistoryAccessor.hist_file = ":memory:"' >"$file"
}

# keep_registered: takes over the kernels that --register has put into the old environment, because it is a shared one
keep_registered() {
  local spec
  [[ ! $PRINT ]] || return 0
  for spec in "$path"/share/jupyter/kernels/*/; do
    # its own is not among them; other kernels are set up anew, if they are still wanted
    if [[ $spec == */python3/ ]] || ! grep -q -s ipykernel_launcher "${spec}kernel.json"; then continue; fi
    mkdir -p "$VIRTUAL_ENV/share/jupyter/kernels"
    cp -R "${spec%/}" "$VIRTUAL_ENV/share/jupyter/kernels/"
  done
}

# set_up_plugins: each extension's and kernel's own installation; FAILED names those that did not succeed
FAILED=""
set_up_plugins() {
  each_plugin set_up_plugin
}
set_up_plugin() {
  local status
  # not behind || or if: there, -e would not hold within
  set +e
  (
    set -e
    plugin_setup
  )
  status=$?
  set -e
  ((status == 0)) || FAILED+=" $PLUGIN"
}

# record_modules FOLDER MODULES: keeps the versions that were loaded, so that every session loads the same
record_modules() {
  local folder=$1 module
  for module in $2; do
    if [[ :${LOADEDMODULES:-}: =~ :($module(/[^:]*)?): ]]; then module=${BASH_REMATCH[1]}; fi
    printf '%s\n' "$module"
  done >"$folder/passerelle.modules.new"
  mv "$folder/passerelle.modules.new" "$folder/passerelle.modules"
}

# record_kernels BUILD: adds those of settings.yml to what the build has, for whom it is somebody else's (missing_kernels)
record_kernels() {
  local name kernels=()
  for name in $SETTING_kernels; do
    [[ " $FAILED " == *" $name "* ]] || kernels+=("$name")
  done
  printf '%s\n' ${kernels[@]+"${kernels[@]}"} >>"$1/passerelle.kernels"
}

# record_folder BUILD: keeps which folder has built it (need_own_environment)
record_folder() {
  (cd -P -- "$FOLDER" && pwd) >"$1/passerelle.folder"
}

# pack_environment BUILD: writes the archive that jobs unpack on their node's own disk, unless it is there already
pack_environment() {
  local program=gzip library state words megabytes
  on_nodes || return 0
  ! command -v zstd >/dev/null || program=zstd
  if [[ $PRINT ]]; then
    printf '%s | %s -1 >%s\n' "$(show_command tar -C "$1" --exclude='passerelle.archive*' -cf - .)" "$program" "$(show_command "$1/passerelle.archive")"
    return
  fi
  ! find_archive "$1" || return 0
  say_step "$(message build_archive)"
  rm -f "$1"/passerelle.{packed,archive*}
  # what is installed from now on makes it too old
  library=$(cd -- "$1" && echo lib/python*/site-packages)
  state=$(state_of "$1" "$library")
  if words=$({ write_archive "$1" >"$1/passerelle.archive.new" && mv "$1"/passerelle.archive{.new,}; } 2>&1); then
    megabytes=$(du -sm --exclude='passerelle.archive*' "$1/" | cut -f 1)
    printf '%s\n' "$program $megabytes $library" "$state" >"$1/passerelle.packed.new"
    mv "$1"/passerelle.packed{.new,}
    say build_archived megabytes="$(du -m "$1/passerelle.archive" | cut -f 1)" program="$program"
    [[ ${FACT_node_disk:-} != memory ]] || say build_memory cluster="$CLUSTER_NAME" megabytes="$megabytes"
  else
    rm -f "$1/passerelle.archive.new"
    warn archive_not_written path="$path" words="${words##*: }"
  fi
}

# write_archive BUILD: prints it, for pack_environment
write_archive() {
  cd -- "$1" && tar --exclude='passerelle.archive*' -cf - -- * | "$program" -1
}

# put_in_place FOLDER: environment_path is a link, replaced in one step; the build before stays for the jobs that use it
put_in_place() {
  run ln -sfn "$1" "$path.new"
  # mv would put the link into the old folder
  run python3 -c 'import os, sys; os.replace(*sys.argv[1:])' "$path.new" "$path"
}

# mark_replaced BUILD: keeps when it was replaced, in seconds since 1970; a session that begins later does not use it
mark_replaced() {
  [[ -e $1/passerelle.replaced ]] || date +%s >"$1/passerelle.replaced"
}

# remove_leftovers BUILDS: what interrupted runs left, and builds that were replaced before any job that runs now began;
# not what the environment's link leads to, nor a link beside it that somebody renamed
remove_leftovers() {
  local build link used replaced begun="" kept=0
  [[ $LOCKED ]] || return 0
  for build in "$1"/*/; do
    [[ -d $build ]] || continue
    used=""
    for link in "$path"*; do
      if [[ -L $link && $build -ef $link ]]; then used=yes; fi
    done
    if [[ $used ]]; then
      rm -f "$build/passerelle.replaced"
      continue
    fi
    if [[ -e $build/passerelle.specification ]]; then
      # of one that was killed just then, nobody knows when
      mark_replaced "$build"
      replaced=$(cat "$build/passerelle.replaced" 2>/dev/null) || replaced=""
      begun=${begun:-$(oldest_session)}
      # others may be able to write there, and what stands between (( and )) is run
      if [[ ! $replaced =~ ^[0-9]{1,11}$ ]] || ((replaced >= begun)) || runs_here "$build"; then
        kept=$((kept + 1))
        continue
      fi
    fi
    rm -rf "$build"
  done
  ((kept == 0)) || say builds_kept number="$kept" folder="$1"
}

# oldest_session: prints when the oldest job began that may use the environment; a job has its build from its beginning on
oldest_session() {
  local hours=$FACT_hours_max oldest start starts
  oldest=$(($(date +%s) + 1))
  [[ $FACT_scheduler == slurm ]] || {
    printf '%s\n' "$oldest"
    return
  }
  if ! shared_environment && starts=$(SLURM_TIME_FORMAT=%s timeout "$SLURM_ANSWER" squeue --me --noheader --format=%S 2>/dev/null); then
    while read -r start; do
      # less what the clocks of two computers may differ by
      if [[ $start =~ ^[0-9]+$ ]] && ((start - 60 < oldest)); then oldest=$((start - 60)); fi
    done <<<"$starts"
  else
    # other people's jobs cannot be known: none is older than the longest that the cluster allows
    [[ $hours =~ ^[0-9]+$ ]] || hours=$((BUILD_DAYS * 24))
    oldest=$((oldest - hours * 3600 - 60))
  fi
  printf '%s\n' "$oldest"
}

# runs_here BUILD: does something on this computer run from it?
runs_here() {
  [[ $(ps -A -ww -o args= 2>/dev/null) == *"${1%/}/"* ]]
}

# add_packages KERNEL PACKAGE...: "installer d'autres paquets" of the wiki, one command for each language
add_packages() {
  local kernel=$1
  shift
  [[ $kernel =~ ^$RULE_kernels$ && -e $FOLDER/plugins/kernels/$kernel.sh ]] \
    || misuse no_such_kernel name="$kernel" known="$(names_in plugins/kernels)"
  local package
  for package; do
    [[ $package =~ ^$RULE_packages$ ]] || misuse bad_package package="$package"
  done
  [[ $PRINT ]] || need_environment
  PACKAGES_FROM=--add
  load_plugin kernels "$kernel"
  modules="$(recorded_modules) $(plugin_modules)"
  load_modules "$modules"
  run source "$path/bin/activate"
  : "${VIRTUAL_ENV:=$path}"
  pip_settings pip
  REPORTS=0
  plugin_add "$@" || die add_failed packages="$*" kernel="$kernel"
  [[ $PRINT || $kernel != python ]] || write_lock
  pack_environment "$path"
}

# register_environment ENVIRONMENT NAME: another environment's Python as a kernel with a name of its own
register_environment() {
  local environment=$1 name=$2 where=(--user)
  # python3 is the environment's own
  [[ $name =~ ^$RULE_project_name$ && $name != python3 ]] || misuse bad_kernel_name name="$name"
  [[ -x $environment/bin/python ]] || misuse not_an_environment path="$environment"
  modules=$(session_modules)
  load_modules "$modules"
  pip_settings "$environment/bin/python" -m pip
  "$environment/bin/python" -c 'import ipykernel' 2>/dev/null \
    || watched "$(message build_packages)" run "$environment/bin/python" -m pip install ${PIP_OPTIONS[@]+"${PIP_OPTIONS[@]}"} ipykernel \
    || die pip_failed
  [[ ! -w $environment ]] || keep_history_in_memory "$environment"
  if shared_environment && [[ -O $path ]]; then where=(--prefix "$path"); fi
  run "$environment/bin/python" -m ipykernel install "${where[@]}" --name "$name" --display-name "Python ($name)"
  [[ ! -O $path ]] || pack_environment "$path"
}
