# shellcheck shell=bash
# Runs on the login node, sent there by ssh: prints the address of each of the user's sessions that still runs.
# The word in front tells it from whatever a startup file prints.
for record in ~/.local/state/passerelle/sessions/* "${SCRATCH:-/nonexistent}"/.passerelle/sessions/*; do
  if [[ -r $record && $(squeue --noheader --jobs="${record##*/}" --states=RUNNING --format=%i 2>/dev/null) ]]; then
    printf 'passerelle-session %s\n' "$(head -n 1 "$record")"
  fi
done
