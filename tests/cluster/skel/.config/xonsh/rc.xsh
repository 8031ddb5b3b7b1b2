# rc.xsh
