"""`lab check`: one line for each step of the way to the page, up to the first that fails. It changes nothing."""

import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

from plumbum import local
from plumbum.commands import CommandNotFound, ProcessTimedOut

from .channel import Conversation, Lost
from .connection import PATIENCE
from .files import sum_of_folder
from .messages import Trouble, message, say
from .tunnel import ANSWER, PORTS, Session, listens, tunnel_to
from .waiting import Waiting, clock_time, hours_and_minutes

STEPS = (
    "step_name", "step_key", "step_connection", "step_folder", "step_account", "step_quota", "step_modules",
    "step_environment", "step_session", "step_node", "step_port", "step_time",
)  # fmt: skip
"""What is looked at, in the order in which `lab open` needs it; keys of lib/texts."""
LOOK_UP = 10
"""Seconds that the name server may take."""
LOGIN = 180
"""Seconds that a person may take to log in; sshd's own limit is 120 as a rule (sshd_config, LoginGraceTime)."""
STEP = 75
"""Seconds that a step may take on the login node; it ends one by itself after 60 (attend.sh)."""
TIMED_OUT = ("124", "137")
"""The statuses of `timeout`, when it had to end or to kill a command."""
SHORT = 5
"""Minutes left of a session that are too few to begin anything."""
MEANINGS = (
    # the host in between (ProxyJump) has ended it, and says why itself
    (r"Connection closed by UNKNOWN port 65535", "step_connection", "no_connection"),
    (r"^ssh: Could not resolve hostname", "step_name", "check_no_name"),
    (r"HOST IDENTIFICATION HAS CHANGED|REVOKED HOST KEY", "step_key", "check_other_host_key"),
    (r"^Host key verification failed", "step_key", "check_new_host_key"),
    (r"Too many authentication failures", "step_key", "check_too_many_keys"),
    (r"Permission denied \((?!.*(password|keyboard))", "step_key", "check_key_refused"),
    (r"Permission denied \(", "step_connection", "check_login_refused"),
    (r"^ssh: connect to host .*: Connection refused", "step_connection", "check_port_refused"),
    (r"^ssh: connect to host |timed out", "step_connection", "check_unreachable"),
    (r"Connection (closed|reset)", "step_connection", "check_closed"),
)
"""What OpenSSH's words mean when it could not log in (seen with 9.2): the step that fails, and what to say of it."""


class Check:
    """The steps, one after the other."""

    def __init__(self, settings, connection, name):
        """name: the session's, if one is there."""
        self.settings, self.connection, self.name = settings, connection, name
        self.step, self.conversation, self.shared = STEPS[0], None, True

    def run(self):
        """Take step after step; return the exit status."""
        try:
            if not self.connection.here:
                self._look_up_name()
                self._connect()
            self._ask_login_node()
            self._look_at_session()
        except Trouble as trouble:
            self._line(message("check_fails"), str(trouble))
            return 1
        finally:
            if self.conversation:
                self.conversation.close()
        return 0

    def _line(self, mark, text):
        """Print how the step went."""
        marks = max(len(message("check_fails")), len(mark))
        steps = max(len(message(step)) for step in STEPS)
        print(f"{mark:<{marks}}  {message(self.step):<{steps}}  {text}", flush=True)

    def _ok(self, key, **values):
        """The step went well."""
        self._line("ok", message(key, **values))

    def _nothing(self, key, **values):
        """There is nothing to look at, and that is no failure."""
        self._line("--", message(key, **values))

    def _patiently(self, work, seconds=STEP, late=None):
        """Do something that may take its time, and show so; return what it answers, raises what it raises.

        work: a function; after so many seconds it is given up, and the Trouble `late` raised
        """
        done = queue.SimpleQueue()

        def run():
            try:
                done.put((work(), None))
            except Exception as error:
                done.put((None, error))

        threading.Thread(target=run, daemon=True).start()
        waiting, deadline = Waiting(), time.monotonic() + seconds
        try:
            while True:
                try:
                    answer, error = done.get(timeout=0.5)
                    break
                except queue.Empty:
                    waiting.show("check_waiting", step=message(self.step))
                if self.conversation and self.conversation.interrupted:
                    raise KeyboardInterrupt
                if time.monotonic() > deadline:
                    raise late or Trouble("check_slow", login=self.connection.login)
        finally:
            waiting.done()
        if error:
            raise error
        return answer

    # --- the way to the login node --------------------------------------------------------------------------------

    def _look_up_name(self):
        """The login node's name, as ~/.ssh/config has it."""
        self.ssh = ssh_settings(self.connection.login)
        self.host = self.ssh["hostname"][0]
        if {"proxyjump", "proxycommand"} & {name for name, value in self.ssh.items() if value != ["none"]}:
            self._ok("check_proxied", host=self.host)
        else:
            self._ok("check_name", host=self.host, address=self._address())

    def _address(self):
        """Return the host's address; raises Trouble when there is none, or no name server."""
        no_network = Trouble("check_no_network", host=self.host)
        try:
            found = self._patiently(lambda: socket.getaddrinfo(self.host, None), LOOK_UP, no_network)
        except (socket.gaierror, UnicodeError) as error:
            if getattr(error, "errno", None) == socket.EAI_AGAIN:
                raise no_network from None
            raise self._trouble("check_no_name") from None
        return found[0][4][0]

    def _connect(self):
        """Log in, unless a connection is open."""
        self.step = "step_connection"
        state = self._patiently(self.connection.state)
        if state == "frozen":
            raise self._trouble("check_no_reaction")
        self.step = "step_key"
        if state == "running":
            self._ok("check_key_unneeded")
        else:
            self.shared = False
        # where each channel logs in by itself, the next one does
        if state != "running" and not self.connection.separate:
            self._log_in()
            keys = offered_keys(self.ssh)
            self._ok("check_keys" if keys else "check_no_keys", keys=", ".join(keys))

    def _log_in(self):
        """Open the connection as Connection.open; raises Trouble for what ssh's own words mean."""
        say("lab_connecting", login=self.connection.login)
        self.connection.socket.parent.mkdir(mode=0o700, exist_ok=True)
        # its questions go to the terminal by themselves
        process = self.connection.start.popen(stdin=None, stdout=None, stderr=subprocess.PIPE)
        words = []
        copier = threading.Thread(target=copy_words, args=[process.stderr, words], daemon=True)
        copier.start()
        try:
            status = process.wait(LOGIN)
        except subprocess.TimeoutExpired:
            process.terminate()
            self.step = "step_connection"
            raise Trouble("check_login_slow", seconds=LOGIN) from None
        # where ~/.ssh/config wants debugging, the connection keeps the pipe
        copier.join(1)
        if status == 0:
            return
        words = b"".join(words).decode(errors="replace")
        for pattern, step, key in MEANINGS:
            if re.search(pattern, words, re.MULTILINE):
                self.step = step
                raise self._trouble(key)
        self.step = "step_connection"
        raise Trouble("no_connection", login=self.connection.login)

    def _trouble(self, key):
        """Return a Trouble with what messages about the way to the login node may name."""
        if self.connection.login.rpartition("@")[2] != self.host:
            place = "~/.ssh/config"
        elif self.settings.personal.get("ssh_host"):
            place = "personal.yml: ssh_host"
        elif "login_host" in self.settings.answers:
            place = "settings.yml: login_host"
        else:
            place = f"plugins/clusters/{self.settings.cluster}.yml: login_host"
        port = self.ssh["port"][0]
        return Trouble(
            key,
            host=self.host,
            place=place,
            login=self.connection.login,
            user=self.ssh["user"][0],
            port=port,
            known_as=self.host if port == "22" else f"'[{self.host}]:{port}'",
            keys=", ".join(offered_keys(self.ssh)) or message("check_none"),
        )

    # --- on the login node ----------------------------------------------------------------------------------------

    def _ask_login_node(self):
        """What lib/login_node/check.sh looks at, there."""
        self.step = "step_connection"
        folder = self.connection.folder(self.settings)
        self.conversation = Conversation(self.connection)
        self.conversation.open()
        self.conversation.ask("check", folder, sum_of_folder())
        answer = self._next()
        if self.connection.here:
            self._ok("check_here", login=self.connection.login)
        else:
            self._ok("check_shared" if self.shared else "check_connected", login=self.connection.login)
            self._look_at_folder(folder, answer[1])
        for step in ("step_account", "step_quota", "step_modules", "step_environment"):
            self.step = step
            _, status, *words = self._answer("step")
            if status in TIMED_OUT:
                raise Trouble("check_slow", login=self.connection.login)
            if status != "0":
                raise Said(" ".join(words))
            self._say_well(**dict(pair.partition("=")[::2] for pair in words))

    def _look_at_folder(self, folder, found):
        """found: what lib/login_node/attend.sh says of it."""
        self.step = "step_folder"
        if found != "same":
            key = {"missing": "check_no_folder", "differs": "check_folder_differs", "other": "other_folder"}[found]
            raise Trouble(key, folder=folder, login=self.connection.login)
        self._ok("check_folder", folder=folder)

    def _say_well(self, start="", now="", folders="", modules="", path="", version=""):
        """Print what check.sh has found, where all is well; start and now: seconds since 1970, by that clock."""
        if self.step == "step_quota":
            self._ok("check_quota", folders=folders)
        elif self.step == "step_modules":
            self._ok("check_modules" if modules else "check_no_modules", modules=modules)
        elif self.step == "step_environment":
            self._ok("check_environment", path=path, version=version)
        elif int(start) - int(now) < 60:
            self._ok("check_starts_now")
        else:
            self._ok("check_starts", start=clock_time(str(int(time.time()) + int(start) - int(now))))

    def _answer(self, kind, *request):
        """Send a request, if there is one, and return the words of the next answer of that kind, after it."""
        if request:
            self.conversation.ask(*request)
        while True:
            answer = self._next()
            if answer[0] == "trouble":
                raise Trouble("slurm_says", words=answer[1])
            if answer[0] == kind:
                return answer[1:]

    def _next(self):
        """Return the next answer; raises Trouble when none comes within STEP seconds, or nothing comes at all."""
        conversation, probed = self.conversation, False
        conversation.waiting.restart()
        deadline = time.monotonic() + STEP
        try:
            while time.monotonic() < deadline:
                if answer := conversation.next():
                    return answer
                conversation.waiting.show("check_waiting", step=message(self.step))
                # it should have answered the question for a sign of life by now
                if conversation.silence > PATIENCE and not probed:
                    probed = True
                    if not self.connection.reachable():
                        self.step = "step_connection"
                        raise self._trouble("check_unreachable")
        except Lost:
            self.step = "step_connection"
            if self.shared and not self.connection.here:
                raise self._trouble("check_no_reaction") from None
            raise Trouble("no_answer", login=self.connection.login) from None
        finally:
            conversation.waiting.done()
        raise Trouble("check_slow", login=self.connection.login)

    # --- the session ----------------------------------------------------------------------------------------------

    def _look_at_session(self):
        """The running session of that name: its server, the port that leads there, the time left."""
        self.step = "step_session"
        found = self._answer("found", "find", self.name)
        if not found or not found[0]:
            option = "" if self.name == self.settings.project else f" --name={self.name}"
            self._nothing("check_no_session", name=self.name, option=option)
            return
        job, session = found[0], None
        # the first is answered only where there is a server already
        self.conversation.ask("follow", job)
        self.conversation.ask("state", job)
        while (answer := self._next())[0] != "state":
            if answer[0] == "trouble":
                raise Trouble("slurm_says", words=answer[1])
            if answer[0] == "up":
                session = Session(answer[1], self.name, *answer[2:])
        _, _, _, state, reason, start, _, node, *_ = [*answer, "", "", "", "", ""]
        if state != "RUNNING":
            start = clock_time(start) or message("unknown")
            self._nothing("check_waits", name=self.name, job=job, state=state, reason=reason, start=start)
        elif session is None:
            self._nothing("check_no_server_yet", name=self.name, job=job, node=node)
        else:
            self._ok("check_session", name=self.name, job=job)
            self._look_at_server(session, node)

    def _look_at_server(self, session, node):
        """node: as Slurm calls it."""
        self.step = "step_node"
        tunnel = tunnel_to(session, self.conversation, self.settings)
        wanted = int(self.settings.personal.get("port") or session.port)
        port, leads = (None, False) if self.connection.here else self._patiently(lambda: local_port(tunnel, wanted))
        if not leads and not self._proves_itself(tunnel):
            state = (self._answer("node", "node", node) or [""])[0] or message("unknown")
            raise Trouble("check_no_server", node=session.node, state=state, name=self.name)
        self._ok("check_server", node=session.node)
        self.step = "step_port"
        if leads:
            self._ok("check_port_leads", port=port)
        elif port == wanted:
            self._ok("check_port_free", port=port)
        elif port:
            self._ok("check_port_taken", port=port, taken=wanted)
        elif not self.connection.here:
            raise Trouble("no_free_port", first=wanted, last=min(wanted + PORTS, 65536) - 1)
        self.step = "step_time"
        if session.left is None:
            self._nothing("check_no_end")
            return
        left = hours_and_minutes(session.left)
        if session.left < SHORT * 60:
            raise Trouble("check_too_short", left=left, end=session.end)
        self._ok("check_time", left=left, end=session.end)

    def _proves_itself(self, tunnel):
        """Return whether the server does, through a port that leads there for the moment and that nobody else uses."""
        if self.connection.here:
            tunnel.port = tunnel.session.port
            return self._patiently(lambda: proved(tunnel))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            tunnel.port = free.getsockname()[1]
        try:
            # where a second ssh is needed, that may ask its questions
            return tunnel._forward(tunnel.port) and self._patiently(lambda: proved(tunnel))
        finally:
            tunnel._cancel(tunnel.port)


class Said(Trouble):
    """What the login node itself says of a step, in the user's language."""

    def __init__(self, words):
        super().__init__("said")
        self.words = words

    def __str__(self):
        return self.words


def ssh_settings(login):
    """Return ssh's settings for this host, {name: [value, ...]}; raises Trouble when it cannot read them."""
    try:
        status, out, error = local["ssh"]["-G", login].run(retcode=None, timeout=PATIENCE)
    except ProcessTimedOut:
        raise Trouble("check_ssh_settings", words="ssh -G") from None
    if status != 0:
        raise Trouble("check_ssh_settings", words=error.strip().splitlines()[0] if error.strip() else "ssh -G")
    settings = defaultdict(list)
    for line in out.splitlines():
        name, _, value = line.partition(" ")
        settings[name].append(value)
    return settings


def offered_keys(settings):
    """Return the keys that ssh can offer: files, and how many an agent has."""
    keys = [name for name in settings["identityfile"] if Path(name).expanduser().exists()]
    if settings["identitiesonly"] != ["yes"]:
        try:
            status, out, _ = local["ssh-add"]["-l"].run(retcode=None, timeout=PATIENCE)
        except (CommandNotFound, ProcessTimedOut):
            return keys
        if status == 0:
            keys.append(message("check_agent", count=len(out.splitlines())))
    return keys


def copy_words(stream, words):
    """Show what ssh says as it comes, and keep it."""
    while piece := os.read(stream.fileno(), 4096):
        words.append(piece)
        sys.stderr.buffer.write(piece)
        sys.stderr.buffer.flush()


def local_port(tunnel, wanted):
    """Return a port of this computer, and whether it leads to the server already; None where all are taken.

    As Tunnel.lead chooses it, but nothing is led anywhere.
    """
    noted = tunnel.noted()
    if noted and tunnel.proved(noted):
        return noted, True
    for port in range(wanted, min(wanted + PORTS, 65536)):
        if not listens(port):
            return port, False
        if port != noted and tunnel.proved(port):
            return port, True
    return None, False


def proved(tunnel):
    """Return whether the server proves itself before long; Tunnel.lead has more patience."""
    deadline = time.monotonic() + 2 * ANSWER
    while not tunnel.proved():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
