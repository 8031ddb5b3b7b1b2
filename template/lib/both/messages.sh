# shellcheck shell=bash
# One voice: every text that a script shows comes from lib/texts/LANGUAGE/messages.yml. Bash 3.2 is enough (macOS).

# a failure within $(…) counts, too (bash 4.4; the laptop's scripts do without)
shopt -s inherit_errexit 2>/dev/null || true

# the language, read before and without the rest, so that what is wrong with settings.yml is said in it
TEXTS=$(sed -n 's/^language: *\([a-z]*\).*/\1/p' "$FOLDER/settings.yml" 2>/dev/null | tail -n 1) || TEXTS=""
if [[ ! $TEXTS || ! -e $FOLDER/lib/texts/$TEXTS/messages.yml ]]; then TEXTS=en; fi

# message KEY [NAME=VALUE...]: prints the text of KEY, each {NAME} replaced, "\n" a new line
message() {
  local key=$1 line text="" shown="" pair name value
  shift
  while IFS= read -r line; do
    if [[ $line == "$key: \""* ]]; then
      text=${line#"$key: \""}
      text=${text%\"}
      text=${text//\\n/$'\n'}
      break
    fi
  done <"$FOLDER/lib/texts/$TEXTS/messages.yml"
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
  text=$shown$text
  printf '%s\n' "${text:-$key $*}"
}

# say KEY [NAME=VALUE...]: news, on standard output
say() {
  message "$@"
}

# warn KEY [NAME=VALUE...]: trouble, on standard error, behind the script's name
warn() {
  printf '%s: %s\n' "${0##*/}" "$(message "$@")" >&2
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
