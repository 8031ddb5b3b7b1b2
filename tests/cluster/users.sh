# shellcheck shell=bash
# The users and their homes. hosts/cluster/etc/vcluster/users is the one list of the cluster's
# users; alice is the only person at the laptop, and her key opens every account of the cluster.
# Users exist on the hosts only, so from outside (homes) they are numbers.

ALICE=20100
DEF_PROF=21000 # the group that owns /project/def-prof

# for_each_user FUNCTION: FUNCTION NAME NUMBER SHELL ALLOCATION...
for_each_user() {
  local line fields
  while read -r line; do
    read -r -a fields <<<"$line"
    "$1" "${fields[@]}"
  done < <(grep -v '^#' "${here:?}/hosts/cluster/etc/vcluster/users")
}

# --- outside -----------------------------------------------------------------------------------

make_keys() {
  local name
  mkdir -p "$CACHE/keys"
  for name in alice host within; do
    [[ -e $CACHE/keys/$name ]] || ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$CACHE/keys/$name"
  done
  [[ -e $CACHE/keys/munge.key ]] || head -c 1024 /dev/urandom >"$CACHE/keys/munge.key"
}

# Empties the homes that are there and fills them as a new account finds them. The folders stay:
# hosts that run have them mounted.
make_homes() {
  local cluster=$STATE/cluster
  mkdir -p "$cluster"/{home,scratch,project/def-prof} "$STATE/laptop-home/alice"
  for_each_user make_home
  find "$cluster/project/def-prof" -mindepth 1 -delete
  chgrp "$DEF_PROF" "$cluster/project/def-prof"
  chmod 2770 "$cluster/project/def-prof"
  make_home_of_alice
}

make_home() {
  local user=$1 id=$2 home=$STATE/cluster/home/$1 scratch=$STATE/cluster/scratch/$1
  mkdir -p "$home" "$scratch"
  find "$home" "$scratch" -mindepth 1 -delete
  cp --recursive "$here/skel/." "$home"
  install -d -m 700 "$home/.ssh"
  cat "$CACHE/keys/alice.pub" "$CACHE/keys/within.pub" >"$home/.ssh/authorized_keys"
  cp "$CACHE/keys/within" "$home/.ssh/id_ed25519" # from the login node to the nodes
  printf 'Host node*\n  StrictHostKeyChecking accept-new\n' >"$home/.ssh/config"
  chmod 600 "$home"/.ssh/*
  mkdir "$home/projects"
  ln -s "/scratch/$user" "$home/scratch"
  ln -s /project/def-prof "$home/projects/def-prof"
  chmod 700 "$home" "$scratch"
  chown --no-dereference --recursive "$id:$id" "$home" "$scratch"
}

make_home_of_alice() {
  local home=$STATE/laptop-home/alice
  find "$home" -mindepth 1 -delete
  install -d -m 700 "$home/.ssh"
  cp "$CACHE/keys/alice" "$home/.ssh/id_ed25519"
  cp "$CACHE/keys/alice.pub" "$home/.ssh/id_ed25519.pub"
  printf '%s %s\n' login.vcluster.example,mfa.vcluster.example "$(cut -d ' ' -f 1,2 "$CACHE/keys/host.pub")" >"$home/.ssh/known_hosts"
  printf '. /etc/profile.d/laptop.sh\n' >"$home/.bashrc"
  printf '. ~/.bashrc\n' >"$home/.bash_profile"
  chmod 600 "$home"/.ssh/*
  chmod 700 "$home"
  chown --recursive "$ALICE:$ALICE" "$home"
}

# Everything with a user's number on a host was started through this cluster.
end_processes_of_users() {
  local numbers
  numbers=$(for_each_user number_of | paste -sd ,)
  in_host laptop pkill -KILL -U "$ALICE" || true
  for host in login node1 node2; do in_host "$host" pkill -KILL -U "$numbers" || true; done
}
number_of() { printf '%s\n' "$2"; }

# --- on a host ---------------------------------------------------------------------------------

make_users() {
  case $host in
    inet) ;;
    laptop)
      add_user alice "$ALICE" /bin/bash
      chmod 440 /etc/sudoers.d/*
      ;;
    *)
      for_each_user add_user
      printf 'def-prof:x:%s:%s\n' "$DEF_PROF" "$(for_each_user member_of_def_prof | paste -sd ,)" >>/etc/group
      ;;
  esac
}

add_user() {
  printf '%s:x:%s:%s::/home/%s:%s\n' "$1" "$2" "$2" "$1" "$3" >>/etc/passwd
  printf '%s:x:%s:\n' "$1" "$2" >>/etc/group
  # "*" is no password at all, yet not a locked account, which sshd would refuse.
  printf '%s:*:19000:0:99999:7:::\n' "$1" >>/etc/shadow
}

member_of_def_prof() { if [[ " ${*:4} " == *" def-prof "* ]]; then printf '%s\n' "$1"; fi; }
