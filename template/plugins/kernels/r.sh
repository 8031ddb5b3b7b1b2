# shellcheck shell=bash
# R with IRkernel, installed by R itself from CRAN: on a login node.

plugin_modules() {
  echo r
}

plugin_setup() {
  local where="user = TRUE" spec=${JUPYTER_DATA_DIR:-$HOME/.local/share/jupyter}
  r_library
  if shared_environment; then where="prefix = \"$VIRTUAL_ENV\"" spec=$VIRTUAL_ENV/share/jupyter; fi
  r_install crayon pbdZMQ devtools IRkernel
  watched "$(message build_r)" run Rscript -e "IRkernel::installspec($where)"
  [[ $PRINT ]] || find_irkernel "$spec/kernels/ir/kernel.json"
}

plugin_add() {
  r_library
  r_install "$@"
}

# what people install in a session goes into their own library, which R takes only if it is there, and a class's comes behind
plugin_environment() {
  shared_environment || return 0
  # R's own default (help(".libPaths")), in which it fills in the rest
  # shellcheck disable=SC2088
  run export R_LIBS_USER="${R_LIBS_USER:-~/R/%p-library/%v}:$(environment_path).r"
  # whatever their .Rprofile does, the session begins
  run Rscript --no-init-file -e 'dir.create(strsplit(Sys.getenv("R_LIBS_USER"), ":")[[1]][1], recursive = TRUE, showWarnings = FALSE)' || true
}

# find_irkernel SPEC: has the kernel find its library behind those of a project, whose .Rprofile may name its own alone (renv)
find_irkernel() {
  local library
  library=$(Rscript -e 'cat("", dirname(find.package("IRkernel")), sep = "\n")' | tail -n 1)
  python - "$1" "$library" <<'EDIT'
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    spec = json.load(file)
main, path = "IRkernel::main()", json.dumps(sys.argv[2])
spec["argv"] = [f".libPaths(c(.libPaths(), {path})); {main}" if word == main else word for word in spec["argv"]]
with open(sys.argv[1], "w", encoding="utf-8") as file:
    json.dump(spec, file, indent=1)
EDIT
}

# r_install PACKAGE...: what is missing of them, into the user's library; R's own status says nothing of failures
r_install() {
  local names
  # not in a project, whose .Rprofile may name another library
  [[ $PRINT ]] || cd || return 1
  printf -v names ', "%s"' "$@"
  watched "$(message build_r)" run Rscript -e "packages <- c(${names#, })" -e '
    library <- strsplit(Sys.getenv("R_LIBS_USER"), ":")[[1]][1]
    dir.create(library, recursive = TRUE, showWarnings = FALSE)
    .libPaths(c(library, .libPaths()))
    # an installation that was interrupted leaves a lock behind
    unlink(Sys.glob(file.path(library, "00LOCK*")), recursive = TRUE)
    repository <- getOption("repos")["CRAN"]
    if (is.na(repository) || repository == "@CRAN@") repository <- "https://cloud.r-project.org"
    missing <- packages[!packages %in% rownames(installed.packages())]
    if (length(missing)) {
      # for setup_env.sh, which shows how many are done
      available <- available.packages(repos = repository)
      needed <- tools::package_dependencies(missing, available, c("Depends", "Imports", "LinkingTo"), recursive = TRUE)
      needed <- intersect(unique(c(missing, unlist(needed))), rownames(available))
      cat("passerelle total ", length(setdiff(needed, rownames(installed.packages()))), "\n", sep = "")
      install.packages(missing, lib = library, repos = repository)
    }
    missing <- packages[!packages %in% rownames(installed.packages())]
    if (length(missing)) stop("not installed: ", paste(missing, collapse = ", "), call. = FALSE)'
}

# a shared environment has its R packages beside it
r_library() {
  ! shared_environment || run export R_LIBS_USER="$(environment_path).r"
}
