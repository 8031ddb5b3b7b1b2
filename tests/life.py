"""What a person does with a generated folder, on the cluster and on the laptop: for the tests that live there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster.api import LIMIT, WITH_CODE, Cluster, Process

ADDRESS = r"http://(?P<node>node[12]\.int\.vcluster\.example):(?P<port>\d+)/lab\?token=[0-9a-f]+"
"""The address that start_salloc.sh prints."""
KEY = "login.vcluster.example"
CODE = "mfa.vcluster.example"
"""The login node's two names: it wants a key, or a key and a one-time code."""
HOLD = "touch ~/reached; while [[ -e ~/held ]]; do sleep 0.05; done"
"""A line of bash that says that it is reached, and goes no further while there is a file ~/held."""


class Life:
    """One person's life: a folder, an account on the cluster, and the laptop of alice.

    folder: a generated folder of this machine, which is copied to both sides
    name: what it is called there, below the home
    facts: what plugins/clusters/other.yml is to say instead, as the same cluster under other rules
    """

    def __init__(
        self, cluster: Cluster, folder: Path, name: str = "lab", user: str = "student", host: str = KEY, **facts
    ):
        self.cluster, self.name, self.user, self.host = cluster, name, user, host
        with tempfile.TemporaryDirectory() as temporary:
            mine = Path(shutil.copytree(folder, Path(temporary) / name, symlinks=True))
            known = mine / "plugins/clusters/other.yml"
            text = known.read_text()
            for fact, value in facts.items():
                text, changed = re.subn(rf"(?m)^{fact}: .*$", f"{fact}: {value}", text)
                assert changed, f"other.yml has no {fact}"
            known.write_text(text)
            if host != KEY:
                settings = mine / "settings.yml"
                settings.write_text(settings.read_text().replace(f"login_host: {KEY}", f"login_host: {host}"))
            # lab has the folder there by the project's name, with what it knows of other tests' jobs
            project = re.search(r"(?m)^project_name: (\S+)$", (mine / "settings.yml").read_text())[1]
            for side, person in (("login", user), ("laptop", "alice")):
                cluster.run(side, person, "rm", "-rf", name, *([project] if side == "login" else []), check=True)
                cluster.put(side, person, mine, name)
        cluster.write("laptop", "alice", f"{name}/personal.yml", f"user: {user}\n")

    def on_login(self, command: str, timeout: float = LIMIT) -> subprocess.CompletedProcess[str]:
        """Run one line of bash in the folder on the login node."""
        return self.cluster.run(
            "login", self.user, "bash", "-c", f'cd "$1" && {command}', "-", self.name, timeout=timeout
        )

    def start(self, command: str = "./start_salloc.sh") -> Process:
        """Type a command into an ssh session from the laptop, in the folder on the login node."""
        line = f"cd '{self.name}'; {command}"
        ssh = [*(WITH_CODE if self.host == CODE else ()), "ssh", "-tt", f"{self.user}@{self.host}", line]
        return self.cluster.spawn("laptop", "alice", *ssh, tty=True)

    def start_session(self, command: str = "./start_salloc.sh") -> tuple[Process, str]:
        """The same, until the server's address has come; return the process and the address."""
        session = self.start(command)
        address = session.wait_for(rf"answers at\s+({ADDRESS})")[1]
        session.wait_for("To end it sooner")
        return session, address

    def tunnel(self, *words: str, script: str = "tunnel_ssh.sh") -> tuple[Process, str]:
        """Run a tunnel script on the laptop until the tunnel works; return it and the address to open."""
        code = WITH_CODE if self.host == CODE else ()
        tunnel = self.cluster.spawn("laptop", "alice", *code, f"{self.name}/{script}", *words, tty=True)
        return tunnel, tunnel.wait_for(r"The tunnel works\. Open\s+(http://\S+)")[1]

    def lab(self, *words: str, tty: bool = True) -> Process:
        """Start ./lab on the laptop, in the folder; in a terminal unless told otherwise."""
        return self.cluster.spawn("laptop", "alice", *self._lab(words), tty=tty)

    def run_lab(self, *words: str, timeout: float = LIMIT) -> subprocess.CompletedProcess[str]:
        """Run ./lab on the laptop to its end, without a terminal."""
        return self.cluster.run("laptop", "alice", *self._lab(words), timeout=timeout)

    def _lab(self, words: Sequence[str]) -> list[str]:
        code = WITH_CODE if self.host == CODE else ()
        return [*code, "bash", "-c", 'cd "$1" && shift && exec ./lab "$@"', "-", self.name, *words]

    def open_session(self, *words: str, tty: bool = True) -> tuple[Process, str]:
        """Run ./lab open without a browser until the page works; return the process and the address without token."""
        process = self.lab("open", "--no-browser", *words, tty=tty)
        return process, process.wait_for(r"^ +(http://127\.0\.0\.1:\d+/lab)\s")[1]

    def want_port(self, port: int) -> None:
        """Have lab begin with that port of the laptop; the session's own is another one each time."""
        text = f"user: {self.user}\nport: {port}\n"
        self.cluster.write("laptop", "alice", f"{self.name}/personal.yml", text)

    @contextmanager
    def in_front(self, **commands: str) -> Iterator[None]:
        """Have these commands of the login node be these texts; a person's own come behind the system's."""
        for name, text in commands.items():
            self.cluster.write("login", "root", f"/usr/local/bin/{name}", text)
        paths = [f"/usr/local/bin/{name}" for name in commands]
        try:
            if paths:
                self.cluster.run("login", "root", "chmod", "755", *paths, check=True)
            yield
        finally:
            self.cluster.run("login", "root", "rm", "-f", *paths, check=True)

    def master(self) -> str:
        """The process number of lab's shared connection on the laptop."""
        login = f"{self.user}@{self.host}"
        socket = f"/home/alice/.ssh/passerelle-{hashlib.sha256(login.encode()).hexdigest()[:12]}"
        said = self.cluster.run("laptop", "alice", "ssh", "-S", socket, "-O", "check", "x").stderr
        return re.search(r"pid=(\d+)", said)[1]

    def jobs(self) -> str:
        """The user's jobs that wait or run, as squeue shows them; not what is being cleared away."""
        squeue = ["squeue", "--me", "--noheader", "--states=PENDING,RUNNING", "--format=%i %T"]
        return self.cluster.run("login", self.user, *squeue, check=True).stdout


def press_ctrl_c_twice(process: Process) -> None:
    """Ctrl-C as a person types it who wants the session to end; once more where the second was too late for srun."""
    once, twice = "one more within 1 sec to abort", "sending Ctrl-C"
    seen = 0
    process.type("\x03")
    while (found := process.wait_for(f"{once}|{twice}", start=seen))[0] == once:
        seen = found.end()
        process.type("\x03")


@pytest.fixture(scope="session")
def other_folder(pristine_folder):
    """The folder of answers/vcluster.yml."""
    return pristine_folder("vcluster", name="lab")


@pytest.fixture(scope="session")
def built(cluster, other_folder, tmp_path_factory):
    """student's environment with its kernels and extensions, built by setup_env.sh once.

    Of several workers (pytest-xdist), each with a cluster of its own, one builds it; the others wait, and take a copy.
    """
    home = cluster.state / "cluster/home/student"
    kept = tmp_path_factory.getbasetemp().parent / "built.tar"
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    with open(os.devnull if alone else f"{kept}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept.exists() and not alone:
            subprocess.run(["tar", "-C", home, "-xf", kept], check=True)
            return
        done = Life(cluster, other_folder).on_login("./setup_env.sh", timeout=600)
        assert done.returncode == 0, done.stderr
        if not alone:
            subprocess.run(["tar", "-C", home, "--exclude=./lab", "--exclude=./.ssh", "-cf", kept, "."], check=True)


@pytest.fixture
def lab(idle, other_folder, built):
    """student's life with the folder "lab" and its environment, on a cluster without jobs."""
    return Life(idle, other_folder)


@pytest.fixture(scope="session")
def shared_folder(pristine_folder):
    """The folder of answers/vcluster-class.yml, as everybody in a class gets it."""
    return pristine_folder("vcluster-class", name="lab")


@pytest.fixture(scope="session")
def shared_built(cluster, shared_folder):
    """The class's environment, built by student in /project."""
    done = Life(cluster, shared_folder, name="class").on_login("./setup_env.sh", timeout=600)
    assert done.returncode == 0, done.stderr
    return done
