"""The way to the login node: one login for all labs, sshd's limits, slow links and slow shells."""

import hashlib
import re
import shlex
import signal
import subprocess

import pytest
from cluster.api import LIMIT
from conftest import TEMPLATE
from life import CODE, HOLD, Life

LOGIN = "login.vcluster.example"


@pytest.fixture
def laptop(cluster):
    """Run a line of bash on the laptop, where nobody is connected; what alice has for ssh is removed afterwards."""

    def run(line, check=True):
        return cluster.run("laptop", "alice", "bash", "-c", line, check=check)

    leave = 'for socket in ~/.ssh/passerelle-*; do ssh -S "$socket" -O exit x; rm -f "$socket"; done 2>/dev/null; true'
    run(leave)
    yield run
    run(f"{leave}; rm -rf ~/.ssh/config ~/held ~/reached ~/in-front ~/askpass.log")


def limit(life, **limits):
    """Have time limits (lib/both/limits.sh) be these, on both sides: what is tried is not how long they are."""
    edits = "; ".join(f"s/^{name}=.*/{name}={seconds}/" for name, seconds in limits.items())
    for side, person in (("laptop", "alice"), ("login", life.user)):
        life.cluster.run(side, person, "sed", "-i", edits, f"{life.name}/lib/both/limits.sh", check=True)


# --- one login ----------------------------------------------------------------------------------------------------------

SLOW_LOGIN = """#!/bin/bash
if [[ $* == *ControlMaster=auto* ]]; then
  echo >>~/reached
  while [[ -e ~/held ]]; do sleep 0.05; done
fi
exec /usr/bin/ssh "$@"
"""


@pytest.fixture
def slow(idle, other_folder, laptop):
    """student's life where a login takes as long as there is a file ~/held on the laptop; yield it and start(WORD...)."""
    life = Life(idle, other_folder, host=CODE)
    idle.write("laptop", "alice", "in-front/ssh", SLOW_LOGIN)
    laptop("chmod +x ~/in-front/ssh; touch ~/held")

    def start(*words):
        line = f"cd lab && PATH=~/in-front:$PATH exec ./lab {shlex.join(words)}"
        with_code = ["env", "SSH_ASKPASS=/usr/local/bin/askpass", "SSH_ASKPASS_REQUIRE=force"]
        return idle.spawn("laptop", "alice", *with_code, "bash", "-c", line, tty=True)

    return life, start


NONE = r"You have no session, waiting or running; start one with: ./lab open"
WAITS = f"waiting for another lab to log in to student@{CODE}"


def connections(laptop):
    """Return the processes of ssh on the laptop that are, or would be, a connection of lab's."""
    return laptop("pgrep -u alice -f 'mux[]]|[C]ontrolPath=.* -N -f' || true").stdout.split()


def test_labs_that_connect_at_once_log_in_once_and_no_ssh_stays_behind(slow, laptop):
    life, start = slow
    before = life.cluster.auth_count("student")
    first = start("status")
    laptop("until [[ -e ~/reached ]]; do sleep 0.05; done")
    others = [start("status"), start("check"), start("stop")]
    for lab in others:
        lab.wait_for(WAITS)
    laptop("rm ~/held")
    assert first.wait() == 0
    # how the check ends is not what is looked at
    assert [lab.wait() for lab in others][::2] == [0, 1]
    assert [NONE in lab.output for lab in (first, others[0])] == [True, True]
    assert "not needed: a connection is already open" in others[1].output
    assert life.cluster.auth_count("student") - before == 1
    assert laptop("wc -l <~/reached").stdout.strip() == "1"
    assert len(connections(laptop)) == 1


def test_a_lab_that_is_killed_while_it_logs_in_is_followed_by_the_next_one_and_its_ssh_ends(slow, laptop):
    life, start = slow
    before = life.cluster.auth_count("student")
    first = start("status")
    laptop("until [[ -e ~/reached ]]; do sleep 0.05; done")
    second = start("status")
    second.wait_for(WAITS)
    first.send_signal(signal.SIGKILL)
    second.wait_for(f"Connecting to student@{CODE}")
    laptop("rm ~/held")
    assert second.wait() == 0
    assert NONE in second.output
    assert life.cluster.auth_count("student") - before == 1
    assert len(connections(laptop)) == 1
    first.wait()


# --- what sshd allows ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session(cluster, other_folder, built):
    """A session of student's; its address on the node."""
    cluster.clean(homes=False)
    life = Life(cluster, other_folder)
    process, _ = life.open_session()
    process.stop()
    yield life.on_login("head -qn 1 ~/.local/state/passerelle/sessions/*").stdout.strip()
    cluster.clean(homes=False)


@pytest.fixture
def strict(cluster, other_folder, laptop):
    """Have the folder log in at a second sshd of the login node, with these options: strict(facts={}, MaxSessions=1)."""

    def start(facts=(), **options):
        words = shlex.join(word for name, value in options.items() for word in ("-o", f"{name}={value}"))
        sshd = f"/usr/sbin/sshd -p 2203 -o PidFile=/tmp/strict.pid -E /tmp/strict.log {words}"
        keys = "sed 's/^/restrict,pty /' ~student/.ssh/authorized_keys >/tmp/strict_keys"
        cluster.run("login", "root", "bash", "-c", f"{keys}; {sshd}", check=True)
        alias = f"Host strict\n  HostName {LOGIN}\n  User student\n  Port 2203\n  HostKeyAlias {LOGIN}\n"
        cluster.write("laptop", "alice", ".ssh/config", alias)
        life = Life(cluster, other_folder, **dict(facts))
        cluster.write("laptop", "alice", "lab/personal.yml", "ssh_host: strict\n")
        return life

    yield start
    cluster.run("login", "root", "bash", "-c", "kill $(cat /tmp/strict.pid); rm -f /tmp/strict*", check=True)


FULL = (
    "lab: strict allows no further session in this connection (MaxSessions of its sshd). Close another window of lab, or "
    "have each ssh log in by itself: write into personal.yml: connection: separate\n"
)


def test_one_session_in_a_connection_is_said_and_separate_connections_work(strict, laptop):
    life = strict(MaxSessions=1)
    laptop("echo new >lab/new.txt")
    done = life.run_lab("sync")
    assert (done.returncode, done.stderr) == (1, FULL)
    laptop("echo 'connection: separate' >>lab/personal.yml")
    done = life.run_lab("sync")
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["Copied to strict: new.txt (4 B)"])


@pytest.mark.parametrize("command", ["status", "check", "sync", "url"])
def test_a_connection_in_which_all_sessions_are_taken_is_said(strict, laptop, command):
    life = strict(MaxSessions=2)
    assert life.run_lab("status").returncode == 0
    socket = f"~/.ssh/passerelle-{hashlib.sha256(b'strict').hexdigest()[:12]}"
    taken = f"for n in 1 2; do ssh -S {socket} x 'echo there; cat' < <(sleep 600) & done; wait"
    others = life.cluster.spawn("laptop", "alice", "bash", "-c", taken, tty=True)
    others.wait_for(r"there\s+there")
    done = life.run_lab(command)
    assert done.returncode == 1
    assert (done.stdout + done.stderr).endswith(FULL.removeprefix("lab: "))
    others.stop()


CLOSED = {
    "no forwarding": {"AllowTcpForwarding": "no"},
    "other ports": {"PermitOpen": "127.0.0.1:1"},
    "nothing at all": {"DisableForwarding": "yes"},
    "the key": {"AuthorizedKeysFile": "/tmp/strict_keys", "StrictModes": "no"},
}


@pytest.mark.parametrize("way", CLOSED)
def test_a_login_node_that_forwards_no_ports_is_named_and_not_the_server(session, strict, laptop, way):
    life = strict(**CLOSED[way])
    node, port = re.search("//(.*):(\\d+)/", session).groups()
    refusal = (
        f"strict does not let ssh forward a port to {node}:{port} (its sshd, or how your key is registered there: "
        "AllowTcpForwarding, PermitOpen, restrict). Ask its support for another login node, or use ./tunnel_sshuttle.sh, "
        "which needs no forwarding.\n"
    )
    limit(life, SERVER_ANSWER=1)
    done = life.run_lab("attach", "--no-browser")
    assert (done.returncode, done.stderr) == (1, f"lab: {refusal}")
    job = life.jobs().split()[0]
    kept = f"The session lab (job {job}) goes on without this window. To return: ./lab attach lab. To stop it: ./lab stop lab"
    assert done.stdout.splitlines()[-1] == kept
    if way == "other ports":
        done = life.run_lab("check")
        assert done.returncode == 1
        assert done.stdout.endswith(f"FAILS  node         {refusal}")
    done = life.cluster.run("laptop", "alice", "lab/tunnel_ssh.sh", session)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"tunnel_ssh.sh: {refusal}".strip()
    # lab has left nothing at the port
    assert "using" not in done.stderr


@pytest.mark.parametrize("way", ["no forwarding", "the key"])
def test_a_login_node_that_lets_no_ssh_through_to_the_node_is_named(session, strict, laptop, way):
    life = strict({"reach": "jump"}, **CLOSED[way])
    node = re.search("//(.*):", session)[1]
    refusal = (
        f"strict does not let ssh through to {node} (its sshd, or how your key is registered there: AllowTcpForwarding, "
        "PermitOpen, restrict), so no tunnel can lead there. Ask its support for another login node.\n"
    )
    done = life.run_lab("attach", "--no-browser")
    assert done.returncode == 1
    assert done.stderr.endswith(f"lab: {refusal}")
    done = life.cluster.run("laptop", "alice", "lab/tunnel_ssh.sh", session)
    assert done.returncode == 1
    assert done.stderr.endswith(f"tunnel_ssh.sh: {refusal}")


# --- slow links, slow shells --------------------------------------------------------------------------------------------


@pytest.fixture
def narrow(cluster):
    """Have the laptop's cable carry 32 kB a second each way: narrow()."""
    ends = (("laptop", "eth0"), ("inet", "to-laptop"))

    def narrow():
        for host, end in ends:
            bucket = ["rate", "256kbit", "burst", "5000", "limit", "20000"]
            cluster.run(host, "root", "tc", "qdisc", "add", "dev", end, "root", "tbf", *bucket, check=True)

    yield narrow
    for host, end in ends:
        cluster.run(host, "root", "tc", "qdisc", "del", "dev", end, "root")


@pytest.fixture
def patient(idle, other_folder, laptop):
    """student's life with short limits, with a connection."""
    life = Life(idle, other_folder)
    limit(life, PING=1, SILENCE=4, RSYNC_SILENCE=5, PROGRESS_LINE=1)
    assert life.run_lab("sync").returncode == 0
    return life


@pytest.mark.parametrize("way", ["to", "from"])
def test_a_slow_link_is_no_lost_one_and_what_has_arrived_is_shown(patient, narrow, way):
    side, person = ("laptop", "alice") if way == "to" else ("login", "student")
    patient.cluster.run(side, person, "bash", "-c", "head -c 300000 /dev/urandom >lab/big.bin", check=True)
    before = patient.cluster.auth_count("student")
    narrow()
    done = patient.run_lab("sync")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    place = f"{way} student@{LOGIN}"
    assert lines[-1] == f"Copied {place}: big.bin (300 kB)"
    shown = re.findall(rf"^0:\d\d copying {place}: (\d+ k?B) of 300 kB$", done.stdout, re.MULTILINE)
    # what is on its way is not there
    assert len(shown) >= 3 and shown == sorted(shown, key=lambda size: int(size.split()[0]))
    assert patient.cluster.auth_count("student") == before


def test_what_others_send_through_the_connection_is_no_silence(patient, narrow, laptop):
    logs = "/home/student/.local/state/passerelle/logs"
    words = "echo one; until [ -e ~/two ]; do sleep 0.2; done; echo two; sleep 1000"
    patient.on_login(
        f"rm -f ~/two; mkdir -p {logs}; sbatch --job-name=passerelle-slow --output={logs}/slow-%j.log --wrap '{words}'"
    )
    follow = patient.lab("logs", "slow", "--follow")
    follow.wait_for("^one")
    before = patient.cluster.auth_count("student")
    narrow()
    laptop("head -c 250000 /dev/urandom | ssh -S ~/.ssh/passerelle-*[0-9a-f] x 'cat >/dev/null'")
    patient.on_login("touch ~/two")
    follow.wait_for("^two")
    assert "No answer" not in follow.output
    assert patient.cluster.auth_count("student") == before
    follow.type("\x03")
    follow.wait()


STALLED = """#!/bin/sh
while [ -e /tmp/stalled ]; do sleep 0.1; done
exec /usr/bin/sha256sum "$@"
"""
"""A disk that does not answer is a file that takes long to read."""


def test_a_disk_there_that_does_not_answer_is_no_lost_network(patient, laptop):
    cluster, command = patient.cluster, "/usr/local/bin/sha256sum"
    cluster.write("login", "root", command, STALLED)
    cluster.run("login", "root", "bash", "-c", f"chmod 755 {command}; touch /tmp/stalled", check=True)
    before = cluster.auth_count("student")
    try:
        follow = patient.lab("open", "--no-browser", "--begin=now+2hours")
        # longer than two times the silence after which a connection is given up
        follow.wait_for(r"0:1\d waiting|No answer")
        assert "No answer" not in follow.output
        cluster.run("login", "root", "rm", "/tmp/stalled", check=True)
        follow.wait_for("has been submitted")
    finally:
        cluster.run("login", "root", "rm", "-f", command, "/tmp/stalled", check=True)
    assert cluster.auth_count("student") == before
    assert patient.run_lab("stop").returncode == 0
    follow.wait()


def test_a_login_shell_that_takes_long_is_no_lost_network_for_any_way_in(idle, other_folder, laptop):
    life = Life(idle, other_folder)
    limit(life, GREETING=1, RSYNC_SILENCE=1)
    bashrc = idle.read("login", "student", ".bashrc")
    idle.write("login", "student", ".bashrc", f"sleep 3\n{bashrc}")
    try:
        done = life.run_lab("status")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, NONE)
        assert re.fullmatch(
            rf"lab: The login shell on student@{LOGIN} has not answered for \d s: a startup file there takes long "
            r"\(~/\.bashrc; with zsh ~/\.zshenv, with fish ~/\.config/fish/config\.fish, with tcsh ~/\.tcshrc\)\. Still "
            r"waiting for it\.\n",
            done.stderr,
        )
        laptop("echo new >lab/slow.txt")
        done = life.run_lab("sync")
        assert (done.returncode, done.stdout.splitlines()[-1][:9]) == (0, "Copied to")
        done = idle.run("laptop", "alice", "lab/tunnel_ssh.sh")
        assert done.returncode == 1
        said = "tunnel_ssh.sh: You have no running session on login.vcluster.example; start one there with ./start_salloc.sh"
        assert done.stderr.splitlines()[-1] == said
    finally:
        idle.write("login", "student", ".bashrc", bashrc)


# --- several labs -------------------------------------------------------------------------------------------------------

QUEUED = "--begin=now+2hours"


def test_labs_that_lose_their_connection_at_once_log_in_once_again(lab, laptop):
    limit(lab, PING=1, SILENCE=4, SSH_ANSWER=2)
    labs = [lab.lab("open", "--no-browser", f"--name={name}", QUEUED) for name in ("one", "two", "three")]
    for process in labs:
        process.wait_for("has been submitted")
    before = lab.cluster.auth_count("student")
    laptop(f"kill -STOP {lab.master()}")
    for process in labs:
        process.wait_for("The connection to student@login.vcluster.example (is not responding|was lost)")
    answers = [lab.run_lab("stop", name) for name in ("one", "two", "three")]
    assert [done.returncode for done in answers] == [0, 0, 0]
    # they hear of it through the new connection
    for process in labs:
        process.wait_for(r"lab: Job \d+ has ended: CANCELLED")
    assert lab.cluster.auth_count("student") - before == 1
    assert len(connections(laptop)) == 1


def test_a_lab_that_leaves_takes_no_others_tunnel_nor_its_address_with_it(lab, laptop):
    first, address = lab.open_session()
    second = lab.lab("attach", "--no-browser")
    other = second.wait_for(r"^ +(http://127\.0\.0\.1:\d+/lab)\s")[1]
    assert other != address
    # one that is killed leaves its note, and its tunnel, for the next one
    third = lab.lab("attach", "--no-browser")
    third.wait_for(r"^ +http://127\.0\.0\.1:\d+/lab\s")
    third.send_signal(signal.SIGKILL)
    third.wait()
    second.type("\x03")
    assert second.wait() == 0
    done = lab.run_lab("url")
    assert (done.returncode, done.stdout.split("?")[0]) == (0, address)
    fourth = lab.lab("attach", "--no-browser")
    fourth.wait_for(r"^ +http://127\.0\.0\.1:\d+/lab\s")
    assert lab.run_lab("stop").returncode == 0
    for process in (first, fourth):
        process.wait_for(r"The session lab has ended \(CANCELLED\)\.")
        assert process.wait() == 0
    assert laptop("ls lab/.lab").stdout.count("tunnel-") == 0
    assert (
        laptop("ss -Hltn | grep -c 127.0.0.1 || true").stdout
        == laptop("ss -Hltn | grep -c 127.0.0.1:53 || true").stdout
    )


def test_without_flock_there_labs_at_once_make_one_session_and_a_killed_one_holds_nobody_up(lab, laptop):
    assert lab.run_lab("status").returncode == 0
    root = ["login", "root", "bash", "-c"]
    lab.cluster.run(*root, "mount --bind /dev/null /usr/bin/flock", check=True)
    try:
        held = "mkdir -p ~/.local/state/passerelle && ln -sfn \"$HOSTNAME $(bash -c 'echo $$')\" ~/.local/state/passerelle/lock.held"
        assert lab.on_login(held).returncode == 0
        labs = [lab.lab("open", "--no-browser", QUEUED) for _ in range(3)]
        for process in labs:
            process.wait_for("has been submitted|is already there")
    finally:
        lab.cluster.run(*root, "umount /usr/bin/flock", check=True)
    assert sorted("has been submitted" in process.output for process in labs) == [False, False, True]
    assert len(lab.jobs().splitlines()) == 1
    # the last one gives its turn away after it has said so
    lab.on_login("while compgen -G ~/.local/state/passerelle/lock.\\* >/dev/null; do sleep 0.1; done")


TURNS = """
source "$1/lib/login_node/requests/turn.sh"
flock() { return 127; }
tell() { :; }
SUBMISSION=60 dead=$(bash -c 'echo "$$"')
for round in {1..20}; do
  ln -sfn "$HOSTNAME $dead" lock.held
  for one in {1..6}; do
    { take_turn lock; mkdir inside && rmdir inside; rm -f -- "$TURN"; } &
  done
  wait
done
"""


def test_of_those_who_see_that_the_holder_is_gone_one_at_a_time_has_the_turn(tmp_path):
    command = ["bash", "-c", TURNS, "-", str(TEMPLATE)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=LIMIT)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("command", ["status", "sync", "logs", "stop"])
def test_a_connection_that_is_ended_in_the_middle_is_one_line(idle, other_folder, laptop, command):
    life = Life(idle, other_folder)
    bashrc = idle.read("login", "student", ".bashrc")
    # held where lab has logged in and is not answered yet
    idle.write("login", "student", ".bashrc", f"[[ ! ${{SSH_CONNECTION:-}} ]] || {{ {HOLD}; }}\n{bashrc}")
    life.on_login("touch ~/held; rm -f ~/reached")
    try:
        process = life.lab(command)
        life.on_login("until [[ -e ~/reached ]]; do sleep 0.05; done")
        laptop(f"kill {life.master()}" if command == "logs" else "ssh -S ~/.ssh/passerelle-*[0-9a-f] -O exit x")
        status = process.wait()
    finally:
        idle.write("login", "student", ".bashrc", bashrc)
        life.on_login("rm -f ~/held ~/reached")
    assert status == 1
    assert process.output.splitlines()[1:] == [
        f"lab: The connection to student@{LOGIN} ended before anything was answered. Try again; ssh may ask you to log in again."
    ]
