# shellcheck shell=bash
# lab in bash: the command in every folder of a project, completion, and lab_prompt. ~/.bashrc sources this; `lab_unload` takes
# all of it back. Bash 3.2 is enough (macOS).

# sourced once more, it begins anew
! declare -F lab_unload >/dev/null || lab_unload
LAB_SHELL=${BASH_SOURCE[0]}
[[ ! -L $LAB_SHELL ]] || LAB_SHELL=$(command readlink -- "$LAB_SHELL")
LAB_SHELL=$(CDPATH="" builtin cd -P -- "${LAB_SHELL%/*}" && builtin pwd)
source "$LAB_SHELL/project.sh"

# lab_load: what there was of lab's name stays in LAB_BEFORE
lab_load() {
  local script
  # for a bash without EPOCHSECONDS
  LAB_CLOCK=$(($(command date +%s) - SECONDS)) LAB_PROMPT=""
  [[ :$PATH: == *:"$LAB_SHELL/bin":* ]] || PATH=$LAB_SHELL/bin:$PATH
  LAB_COMMANDS=(lab)
  for script in "$LAB_SHELL"/../*.sh; do LAB_COMMANDS+=("${script##*/}"); done
  LAB_BEFORE=$(complete -p "${LAB_COMMANDS[@]}" 2>/dev/null) || true
  complete -o nospace -F lab_complete "${LAB_COMMANDS[@]}"
}

# lab_complete COMMAND WORD: what can stand in the place of WORD, in front of which readline has cut at "=" or ":"
lab_complete() {
  local word
  COMPREPLY=()
  while IFS= read -r word; do
    if [[ $word == :filenames ]]; then
      # bash 3.2 does without
      compopt -o filenames 2>/dev/null
    else
      COMPREPLY+=("$word")
    fi
  done < <("$LAB_SHELL/complete.sh" --bash "${COMP_TYPE:-9}" "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
}

lab_unload() {
  complete -r "${LAB_COMMANDS[@]}"
  eval "$LAB_BEFORE"
  case $PATH in
    "$LAB_SHELL/bin":*) PATH=${PATH#"$LAB_SHELL/bin:"} ;;
    *) PATH=${PATH/":$LAB_SHELL/bin"/} ;;
  esac
  # direnv and others put themselves in front of it
  if [[ ${PROMPT_COMMAND-} =~ (^|[\;\ ])lab_prompt(\;\ ?|$) ]]; then
    PROMPT_COMMAND=${PROMPT_COMMAND/"${BASH_REMATCH[0]}"/"${BASH_REMATCH[1]}"}
  fi
  unset LAB_SHELL LAB_CLOCK LAB_PROMPT LAB_COMMANDS LAB_BEFORE
  unset -f lab_load lab_complete lab_unload lab_folder lab_is_project lab_prompt
}

lab_load
