# shellcheck shell=bash
# Jupyter Lmod: load modules from within JupyterLab. https://github.com/cmd-ntrf/jupyter-lmod

plugin_packages() {
  echo jupyterlmod
}

plugin_setup() {
  # from JupyterLab 4 on the package brings its extension along, ready built
  local version
  version=$(pip show jupyterlab 2>/dev/null | sed -n 's/^Version: //p')
  ((${version%%.*} < 4)) || return 0
  load_modules nodejs
  watched "$(message build_extension name=lmod)" run jupyter labextension install jupyterlab-lmod
}
