whatis("Description: Python PYTHON_VERSION")
family("python")
local root = "/cvmfs/soft.vcluster.example/software/python/PYTHON_VERSION"
prepend_path("PATH", pathJoin(root, "bin"))
setenv("EBROOTPYTHON", root)
