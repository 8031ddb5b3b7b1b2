#!/bin/bash -p
# complete.sh: what can stand in the place of the last word of a command line
#
#   complete.sh COMMAND WORD... LAST          a line for each: the word, a tab,
#                                             what it means
#   complete.sh --bash TYPE LINE LAST         the same as bash is to insert it:
#                                             LAST is what readline replaces, TYPE
#                                             its COMP_TYPE
#
# COMMAND is lab or one of the scripts beside it. What they take is read from
# lib/laptop/commands and from the scripts' own help, what it means from
# lib/texts: nothing of the folder is run.
# a word such as [NAME] is no pattern; where files are looked for, it is "set +f"
set -uf
shopt -s nullglob
source "${BASH_SOURCE[0]%/*}/project.sh"

# --- what a command takes ---------------------------------------------------------------------------------------------

# ARGUMENT: what kind of word it takes; OPTIONS: its options, those with a value with "=" behind; KINDS: for each option what
# kinds of words follow it, the last with "..." where any number does
ARGUMENT="" OPTIONS=() KINDS=()

# take WORD...: adds what a line of lib/laptop/commands, or of a script's help, says
take() {
  local word option=""
  for word; do
    case $word in
      --*=*)
        OPTIONS+=("${word%%=*}=")
        KINDS+=("${word#*=}")
        option=""
        ;;
      --*)
        OPTIONS+=("$word")
        KINDS+=("")
        option=yes
        ;;
      [[A-Z]*)
        # behind an option it is that option's; a name there is a new one
        if [[ $option ]]; then KINDS[${#KINDS[@]} - 1]+=" ${word/#NAME/-}"; else ARGUMENT=$word; fi
        ;;
      *) option="" ;;
    esac
  done
}

# read_command NAME: what that command of lab takes
read_command() {
  local name takes
  while read -r name _ _ _ takes; do
    # shellcheck disable=SC2086 # words
    [[ $name != "$1" ]] || take $takes
  done <"$LAB_FOLDER/lib/laptop/commands"
  # and what else the help shows: --help, and examples of what others take
  # shellcheck disable=SC2048 # words
  for takes in ${USAGE[*]-}; do
    [[ $takes != --* || " ${OPTIONS[*]-} " == *" ${takes%%=*}"[=\ ]* ]] || take "$takes"
  done
}

# read_help FILE COMMAND: makes USAGE of the lines of a help that show COMMAND, MEANING of what they say about it
read_help() {
  local line indented=""
  USAGE=() MEANING=()
  while IFS= read -r line; do
    [[ $line != "#!"* ]] || continue
    if [[ $1 == *.sh ]]; then
      [[ $line == "#"* ]] || break
      line=${line#\#} line=${line# }
    fi
    if [[ $line == "  $2" || $line == "  $2 "* ]]; then
      line=${line#"  $2"}
      USAGE+=("${line%%  *}")
      if [[ $line == *"  "* ]]; then MEANING+=("${line##*  }"); else MEANING+=(""); fi
      indented=yes
    elif [[ $indented && $line == "      "* ]]; then
      line=${line#"${line%%[! ]*}"}
      MEANING[${#MEANING[@]} - 1]+=" $line"
    else
      indented=""
    fi
  done <"$1"
}

# meaning OPTION: sets REPLY to what the help says of it
meaning() {
  local number
  for ((number = 0; number < ${#USAGE[@]}; number++)); do
    if [[ "${USAGE[number]}=" == *" ${1%=}="* || "${USAGE[number]} " == *" ${1%=} "* ]]; then
      REPLY=${MEANING[number]# }
      return
    fi
  done
  REPLY=""
}

# --- candidates -------------------------------------------------------------------------------------------------------

# offer WORD [MEANING]: one candidate, if it begins as LAST does
offer() {
  local explained=${2:-}
  [[ $1 == "$LAST"* && $1 != *[[:cntrl:]]* ]] || return 0
  [[ $explained != *[[:cntrl:]]* ]] || explained=""
  FOUND+=("$1")
  EXPLAINED+=("$explained")
}

# offer_options: those that are not there yet
offer_options() {
  local option word
  for option in ${OPTIONS[@]+"${OPTIONS[@]}"}; do
    for word in ${WORDS[@]+"${WORDS[@]}"}; do
      [[ $word != "$option"* ]] || continue 2
    done
    meaning "$option"
    offer "$option" "$REPLY"
  done
}

# offer_files BEFORE PART [END]: folders, and files that end so; BEFORE stands in front of the path
offer_files() {
  local before=$1 typed=$2 end=${3:-} path start=$2 home=""
  if [[ $typed == \~/* ]]; then home=\~/ start=$HOME/${typed#\~/}; fi
  set +f
  for path in "$start"*/ "$start"*"$end"; do
    # a folder is found twice where no end is asked for
    [[ $path == */ || ! -d $path ]] || continue
    # no notebooks are among the scripts
    [[ ! $end || ! ($path -ef $LAB_FOLDER/lib || $path -ef $LAB_FOLDER/plugins || $path -ef $LAB_FOLDER/shell) ]] || continue
    [[ ! $home ]] || path=$home${path#"$HOME/"}
    offer "$before$path"
  done
  set -f
}

# offer_kind KIND BEFORE PART: what a word of that kind can be; BEFORE is "--option=", or nothing
offer_kind() {
  local before=$2 kind name rest
  for kind in ${1//[^A-Z]/ }; do
    case $kind in
      NAME)
        setting project_name
        offer "$before$REPLY"
        [[ -f $LAB_FOLDER/.lab/sessions && -O $LAB_FOLDER/.lab/sessions ]] || continue
        while IFS=$'\t' read -r name rest; do
          [[ $name == "$REPLY" || $name == *[!A-Za-z0-9._-]* ]] || offer "$before$name"
        done <"$LAB_FOLDER/.lab/sessions"
        ;;
      NOTEBOOK) offer_files "$before" "$3" .ipynb ;;
      PATH | ENVIRONMENT | TABLE) offer_files "$before" "$3" ;;
      KERNEL)
        setting kernels
        offer_each "$before" "$REPLY"
        ;;
      SHELL) offer_each "$before" "bash zsh fish xonsh" ;;
      SETTING)
        if [[ $3 != *=* ]]; then
          while IFS=: read -r name rest; do
            [[ $name != [a-z]* ]] || offer "$before$name=" "${rest# }"
          done <"$LAB_FOLDER/settings.yml"
        else
          name=${3%%=*}
          values_of "$name"
          offer_each "$before$name=" "$REPLY"
        fi
        ;;
    esac
  done
}

# offer_each BEFORE WORDS
offer_each() {
  local word
  for word in $2; do offer "$1$word"; done
}

# setting NAME: sets REPLY to its value in settings.yml, a list's items as words
setting() {
  local name value
  REPLY=""
  while IFS=": " read -r name value; do
    [[ $name != "$1" ]] || REPLY=${value//[][,]/ }
  done <"$LAB_FOLDER/settings.yml"
  # a remark behind it, and Windows' end of a line
  REPLY=${REPLY%%[#$'\r']*}
  REPLY=${REPLY%"${REPLY##*[! ]}"}
}

# values_of NAME: sets REPLY to what that setting can be, where these are few
values_of() {
  local file files=()
  REPLY=""
  set +f
  case $1 in
    language) files=("$LAB_FOLDER"/lib/texts/*) ;;
    cluster) files=("$LAB_FOLDER"/plugins/clusters/*.yml) ;;
  esac
  set -f
  for file in ${files[@]+"${files[@]}"}; do
    file=${file##*/}
    REPLY+=" ${file%.*}"
  done
}

# --- a line -----------------------------------------------------------------------------------------------------------

# complete COMMAND WORD... LAST: makes FOUND, and EXPLAINED beside it
complete() {
  local command=$1 name=${1##*/} language line
  FOUND=() EXPLAINED=() USAGE=() MEANING=()
  WORDS=("${@:2:$#-2}") LAST=${!#}
  if [[ $command == */* ]]; then
    LAB_FOLDER=${command%/*}
    [[ $LAB_FOLDER != \~* ]] || LAB_FOLDER=$HOME${LAB_FOLDER#\~}
    lab_is_project "$LAB_FOLDER" || return 0
  else
    lab_folder "$PWD" || lab_folder "$(pwd -P)" || return 0
  fi
  setting language
  language=$LAB_FOLDER/lib/texts/${REPLY//[^a-z]/}/help
  if [[ $name == lab && ${#WORDS[@]} == 0 ]]; then
    while read -r name _; do
      line=""
      [[ $name == "#"* || ! -f $language/lab-$name.txt ]] || IFS= read -r line <"$language/lab-$name.txt"
      [[ $name == "#"* ]] || offer "$name" "${line#*: }"
    done <"$LAB_FOLDER/lib/laptop/commands"
    offer --help
    return
  fi
  if [[ $name == lab ]]; then
    [[ -f $language/lab-${WORDS[0]}.txt ]] || return 0
    read_help "$language/lab-${WORDS[0]}.txt" "./lab ${WORDS[0]}"
    read_command "${WORDS[0]}"
    WORDS=(${WORDS[@]+"${WORDS[@]:1}"})
  else
    [[ -f $LAB_FOLDER/$name ]] || return 0
    read_help "$LAB_FOLDER/$name" "./$name"
    # shellcheck disable=SC2086 # words
    for line in ${USAGE[@]+"${USAGE[@]}"}; do take $line; done
    [[ ! -f $language/$name.txt ]] || read_help "$language/$name.txt" "./$name"
  fi
  complete_word
}

# complete_word: what LAST can be behind WORDS
complete_word() {
  local word number kinds="" behind=0 words=0
  for word in ${WORDS[@]+"${WORDS[@]}"}; do
    case $word in
      -*)
        kinds="" behind=0
        for ((number = 0; number < ${#OPTIONS[@]}; number++)); do
          [[ ${OPTIONS[number]%=} != "${word%%=*}" ]] || kinds=${KINDS[number]}
          # "--name=x" has its word
        done
        [[ $word != *=* || $kinds == *... ]] || kinds=""
        ;;
      *)
        behind=$((behind + 1))
        [[ $kinds ]] || words=$((words + 1))
        ;;
    esac
  done
  if [[ $LAST == --*=* ]]; then
    for ((number = 0; number < ${#OPTIONS[@]}; number++)); do
      [[ ${OPTIONS[number]} != "${LAST%%=*}=" ]] || offer_kind "${KINDS[number]}" "${LAST%%=*}=" "${LAST#*=}"
    done
  elif [[ $LAST == -* ]]; then
    offer_options
  else
    # shellcheck disable=SC2206 # words
    kinds=($kinds)
    if ((behind < ${#kinds[@]})); then
      offer_kind "${kinds[behind]}" "" "$LAST"
    elif ((${#kinds[@]})) && [[ ${kinds[${#kinds[@]} - 1]} == *... ]]; then
      offer_kind "${kinds[${#kinds[@]} - 1]}" "" "$LAST"
    elif [[ $ARGUMENT ]] && ((words == 0)); then
      offer_kind "$ARGUMENT" "" "$LAST"
    fi
    # where there is nothing else to say
    ((${#FOUND[@]})) || offer_options
  fi
}

# --- bash's line ------------------------------------------------------------------------------------------------------

# unquote LINE: makes SAID of its words as bash would read them, RAW of the last one as it stands, OPEN of a quote left open
unquote() {
  local line=$1 letter number begun="" word=""
  SAID=() RAW="" OPEN=""
  for ((number = 0; number < ${#line}; number++)); do
    letter=${line:number:1}
    RAW+=$letter
    if [[ $letter == "$OPEN" ]]; then
      OPEN=""
    elif [[ $letter == "\\" && $OPEN != "'" ]]; then
      number=$((number + 1))
      RAW+=${line:number:1}
      [[ ! $OPEN || ${line:number:1} == [\"\\\$\`] ]] || word+="\\"
      word+=${line:number:1}
    elif [[ $OPEN || $letter != [[:space:]\'\"] ]]; then
      word+=$letter
    elif [[ $letter != [[:space:]] ]]; then
      OPEN=$letter
    else
      [[ ! $begun ]] || SAID+=("$word")
      word="" RAW="" begun=""
      continue
    fi
    begun=yes
  done
  SAID+=("$word")
}

# quote TEXT: sets REPLY to it as bash is to insert it
quote() {
  local letter number
  REPLY=""
  for ((number = 0; number < ${#1}; number++)); do
    letter=${1:number:1}
    [[ $letter != [][\ \'\"\\\`\$\&\;\|\<\>\(\)*?{}!#~^] ]] || REPLY+="\\"
    REPLY+=$letter
  done
}

# for_bash TYPE LINE LAST: prints what complete has found as bash is to insert it
for_bash() {
  local last=$3 open before folders="" number word
  unquote "$2"
  open=$OPEN
  complete "${SAID[@]}"
  # as it was typed stays what is in front of LAST, and the folders in it
  [[ $last != */* ]] || folders=${last%/*}/
  unquote "${RAW%"$last"}$folders"
  before=${SAID[${#SAID[@]} - 1]}
  # within quotes, bash itself knows how to go on, and when to close them
  [[ ! $open ]] || printf ':filenames\n'
  for ((number = 0; number < ${#FOUND[@]}; number++)); do
    word=${FOUND[number]#"$before"}
    if [[ $open ]]; then
      REPLY=$folders${word%/}
    else
      quote "$word"
      REPLY=$folders$REPLY
      # 63: they are only shown
      if [[ $1 == 63 && ${#FOUND[@]} != 1 && ${EXPLAINED[number]} ]]; then
        REPLY+="  (${EXPLAINED[number]})"
      elif [[ $word != *[/=] ]]; then
        REPLY+=" "
      fi
    fi
    printf '%s\n' "$REPLY"
  done
}

if [[ $1 == --bash ]]; then
  for_bash "${@:2}"
else
  complete "$@"
  for ((number = 0; number < ${#FOUND[@]}; number++)); do
    printf '%s\t%s\n' "${FOUND[number]}" "${EXPLAINED[number]}"
  done
fi
