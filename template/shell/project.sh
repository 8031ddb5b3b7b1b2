# shellcheck shell=bash
# Where somebody stands, for bash and zsh: the project that a folder is in, and the time that its session has left. Only data is
# read, no process is started. Bash 3.2 is enough (macOS).

# lab_folder FOLDER: sets LAB_FOLDER to the project that this folder is in; fails where there is none
lab_folder() {
  LAB_FOLDER=${1%/}
  until lab_is_project "$LAB_FOLDER"; do
    [[ $LAB_FOLDER ]] || return 1
    LAB_FOLDER=${LAB_FOLDER%/*}
  done
}

# lab_is_project FOLDER: whether this is a project's folder
lab_is_project() {
  [[ -f $1/lab && -f $1/settings.yml && -d $1/lib/laptop ]]
}

# lab_prompt: sets LAB_PROMPT to the session here that ends first and its hours and minutes, "" where none runs; keeps $?
lab_prompt() {
  local kept=$? LAB_FOLDER name end left shortest="" now=${EPOCHSECONDS:-$((LAB_CLOCK + SECONDS))}
  LAB_PROMPT=""
  # what is somebody else's is not read: the folder may be anybody's
  if lab_folder "$PWD" && [[ -f $LAB_FOLDER/.lab/sessions && -O $LAB_FOLDER/.lab/sessions ]]; then
    while IFS=$'\t' read -r name end; do
      [[ $name != *[!A-Za-z0-9._-]* && $end == [1-9]* && $end != *[!0-9]* && ${#end} -lt 12 ]] || continue
      left=$((end - now))
      if ((left > 0 && left < ${shortest:-left + 1})); then
        shortest=$left
        printf -v LAB_PROMPT '%s %d:%02d' "$name" $((left / 3600)) $((left / 60 % 60))
      fi
    done <"$LAB_FOLDER/.lab/sessions"
  fi
  return "$kept"
}
