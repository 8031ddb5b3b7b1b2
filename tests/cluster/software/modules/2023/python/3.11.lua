whatis("Description: Python 3.11")
family("python")
local root = "/cvmfs/soft.vcluster.example/software/python/3.11"
prepend_path("PATH", pathJoin(root, "bin"))
setenv("EBROOTPYTHON", root)
