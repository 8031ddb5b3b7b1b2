# shellcheck shell=bash
# The archive of an environment, which lies in its build: setup_env.sh packs it (lib/login_node/build.sh), and jobs unpack it
# on their node's own disk. It is one file, read in large blocks, instead of thousands that are looked up on a network disk.

# up_to_date: is the environment built, and packed if it is to be?
up_to_date() {
  built_from_these_settings && { ! on_nodes || find_archive "$(environment_path)"; }
}

# state_of BUILD LIBRARY: prints what is another text when something has been installed there, or removed; in whole seconds,
# because network disks may keep no parts of them
state_of() {
  stat -c %Y -- "$1"/{bin,"$2",etc/jupyter,share/jupyter/kernels} 2>/dev/null || true
}

# find_archive BUILD: is there an archive of what the build is now? Sets PROGRAM, by which it was packed, and MEGABYTES, what
# is needed to unpack it
find_archive() {
  local library state
  PROGRAM="" MEGABYTES=""
  { read -r PROGRAM MEGABYTES library && IFS= read -r -d '' state; } 2>/dev/null <"$1/passerelle.packed" || true
  # others may have written it
  [[ $PROGRAM =~ ^(zstd|gzip)$ && $MEGABYTES =~ ^[1-9][0-9]{0,6}$ && ${state%$'\n'} == "$(state_of "$1" "$library")" ]]
}

# unpack_environment ENVIRONMENT: prints where a job has it: in a folder of $SLURM_TMPDIR, or, with a line that says why, where
# it was built
unpack_environment() {
  local link=$1 build copy="" disk=${SLURM_TMPDIR:-}
  # as it was called when it was built
  build=$(readlink -- "$link") || build=$link
  make_copy || copy=""
  printf '%s\n' "${copy:-$build}"
}

# make_copy: for unpack_environment, sets copy; false, with a line that says why, where there can be none
make_copy() {
  local words free memory=""
  [[ -d $disk && -w $disk ]] || { warn node_no_disk path="$link" && return 1; }
  find_archive "$build" || { warn node_no_archive path="$link" && return 1; }
  free=$(df -P -m "$disk" | awk 'NR == 2 { print $4 }')
  if [[ $(stat -f -c %T "$disk") =~ ^(tmpfs|ramfs)$ ]]; then
    # it is the job's own memory, and half of that is left to the work
    memory=$((${SLURM_MEM_PER_NODE:-0} + ${SLURM_MEM_PER_CPU:-0} * ${SLURM_CPUS_ON_NODE:-0}))
    ((memory == 0 || memory / 2 > free)) || free=$((memory / 2))
  fi
  ((MEGABYTES < free)) || { warn node_too_small path="$link" folder="$disk" free="$free" megabytes="$MEGABYTES" && return 1; }
  [[ ! $memory ]] || warn node_memory megabytes="$MEGABYTES"
  words=$(mktemp -d "$disk/${link##*/}-XXXXXX" 2>&1) && copy=$words && words=$(unpack 2>&1) && return
  [[ ! $copy ]] || rm -rf "$copy"
  warn node_not_unpacked path="$link" folder="$disk" words="${words##*: }"
  return 1
}

# unpack: to the copy; what names the old place there (first lines of scripts, activate, kernel specs and the like) names the
# new one, so that nothing uses the network disk without anybody knowing
unpack() {
  dd if="$build/passerelle.archive" bs=4M status=none | "$PROGRAM" -dc | tar -xf - -C "$copy" \
    && move "$build" "$copy" && move "$link/" "$copy/"
}

# move OLD NEW: replaces it in files of the copy
move() {
  local old new
  # shellcheck disable=SC2001 # what stands for itself in sed's own language
  old=$(sed 's/[][\.*^$|]/\\&/g' <<<"$1") new=$(sed 's/[\&|]/\\&/g' <<<"$2")
  (cd -- "$copy" && {
    grep -rlIZ -F -e "$1" -- bin pyvenv.cfg etc share/jupyter/kernels lib/python*/site-packages/*.pth 2>/dev/null || true
  } | xargs -0 -r sed -i "s|$old|$new|g")
}
