"""`lab` on the cluster: the twelve guarantees of its design, each by its number, and what else a person expects."""

import json
import re
import signal
import time

import moments
import pytest
from cluster.api import LIMIT
from life import CODE, HOLD, Life
from test_session import fill_both_nodes
from waits import clock, queries, queue  # noqa: F401 - fixtures

LOCAL = r"http://127\.0\.0\.1:(\d+)/lab"


@pytest.fixture(scope="module", autouse=True)
def in_the_meantime(request):
    """What takes minutes begins now, if a test asks for it; the last ones of this file see what has become of it."""
    for name in ("queue", "clock"):
        if any(name in item.fixturenames for item in request.session.items):
            request.getfixturevalue(name)


@pytest.fixture
def coded(idle, other_folder, built):
    """student's life at the host that wants a one-time code, too."""
    return Life(idle, other_folder, host=CODE)


def answers(life, address, token=""):
    """Return the HTTP status that a page of alice's browser would get."""
    code = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"]
    url = f"{address}?token={token}" if token else address.replace("/lab", "/api")
    return life.cluster.run("laptop", "alice", *code, url).stdout


def url_of(life, name="lab"):
    done = life.run_lab("url", name)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def keep(process):
    process.type("\x03")
    process.wait_for("or .s.top")
    process.type("\r")
    assert process.wait() == 0


# --- 1: one authentication ------------------------------------------------------------------------------------------


def test_1_one_authentication_for_open_status_lost_network_return_and_stop(coded):
    before = coded.cluster.auth_count("student")
    process, address = coded.open_session()
    status = coded.run_lab("status")
    assert re.search(r"^lab +\d+ +RUNNING +node1 +\d+ min$", status.stdout, re.MULTILINE), status
    with coded.cluster.network("laptop").cut():
        process.wait_for(r"No answer from student@mfa.vcluster.example for \d+ s: is the network down\?")
        process.wait_for("waiting for the network: student@mfa.vcluster.example cannot be reached")
    process.wait_for("answers again after .*, through the same connection")
    process.wait_for("The page works again: " + address)
    assert answers(coded, address) == "200"
    assert coded.run_lab("stop").returncode == 0
    assert process.wait() == 0
    assert coded.cluster.auth_count("student") - before == 1
    assert coded.jobs() == ""


def test_1_where_ssh_cannot_share_a_connection_it_says_beforehand_how_many_prompts_come(coded):
    coded.cluster.write("laptop", "alice", "lab/personal.yml", "user: student\nconnection: separate\n")
    before = coded.cluster.auth_count("student")
    process, address = coded.open_session()
    assert process.output.startswith(
        "ssh cannot share one connection on this computer. Logins (password, second factor) that "
        "student@mfa.vcluster.example will ask for: at most 2, and one more if the folder has to be sent there.\n"
    )
    assert answers(coded, address) == "200"
    assert coded.cluster.auth_count("student") - before == 2
    keep(process)
    assert answers(coded, address) == "000"
    assert coded.run_lab("stop").returncode == 0
    assert coded.cluster.auth_count("student") - before == 3
    coded.cluster.run("laptop", "alice", "rm", "askpass.log", check=True)


# --- 2 and 3: the tunnel lives in the connection, is proved, and comes back -----------------------------------------


def test_2_control_persist_of_5_s_in_the_users_own_configuration_does_not_end_the_tunnel(lab):
    config = "Host *\n  ControlMaster auto\n  ControlPath ~/.ssh/mine-%C\n  ControlPersist 5\n  ServerAliveInterval 1\n"
    lab.cluster.write("laptop", "alice", ".ssh/config", config)
    try:
        process, address = lab.open_session()
        # no page is open, so nothing goes through the tunnel
        time.sleep(8)
        assert answers(lab, address) == "200"
        keep(process)
    finally:
        lab.cluster.run("laptop", "alice", "rm", ".ssh/config", check=True)


def test_2_a_frozen_connection_is_noticed_within_30_s_and_replaced(lab):
    process, address = lab.open_session()
    lab.cluster.run("laptop", "alice", "kill", "-STOP", lab.master(), check=True)
    process.wait_for("lab: The connection to student@login.vcluster.example is not responding", timeout=30)
    process.wait_for("The page works again: " + address)
    assert answers(lab, address) == "200"


def test_2_a_connection_that_is_frozen_before_is_replaced(lab):
    process, address = lab.open_session()
    keep(process)
    lab.cluster.run("laptop", "alice", "kill", "-STOP", lab.master(), check=True)
    process = lab.lab("attach", "--no-browser")
    process.wait_for("is not responding. Reconnecting")
    process.wait_for(re.escape(address))
    assert answers(lab, address) == "200"


def test_2_a_dead_connection_whose_socket_stays_is_noticed_and_replaced(lab):
    process, address = lab.open_session()
    job = lab.jobs()
    lab.cluster.run("laptop", "alice", "kill", "-KILL", lab.master(), check=True)
    process.wait_for("The connection to student@login.vcluster.example was lost. Reconnecting", timeout=30)
    process.wait_for("The page works again: " + address)
    assert answers(lab, address) == "200"
    assert lab.jobs() == job
    # a stale socket that is found by the next lab
    keep(process)
    lab.cluster.run("laptop", "alice", "kill", "-KILL", lab.master(), check=True)
    process = lab.lab("attach", "--no-browser")
    process.wait_for(re.escape(address))


def test_2_a_dead_tcp_connection_is_noticed_within_30_s_and_said(lab):
    process, address = lab.open_session()
    lab.cluster.run("login", "root", "pkill", "-STOP", "-f", "sshd(-session)?: student[@]", check=True)
    process.wait_for(r"No answer from student@login.vcluster.example for \d+ s: is the network down", timeout=30)
    process.wait_for("the network is back; waiting for the connection")
    # what follows if it stays dead
    process.wait_for("was lost. Reconnecting; ssh may ask you to log in again")
    process.wait_for("The page works again: " + address)
    assert answers(lab, address) == "200"


EAVESDROPPER = """
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((sys.argv[3], int(sys.argv[1])))
listener.listen()
print("listening", flush=True)
while True:
    client, _ = listener.accept()
    client.settimeout(2)
    try:
        print(repr(client.recv(65536)), flush=True)
        client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 65\\r\\n\\r\\n" + sys.argv[2].encode() + b"\\n")
    except OSError:
        pass
    client.close()
"""


def eavesdrop(lab, port, proof):
    """A stranger at a port of the laptop, who answers every request with a proof and prints what was asked."""
    stranger = lab.cluster.spawn(
        "laptop", "root", "/usr/bin/python3", "-c", EAVESDROPPER, str(port), proof, "127.0.0.1"
    )
    stranger.wait_for("listening")
    return stranger


def shown_by_server(lab, address):
    """Return what the server answers to a number of alice's."""
    asked = lab.cluster.run("laptop", "alice", "curl", "-s", f"{address.removesuffix('lab')}passerelle/{'0' * 64}")
    assert re.fullmatch("[0-9a-f]{64}", asked.stdout)
    return asked.stdout


def test_2_a_neighbour_who_takes_the_port_of_a_session_that_was_killed_gets_nothing_and_slurm_has_the_last_word(lab):
    process, address = lab.open_session()
    token, port, proof = url_of(lab).split("token=")[1], re.search(LOCAL, address)[1], shown_by_server(lab, address)
    killed = ["pkill", "-KILL", "-u", "student", "-f", "jupyterlab?[.]sh|jupyter-lab|slurm_script"]
    # there before lab can have looked again
    taken = ["bash", "-c", f"until /usr/bin/python3 -c '{EAVESDROPPER}' {port} {proof} node1; do sleep 0.1; done"]
    neighbour = lab.cluster.spawn("node1", "rival", *taken)
    lab.cluster.run("node1", "root", *killed, check=True)
    neighbour.wait_for("listening")
    process.wait_for(r"lab: Job \d+ has ended: FAILED")
    assert process.wait() == 1
    assert token not in neighbour.output


def test_2_a_stranger_at_the_port_is_never_sent_the_token(lab):
    stranger = eavesdrop(lab, 8888, "0" * 64)
    lab.want_port(8888)
    process, address = lab.open_session()
    assert address == "http://127.0.0.1:8889/lab"
    assert "Port 8888 of this computer is in use; using 8889 instead." in process.output
    token = url_of(lab).split("token=")[1]
    # and one who takes the port while the connection is away, and has asked the server what it shows to everybody
    proof = shown_by_server(lab, address)
    lab.cluster.run("laptop", "alice", "kill", "-KILL", lab.master(), check=True)
    second = eavesdrop(lab, 8889, proof)
    process.wait_for(r"The page works again: http://127\.0\.0\.1:8890/lab")
    assert url_of(lab).startswith("http://127.0.0.1:8890/lab?token=")
    assert token not in stranger.output + second.output


def test_2_a_server_that_is_another_one_is_not_taken_for_ours(lab):
    process, address = lab.open_session()
    keep(process)
    # the record of the session leads to a server that knows nothing of the token
    done = lab.on_login("sed -i '1s/token=.*/token=0123456789abcdef/' ~/.local/state/passerelle/sessions/*")
    assert done.returncode == 0
    done = lab.run_lab("attach", "--no-browser")
    assert done.returncode == 1
    port = re.search(LOCAL, address)[1]
    assert done.stderr == f"lab: The server on node1.int.vcluster.example:{port} does not answer.\n"


def test_a_new_notebook_lands_in_the_folder_where_sync_sees_it(lab):
    process, address = lab.open_session()
    cell = "import os; print(os.getcwd())"
    seen = lab.cluster.browse(url_of(lab), "--kernel", "Python 3 (ipykernel)", "--run", cell, "--save")
    assert seen["output"] == "/home/student/lab"
    assert re.match(r"Copied from .*: Untitled\.ipynb ", lab.run_lab("sync").stdout)
    # what is in the home beside the folder can be opened, too
    lab.cluster.write("login", "student", "beside.ipynb", lab.cluster.read("login", "student", "lab/Untitled.ipynb"))
    seen = lab.cluster.browse(url_of(lab), "--notebook", "beside.ipynb", "--run", cell)
    assert seen["output"] == "/home/student"


# --- 4: what Slurm says ends the wait -------------------------------------------------------------------------------


def test_4_a_refused_job_ends_at_once_with_slurms_words_and_a_hint(lab):
    # what Slurm cannot read is refused as well where the session is there and needs none of it
    held = lab.on_login("./submit_session.sh --name=held --hold").stdout.split()[3]
    for option, words in {
        "--bogus": "sbatch: unrecognized option '--bogus'",
        "--time=long": "sbatch: error: Invalid --time specification",
        "--array=1-2": "submit_session.sh: “--array=1-2” is not understood; see --help",
    }.items():
        done = lab.run_lab("open", "--no-browser", "--name=held", option)
        assert (done.returncode, words in done.stdout) == (1, True), done.stdout
        assert done.stderr == "lab: submit_session.sh failed on the cluster: see its messages above.\n"
    assert lab.jobs().split() == [held, "PENDING"]
    lab.on_login(f"scancel {held}")
    done = lab.run_lab("open", "--no-browser", "--account=def-nobody")
    assert done.returncode == 1
    assert (
        "submit_session.sh: Slurm refused the job: Invalid account or account/partition combination specified"
        "; look at --account=def-nobody\n" in done.stdout
    )
    assert done.stderr == "lab: submit_session.sh failed on the cluster: see its messages above.\n"
    assert lab.jobs() == ""


def test_4_while_pending_the_reason_and_the_expected_start_are_shown_and_a_cancelled_job_ends_the_wait(lab):
    fill_both_nodes(lab.cluster)
    process = lab.lab("open", "--no-browser")
    process.wait_for(r"0:\d\d waiting for job \d+ to start")
    pending = rf"job \d+ is waiting; expected start: ({moments.SAID}|unknown) \((Resources|Priority)\)"
    start = process.wait_for(pending)[1]
    # those that have the nodes may have them for half an hour
    assert start == "unknown" or 0 <= moments.minutes_until(start) <= 31
    lab.on_login("scancel --me")
    before = queries(lab.cluster)
    process.wait_for(r"lab: Job \d+ has ended: CANCELLED\b.*Start it again with: ./lab open --name=lab")
    assert queries(lab.cluster) - before <= 1
    assert process.wait() == 1


def test_4_what_is_awaited_takes_one_line_of_a_narrow_terminal(lab):
    fill_both_nodes(lab.cluster)
    line = "stty cols 40; cd lab && exec ./lab open --no-browser"
    process = lab.cluster.spawn("laptop", "alice", "bash", "-c", line, tty=True)
    process.wait_for(r"0:(0[7-9]|[1-5]\d) job \d+ is wai")
    shown = re.findall(r"0:\d\d job \d+ is w[^\r\n]*?(?=0:\d\d|$)", process.output)
    assert shown and all(len(text) <= 39 for text in shown)


def test_4_a_job_that_fails_at_its_start(lab):
    # the environment breaks between the submission and the start
    fill_both_nodes(lab.cluster)
    process = lab.lab("open", "--no-browser")
    process.wait_for("has been submitted")
    assert lab.on_login("mv ~/jupyter_py3 ~/away").returncode == 0
    try:
        lab.cluster.run("login", "rival", "scancel", "--me", check=True)
        process.wait_for(r"lab: Job \d+ has ended: FAILED \(NonZeroExitCode\). See why with: ./lab logs lab")
        assert process.wait() == 1
        assert "jupyterlab.sh: There is no environment at /home/student/jupyter_py3 yet" in lab.run_lab("logs").stdout
    finally:
        lab.on_login("mv ~/away ~/jupyter_py3")


@pytest.fixture
def nodes_stay_down(lab):
    """Have Slurm leave a node that is DOWN as it is, until somebody resumes it, though its slurmd answers."""
    for value in (0, 2):
        edit = f"sed -i 's/^ReturnToService=.*/ReturnToService={value}/' /etc/slurm/slurm.conf && scontrol reconfigure"
        lab.cluster.run("login", "root", "bash", "-c", edit, check=True)
        if value == 0:
            yield


@pytest.mark.parametrize("state", ["DRAIN", "DOWN"])
def test_4_nodes_that_are_out_of_service_are_awaited_and_come_back(lab, nodes_stay_down, state):
    nodes = ["scontrol", "update", "NodeName=node1,node2", "Reason=test"]
    lab.cluster.run("login", "root", *nodes, f"State={state}", check=True)
    process = lab.lab("open", "--no-browser")
    process.wait_for(r"Job \d+ waits in the queue\. To leave it there, press Ctrl-C and Enter; ")
    process.wait_for(r"job \d+ is waiting; expected start: .* \((ReqNodeNotAvail|Nodes required|Resources)")
    lab.cluster.run("login", "root", *nodes, "State=RESUME", check=True)
    process.wait_for(LOCAL)


def test_4_a_job_on_hold_ends_the_wait_with_how_to_release_it(lab):
    process = lab.lab("open", "--no-browser", "--hold")
    job = process.wait_for(
        r"lab: Job (\d+) is on hold \(JobHeldUser\) and starts only when you release it, on the login node: scontrol release "
        r"\1\. Then wait for it with ./lab open --name=lab, or cancel it with ./lab stop lab",
    )[1]
    assert process.wait() == 1
    assert lab.on_login(f"scontrol release {job}").returncode == 0
    process = lab.lab("open", "--no-browser")
    process.wait_for(LOCAL)


def test_4_a_session_that_takes_too_much_memory(lab):
    process, address = lab.open_session("--mem=300M")
    code = "x = b'x' * (700 * 1024 * 1024)"
    lab.cluster.spawn("laptop", "alice", "browser", url_of(lab), "--kernel", "Python 3 (ipykernel)", "--run", code)
    # this cluster has no cgroups, and so no state OUT_OF_MEMORY; Slurm says it in the log alone
    process.wait_for(
        r"lab: Job \d+ has ended: FAILED \(slurmstepd-node1: error: StepId=\d+.batch exceeded memory limit .*\)\. "
        r"It ran out of memory; raise memory_per_core_mb in settings.yml, or: ./lab open --name=lab --mem-per-cpu=4096M",
    )
    assert process.wait() == 1


# --- 6: Ctrl-C ------------------------------------------------------------------------------------------------------


def test_6_ctrl_c_keeps_the_session_unless_told_to_stop_it(lab):
    process, address = lab.open_session()
    job = lab.jobs()
    process.type("\x03")
    asked = process.wait_for(r"The session can run until (.*)\. \[k\]eep it \(default\), or \[s\]top it\? ")
    assert 50 <= moments.minutes_until(asked[1]) <= 60
    process.type("\r")
    process.wait_for(
        rf"The session lab \(job {job.split()[0]}\) goes on without this window\. To return: ./lab attach lab\. "
        "To stop it: ./lab stop lab"
    )
    assert process.wait() == 0
    assert lab.jobs() == job
    assert answers(lab, address) == "000"  # the tunnel is closed
    # what is edited meanwhile, in a folder that both sides are known to have had
    assert lab.run_lab("sync").returncode == 0
    edit = "sed -i 's/^hours: .*/hours: 2/' settings.yml"
    lab.cluster.run("laptop", "alice", "bash", "-c", f"cd lab && {edit}", check=True)
    process, again = lab.open_session()
    assert again == address
    assert "\nlab: settings.yml has changed since the session lab was submitted (hours): " in process.output
    assert f"The session lab is already there (job {job.split()[0]})." in process.output
    process.type("\x03")
    # this lab has not submitted it, so it does not even ask
    process.wait_for("goes on without this window")
    assert process.wait() == 0
    assert lab.jobs() == job


def test_6_ctrl_c_and_stop_cancels_the_job_that_this_lab_submitted_and_no_other(lab):
    lab.on_login("sbatch --job-name=mine --time=10 --mem=100M --wrap 'sleep 600'")
    lab.on_login("sbatch --job-name=passerelle-other --time=10 --mem=100M --wrap 'sleep 600'")
    others = sorted(lab.jobs().split()[::2])
    process, _ = lab.open_session()
    job = (set(lab.jobs().split()[::2]) - set(others)).pop()
    process.type("\x03")
    process.wait_for("or .s.top it")
    process.type("s\r")
    process.wait_for(rf"The session lab has been stopped \(job {job}\)\.")
    assert process.wait() == 0
    assert sorted(lab.jobs().split()[::2]) == others


def test_6_ctrl_c_while_pending_withdraws_the_job_or_leaves_it_in_the_queue(lab):
    fill_both_nodes(lab.cluster)
    process = lab.lab("open", "--no-browser")
    process.wait_for("has been submitted")
    process.type("\x03")
    process.wait_for(
        r"The job has not started yet\. \[k\]eep it in the queue \(default\), or \[s\]top waiting and cancel it\? "
    )
    process.type("\x03")  # once more is no answer
    process.wait_for(
        r"Job \d+ keeps its place in the queue, and starts when its turn comes\. To return: ./lab open --name=lab"
    )
    assert process.wait() == 0
    assert "PENDING" in lab.jobs()
    job = lab.jobs().split()[0]
    assert lab.run_lab("stop").stdout.endswith(f"The session lab has been stopped (job {job}).\n")
    process = lab.lab("open", "--no-browser")
    process.wait_for("has been submitted")
    process.type("\x03")
    process.wait_for("cancel it")
    process.type("s\r")
    process.wait_for("has been stopped")
    assert process.wait() == 0
    assert lab.jobs() == ""


def test_6_a_closed_terminal_keeps_the_session(lab):
    process, _ = lab.open_session()
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0
    assert "RUNNING" in lab.jobs()


# --- 7: several sessions, several computers -------------------------------------------------------------------------


def test_7_two_sessions_with_two_names_on_two_laptops(lab):
    lab.on_login("sbatch --job-name=mine --time=10 --mem=100M --wrap 'sleep 600'")
    first, address = lab.open_session()
    second, other = lab.open_session("--name=second")
    assert address != other
    shown = lab.run_lab("status").stdout
    names = [line.split()[0] for line in shown.splitlines() if not line.startswith(" ")]
    assert names == ["NAME", "lab", "second"], shown
    # another laptop: a copy of the folder without its notes, and a connection of its own
    copy = 'rm -rf ~/laptop2; mkdir -p ~/laptop2/.ssh && cp -r lab ~/laptop2/lab && rm -rf ~/laptop2/lab/.lab && cd ~/laptop2/lab && HOME=~/laptop2 exec ./lab "$@"'
    away = lab.cluster.spawn("laptop", "alice", "bash", "-c", copy, "-", "attach", "second", "--no-browser", tty=True)
    third = away.wait_for(rf"^ +({LOCAL})\s")[1]
    assert third not in (address, other)
    assert url_of(lab, "second").split("token=")[1] != url_of(lab).split("token=")[1]
    token = url_of(lab, "second").split("token=")[1]
    assert answers(lab, third.replace("/lab", "/api/status"), token) == "200"
    # another window of the first laptop comes and goes, and takes nobody's tunnel with it
    window = lab.lab("attach", "second", "--no-browser")
    window.wait_for(rf"^ +({LOCAL})\s")
    window.type("\x03")
    assert window.wait() == 0
    assert answers(lab, other) == answers(lab, third) == "200"
    keep(second)
    assert answers(lab, other) == "000" and answers(lab, third) == "200"
    # stopped from the other one
    assert lab.run_lab("stop", "second").returncode == 0
    away.wait_for(r"The session second has ended \(CANCELLED\)\.")
    assert away.wait() == 0
    assert answers(lab, address) == "200"
    assert len(lab.jobs().splitlines()) == 2
    done = lab.run_lab("stop", "second")
    assert done.returncode == 1
    assert re.fullmatch(
        rf"lab: No session second is waiting or running\. The last one \(job \d+, {moments.SAID}\) has ended: CANCELLED"
        r"( by \d+)?\. Start it again with: ./lab open --name=second\n",
        done.stderr,
    )


def test_7_a_session_that_was_started_by_hand_is_listed_attached_to_and_stopped_by_its_number(lab):
    session, address = lab.start_session()
    job = lab.jobs().split()[0]
    assert re.search(rf"^{job} +{job} +RUNNING ", lab.run_lab("status").stdout, re.MULTILINE)
    process = lab.lab("attach", job, "--no-browser")
    local = process.wait_for(rf"^ +({LOCAL})\s")[1]
    assert answers(lab, local.replace("/lab", "/api/status"), address.split("token=")[1]) == "200"
    assert lab.run_lab("stop", job).returncode == 0
    process.wait_for("has ended")
    session.wait()


# --- 9: the token ---------------------------------------------------------------------------------------------------


def test_9_the_token_is_in_no_process_list_and_in_no_file_that_others_can_read(lab):
    # a workspace of before would hide the launcher, which the test's browser waits for
    browse = "umask 022; cd lab; BROWSER='browser --timeout 60 %s' exec ./lab open"
    stop = False
    lab.on_login("rm -rf ~/.jupyter/lab/workspaces")
    process = lab.cluster.spawn("laptop", "alice", "bash", "-c", browse, tty=True)
    seen = {host: set() for host in ("laptop", "login", "node1")}
    end = time.monotonic() + LIMIT
    while time.monotonic() < end and not stop:
        for host, lines in seen.items():
            lines.update(lab.cluster.run(host, "root", "ps", "-e", "-o", "args=", check=True).stdout.splitlines())
        # the browser prints what it has seen when the page is there
        stop = '"cards"' in process.output
    token = url_of(lab).split("token=")[1]
    assert '"name": "R"' in process.output
    for host, lines in seen.items():
        assert not [line for line in lines if token in line], host
    # the samples were dense enough to see what has the token's neighbours
    assert any("/.lab/open-" in line for line in seen["laptop"])
    assert any("jupyter-lab" in line for line in seen["node1"])
    everywhere = ["grep", "-rlsI", token, "/home", "/tmp", "/localscratch", "/scratch", "/project"]
    # as on a cluster whose homes anybody can enter
    lab.cluster.run("login", "student", "chmod", "755", ".", ".local", ".local/state", check=True)
    lab.cluster.run("laptop", "alice", "chmod", "755", ".", check=True)
    for host, owner in (("laptop", "alice"), ("login", "student"), ("node1", "student")):
        stranger = "nobody" if host == "laptop" else "rival"
        assert lab.cluster.run(host, stranger, *everywhere).stdout == "", host
        assert lab.cluster.run(host, owner, *everywhere).stdout != "", host
    assert token not in process.output.split('"url"')[0]
    assert token not in lab.run_lab("logs").stdout


# --- 10: host keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [["open", "--no-browser"], ["status"], ["attach"], ["stop"], ["logs"], ["url"], ["sync"], ["submit", "README.md"]],
)
def test_10_a_contradicting_host_key_stops_every_command_before_anything_is_sent(lab, command):
    other = "ssh-keygen -q -t ed25519 -N '' -f /tmp/other; printf '%s %s\\n' login.vcluster.example \"$(cut -d ' ' -f 1,2 /tmp/other.pub)\""
    known = lab.cluster.read("laptop", "alice", ".ssh/known_hosts")
    lab.cluster.run("laptop", "alice", "bash", "-c", f"{{ {other}; }} > ~/.ssh/known_hosts; rm /tmp/other*", check=True)
    # even when the user has told ssh not to look
    lab.cluster.write("laptop", "alice", ".ssh/config", "Host *\n  StrictHostKeyChecking no\n")
    before = lab.cluster.auth_count("student")
    try:
        done = lab.run_lab(*command)
    finally:
        lab.cluster.write("laptop", "alice", ".ssh/known_hosts", known)
        lab.cluster.run("laptop", "alice", "rm", ".ssh/config")
    assert done.returncode == 1
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    assert done.stderr.endswith(
        "lab: No connection to student@login.vcluster.example: see ssh's messages above. Is the user name right (user or "
        "ssh_host in personal.yml)?\n"
    )
    assert lab.cluster.auth_count("student") == before
    assert lab.jobs() == ""


# --- a lab that is killed -------------------------------------------------------------------------------------------


HOLDS = {
    "login": (".bashrc", f"[[ ! ${{SSH_CONNECTION:-}} ]] || {{ {HOLD}; }}\n"),
    "before sbatch": ("/usr/local/bin/sbatch", f'#!/bin/bash\n{HOLD}\nexec /usr/bin/sbatch "$@"\n'),
    "after sbatch": ("/usr/local/bin/sbatch", f'#!/bin/bash\nsaid=$(/usr/bin/sbatch "$@")\n{HOLD}\necho "$said"\n'),
    "server": (".jupyter/jupyter_server_config.py", f"import subprocess\nsubprocess.run(['bash', '-c', {HOLD!r}])\n"),
}
"""The places where a session's way can be held, and what holds it there: a file of the login node, and its text."""


@pytest.fixture
def held(lab):
    """Hold whatever comes to a place, until it is released: held(place), held.reached(), held.release()."""
    bashrc = lab.cluster.read("login", "student", ".bashrc")

    def hold(place):
        name, text = HOLDS[place]
        lab.cluster.run("login", "student", "bash", "-c", "rm -f ~/reached; touch ~/held", check=True)
        user = "root" if name.startswith("/") else "student"
        lab.cluster.write("login", user, name, bashrc + text if name == ".bashrc" else text)
        if user == "root":
            lab.cluster.run("login", "root", "chmod", "755", name, check=True)

    def release():
        made = ["held", ".jupyter/jupyter_server_config.py"]
        lab.cluster.run("login", "student", "rm", "-rf", *made, check=True)
        lab.cluster.write("login", "student", ".bashrc", bashrc)
        lab.cluster.run("login", "root", "rm", "-f", "/usr/local/bin/sbatch", check=True)

    hold.reached = lambda: lab.on_login("until [[ -e ~/reached ]]; do sleep 0.05; done")
    hold.release = release
    yield hold
    release()


def login_side_has_gone(life):
    """Wait until nothing on the login node works for a lab any more."""
    gone = "while pgrep -u student -f '^/bin/bash --noprofile --norc -p -s|submit_sessio[n]|setup_en[v]' >/dev/null; do sleep 0.05; done"
    life.cluster.run("login", life.user, "bash", "-c", gone, check=True)


@pytest.mark.parametrize(
    ("phase", "then"),
    [
        ("connecting", "open"),
        ("login", "open"),
        ("before sbatch", "open"),
        ("before sbatch", "stop"),
        ("after sbatch", "open"),
        ("after sbatch", "stop"),
        ("queue", "stop"),
        ("server", "open"),
        ("server", "stop"),
        ("page", "open"),
    ],
)
def test_a_lab_that_is_killed_in_any_phase_leaves_what_the_next_one_can_go_on_with(lab, held, phase, then):
    network = lab.cluster.network("login")
    if phase == "connecting":
        network.down()
    elif phase == "queue":
        fill_both_nodes(lab.cluster)
    elif phase in HOLDS:
        held(phase)
    process = lab.lab("open", "--no-browser")
    if phase in HOLDS:
        held.reached()
    else:
        process.wait_for({"connecting": "Connecting to", "queue": "is waiting", "page": LOCAL}[phase])
    process.send_signal(signal.SIGKILL)
    process.wait()
    # it was in that phase
    shown, states = process.output, lab.jobs().split()[1::2]
    assert ("has been submitted" in shown) == (phase in ("queue", "server", "page"))
    assert (re.search(LOCAL, shown) is not None) == (phase == "page")
    expected = {"queue": ["PENDING"], "server": ["RUNNING"], "page": ["RUNNING"]}
    assert states in (["PENDING"], ["RUNNING"]) if phase == "after sbatch" else states == expected.get(phase, [])
    network.up()
    if then == "open":
        held.release()
        process, address = lab.open_session()
        assert answers(lab, address) == "200"
        assert len(lab.jobs().splitlines()) == 1
        assert lab.run_lab("stop").returncode == 0
        assert process.wait() == 0
    else:
        # what was begun for the lab that is gone ends with it, also what is being submitted
        login_side_has_gone(lab)
        held.release()
        done = lab.run_lab("stop")
        if states:
            assert "has been stopped (job" in done.stdout
        else:
            assert re.match("lab: (You have no session called lab; |No session lab is waiting or running)", done.stderr)
    login_side_has_gone(lab)
    assert lab.jobs() == ""


# --- first use, and where lab runs ----------------------------------------------------------------------------------


def test_the_first_open_sends_the_folder_and_builds_the_environment_with_one_prompt(idle, pristine_folder):
    folder = pristine_folder("vcluster", name="first", environment_path="$HOME/first_py3", kernels=[], extensions=[])
    life = Life(idle, folder, name="first", host=CODE)
    life.cluster.run("login", "student", "rm", "-rf", "first", "first_py3", "first_py3.builds", check=True)
    before = idle.auth_count("student")
    process = life.lab("open", "--no-browser")
    process.wait_for(r"Sending the folder to student@mfa.vcluster.example:first\.\.\.")
    # who kills lab now gets no job later
    process.wait_for("Building the environment /home/student/first_py3; this takes a few minutes")
    # what takes less than two seconds is said once it is done
    process.wait_for(r"\d:\d\d building the environment, pip|pip: 1 of 1 installed")
    process.send_signal(signal.SIGKILL)
    process.wait()
    login_side_has_gone(life)
    assert life.jobs() == ""
    process = life.lab("open", "--no-browser")
    process.wait_for(r"\d:\d\d building the environment, Python packages: \d+ of \d+ installed")
    process.wait_for(r"Python packages: (\d+) of \1 installed \(\d+:\d\d\)")
    ready = process.wait_for("The environment is ready: /home/student/first_py3")
    # pip's words are in the log alone
    assert not re.search("Processing|Collecting|Installing collected", process.output[: ready.end()])
    address = process.wait_for(rf"^ +({LOCAL})\s")[1]
    assert answers(life, address) == "200"
    assert "./start_salloc.sh" not in process.output
    assert idle.auth_count("student") - before == 1
    keep(process)
    # what is edited here takes effect with the next session
    life.run_lab("stop")
    edit = "sed -i 's/^hours: .*/hours: 2/' settings.yml"
    idle.run("laptop", "alice", "bash", "-c", f"cd first && {edit}", check=True)
    process, _ = life.open_session()
    assert re.search(r"^first .* (1 h 5\d|2 h 00) ", life.run_lab("status").stdout, re.MULTILINE)


def test_on_the_login_node_itself(lab):
    line = 'cd lab && exec /opt/laptop/bin/python3 ./lab "$@"'
    if lab.cluster.run("login", "student", "test", "-x", "/opt/laptop/bin/python3").returncode != 0:
        lab.on_login(
            "python3 -m venv --system-site-packages .lab/python && .lab/python/bin/pip install --quiet --no-index plumbum",
        )
        line = 'cd lab && exec ./lab "$@"'
    process = lab.cluster.spawn("login", "student", "bash", "-c", line, "-", "open", tty=True)
    process.wait_for(
        r"The session lab runs on node1.int.vcluster.example until .*\. To reach it from your computer: ./lab attach lab\."
    )
    assert (
        lab.cluster.run("login", "student", "bash", "-c", line, "-", "status").stdout.splitlines()[1].startswith("lab ")
    )
    url = lab.cluster.run("login", "student", "bash", "-c", line, "-", "url").stdout.strip()
    assert lab.cluster.run("login", "student", "curl", "-s", url.replace("/lab?", "/api/status?")).stdout.startswith(
        "{"
    )
    keep(process)
    assert lab.cluster.run("login", "student", "bash", "-c", line, "-", "stop").returncode == 0


def test_where_only_ssh_reaches_the_node(idle, other_folder, built):
    lab = Life(idle, other_folder, reach="jump")
    process = lab.lab("open", "--no-browser")
    # the node's key is verified as any other; it is kept in known_hosts
    if process.wait_for(r"continue connecting \(yes/no|^ +http")[0].startswith("continue"):
        process.type("yes\r")
    address = process.wait_for(rf"^ +({LOCAL})\s")[1]
    token = url_of(lab).split("token=")[1]
    assert answers(lab, address.replace("/lab", "/api/status"), token) == "200"
    keep(process)
    assert answers(lab, address) == "000"


@pytest.mark.parametrize("user", ["zsh", "fish", "xonsh"])
def test_a_login_shell_that_is_not_bash_and_startup_files_that_print(user, idle, shared_folder, shared_built):
    lab = Life(idle, shared_folder, user=user)
    noise = "for file in .zshrc .config/fish/config.fish .config/xonsh/rc.xsh .bash_profile; do [ ! -e $file ] || echo \"echo 'passerelle\tup\t1'\" >> $file; done"
    idle.run("login", user, "bash", "-c", noise, check=True)
    process, address = lab.open_session()
    assert answers(lab, address) == "200"
    assert lab.run_lab("stop").returncode == 0
    assert process.wait() == 0


def test_in_french(idle, pristine_folder, built):
    lab = Life(idle, pristine_folder("vcluster", name="lab", language="fr"))
    process = lab.lab("open", "--no-browser")
    process.wait_for(rf"^ +({LOCAL})\s")
    process.wait_for(r"La session lab est en cours sur node1\.int\.vcluster\.example \(fin prévue\s: ")
    assert lab.run_lab("status").stdout.startswith("NOM  TÂCHE  ÉTAT ")
    process.type("\x03")
    process.wait_for("La .g.arder .par défaut. ou l'.a.rrêter")
    process.type("a\r")
    process.wait_for(r"La session lab a été arrêtée \(tâche \d+\)\.")
    assert process.wait() == 0
    assert lab.jobs() == ""


# --- a class --------------------------------------------------------------------------------------------------------


def test_a_class_of_ten_on_one_node_is_reached_and_not_crossed(idle, shared_folder, shared_built):
    for n in range(1, 11):
        idle.run("login", f"class{n}", "rm", "-rf", "lab", check=True)
    lives = [Life(idle, shared_folder, name=f"class{n}", user=f"class{n}") for n in range(1, 11)]
    labs = [life.lab("open", "--no-browser", "--nodelist=node1", "--cpus-per-task=1") for life in lives]
    addresses = [process.wait_for(rf"^ +({LOCAL})\s")[1] for process in labs]
    assert len(set(addresses)) == 10
    urls = [url_of(life) for life in lives]
    tokens = [url.split("token=")[1] for url in urls]
    assert len(set(tokens)) == 10
    ask = "shift; for url; do curl -s -o /dev/null -w '%{http_code} ' --max-time 20 $url; done"
    for number, address in enumerate(addresses):
        status = [f"{address.replace('/lab', '/api/status')}?token={token}" for token in tokens]
        shown = idle.run("laptop", "alice", "bash", "-c", ask, "-", "-", *status).stdout.split()
        assert shown == ["200" if number == other else "403" for other in range(10)]
    owners = idle.run("login", "root", "squeue", "--noheader", "--states=RUNNING", "--format=%u %N", check=True).stdout
    assert sorted(owners.split()[::2]) == sorted(life.user for life in lives)
    assert set(owners.split()[1::2]) == {"node1"}


# --- submit, update -------------------------------------------------------------------------------------------------


def test_submit_sends_the_notebook_and_its_result_comes_back_with_sync(lab):
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": "open('résultat 1.txt', 'w').write(str(6 * 7))",
    }
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    lab.cluster.write("laptop", "alice", "lab/my work/answer.ipynb", json.dumps(notebook))
    done = lab.run_lab("submit", "my work/answer.ipynb", "--time=10")
    assert done.returncode == 0, done.stdout + done.stderr
    *_, submitted, output, follow, results = done.stdout.splitlines()
    job = submitted.removeprefix("Submitted batch job ")
    assert output == f"Its output goes to /home/student/lab/my work/answer-{job}.out"
    assert follow == f"To follow it: ./lab status. To read its output: ./lab logs {job}. To cancel it: ./lab stop {job}"
    assert results == "Once it has ended, ./lab sync brings its results to your computer, and names them."
    lab.on_login(f"until [[ ! $(squeue --noheader --jobs={job}) ]]; do sleep 0.2; done")
    assert re.search(
        rf"^Copied from student@login.vcluster.example: .*'my work/answer-{job}.out', .*'my work/résultat 1.txt' \(",
        lab.run_lab("sync").stdout,
        re.MULTILINE,
    )
    assert lab.cluster.read("laptop", "alice", "lab/my work/résultat 1.txt") == "42"
    done = lab.run_lab("submit", "nothing.ipynb")
    assert (done.returncode, done.stderr) == (
        64,
        "lab: There is no notebook nothing.ipynb; give the path of a file that ends in .ipynb\n",
    )
    # a table, too, is what is there where the person stands
    lab.cluster.write("laptop", "alice", "lab/my work/rows.csv", "x\n")
    words = "cd 'lab/my work' && ../lab submit answer.ipynb --parameters=rows.csv"
    done = lab.cluster.run("laptop", "alice", "bash", "-c", words)
    line = "submit_notebook.sh: rows.csv has no rows; it needs names of parameters, and under each its values.\n"
    assert line in done.stdout + done.stderr


# --- what takes minutes: guarantees 5, 8 and 3 ----------------------------------------------------------------------


def test_8_warnings_come_15_and_5_minutes_before_the_end_and_the_time_limit_ends_the_wait(clock):  # noqa: F811 - a fixture
    seen = clock.wait()
    assert "5 min left" not in seen["shown"][17].replace("15 min left", "")
    # too short for any warning, and said so from the start
    assert "min left in" not in seen["shown"][1]
    assert re.fullmatch(
        r"lab: Job \d+ has ended: TIMEOUT( \(TimeLimit\))?\. Its time limit was reached; raise hours in settings.yml, or: "
        r"./lab open --name=of1 --time=3:00:00",
        seen["timeout"],
    )
    assert seen["status"] == 1


def test_3_after_two_minutes_without_network_the_page_works_again_on_the_same_address_without_a_new_job(clock):  # noqa: F811 - a fixture
    seen = clock.wait()
    before, after = seen["jobs"]
    assert before == after != ""
    assert "Python 3 (ipykernel)" in seen["cards"]
    announced = seen["output"].count("was lost. Reconnecting; ssh may ask you to log in again")
    assert seen["prompts"] == announced <= 1


def test_5_ten_minutes_in_the_queue_cost_at_most_15_queries_and_one_connection(queue):  # noqa: F811 - a fixture
    asked, commands, clients, shown = queue.wait()
    # 5, 10, 20, 40 and then 60 s apart
    assert 10 <= asked <= 15
    assert commands == 0
    # the connection, and the one channel through it
    assert len(clients) == 2, clients
    assert re.search(r"10:0\d job \d+ is waiting; expected start: [^(]* \(BeginTime\)", shown) or re.search(
        r"9:5\d job \d+ is waiting; expected start: [^(]* \(BeginTime\)", shown
    )
