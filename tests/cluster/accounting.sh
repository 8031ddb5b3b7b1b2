# shellcheck shell=bash
# Slurm's accounting, on the login node: slurmdbd over MariaDB, with the allocations of
# hosts/cluster/etc/vcluster/users. Making the tables and the accounts takes longest of all, so the
# first run keeps the new database in the cache and later runs unpack it.

DATABASE=/var/lib/accounting

start_accounting() {
  local kept
  kept=/.boot/accounting/$({
    cat /etc/vcluster/users
    /usr/sbin/slurmctld -V
  } | sha256sum | cut -c 1-16).tar
  install -d -o mysql -g mysql -m 700 "$DATABASE"
  install -d -o mysql -g mysql -m 755 /run/mysqld
  install -o mysql -g mysql /dev/null /var/log/mariadb.log
  install -o slurm -g slurm /dev/null /var/log/slurmdbd.log
  # slurmdbd insists on both
  chown slurm: /etc/slurm/slurmdbd.conf
  chmod 600 /etc/slurm/slurmdbd.conf

  if [[ -e $kept ]]; then
    tar -C "$DATABASE" -xpf "$kept"
  else
    make_accounting >/var/log/accounting.log 2>&1
    # Another cluster with the same cache may be doing the same: the name appears complete or not at all.
    tar -C "$DATABASE" -cpf "$kept.$$.$RANDOM" .
    mv "$kept".*.* "$kept"
  fi
  start_mariadb
  start_slurmdbd
}

make_accounting() {
  mariadb-install-db --no-defaults --user=mysql --datadir="$DATABASE" --skip-test-db --auth-root-authentication-method=socket
  start_mariadb
  mariadb --no-defaults <<'SQL'
CREATE DATABASE slurm_acct_db;
CREATE USER slurm@localhost IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct_db.* TO slurm@localhost;
SQL
  start_slurmdbd
  retry 30 sacctmgr --immediate add cluster vcluster
  for_each_user add_associations
  # A clean copy needs a stopped database.
  pkill --exact slurmdbd
  retry 20 no_process slurmdbd
  mariadb-admin --no-defaults shutdown
  retry 20 no_process mariadbd
}
no_process() { ! pidof "$1"; }

add_associations() {
  local user=$1 accounts
  accounts=$(printf ',%s_cpu' "${@:4}")$(printf ',%s_gpu' "${@:4}")
  sacctmgr --immediate add account "${accounts#,}" Cluster=vcluster Fairshare=100 || true # some are there
  sacctmgr --immediate add user "$user" Account="${accounts#,}" DefaultAccount="$4_cpu"
}

start_mariadb() {
  # Native AIO and O_DIRECT do not go with the file system here; nothing need survive a crash.
  setpriv --reuid mysql --regid mysql --init-groups /usr/sbin/mariadbd --no-defaults \
    --datadir="$DATABASE" --socket=/run/mysqld/mysqld.sock --pid-file=/run/mysqld/mysqld.pid \
    --skip-networking --innodb-buffer-pool-size=64M --innodb-log-file-size=8M \
    --innodb-lock-wait-timeout=900 --innodb-use-native-aio=0 --innodb-flush-method=fsync \
    --innodb-flush-log-at-trx-commit=0 --log-error=/var/log/mariadb.log &
  disown
  retry 30 mariadb-admin --no-defaults ping
}

start_slurmdbd() {
  /usr/sbin/slurmdbd -D &
  disown
  retry 30 port_answers 10.78.0.1 6819
}
