# The variables of R's kernel, kept in a file and brought back: the kernel runs this for variables.py. What variables
# share, they share again. IRkernel needs jsonlite itself.

main <- function(request) {
  asked <- jsonlite::fromJSON(request)
  lost <- switch(asked$do, keep = keep(asked), restore = restore(asked))
  answer <- jsonlite::toJSON(list(lost = lost), auto_unbox = TRUE)
  writeLines(answer, file.path(dirname(request), "answer.json"), useBytes = TRUE)
}

# writes the variables into a file; returns those that cannot be, with their classes, or "size"
keep <- function(asked) {
  setTimeLimit(elapsed = asked$seconds)
  mask <- Sys.umask("077")
  on.exit({
    setTimeLimit(elapsed = Inf)
    Sys.umask(mask)
  })
  lost <- list()
  left <- asked$size
  kept <- character()
  for (name in ls(globalenv(), all.names = TRUE)) {
    if (bindingIsActive(as.symbol(name), globalenv())) {
      lost[[name]] <- "active binding"
      next
    }
    value <- get(name, globalenv())
    size <- as.numeric(object.size(value))
    if (has_pointer(value)) {
      lost[[name]] <- class(value)[1]
    } else if (size > left) {
      lost[[name]] <- "size"
    } else {
      kept <- c(kept, name)
      left <- left - size
    }
  }
  packages <- rev(sub("^package:", "", grep("^package:", search(), value = TRUE)))
  state <- list(lost = lost, packages = packages, folder = getwd(), variables = mget(kept, globalenv()))
  saveRDS(state, asked$path, compress = FALSE)
  lost
}

# brings the variables back out of a file; returns those that had not been kept
restore <- function(asked) {
  state <- readRDS(asked$path)
  setwd(state$folder)
  for (package in setdiff(state$packages, .packages())) library(package, character.only = TRUE)
  list2env(state$variables, globalenv())
  state$lost
}

# whether there is something in a value that R reads back as nothing: a connection, a pointer of a package's
has_pointer <- function(value, depth = 5) {
  if (inherits(value, "connection") || typeof(value) %in% c("externalptr", "weakref")) return(TRUE)
  if (depth == 0) return(FALSE)
  parts <- attributes(value)
  # data.table makes that anew
  parts[[".internal.selfref"]] <- NULL
  if (is.function(value)) value <- environment(value)
  if (is.environment(value)) {
    if (identical(value, globalenv()) || isNamespace(value) || environmentName(value) != "") return(FALSE)
    parts <- c(parts, tryCatch(as.list.environment(value, all.names = TRUE), error = function(error) list()))
  } else if (is.list(value)) {
    parts <- c(parts, unclass(value))
  }
  any(vapply(parts, has_pointer, TRUE, depth - 1))
}
