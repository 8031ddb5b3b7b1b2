# shellcheck shell=bash
# Python as the cluster's own module ipython-kernel offers it: nothing to install. Its versions are Python's.

plugin_modules() {
  local version=""
  if [[ $SETTING_python_module =~ ^python/([0-9]+[.][0-9]+) ]]; then version=/${BASH_REMATCH[1]}; fi
  cluster_kernel_module "ipython-kernel$version"
}
