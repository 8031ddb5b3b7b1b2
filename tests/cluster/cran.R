# cran.R FOLDER PACKAGE...: makes FOLDER a CRAN mirror with these packages and all that they need.
#
# They come from Debian, already built: R CMD INSTALL takes a packed installed package as it takes
# a source one. So nothing is compiled, and yet install.packages() does all of its work.
arguments <- commandArgs(trailingOnly = TRUE)
contrib <- file.path(normalizePath(arguments[1]), "src", "contrib")
wanted <- arguments[-1]

library <- "/usr/lib/R/site-library"
installed <- installed.packages(library)
needed <- tools::package_dependencies(wanted, installed, c("Depends", "Imports", "LinkingTo"), recursive = TRUE)
packages <- intersect(c(wanted, unlist(needed)), rownames(installed))
stopifnot(wanted %in% packages)

dir.create(contrib, recursive = TRUE)
setwd(library)
for (package in packages) {
  archive <- file.path(contrib, sprintf("%s_%s.tar.gz", package, installed[package, "Version"]))
  # Debian puts links in place of files that several packages hold.
  status <- system2("tar", c("--create", "--dereference", "--gzip", "--file", archive, package))
  stopifnot(status == 0)
}
stopifnot(tools::write_PACKAGES(contrib, type = "source") == length(packages))
