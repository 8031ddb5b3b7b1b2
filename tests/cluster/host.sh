# shellcheck shell=bash
# A host is a process with namespaces of its own (mount, UTS, network, PID, IPC), which is PID 1
# to everything that runs on it. Nothing is made in the machine's own namespaces: no bridge, no
# mount, no user. When PID 1 dies the kernel takes away all the rest, and that is all of `down`.

start_host() {
  local host=$1 dir=$STATE/$1 unshare pid
  mkdir -p "$dir/root" "$dir/log"
  # setsid: a host must not die with the terminal that ran `up`.
  # env -i: nothing of the caller's environment (proxies, PIP_*) may be seen inside; nor are signals ignored that the
  # caller ignores, as whatever is started in the background ignores Ctrl-C.
  # 9 is the lock: a host that kept it open would hold it for ever.
  setsid env --default-signal -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C PASSERELLE_CLUSTER_CACHE="$CACHE" \
    PASSERELLE_CLUSTER_STATE="$STATE" PASSERELLE_CLUSTER_SHARE="$SHARE" \
    unshare --mount --uts --net --pid --ipc --fork --kill-child \
    /bin/bash "${here:?}/root.sh" "$host" </dev/null >"$dir/boot.log" 2>&1 9>&- &
  unshare=$!
  disown
  # The child of unshare is PID 1 of the new namespace.
  retry 5 has_child "$unshare"
  pid=$(<"/proc/$unshare/task/$unshare/children")
  pid=${pid%% *}
  printf '%s\n' "$pid" >"$dir/pid"
  start_time "$pid" >"$dir/start_time"
}

stop_host() {
  is_up "$1" || return 0
  kill -KILL "$(<"$STATE/$1/pid")" 2>/dev/null || true
  retry 20 is_down "$1" || die "host $1 does not end"
}

# Process ids are used again; together with the start time they name one process.
is_up() {
  local pid
  [[ -r $STATE/$1/start_time ]] || return 1
  pid=$(<"$STATE/$1/pid")
  [[ -d /proc/$pid && $(start_time "$pid") == "$(<"$STATE/$1/start_time")" ]]
}
is_down() { ! is_up "$1"; }
start_time() { awk '{ print $22 }' "/proc/$1/stat" 2>/dev/null; }
has_child() { grep --quiet . "/proc/$1/task/$1/children"; }
is_ready() { [[ -e $STATE/$1/ready ]]; }
is_settled() { is_ready "$1" || is_down "$1"; }

# in_host HOST COMMAND...: as root, on the host.
in_host() {
  nsenter --target "$(<"$STATE/$1/pid")" --mount --uts --ipc --net --pid --root --wd -- \
    env --default-signal -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "${@:2}"
}

# enter_host HOST COMMAND...: the same, in place of this process.
enter_host() {
  exec nsenter --target "$(<"$STATE/$1/pid")" --mount --uts --ipc --net --pid --root --wd -- \
    env --default-signal -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM="${TERM:-dumb}" "${@:2}"
}
