# shellcheck shell=bash
# What reaches the scripts of a person's own settings on the cluster. All that lab, the tunnel scripts and people by hand
# run there begins in a "bash -p", which reads none of the startup files and takes no functions, no shell options,
# BASH_ENV, ENV, CDPATH or GLOBIGNORE from the environment, and goes through here. Variables that are not named below
# stay: they are the person's, and no tool of ours minds them (HF_HOME, OMP_NUM_THREADS, proxies).

# begin_clean ARGUMENT...: for a script, before anything else. A bash -p takes no functions, but hands them on to the bash
# scripts that it calls; only env leaves such names out.
begin_clean() {
  local name without=()
  if [[ ${PASSERELLE_BEGUN:-} != "$$" && $'\n'$(env) == *$'\n'BASH_FUNC_* ]]; then
    while IFS= read -r name; do without+=(-u "$name"); done < <(env | sed -n 's/^\(BASH_FUNC_[^=]*\)=.*/\1/p')
    # what looks like one in another variable stays
    exec env "${without[@]}" PASSERELLE_BEGUN=$$ "$BASH" -p "$0" "$@"
  fi
  unset PASSERELLE_BEGUN
  clean_environment
}

# clean_login: the same for what comes through a connection, where no login has set up anything: the cluster's part of it
# (/etc/profile: Slurm's and the disks' places, modules), and of the startup files what the login shell's own has exported
clean_login() {
  local before=$PATH loaded=${LOADEDMODULES:-}
  source /etc/profile </dev/null &>/dev/null
  # it may begin PATH anew, without the modules that are loaded
  if [[ $loaded ]]; then PATH=$before:$PATH; else PATH=$PATH:$before; fi
  clean_environment
  cd || return 0
}

# clean_environment: leaves out the variables with which a person's own settings would change what our commands do
clean_environment() {
  local name
  TAKEN=""
  for name in $(compgen -e); do
    case $name in
      # --- Slurm ---
      # where a site has its configuration (slurm.conf(5)); the accounts of people whose settings.yml names none, as the
      # Alliance describes them (https://docs.alliancecan.ca/wiki/Running_jobs, 2026-02-27)
      SLURM_CONF | SLURM_CONF_SERVER | SBATCH_ACCOUNT | SALLOC_ACCOUNT | SLURM_ACCOUNT) ;;
      # how its commands answer: we read the answers, in a job, too
      SQUEUE_* | SINFO_* | SACCT_* | SSTAT_* | SCANCEL_* | SCONTROL_*) unset "$name" ;;
      SLURM_CLUSTERS | SLURM_TIME_FORMAT | SLURM_BITSTR_LEN | SLURM_DEBUG_FLAGS) unset "$name" ;;
      # what is asked for; a job's own are Slurm's, and what srun finds in a job
      SBATCH_* | SALLOC_* | SRUN_* | SLURM_*) on_compute_node || unset "$name" ;;
      # --- Python ---
      PYTHONUNBUFFERED | PYTHONHASHSEED) ;;
      PYTHONPATH) keep_the_clusters "$name" ;;
      PYTHON?*) unset "$name" ;;
      # the module's or the site's, with the wheelhouse; where packages come from otherwise, and through what
      PIP_CONFIG_FILE | PIP_FIND_LINKS | VIRTUALENV_CONFIG_FILE) keep_the_clusters "$name" ;;
      PIP_INDEX_URL | PIP_EXTRA_INDEX_URL | PIP_TRUSTED_HOST | PIP_CERT | PIP_CLIENT_CERT | PIP_PROXY) ;;
      PIP_CACHE_DIR | PIP_NO_CACHE_DIR | PIP_TIMEOUT | PIP_DEFAULT_TIMEOUT | PIP_RETRIES) ;;
      PIP_* | VIRTUALENV_* | VIRTUAL_ENV | VIRTUAL_ENV_PROMPT) unset "$name" ;;
      # --- R and Julia; R_LIBS_USER and JULIA_DEPOT_PATH stay, where a person's packages are ---
      R_LIBS | R_LIBS_SITE | JULIA_LOAD_PATH) keep_the_clusters "$name" ;;
      R_PROFILE | R_PROFILE_USER | R_ENVIRON | R_ENVIRON_USER | R_HOME | R_DEFAULT_PACKAGES | JULIA_PROJECT) unset "$name" ;;
      # --- programs in general ---
      LD_PRELOAD | LD_LIBRARY_PATH | PERL5LIB) keep_the_clusters "$name" ;;
      # modules define their function in it, for jobs
      BASH_ENV) keep_the_clusters "$name" ;;
      TMPDIR | TMP | TEMP) [[ -d ${!name} && -w ${!name} ]] || unset "$name" ;;
      # a laptop's reach here through ssh (SendEnv); LANG is the cluster's, too
      LC_* | LANGUAGE) unset "$name" ;;
      ENV | CDPATH | GLOBIGNORE | BASH_COMPAT | POSIXLY_CORRECT | TMOUT | PERL5OPT) unset "$name" ;;
      GREP_OPTIONS | GREP_COLOR | GREP_COLORS | TAR_OPTIONS | GZIP | RSYNC_*) unset "$name" ;;
      # bash keeps them up to date, and would hand them on
      SHELLOPTS | BASHOPTS) export -n "${name?}" ;;
    esac
  done
  on_compute_node || own_folders_last
  # what we write, we read; who else may read it, stays the person's, but nobody else writes it
  umask u=rwx,o-w
}

# on_compute_node: is this a task of a job? (the shell that a bare salloc leaves on the login node is not)
on_compute_node() {
  [[ ${SLURMD_NODENAME:-} ]]
}

# the_clusters PATH: is it the cluster's and not the person's? Nobody can write to the cluster's software.
the_clusters() {
  [[ $1 == /* && -e $1 && $1/ != "${HOME:-/nonexistent}"/* && ($EUID == 0 || ! -w $1) ]]
}

# keep_the_clusters NAME: of the paths in that variable; TAKEN, if none was: a module's own value may have been there before
keep_the_clusters() {
  local path kept="" paths
  IFS=': ' read -r -a paths <<<"${!1}"
  for path in ${paths[@]+"${paths[@]}"}; do
    if the_clusters "$path"; then kept+=:$path; fi
  done
  if [[ $kept ]]; then printf -v "$1" '%s' "${kept#:}"; else unset "$1"; fi
  [[ $kept ]] || TAKEN=yes
}

# own_folders_last: PATH with the person's own folders behind the cluster's, so that no squeue or python3 of theirs is
# taken for the cluster's, and what only they have is still found
own_folders_last() {
  # a computer without Slurm is the person's own
  command -v sbatch >/dev/null || return 0
  local path first="" last="" paths
  IFS=: read -r -a paths <<<"$PATH"
  for path in ${paths[@]+"${paths[@]}"}; do
    if the_clusters "$path"; then
      first+=:$path
    elif [[ $path == /* ]]; then
      last+=:$path
    fi
  done
  first+=$last
  PATH=${first#:}
}
