# shellcheck shell=bash
# Holds the answers of settings.yml against the cluster's facts. Bash 3.2 is enough (macOS).

# check_settings: holds the answers against the cluster's facts; what is unknown of a cluster is left to Slurm
check_settings() {
  local kind name prefix
  [[ -e $FOLDER/lib/texts/$SETTING_language ]] \
    || misuse no_such_plugin place="$LINE_language" folder=lib/texts name="$SETTING_language" known="$(names_in lib/texts)"
  for kind in kernels extensions; do
    name="SETTING_$kind" prefix="LINE_$kind"
    for name in ${!name}; do
      [[ -e $FOLDER/plugins/$kind/$name.sh ]] \
        || misuse no_such_plugin place="${!prefix}" folder="plugins/$kind" name="$name" known="$(names_in "plugins/$kind")"
    done
  done
  [[ $FACT_scheduler == slurm ]] || return 0
  # a class's account begins otherwise (see doubt_account); a person's name has no dash
  [[ -z $FACT_account_prefixes || $SETTING_account == *-* ]] \
    || misuse bad_account place="$LINE_account" account="$SETTING_account" cluster="$CLUSTER_NAME" \
      prefixes="${FACT_account_prefixes// /-, }-" example="${FACT_account_prefixes%% *}-yourpi"
  at_most hours "$FACT_hours_max"
  check_node
}

# doubt_account: warns of an account that does not begin as the cluster's usually do; Slurm knows
doubt_account() {
  [[ -z $FACT_account_prefixes || " $FACT_account_prefixes " == *" ${SETTING_account%%-*} "* ]] \
    || warn unusual_account place="$LINE_account" account="$SETTING_account" cluster="$CLUSTER_NAME" \
      prefixes="${FACT_account_prefixes// /-, }-"
}

# at_most NAME LIMIT: refuses a setting over the cluster's limit
at_most() {
  local value="SETTING_$1" place="LINE_$1"
  [[ ! $2 =~ ^[0-9]+$ ]] || ((${!value} <= $2)) \
    || misuse too_much place="${!place}" name="$1" value="${!value}" limit="$2" cluster="$CLUSTER_NAME"
}

# check_node: does the session fit on one node, with its GPUs?
check_node() {
  local cores=$FACT_node_cores memory=$FACT_node_memory_mb entry range known="" example=${FACT_gpu_requests%% *}
  ((SETTING_gpus >= ${FACT_gpus_min:-0})) \
    || misuse gpus_needed place="$LINE_gpus" cluster="$CLUSTER_NAME" least="$FACT_gpus_min" model="${FACT_gpu_requests%%:*}"
  if ((SETTING_gpus > 0)); then
    for entry in $FACT_gpu_requests; do
      [[ ${entry%:*} == "$SETTING_gpu_model" ]] || continue
      example=$entry range=${entry##*:}
      ((SETTING_gpus < ${range%-*} || SETTING_gpus > ${range#*-})) || known=yes
    done
    range=${example##*:}
    [[ $known || -z $FACT_gpu_requests ]] \
      || misuse bad_gpu place="$LINE_gpus" request="$SETTING_gpu_model:$SETTING_gpus" cluster="$CLUSTER_NAME" \
        known="$FACT_gpu_requests" model="${example%:*}" least="${range%-*}"
    cores=$(of_model "$FACT_gpu_node_cores" "$cores")
    memory=$(of_model "$FACT_gpu_node_memory_mb" "$memory")
  fi
  [[ $FACT_allocation == core ]] || return 0
  at_most cores "$cores"
  [[ ! $memory =~ ^[0-9]+$ ]] || ((SETTING_cores * SETTING_memory_per_core_mb <= memory)) \
    || misuse too_much_memory place="$LINE_memory_per_core_mb" cores="$SETTING_cores" memory="$SETTING_memory_per_core_mb" \
      total="$((SETTING_cores * SETTING_memory_per_core_mb))" limit="$memory" cluster="$CLUSTER_NAME"
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
