"""ssh on the laptop: host keys are compared before the first login, and nobody's own settings break or open a tunnel."""

import re
import shlex
from typing import NamedTuple

import pytest
from life import Life

LOGIN = "login.vcluster.example"
# one of its own for each kind of key: the one before may still be taken
PORTS = {"ed25519": 2201, "rsa": 2202}


class Host(NamedTuple):
    """An sshd and what it shows of itself."""

    port: int
    key: str


PAGE = "https://docs.vcluster.example/host-keys"


@pytest.fixture
def life(idle, other_folder):
    """student's folder, whose name ssh would part at its spaces, without a session."""
    return Life(idle, other_folder, name="my lab é")


@pytest.fixture
def laptop(cluster):
    """Run a line of bash on the laptop; alice's own ssh settings and known hosts are put back afterwards."""

    def run(line, check=True):
        return cluster.run("laptop", "alice", "bash", "-c", line, check=check)

    run("cp ~/.ssh/known_hosts ~/kept_known_hosts")
    yield run
    disconnect(run)
    run("mv ~/kept_known_hosts ~/.ssh/known_hosts; rm -f ~/.ssh/config")


def disconnect(run):
    """End the connections of lab and of the tunnels' ssh, so that the next one has to log in."""
    run('for socket in ~/.ssh/passerelle-*; do ssh -S "$socket" -O exit x; done 2>/dev/null; true')


# --- the host's key -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["ed25519", "rsa"])
def host(request, cluster):
    """A second sshd of the login node, with a key of this kind alone; yield its port and that key's fingerprint."""
    port = PORTS[request.param]
    start = (
        f"rm -f /tmp/key*; ssh-keygen -q -t {request.param} -N '' -f /tmp/key && "
        f"sed 's|^HostKey.*|HostKey /tmp/key|' /etc/ssh/sshd_config >/tmp/key.conf && "
        f"/usr/sbin/sshd -f /tmp/key.conf -p {port} -o PidFile=/tmp/key.pid -E /tmp/key.log && "
        "ssh-keygen -l -f /tmp/key | cut -d ' ' -f 2"
    )
    yield Host(port, cluster.run("login", "root", "bash", "-c", start, check=True).stdout.strip())
    cluster.run("login", "root", "bash", "-c", "kill $(cat /tmp/key.pid); rm -f /tmp/key*", check=True)


@pytest.fixture
def at(host, life, laptop):
    """Have the folder log in there; its cluster publishes these fingerprints, of which HOST stands for the right one."""

    def set_up(published, options=""):
        alias = f"Host second\n  HostName {LOGIN}\n  User student\n  Port {host.port}\n{options}"
        life.cluster.write("laptop", "alice", ".ssh/config", alias)
        life.cluster.write("laptop", "alice", f"{life.name}/personal.yml", "ssh_host: second\n")
        facts = f"{life.name}/plugins/clusters/other.yml"
        keys = [host.key if key == "HOST" else key for key in published]
        lines = f"host_keys: [{', '.join(keys)}]\nhost_keys_page: {PAGE}\n" if keys else ""
        laptop(f"sed -i '/^host_keys/d' {shlex.quote(facts)}; printf '%s' {shlex.quote(lines)} >>{shlex.quote(facts)}")
        laptop(": >~/.ssh/known_hosts")

    yield set_up
    laptop(f"sed -i '/^host_keys/d' {shlex.quote(f'{life.name}/plugins/clusters/other.yml')}")


OTHER = "SHA256:" + "x" * 43
NO_JUMP, JUMP = "", f"  ProxyJump student@{LOGIN}\n"
WAYS = {
    "lab": ["./lab", "status"],
    "lab check": ["./lab", "check"],
    "separate": ["./lab", "status"],
    "script": ["./tunnel_ssh.sh"],
}


def go(life, way):
    """Run a command that logs in; return what it did."""
    if way == "separate":
        life.cluster.write("laptop", "alice", f"{life.name}/personal.yml", "ssh_host: second\nconnection: separate\n")
    line = f"cd {shlex.quote(life.name)} && {shlex.join(WAYS[way])} </dev/null"
    return life.cluster.run("laptop", "alice", "bash", "-c", line)


@pytest.mark.parametrize("way", WAYS)
def test_a_published_key_is_kept_and_nobody_is_asked(life, at, host, laptop, way):
    at([OTHER, "HOST"])
    before = life.cluster.auth_count("student")
    done = go(life, way)
    said = f"The host key of {LOGIN} is one that its cluster publishes ({host.key}); kept in /home/alice/.ssh/known_hosts.\n"
    assert said in done.stdout + done.stderr
    # logged in, and there is no session yet
    assert "No connection" not in done.stderr
    assert re.search("session|logged in to", done.stdout + done.stderr)
    assert laptop(f"ssh-keygen -l -F '[{LOGIN}]:{host.port}'").stdout.split()[-1] == host.key
    # the log of this sshd is its own
    assert life.cluster.auth_count("student") == before
    disconnect(laptop)
    again = go(life, way)
    assert "publishes" not in again.stdout + again.stderr
    assert again.returncode == done.returncode


@pytest.mark.parametrize("way", WAYS)
def test_another_key_than_the_published_ones_ends_before_anything_is_sent(life, at, host, laptop, way):
    at([OTHER])
    # even where the user has told ssh not to look
    laptop("printf 'Host *\\n  StrictHostKeyChecking no\\n  UserKnownHostsFile /dev/null\\n' >>~/.ssh/config")
    done = go(life, way)
    assert done.returncode == 1
    words = (done.stdout + done.stderr).splitlines()[-1]
    assert (
        f"{LOGIN} presents the host key {host.key}, which is not one of those that its cluster publishes: {OTHER}. "
        in words
    )
    assert PAGE in words
    assert laptop("cat ~/.ssh/known_hosts").stdout == ""
    log = life.cluster.run("login", "root", "cat", "/tmp/key.log").stdout
    assert "Accepted" not in log.rpartition("Connection from")[2]


@pytest.mark.parametrize("way", ["lab", "script"])
def test_what_is_known_holds_whatever_is_published(life, at, host, laptop, way):
    at([OTHER])
    laptop(f"printf '[{LOGIN}]:{host.port} ' >~/.ssh/known_hosts")
    key = life.cluster.run("login", "root", "cut", "-d", " ", "-f", "1,2", "/tmp/key.pub", check=True).stdout
    laptop(f"printf %s {shlex.quote(key)} >>~/.ssh/known_hosts; ssh-keygen -q -H -f ~/.ssh/known_hosts 2>/dev/null")
    done = go(life, way)
    assert "publishes" not in done.stdout + done.stderr
    assert re.search("session|logged in to", done.stdout + done.stderr)


@pytest.mark.parametrize("way", ["lab", "script"])
def test_an_unknown_key_is_explained_and_asked_about(life, at, host, laptop, way):
    at([])
    words = shlex.join(WAYS[way])
    process = life.cluster.spawn("laptop", "alice", "bash", "-c", f"cd {shlex.quote(life.name)} && {words}", tty=True)
    process.wait_for(f"The host key of {LOGIN} is not known to this computer")
    process.wait_for(re.escape(host.key))
    process.wait_for(r"\(yes/no/\[fingerprint\]\)\?")
    # ssh compares what is pasted
    process.type(host.key + "\r")
    process.wait_for("(?i)no (running )?session")


@pytest.mark.parametrize("way", ["lab", "script"])
def test_the_key_is_compared_through_a_host_in_between_too(life, at, host, laptop, way):
    at(["HOST"], JUMP)
    laptop("cp ~/kept_known_hosts ~/.ssh/known_hosts")
    done = go(life, way)
    assert f"publishes ({host.key})" in done.stdout + done.stderr
    assert re.search("session|logged in to", done.stdout + done.stderr)


# --- the connection's place ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("home", ["with space", 'é"quote', "100%h", "very-long-" * 8])
def test_the_connection_works_in_any_home(life, laptop, home):
    home = f"/home/alice/{home}"
    line = f"mkdir -p {shlex.quote(home)} && cd {shlex.quote(life.name)} && HOME={shlex.quote(home)} ./lab status"
    done = laptop(line, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    sockets = laptop("cd /tmp/passerelle-$(id -u) && find . -type s").stdout.split()
    assert len(sockets) == 1
    again = laptop(line, check=False)
    assert "Connecting" not in again.stdout
    laptop(f"ssh -S /tmp/passerelle-$(id -u)/{sockets[0]} -O exit x; rm -r {shlex.quote(home)}")


def test_a_folder_of_somebody_elses_is_not_used_for_the_connection(life, laptop):
    folder = laptop("echo /tmp/passerelle-$(id -u)").stdout.strip()
    life.cluster.run("laptop", "root", "bash", "-c", f"rm -rf {folder}; mkdir {folder}", check=True)
    try:
        done = laptop(f"cd {shlex.quote(life.name)} && HOME='/home/alice/a b' ./lab status", check=False)
    finally:
        life.cluster.run("laptop", "root", "rm", "-r", folder, check=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"lab: {folder} is not a folder that only you can enter")


# --- people's own settings ------------------------------------------------------------------------------------------------

OWN = {
    "a session of its own": "RemoteCommand tmux\n  RequestTTY force\n  SessionType none\n  StdinNull yes\n",
    "in the background": "ForkAfterAuthentication yes\n  ControlMaster auto\n  ControlPath none\n",
    "open to others": "GatewayPorts yes\n  ForwardAgent yes\n  ForwardX11 yes\n  Tunnel yes\n",
    "forwardings": "LocalForward 8888 127.0.0.1:22\n  ExitOnForwardFailure yes\n  DynamicForward 1080\n",
    "no forwardings": "ClearAllForwardings yes\n  ExitOnForwardFailure yes\n  BatchMode yes\n",
    "words": "LogLevel QUIET\n  VisualHostKey yes\n  SendEnv LC_* LANG\n  EscapeChar none\n",
    "a debugger's": "LogLevel DEBUG3\n  VerifyHostKeyDNS ask\n  PermitLocalCommand yes\n  LocalCommand echo local; false\n",
    "unknown words": "UseKeychain yes\n  NeverHeardOf it\n",
}


def test_labs_connection_takes_none_of_the_ports_of_ones_own_settings(life, laptop):
    life.cluster.write(
        "laptop", "alice", ".ssh/config", "Host *\n  LocalForward 8888 127.0.0.1:22\n  DynamicForward 1080\n"
    )
    for _ in ("connects", "is connected"):
        done = laptop(
            f"cd {shlex.quote(life.name)} && ./lab status && ss -Hltn | grep -c -E ':(8888|1080) '", check=False
        )
        assert done.stdout.splitlines()[-1] == "0", done.stdout + done.stderr


@pytest.fixture(scope="module")
def session(cluster, built, other_folder):
    """A session of student's, and its address on the node."""
    life = Life(cluster, other_folder)
    process, _ = life.open_session()
    process.stop()
    found = life.on_login("cat lib/cluster/places.sh lib/login_node/list_sessions.sh | bash -l -s").stdout
    yield life, found.split()[1]
    life.run_lab("stop")


@pytest.mark.parametrize("name", OWN)
def test_settings_of_ones_own_neither_break_nor_open_a_tunnel(session, laptop, name):
    life, address = session
    life.cluster.write("laptop", "alice", ".ssh/config", f"Host *\n  {OWN[name]}")
    listening = "ss -Hltn | awk '{print $4}' | sort -u"
    before = set(laptop(listening).stdout.split())
    for words in ([], [address]):
        line = shlex.join(["env", "LC_CTYPE=UTF-8", f"{life.name}/tunnel_ssh.sh", *words])
        tunnel = life.cluster.spawn("laptop", "alice", "bash", "-c", line, tty=True)
        url = tunnel.wait_for(r"The tunnel works\. Open\s+(http://127\.0\.0\.1:\d+/\S+)")[1]
        assert "setlocale" not in tunnel.output
        assert (
            laptop(f"curl -s -o /dev/null -w '%{{http_code}}' {url.replace('/lab?', '/api/status?')!r}").stdout == "200"
        )
        opened = set(laptop(listening).stdout.split()) - before
        # theirs are what they have asked for
        assert {place for place in opened if not place.startswith("127.0.0.1:")} <= {"[::1]:8888", "[::1]:1080"}
        tunnel.type("\x03")
        tunnel.wait_for("Tunnel closed")
        tunnel.wait()
    process = life.lab("attach", "--no-browser")
    url = process.wait_for(r"^ +(http://127\.0\.0\.1:\d+/lab)\s")[1]
    assert laptop(f"curl -s -o /dev/null -w '%{{http_code}}' {url}").stdout in ("200", "302")
    process.stop()
    disconnect(laptop)
