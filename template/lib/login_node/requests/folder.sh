# shellcheck shell=bash
# The folder on the cluster: what it has, and what is sent.

# find_folder NAME: sets FOLDER (NAME is a path, when lab runs here itself), and STATE: there, missing, or other where
# something else has that name; a folder that is still on its way is ours
find_folder() {
  [[ $1 == /* ]] && FOLDER=$1 || FOLDER=~/$1
  STATE=there
  if [[ ! -e $FOLDER ]]; then
    STATE=missing
  elif [[ ! -d $FOLDER/.lab/incoming && (! -e $FOLDER/settings.yml || ! -d $FOLDER/lib) ]]; then
    STATE=other
  fi
}

# begin_in_folder COMMAND NAME SUM WORD...: where the folder here is the one that lab has; what it is, is told
begin_in_folder() {
  find_folder "$2"
  if [[ $STATE == there ]]; then
    [[ $(sum_of_folder) == "$3" ]] && STATE=same || STATE=differs
  fi
  tell folder "$STATE"
  [[ $STATE != same ]] || begin "$1" "${@:4}"
}

# sum_of_folder: one sum over what a session depends on (lib/laptop/lab/paths.py computes the same)
sum_of_folder() {
  cd -- "$FOLDER" && find ./settings.yml ./requirements.txt ./lab ./*.sh ./lib ./plugins "${LEFT_OUT[@]}" -prune -o -type f -print0 2>/dev/null \
    | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
}

# answer_files NAME: tells all files of the folder as type:size:time:mode and path, and this clock. In a path, a
# backslash and what ends a line or a word are written as "printf %b" reads them.
answer_files() {
  find_folder "$1"
  # as tell does; line by line, as a sign of life may come between two
  echo
  [[ $STATE != there ]] || (cd -- "$FOLDER" \
    && find . "${LEFT_OUT[@]}" -prune -o ! -type d -printf '%y:%s:%T@:%m/%P\0' 2>/dev/null \
    | LC_ALL=C sed -z 's/\\/\\\\/g; s/\n/\\n/g; s/\r/\\r/g; s/\t/\\t/g; s/\//\t/; s/^/passerelle\t'"$NUMBER"'\tfile\t/' \
      | tr '\0' '\n' | sed -u '')
  tell listed "$STATE" "$(now)"
}

# answer_sums NAME PATH...: tells the sum of each file that can be read, by its place in the request
answer_sums() { begin tell_sums "$@"; }
tell_sums() {
  local path line="" paths=() number=0
  find_folder "$1"
  for path in "${@:2}"; do
    printf -v path %b "$path"
    paths+=("$FOLDER/$path")
  done
  # the sums come in the order of the paths, without those that cannot be read
  {
    IFS= read -r -d '' line
    for path in ${paths[@]+"${paths[@]}"}; do
      if [[ ${line:66} == "$path" ]]; then
        tell sum "$number" "${line:0:64}"
        IFS= read -r -d '' line || line=""
      fi
      number=$((number + 1))
    done
  } < <(printf '%s\0' ${paths[@]+"${paths[@]}"} | xargs -0 sha256sum --zero -- 2>/dev/null)
  tell summed
}

# answer_prepare NAME: makes the folder and the place where what is sent arrives
answer_prepare() {
  find_folder "$1"
  forget_old
  if command -v rsync >/dev/null; then
    (umask 077 && mkdir -p -- "$FOLDER/.lab/incoming") && tell prepared yes && return
    tell prepared no
  else
    tell prepared no_rsync
  fi
}

# answer_aside NAME PATH...: takes scripts out of the way that lab's folder has no more; nothing is lost
answer_aside() {
  local path removed
  find_folder "$1"
  forget_old
  printf -v removed '%s/.lab/removed/%(%Y%m%d-%H%M%S)T' "$FOLDER" -1
  for path in "${@:2}"; do
    printf -v path %b "$path"
    mkdir -p -- "$(dirname -- "$removed/$path")" && mv -f -T -- "$FOLDER/$path" "$removed/$path"
  done
  tell aside
}

# forget_old: removes what was replaced or put aside long ago, in the background: it may be much
forget_old() {
  find "$FOLDER/.lab/replaced" "$FOLDER/.lab/removed" -mindepth 1 -maxdepth 1 -type d -mtime "+$REPLACED_DAYS" \
    -name '[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]-[0-9][0-9][0-9][0-9][0-9][0-9]' -exec rm -rf -- {} + \
    </dev/null >/dev/null 2>&1 8>&- &
}
