# shellcheck shell=bash
# Reads settings.yml, personal.yml and the cluster's facts: "name: value" or "name: [a, b]", one a line.
# Any other line is refused with file, line and what to write instead, and nothing read here is ever run as code.
# Afterwards SETTING_account is the account, LINE_account where it was set, FACT_reach a fact of the cluster;
# a list is its words with one space between. Bash 3.2 is enough (macOS).

source "$FOLDER/lib/messages.sh"
source "$FOLDER/lib/command.sh"

# load_settings: reads everything and checks it, once, before a script does anything else
load_settings() {
  # nothing of these counts but what the files say
  unset "${!SETTING_@}" "${!FACT_@}" "${!LINE_@}" "${!RULE_@}" MADE_FOLDER PACKAGES_FROM
  [[ -e $FOLDER/settings.yml ]] || misuse no_settings folder="$FOLDER"
  read_rules
  read_flat settings.yml SETTING check
  local name answer known
  for name in language project_name cluster account hours cores memory_per_core_mb gpus gpu_model python_module \
    kernels extensions environment_path packages; do
    answer="SETTING_$name" known="RULE_${name}_example"
    [[ ${!answer+set} ]] || misuse missing_setting name="$name" example="$name: ${!known}"
  done
  if [[ -e $FOLDER/personal.yml ]]; then read_flat personal.yml SETTING check; fi
  [[ -e $FOLDER/plugins/clusters/$SETTING_cluster.yml ]] \
    || misuse no_such_plugin place="$LINE_cluster" kind=clusters name="$SETTING_cluster" known="$(plugin_names clusters)"
  read_flat "plugins/clusters/$SETTING_cluster.yml" FACT
  [[ $FACT_status != retired ]] || misuse retired place="$LINE_cluster" cluster="$SETTING_cluster" successor="$FACT_successor"
  for name in login_host pip_source modules_first; do
    answer="SETTING_$name" known="FACT_$name"
    [[ ${!known} != asked ]] || {
      known="RULE_${name}_example"
      [[ ${!answer+set} ]] || misuse missing_setting name="$name" example="$name: ${!known}"
      printf -v "FACT_$name" '%s' "${!answer}"
    }
  done
  check_settings
}

# read_flat FILE PREFIX [check]: sets PREFIX_name for every line; "check" holds names and values to lib/rules.yml
read_flat() {
  # in other locales [a-z] may include é
  local LC_ALL=C
  local file=$1 prefix=$2 check=${3:-} line number=0 name value many example seen=" "
  local own='^_[a-z_]+: "([^"\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*" *$'
  local word='[A-Za-z0-9/$][A-Za-z0-9_./:+@%=<>!~*-]*' end=' *( #.*)?$'
  local one="^([a-z][a-z0-9_]*): +($word)$end" list="^([a-z][a-z0-9_]*): +\[ *(($word)( *, *$word)*)? *\]$end"
  while IFS= read -r line || [[ $line ]]; do
    number=$((number + 1))
    line=${line%$'\r'}
    check_characters "$line" || misuse strange_character place="$file:$number"
    # names with an underscore in front are Copier's own
    [[ $line =~ ^\ *(#.*)?$ || $line =~ $own ]] && continue
    many=""
    if [[ $line =~ $list ]]; then
      many=yes
    elif [[ ! $line =~ $one ]]; then
      name=${line%%:*}
      example="RULE_${name}_example"
      [[ $name =~ ^[a-z][a-z0-9_]*$ && ${!example+set} ]] || {
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
  done <"$FOLDER/$file"
  # which read drops without a word
  (($(tr -dc '\000' <"$FOLDER/$file" | wc -c) == 0)) || misuse strange_character place="$file"
}

# check_characters LINE: false for what YAML refuses or takes for the end of a line, even in a comment
check_characters() {
  [[ $1 == *[$'\001'-$'\010'$'\013'-$'\037'$'\177'-$'\377']* ]] || return 0
  [[ $1 != *[$'\001'-$'\010'$'\013'-$'\037'$'\177']* ]] \
    && [[ $1 != *$'\302'[$'\200'-$'\237']* && $1 != *$'\342\200'[$'\250\251']* && $1 != *$'\357\277'[$'\276\277']* && $1 != *$'\364'[$'\220'-$'\277']* && $1 != *[$'\365'-$'\377']* ]] \
    && printf '%s' "$1" | iconv -f UTF-8 -t UTF-8 >/dev/null 2>&1
}

# read_rules: RULE_account is the expression, RULE_account_example the example of lib/rules.yml
read_rules() {
  local line
  while IFS= read -r line; do
    if [[ $line == [a-z]* ]]; then printf -v "RULE_${line%%:*}" '%s' "${line#*: }"; fi
  done <"$FOLDER/lib/rules.yml"
}

# check_value PLACE NAME VALUE MANY: refuses what lib/rules.yml does not allow; MANY is empty for a single value
check_value() {
  local place=$1 name=$2 value=$3 many=$4 list="" item
  local rule="RULE_$2" example="RULE_${2}_example" items=("$3")
  # YAML 1.1 reads these words as true, false or nothing
  local yaml_word='^([Yy][Ee][Ss]|[Nn][Oo]|[YyNn]|[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[Oo][Nn]|[Oo][Ff][Ff]|[Nn][Uu][Ll][Ll])$'
  [[ ${!example+set} ]] || misuse no_such_setting place="$place" name="$name"
  # what belongs to one person is not the project's, and the other way round
  [[ " $RULE_personal " == *" $name "* ]] && item=personal.yml || item=settings.yml
  [[ ${place%%:*} == "$item" ]] || misuse wrong_file place="$place" name="$name" file="$item"
  if [[ " $RULE_lists " == *" $name "* ]]; then list=yes; fi
  [[ $many == "$list" ]] || misuse bad_value place="$place" value="$value" example="$name: ${!example}"
  [[ ! $many ]] || IFS=' ' read -r -a items <<<"$value"
  for item in ${items[@]+"${items[@]}"}; do
    if [[ ! $item =~ ^${!rule}$ || $item =~ $yaml_word ]]; then
      misuse bad_value place="$place" value="$item" example="$name: ${!example}"
    fi
  done
}

# plugin_names KIND: the ids there are, for a message
plugin_names() {
  local file names=""
  for file in "$FOLDER/plugins/$1"/*; do
    file=${file##*/}
    names+=" ${file%.*}"
  done
  printf '%s\n' "${names# }"
}

# check_settings: holds the answers against the cluster's facts; what is unknown of a cluster is left to Slurm
check_settings() {
  local kind name prefix
  for kind in kernels extensions; do
    name="SETTING_$kind" prefix="LINE_$kind"
    for name in ${!name}; do
      [[ -e $FOLDER/plugins/$kind/$name.sh ]] \
        || misuse no_such_plugin place="${!prefix}" kind="$kind" name="$name" known="$(plugin_names "$kind")"
    done
  done
  [[ $FACT_scheduler == slurm ]] || return 0
  if [[ $FACT_account_prefixes ]] && [[ " $FACT_account_prefixes " != *" ${SETTING_account%%-*} "* || $SETTING_account != *-* ]]; then
    prefix=" $FACT_account_prefixes"
    misuse bad_account place="$LINE_account" account="$SETTING_account" cluster="$SETTING_cluster" \
      prefixes="${FACT_account_prefixes// /-, }-" example="${FACT_account_prefixes%% *}-yourpi"
  fi
  at_most hours "$FACT_hours_max"
  check_node
}

# at_most NAME LIMIT: refuses a setting over the cluster's limit
at_most() {
  local value="SETTING_$1" place="LINE_$1"
  [[ ! $2 =~ ^[0-9]+$ ]] || ((${!value} <= $2)) \
    || misuse too_much place="${!place}" name="$1" value="${!value}" limit="$2" cluster="$SETTING_cluster"
}

# check_node: does the session fit on one node, with its GPUs?
check_node() {
  local cores=$FACT_node_cores memory=$FACT_node_memory_mb entry range known=""
  if ((SETTING_gpus > 0)); then
    for entry in $FACT_gpu_requests; do
      known+=" ${entry%:*}"
      range=${entry##*:}
      [[ ${entry%:*} != "$SETTING_gpu_model" ]] \
        || ((SETTING_gpus < ${range%-*} || SETTING_gpus > ${range#*-})) || known=ok
      [[ $known != ok ]] || break
    done
    [[ $known == ok || -z $FACT_gpu_requests ]] \
      || misuse bad_gpu place="$LINE_gpus" request="$SETTING_gpu_model:$SETTING_gpus" cluster="$SETTING_cluster" known="$FACT_gpu_requests"
    cores=$(of_model "$FACT_gpu_node_cores" "$cores")
    memory=$(of_model "$FACT_gpu_node_memory_mb" "$memory")
  fi
  [[ $FACT_allocation == core ]] || return 0
  at_most cores "$cores"
  [[ ! $memory =~ ^[0-9]+$ ]] || ((SETTING_cores * SETTING_memory_per_core_mb <= memory)) \
    || misuse too_much_memory place="$LINE_memory_per_core_mb" cores="$SETTING_cores" memory="$SETTING_memory_per_core_mb" \
      total="$((SETTING_cores * SETTING_memory_per_core_mb))" limit="$memory" cluster="$SETTING_cluster"
}

# of_model LIST OTHERWISE: the number that a list such as "h100:48 h200:64" has for the chosen GPU model
of_model() {
  local entry
  for entry in $1; do
    # a slice of an h100 (h100_1g.10gb) sits in the same node
    if [[ $SETTING_gpu_model == "${entry%:*}"* ]]; then
      printf '%s\n' "${entry##*:}"
      return
    fi
  done
  if [[ $1 ]]; then printf '%s\n' "$2"; else printf 'unknown\n'; fi
}
