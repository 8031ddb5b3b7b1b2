#!/usr/bin/env bash
# root.sh HOST: run inside the host's new namespaces; makes its root file system and moves there.
#
# The root is an overlay: below it the machine's own /, above it a tmpfs for what this host writes.
# What the machine has and the host must not have is hidden. Install nothing on the machine while
# a cluster is up: the lower layer of an overlay must not change.
set -euo pipefail
umask 022
exec 8>&- # the lock of the cache is held by `unshare`, our parent

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/common.sh"
host=$1
dir=$STATE/$host
shopt -s nullglob

mount --make-rprivate /
hostname "$host"

# The upper layer may not lie inside the lower one, hence a file system of its own. It is mounted
# in this namespace only and vanishes with it.
tmpfs=$dir/root
mount -t tmpfs -o mode=755 tmpfs "$tmpfs"
mkdir "$tmpfs"/{upper,work,root}
root=$tmpfs/root

# A character device 0:0 in the upper layer hides what lies at its place below, however large.
hide() {
  local path
  for path; do
    [[ -e $path || -L $path ]] || continue
    mkdir -p "$tmpfs/upper$(dirname "$path")"
    mknod "$tmpfs/upper$path" c 0 0
  done
}

# Hidden from every host: whatever is not Debian's.
for path in /*; do
  case $path in
    /bin | /boot | /dev | /etc | /home | /lib* | /media | /mnt | /opt | /proc | /root | /run | /sbin | /srv | /sys | /tmp | /usr | /var) ;;
    *) hide "$path" ;;
  esac
done
for path in /usr/lib/python3/dist-packages/*.pth; do
  dpkg --search "$path" >/dev/null 2>&1 || hide "$path"
done
hide /usr/local /etc/pip.conf /etc/motd /usr/share/jupyter /usr/bin/docker

case $host in
  login | node*)
    # The modules bring these. Without EXTERNALLY-MANAGED, which is Debian's own idea, pip behaves
    # as that of a cluster's Python.
    hide /usr/bin/{virtualenv,node,npm,npx,R,Rscript,pip,pip3,chromium} /usr/lib/R/site-library \
      /usr/lib/python3.*/EXTERNALLY-MANAGED
    ;;
  *)
    # No Slurm and no modules outside the cluster.
    mapfile -t paths < <(dpkg --listfiles slurm-client slurmd slurmctld slurmdbd munge | grep -E '/s?bin/.' | sort -u)
    hide "${paths[@]}" /usr/share/lmod /etc/lmod /etc/profile.d/lmod.sh /etc/slurm /etc/munge
    ;;
esac

mount -t overlay -o "lowerdir=/,upperdir=$tmpfs/upper,workdir=$tmpfs/work" overlay "$root"

# --- what the kernel shows ---------------------------------------------------------------------
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
mkdir "$root"/dev/{pts,shm,net}
device() { mknod -m 666 "$root/dev/$1" c "$2" "$3"; }
device null 1 3
device zero 1 5
device full 1 7
device random 1 8
device urandom 1 9
device tty 5 0
device net/tun 10 200
# Terminals of the host's own: those of the machine are of no use to sshd here.
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
if [[ $host == node2 ]]; then
  # The four "GPUs": null devices, which is enough for Slurm to count and to hand out.
  for i in 0 1 2 3; do device "nvidia$i" 1 3; done
fi

# --- private and empty -------------------------------------------------------------------------
for path in run root home mnt srv opt; do mount -t tmpfs -o mode=755 tmpfs "$root/$path"; done
for path in tmp var/tmp run/lock; do
  mkdir -p "$root/$path"
  mount -t tmpfs -o mode=1777 tmpfs "$root/$path"
done
mkdir -p "$root"/usr/local/{bin,sbin,lib}
mount --bind "$dir/log" "$root/var/log"

# --- what hosts share --------------------------------------------------------------------------
# bind SOURCE TARGET, and bind_read_only: show a folder, or a file, of the machine on this host.
bind() {
  if [[ -d $1 ]]; then mkdir -p "$root$2"; fi
  mount --bind "$1" "$root$2"
}
bind_read_only() {
  bind "$1" "$2"
  mount -o remount,bind,ro "$root$2"
}

case $host in
  inet)
    bind_read_only "$CACHE/cran" /srv/cran
    ;;
  laptop)
    bind "$STATE/laptop-home" /home
    bind_read_only "$CACHE/laptop" /opt/laptop
    chmod 711 "$root/root" # a shared folder may lie below it
    IFS=: read -r -a shared <<<"$SHARE"
    for path in "${shared[@]}"; do bind "$path" "$path"; done
    ;;
  login | node*)
    bind "$STATE/cluster/home" /home
    bind "$STATE/cluster/scratch" /scratch
    bind "$STATE/cluster/project" /project
    mkdir "$root/localscratch"
    bind_read_only "$STATE/cluster/software" "$CVMFS"
    # Too large to copy: shown in their places in the tree (software.sh makes the empty places).
    bind_read_only "$CACHE/wheelhouse" "$CVMFS/wheelhouse"
    bind_read_only "$CACHE/ipython-kernel" "$CVMFS/software/ipython-kernel/$(python_version)/python"
    bind_read_only /usr/lib/R/site-library "$CVMFS/software/ir-kernel/4.1/library"
    bind_read_only "$(readlink -f /usr/bin/node)" "$CVMFS/software/nodejs/20/bin/node"
    ;;
esac

# --- what PID 1 needs of the machine, until the host is ready ------------------------------------
bind_read_only "$here" /.boot/cluster
bind "$CACHE/keys" /.boot/keys
bind "$CACHE/accounting" /.boot/accounting
bind "$dir" /.boot/state

cd "$root"
mkdir .machine
pivot_root . .machine
exec chroot . /bin/bash /.boot/cluster/boot.sh "$host"
