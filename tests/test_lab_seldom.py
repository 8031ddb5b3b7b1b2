"""What of `lab` people seldom meet, on the cluster: each of these once broke, or could break, without a test's notice."""

import contextlib
import json
import re
import shlex

import moments
import pytest
from life import CODE, Life
from test_lab import LOCAL, answers, keep, login_side_has_gone, url_of

ON_LOGIN = 'cd lab && PYTHONPATH=$(ls /cvmfs/soft.vcluster.example/wheelhouse/plumbum-*.whl) exec ./lab "$@"'


def typed_at_login(life, *words):
    """Start ./lab on the login node itself, in the folder, in a terminal."""
    return life.cluster.spawn("login", "student", "bash", "-c", ON_LOGIN, "-", *words, tty=True)


# --- the first time ---------------------------------------------------------------------------------------------------


@pytest.fixture
def unknown(lab):
    """student's life with a folder that does not know who works with it, and has no connection."""
    lab.cluster.run("laptop", "alice", "rm", "lab/personal.yml", check=True)
    return lab


def test_the_first_time_lab_asks_for_the_user_name_and_keeps_it(unknown):
    unknown.cluster.write("laptop", "alice", "lab/personal.yml", "# mine alone\nport: 9800")
    process = unknown.lab("status")
    process.wait_for(r"^What is your user name on login\.vcluster\.example\? \(kept in personal\.yml\)")
    process.type("student\r")
    process.wait_for("^You have no session, waiting or running; start one with: ./lab open$")
    assert process.wait() == 0
    assert unknown.cluster.read("laptop", "alice", "lab/personal.yml") == "# mine alone\nport: 9800\nuser: student\n"
    again = unknown.run_lab("status")
    assert (again.returncode, again.stdout) == (
        0,
        "You have no session, waiting or running; start one with: ./lab open\n",
    )


@pytest.mark.parametrize("name", ["stu dent", "-oProxyCommand=touch", "student@login.vcluster.example", ""])
def test_a_user_name_that_cannot_be_one_is_refused_and_not_kept(unknown, name):
    before = unknown.cluster.auth_count("student")
    process = unknown.lab("status")
    process.wait_for("What is your user name on login.vcluster.example")
    process.type(f"{name}\r")
    refusal = f"lab: personal.yml: “{name}” is not possible here; write for example user: alice"
    process.wait_for(f"^{re.escape(refusal)}$")
    assert process.wait() == 64
    assert unknown.cluster.run("laptop", "alice", "ls", "lab/personal.yml").returncode == 2
    assert unknown.cluster.auth_count("student") == before


def test_a_folder_that_cannot_be_written_to_is_one_line_before_anything_is_asked(unknown):
    unknown.cluster.run("laptop", "root", "chown", "root", "/home/alice/lab", check=True)
    try:
        done = unknown.run_lab("open")
    finally:
        unknown.cluster.run("laptop", "root", "chown", "alice", "/home/alice/lab", check=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "lab: You may not write to /home/alice/lab, where lab keeps its records. Copy the folder to a place of your own (cp -r, then chmod -R u+w), and "
        "run lab there.\n",
    )


def test_where_nobody_can_be_asked_for_the_user_name_the_line_to_write_is_shown(unknown):
    done = unknown.run_lab("status")
    said = "lab: Your user name on login.vcluster.example is not known; write it into personal.yml, for example: user: alice\n"
    assert (done.returncode, done.stdout, done.stderr) == (64, "", said)


# --- the browser ------------------------------------------------------------------------------------------------------


def test_where_there_is_no_browser_lab_says_how_to_get_the_address(lab):
    line = "cd lab && BROWSER=/bin/false exec ./lab open"
    process = lab.cluster.spawn("laptop", "alice", "bash", "-c", line, tty=True)
    address = process.wait_for(rf"^ +({LOCAL})\s")[1]
    process.wait_for(
        "No browser could be opened. In another terminal, in this folder, ./lab url lab prints the address with its "
        "token.$"
    )
    assert answers(lab, address) == "200"
    assert lab.run_lab("url", "lab").stdout.startswith(address + "?token=")
    keep(process)
    # the page that was to be opened has the token
    pages = lab.cluster.run("laptop", "alice", "bash", "-c", "ls lab/.lab/open-*.html")
    assert (pages.returncode, pages.stdout) == (2, "")


def test_the_address_of_a_session_that_has_no_server_or_no_tunnel_yet(lab):
    assert lab.run_lab("status").returncode == 0
    assert lab.on_login("./submit_session.sh --begin=now+1hour").returncode == 0
    done = lab.run_lab("url")
    said = "lab: The session lab has no server yet; ./lab open --name=lab waits for it.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    lab.on_login("scancel --me")
    process, _ = lab.open_session()
    keep(process)
    done = lab.run_lab("url")
    said = "lab: There is no tunnel to the session lab; open one with: ./lab attach lab\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


# --- the connection ---------------------------------------------------------------------------------------------------


def test_a_lost_channel_in_a_living_connection_is_made_anew_and_lab_goes_on(lab):
    process, address = lab.open_session()
    jobs, master, accepted = lab.jobs(), lab.master(), lab.cluster.auth_count("student")
    # the oldest: a query of Slurm that it has begun in the background looks the same
    channels = ["pgrep", "-o", "-u", "student", "-f", "^/bin/bash --noprofile --norc -p -s"]
    (before,) = lab.cluster.run("login", "root", *channels, check=True).stdout.split()
    lab.cluster.run("login", "root", "kill", "-KILL", before, check=True)
    words = "The channel to student@login.vcluster.example was lost; it is being reopened within the same connection."
    process.wait_for(re.escape(words))
    process.wait_for("The page works again: " + re.escape(address))
    # what it takes to start is not how long the page was away
    (after,) = lab.on_login(f"until {shlex.join(channels)}; do sleep 0.1; done").stdout.split()
    assert after != before
    assert (lab.jobs(), lab.master(), lab.cluster.auth_count("student")) == (jobs, master, accepted)
    assert answers(lab, address) == "200"
    # what becomes of the job is heard through the new one
    lab.on_login("scancel --me")
    process.wait_for(r"The session lab has ended \(CANCELLED\)\.")
    assert process.wait() == 0


def test_the_connection_outlives_lab_by_ten_minutes(lab):
    record = '#!/bin/bash\nprintf "%s\\n" "$*" >>~/asked\nexec /usr/bin/ssh "$@"\n'
    lab.cluster.write("laptop", "alice", "recording/ssh", record)
    line = "chmod +x ~/recording/ssh; rm -f ~/asked; cd lab && PATH=~/recording:$PATH exec ./lab status"
    lab.cluster.run("laptop", "alice", "bash", "-c", line, check=True)
    asked = lab.cluster.read("laptop", "alice", "asked").splitlines()
    lab.cluster.run("laptop", "alice", "rm", "-r", "recording", "asked", check=True)
    logins = [words for words in asked if "ControlMaster=auto" in words]
    assert len(logins) == 1 and "-o ControlPersist=600 " in logins[0]
    assert lab.master()


# --- where only ssh reaches the node ----------------------------------------------------------------------------------


@pytest.fixture
def jump(idle, other_folder, built):
    """student's life where only ssh reaches the nodes, whose keys alice's laptop does not know."""
    for node in ("node1", "node2"):
        idle.run("laptop", "alice", "ssh-keygen", "-R", f"{node}.int.vcluster.example")
    return Life(idle, other_folder, reach="jump")


def test_on_the_login_node_a_session_that_only_ssh_reaches_is_believed_its_record(jump):
    process = typed_at_login(jump, "open")
    said = process.wait_for(
        r"The session lab runs on (node[12]\.int\.vcluster\.example) until (.*)\. To reach it from your computer: ./lab attach lab\."
    )
    assert 50 <= moments.minutes_until(said[2]) <= 60
    url = jump.cluster.run("login", "student", "bash", "-c", ON_LOGIN, "-", "url")
    record = jump.on_login("head -qn 1 ~/.local/state/passerelle/sessions/*").stdout
    assert (url.returncode, url.stdout, url.stderr) == (0, record, "")
    keep(process)
    assert "RUNNING" in jump.jobs()


def test_a_refused_jump_is_one_line_and_the_session_goes_on(jump):
    process = jump.lab("open", "--no-browser")
    process.wait_for("continue connecting")
    process.type("no\r")
    process.wait_for(
        r"^lab: Could not log in to node[12]\.int\.vcluster\.example through student@login\.vcluster\.example: see ssh's "
        r"messages above\. Your public key must be in ~/\.ssh/authorized_keys on the cluster\.$"
    )
    assert process.wait() == 1
    assert re.search(LOCAL, process.output) is None
    job, state = jump.jobs().split()
    assert state == "RUNNING"
    assert process.output.splitlines()[-1] == (
        f"The session lab (job {job}) goes on without this window. To return: ./lab attach lab. To stop it: ./lab stop lab"
    )


# --- logs -------------------------------------------------------------------------------------------------------------


def test_a_log_that_is_followed_shows_what_comes_without_the_token_until_ctrl_c(lab):
    process, _ = lab.open_session()
    token = url_of(lab).split("token=")[1]
    keep(process)
    log = f"~/.local/state/passerelle/logs/lab-{lab.jobs().split()[0]}.log"
    process = lab.lab("logs", "--follow")
    process.wait_for("^JupyterLab answers at")
    assert lab.on_login(f"echo 'one more line, token={token}' >>{log}").returncode == 0
    process.wait_for(r"^one more line, token=\.\.\.$")
    process.type("\x03")
    process.wait()
    assert token not in process.output and "Traceback" not in process.output
    # and nothing goes on reading it
    login_side_has_gone(lab)
    assert lab.cluster.run("login", "student", "pgrep", "-u", "student", "tail").stdout == ""
    assert "RUNNING" in lab.jobs()


def test_logs_of_more_than_a_month_ago_are_removed_and_no_others(lab):
    ages = {"old-1.log": 32, "dask-1-2.err": 32, "recent-2.log": 28, "notes.txt": 400}
    touch = "; ".join(f"touch -d '{days} days ago' {name}" for name, days in ages.items())
    assert (
        lab.on_login(
            f"mkdir -p ~/.local/state/passerelle/logs && cd ~/.local/state/passerelle/logs && {touch}"
        ).returncode
        == 0
    )
    assert lab.on_login("./submit_session.sh --begin=now+1hour").returncode == 0
    there = lab.on_login("cd ~/.local/state/passerelle/logs && ls; rm -f recent-2.log notes.txt").stdout.split()
    assert {*ages} & {*there} == {"recent-2.log", "notes.txt"}


def test_where_no_checkpoint_can_be_made_the_session_says_so(lab):
    process, _ = lab.open_session()
    keep(process)
    job = lab.jobs().split()[0]
    node = lab.on_login(f"squeue --noheader --jobs={job} --format=%N").stdout.strip()
    # a server that hangs
    lab.cluster.run(node, "root", "pkill", "-STOP", "-u", "student", "-f", "jupyter-lab", check=True)
    assert lab.on_login(f"scancel --batch --signal=USR1 {job}").returncode == 0
    process = lab.lab("logs", "--follow")
    process.wait_for("^5 minutes or less are left: save your work")
    process.wait_for(r"^jupyterlab\.sh: No checkpoints could be made; save your notebooks now\.$")
    lab.cluster.run(node, "root", "pkill", "-CONT", "-u", "student", "-f", "jupyter-lab", check=True)


# --- ssh that cannot share a connection -------------------------------------------------------------------------------


@pytest.fixture
def separate(idle, other_folder, built):
    """student's life where each ssh logs in by itself, and is asked for a code."""
    life = Life(idle, other_folder, host=CODE)
    idle.write("laptop", "alice", "lab/personal.yml", "user: student\nconnection: separate\n")
    yield life
    with contextlib.suppress(AssertionError):
        idle.run("laptop", "alice", "rm", "-f", "askpass.log")


def announced(done):
    """Return how many questions lab has said beforehand that ssh will ask."""
    return int(
        re.match(
            r"ssh cannot share one connection on this computer\. Logins .* will ask for: at most (\d+),", done.stdout
        )[1]
    )


def test_sync_with_separate_connections_carries_both_ways_and_asks_as_often_as_it_said(separate):
    cluster = separate.cluster
    assert separate.run_lab("sync").returncode == 0
    cluster.write("login", "student", "lab/results/a b.csv", "42\n")
    before = cluster.auth_count("student")
    done = separate.run_lab("sync")
    assert done.returncode == 0, done.stdout + done.stderr
    assert cluster.read("laptop", "alice", "lab/results/a b.csv") == "42\n"
    assert 1 <= cluster.auth_count("student") - before <= announced(done)
    cluster.write("laptop", "alice", "lab/data/b.csv", "43\n")
    before = cluster.auth_count("student")
    done = separate.run_lab("sync")
    assert done.returncode == 0, done.stdout + done.stderr
    assert cluster.read("login", "student", "lab/data/b.csv") == "43\n"
    assert 1 <= cluster.auth_count("student") - before <= announced(done)


def test_submit_with_separate_connections_sends_the_notebook_and_it_runs(separate):
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": []}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{**cell, "source": "print(6 * 7)"}]}
    separate.cluster.write("laptop", "alice", "lab/answer.ipynb", json.dumps(notebook))
    done = separate.run_lab("submit", "answer.ipynb", "--time=10")
    assert done.returncode == 0, done.stdout + done.stderr
    job = re.search(r"^Submitted batch job (\d+)$", done.stdout, re.MULTILINE)[1]
    separate.on_login(f"until [[ ! $(squeue --noheader --jobs={job} --states=PENDING,RUNNING) ]]; do sleep 0.2; done")
    assert separate.cluster.read("login", "student", f"lab/answer-{job}.out").endswith("42\n")
