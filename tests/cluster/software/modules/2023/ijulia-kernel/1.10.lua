whatis("Description: a Julia kernel (a stub: its kernel does not run)")
depends_on("julia/1.10")
prepend_path("JUPYTER_PATH", "/cvmfs/soft.vcluster.example/software/ijulia-kernel/1.10/share/jupyter")
