"""The one ssh connection that lab works through: opened once, shared with every other lab, replaced when it is dead.

It is OpenSSH's own shared connection (ControlMaster) under a socket of lab's. What OpenSSH does in trouble was measured
with 9.2: a frozen master hangs every command for ever, "-O check" says "running" on a dead TCP connection, a client
that finds no master logs in by itself. So each call here has a time-out of its own, and only the first client logs in.
"""

import contextlib
import hashlib
import os
import re
import signal
import socket
import stat
import subprocess
import time
from collections import deque
from pathlib import Path

from both.limits import LIMITS
from both.messages import FOLDER, Trouble, say, warn
from plumbum import local
from plumbum.commands import CommandNotFound

from .host_key import compare_host_key
from .openssh import (
    NO_MORE_SESSIONS,
    SSH_CONFIG,
    WORDS,
    address_of,
    is_proxied,
    keep_words,
    options,
    show_words,
    ssh_command,
    ssh_settings,
)
from .ports import listens
from .rsh import CLEAN_BASH

PATIENT = options(ConnectTimeout=LIMITS.SSH_CONNECT)


class Connection:
    """The way to the login node from another computer."""

    here = False
    # whether each channel logs in by itself, and may have to wait for somebody to type
    separate = False

    def __init__(self, login, facts, place):
        """login: whom ssh logs in where, such as alice@narval.alliancecan.ca or a name of ~/.ssh/config.

        facts: the cluster's; place: where it is set at which host
        Raises Trouble where there is no ssh.
        """
        self.login, self.facts, self._place = login, facts, place
        self.socket = socket_folder() / f"passerelle-{hashlib.sha256(login.encode()).hexdigest()[:12]}"
        self.ssh = ssh_command()[options(ControlPath=self.socket)]
        # no forwarding of the user's own is to take a port away
        self.start = self.ssh[
            "-N",
            "-f",
            options(ControlMaster="auto", ControlPersist=LIMITS.CONNECTION_PERSISTS, ClearAllForwardings="yes"),
            PATIENT,
            login,
        ]
        # the sockets of the connection that this lab works through, and of the one that it is to work through no more
        self._used = self._given_up = None
        # clients of that connection alone: where it is gone they fail, and do not log in. Even "ssh -O check" would,
        # when a master that has not answered it is killed.
        alone = options(ControlMaster="no", ProxyJump="none", ProxyCommand="false")
        self.client = self.ssh["-T", options(ClearAllForwardings="yes"), alone]
        # with a request, ssh sends every forwarding that it knows of: none of the user's own is to be among them
        self.control = ssh_command("none")[options(ControlPath=self.socket), alone]

    def folder(self, settings):
        """Return where on the login node the project's folder is, below the home."""
        return settings.project

    def open(self, waiting, heed):
        """Open the connection unless it is open; ssh may ask its questions at the terminal.

        waiting, heed: see turn
        Raises Trouble when ssh could not log in; its own words are on the terminal then.
        """
        with self.turn(waiting, heed) as is_open:
            if is_open:
                return
            self.look_up()
            say("lab_connecting", login=self.login)
            # in the terminal's foreground, because it asks for passwords there; once logged in it leaves by itself
            process = self.prepare().popen(stdin=None, stdout=None, stderr=None, cwd=FOLDER)
            try:
                status = process.wait(LIMITS.LOGIN)
            except subprocess.TimeoutExpired:
                process.terminate()
                raise Trouble("check_login_slow", seconds=LIMITS.LOGIN) from None
            if status != 0:
                # Ctrl-C has ended it
                heed()
                raise Trouble("no_connection", login=self.login)

    @contextlib.contextmanager
    def turn(self, waiting, heed):
        """Wait until no other lab logs in there; the value is whether the connection is open then.

        If not, there is room for a new one, and this lab alone makes it: a second one would ask for the second factor
        once more, and its ssh, which finds the socket's place taken, would stay for ever.
        waiting: shows what is awaited; heed: is called meanwhile, and may raise to end it
        """
        # the mark first: while a frozen one is asked, another lab may replace it
        mark, state = self._mark(), self.state()
        if state == "running" and mark != self._given_up:
            yield True
            return
        self.socket.parent.mkdir(mode=0o700, exist_ok=True)
        with self._lock() as lock:
            alone = self._wait_for(lock, waiting, heed)
            # another lab may have connected in the meantime
            if self._mark() != mark:
                mark, state = self._mark(), self.state()
            is_open = state == "running" and mark != self._given_up
            if not is_open:
                if state == "frozen" and mark != self._given_up:
                    warn("connection_frozen", login=self.login)
                self._clear(state, alone)
            yield is_open

    def _lock(self):
        """Return the open file that a lab locks while it logs in; the kernel unlocks it when that lab ends."""
        try:
            return open(f"{self.socket}.lock", "w", encoding="utf-8")
        except OSError:
            return contextlib.nullcontext()

    def _wait_for(self, lock, waiting, heed):
        """Wait for the lock; return whether nobody else logs in: it is this lab's, or who holds it has been stopped.

        Not every network disk has locks.
        """
        import fcntl

        waiting.restart()
        # its host's key, then its login
        end = time.monotonic() + 2 * LIMITS.LOGIN
        while lock and time.monotonic() < end:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting.show("waiting_for_login", login=self.login)
                time.sleep(0.1)
                heed()
            except OSError:
                return False
            else:
                break
        waiting.done()
        return bool(lock)

    def prepare(self):
        """Return the command that logs in; the host's key has been compared.

        Raises Trouble for a host's key that is not one of those published.
        """
        return self.start[compare_host_key(self.login, self.facts)]

    def look_up(self):
        """Raise Trouble for a host that nobody knows by name; ssh and its host key are not worth a word then."""
        settings = ssh_settings(self.login)
        address_of(settings, self.place_of(settings["hostname"][0]))

    def place_of(self, host):
        """Return where it is set that this is the host; ssh's settings may have another name for it."""
        return self._place if self.login.rpartition("@")[2].lower() == host else "~/.ssh/config"

    def state(self):
        """Return "running", "frozen" or "absent"."""
        if not self.socket.exists():
            return "absent"
        try:
            return "running" if self._control("check") else "absent"
        except subprocess.TimeoutExpired:
            return "frozen"

    def _mark(self):
        """Return what tells this master's socket from the next one's, None without one."""
        with contextlib.suppress(OSError):
            found = self.socket.stat()
            return found.st_ino, found.st_mtime_ns

    def give_up(self):
        """The connection that was used leads nowhere: when it is opened again, it is replaced, unless it has been."""
        self._given_up = self._used

    def _clear(self, state, alone):
        """End what there is of a connection. alone: nobody else is logging in, so also what killed labs have left."""
        if state == "running":
            try:
                self._control("exit")
            except subprocess.TimeoutExpired:
                state = "frozen"
        if alone or state == "frozen":
            self._kill_masters()
        # a master that could not log out any more leaves it
        self.socket.unlink(missing_ok=True)

    def _kill_masters(self):
        """Kill who made the socket or would: it is in their arguments, or in the title that they give themselves."""
        try:
            processes = local["ps"]["-A", "-ww", "-o", "pid=,args="]().splitlines()
        except CommandNotFound:
            # without it, the one that is frozen stays; its socket goes
            return
        for line in processes:
            pid, words = line.split(None, 1)
            if words.startswith(f"ssh: {self.socket} [mux]") or f"ControlPath={self.socket} -N -f " in words:
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)

    def is_full(self, shell):
        """Return whether a shell has not begun because the host allows no more of them in this connection."""
        shell.shown.join(1)
        return NO_MORE_SESSIONS in b"".join(shell.words)

    @property
    def shell_command(self):
        """Return the command, as a list of words, that starts bash on the login node, within the connection."""
        return self.client[self.login, CLEAN_BASH].formulate()

    def shell(self):
        """Start that bash and return its process (binary pipes)."""
        self._used = self._mark()
        # in a session of its own, so that a Ctrl-C for lab is not one for ssh
        process = subprocess.Popen(
            self.shell_command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=FOLDER,
            start_new_session=True,
        )  # fmt: skip
        process.words, process.shown = keep_words(process.stderr)
        return process

    def jump(self, port, user, node, node_port):
        """Start an ssh to the node itself, through the connection, that leads a port there; return its process.

        For clusters where only ssh passes between the nodes (https://docs.alliancecan.ca/wiki/VNC). It ends with its
        standard input, so that it does not outlive lab; it may ask for the node's key at the terminal.
        """
        forward = ["-L", f"127.0.0.1:{port}:127.0.0.1:{node_port}", f"{user}@{node}", "cat"]
        own = options(
            ControlMaster="no", ControlPath="none", ProxyCommand=self._way_to("%h:%p"), ExitOnForwardFailure="yes"
        )
        command = ssh_command()["-T", own, PATIENT, forward]
        return start_unmoved(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def _way_to(self, place):
        """Return the ssh command line that leads its input and output to host:port, as the login node reaches it."""
        own = f"-o ControlPath={self.socket} -o ControlMaster=no -o ProxyCommand=false"
        return f"ssh -F {SSH_CONFIG} {own} -W {place} {self.login}"

    @property
    def user(self):
        """Return the user's name on the cluster."""
        if "@" in self.login:
            return self.login.split("@")[0]
        return ssh_settings(self.login)["user"][0]

    def forward(self, port, host, host_port, pause):
        """Lead a port of this computer to host:host_port, as the login node reaches it; return whether it does."""
        try:
            return self._control("forward", "-L", f"127.0.0.1:{port}:{host}:{host_port}")
        except subprocess.TimeoutExpired:
            return False

    def cancel(self, port, host, host_port):
        """End such a forwarding, if there is one."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._control("cancel", "-L", f"127.0.0.1:{port}:{host}:{host_port}")

    def reachable(self):
        """Return whether the login node's sshd says its name to this computer now; logs nobody in."""
        try:
            settings = ssh_settings(self.login)
            if is_proxied(settings):
                return True
            address = (settings["hostname"][0], int(settings["port"][0]))
            with socket.create_connection(address, LIMITS.SSH_ANSWER) as probe:
                probe.settimeout(LIMITS.SSH_ANSWER)
                return probe.recv(4) == b"SSH-"
        except OSError:
            return False

    def _control(self, request, *words):
        """Ask the master; return whether it does what is asked. Raises TimeoutExpired when it does not answer."""
        done = subprocess.run(
            self.control[("-O", request, *words, self.login)].formulate(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=FOLDER, start_new_session=True,
            timeout=LIMITS.SSH_ANSWER,
        )  # fmt: skip
        return done.returncode == 0


class SeparateConnections(Connection):
    """The same where ssh cannot share a connection (native Windows, or "connection: separate" in personal.yml).

    Each process logs in by itself, so that ssh asks more often; that is said beforehand.
    """

    separate = True

    def __init__(self, login, facts, place, prompts):
        """prompts: how often ssh will log in for this command."""
        super().__init__(login, facts, place)
        self.prompts, self._shell, self._tunnels = prompts, None, {}
        self.ssh = ssh_command()[options(ControlMaster="no", ControlPath="none"), PATIENT]
        self.client = self.ssh["-T", options(ClearAllForwardings="yes")]

    def open(self, waiting, heed):
        """Say how often ssh will ask, and compare the host's key; the logins come later."""
        self.look_up()
        say("separate_connections", login=self.login, number=self.prompts)
        strict = compare_host_key(self.login, self.facts)
        self.ssh, self.client = self.ssh[strict], self.client[strict]

    def state(self):
        """Return "running" while the last shell runs, else "absent"."""
        return "running" if self._shell and self._shell.poll() is None else "absent"

    def give_up(self):
        """End whatever was started."""
        for process in [self._shell, *self._tunnels.values()]:
            if process and process.poll() is None:
                process.kill()
                process.wait()
        self._tunnels.clear()

    def shell(self):
        """Start that bash and return its process (binary pipes)."""
        command = self.client[self.login, CLEAN_BASH]
        self._shell = start_unmoved(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._shell

    def is_full(self, shell):
        """Return False: each has a connection of its own."""
        return False

    def forward(self, port, host, host_port, pause):
        """Lead a port of this computer to host:host_port; return whether it does."""
        if listens(port):
            return False
        target = ["-L", f"127.0.0.1:{port}:{host}:{host_port}", self.login]
        process = start_unmoved(self.ssh["-N", options(ExitOnForwardFailure="yes"), target], stdin=subprocess.DEVNULL)
        self._tunnels[port] = process
        try:
            deadline = time.monotonic() + LIMITS.LOGIN
            while process.poll() is None and not listens(port):
                if time.monotonic() > deadline:
                    self.cancel(port, host, host_port)
                    return False
                pause()
        except BaseException:
            self.cancel(port, host, host_port)
            raise
        return process.poll() is None

    def cancel(self, port, host, host_port):
        """End such a forwarding, if there is one."""
        process = self._tunnels.pop(port, None)
        if process:
            process.terminate()
            process.wait()

    def _way_to(self, place):
        """Return the ssh command line that leads its input and output to host:port, as the login node reaches it."""
        return f"ssh -F {SSH_CONFIG} -o ControlMaster=no -o ControlPath=none -W {place} {self.login}"


def start_unmoved(command, **pipes):
    """Start an ssh that a Ctrl-C for lab does not reach, and that can ask its questions at the terminal."""
    if os.name == "nt":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP
        process = command.popen(creationflags=flags, stderr=subprocess.PIPE, cwd=FOLDER, **pipes)
    else:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process = command.popen(stderr=subprocess.PIPE, cwd=FOLDER, **pipes)
        finally:
            signal.signal(signal.SIGINT, before)
    # who is told to look at ssh's words waits for them
    process.words = deque(maxlen=WORDS)
    process.shown = show_words(process.stderr, process.words)
    return process


def socket_folder():
    """Return the folder of lab's sockets, which is ~/.ssh where ssh takes a path there as it is.

    Else (ssh parts paths at spaces and heeds %, and a socket's path has at most some hundred bytes, of which ssh needs
    17 for itself) one in /tmp that nobody else can enter. Raises Trouble when somebody else has taken that.
    """
    usual = Path.home() / ".ssh"
    if os.name == "nt" or re.fullmatch(r"[A-Za-z0-9/._+-]{1,50}", str(usual)):
        return usual
    folder = Path(f"/tmp/passerelle-{os.getuid()}")  # noqa: S108 - its owner and mode are looked at
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Trouble("socket_folder_taken", folder=folder)
    return folder


class Here:
    """The same on the login node itself, where nothing has to be connected or forwarded."""

    here = True
    separate = False
    login = os.uname().nodename if hasattr(os, "uname") else "localhost"

    def folder(self, settings):
        """Return where the project's folder is."""
        return FOLDER

    def open(self, waiting, heed):
        """Do nothing."""

    def give_up(self):
        """Do nothing."""

    def state(self):
        """Return "running"."""
        return "running"

    def reachable(self):
        """Return True."""
        return True

    def is_full(self, shell):
        """Return False."""
        return False

    def shell(self):
        """Start bash and return its process (binary pipes)."""
        return subprocess.Popen(
            CLEAN_BASH, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
