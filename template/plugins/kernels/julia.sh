# shellcheck shell=bash
# Julia with IJulia, installed by Julia itself from the internet: on a login node.

plugin_modules() {
  echo julia
}

plugin_setup() {
  local spec
  julia_depot
  # IJulia puts its kernel spec into Jupyter's data folder
  if shared_environment; then run export JUPYTER_DATA_DIR="$VIRTUAL_ENV/share/jupyter"; fi
  for spec in "${JUPYTER_DATA_DIR:-$HOME/.local/share/jupyter}"/kernels/julia-*; do
    [[ ! -e $spec ]] || return 0
  done
  plugin_add IJulia
  # the depot of a shared environment outlives its builds, and only building writes the kernel spec
  ! shared_environment || watched "$(message build_julia)" run julia -e 'using Pkg; Pkg.build("IJulia")'
}

plugin_add() {
  local package code="using Pkg"
  julia_depot
  for package; do code+="; Pkg.add(\"$package\")"; done
  watched "$(message build_julia)" run julia -e "$code"
}

plugin_environment() {
  julia_depot
}

# a shared environment has its Julia packages beside it; people's own come first, for a session must be able to write
julia_depot() {
  shared_environment || return 0
  local shared
  shared=$(environment_path).julia
  if on_compute_node; then shared=$HOME/.julia:$shared; fi
  run export JULIA_DEPOT_PATH="$shared:"
}
