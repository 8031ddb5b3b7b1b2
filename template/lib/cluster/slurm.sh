# shellcheck shell=bash
# From the settings to Slurm's options: the same list for salloc and for sbatch.

# slurm_options: sets SLURM_OPTIONS, in the order of the wiki page
slurm_options() {
  local cores=$SETTING_cores
  doubt_account
  # it would win over a batch script's own line (https://docs.alliancecan.ca/wiki/Running_jobs, 2026-02-27)
  [[ $SETTING_account == none ]] || unset SBATCH_ACCOUNT SALLOC_ACCOUNT SLURM_ACCOUNT
  SLURM_OPTIONS=(--time="$SETTING_hours:00:00")
  if [[ $FACT_allocation == node ]]; then
    # all of a node is given, so all of it is asked for; with GPUs, the cores that come with them
    cores=$FACT_node_cores
    ((SETTING_gpus == 0)) || cores=$(($(of_model "$FACT_gpu_cores" "$cores") * SETTING_gpus))
    SLURM_OPTIONS+=(--nodes=1)
  fi
  SLURM_OPTIONS+=(--ntasks=1 --cpus-per-task="$cores")
  # Slurm takes one way of asking for memory; one on the command line wins
  [[ $FACT_memory_option == none || $(given --mem=)$(given --mem-per-) ]] || SLURM_OPTIONS+=(--mem-per-cpu="${SETTING_memory_per_core_mb}M")
  [[ $SETTING_account == none ]] || SLURM_OPTIONS+=(--account="$SETTING_account")
  [[ ${SETTING_reservation:-none} == none ]] || SLURM_OPTIONS+=(--reservation="$SETTING_reservation")
  ((SETTING_gpus == 0)) || SLURM_OPTIONS+=("$(gpu_request)")
}

# given OPTION: prints the option of that name that came on the command line, if one did
given() {
  local option
  for option in ${OPTIONS[@]+"${OPTIONS[@]}"}; do
    if [[ $option == "$1"* ]]; then printf '%s\n' "$option"; fi
  done
}

# directive OPTION: prints an option of sbatch as an #SBATCH line takes it
directive() {
  [[ $1 != *[\"\\$'\n']* ]] || misuse unknown_option option="$1"
  if [[ $1 == *' '* ]]; then printf '%s="%s"\n' "${1%%=*}" "${1#*=}"; else printf '%s\n' "$1"; fi
}

# gpu_request: the option, with model:number, or the number alone where no model was chosen
gpu_request() {
  local option=--gpus-per-node= model=$SETTING_gpu_model:
  [[ $model != none: ]] || model=""
  [[ " ${FACT_gpu_by_gres:-} " != *" $SETTING_gpu_model "* ]] || option=--gres=gpu:
  printf '%s\n' "$option$model$SETTING_gpus"
}

# submission_folder: prints where jobs are submitted from when that is not simply here
submission_folder() {
  local here home
  case $FACT_submit_from in
    scratch) ;;
    not_home)
      # ~/scratch and ~/projects lead out of the home
      here=$(pwd -P)/ home=$(cd -P -- "$HOME" && pwd)/
      [[ $here == "$home"* || $here == /home/* ]] || return 0
      ;;
    *) return 0 ;;
  esac
  scratch_folder
}

# run_in_slurm COMMAND...: runs salloc or sbatch; when Slurm refuses the job, or does not understand an option, one line
# with its reason and where to look. Sets ALLOCATED when salloc has been given a node.
run_in_slurm() {
  local status=0 words filter refusal place option
  if [[ $PRINT ]]; then
    show_command "$@"
    return
  fi
  words=$(temporary_file)
  # Slurm's refusal is kept for one line of ours; all else passes. The filter has to outlive Ctrl-C, or salloc dies of a
  # broken pipe before it can withdraw the job.
  exec 8> >(trap '' INT && exec sed -u -e "/^\(salloc\|sbatch\): error: .* failed: /{w $words" -e 'd}' \
    -e "/^salloc: \(Granted\|Pending\|Job allocation\) /w $words" >&2)
  filter=$!
  "$@" 2>&8 || status=$?
  exec 8>&-
  wait "$filter" || true
  refusal=$(sed -n -E 's/^(salloc|sbatch): error: (Job submit\/allocate|Batch job submission) failed: //p' "$words")
  ALLOCATED=$(grep -m 1 '^salloc: Granted' "$words") || ALLOCATED=""
  # not even asked for a job
  if [[ $1 != try_job && ! -s $words && $status != 0 && ${OPTIONS[*]:-} ]]; then
    rm -f "$words"
    misuse option_refused options="${OPTIONS[*]}" command="$1"
  fi
  rm -f "$words"
  [[ $refusal ]] || return "$status"
  case $refusal in
    # no refusal: it may have been received, and only its answer was lost
    *"timed out"* | *"Unable to contact"* | *"Zero Bytes"* | *"onnection"* | *"standby mode"*)
      [[ $1 == try_job ]] || die perhaps_queued refusal="$refusal"
      printf '%s\n' "$refusal"
      return
      ;;
    # while the nodes are out of service sbatch takes such a job all the same
    "Requested node configuration is not available" | *busy*)
      if [[ $1 == try_job ]]; then
        printf '%s\n' "$refusal"
        return
      fi
      ;;
  esac
  place=$(place_of "$refusal")
  [[ $refusal != *eservation* ]] || die reservation_refused refusal="$refusal" place="$place"
  die refused refusal="$refusal" place="$place"
}

# try_job: for run_in_slurm, asks whether Slurm takes the batch script on standard input, and when it would start (seconds
# since 1970); where Slurm does not say, its words come instead of a refusal
try_job() {
  local status=0
  # for once sbatch words a refusal in another way, which run_in_slurm does not know
  SLURM_TIME_FORMAT=%s timeout --kill-after="$SSH_ANSWER" "$SLURM_TRIAL" sbatch --test-only 2>&1 | head -c 4096 \
    | sed 's/^allocation failure: /sbatch: error: Batch job submission failed: /' >&2 || status=$?
  ((status != 124)) || echo "sbatch: error: Batch job submission failed: timed out after $SLURM_TRIAL s" >&2
  return "$status"
}

# place_of REFUSAL: prints what asked for what Slurm refuses: options of the command line, or the lines of settings.yml
place_of() {
  local places options="" name option typed=""
  case $1 in
    # a limit of the account's, or of the partition's
    *policy* | *"partition configuration"*)
      options="--time -t --cpus-per-task -c --ntasks -n --nodes -N --mem --gres --gpus -G --partition -p --qos -q"
      places="$LINE_hours, $LINE_cores, $LINE_memory_per_core_mb, $LINE_gpus"
      ;;
    *eservation*) options="--reservation" places=${LINE_reservation:-settings.yml} ;;
    *"odes not in"*) options="--nodelist -w --exclude -x --partition -p" places=settings.yml ;;
    *account* | *partition*) options="--account -A --partition -p" places="$LINE_account" ;;
    *[Tt]ime*) options="--time -t" places="$LINE_hours" ;;
    *processors*) options="--cpus-per-task -c --ntasks -n --nodes -N" places="$LINE_cores" ;;
    *[Mm]emory*) options="--mem" places="$LINE_memory_per_core_mb" ;;
    *gres* | *GRES*) options="--gres --gpus -G" places="$LINE_gpus" ;;
    *configuration*)
      options="--cpus-per-task -c --ntasks -n --nodes -N --mem --gres --gpus -G --constraint -C --partition -p"
      places="$LINE_cores, $LINE_memory_per_core_mb, $LINE_gpus"
      ;;
    *)
      options="--qos -q --constraint -C --dependency -d --nodelist -w --exclude -x --begin -b --licenses -L"
      places=settings.yml
      ;;
  esac
  for name in $options; do
    while IFS= read -r option; do typed+=${option:+, $option}; done <<<"$(given "$name")"
  done
  typed=${typed#, }
  printf '%s\n' "${typed:-$places}"
}
