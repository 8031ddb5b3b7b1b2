# shellcheck shell=bash
# Who logs in where, for ssh and sshuttle. Bash 3.2 is enough (macOS).

# login_name: user@host for ssh; USER stands for a name that is not known (yet)
login_name() {
  local host=$FACT_login_host
  ((SETTING_gpus == 0)) || host=${FACT_gpu_login_host:-$host}
  printf '%s\n' "${SETTING_ssh_host:-${SETTING_user:-USER}@$host}"
}
