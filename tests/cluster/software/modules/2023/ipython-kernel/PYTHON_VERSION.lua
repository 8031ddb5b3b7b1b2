whatis("Description: an IPython kernel that every Jupyter finds")
depends_on("python/PYTHON_VERSION")
prepend_path("JUPYTER_PATH", "/cvmfs/soft.vcluster.example/software/ipython-kernel/PYTHON_VERSION/share/jupyter")
