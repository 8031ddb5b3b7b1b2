"""What of `lab` takes minutes: it goes on by itself on two clusters of its own while the other tests run."""

import re
import subprocess
import threading
import time

import pytest
from cluster.api import Cluster
from life import CODE, Life

WAIT = 600
"""Seconds that the long wait lasts."""


class Background:
    """A scenario in a thread, on a cluster of its own with the environment that was built on the first one."""

    def __init__(self, state, cluster, folder, scenario):
        self.cluster, self.folder, self.outcome, self.trouble = Cluster(state), folder, None, None
        self._from, self._scenario = cluster, scenario
        self._prepared, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            try:
                self.cluster.up()
                self._copy_environment()
            finally:
                self._prepared.set()
            self.outcome = self._scenario(self)
        except BaseException as trouble:  # whatever it is, the test that asks shows it
            self.trouble = trouble

    def _copy_environment(self):
        home = "cluster/home/student"
        for name in ("jupyter_py3", "jupyter_py3.builds"):
            source, target = (cluster.state / home for cluster in (self._from, self.cluster))
            subprocess.run(["cp", "-a", source / name, target / name], check=True)

    def let_pass(self, seconds):
        """Wait so long, and not when all is over before."""
        if self._ended.wait(seconds):
            raise InterruptedError("the tests have ended before")

    def wait(self):
        """Return what the scenario answers, when it is done; raises what it raised."""
        self._thread.join(WAIT + 900)
        assert not self._thread.is_alive()
        if self.trouble:
            raise self.trouble
        return self.outcome

    def end(self):
        """Take the cluster down, also in the middle of the scenario, whose thread ends with what it used."""
        self._ended.set()
        # nothing is to be written into what is being removed
        self._prepared.wait()
        self.cluster.down()
        self._thread.join(60)


def in_the_background(scenario):
    """Make a fixture that starts a scenario once, and take its cluster down at the end."""

    @pytest.fixture(scope="session")
    def background(cluster, other_folder, built, tmp_path_factory):
        task = Background(tmp_path_factory.mktemp("background") / "state", cluster, other_folder, scenario)
        yield task
        task.end()

    return background


# --- guarantee 5: a queue of ten minutes ----------------------------------------------------------------------------


def queue_for_ten_minutes(task):
    """Return what a lab asks of Slurm and of ssh while its job waits, and what it shows."""
    cluster = task.cluster
    life = Life(cluster, task.folder)
    process = life.lab("open", "--no-browser", "--begin=now+2hours")
    process.wait_for("has been submitted")
    before, commands = queries(cluster), commands_over_ssh(cluster)
    clients, end = set(), time.monotonic() + WAIT
    while time.monotonic() < end:
        clients |= set(cluster.run("laptop", "alice", "pgrep", "-a", "ssh").stdout.splitlines())
        task.let_pass(1)
    asked = queries(cluster) - before
    shown = process.output
    process.stop()
    return asked, commands_over_ssh(cluster) - commands, clients, shown


def queries(cluster):
    """Return how often jobs were asked for, by Slurm's own statistics, on a cluster where nobody else asks."""
    said = cluster.run("login", "root", "sdiag", check=True).stdout
    return sum(int(count) for count in re.findall(r"REQUEST_JOB_\w*INFO\w* +\( *\d+\) count:(\d+)", said))


def commands_over_ssh(cluster):
    """Return how many commands sshd has started."""
    return (cluster.logs("login") / "sshd.log").read_text().count("Starting session:")


queue = in_the_background(queue_for_ten_minutes)


# --- guarantees 8 and 3: the time limit; two minutes without network ------------------------------------------------


def time_limits_and_an_outage(task):
    """Return what labs show whose time ends, and what becomes of a page when the network is away for two minutes."""
    cluster = task.cluster
    life = Life(cluster, task.folder, host=CODE)
    # two minutes for the server to be there before the warning
    limited = {
        minutes: life.lab("open", "--no-browser", f"--name=of{minutes}", f"--time={minutes}") for minutes in (1, 7, 17)
    }
    limited[7].wait_for("lab: 5 min left in the session of7 .until .*: save your work", timeout=300)
    limited[17].wait_for("lab: 15 min left in the session of17 .until .*: save your work", timeout=300)
    timeout = limited[1].wait_for(r"lab: Job \d+ has ended: .*", timeout=300)[0]
    shown = {minutes: process.output for minutes, process in limited.items()}
    for minutes in (7, 17):
        life.run_lab("stop", f"of{minutes}")
    process, address = life.open_session()
    jobs, accepted = life.jobs(), cluster.auth_count("student")
    with cluster.network("laptop").cut():
        task.let_pass(120)
    process.wait_for("The page works again: " + address, timeout=240)
    page = cluster.browse(life.run_lab("url").stdout.strip())
    return {
        "shown": shown,
        "timeout": timeout,
        "status": limited[1].wait(),
        "jobs": (jobs, life.jobs()),
        "prompts": cluster.auth_count("student") - accepted,
        "output": process.output,
        "cards": [card["name"] for card in page["cards"]],
    }


clock = in_the_background(time_limits_and_an_outage)
