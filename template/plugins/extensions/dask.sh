# shellcheck shell=bash
# Dask on several nodes: a bare SLURMCluster() in a notebook has its workers in jobs of their own. This is configuration
# alone, which Dask reads in the session and in those jobs. https://docs.dask.org/en/stable/configuration.html,
# https://jobqueue.dask.org/en/latest/clusters-configuration.html

plugin_packages() {
  echo dask distributed dask-jobqueue bokeh jupyter-server-proxy
}

plugin_session() {
  local folder secret words
  [[ $FACT_scheduler == slurm ]] || return 0
  [[ ${FACT_jobs_from_jobs:-} != refused ]] || warn dask_no_jobs cluster="$CLUSTER_NAME"
  # where the workers' nodes see it
  folder=$(state_folder)/dask/$SLURM_JOB_ID
  need_folder "$folder"
  if ! words=$(session_key 2>&1 >"$folder/session.pem"); then
    warn dask_no_key words="${words##*: }"
    rm -rf "$folder"
    return
  fi
  secret=$(openssl rand -hex 24)
  # variables come before any file
  unset "${!DASK_DISTRIBUTED@}" "${!DASK_JOBQUEUE@}" DASK_INTERNAL_INHERIT_CONFIG
  export DASK_CONFIG=$folder
  dask_configuration "$folder" "$secret" >"$folder/dask.yaml"
  AT_END+=(end_dask)
}

# in the job of a notebook that runs itself, too
plugin_batch() {
  local job
  job=$(show_command bash -p "$FOLDER/lib/compute_node/dask_job.sh")
  # shellcheck disable=SC2016 # the job will know them
  echo 'unset "${!DASK_DISTRIBUTED@}" "${!DASK_JOBQUEUE@}" DASK_INTERNAL_INHERIT_CONFIG'
  echo "export DASK_CONFIG=\$($job)"
  show_command export PASSERELLE_AT_END="$job --end"
}

# session_key: prints a new key, and a certificate of its own that it is also held against: who has it belongs to the session
session_key() {
  # in our words alone: Python 3.13 is strict about them, and a site's openssl.cnf may have others
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 31 -config /dev/stdin -keyout - -out - <<'END'
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = Dask of one session
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
END
}

# dask_configuration FOLDER SECRET: prints it; SECRET is what nobody else knows of the dashboard's address
dask_configuration() {
  local option cores="" account=null walltime="" more=() path=$environment line
  source "$FOLDER/lib/cluster/slurm.sh"
  # a worker's job is one as the session's; what is unusual about the account was said at its start
  slurm_options 2>/dev/null
  for option in "${SLURM_OPTIONS[@]}"; do
    case $option in
      --cpus-per-task=*) cores=${option#*=} ;;
      --account=*) account=${option#*=} ;;
      --time=*) walltime=${option#*=} ;;
      # dask-jobqueue writes --ntasks=1 and --mem itself
      --ntasks=* | --mem-per-cpu=*) ;;
      *) more+=("\"$option\"") ;;
    esac
  done
  cat <<END
distributed:
  comm:
    default-scheme: tls
    require-encryption: true
    tls:
      ca-file: "$1/session.pem"
      scheduler: {cert: "$1/session.pem", key: null}
      worker: {cert: "$1/session.pem", key: null}
      client: {cert: "$1/session.pem", key: null}
  # as jupyter-server-proxy shows it; whatever a notebook starts, its pages are closed
  dashboard: {link: "/proxy/{port}/$2/status"}
  scheduler: {preload: ["$FOLDER/lib/compute_node/dask_pages.py", "$FOLDER/lib/compute_node/dask_tls.py"]}
  worker: {preload: ["$FOLDER/lib/compute_node/dask_pages.py", "$FOLDER/lib/compute_node/dask_tls.py"]}
passerelle: {secret: "$2"}
jobqueue:
  slurm:
    name: dask-$SLURM_JOB_ID
    cores: $cores
    # scale(2) is two jobs
    processes: 1
    memory: $((cores * SETTING_memory_per_core_mb))MiB
    account: $account
    walltime: "$walltime"
    job-extra-directives: [$(
    IFS=,
    printf '%s' "${more[*]-}"
  )]
    log-directory: "$(logs_folder)"
    local-directory: \$SLURM_TMPDIR
    # they would listen at every interface otherwise
    worker-extra-args: [--no-dashboard, --dashboard-address, "127.0.0.1:0"]
    scheduler-options: {host: "$NODE", dashboard_address: "127.0.0.1:0"}
    interface: null
    python: python
    job-script-prologue:
END
  # the session's own build, or each node's own copy
  ! on_nodes || path=$(environment_path)
  show_activation "$path" | while IFS= read -r line; do printf "      - '%s'\n" "${line//\'/\'\'}"; done
}

# end_dask: withdraws the workers, of which those that wait would go on waiting; the key is worth nothing any more
end_dask() {
  timeout "$SLURM_ANSWER" scancel --user="$USER" --name="dask-$SLURM_JOB_ID"
  rm -rf "$DASK_CONFIG"
}
