# shellcheck shell=bash
# sshd, on the login node and on the compute nodes: hosts/cluster/etc/ssh/sshd_config. On the login
# node hosts/login/etc/ssh/sshd_config.d/ adds the second factor, which is asked for at one of its
# two addresses only, so that most tests need no code.

start_sshd() {
  mkdir -p /run/sshd
  rm -f /etc/ssh/ssh_host_*
  install -m 600 /.boot/keys/host /etc/ssh/ssh_host_ed25519_key
  install -m 644 /.boot/keys/host.pub /etc/ssh/ssh_host_ed25519_key.pub
  if [[ ${host:?} == login ]]; then
    for_each_user give_runtime_folder
    install -m 600 /dev/null /etc/ssh/second_factor
    # WINDOW_SIZE: the codes just before and after count too. No DISALLOW_REUSE: see common.sh.
    printf '%s\n" WINDOW_SIZE 3\n" TOTP_AUTH\n' "$TOTP_SECRET" >/etc/ssh/second_factor
  fi
  : >/var/log/sshd.log
  /usr/sbin/sshd -D -E /var/log/sshd.log &
  disown
  retry 20 port_answers 127.0.0.1 22
}

# What pam_systemd does on a real login node; see also hosts/login/etc/profile.d/xdg.sh.
give_runtime_folder() {
  install -d -o "$2" -g "$2" -m 700 "/run/user/$2"
  printf 'Match User %s\n  SetEnv XDG_RUNTIME_DIR=/run/user/%s\n' "$1" "$2" >>/etc/ssh/sshd_config.d/runtime_folder.conf
}

# The person at the laptop has a phone that shows the code: see hosts/laptop/usr/local/bin/askpass.
take_phone() {
  printf '%s\n' "$TOTP_SECRET" >/etc/phone
}
