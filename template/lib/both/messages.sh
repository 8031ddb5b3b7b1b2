# shellcheck shell=bash
# One voice: every text that a script shows comes from lib/texts/LANGUAGE/messages.yml. Bash 3.2 is enough (macOS).

# a failure within $(…) counts, too (bash 4.4; the laptop's scripts do without)
shopt -s inherit_errexit 2>/dev/null || true

# the language, read before and without the rest, so that what is wrong with settings.yml is said in it
TEXTS=$(sed -n 's/^language: *\([a-z]*\).*/\1/p' "$FOLDER/settings.yml" 2>/dev/null | tail -n 1) || TEXTS=""
# read_messages LANGUAGE: once, for each look at a file costs something on a network disk
read_messages() {
  { IFS= read -r -d '' MESSAGES <"$FOLDER/lib/texts/$1/messages.yml"; } 2>/dev/null || [[ $MESSAGES ]]
}
MESSAGES=""
read_messages "$TEXTS" || TEXTS=en
[[ $MESSAGES ]] || read_messages en

# message KEY [NAME=VALUE...]: prints the text of KEY, each {NAME} replaced, "\n" a new line
message() {
  fill "$@"
  printf '%s\n' "$FILLED"
}

# fill KEY [NAME=VALUE...]: sets FILLED to that text. No process is started: a signal that says something may come twice, to
# all of them (timeout, a second Ctrl-C), and who is in the middle of saying it must not fail.
fill() {
  local key=$1 text="" shown="" pair name value
  local line=$'\n'"$key: \"([^"$'\n'"]*)\""
  shift
  [[ ! $'\n'$MESSAGES =~ $line ]] || text=${BASH_REMATCH[1]//\\n/$'\n'}
  # from left to right, so that nothing within a value is taken for a name
  while [[ $text == *"{"*"}"* ]]; do
    shown+=${text%%\{*} text=${text#*\{}
    name=${text%%\}*} text=${text#*\}}
    value="{$name}"
    for pair; do
      if [[ ${pair%%=*} == "$name" ]]; then value=${pair#*=}; fi
    done
    shown+=$value
  done
  FILLED=$shown$text
  FILLED=${FILLED:-$key $*}
}

# say KEY [NAME=VALUE...]: news, on standard output
say() {
  fill "$@"
  show 1 "$FILLED"
}

# warn KEY [NAME=VALUE...]: trouble, on standard error, behind the script's name
warn() {
  local text
  fill "$@"
  text=$FILLED
  fill colon
  show 2 "${0##*/}$FILLED$text"
}

# show STREAM TEXT: prints it; on a terminal, in rows of whole words
show() {
  local width="" line
  [[ ! -t $1 ]] || width=$(stty size <&"$1" 2>/dev/null) || true
  width=${width#* }
  if ((${width:-0} > 0)); then
    while IFS= read -r line; do
      if [[ $line == " "* ]] || ((${#line} <= width)); then printf '%s\n' "$line"; else fold_line "$width" "$line"; fi
    done < <(printf '%s\n' "$2") >&"$1"
  else
    # a bare "return" here would have the status of before the trap in which somebody says something
    printf '%s\n' "$2" >&"$1"
  fi
}

# fold_line WIDTH LINE: prints it in rows of whole words. What may be there to be copied stays in one row, if it fits: from
# a word with a colon, "./" or "(" up to the next punctuation (messages.py does the same for lab).
fold_line() {
  local width=$1 words word number=0 kept="" part="" row=""
  IFS=' ' read -r -a words <<<"$2"
  for word in "${words[@]}"; do
    number=$((number + 1))
    [[ $word != "("* ]] || add_to_row
    [[ $word != "("* && $word != ./* ]] || kept=yes
    # the script's name and a line's number have one, too
    [[ $word != *[!0-9]: || $number == 1 ]] || kept=yes
    part+=${part:+ }$word
    [[ $word != *[.\;,\)?] ]] || kept=""
    [[ $kept ]] || add_to_row
  done
  add_to_row
  printf '%s\n' "$row"
}

# add_to_row: the part, in a new row where it does not fit; one that is longer than a row word by word
add_to_row() {
  local piece pieces=()
  [[ $part ]] || return 0
  pieces=("$part")
  ((${#part} <= width)) || IFS=' ' read -r -a pieces <<<"$part"
  for piece in "${pieces[@]}"; do
    if [[ $row ]] && ((${#row} + 1 + ${#piece} > width)); then
      printf '%s\n' "$row"
      row=""
    fi
    row+=${row:+ }$piece
  done
  part=""
}

# die KEY [NAME=VALUE...]: trouble that ends the script
die() {
  warn "$@"
  exit 1
}

# misuse KEY [NAME=VALUE...]: what was typed or set is wrong (EX_USAGE of sysexits.h)
misuse() {
  warn "$@"
  exit 64
}
