# shellcheck shell=bash
# Python: the environment's own, which comes with JupyterLab. Another environment: ./setup_env.sh --register

plugin_packages() {
  echo ipykernel
}

plugin_add() {
  pip_install "$(message build_packages)" "$@"
}
