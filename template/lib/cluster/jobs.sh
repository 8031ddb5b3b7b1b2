# shellcheck shell=bash
# What Slurm says of jobs (with places.sh, which has their names).

# slurm COMMAND...: one of its queries; what gives no answer is given up
slurm() {
  local status=0
  timeout --kill-after="$SSH_ANSWER" "$SLURM_ANSWER" "$@" 8>&- || status=$?
  ((status != 124)) || echo "$1: no answer within $SLURM_ANSWER s" >&2
  return "$status"
}

# job_of SESSION: prints the number of the user's oldest job of that name that has not ended; false, with Slurm's words,
# when Slurm does not say
job_of() {
  local jobs
  jobs=$(slurm squeue --me --noheader --name="$SESSION_PREFIX$1" --states=PENDING,CONFIGURING,RUNNING,SUSPENDED \
    --sort=i --format=%i 2>&1) || {
    printf '%s\n' "$jobs"
    return 1
  }
  grep -E -m 1 -x '[0-9]+' <<<"$jobs" || true
}

# job_number ANSWER: prints the number in what sbatch has answered, where a cluster may say more; false where there is none
job_number() {
  [[ $1 =~ (^|$'\n')Submitted\ batch\ job\ ([0-9]+) ]] && printf '%s\n' "${BASH_REMATCH[2]}"
}
