# .bashrc
if [ -f /etc/bashrc ]; then
  # shellcheck source=../hosts/cluster/etc/bashrc
  . /etc/bashrc
fi
