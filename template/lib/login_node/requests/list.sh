# shellcheck shell=bash
# What `lab status` shows: sessions and batch jobs, and how far these have come.

# answer_list FOLDER: tells every session that waits or runs, the folder's that ended lately because nothing was done in them,
# and its batch jobs, also those that ended lately: squeue, sstat and sacct once each
answer_list() {
  local jobs line job task state reason start end node given cores name running="" asked="" accounts="" live=" " tasks="" sweeps=()
  find_folder "$1"
  find_jobs
  jobs=$(slurm squeue --me --noheader --sort=i \
    --Format='ArrayJobID:|,State:|,Reason:|,StartTime:|,EndTime:|,NodeList:|,tres-alloc:|,NumCPUs:|,JobArrayID:|,Name:' 2>&1) || {
    tell trouble "$jobs"
    return
  }
  find_state 'sessions/*'
  # a name may have the bar in it that stands between the fields
  while IFS='|' read -r job state reason start end node given cores task name; do
    if [[ $job && ${NOTEBOOK[$job]:-} ]]; then
      # sacct hears a little later that a task has begun
      [[ $state != RUNNING && $state != PENDING ]] || tasks+="$task|$state"$'\n'
      # of an array's jobs, one for each state
      [[ $live != *" $job.$state "* ]] || continue
      live+="$job.$state "
      tell batch "$(now)" "$job" "$state" "$reason" "$start" "$end" "$node" "$given" "$cores" "${NOTEBOOK[$job]}"
    elif [[ $name == "$SESSION_PREFIX"* || ($job && " ${FOUND[*]##*/} " == *" $job "*) ]]; then
      live+="${name#"$SESSION_PREFIX"} "
      tell session "$(now)" "$job" "$state" "$reason" "$start" "$end" "$node" "$given" "$cores" "$name"
    else
      continue
    fi
    [[ $state != RUNNING ]] || running+=,$job
  done <<<"$jobs"
  find_state 'idle/*'
  for name in "${FOUND[@]}"; do
    end=$(find "$name" -mtime "-$ENDED_DAYS" -printf '%Ts')
    read -r job given line <"$name" || continue
    [[ ! $end || ! $line -ef $FOLDER || $live == *" ${name##*/} "* ]] || tell idle "$job" "${name##*/}" "$given" "$end"
  done
  [[ ! $running ]] || slurm sstat --noheader --parsable2 --allsteps --jobs="${running#,}" --format=JobID,AveRSS,AveCPU 2>/dev/null \
    | while IFS='|' read -r -a line; do tell usage "${line[@]}"; done
  # of what waits or runs, an array may have tasks that have ended
  for job in "${JOBS[@]}"; do [[ $live == *" $job."* && ${ROWS[$job]} == 0 ]] || asked+=,$job; done
  [[ ! $asked ]] || accounts=$(slurm sacct --noheader --parsable2 --allocations --jobs="${asked#,}" --format=JobID,State,ExitCode,End 2>/dev/null)
  while IFS='|' read -r job state given end; do
    [[ $live != *" $job."* ]] || continue
    [[ ! $end =~ ^[0-9]+$ ]] || ((end > $(now) - ENDED_DAYS * 86400)) || continue
    tell ended "$job" "${state%% *}" "$given" "$end" "${NOTEBOOK[$job]:-}"
    tell_progress "$job" over
  done < <(one_for_an_array <<<"$accounts" | tail -n "$ENDED_SHOWN")
  for job in "${JOBS[@]}"; do
    [[ $live != *" $job."* ]] || tell_progress "$job" live
  done
  ((${#sweeps[@]} == 0)) || timeout "$CHECK_STEP" python3 -I "$FOLDER/lib/cluster/sweep.py" "${sweeps[@]}" <<<"$accounts"$'\n'"$tasks" 2>/dev/null \
    | while IFS=$'\t' read -r job line; do
      IFS=$'\t' read -r -a lines <<<"$line"
      tell rows "$job" "${lines[@]:0:6}" "${RESULTS[$job]#"$FOLDER/"}/rows.csv" "${lines[6]:-}"
    done
  tell end
}

# one_for_an_array: of sacct's lines 8_0|STATE|CODE|END, one for each array: its last end, and a failure if there is one
one_for_an_array() {
  awk -F'|' -v OFS='|' 'NF { sub(/_.*/, "", $1); if (!($1 in line)) order[++count] = $1
    if (!($1 in line) || line[$1] ~ /^COMPLETED/) line[$1] = $2 OFS $3; if ($4 > end[$1]) end[$1] = $4 }
    END { for (i = 1; i <= count; i++) print order[i], line[order[i]], end[order[i]] }'
}

# tell_progress JOB live|over: tells how far a notebook that runs itself has come: its state, cell, cells, and why; those of
# tables it puts into sweeps, for sweep.py, which looks at all of them
tell_progress() {
  local results=${RESULTS[$1]:-} words which=""
  [[ $results ]] || return 0
  if [[ ${ROWS[$1]} == 0 ]]; then
    IFS=$'\t' read -r -a words 2>/dev/null <"$results/state" || return 0
    [[ $2 == over ]] || IFS= read -r which 2>/dev/null <"$results/which" || true
    tell cells "$1" "${words[@]:0:3}" "${words[4]:-}${which:+. $which}"
  else
    sweeps+=("$1" "${TASKS[$1]}" "$2" "$results")
  fi
}
