# shellcheck shell=bash
# The software tree, seen as /cvmfs/soft.vcluster.example on the login node and the compute nodes:
# software/ as it is, with empty places where root.sh shows what is too large to copy.

make_software() {
  local tree=$STATE/cluster/software
  rm -rf "$tree"
  mkdir -p "$tree"
  cp --recursive --no-dereference "${here:?}/software/." "$tree"
  mkdir -p "$tree/wheelhouse" "$tree/software"/{ipython-kernel/3.11/python,ir-kernel/4.1/library,nodejs/20/bin}
  touch "$tree/software/nodejs/20/bin/node"
}
