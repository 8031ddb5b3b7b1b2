# shellcheck shell=bash
# RStudio Server in a tab of JupyterLab. Its module must be loaded before python's.

plugin_modules_before_python() {
  echo rstudio-server
}

plugin_packages() {
  echo jupyter-rsession-proxy
}
