# shellcheck shell=bash
# Runs on the login node, sent there by tunnel_ssh.sh behind lib/cluster/clean.sh and places.sh: prints the address of
# each of the user's sessions that still runs. The word in front tells it from whatever a startup file prints, also without
# the end of a line.
clean_login
find_state 'sessions/*'
for record in ${FOUND[@]+"${FOUND[@]}"}; do
  if [[ $(squeue --noheader --jobs="${record##*/}" --states=RUNNING --format=%i 2>/dev/null) ]]; then
    printf '\npasserelle-session %s\n' "$(head -n 1 "$record")"
  fi
done
