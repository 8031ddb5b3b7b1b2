# shellcheck shell=bash
# The software tree, seen as /cvmfs/soft.vcluster.example on the login node and the compute nodes:
# software/ as it is, with the version of the machine's Python for PYTHON_VERSION, in names and in texts, and with empty
# places where root.sh shows what is too large to copy.

make_software() {
  local tree=$STATE/cluster/software version path name
  version=$(python_version)
  rm -rf "$tree"
  mkdir -p "$tree"
  cp --recursive --no-dereference "${here:?}/software/." "$tree"
  grep --recursive --files-with-matches --null PYTHON_VERSION "$tree" | xargs -0 sed --in-place "s/PYTHON_VERSION/$version/g"
  find "$tree" -depth -name '*PYTHON_VERSION*' -print0 | while IFS= read -r -d '' path; do
    name=${path##*/}
    mv "$path" "${path%/*}/${name//PYTHON_VERSION/$version}"
  done
  mkdir -p "$tree/wheelhouse" "$tree/software"/{"ipython-kernel/$version/python",ir-kernel/4.1/library,nodejs/20/bin}
  touch "$tree/software/nodejs/20/bin/node"
}
