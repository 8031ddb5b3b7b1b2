"""The cluster from Python: run a command on a host as a user, wait for what it says, type at it.

>>> cluster = Cluster()                                               # doctest: +SKIP
>>> cluster.up()                                                      # doctest: +SKIP
>>> cluster.run("laptop", "alice", "ssh", LOGIN, "hostname").stdout   # doctest: +SKIP
'login\\n'

Every command runs in a login bash with an empty environment, in the user's home, and its arguments
arrive as they are given. Times are in seconds.
"""

from __future__ import annotations

import atexit
import base64
import json
import os
import re
import signal as signals
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pexpect

HERE = Path(__file__).parent
LOGIN = "student@login.vcluster.example"
"""student, with alice's key alone."""
MFA = "student@mfa.vcluster.example"
"""student, with alice's key and a one-time code."""
WITH_CODE = ("env", "SSH_ASKPASS=/usr/local/bin/askpass", "SSH_ASKPASS_REQUIRE=force")
"""Put before a command on the laptop: every ssh in it gets its one-time code from alice's phone."""
LIMIT = 300
"""Seconds after which what is awaited is given up: many, because a machine may be slow; only a failure takes them."""
CONTROL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])|[^\n]\x08")
"""What a program sends to a terminal to colour or to move about (ECMA-48: CSI, OSC, others), or takes back."""


class Cluster:
    """One cluster, whose run lives in the folder `state`.

    `share` are folders of this machine that the laptop sees at the same path (at the next `up`).
    """

    def __init__(self, state: str | os.PathLike[str] | None = None, share: Sequence[str | os.PathLike[str]] = ()):
        state = state or os.environ.get("PASSERELLE_CLUSTER_STATE") or tempfile.mkdtemp(prefix="passerelle-cluster-")
        self.state = Path(state)
        self.env = {**os.environ, "PASSERELLE_CLUSTER_STATE": str(self.state)}
        if share:
            self.env["PASSERELLE_CLUSTER_SHARE"] = ":".join(map(str, share))
        self._spawned: list[Process] = []
        atexit.register(self.stop_spawned)

    # --- the whole cluster ---------------------------------------------------------------------

    @staticmethod
    def hindrance() -> str | None:
        """Why no cluster can be brought up on this machine, in one line; None if it can."""
        checked = subprocess.run([HERE / "cluster", "check"], capture_output=True, text=True)
        return checked.stderr.strip() if checked.returncode else None

    def up(self) -> None:
        """Start it, preparing what is missing; no effect when it runs. Takes seconds once prepared.

        The hosts' clocks show the time of this process (TZ).
        """
        self._command("up", timeout=1800)
        zone = base64.b64encode(_time_zone()).decode()
        for pid in self.state.glob("*/pid"):
            set_zone = "base64 -d >/etc/zone && mv /etc/zone /etc/localtime"
            self.run(pid.parent.name, "root", "bash", "-c", set_zone, input=zone, check=True)

    def down(self) -> None:
        """End what `spawn` started, stop all hosts, and remove the state folder."""
        self.stop_spawned()
        self._command("down", timeout=2 * LIMIT)

    def is_up(self) -> bool:
        """Whether all hosts run."""
        return self._command("status", timeout=60, check=False).returncode == 0

    def clean(self, homes: bool = True) -> None:
        """Cancel every job and end users' processes; with `homes`, also make all homes new."""
        self.stop_spawned()
        self._command("clean", *([] if homes else ["--keep-homes"]), timeout=LIMIT)

    @property
    def python_version(self) -> str:
        """The version of the modules python and ipython-kernel, which is the machine's: "3.11"."""
        (module,) = (self.state / "cluster/software/modules/2023/python").iterdir()
        return module.stem

    # --- commands ------------------------------------------------------------------------------

    def argv(self, host: str, user: str, *argv: str, tty: bool = False) -> list[str]:
        """The command of this machine that runs `argv` as `user` on `host`."""
        return [str(HERE / "cluster"), "exec", *(["--tty"] if tty else []), host, user, *map(str, argv)]

    def run(
        self, host: str, user: str, *argv: str, input: str | None = None, timeout: float = LIMIT, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` to its end; output as text, standard input empty unless given.

        Raises `subprocess.TimeoutExpired` after `timeout`, having ended it, and with `check` `Failed`
        (which shows the output) when the exit status is not 0.
        """
        command = self.argv(host, user, *argv)
        process = subprocess.Popen(
            command, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            stdout, stderr = process.communicate(input or "", timeout)
        except subprocess.TimeoutExpired as expired:
            _kill(process.pid)
            expired.output, expired.stderr = process.communicate()
            raise
        done = subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)
        if check and done.returncode != 0:
            raise Failed(host, user, done)
        return done

    def spawn(self, host: str, user: str, *argv: str, tty: bool = False) -> Process:
        """Start `argv` and return at once; with `tty` in a terminal, so that keys can be typed."""
        kind = TerminalProcess if tty else PipedProcess
        process = kind(self.argv(host, user, *argv, tty=tty), self.env)
        self._spawned.append(process)
        return process

    def stop_spawned(self) -> None:
        """End everything that `spawn` started and that still runs."""
        while self._spawned:
            self._spawned.pop().stop()

    # --- files ---------------------------------------------------------------------------------

    def put(self, host: str, user: str, local: str | os.PathLike[str], remote: str) -> None:
        """Copy a file or a whole folder of this machine to `remote`, which `user` will own.

        `remote` is the copy's own name, not the folder around it; relative to the home.
        """
        local = Path(local)
        if local.is_dir():
            pack = ["tar", "-C", str(local), "-c", "."]
            unpack = 'mkdir -p "$1" && tar -x --no-same-owner -C "$1"'
        else:
            pack = ["tar", "-C", str(local.parent), "-c", "--transform=s|.*|copy|", local.name]
            unpack = 'mkdir -p "$(dirname "$1")" && tar -x --no-same-owner -O >"$1"'
            if os.access(local, os.X_OK):
                unpack += ' && chmod +x "$1"'
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
            command = self.argv(host, user, "bash", "-c", unpack, "put", remote)
            done = subprocess.run(
                command, check=False, env=self.env, stdin=packing.stdout, capture_output=True, text=True
            )
        if done.returncode or packing.returncode:
            raise Failed(host, user, done)

    def write(self, host: str, user: str, remote: str, text: str) -> None:
        """Make the file `remote`, owned by `user`, with that text."""
        self.run(
            host, user, "bash", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "write", remote, input=text, check=True
        )

    def read(self, host: str, user: str, path: str) -> str:
        """The text of a file, read as `user`. Raises `Failed` where that user cannot."""
        return self.run(host, user, "cat", path, check=True).stdout

    def logs(self, host: str) -> Path:
        """The folder /var/log of `host`: sshd.log, slurmctld.log, slurmd.log, dnsmasq.log, cran.log…"""
        return self.state / host / "log"

    # --- authentication ------------------------------------------------------------------------

    def totp(self) -> str:
        """The one-time code that is accepted now; it may be used more than once."""
        return self._command("totp", timeout=10).stdout.strip()

    def auth_count(self, user: str, method: str = ".*") -> int:
        """How many authentications of `user` the login node's sshd has accepted from the laptop.

        `method` is a regular expression for sshd's word: "publickey", "keyboard-interactive/pam".
        A key that is only the first of two factors does not count.
        """
        accepted = re.compile(rf"^Accepted (?:{method}) for {re.escape(user)} from 10\.76\.0\.2 ", re.MULTILINE)
        return len(accepted.findall((self.logs("login") / "sshd.log").read_text()))

    def ssh_with_code(self, *argv: str, **how) -> subprocess.CompletedProcess[str]:
        """Run `ssh ARGV` on the laptop as alice, who answers the question for a code (see `run`)."""
        return self.run("laptop", "alice", *WITH_CODE, "ssh", *argv, **how)

    # --- the browser ---------------------------------------------------------------------------

    def browse(self, url: str, *options: str, timeout: float = 240) -> dict:
        """Open `url` in alice's Chromium on the laptop: see browser.py for options and the result.

        Raises `Failed` where JupyterLab did not show what was waited for.
        """
        return json.loads(self.run("laptop", "alice", "browser", url, *options, timeout=timeout, check=True).stdout)

    # --- trouble -------------------------------------------------------------------------------

    def network(self, host: str) -> Network:
        """The cable of `host` (laptop, login's public side, node1, node2): `down()`, `up()`."""
        return Network(self, host)

    def _command(self, *argv: str, timeout: float, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(HERE / "cluster"), *argv],
            check=False,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode != 0:
            raise Failed("this machine", "root", done)
        return done


class Network:
    """The cable between a host and the rest; pulling it is what a laptop notices when Wi-Fi goes."""

    def __init__(self, cluster: Cluster, host: str):
        self._cluster = cluster
        self._switch = "inet" if host in ("laptop", "login") else "login"
        self._port = f"to-{host}"

    def down(self) -> None:
        """Pull the cable: nothing arrives any more, and connections stay open without knowing it."""
        self._set("down")

    def up(self) -> None:
        """Plug it in again."""
        self._set("up")

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Down for the length of a `with` block."""
        self.down()
        try:
            yield
        finally:
            self.up()

    def _set(self, state: str) -> None:
        self._cluster.run(self._switch, "root", "ip", "link", "set", self._port, state, check=True)


class Process:
    """A command that runs on a host. Its output, both streams together, is collected as it comes."""

    def __init__(self, argv: list[str]):
        self.argv = argv
        self._raw = self._output = ""
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._collect, daemon=True)

    # what the two kinds do in their own way
    pid: int

    def _read(self) -> str:
        """The next piece of output; "" at its end."""
        raise NotImplementedError

    def write(self, text: str) -> None:
        """Send `text` to standard input (a newline is not added)."""
        raise NotImplementedError

    def poll(self) -> int | None:
        """The exit status; None while it runs. Ended by a signal: 128 + its number, or negative."""
        raise NotImplementedError

    def _plain(self, text: str) -> str:
        """All of the output as text to be read."""
        return text

    # what they share

    @property
    def output(self) -> str:
        """All output so far."""
        with self._news:
            return self._output

    def wait_for(self, pattern: str, timeout: float = LIMIT, start: int = 0) -> re.Match[str]:
        """Wait until `pattern` (multi-line regular expression) is in the output from `start` on.

        Raises `Unexpected`, which shows all of the output, after `timeout` or when it ended without.
        """
        expression = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                if found := expression.search(self._output, start):
                    return found
                if self._ended:
                    raise Unexpected(f"ended without {pattern!r}", self)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Unexpected(f"{pattern!r} did not come within {timeout:g} s", self)
                self._news.wait(left)

    def wait(self, timeout: float = LIMIT) -> int:
        """Wait for the end; the exit status. Raises `Unexpected` after `timeout`."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise Unexpected(f"still runs after {timeout:g} s", self)
            time.sleep(0.02)
        self._reader.join(2)
        return status

    def send_signal(self, signal: int) -> None:
        """Deliver `signal` to the command itself, inside the host; not to its children.

        For a Ctrl-C as a person types it, which every process in the foreground gets, spawn with
        `tty=True` and `type("\\x03")`.
        """
        os.kill(self._command_pid(), signal)

    def stop(self, timeout: float = 10) -> None:
        """End it: SIGTERM, and after `timeout` SIGKILL to it and to all that it started."""
        if self.poll() is None:
            try:
                self.send_signal(signals.SIGTERM)
                self.wait(timeout)
            except (ProcessLookupError, Unexpected):
                _kill(self.pid)
                self.wait(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _collect(self) -> None:
        while piece := self._read():
            with self._news:
                self._raw += piece
                self._output = self._plain(self._raw)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _command_pid(self) -> int:
        """Below `cluster exec`, nsenter, runuser and the login bash, which the command replaces."""
        while self.poll() is None:
            pid = self.pid
            while (words := _words(pid)) and _leads_on(words) and (children := _children(pid)):
                pid = children[0]
            if words and not _leads_on(words) and words[0] != "-bash":
                return pid
            time.sleep(0.02)
        raise ProcessLookupError(f"ended already: {self.argv}")


class PipedProcess(Process):
    """Standard input and output are pipes, as for a command in a script."""

    def __init__(self, argv: list[str], env: dict[str, str]):
        super().__init__(argv)
        # A session of its own: Ctrl-C at the tests is not for the command.
        self._popen = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._popen.pid
        self._reader.start()

    def _read(self) -> str:
        return os.read(self._popen.stdout.fileno(), 65536).decode(errors="replace")

    def write(self, text: str) -> None:
        """See `Process`."""
        self._popen.stdin.write(text.encode())
        self._popen.stdin.flush()

    def close_input(self) -> None:
        """End of standard input."""
        self._popen.stdin.close()

    def poll(self) -> int | None:
        """See `Process`."""
        return self._popen.poll()


class TerminalProcess(Process):
    """Standard input and output are a terminal, as for a person who types."""

    def __init__(self, argv: list[str], env: dict[str, str]):
        super().__init__(argv)
        # so wide that no message is folded
        size = (40, 1000)
        self._terminal = pexpect.spawn(argv[0], argv[1:], env={**env, "TERM": "xterm"}, dimensions=size, echo=True)
        self._terminal.delaybeforesend = None
        self._lock = threading.Lock()
        self.pid = self._terminal.pid
        self._reader.start()

    def _read(self) -> str:
        try:
            return os.read(self._terminal.child_fd, 65536).decode(errors="replace")
        except OSError:  # the terminal is closed on the other side
            return ""

    def _plain(self, text: str) -> str:
        # Each terminal in a chain may add a "\r" before a line's end, and bash one after it.
        return re.sub(r"\r*\n\r*", "\n", CONTROL_SEQUENCE.sub("", text))

    def write(self, text: str) -> None:
        """See `Process`."""
        self._terminal.send(text)

    def type(self, keys: str) -> None:
        """Press keys: "yes\\r" answers and presses Enter, "\\x03" is Ctrl-C, "\\x04" Ctrl-D."""
        self._terminal.send(keys)

    def poll(self) -> int | None:
        """See `Process`."""
        with self._lock:
            if self._terminal.isalive():
                return None
        status, signal = self._terminal.exitstatus, self._terminal.signalstatus
        return -signal if status is None else status


class Failed(AssertionError):
    """A command on a host ended with another status than 0."""

    def __init__(self, host: str, user: str, done: subprocess.CompletedProcess[str]):
        words = done.args if isinstance(done.args, str) else " ".join(map(str, done.args))
        super().__init__(f"{user} on {host}: {words}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
        self.done = done


class Unexpected(AssertionError):
    """A process did not say, or not do, what was waited for."""

    def __init__(self, what: str, process: Process):
        # called with the output's lock held: no `process.output` here
        super().__init__(f"{what}: {' '.join(process.argv[2:])}\n--- its output:\n{process._output}")


def _time_zone() -> bytes:
    """This process's time zone now, as a file for /etc/localtime (RFC 9636): the hosts' clocks are to show its time."""
    ahead = time.localtime().tm_gmtoff
    # no transitions, one offset, its name; once as the old programs read it, once as the new
    part = struct.pack(">4sc15x6l", b"TZif", b"2", 0, 0, 0, 0, 1, 6) + struct.pack(">lBB6s", ahead, 0, 0, b"tests\0")
    west = "-" if ahead > 0 else ""
    return part + part + f"\n<tests>{west}{abs(ahead) // 3600}:{abs(ahead) // 60 % 60:02}\n".encode()


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def _leads_on(words: list[str]) -> bool:
    """Whether a process with that command line runs the command in a child, or will become it."""
    return words[0] in ("nsenter", "runuser") or str(HERE / "cluster") in words[:3] or words[:1] == ["env"]


def _kill(pid: int) -> None:
    """SIGKILL to a child of ours and to all below it, in whatever namespace, the lowest first."""
    for child in _children(pid):
        _kill(child)
    with suppress(ProcessLookupError):
        os.kill(pid, signals.SIGKILL)
