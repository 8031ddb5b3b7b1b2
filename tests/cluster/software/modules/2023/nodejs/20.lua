whatis("Description: Node.js, as Debian has it")
prepend_path("PATH", "/cvmfs/soft.vcluster.example/software/nodejs/20/bin")
