# shellcheck shell=bash
# What every script understands on its command line: --help and --print. Bash 3.2 is enough (macOS).

PRINT=""
OPTIONS=()

# parse_options none|more ARGUMENT...: --help ends the script, --print sets PRINT; with "more" the rest is in OPTIONS
parse_options() {
  local others=$1 option
  shift
  for option; do
    case $option in
      --help)
        show_help
        exit
        ;;
      --print) PRINT=yes ;;
      *)
        [[ $others == more ]] || misuse unknown_option option="$option"
        OPTIONS+=("$option")
        ;;
    esac
  done
}

# not_understood WORD: refuses one of OPTIONS; the value of an option that stands behind it is shown with it
not_understood() {
  local option before="" name="^${RULE_project_name:-}$"
  for option in "${OPTIONS[@]}"; do
    if [[ $option == "$1" && $1 != -* && $before == -* && $before != *=* ]]; then
      [[ $before == --* ]] && before+="="
      misuse value_apart value="$1" option="$before$1"
    fi
    before=$option
  done
  [[ ${0##*/} != submit_session.sh || ! $1 =~ $name ]] || misuse name_apart name="$1" command="./submit_session.sh"
  misuse unknown_option option="$1"
}

# show_help: the script's own header, which is the help in English, or its translation in lib/texts
show_help() {
  local translation=$FOLDER/lib/texts/$TEXTS/help/${0##*/}.txt
  if [[ -e $translation ]]; then
    cat "$translation"
  else
    sed -n -e '1d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "$0"
  fi
}

# run COMMAND...: runs it, or with --print shows it
run() {
  if [[ $PRINT ]]; then
    show_command "$@"
  else
    "$@"
  fi
}

# show_command COMMAND...: prints it as one would type it
show_command() {
  local word line=""
  for word; do
    if [[ $word =~ ^([A-Z_]+=)?([$](HOME|SCRATCH|PROJECT|SLURM_TMPDIR|VIRTUAL_ENV)[A-Za-z0-9_./-]*)$ ]]; then
      # not known on this computer, so it is left for the one where the line is pasted
      word="${BASH_REMATCH[1]}\"${BASH_REMATCH[2]}\""
    elif [[ ! $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]]; then
      word="'${word//\'/\'\\\'\'}'"
    fi
    line+=" $word"
  done
  printf '%s\n' "${line# }"
}
