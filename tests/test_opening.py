"""What `lab` says of a session from its submission to its end, on a login node whose Slurm is a few files of the test."""

import hmac
import http.server
import json
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path
from unicodedata import east_asian_width

import pytest
from cluster.api import PipedProcess, TerminalProcess
from conftest import LANGUAGES, PYTHON, set_answer
from test_hostile import laptop  # noqa: F401 - a fixture

SLURM = {
    "squeue": """
        [[ ! -e hangs ]] || exec sleep 1000
        [[ ! -e slow ]] || sleep 3
        if [[ -e refuses ]]; then cat refuses >&2; exit 1; fi
        case $*/$(<state) in
            *--Format*) cat list ;;
            *%T*/nothing) echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1 ;;
            *%T*) cat state ;;
            */PENDING* | */RUNNING*) [[ $* == *%j* ]] && echo passerelle-lab || echo 77 ;;
        esac""",
    "sstat": "cat usage",
    "sacct": """case $* in *ExitCode*) cat ended ;; *JobID*) cat last ;; *) cut -d '|' -f 2 last ;; esac""",
    "scancel": """
        [[ ! -e hangs ]] || exec sleep 1000
        echo '77|CANCELLED by 1000|1764000000' >last
        echo 'CANCELLED|None|N/A|' >state""",
    "scontrol": "cat script",
    "sbatch": "exit 1",
    "submit_session.sh": """
        [[ ! -e builds ]] || printf '\\npasserelle\\t1\\tbuilding\\tpip\\n' >&2
        [[ ! -e garbles ]] || printf '\\npasserelle\\t1\\tnonsense\\n' >&2
        while [[ -e held ]]; do sleep 0.05; done
        echo 'PENDING|Priority|N/A|' >state
        echo 'Submitted batch job 77'""",
}
"""Slurm's commands: the job 77 is what the file "state" says of it, and was what "last" says."""
QUEUED = (
    "Job 77 keeps its place in the queue, and starts when its turn comes. To return: ./lab open --name=lab. "
    "To cancel it: ./lab stop lab"
)
KEPT = "The session lab (job 77) goes on without this window. To return: ./lab attach lab. To stop it: ./lab stop lab"
PERHAPS = "It is not known whether the session lab was submitted. See with ./lab status; ./lab stop lab cancels it."
SUBMITTED = "The session lab has been submitted (job 77)."
LEAVE = "Job 77 waits in the queue. To leave it there, press Ctrl-C and Enter; ./lab open --name=lab returns to it."


class Server(http.server.ThreadingHTTPServer):
    """A session's server, as far as lab asks it."""

    token = "0123abcd"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            nonce = self.path.rpartition("/")[2]
            proof = hmac.new(self.server.token.encode(), f"passerelle {nonce}".encode(), "sha256").hexdigest()
            self.wfile.write(f"HTTP/1.0 200 OK\r\n\r\n{proof}".encode())

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=[0.05], daemon=True)
        self.thread.start()

    def end(self):
        self.shutdown()
        self.server_close()


class Node:
    """A login node: a folder, a home, a Slurm of files in `slurm`, and a server if one is started."""

    def __init__(self, folder, path, environment):
        self.folder, self.path, self.server, self.started = folder, path, None, []
        self.slurm, self.home = path / "slurm", path / "home"
        for where in (self.slurm, self.home, path / "bin"):
            where.mkdir()
        for name, text in SLURM.items():
            script = folder / name if name.endswith(".sh") else path / "bin" / name
            script.unlink(missing_ok=True)
            script.write_text(f"#!/bin/bash\ncd {self.slurm}\n{text}\n")
            script.chmod(0o755)
        self.say(state="nothing", last="", script="")
        # so that nobody has to wait for it
        self.limit(FIRST_QUERY=1, PAGE_LOOK=2)
        self.environment = {
            **environment, "HOME": str(self.home), "SSH_CONNECTION": "somebody came by ssh",
            # /etc/profile does not put the machine's own Slurm in front then
            "LOADEDMODULES": "x", "PATH": f"{path / 'bin'}:{environment['PATH']}",
        }  # fmt: skip

    def limit(self, **limits):
        """Change some of lib/both/limits.sh."""
        for name, seconds in limits.items():
            path = self.folder / "lib/both/limits.sh"
            path.write_text(re.sub(rf"(?m)^{name}=.*", f"{name}={seconds}", path.read_text()))

    def say(self, **files):
        for name, text in files.items():
            # in one step, as Slurm does
            (self.slurm / f".{name}").write_text(f"{text}\n" if text else "")
            (self.slurm / f".{name}").rename(self.slurm / name)

    def state(self, name):
        """The path of a record or a log."""
        path = self.home / ".local/state/passerelle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def run(self, *words):
        """Run a command of lab to its end; return the status and all that it says."""
        process = self.start(*words, tty=False)
        return process.wait(60), process.output

    def start(self, *words, tty=True):
        kind = TerminalProcess if tty else PipedProcess
        process = kind([PYTHON, str(self.folder / "lab"), *words], self.environment)
        self.started.append(process)
        return process

    def serve(self, address=None):
        """The job runs, and its server answers; `address`: what the record says instead."""
        self.say(state="RUNNING|None|1764000000|node1")
        self.server = self.server or Server()
        address = address or f"http://127.0.0.1:{self.server.server_address[1]}/lab?token={Server.token}"
        end = int(time.time()) + 7200
        self.state("sessions/.77").write_text(f"{address}\n{end}\n")
        self.state("sessions/.77").rename(self.state("sessions/77"))

    def end(self, state, record=False):
        """The job is over, and its server with it; the record stays when it was killed."""
        if self.server:
            self.server.end()
            self.server = None
        if not record:
            self.state("sessions/77").unlink(missing_ok=True)
        self.say(state=f"{state}|None|1764000000|node1", last=f"77|{state}|1764000000")


@pytest.fixture
def node(pristine_folder, environment, tmp_path):
    folder = Path(shutil.copytree(pristine_folder("vcluster", name="lab"), tmp_path / "lab", symlinks=True))
    node = Node(folder, tmp_path, environment)
    yield node
    for process in node.started:
        process.stop()
    if node.server:
        node.server.end()


def last_lines(process, count=1):
    return process.output.rstrip().splitlines()[-count:]


# --- every way out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("phase", ["queue", "starting", "page"])
def test_whatever_ends_lab_the_last_line_says_what_goes_on_and_how_to_stop_it(node, phase, name):
    process = node.start("open", "--no-browser", tty=False)
    process.wait_for("has been submitted")
    if phase == "queue":
        process.wait_for("waits in the queue")
    elif phase == "starting":
        node.say(state="RUNNING|None|1764000000|node1")
        process.wait_for("job 77 is RUNNING")
    else:
        node.serve()
        process.wait_for("runs on 127.0.0.1 until")
    process.send_signal(getattr(signal, name))
    assert process.wait(20) == 0
    assert last_lines(process) == [QUEUED if phase == "queue" else KEPT]


@pytest.mark.parametrize(
    ("happens", "trouble"),
    [
        ("an address that is none", r"lab: “http://a b:1/lab\?token=\.\.\.” is not the address of a session; "),
        ("another server", r"lab: The server on 127.0.0.1:\d+ does not answer."),
        ("a garbled answer", "lab: What .* answered cannot be understood: "),
    ],
)
def test_after_a_trouble_the_last_line_says_what_goes_on_and_how_to_stop_it(node, happens, trouble):
    process = node.start("open", "--no-browser", tty=False)
    process.wait_for("has been submitted")
    if happens == "an address that is none":
        node.serve("http://a b:1/lab?token=a")
    elif happens == "another server":
        node.serve()
        text = node.state("sessions/77").read_text().replace(Server.token, "ffff")
        node.state("sessions/77").write_text(text)
    else:
        node.say(state="no state|None|N/A|")
    assert process.wait(30) == 1
    said, last = last_lines(process, 2)
    assert re.match(trouble, said), process.output
    assert last == (QUEUED if happens == "a garbled answer" else KEPT)


def test_who_reads_no_more_is_told_on_standard_error(node):
    # who reads it is content with the first line
    line = '{ "$@" 2>&3 | head -n 1; } 3>&1'
    command = ["bash", "-c", line, "-", PYTHON, str(node.folder / "lab"), "open", "--no-browser"]
    process = PipedProcess(command, node.environment)
    node.started.append(process)
    process.wait(30)
    assert last_lines(process) == [QUEUED]


def test_a_second_ctrl_c_keeps_the_job_at_the_question_and_while_it_is_being_stopped_says_what_is_not_known(node):
    process = node.start("open", "--no-browser")
    process.wait_for("waits in the queue")
    process.type("\x03")
    process.wait_for("cancel it")
    process.type("\x03")
    assert process.wait(20) == 0
    assert last_lines(process) == [QUEUED]
    node.say(state="nothing")
    process = node.start("open", "--no-browser")
    process.wait_for("waits in the queue")
    node.say(hangs="")
    process.type("\x03")
    process.wait_for("cancel it")
    process.type("s\r")
    process.wait_for("waiting for ")
    process.type("\x03")
    assert process.wait(20) == 130
    assert last_lines(process) == [
        "lab: Job 77 of the session lab may still be waiting or running. See with ./lab status, and stop it with ./lab "
        "stop lab"
    ]


@pytest.mark.parametrize(
    ("slurm", "status", "said"),
    [
        ({}, 130, ["Nothing was submitted."]),
        ({"state": "PENDING|Priority|N/A|"}, 0, [QUEUED]),
        ({"refuses": "slurm_load_jobs error: Socket timed out"}, 1,
         ["lab: Slurm says: slurm_load_jobs error: Socket timed out", PERHAPS]),
    ],
    ids=["is withdrawn", "was there already", "nobody knows"],
)  # fmt: skip
def test_a_submission_under_way_that_is_interrupted(node, slurm, status, said):
    node.say(held="")
    process = node.start("open", "--no-browser", tty=False)
    process.wait_for("waiting for .* to submit the job")
    node.say(**slurm)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == status
    assert last_lines(process, len(said)) == said


def test_a_submission_whose_answer_cannot_be_read_may_have_worked(node):
    node.say(held="", garbles="")
    status, said = node.run("open", "--no-browser")
    *_, trouble, last = said.splitlines()
    assert re.match("lab: What .* answered cannot be understood: ", trouble)
    assert (status, last) == (1, PERHAPS)


def test_while_the_environment_is_built_nothing_is_submitted_whatever_comes(node):
    node.say(held="", builds="", garbles="")
    status, said = node.run("open", "--no-browser")
    assert (status, said.count("\n")) == (1, 1)
    assert re.match("lab: What .* answered cannot be understood: ", said)


def test_where_slurm_was_not_reached_nothing_was_submitted_and_nothing_more_is_said(node):
    node.say(refuses="slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    said = "lab: Slurm says: slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
    assert node.run("open", "--no-browser") == (1, said)


def test_ctrl_c_while_the_environment_is_built_says_what_is_left(node):
    node.say(held="", builds="")
    process = node.start("open", "--no-browser")
    process.wait_for("building the environment, pip")
    process.type("\x03")
    assert process.wait(20) == 130
    assert re.search(
        r"The build has been given up: nothing was submitted, and nothing is left running on \S+\. An environment that was "
        r"there before is as it was\. To build it after all: \./lab open$",
        " ".join(process.output.split()),
    )


def test_a_second_lab_waits_for_the_first_ones_build_and_finds_its_session(node):
    node.say(held="", builds="")
    first = node.start("open", "--no-browser", tty=False)
    first.wait_for("building the environment, pip")
    second = node.start("open", "--no-browser", tty=False)
    second.wait_for("waiting for another lab to open a session on ")
    node.say(list="")
    starts = "Another window is starting the session lab: its environment is being built, or its job submitted.\n"
    assert node.run("status") == (0, starts)
    (node.slurm / "held").unlink()
    second.wait_for(re.escape("The session lab is already there (job 77)."))
    first.wait_for(re.escape(SUBMITTED))
    assert not list((node.folder / ".lab").glob("starting-*"))
    assert starts not in node.run("status")[1]
    # who was killed while it began has left what nobody holds
    (node.folder / ".lab/starting-lab").touch()
    assert starts not in node.run("status")[1]
    assert not list((node.folder / ".lab").glob("starting-*"))


# --- the table --------------------------------------------------------------------------------------------------------

TABLES = {
    "en": """
NAME                                    JOB           STATE    NODE   TIME LEFT
a-project-with-a-na…hat-goes-on-and-on  123456789012  RUNNING  node1  2 h 05 min
    memory: 3 of 2048 MB, CPU: 1 % of 2 cores
b                                       78            PENDING
    expected start: 2030-11-27 09:13 (Nodes required for job are DOWN, DRAINED
    or reserved for jobs in higher priority partitions)
分析/結果の分析をする…のノート2.ipynb   81            PENDING
    expected start: unknown (Priority)
a/long/path/to/some…k/that-fails.ipynb  76            FAILED
    exit code 1
""",
    "fr": """
NOM                                  TÂCHE         ÉTAT     NŒUD   TEMPS RESTANT
a-project-with-a-…at-goes-on-and-on  123456789012  RUNNING  node1  2 h 05 min
    mémoire : 3 Mo sur 2048, CPU : 1 % de 2 cœurs
b                                    78            PENDING
    début prévu : le 27 nov. 2030 à 9 h 13 (Nodes required for job are DOWN,
    DRAINED or reserved for jobs in higher priority partitions)
分析/結果の分析をする…ノート2.ipynb  81            PENDING
    début prévu : inconnu (Priority)
a/long/path/to/so…/that-fails.ipynb  76            FAILED
    code de sortie 1
""",
}


def show_jobs(node, ended, *jobs):
    """Have Slurm say that the job 76 of this notebook has failed, and of others: name, number, state, reason, start, node."""
    where = node.folder / ".lab/jobs"
    where.mkdir(parents=True)
    (where / "76").write_text(f"{ended}\noutput\n")
    now, rows = int(time.time()), []
    for name, job, state, reason, start, place in jobs:
        rows.append(f"{job}|{state}|{reason}|{start or now - 500}|{now + 7530}|{place}|mem=2G|2|{job}|{name}")
        if not name.startswith("passerelle-"):
            (where / job).write_text(f"{name}\noutput\n")
    node.say(list="\n".join(rows), ended="76|FAILED|1:0|Unknown", usage="123456789012.0|3136K|00:10.5")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_table_of_sessions_fits_80_columns(node, language):
    set_answer(node.folder, language=language)
    node.environment["TZ"] = "UTC"
    reason = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions"
    show_jobs(
        node,
        "a/long/path/to/some/notebook/that-fails.ipynb",
        ("passerelle-a-project-with-a-name-that-goes-on-and-on", "123456789012", "RUNNING", "None", "", "node1"),
        ("passerelle-b", "78", "PENDING", reason, 1922001180, ""),
        ("分析/結果の分析をする長い名前のノート2.ipynb", "81", "PENDING", "Priority", "N/A", ""),
    )
    status, said = node.run("status")
    assert status == 0
    # French has no-break spaces
    assert f"\n{said}".replace("\u00a0", " ") == TABLES[language]
    assert max(sum(1 + (east_asian_width(letter) in "WF") for letter in row) for row in said.splitlines()) == 80


@pytest.mark.parametrize(
    ("states", "said"),
    [
        # not the newest, which has ended
        (["RUNNING"], "The batch job 70 (a.ipynb) has been cancelled."),
        ([], "The batch job 76 (a.ipynb) had already ended."),
        (["RUNNING", "PENDING", "COMPLETING"],
         "lab: Several jobs of a.ipynb are waiting or running: 70, 71. Name one, for example: ./lab stop 71"),
    ],
)  # fmt: skip
def test_of_several_jobs_of_a_notebook_none_is_stopped_by_guessing(node, states, said):
    show_jobs(
        node, "a.ipynb", *(("a.ipynb", f"7{number}", state, "None", "", "node1") for number, state in enumerate(states))
    )
    node.say(state="RUNNING|None|1764000000|node1" if states else "nothing")
    status, last = node.run("stop", "a.ipynb")
    assert (status, last) == (64 if states[1:] else 0, f"{said}\n")


def test_an_array_is_one_job_whatever_its_jobs_do(node):
    show_jobs(node, "a.ipynb", *(("a.ipynb", "70", state, "None", "", "node1") for state in ("PENDING", "RUNNING")))
    node.say(state="RUNNING|None|1764000000|node1")
    assert node.run("stop", "a.ipynb") == (0, "The batch job 70 (a.ipynb) has been cancelled.\n")


def test_the_rows_of_a_table_are_where_squeue_says_whose_news_come_before_those_of_the_accounts(node):
    results = node.folder / "results/a-70"
    (results / "row-0001").mkdir(parents=True)
    (results / "rows.json").write_text(json.dumps([{"values": {"x": number}} for number in (1, 2)]))
    show_jobs(node, "b.ipynb", ("a.ipynb", "70", "RUNNING", "None", "", "node1"))
    (node.folder / ".lab/jobs/70").write_text(f"a.ipynb\noutput\n{results}\n2\n2\n")
    row = "70|{}|None|1764000000|1764007200|node1|mem=2G|2|{}|a.ipynb"
    # Slurm has begun the first task again
    node.say(
        list=row.format("RUNNING", "70_0") + "\n" + row.format("PENDING", "70_[1]"),
        ended="70_[0-1]|PENDING|0:0|Unknown",
    )
    (results / "row-0001/state").write_text("running\t3\t4\t1\t\n")
    status, said = node.run("status")
    assert (status, "0 of 2 rows have passed, 1 running, 1 waiting (results/a-70/rows.csv)" in said) == (0, True), said
    # and has put it back since
    node.say(list=row.format("PENDING", "70_0"), ended="70_0|RUNNING|0:0|Unknown")
    status, said = node.run("status")
    assert (status, "0 of 2 rows have passed, 2 waiting (results/a-70/rows.csv)" in said) == (0, True), said


# --- an end from elsewhere --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["queue", "starting", "page"])
def test_a_session_that_another_window_stops_is_said_to_have_ended_at_once(node, phase):
    # Slurm is asked because of that, and not because it is time to
    node.limit(FIRST_QUERY=300, PAGE_LOOK=300)
    process = node.start("open", "--no-browser", tty=False)
    process.wait_for("has been submitted.*\n")
    if phase == "starting":
        node.say(state="RUNNING|None|1764000000|node1")
    elif phase == "page":
        node.serve()
        process.wait_for("runs on 127.0.0.1 until.*\nThe session ends by itself when .*\n")
    begun = len(process.output)
    status, said = node.run("stop")
    assert (status, said) == (0, "The session lab has been stopped (job 77).\n")
    if node.server:
        # the page is gone before Slurm has done with the job
        node.end("CANCELLED by 1000")
        node.say(state="COMPLETING|None|1764000000|node1")
    process.wait(20)
    ended = "lab: Job 77 has ended: CANCELLED. Start it again with: ./lab open --name=lab\n"
    if phase == "page":
        ended = "The session lab has ended (CANCELLED).\n"
    assert process.output[begun:] == ended


@pytest.mark.parametrize(
    ("state", "hint"),
    [
        ("NODE_FAIL", "The node failed; start it again with: ./lab open --name=lab"),
        (
            "TIMEOUT",
            "Its time limit was reached; raise hours in settings.yml, or: ./lab open --name=lab --time=3:00:00",
        ),
        ("FAILED", "See why with: ./lab logs lab"),
    ],
)
def test_a_page_that_is_gone_with_its_job_is_not_said_to_be_silent(node, state, hint):
    node.serve()
    process = node.start("attach", "--no-browser", tty=False)
    process.wait_for("runs on 127.0.0.1 until")
    begun = len(process.output)
    # killed: the record stays, and nothing tells lab; Slurm takes its time to say so
    node.say(slow="")
    node.end(state, record=True)
    assert process.wait(40) == 1
    assert process.output[begun:] == f"lab: Job 77 has ended: {state}. {hint}\n"


def test_a_job_that_ends_before_its_page_is_reached_is_not_said_to_be_silent(node):
    process = node.start("open", "--no-browser", tty=False)
    process.wait_for("has been submitted")
    node.serve()
    node.end("FAILED", record=True)
    assert process.wait(40) == 1
    assert last_lines(process) == ["lab: Job 77 has ended: FAILED. See why with: ./lab logs lab"]
    assert "does not answer" not in process.output


def test_slurm_is_asked_now_and_then_although_the_server_proves_itself(node):
    node.limit(JOB_LOOK=1)
    node.serve()
    process = node.start("attach", "--no-browser", tty=False)
    process.wait_for("runs on 127.0.0.1 until")
    node.say(state="FAILED|None|1764000000|node1")
    assert process.wait(20) == 1
    assert last_lines(process) == ["lab: Job 77 has ended: FAILED. See why with: ./lab logs lab"]


@pytest.mark.parametrize("phase", ["queue", "page"])
def test_a_job_that_slurm_has_forgotten_is_over(node, phase):
    """As where it keeps no accounts and the laptop has slept; just after the submission it may not know it yet."""
    node.limit(EAGER=4, JOB_LOOK=1, PAGE_LOOK=1)
    process = node.start("open", "--no-browser", tty=False)
    process.wait_for("has been submitted")
    if phase == "page":
        node.serve()
        process.wait_for("The session ends by itself when .*\n")
        node.end("nothing", record=True)
    begun = len(process.output)
    node.say(state="nothing", last="")
    assert process.wait(60) == 1
    ended = "Job 77 has ended: Slurm no longer knows it. Start it again with: ./lab open --name=lab\n"
    assert process.output[begun:].endswith(f"lab: {ended}")
    assert "no longer answers" not in process.output


def test_a_request_that_comes_in_pieces_is_understood(node):
    """A word that a time-out of bash cuts off may end with a tab."""
    parts = " ".join(str(node.folder / "lib" / part) for part in ("both/limits.sh", "login_node/attend.sh"))
    line = f"for part in {parts}; do source $part; done; {{ printf '1\\t'; sleep 0.3; printf 'ping\\n'; }} | attend"
    process = PipedProcess(["bash", "-c", line], node.environment)
    process.wait(20)
    assert process.output == "\npasserelle\t1\talive\n"
    # nor is what is none anything to say
    line = f"for part in {parts}; do source $part; done; printf '\\n1\\tping2\\n3\\t;\\n\\n4\\tping\\n' | attend"
    process = PipedProcess(["bash", "-c", line], node.environment)
    process.wait(20)
    assert process.output == "\npasserelle\t4\talive\n"


# --- how a session ended ----------------------------------------------------------------------------------------------

ENDED = "No session lab is waiting or running. The last one (job 77, 2025-11-24 16:00) has ended: {}"
"""At 1764000000, in UTC."""


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("77|FAILED", "FAILED. See why with: ./lab logs lab"),
        ("77|CANCELLED by 1000", "CANCELLED by 1000. Start it again with: ./lab open --name=lab"),
        ("76|COMPLETED|1763000000\n77|NODE_FAIL", "NODE_FAIL. The node failed; start it again with: ./lab open --name=lab"),
        ("77|OUT_OF_MEMORY", "OUT_OF_MEMORY (slurmstepd: error: Detected 1 oom_kill event). It ran out of memory; raise "
         "memory_per_core_mb in settings.yml, or: ./lab open --name=lab --mem-per-cpu=4096M"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["attach", "url", "logs"])
def test_where_there_is_no_session_how_the_last_one_ended_is_said(node, last, words, command):
    node.environment["TZ"] = "UTC"
    node.say(last=f"{last}|1764000000")
    printed = "slurmstepd: error: Detected 1 oom_kill event\n" if "OUT_OF" in last else "it was I\n"
    if command == "logs" or "OUT_OF" in last:
        node.state("logs/lab-77.log").write_text(printed)
        node.state("logs/lab-78.txt").write_text("another\n")
    status, said = node.run(command)
    shown = printed if command == "logs" else ""
    assert (status, said) == (int(command != "logs"), f"{shown}lab: {ENDED.format(words)}\n")


IDLE = (
    "COMPLETED (nothing was done in it for 45 minutes). To begin again where you were: ./lab open --name=lab. How long a "
    "session waits: idle_minutes in settings.yml"
)


def test_a_session_that_ended_because_nothing_was_done_in_it_says_so_to_whoever_asks_and_begins_again(node):
    node.environment["TZ"] = "UTC"
    process = node.start("open", "--no-browser")
    process.wait_for("has been submitted")
    node.serve()
    process.wait_for(r"JupyterLab on 127\.0\.0\.1, ")
    assert "open again" not in process.output
    node.state("idle/two").write_text(f"78 5 {node.folder}\n")
    node.state("idle/lab").write_text(f"77 45 {node.folder}\n")
    # of another project
    node.state("idle/three").write_text(f"79 5 {node.home}\n")
    node.end("COMPLETED")
    assert process.wait(20) == 0
    assert last_lines(process) == [f"Job 77 has ended: {IDLE}"]
    for command in ("attach", "url"):
        assert node.run(command) == (1, f"lab: {ENDED.format(IDLE)}\n")
    show_jobs(node, "a.ipynb")
    status, said = node.run("status")
    assert status == 0
    assert re.search(r"\nlab +77 +COMPLETED\n    ended: .*, nothing was done in it for 45 minutes\. To", said)
    assert "three" not in said
    assert re.search(r"\ntwo +78 +COMPLETED\n    ended: .*, nothing was done in it for 5 minutes\. To", said)
    # what its page had open
    opened = node.folder / ".lab/workspaces/lab/default.jupyterlab-workspace"
    opened.parent.mkdir(parents=True)
    opened.write_text("{}")
    process = node.start("open", "--no-browser")
    process.wait_for("has been submitted")
    node.serve()
    process.wait_for(
        "The session ends by itself when nothing has been done in it for 60 minutes .idle_minutes in settings.yml; 0: "
        r"never.\.\s+What was open in the last session lab is open again\. Its variables are gone: run the cells that you need\."
    )


def test_a_session_that_runs_again_is_not_said_to_have_ended(node):
    for name, job in (("lab", 76), ("two", 75)):
        node.state(f"idle/{name}").write_text(f"{job} 45 {node.folder}\n")
    os.utime(node.state("idle/two"), (0, 0))
    show_jobs(node, "a.ipynb", ("passerelle-lab", "77", "RUNNING", "None", "", "node1"))
    assert "COMPLETED" not in node.run("status")[1]


# --- the desktop ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait", "answers", "tty", "told"),
    [
        (0, {}, True, "lab\nThe session lab is ready.\n"),
        (300, {"idle_minutes": 0}, True, ""),
        # all of a course are there, and begin at the same time
        (0, {"reservation": "course-wr_cpu"}, True, ""),
        # another program has started lab
        (0, {}, False, ""),
    ],
    ids=["long", "short", "course", "no terminal"],
)
def test_who_has_waited_long_is_told_by_the_desktop_that_the_session_is_ready(node, wait, answers, tty, told):
    heard = node.path / "heard"
    stand_in = node.path / "bin/notify-send"
    # whoever waits for it waits for ever
    stand_in.write_text(f"#!/bin/sh\nprintf '%s\\n' $$ \"$@\" >{heard}.new\nmv {heard}.new {heard}\nexec sleep 1000\n")
    stand_in.chmod(0o755)
    node.limit(LONG_WAIT=wait)
    set_answer(node.folder, **answers)
    process = node.start("open", "--no-browser", tty=tty)
    process.wait_for("has been submitted")
    node.serve()
    process.wait_for("runs on 127.0.0.1 until")
    node.end("COMPLETED")
    assert process.wait(20) == 0
    assert ("ends by itself" in process.output) == ("idle_minutes" not in answers)
    end = time.monotonic() + 20
    while told and not heard.exists() and time.monotonic() < end:
        time.sleep(0.05)
    number, _, words = heard.read_text().partition("\n") if heard.exists() else ("", "", "")
    if number:
        os.kill(int(number), signal.SIGKILL)
    assert words == told


def test_where_slurm_has_no_accounts_the_log_alone_is_left(node):
    assert node.run("logs") == (1, "lab: There is no log of a session called lab; logs are kept for a month.\n")
    node.state("logs/lab-76.log").write_text("older\n")
    said = "older\nlab: This is the log of job 76, an earlier session lab, which has ended.\n"
    assert node.run("logs") == node.run("logs", "--follow") == (0, said)
    for command in ("logs", "stop", "attach", "url"):
        assert node.run(command, "99") == (
            1,
            "lab: No session is called 99 or has that number; ./lab status lists your sessions and this folder's batch jobs.\n",
        )
    assert node.run("attach") == (1, "lab: You have no session called lab; ./lab status lists those you have.\n")


# --- the log of this job ----------------------------------------------------------------------------------------------


def test_the_log_of_a_job_is_its_own_and_not_that_of_the_session_before(node):
    node.state("logs/lab-76.log").write_text("The session has ended.\n")
    node.say(state="PENDING|Resources|N/A|")
    said = (
        "lab: Job 77 of the session lab has printed nothing yet (PENDING: Resources); ./lab logs --follow lab waits for "
        "it.\n"
    )
    assert node.run("logs") == (1, said)
    node.say(state="RUNNING|None|1764000000|node1")
    node.state("logs/lab-77.log").write_text("begun, token=0123\n")
    # touched later
    node.state("logs/lab-76.log").touch()
    assert node.run("logs") == (0, "begun, token=...\n")


def test_a_log_that_is_followed_is_awaited_and_ends_with_its_job(node):
    node.say(state="PENDING|Resources|N/A|")
    process = node.start("logs", "--follow", tty=False)
    process.wait_for(r"job 77 is waiting; expected start: unknown \(Resources\)\n")
    node.serve()
    node.state("logs/lab-77.log").write_text("begun\n")
    process.wait_for("begun\n")
    with node.state("logs/lab-77.log").open("a") as log:
        log.write("all is well\n")
    process.wait_for("all is well\n")
    begun = len(process.output)
    with node.state("logs/lab-77.log").open("a") as log:
        log.write("the last word\n")
    node.end("TIMEOUT")
    assert process.wait(20) == 0
    assert process.output[begun:] == (
        "the last word\nlab: Job 77 has ended: TIMEOUT. Its time limit was reached; raise hours in settings.yml, or: "
        "./lab open --name=lab --time=3:00:00\n"
    )


def test_a_log_that_is_followed_and_never_begins_ends_too(node):
    node.say(state="PENDING|Resources|N/A|")
    process = node.start("logs", "--follow", tty=False)
    process.wait_for("job 77 is waiting")
    assert node.run("stop")[0] == 0
    assert process.wait(20) == 0
    said = "lab: Job 77 has ended: CANCELLED. Start it again with: ./lab open --name=lab"
    assert last_lines(process) == [said]


def test_a_log_that_is_followed_ends_where_slurm_has_forgotten_the_job(node):
    node.limit(EAGER=4)
    node.say(state="PENDING|Resources|N/A|")
    process = node.start("logs", "--follow", tty=False)
    process.wait_for("job 77 is waiting")
    node.say(state="nothing")
    assert process.wait(60) == 0
    said = "lab: Job 77 has ended: Slurm no longer knows it. Start it again with: ./lab open --name=lab"
    assert last_lines(process) == [said]


def test_a_session_that_was_started_by_hand_has_no_log_and_that_is_said(node):
    node.serve()
    said = "lab: The session 77 was started by hand: what it prints, and why it has ended, is in its own window.\n"
    assert node.run("logs", "77") == node.run("logs", "77", "--follow") == (1, said)
    # nor is its number a name to begin another one with
    for state, hint in (("FAILED", "See why with: ./lab logs 77"), ("CANCELLED", "To start one: ./lab open")):
        node.end(state, record=True)
        status, said = node.run("attach", "77")
        assert (status, said.endswith(f"Job 77 has ended: {state}. {hint}\n")) == (1, True), said


# --- settings that have changed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "names"),
    [
        (lambda text: text, None),
        (lambda text: text.replace("hours: 1", "hours: 1   # an hour").replace("kernels: [python, r]", "kernels: [ python,r ]"), None),
        (lambda text: text.replace("project_name: lab", "project_name: lab # mine").replace("language: en", "language: fr"), None),
        (lambda text: text.replace("hours: 1", "hours: 2"), "hours"),
        (lambda text: text.replace("packages: []", "packages: [numpy]").replace("cores: 2", "cores: 3"), "cores, packages"),
    ],
    ids=["nothing", "blanks and comments", "what no session depends on", "one", "two"],
)  # fmt: skip
def test_settings_that_have_changed_since_the_submission_count_for_the_next_session_and_that_is_said(
    node, pristine_folder, edit, names
):
    node.limit(FIRST_QUERY=300)
    # as the real one prints it
    shutil.copy(pristine_folder("vcluster", name="lab") / "submit_session.sh", node.folder)
    printed = PipedProcess([str(node.folder / "submit_session.sh"), "--print"], node.environment)
    assert printed.wait() == 0
    node.say(script=printed.output, state="PENDING|Priority|N/A|")
    settings = node.folder / "settings.yml"
    settings.write_text(edit(settings.read_text()))
    process = node.start("open", "--no-browser", tty=False)
    process.wait_for(names or r"\(.*77\)")
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    if "language: fr" in settings.read_text():
        assert process.output.count("\n") == 2
        return
    said = (
        f"lab: settings.yml has changed since the session lab was submitted ({names}): that counts for the next one. "
    )
    said += "To begin it: ./lab stop lab, then ./lab open --name=lab"
    assert process.output.splitlines() == [
        "The session lab is already there (job 77).", *([said] if names else []), QUEUED,
    ]  # fmt: skip


def test_of_a_session_whose_script_does_not_say_what_it_was_submitted_with_nothing_is_said(node):
    node.say(script="#!/bin/bash", state="PENDING|Priority|N/A|")
    process = node.start("open", "--no-browser", tty=False)
    process.wait_for(LEAVE)
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    assert "settings.yml" not in process.output


# --- what never starts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("JobHeldUser", "lab: Job 77 is on hold (JobHeldUser) and starts only when you release it, on the login node: "
         "scontrol release 77. Then wait for it with ./lab open --name=lab, or cancel it with ./lab stop lab"),
        ("BadConstraints", "lab: Job 77 cannot start unless something is changed: BadConstraints. It is still queued; "
         "./lab open --name=lab waits anyway, ./lab stop lab cancels it."),
    ],
)  # fmt: skip
def test_what_cannot_start_by_itself_ends_the_wait_of_who_submitted_it_and_no_other(node, reason, said):
    process = node.start("open", "--no-browser", tty=False)
    process.wait_for("has been submitted")
    node.say(state=f"PENDING|{reason}|N/A|")
    assert process.wait(20) == 1
    assert last_lines(process) == [said]
    process = node.start("open", "--no-browser", tty=False)
    process.wait_for(rf"job 77 is waiting; expected start: unknown \({reason}\)")
    process.wait_for(re.escape(LEAVE))
    node.serve()
    process.wait_for("runs on 127.0.0.1 until")


NEVER = """
    AccountNotAllowed AssocMaxBBMinutesPerJob AssocMaxBBPerJob AssocMaxBBPerNode AssocMaxBillingMinutesPerJob
    AssocMaxBillingPerJob AssocMaxBillingPerNode AssocMaxCpuMinutesPerJobLimit AssocMaxCpuPerJobLimit
    AssocMaxCpuPerNode AssocMaxEnergyMinutesPerJob AssocMaxEnergyPerJob AssocMaxEnergyPerNode
    AssocMaxGRESMinutesPerJob AssocMaxGRESPerJob AssocMaxGRESPerNode AssocMaxLicenseMinutesPerJob
    AssocMaxLicensePerJob AssocMaxMemMinutesPerJob AssocMaxMemPerJob AssocMaxMemPerNode AssocMaxNodeMinutesPerJob
    AssocMaxNodePerJobLimit AssocMaxUnknownMinutesPerJob AssocMaxUnknownPerJob AssocMaxUnknownPerNode
    AssocMaxWallDurationPerJobLimit BadConstraints DependencyNeverSatisfied InvalidAccount InvalidQOS JobHeldAdmin
    MaxMemPerLimit PartitionTimeLimit QOSMaxBBPerJob QOSMaxBBPerNode QOSMaxBillingMinutesPerJob QOSMaxBillingPerJob
    QOSMaxBillingPerNode QOSMaxCpuMinutesPerJobLimit QOSMaxCpuPerJobLimit QOSMaxCpuPerNode QOSMaxEnergyMinutesPerJob
    QOSMaxEnergyPerJob QOSMaxEnergyPerNode QOSMaxGRESMinutesPerJob QOSMaxGRESPerJob QOSMaxGRESPerNode
    QOSMaxLicenseMinutesPerJob QOSMaxLicensePerJob QOSMaxMemoryMinutesPerJob QOSMaxMemoryPerJob QOSMaxMemoryPerNode
    QOSMaxNodeMinutesPerJob QOSMaxNodePerJobLimit QOSMaxUnknownMinutesPerJob QOSMaxUnknownPerJob
    QOSMaxUnknownPerNode QOSMaxWallDurationPerJobLimit QOSMinBB QOSMinBilling QOSMinCpuNotSatisfied QOSMinEnergy
    QOSMinGRES QOSMinLicense QOSMinMemory QOSMinNode QOSMinUnknown QOSNotAllowed ReservationDeleted
    ReservationInvalid
"""
"""Of all the reasons of Slurm 22.05 and 24.11 those for which a job never starts by itself, each for what it says:

...Max...PerJob, ...PerNode, QOSMin..., MaxMemPerLimit, PartitionTimeLimit: this job alone asks for too much or too little.
Invalid..., ...NotAllowed: its account or QOS may not run there. BadConstraints, ReservationDeleted, ReservationInvalid:
Slurm has put it on hold, because what it asks for is nowhere. DependencyNeverSatisfied: the other job has ended otherwise.
JobHeldAdmin: it waits for an administrator.
"""
MAY_START = """
    AccountingPolicy AssocGrpBB AssocGrpBBMinutes AssocGrpBBRunMinutes AssocGrpBilling AssocGrpBillingMinutes
    AssocGrpBillingRunMinutes AssocGrpCPUMinutesLimit AssocGrpCPURunMinutesLimit AssocGrpCpuLimit AssocGrpEnergy
    AssocGrpEnergyMinutes AssocGrpEnergyRunMinutes AssocGrpGRES AssocGrpGRESMinutes AssocGrpGRESRunMinutes
    AssocGrpJobsLimit AssocGrpLicense AssocGrpLicenseMinutes AssocGrpLicenseRunMinutes AssocGrpMemLimit
    AssocGrpMemMinutes AssocGrpMemRunMinutes AssocGrpNodeLimit AssocGrpNodeMinutes AssocGrpNodeRunMinutes
    AssocGrpSubmitJobsLimit AssocGrpUnknown AssocGrpUnknownMinutes AssocGrpUnknownRunMinutes AssocGrpWallLimit
    AssocMaxJobsLimit AssocMaxSubmitJobLimit AssociationJobLimit AssociationResourceLimit AssociationTimeLimit
    BeginTime BlockFreeAction BlockMaxError BurstBufferOperation BurstBufferResources BurstBufferStageIn Cleaning
    Constraints DeadLine Dependency FedJobLock FrontEndDown InactiveLimit JobArrayTaskLimit JobLaunchFailure
    Licenses MaxBBPerAccount MaxBBRunMinsPerAccount MaxBBRunMinsPerUser MaxBillingPerAccount
    MaxBillingRunMinsPerAccount MaxBillingRunMinsPerUser MaxCpuPerAccount MaxCpuRunMinsPerAccount
    MaxCpuRunMinsPerUser MaxEnergyPerAccount MaxEnergyRunMinsPerAccount MaxEnergyRunMinsPerUser MaxGRESPerAccount
    MaxGRESRunMinsPerAccount MaxGRESRunMinsPerUser MaxJobsPerAccount MaxLicensePerAccount
    MaxLicenseRunMinsPerAccount MaxLicenseRunMinsPerUser MaxMemoryPerAccount MaxMemoryRunMinsPerAccount
    MaxMemoryRunMinsPerUser MaxNodePerAccount MaxNodeRunMinsPerAccount MaxNodeRunMinsPerUser MaxPoweredUpNodes
    MaxSubmitJobsPerAccount MaxUnknownPerAccount MaxUnknownRunMinsPerAccount MaxUnknownRunMinsPerUser MpiPortsBusy
    NodeDown NonZeroExitCode None OutOfMemory PartitionConfig PartitionDown PartitionInactive PartitionNodeLimit
    PowerNotAvail PowerReserved Priority Prolog QOSGrpBB QOSGrpBBMinutes QOSGrpBBRunMinutes QOSGrpBilling
    QOSGrpBillingMinutes QOSGrpBillingRunMinutes QOSGrpCPUMinutesLimit QOSGrpCPURunMinutesLimit QOSGrpCpuLimit
    QOSGrpEnergy QOSGrpEnergyMinutes QOSGrpEnergyRunMinutes QOSGrpGRES QOSGrpGRESMinutes QOSGrpGRESRunMinutes
    QOSGrpJobsLimit QOSGrpLicense QOSGrpLicenseMinutes QOSGrpLicenseRunMinutes QOSGrpMemLimit QOSGrpMemoryMinutes
    QOSGrpMemoryRunMinutes QOSGrpNodeLimit QOSGrpNodeMinutes QOSGrpNodeRunMinutes QOSGrpSubmitJobsLimit
    QOSGrpUnknown QOSGrpUnknownMinutes QOSGrpUnknownRunMinutes QOSGrpWallLimit QOSJobLimit QOSMaxBBPerUser
    QOSMaxBillingPerUser QOSMaxCpuPerUserLimit QOSMaxEnergyPerUser QOSMaxGRESPerUser QOSMaxJobsPerUserLimit
    QOSMaxLicensePerUser QOSMaxMemoryPerUser QOSMaxNodePerUserLimit QOSMaxSubmitJobPerUserLimit QOSMaxUnknownPerUser
    QOSResourceLimit QOSTimeLimit QOSUsageThreshold RaisedSignal ReqNodeNotAvail Reservation Resources SchedDefer
    SystemFailure TimeLimit
"""
"""The others: nodes come back (ReqNodeNotAvail, NodeDown, PartitionNodeLimit, which can mean that, too), somebody opens a
partition again (PartitionDown, PartitionInactive), reservations begin and end, licences are returned, other jobs end
(...Grp..., ...PerUser, ...PerAccount, ...JobsLimit), used time is forgotten (...Minutes), or Slurm names what has failed
without a hold. PartitionConfig stands for whatever no other reason does.
"""
SENTENCES = {
    # job_scheduler.c, node_scheduler.c, partition_mgr.c, reservation.c and job_mgr.c of src/slurmctld
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions": None,
    "ReqNodeNotAvail, UnavailableNodes:node[1-2]": None,
    "ReqNodeNotAvail, Reserved for maintenance": None,
    "Job's account not permitted to use this partition (gpu allows def-a not def-b)": "pending_in_vain",
    "Job's QOS not known, so it can't use this partition (gpu allows normal)": "pending_in_vain",
    "uid 1000 not in group permitted to use this partition (gpu). groups allowed: gpu": "pending_in_vain",
    "Reservation school was deleted": "pending_in_vain",
    "Reservation school is invalid": "pending_in_vain",
    "launch failed requeued held": "pending_held",
    "launch failure limit exceeded requeued held": "pending_held",
    "job requeued in held state": "pending_held",
    "job requeued in special exit state": "pending_held",
}
"""What squeue shows in place of a reason."""


def test_each_of_slurms_reasons_ends_the_wait_only_where_the_job_never_starts_by_itself(laptop):  # noqa: F811 - a fixture
    found = {}
    expected = {
        **dict.fromkeys(NEVER.split(), "pending_in_vain"), **dict.fromkeys(MAY_START.split()),
        "JobHeldUser": "pending_held", "JobHoldMaxRequeue": "pending_held", **SENTENCES,
    }  # fmt: skip
    opening = object.__new__(laptop.lab.open.Opening)
    opening.mine, opening.name, opening.job = True, "lab", "77"
    for opening.reason in expected:
        try:
            found[opening.reason] = opening._look_at_reason()
        except laptop.lab.messages.Trouble as trouble:
            found[opening.reason] = trouble.key
    assert found == expected
    assert len(expected) > 200


# --- the template ---------------------------------------------------------------------------------------------------

NEWER = (
    "The template of this folder has a newer version, 9.0 (the folder has 1.0.0); to get it, and to read what is new: "
)
NEWER += "./lab update"


def template_that_says(node, text):
    """Put a git in place that notes that it was asked, and says this."""
    git = node.path / "bin/git"
    git.write_text(f"#!/bin/bash\necho $$ >>{node.path}/asked\n{text}\n")
    git.chmod(0o755)
    return node.path / "asked"


def test_a_newer_template_is_told_of_once_a_day_when_the_page_is_there(node):
    asked = template_that_says(node, "printf '%040d\\trefs/tags/9.0\\n' 0")
    # a machine that stands still for half a minute, as busy ones do, decides nothing
    node.limit(TEMPLATE_ANSWER=600)
    node.serve()
    # the first time, once more that day, and a day later
    for first in (True, False, True):
        if first and asked.exists():
            os.utime(node.folder / ".lab/template-asked", (1, 1))
        process = node.start("attach", "--no-browser", "lab", tty=False)
        process.wait_for("runs on 127.0.0.1 until")
        if first:
            process.wait_for("has a newer version, 9.0")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.output.splitlines().count(NEWER) == first and last_lines(process) == [KEPT]
    assert len(asked.read_text().split()) == 2


@pytest.mark.parametrize("answer", ["exec sleep 1000", "exit 128"])
def test_a_template_that_does_not_answer_keeps_nobody_waiting_and_leaves_nothing(node, answer):
    asked = template_that_says(node, answer)
    # it is lab's end that ends the question, and not the time, which may pass before a busy machine has begun to ask
    node.limit(TEMPLATE_ANSWER=600)
    node.serve()
    process = node.start("attach", "--no-browser", "lab", tty=False)
    process.wait_for("runs on 127.0.0.1 until")
    while not (asked.exists() and asked.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.output.splitlines() == [process.output.splitlines()[0], KEPT]
    assert not Path("/proc", asked.read_text().strip()).exists()


def test_lab_check_tells_of_a_newer_template_last_of_all(node):
    template_that_says(node, "printf '%040d\\trefs/tags/9.0\\n' 0")
    assert node.run("check")[1].splitlines()[-1] == NEWER
