whatis("Description: RStudio Server (a stub: see bin/rserver)")
depends_on("r/4.1")
local root = "/cvmfs/soft.vcluster.example/software/rstudio-server/4.1"
prepend_path("PATH", pathJoin(root, "bin"))
setenv("EBROOTRSTUDIOMINSERVER", root)
