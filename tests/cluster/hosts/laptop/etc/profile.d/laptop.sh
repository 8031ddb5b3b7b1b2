# sshuttle, playwright and plumbum, as a person would have installed them.
export PATH=/opt/laptop/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
