whatis("Description: an R kernel (IRkernel) that every Jupyter finds")
depends_on("r/4.1")
local root = "/cvmfs/soft.vcluster.example/software/ir-kernel/4.1"
prepend_path("R_LIBS_SITE", pathJoin(root, "library"))
prepend_path("JUPYTER_PATH", pathJoin(root, "share/jupyter"))
