# shellcheck shell=bash
# What a login node knows of itself and of a person's accounts: sent there through lab's connection behind
# template/lib/cluster/clean.sh, with a last line that calls one of these. Every answer is a line: its source, a tab, and
# the words as they came, which probe.py takes for data. A source that fails or takes too long has no line.
PATIENCE=15

# bounded COMMAND...: no source waits for ever, asks anything or says more than a page of a book
bounded() {
  timeout -k 1 "$PATIENCE" "$@" </dev/null 2>&1 | head -c 100000
}

# labelled SOURCE COMMAND...: prints what a command says, each line behind its source
labelled() {
  bounded "${@:2}" | sed "s/^/$1"$'\t/'
}

# probe: everything at once, because each may have to wait
probe() {
  local folder part parts=(accounts nodes modules wheelhouse quotas)
  folder=$(mktemp -d) || return
  for part in "${parts[@]}"; do
    "probe_$part" >"$folder/$part" 2>/dev/null &
  done
  wait
  for part in "${parts[@]}"; do
    cat "$folder/$part"
    # the last line may have been cut off
    echo
  done
  rm -rf "$folder"
}

# slurmdbd may be out of a login node's reach, and sshare too; the submit filter names the accounts of whoever names none
probe_accounts() {
  local found
  found=$(labelled sacctmgr sacctmgr -nP show assoc "user=$(id -un)" format=Account)
  [[ $found == *$'\t'*[a-z]* && $found != *rror* ]] || found=$(labelled sshare sshare -U -n -P)
  [[ $found == *'|'* || $found == sacctmgr* ]] || found=$(labelled filter env -u SBATCH_ACCOUNT -u SLURM_ACCOUNT sbatch --test-only --time=10 --wrap=true)
  printf '%s\n' "$found"
}

# exactly: a plus sign would hide the largest
probe_nodes() {
  labelled sinfo sinfo --noheader --exact --format='%c|%m|%l|%G'
}

# module is a function, which timeout cannot call; of a single module it shows a page, and of all of them a list
probe_modules() {
  local list='module -t spider 2>&1 | grep -E "^(python|r|julia|ipython-kernel|ir-kernel|ijulia-kernel)/."'
  labelled module /bin/bash --noprofile --norc -p -c "$(declare -f module); $list"
}

# a site that has one names it in a file of its own, perhaps on several lines
probe_wheelhouse() {
  [[ ! ${PIP_CONFIG_FILE:-} ]] || labelled pip grep -A 9 '^ *find-links' "$PIP_CONFIG_FILE"
}

probe_quotas() {
  labelled quota diskusage_report
}

# estimate NUMBER OPTION...: when would Slurm start such a job? NUMBER tells one such question from the next.
estimate() {
  # some clusters take no jobs from below the home
  [[ ! -d ${SCRATCH:-} ]] || cd "$SCRATCH" || return
  printf 'now\t%s\n' "$(date '+%s %Y-%m-%dT%H:%M:%S')"
  labelled "estimate $1" env SLURM_TIME_FORMAT=%s sbatch --test-only "${@:2}" --wrap=true
}
