# What a login shell finds here, after Debian's lmod.sh ("z-" sorts last): the cluster's name, the
# disks, and the standard environment. zsh, fish and xonsh do not read /etc/profile; the first
# three variables reach them through /etc/security/pam_env.conf, modules do not.
export CC_CLUSTER=vcluster SCRATCH=/scratch/${USER:-$(id -un)} PROJECT=/project
export LMOD_SYSTEM_DEFAULT_MODULES=StdEnv
if [ -z "${__Init_Default_Modules:-}" ]; then
  export __Init_Default_Modules=1
  module --initial_load --no_redirect restore >/dev/null 2>&1
fi
