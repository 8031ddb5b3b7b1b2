# shellcheck shell=bash
# The host's key before the first login, compared with those that the cluster publishes; lab/host_key.py does so, too.
# Bash 3.2 is enough (macOS).

# ssh_to WORD...: the ssh of this folder, with its own settings; from the folder, because ssh parts paths at spaces
ssh_to() {
  (cd -- "$FOLDER" && exec ssh -F lib/laptop/ssh_config "$@")
}

# at_most_a_megabyte: no file of what follows grows larger, whatever the other side sends (not every Windows can do it)
at_most_a_megabyte() {
  ulimit -f 1024 2>/dev/null || true
}

# compare_host_key LOGIN: ends the script when the host presents another key than those published (fact host_keys).
# What known_hosts has of the host holds, whatever is published; where none is published, ssh asks.
compare_host_key() {
  local login=$1 name value host="" port=22 alias=none known_hosts="" others="" file line fingerprint
  while read -r name value; do
    case $name in
      hostname) host=$value ;;
      port) port=$value ;;
      hostkeyalias) alias=$value ;;
      userknownhostsfile) known_hosts=${value/#"~"/$HOME} ;;
      globalknownhostsfile) others=$value ;;
    esac
  done < <(ssh_to -G "$login" 2>/dev/null)
  # ssh itself says what is wrong with its settings
  [[ $host && $known_hosts ]] || return 0
  name=$host
  [[ $port == 22 ]] || name="[$host]:$port"
  [[ $alias == none ]] || name=$alias
  if is_known "$name" "$known_hosts"; then return 0; fi
  for file in $others; do
    if is_known "$name" "$file"; then return 0; fi
  done
  [[ ${FACT_host_keys:-} ]] || {
    say host_key_unpublished host="$host" >&2
    return 0
  }
  line=$(presented_key "$login")
  [[ $line ]] || die no_connection login="$login"
  fingerprint=$(ssh-keygen -l -f - <<<"$line" | cut -d ' ' -f 2)
  [[ " $FACT_host_keys " == *" $fingerprint "* ]] || die host_key_differs host="$host" login="$login" \
    presented="$fingerprint" published="${FACT_host_keys// /, }" page="$FACT_host_keys_page"
  (umask 077 && mkdir -p -- "${known_hosts%/*}")
  # the file's last line may lack its newline
  [[ ! -s $known_hosts || ! $(tail -c 1 "$known_hosts") ]] || printf '\n' >>"$known_hosts"
  printf '%s\n' "$line" >>"$known_hosts"
  say host_key_published host="$host" fingerprint="$fingerprint" file="$known_hosts" >&2
}

# is_known NAME FILE: does a file such as known_hosts have a key of a host?
is_known() {
  [[ -f $2 ]] && ssh-keygen -F "$1" -f "$2" >/dev/null 2>&1
}

# presented_key LOGIN: prints the line of known_hosts for the key that the host presents; nobody is logged in
presented_key() {
  local folder
  folder=$(mktemp -d /tmp/passerelle.XXXXXX)
  (at_most_a_megabyte && ssh_to -T -o UserKnownHostsFile="$folder/known_hosts" -o GlobalKnownHostsFile=/dev/null \
    -o StrictHostKeyChecking=accept-new -o HostKeyAlgorithms=ssh-ed25519,rsa-sha2-512,rsa-sha2-256 \
    -o HashKnownHosts=no -o CheckHostIP=no -o UpdateHostKeys=no -o ControlMaster=no -o ControlPath=none \
    -o PreferredAuthentications=none -o BatchMode=yes -o ConnectTimeout="$SSH_CONNECT" "$1" true) </dev/null >/dev/null 2>"$folder/words" || true
  # what others have written cannot steer the terminal
  if [[ -e $folder/known_hosts ]]; then cat "$folder/known_hosts"; else cat -v "$folder/words" >&2; fi
  rm -rf -- "$folder"
}
