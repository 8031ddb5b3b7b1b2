# shellcheck shell=bash
# Who logs in where, for ssh and sshuttle on the laptop. Bash 3.2 is enough (macOS).

# login_name: user@host for ssh; USER stands for a name that is not known (yet)
login_name() {
  local host=$FACT_login_host
  ((SETTING_gpus == 0)) || host=${FACT_gpu_login_host:-$host}
  printf '%s\n' "${SETTING_ssh_host:-${SETTING_user:-USER}@$host}"
}

# need_user: asks once for the user's name on the cluster and keeps it in personal.yml, which git ignores
need_user() {
  local name
  [[ ! ${SETTING_user:-}${SETTING_ssh_host:-} && ! $PRINT ]] || return 0
  [[ -t 0 ]] || misuse no_user cluster="$SETTING_cluster"
  say which_user cluster="$SETTING_cluster"
  read -r name
  check_value personal.yml user "$name" ""
  printf 'user: %s\n' "$name" >>"$FOLDER/personal.yml"
  SETTING_user=$name
}

# need_tunnel: ends the script for this computer itself, where there is nothing to tunnel to
need_tunnel() {
  [[ $FACT_reach != local ]] || misuse no_tunnel_needed place="$LINE_cluster"
}

# read_address URL: sets NODE, PORT and PAGE from the address that start_salloc.sh printed
read_address() {
  [[ $1 =~ ^http://([A-Za-z0-9][A-Za-z0-9.-]*):([1-9][0-9]{0,4})/([A-Za-z0-9/]*[?]token=[A-Za-z0-9._-]+)$ ]] \
    || misuse bad_address address="$1"
  ((BASH_REMATCH[2] <= 65535)) || misuse bad_address address="$1"
  NODE=${BASH_REMATCH[1]} PORT=${BASH_REMATCH[2]} PAGE=${BASH_REMATCH[3]}
}

# answers HOST PORT: does a Jupyter server answer there? (an open port proves nothing)
answers() {
  local line=""
  {
    exec 3<>"/dev/tcp/$1/$2" && printf 'GET /api HTTP/1.0\r\n\r\n' >&3 && IFS= read -r -t 5 line <&3
    exec 3>&-
  } 2>/dev/null && [[ $line == HTTP/*" 200 "* ]]
}

# say_when_it_answers HOST PORT URL: in the background, while the tunnel (this script) lives
say_when_it_answers() {
  until answers "$1" "$2"; do
    kill -0 $$ 2>/dev/null || return
    sleep 1
  done
  say tunnel_works url="$3"
}
