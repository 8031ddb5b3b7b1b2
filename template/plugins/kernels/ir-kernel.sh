# shellcheck shell=bash
# R as the cluster's own module ir-kernel offers it: nothing to install.

plugin_modules() {
  cluster_kernel_module ir-kernel
}
