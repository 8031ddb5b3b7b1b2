whatis("Description: an IPython kernel that every Jupyter finds")
depends_on("python/3.11")
prepend_path("JUPYTER_PATH", "/cvmfs/soft.vcluster.example/software/ipython-kernel/3.11/share/jupyter")
