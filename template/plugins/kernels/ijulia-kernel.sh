# shellcheck shell=bash
# Julia as the cluster's own module ijulia-kernel offers it: nothing to install.

plugin_modules() {
  cluster_kernel_module ijulia-kernel
}
