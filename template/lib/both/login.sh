# shellcheck shell=bash
# Who logs in where, for ssh and sshuttle, and whether somebody is there already. Bash 3.2 is enough (macOS).

# login_name: user@host for ssh; USER stands for a name that is not known (yet)
login_name() {
  local host=$FACT_login_host
  ((SETTING_gpus == 0)) || host=${FACT_gpu_login_host:-$host}
  printf '%s\n' "${SETTING_ssh_host:-${SETTING_user:-USER}@$host}"
}

# on_the_cluster: is this computer the folder's cluster? That Slurm's commands are here does not say so: a workstation may
# have a Slurm of its own. On a login node of another cluster, one line says which is the right one.
on_the_cluster() {
  command -v sbatch >/dev/null || return 1
  not_elsewhere
  # the Alliance names the cluster on all its nodes (Alliance wiki, 2026-08-22)
  [[ ${CC_CLUSTER:-} != "$SETTING_cluster" ]] || return 0
  [[ $FACT_login_host == "${SETTING_login_host:-}" ]] || return 1
  # of any other cluster its login host alone is known: it is this computer, or nobody sits at this computer itself, but in
  # a job or at the other end of an ssh
  [[ ! ${SSH_CONNECTION:-}${SLURM_JOB_ID:-} ]] || return 0
  local address
  while read -r address _; do
    [[ " $(hostname -I 2>/dev/null) " != *" $address "* ]] || return 0
  done < <(getent ahosts "$FACT_login_host")
  return 1
}

# not_elsewhere: refuses a login node of another cluster of the Alliance's, or one for jobs of another kind
not_elsewhere() {
  local here=${CC_CLUSTER:-} name kind=cpu
  # "other" and "local" are no cluster's name, nor is "computecanada", which a workstation with the modules has
  if [[ $here && $here != "$SETTING_cluster" && -e $FOLDER/plugins/clusters/$here.yml && $FACT_login_host != "$here".* ]]; then
    misuse elsewhere here="$here" place="$LINE_cluster" cluster="$CLUSTER_NAME" login="$(login_name)"
  fi
  [[ ${FACT_gpu_login_nodes:-} && $here == "$SETTING_cluster" ]] || return 0
  name=$(hostname)
  [[ $name != "$FACT_gpu_login_nodes"* ]] || kind=gpu
  if [[ $name == *login* && $kind != "$([[ $SETTING_gpus == 0 ]] && echo cpu || echo gpu)" ]]; then
    misuse wrong_login_node here="$name" place="$LINE_gpus" login="$(login_name)"
  fi
}
