-- The name is the wiki's; the R is Debian's (4.2 or newer). It has R's own packages and no others.
whatis("Description: R")
family("r")
local root = "/cvmfs/soft.vcluster.example/software/r/4.1"
prepend_path("PATH", pathJoin(root, "bin"))
setenv("EBROOTR", root)
