# lab in zsh: the command in every folder of a project, completion, and lab_prompt. ~/.zshrc sources this, or a plugin manager
# does; `lab_plugin_unload` takes all of it back.

# sourced once more, it begins anew
! typeset -f lab_plugin_unload >/dev/null || lab_plugin_unload
LAB_SHELL=${${(%):-%x}:A:h}
zmodload zsh/datetime
# whatever options somebody has set, these functions have zsh's own
emulate zsh -c 'source "$LAB_SHELL/project.sh"'
autoload -Uz "$LAB_SHELL/_lab"

lab_load() {
  emulate -L zsh
  typeset -g LAB_CLOCK=0 LAB_PROMPT=
  typeset -ga LAB_COMMANDS=(lab $LAB_SHELL/../*.sh(:t))
  typeset -gA LAB_BEFORE=()
  (( $path[(Ie)$LAB_SHELL/bin] )) || path=($LAB_SHELL/bin $path)
  lab_compdef
  # where compinit comes later, the next prompt knows
  (( $+functions[compdef] )) || precmd_functions+=(lab_compdef)
}

# lab_compdef: completion, as soon as compinit has run; never by fpath, where a folder that a group can write to makes it ask
lab_compdef() {
  emulate -L zsh
  local name
  (( $+functions[compdef] )) || return 0
  for name in $LAB_COMMANDS; do
    [[ -z $_comps[$name] ]] || LAB_BEFORE[$name]=$_comps[$name]
  done
  compdef _lab $LAB_COMMANDS
  precmd_functions=(${precmd_functions:#lab_compdef})
}

# prompt_lab: powerlevel10k's segment called lab
prompt_lab() {
  emulate -L zsh
  lab_prompt
  p10k segment -t "$LAB_PROMPT" -c "$LAB_PROMPT"
}

lab_plugin_unload() {
  emulate -L zsh
  local name
  if (( $+functions[compdef] )); then
    compdef -d $LAB_COMMANDS
    for name in ${(k)LAB_BEFORE}; do compdef $LAB_BEFORE[$name] $name; done
  fi
  path=(${path:#$LAB_SHELL/bin})
  precmd_functions=(${precmd_functions:#lab_(compdef|prompt)})
  (( $#precmd_functions )) || unset precmd_functions
  unset LAB_SHELL LAB_CLOCK LAB_PROMPT LAB_COMMANDS LAB_BEFORE
  unfunction lab_load lab_compdef lab_folder lab_is_project lab_prompt prompt_lab _lab lab_plugin_unload
}

lab_load
