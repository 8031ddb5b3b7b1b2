whatis("Description: Julia (a stub: see bin/julia)")
local root = "/cvmfs/soft.vcluster.example/software/julia/1.10"
prepend_path("PATH", pathJoin(root, "bin"))
setenv("EBROOTJULIA", root)
