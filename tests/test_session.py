"""A session's life and its troubles, on the cluster."""

import json
import re

import pytest
from cluster.api import LIMIT
from life import ADDRESS, Life, press_ctrl_c_twice

DRAWS = "sed -i 's/^PORTS = .*/PORTS = {}/' lib/compute_node/jupyter-lab.py"
BUSY = "sbatch --time=30 --nodelist={node} --cpus-per-task={cores} --mem-per-cpu=100M --wrap 'sleep 600'"


def fill_both_nodes(cluster):
    for node, cores in (("node1", 32), ("node2", 16)):
        partition = "" if node == "node1" else "--partition=cpubase_interac "
        command = BUSY.format(node=node, cores=cores).replace("--time", partition + "--time")
        cluster.run("login", "rival", "bash", "-c", command, check=True)
    running = "until (($(squeue --user=rival --noheader --states=RUNNING | wc -l) == 2)); do sleep 0.1; done"
    cluster.run("login", "rival", "bash", "-c", running, check=True)


def test_a_server_is_refused_on_a_login_node(lab):
    done = lab.on_login("./jupyterlab.sh")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == (
        "jupyterlab.sh: This is not a compute node, and servers do not run on login nodes; "
        "start the session with ./start_salloc.sh\n"
    )


@pytest.mark.parametrize(
    ("option", "refusal"),
    [
        ("--account=def-nobody", "Invalid account or account/partition combination specified"),
        ("--mem=900G", "Requested node configuration is not available"),
        ("--time=90:00:00", "Requested time limit is invalid (missing or exceeds some limit)"),
    ],
)
def test_a_refused_job_is_one_clear_line(option, refusal, lab):
    done = lab.on_login(f"./start_salloc.sh {option}")
    assert done.returncode == 1
    ours = f"start_salloc.sh: Slurm refused the job: {refusal}; look at {option}"
    assert done.stderr.splitlines()[-1] == ours
    assert "Job submit/allocate failed" not in done.stderr
    assert lab.jobs() == ""


def test_in_a_folder_that_may_not_be_written_to_the_page_starts_in_the_home_and_a_line_says_so(lab):
    lab.on_login("chmod a-w .")
    try:
        process, _ = lab.start_session()
    finally:
        lab.on_login("chmod u+w .")
    assert (
        "so JupyterLab starts in /home/student; lab sync and lab submit do not see notebooks there.\n" in process.output
    )
    server = lab.cluster.run("node1", "root", "pgrep", "-af", "jupyter-lab.py").stdout
    server += lab.cluster.run("node2", "root", "pgrep", "-af", "jupyter-lab.py").stdout
    assert "--FileContentsManager.preferred_dir=/home/student\n" in server


@pytest.mark.parametrize("option", ["--time=never", "--gres=foo:1", "--tme=3:00:00", "--cpus-per-task=two"])
def test_an_option_that_slurm_cannot_read_is_named_and_no_session_has_ended(option, lab):
    done = lab.on_login(f"./start_salloc.sh {option}")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.splitlines()[-1] == (
        f"start_salloc.sh: Slurm could not read one of these options: {option}. See its message above; salloc --help "
        "lists them all."
    )
    assert "salloc: " in done.stderr.splitlines()[0]


def test_an_account_that_slurm_does_not_know_is_traced_to_settings(lab):
    done = lab.on_login("sed -i 's/^account: .*/account: def-nobody/' settings.yml; ./start_salloc.sh")
    line = lab.on_login("grep -n ^account settings.yml").stdout.split(":")[0]
    assert done.returncode == 1
    assert done.stderr == (
        "start_salloc.sh: Slurm refused the job: Invalid account or account/partition combination specified"
        f"; look at settings.yml:{line}\n"
    )


def test_a_session_that_is_submitted_by_hand_says_what_comes_next_and_is_not_made_twice(lab):
    done = lab.on_login("./submit_session.sh --begin=now+1hour")
    job = re.match(r"Submitted batch job (\d+)\n", done.stdout)[1]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.removeprefix(f"Submitted batch job {job}\n") == (
        "The session lab needs no open window. On your computer, in your copy of this folder:\n\n"
        "    ./lab attach lab\n\n"
        "or, without lab, once it runs (squeue --me shows whether it does):\n\n"
        "    ./tunnel_ssh.sh\n\n"
        f"To end it, here: scancel {job}\n"
    )
    again = lab.on_login("./submit_session.sh --set-up --time=2:00:00")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == (
        f"submit_session.sh: The session lab is already there (job {job}). On your computer, ./lab attach lab or "
        f"./tunnel_ssh.sh leads to it; here, scancel {job} ends it. For one more at the same time: "
        "./submit_session.sh --name=lab-2\n"
    )
    # as they stand
    second = lab.on_login(again.stderr.split(": ")[-1].strip() + " --begin=now+1hour")
    assert second.returncode == 0
    assert lab.jobs().count("PENDING") == 2
    assert lab.on_login(done.stdout.split(": ")[-1].strip()).returncode == 0
    assert lab.on_login("./submit_session.sh --begin=now+1hour").returncode == 0


def test_a_pending_job_says_so_and_ctrl_c_withdraws_it(lab):
    fill_both_nodes(lab.cluster)
    session = lab.start()
    session.wait_for("queued and waiting for resources")
    assert "PENDING" in lab.jobs()
    session.type("\x03")
    assert session.wait() != 0
    assert lab.jobs() == ""


def test_ctrl_c_twice_ends_the_job_and_leaves_no_traceback(lab):
    session, _ = lab.start_session()
    # jupyter_lsp starts programs to see whether they are there, and shows a traceback of its own when one is ended
    session.wait_for("Skipped non-installed server", timeout=LIMIT)
    press_ctrl_c_twice(session)
    session.wait()
    assert lab.jobs() == ""
    assert "Traceback" not in session.output


def test_port_8888_taken_on_the_node_and_on_the_laptop(lab):
    cluster = lab.cluster
    for node, address in (("node1", "10.78.0.11"), ("node2", "10.78.0.12")):
        server = ("/usr/bin/python3", "-m", "http.server", "8888", "--bind", address)
        cluster.spawn("login", "rival", "srun", f"--nodelist={node}", "--time=10", "--mem=100M", *server)
    listening = "until exec 3<>/dev/tcp/10.78.0.11/8888 && exec 3<>/dev/tcp/10.78.0.12/8888; do sleep 0.1; done"
    cluster.run("login", "student", "bash", "-c", listening, check=True)
    cluster.spawn("laptop", "alice", "/usr/bin/python3", "-m", "http.server", "8889", "--bind", "127.0.0.1")
    # each session draws its own; of this one it is known
    assert lab.on_login(DRAWS.format("range(8888, 8889)")).returncode == 0
    _, address = lab.start_session()
    assert ":8889/" in address
    process, url = lab.tunnel(address)
    assert url.startswith("http://127.0.0.1:8890/")
    assert "Port 8889 of this computer is in use; using 8890 instead." in process.output
    assert any(card["name"] == "R" for card in cluster.browse(url)["cards"])


def test_a_server_that_loses_its_port_to_another_one_starts_again(lab):
    cluster = lab.cluster
    # until the server has met it, somebody has the port, and the server is told to try no other one
    server = ("/usr/bin/python3", "-m", "http.server", "8888", "--bind", "10.78.0.11")
    other = cluster.spawn("login", "rival", "srun", "--nodelist=node1", "--time=10", "--mem=100M", *server)
    listening = "until exec 3<>/dev/tcp/10.78.0.11/8888; do sleep 0.1; done"
    cluster.run("login", "student", "bash", "-c", listening, check=True)
    only = 'sed -i \'s/f"--port=.*"/"--port=8888", "--ServerApp.port_retries=0"/\' lib/compute_node/jupyter-lab.py'
    assert lab.on_login(only).returncode == 0
    session = lab.start("./start_salloc.sh --nodelist=node1")
    session.wait_for("port 8888 is already in use|could not be started")
    cluster.run("node1", "root", "pkill", "-u", "rival", "--full", "http.server", check=True)
    other.wait()
    address = session.wait_for(rf"answers at\s+({ADDRESS})")[1]
    assert ":8888/" in address
    token = address.split("token=")[1]
    url = address.split("/lab")[0] + "/api/status"
    assert cluster.run("login", "student", "curl", "-s", "-H", f"Authorization: token {token}", url).stdout[0] == "{"


def test_two_peoples_sessions_on_one_node_do_not_meet(idle, shared_folder, shared_built):
    addresses = []
    for user in ("student", "student2"):
        life = Life(idle, shared_folder, user=user)
        session, address = life.start_session("./start_salloc.sh --nodelist=node1")
        addresses.append((user, address))
    assert addresses[0][1].split("/")[2] != addresses[1][1].split("/")[2]
    for user, address in addresses:
        base, token = address.split("/lab?token=")
        others = dict(addresses)[{"student": "student2", "student2": "student"}[user]].split("token=")[1]
        for given, expected in ((token, "200"), (others, "403")):
            code = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Authorization: token {given}"]
            assert idle.run("login", user, *code, f"{base}/api/status").stdout == expected


@pytest.mark.parametrize("user", ["zsh", "fish", "xonsh"])
def test_a_login_shell_that_is_not_bash(user, idle, shared_folder, shared_built):
    life = Life(idle, shared_folder, user=user)
    session, address = life.start_session()
    # the tunnel finds the session by itself, through that shell as well
    process, url = life.tunnel()
    assert idle.run("laptop", "alice", "curl", "-s", url.replace("/lab?", "/api/status?")).stdout.startswith("{")
    press_ctrl_c_twice(session)
    session.wait()


def test_startup_files_that_print_text_disturb_nothing(lab):
    noisy = "sed -i '1i echo Welcome, http://node9:1/lab?token=0' ~/.bashrc ~/.bash_profile"
    lab.cluster.run("login", "student", "bash", "-c", noisy, check=True)
    try:
        _, address = lab.start_session()
        process, url = lab.tunnel()
        assert url.split("token=")[1] == address.split("token=")[1]
        assert lab.on_login("./setup_env.sh").returncode == 0
    finally:
        lab.cluster.run("login", "student", "sed", "-i", "1d", ".bashrc", ".bash_profile", check=True)


def test_a_folder_whose_path_has_spaces_and_accents(idle, other_folder, built):
    lab = Life(idle, other_folder, name="Mon été à l’école")
    _, address = lab.start_session()
    process, url = lab.tunnel(address)
    assert idle.run("laptop", "alice", "curl", "-s", url.replace("/lab?", "/api/status?")).stdout.startswith("{")


def test_the_token_is_in_no_process_list_and_in_no_file_that_others_can_read(lab):
    _, address = lab.start_session("umask 022; ./start_salloc.sh")
    _, url = lab.tunnel(address)
    token = address.split("token=")[1]
    node = address.split("/")[2].split(".")[0]
    for host in ("login", node):
        assert token not in lab.cluster.run(host, "root", "ps", "-e", "-o", "args=", check=True).stdout
        everywhere = ["grep", "-rlsI", token, "/home", "/tmp", "/localscratch", "/scratch", "/project"]
        found = lab.cluster.run(host, "rival", *everywhere).stdout
        assert found == ""
        # the same search finds it as its owner, so that it can fail
        if host == node:
            assert lab.cluster.run(host, "student", *everywhere).stdout != ""


def test_a_read_only_home_and_an_empty_environment_as_on_trillium(idle, other_folder, built):
    lab = Life(idle, other_folder, home_on_compute="read_only", submit_from="scratch")
    for node in ("node1", "node2"):
        idle.run(node, "root", "mount", "-o", "remount,bind,ro", "/home", check=True)
    try:
        # what Trillium's own wrapper of salloc does
        session, address = lab.start_session("SLURM_EXPORT_ENV=NONE ./start_salloc.sh")
        assert "Jobs cannot write to this folder here, so JupyterLab starts in /scratch/student;" in session.output
        node = address.split("/")[2].split(".")[0]
        process, url = lab.tunnel()
        ran = idle.browse(url, "--kernel", "Python 3 (ipykernel)", "--run", "import os; print(os.getcwd())", "--save")
        assert ran["output"] == "/scratch/student"
        assert idle.run("login", "student", "ls", "/scratch/student/Untitled.ipynb").returncode == 0
        assert idle.run(node, "student", "touch", "/home/student/x").returncode != 0
    finally:
        for node in ("node1", "node2"):
            idle.run(node, "root", "mount", "-o", "remount,bind,rw", "/home", check=True)


def test_the_time_limit_is_announced_and_open_notebooks_get_a_checkpoint(lab):
    # Slurm counts in whole minutes: of this session, five are left after one
    session, address = lab.start_session("./start_salloc.sh --time=6")
    _, url = lab.tunnel(address)
    browser = lab.cluster.spawn(
        *("laptop", "alice", "browser", url, "--kernel", "Python 3 (ipykernel)", "--run", "x = 1", "--save"),
        *("--until", "This session ends in 5 minutes, at its time limit. What is open is being saved now"),
    )
    # of this one, less than five from the start
    short, _ = lab.start_session("./start_salloc.sh --time=1")
    short.wait_for("5 minutes or less are left: save your work")
    session.wait_for(r"^  lab/Untitled\d*\.ipynb")
    checkpoints = lab.cluster.run("login", "student", "ls", "lab/.ipynb_checkpoints", check=True).stdout
    assert "Untitled-checkpoint.ipynb" in checkpoints
    assert "restarting kernel" not in session.output
    # the page itself has said so
    assert browser.wait(60) == 0
    # Slurm's own end of the short one leaves nothing behind
    short.wait_for("DUE TO TIME LIMIT")
    short.wait()
    assert len(lab.jobs().splitlines()) == 1


FASTER = """
sed -i 's/^MINUTE = .*/MINUTE = 1/
    s/while not idle/while os.path.exists(os.path.expanduser("~\\/held")) or not idle/' lib/compute_node/idle.py
sed -i 's/^IDLE_LOOK=.*/IDLE_LOOK=1/' lib/both/limits.sh
echo 'idle_minutes: 15' >>settings.yml
# nothing is saved but by the notice
sed -i 's/"autosaveInterval": .*/"autosaveInterval": 3600/' lib/compute_node/jupyter/labconfig/default_setting_overrides.json
"""
"""On both sides: minutes are seconds, and nobody looks for as long as there is a file ~/held."""


def notify(lab, url, words):
    """Say something in every open page, as the session does."""
    base, token = url.split("/lab?token=")
    event = {"schema_id": "urn:passerelle:notice", "version": "1", "data": {"name": "idle", "message": words}}
    headers = ["-H", f"Authorization: token {token}", "-H", "Content-Type: application/json"]
    posted = ["curl", "-sS", "--fail", *headers, "-d", json.dumps(event), f"{base}/api/events"]
    lab.cluster.run("laptop", "alice", *posted, check=True)


def test_a_session_in_which_nothing_is_done_says_so_saves_and_ends_and_the_next_one_has_its_tabs(lab):
    lab.on_login("touch ~/held")
    for side, person in (("laptop", "alice"), ("login", "student")):
        lab.cluster.run(side, person, "bash", "-c", "cd lab;" + FASTER, check=True)
    lab.cluster.write("login", "student", "lab/notes.txt", "")
    process, _ = lab.open_session()
    process.wait_for("The session ends by itself when nothing has been done in it for 15 minutes")
    job, url = lab.jobs().split()[0], lab.run_lab("url").stdout.strip()
    warning = "Nothing has been done here for 13 minutes. Unless you go on working, the session ends in 2 min."
    last = "The session ends: nothing was done in it for 15 minutes. What is open is being saved; variables are lost."
    browser = lab.cluster.spawn(
        *("laptop", "alice", "browser", url, "--text", "lab/notes.txt", "--type", "not saved"),
        *("--until", "First words"),
        *("--until", "Second words", "--gone", "First words", "--gone", "Second words"),
        *("--until", warning, "--until", last, "--gone", warning, "--saved"),
    )
    browser.wait_for("^typed")
    # each takes the place of the one before; one without words takes it away
    for words, seen in (("First words", "until"), ("Second words", "gone"), ("", "gone")):
        notify(lab, url, words)
        browser.wait_for(f"^{seen} {'First words' if words else 'Second words'}")
    assert lab.cluster.read("login", "student", "lab/notes.txt") == ""
    # an open page keeps no session, though JupyterLab saves its layout every ten seconds
    lab.on_login("rm ~/held")
    assert browser.wait() == 0
    ended = "COMPLETED (nothing was done in it for 15 minutes). To begin again where you were: ./lab open --name=lab. "
    process.wait_for(re.escape(f"Job {job} has ended: {ended}"))
    assert process.wait() == 0
    assert lab.cluster.read("login", "student", "lab/notes.txt") == "not saved"
    assert lab.jobs() == ""
    assert lab.on_login("ls ~/.local/state/passerelle/sessions").stdout == ""
    said = "The session has ended, because nothing was done in it for 15 minutes (idle_minutes in settings.yml)."
    assert lab.run_lab("logs").stdout.splitlines()[-1] == said
    assert re.search(
        rf"^lab +{job} +COMPLETED\n    ended: .*, nothing was done in it", lab.run_lab("status").stdout, re.M
    )
    lab.on_login("touch ~/held")
    process, _ = lab.open_session()
    process.wait_for("What was open in the last session lab is open again.")
    assert lab.cluster.browse(lab.run_lab("url").stdout.strip(), "--again")["tabs"] == ["notes.txt"]
    lab.on_login("rm ~/held")


def test_a_session_leaves_no_record_when_it_ends_by_itself(lab):
    session, address = lab.start_session()
    job = lab.jobs().split()[0]
    assert job in lab.on_login("ls ~/.local/state/passerelle/sessions").stdout.split()
    lab.on_login(f"scancel --signal=TERM {job}")
    session.wait_for("The session has ended.")
    session.wait()
    assert session.output.count("The session has ended.") == 1
    records = lab.on_login("ls ~/.local/state/passerelle/sessions").stdout.split()
    assert job not in records
    done = lab.cluster.run("laptop", "alice", "lab/tunnel_ssh.sh")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "tunnel_ssh.sh: You have no running session on login.vcluster.example; start one there with ./start_salloc.sh",
    )


def test_a_session_whose_record_cannot_be_written_ends_in_a_line(lab):
    folder = ".local/state/passerelle/sessions"
    lab.on_login(f"mkdir -p ~/{folder} && chmod 500 ~/{folder}")
    try:
        session = lab.start("./start_salloc.sh; echo status $?")
        session.wait_for(
            rf"^jupyterlab\.sh: The session's address could not be written to /home/student/{folder} \(Permission denied\), "
            "so lab and the tunnels could not find it; the session ends\\."
        )
        session.wait_for("^status 1$")
        assert "JupyterLab answers at" not in session.output
        assert lab.jobs() == ""
    finally:
        lab.on_login(f"chmod 700 ~/{folder}")


def test_shutting_down_in_the_browser_ends_the_job(lab):
    session, address = lab.start_session()
    base, token = address.split("/lab?token=")
    lab.cluster.run(
        "login", "student", "curl", "-sS", "-X", "POST", "-H", f"Authorization: token {token}", f"{base}/api/shutdown"
    )
    session.wait_for(r"^The session has ended\.")
    session.wait()
    assert session.output.count("The session has ended.") == 1
    assert lab.jobs() == ""


def test_a_server_that_is_killed_is_no_success(lab):
    session, address = lab.start_session("./start_salloc.sh; echo status $?")
    node = address.split("/")[2].split(".")[0]
    lab.cluster.run(node, "student", "pkill", "-KILL", "--full", "jupyter-lab", check=True)
    session.wait_for(r"^status (137|9)$")


def test_a_tunnel_to_nothing_says_so_and_ends(lab):
    done = lab.cluster.run("laptop", "alice", "lab/tunnel_ssh.sh", "http://node1.int.vcluster.example:9999/lab?token=0")
    assert done.returncode == 1
    # ssh may have its say after it
    words = (
        "tunnel_ssh.sh: Nothing answers at node1.int.vcluster.example:9999. Has the session ended, or has its "
        "address changed? Without an address, ./tunnel_ssh.sh asks the cluster for it."
    )
    assert words in done.stderr.splitlines()


def test_an_address_for_the_browser_and_a_tunnel_on_the_cluster_are_refused(lab):
    for address in ("http://127.0.0.1:8888/lab?token=0", "http://localhost:8888/lab?token=0"):
        done = lab.cluster.run("laptop", "alice", "lab/tunnel_ssh.sh", address)
        assert (done.returncode, done.stdout, done.stderr) == (
            64,
            "",
            f"tunnel_ssh.sh: “{address}” is the address to open in the browser; "
            "give the one with the node's name, which start_salloc.sh printed.\n",
        )
    done = lab.on_login("./tunnel_ssh.sh")
    assert (done.returncode, done.stderr) == (
        64,
        "tunnel_ssh.sh: You are on the cluster; run this on your computer, in your copy of this folder.\n",
    )


def test_a_contradicting_host_key_stops_the_tunnel(lab):
    _, address = lab.start_session()
    cluster = lab.cluster
    false = (
        "rm -f ~/false*; ssh-keygen -q -t ed25519 -N '' -f ~/false && cp ~/.ssh/known_hosts ~/kept && "
        "printf 'login.vcluster.example %s\\n' \"$(cut -d ' ' -f 1,2 ~/false.pub)\" >~/.ssh/known_hosts"
    )
    cluster.run("laptop", "alice", "bash", "-c", false, check=True)
    try:
        done = cluster.run("laptop", "alice", "lab/tunnel_ssh.sh", address)
        assert done.returncode == 1
        assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    finally:
        cluster.run("laptop", "alice", "bash", "-c", "mv ~/kept ~/.ssh/known_hosts; rm ~/false*", check=True)


def test_a_shared_connection_carries_the_tunnel_and_the_script_says_so(lab):
    _, address = lab.start_session()
    cluster = lab.cluster
    config = "Host *\n  ControlMaster auto\n  ControlPath ~/.ssh/cm-%C\n  ControlPersist 60\n"
    cluster.write("laptop", "alice", ".ssh/config", config)
    try:
        cluster.run("laptop", "alice", "ssh", "student@login.vcluster.example", "true", check=True)
        done = cluster.run("laptop", "alice", "lab/tunnel_ssh.sh", address)
        assert done.returncode == 0
        assert "within the ssh connection that you share" in done.stdout
        url = next(line.strip() for line in done.stdout.splitlines() if line.strip().startswith("http://127.0.0.1"))
        assert cluster.run("laptop", "alice", "curl", "-s", url.replace("/lab?", "/api/status?")).stdout.startswith("{")
        command = done.stdout.splitlines()[-1].split(": ", 1)[1]
        assert cluster.run("laptop", "alice", "bash", "-c", command).returncode == 0
        assert cluster.run("laptop", "alice", "curl", "-s", url).returncode == 7
    finally:
        cluster.run("laptop", "alice", "ssh", "-O", "exit", "student@login.vcluster.example")
        cluster.run("laptop", "alice", "rm", "-f", ".ssh/config", check=True)


def test_a_fresh_login_is_enough_and_the_job_inherits_the_modules(lab):
    _, address = lab.start_session("module purge; ./start_salloc.sh")
    node = address.split("/")[2].split(".")[0]
    # the first of them is the script, before it could have loaded anything itself
    look = "tr '\\0' '\\n' </proc/$(pgrep --oldest --full 'bash .*/jupyterlab.sh')/environ | grep ^LOADEDMODULES="
    loaded = lab.cluster.run(node, "root", "bash", "-c", look, check=True).stdout.strip().split("=")[1]
    assert {f"python/{lab.cluster.python_version}", "r/4.1", "rstudio-server/4.1"} <= set(loaded.split(":"))
