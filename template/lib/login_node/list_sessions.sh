# shellcheck shell=bash
# Runs on the login node, sent there by tunnel_ssh.sh behind lib/cluster/places.sh: prints the address of each of the
# user's sessions that still runs. The word in front tells it from whatever a startup file prints.
find_state 'sessions/*'
for record in ${FOUND[@]+"${FOUND[@]}"}; do
  if [[ $(squeue --noheader --jobs="${record##*/}" --states=RUNNING --format=%i 2>/dev/null) ]]; then
    printf 'passerelle-session %s\n' "$(head -n 1 "$record")"
  fi
done
