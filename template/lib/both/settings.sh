# shellcheck shell=bash
# Reads settings.yml, personal.yml and the cluster's facts: "name: value" or "name: [a, b]", one a line.
# Any other line is refused with file, line and what to write instead, and nothing read here is ever run as code.
# Afterwards SETTING_account is the account, LINE_account where it was set, FACT_reach a fact of the cluster;
# a list is its words with one space between; CLUSTER_NAME is what messages call the cluster. Bash 3.2 is enough (macOS).

# in an environment without it (cron, env -i) bash still knows where the home is
[[ ${HOME:-} ]] || { unset HOME && export HOME=~; }

source "$FOLDER/lib/both/limits.sh"
source "$FOLDER/lib/both/messages.sh"
source "$FOLDER/lib/both/options.sh"
source "$FOLDER/lib/both/checks.sh"

# load_settings: reads everything and checks it, once, before a script does anything else
load_settings() {
  # nothing of these counts but what the files say
  unset "${!SETTING_@}" "${!FACT_@}" "${!LINE_@}" "${!RULE_@}" MADE_FOLDER PACKAGES_FROM
  [[ -e $FOLDER/settings.yml ]] || misuse no_settings folder="$FOLDER"
  read_rules
  read_flat settings.yml SETTING check
  need_setting cluster
  if [[ -e $FOLDER/personal.yml ]]; then read_flat personal.yml SETTING check; fi
  [[ -e $FOLDER/plugins/clusters/$SETTING_cluster.yml ]] \
    || misuse no_such_plugin place="$LINE_cluster" folder=plugins/clusters name="$SETTING_cluster" known="$(names_in plugins/clusters)"
  read_flat "plugins/clusters/$SETTING_cluster.yml" FACT
  [[ $FACT_status != retired ]] || misuse retired place="$LINE_cluster" cluster="$SETTING_cluster" successor="$FACT_successor" command="copier update"
  # where the login host is asked, the cluster's id stands for many and says nothing
  CLUSTER_NAME=$SETTING_cluster
  [[ $FACT_login_host != asked ]] || CLUSTER_NAME=${SETTING_login_host:-}
  need_settings
  check_settings
  # a session has its environment, and each look costs something on the network disk
  [[ ${0##*/} == jupyterlab.sh ]] || read_requirements
}

# session_settings: prints as "name: value" what of settings.yml a session depends on
session_settings() {
  local name
  for name in "${!SETTING_@}"; do
    [[ " $RULE_personal language project_name " == *" ${name#SETTING_} "* ]] || printf '%s: %s\n' "${name#SETTING_}" "${!name}"
  done
}

# need_settings: every name that has a rule is set, but for what is personal, optional, and what the cluster's facts already say
need_settings() {
  local name answer fact
  for name in "${!RULE_@}"; do
    name=${name#RULE_}
    [[ $name == *_example && " $RULE_personal $RULE_optional " != *" ${name%_example} "* ]] || continue
    name=${name%_example}
    answer="SETTING_$name" fact="FACT_$name"
    if [[ ! ${!fact+set} ]]; then
      need_setting "$name"
    elif [[ ${!fact} == asked ]]; then
      need_setting "$name"
      printf -v "$fact" '%s' "${!answer}"
    fi
  done
}

# need_setting NAME: refuses a settings.yml without it
need_setting() {
  local answer="SETTING_$1" example="RULE_${1}_example"
  [[ ${!answer+set} ]] || misuse missing_setting name="$1" example="$1: ${!example}"
}

# read_flat FILE PREFIX [check]: sets PREFIX_name for every line; "check" holds names and values to lib/both/rules.yml
read_flat() {
  # in other locales [a-z] may include é
  local LC_ALL=C
  local file=$1 prefix=$2 check=${3:-} text line number=0 name value many example seen=" "
  local own='^_[a-z_]+: "([^"\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*" *$'
  local word='[A-Za-z0-9/$][A-Za-z0-9_./:+@%=<>!~*-]*' end=' *( #.*)?$'
  # up to a NUL, which would be dropped without a word otherwise; once, for each look costs something on a network disk
  ! IFS= read -r -d '' text 2>/dev/null <"$FOLDER/$file" || misuse strange_character place="$file"
  [[ ${text+set} ]] || misuse not_a_file place="$file"
  # asked once: each comment in French would need it
  local utf8=""
  ! printf '%s' "$text" | iconv -f UTF-8 -t UTF-8 >/dev/null 2>&1 || utf8=yes
  local one="^([a-z][a-z0-9_]*): +($word)$end" list="^([a-z][a-z0-9_]*): +\[ *(($word)( *, *$word)*)? *\]$end"
  while IFS= read -r line || [[ $line ]]; do
    number=$((number + 1))
    line=${line%$'\r'}
    check_characters "$line" "$utf8" || misuse strange_character place="$file:$number"
    # names with an underscore in front are Copier's own
    [[ $line =~ ^\ *(#.*)?$ || $line =~ $own ]] && continue
    many=""
    if [[ $line =~ $list ]]; then
      many=yes
    elif [[ ! $line =~ $one ]]; then
      # what is meant, in spite of a space, a dash or a capital letter
      name=""
      [[ ! $line =~ ^[\ -]*([A-Za-z][A-Za-z0-9_-]*)(\ *:)? ]] || name=$(tr '[:upper:]-' '[:lower:]_' <<<"${BASH_REMATCH[1]}")
      example="RULE_${name}_example"
      [[ $name && ${!example+set} ]] || {
        [[ ! $check || ! ${BASH_REMATCH[2]:-} ]] || misuse no_such_setting place="$file:$number" name="${BASH_REMATCH[1]}"
        name=account
        [[ $file != personal.yml ]] || name=user
        example="RULE_${name}_example"
      }
      misuse unreadable_line place="$file:$number" text="$line" example="$name: ${!example}"
    fi
    name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
    if [[ $many ]]; then
      value=${value//,/ }
      while [[ $value == *"  "* ]]; do value=${value//  / }; done
      value=${value% }
    fi
    [[ $seen != *" $name "* ]] || misuse set_twice place="$file:$number" name="$name"
    seen+="$name "
    if [[ $check ]]; then check_value "$file:$number" "$name" "$value" "$many"; fi
    printf -v "${prefix}_$name" '%s' "$value"
    printf -v "LINE_$name" '%s' "$file:$number"
  done <<<"$text"
}

# read_requirements: adds the lines of requirements.txt to what is asked for, as words; a space of a marker is %20 in them
read_requirements() {
  local LC_ALL=C
  local file=requirements.txt text line number=0 name marker wanted=""
  [[ -e $FOLDER/$file ]] || return 0
  # PowerShell's ">" writes UTF-16
  if IFS= read -r -d '' text 2>/dev/null <"$FOLDER/$file"; then
    text=$(iconv -f UTF-16 -t UTF-8 "$FOLDER/$file" 2>/dev/null) || misuse strange_character place="$file"
  fi
  [[ ${text+set} ]] || misuse not_a_file place="$file"
  text=${text#$'\357\273\277'}
  while IFS= read -r line || [[ $line ]]; do
    number=$((number + 1))
    line=${line%$'\r'}
    check_characters "$line" "" || misuse strange_character place="$file:$number"
    line=${line//$'\t'/ }
    [[ $line != "#"* ]] || line=""
    line=${line%%" #"*}
    while [[ $line == " "* ]]; do line=${line# }; done
    while [[ $line == *" " ]]; do line=${line% }; done
    [[ $line ]] || continue
    [[ $line =~ ^$RULE_requirement$ ]] || misuse bad_requirement place="$file:$number" text="$line"
    name=${line%%;*} marker=""
    [[ $line != *\;* ]] || marker=${line#*;}
    while [[ $marker == " "* ]]; do marker=${marker# }; done
    wanted+=" ${name// /}${marker:+;${marker// /%20}}"
  done <<<"$text"
  if [[ $wanted ]]; then SETTING_requirements=${wanted# }; fi
}

# check_characters LINE UTF8: false for what YAML refuses or takes for the end of a line, even in a comment; UTF8 is
# empty for a line of a file that is not UTF-8 everywhere
check_characters() {
  [[ $1 == *[$'\001'-$'\010'$'\013'-$'\037'$'\177'-$'\377']* ]] || return 0
  [[ $1 != *[$'\001'-$'\010'$'\013'-$'\037'$'\177']* ]] \
    && [[ $1 != *$'\302'[$'\200'-$'\237']* && $1 != *$'\342\200'[$'\250\251']* && $1 != *$'\357\277'[$'\276\277']* && $1 != *$'\364'[$'\220'-$'\277']* && $1 != *[$'\365'-$'\377']* ]] \
    && { [[ $2 ]] || printf '%s' "$1" | iconv -f UTF-8 -t UTF-8 >/dev/null 2>&1; }
}

# read_rules: RULE_account is the expression, RULE_account_example the example of lib/both/rules.yml
read_rules() {
  local line
  while IFS= read -r line; do
    if [[ $line == [a-z]* ]]; then printf -v "RULE_${line%%:*}" '%s' "${line#*: }"; fi
  done <"$FOLDER/lib/both/rules.yml"
}

# check_value PLACE NAME VALUE MANY: refuses what lib/both/rules.yml does not allow; MANY is empty for a single value
check_value() {
  local place=$1 name=$2 value=$3 many=$4 list="" item
  local rule="RULE_$2" example="RULE_${2}_example" allowed="RULE_${2}_allowed" items=("$3")
  [[ ${!example+set} ]] || misuse no_such_setting place="$place" name="$name"
  # what belongs to one person is not the project's, and the other way round
  [[ " $RULE_personal " == *" $name "* ]] && item=personal.yml || item=settings.yml
  [[ ${place%%:*} == "$item" ]] || misuse wrong_file place="$place" name="$name" file="$item"
  if [[ " $RULE_lists " == *" $name "* ]]; then list=yes; fi
  [[ $many == "$list" ]] || misuse bad_value place="$place" value="$value" example="$name: ${!example}"
  [[ ! $many ]] || IFS=' ' read -r -a items <<<"$value"
  for item in ${items[@]+"${items[@]}"}; do
    if [[ ! $item =~ ^${!rule}$ || $item =~ ^$RULE_yaml_word$ ]]; then
      [[ ! ${!allowed:-} ]] \
        || misuse value_not_allowed place="$place" name="$name" value="$item" allowed="${!allowed}" example="$name: ${!example}"
      misuse bad_value place="$place" value="$item" example="$name: ${!example}"
    fi
  done
}

# names_in FOLDER: the ids there are, for a message
names_in() {
  local file names=""
  for file in "$FOLDER/$1"/*; do
    file=${file##*/}
    names+=" ${file%.*}"
  done
  printf '%s\n' "${names# }"
}
