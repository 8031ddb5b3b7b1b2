# shellcheck shell=bash
# The network: cables (pairs of virtual interfaces), addresses, names, and the CRAN mirror.
#
#   * inet is the internet: it forwards for the laptop, and has no route to 10.78.0.0/24. So the
#     laptop reaches a compute node only through the login node, as with a real cluster.
#   * The login node forwards nothing, and the nodes have no way out: "offline", as on Narval.
#   * Who is called how stands in hosts/inet/etc/hosts and hosts/cluster/etc/hosts.

# --- outside -----------------------------------------------------------------------------------

# cable HOST INTERFACE HOST INTERFACE
cable() {
  in_net "$1" ip link add "$2" type veth peer name "$4" netns "$(<"$STATE/$3/pid")"
}

# in_net HOST COMMAND...: the host's network, with the machine's files.
in_net() { nsenter --target "$(<"$STATE/$1/pid")" --net -- "${@:2}"; }

# on HOST: its network is set up by the `ip` commands that follow on standard input.
on() {
  in_net "$1" ip -batch - || die "the network of $1 could not be made"
}

connect_hosts() {
  cable inet to-laptop laptop eth0
  cable inet to-login login eth0
  cable login to-node1 node1 eth0
  cable login to-node2 node2 eth0

  on inet <<'IP'
link set lo up
link set to-laptop up
link set to-login up
address add 10.76.0.1/24 dev to-laptop
address add 10.77.0.1/24 dev to-login
IP
  # A subnet of its own, as at home: sshuttle -N redirects all of the login node's subnets, and would cut off a laptop
  # in one of them. And it needs a default route even though inet leads nowhere: without one the kernel refuses a packet for a
  # compute node before sshuttle's redirection can see it.
  on laptop <<'IP'
link set lo up
link set eth0 up
address add 10.76.0.2/24 dev eth0
route add default via 10.76.0.1
IP
  on login <<'IP'
link set lo up
link set eth0 up
address add 10.77.0.10/24 dev eth0
address add 10.77.0.11/24 dev eth0
route add default via 10.77.0.1
link add inside type bridge
link set inside up
link set to-node1 master inside up
link set to-node2 master inside up
address add 10.78.0.1/24 dev inside
IP
  on node1 <<'IP'
link set lo up
link set eth0 up
address add 10.78.0.11/24 dev eth0
IP
  on node2 <<'IP'
link set lo up
link set eth0 up
address add 10.78.0.12/24 dev eth0
IP
  in_net inet sysctl --quiet --write net.ipv4.ip_forward=1
  in_net login sysctl --quiet --write net.ipv4.ip_forward=0
  # On Debian 13 ping may do nothing by itself; systemd, which no host runs, gives everybody this right at boot.
  local host
  for host in "${HOSTS[@]}"; do in_net "$host" sysctl --quiet --write "net.ipv4.ping_group_range=0 2147483647"; done
}

repair_network() {
  # what an sshuttle leaves that did not end by itself: the laptop has no other rules
  in_host laptop nft flush ruleset
  local host
  for host in laptop login; do in_net inet ip link set "to-$host" up; done
  for host in node1 node2; do in_net login ip link set "to-$host" up; done
}

# --- on a host ---------------------------------------------------------------------------------

start_dns() {
  install -m 666 /dev/null /var/log/dnsmasq.log
  dnsmasq --keep-in-foreground --conf-file=/etc/dnsmasq.conf &
  disown
  retry 20 port_answers 127.0.0.1 53
}

start_cran() {
  /usr/bin/python3 -m http.server 80 --bind 10.77.0.1 --directory /srv/cran >/var/log/cran.log 2>&1 &
  disown
  retry 20 port_answers 10.77.0.1 80
}
