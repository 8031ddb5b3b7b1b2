# shellcheck shell=bash
# R with IRkernel, installed by R itself from CRAN: on a login node.

plugin_modules() {
  echo r
}

plugin_setup() {
  local where="user = TRUE"
  r_library
  if shared_environment; then where="prefix = \"$VIRTUAL_ENV\""; fi
  r_install crayon pbdZMQ devtools IRkernel
  run Rscript -e "IRkernel::installspec($where)"
}

plugin_add() {
  r_library
  r_install "$@"
}

plugin_environment() {
  r_library
}

# r_install PACKAGE...: what is missing of them, into the user's library; R's own status says nothing of failures
r_install() {
  local names
  printf -v names ', "%s"' "$@"
  run Rscript -e "packages <- c(${names#, })" -e '
    library <- Sys.getenv("R_LIBS_USER")
    dir.create(library, recursive = TRUE, showWarnings = FALSE)
    .libPaths(c(library, .libPaths()))
    # an installation that was interrupted leaves a lock behind
    unlink(Sys.glob(file.path(library, "00LOCK*")), recursive = TRUE)
    repository <- getOption("repos")["CRAN"]
    if (is.na(repository) || repository == "@CRAN@") repository <- "https://cloud.r-project.org"
    missing <- packages[!packages %in% rownames(installed.packages())]
    if (length(missing)) install.packages(missing, lib = library, repos = repository)
    missing <- packages[!packages %in% rownames(installed.packages())]
    if (length(missing)) stop("not installed: ", paste(missing, collapse = ", "), call. = FALSE)'
}

# a shared environment has its R packages beside it; people's own come as well
r_library() {
  shared_environment || return 0
  local shared
  shared=$(environment_path).r
  if on_compute_node; then run export R_LIBS="$shared"; else run export R_LIBS_USER="$shared"; fi
}
