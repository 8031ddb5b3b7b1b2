# shellcheck shell=bash
# One at a time: of labs that open a session at once, one submits it.

# take_turn FILE: waits until nobody else holds it, but not longer than a submission may take. The kernel takes a lock from
# a holder that has ended. Where there is no flock, or the disk has no locks, a link that names the holder stands for
# it, which is set aside when there is no such process; of another login node's, only time tells.
take_turn() {
  local holder status=0 none=0 me="$HOSTNAME $BASHPID" end=$((SECONDS + SUBMISSION))
  TURN=""
  exec 7>>"$1"
  flock --nonblock 7 2>/dev/null || status=$?
  if ((status == 1)); then
    # its holder may be building an environment
    tell turn another
    flock --wait "$SUBMISSION" 7 2>/dev/null || true
    tell turn ours
  fi
  ((status > 1)) || return 0
  TURN=$1.held
  until ln -s -- "$me" "$TURN" 2>/dev/null; do
    # gone again; or nothing can be written here, which the submission will say
    holder=$(readlink -- "$TURN") || none=$((none + 1))
    ((none < 10)) || return 0
    if ((SECONDS >= end)) || { [[ $holder == "$HOSTNAME "* ]] && ! kill -0 "${holder##* }" 2>/dev/null; }; then
      # all who see that come here, but one at a time takes it away, and only from that holder: another may have it by now
      if mkdir -- "$TURN.aside" 2>/dev/null; then
        [[ $(readlink -- "$TURN") != "$holder" ]] || rm -f -- "$TURN"
        rmdir -- "$TURN.aside"
        continue
      elif ((SECONDS >= end)); then
        # who made it was killed
        rmdir -- "$TURN.aside" 2>/dev/null
      fi
    fi
    sleep 0.2
  done
}
