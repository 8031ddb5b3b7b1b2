"""Requests to attend.sh on the login node and its answers, through one held channel of the connection."""

import contextlib
import queue
import signal
import threading
import time

from .messages import FOLDER, Trouble, say, warn
from .waiting import Waiting, clock

PING = 5
"""Seconds between two questions for a sign of life."""
SILENCE = 10
"""Seconds without an answer to that after which something is wrong."""
GREETING = 20
"""Seconds that the login node may take from the connection to the first answer (its startup files)."""


class Lost(Exception):
    """The channel has ended, or nothing has come through it for SILENCE seconds."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C was pressed, or the terminal was closed."""


class Conversation:
    """One held channel. Requests and answers are lists of words; what else the login node prints is shown as it is."""

    def __init__(self, connection):
        self.connection = connection
        self.waiting = Waiting()
        self.interrupted = ""
        self._events = queue.SimpleQueue()
        self._process = None
        self._answers = []
        for name in ["SIGINT", "SIGTERM", "SIGHUP"]:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._interrupt)

    def _interrupt(self, number, frame):
        """Note the signal; next() raises Interrupted where that does no harm."""
        self.interrupted = signal.Signals(number).name
        self._events.put(None)

    def ask_for_life(self):
        """Ask at once for a sign of life; silence counts from now on, until there is one."""
        self._pinged = time.monotonic()
        self._unanswered = self._unanswered or self._pinged
        self.ask("ping")

    def heed(self):
        """Raise Interrupted after a Ctrl-C."""
        if self.interrupted:
            raise Interrupted

    def open(self):
        """Open connection and channel; raises Trouble when ssh cannot log in."""
        self.connection.open()
        self._start()

    def _start(self):
        """Start attend.sh in a new channel and wait for nothing."""
        self._process = process = self.connection.shell()
        self._heard = self._pinged = time.monotonic()
        self._unanswered = self._heard
        self._greeted = False
        # ssh may be asking for a password
        self.waiting.quiet = self.connection.separate
        script = (FOLDER / "lib/login_node/attend.sh").read_bytes()
        self._write(script + b"\ntell hello\nattend\n")
        threading.Thread(target=self._read, args=[process], daemon=True).start()

    def _read(self, process):
        """Put each line of a channel into the queue; the channel's end is an empty one."""
        for line in process.stdout:
            self._events.put((process, line.decode("utf-8", "replace").rstrip("\r\n")))
        self._events.put((process, None))

    def _write(self, data):
        """Write to the channel; that it is closed is found when reading."""
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            pass

    def ask(self, *words):
        """Send a request."""
        self._write("\t".join(map(str, words)).encode() + b"\n")

    def next(self, seconds=1.0):
        """Return the next answer (a list of words), or None when none has come within so many seconds.

        Raises Lost, and Interrupted after a Ctrl-C.
        """
        deadline = time.monotonic() + seconds
        while not self._answers:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._listen(left)
            if self.silence > self._patience and self._events.empty():
                raise Lost
        return self._answers.pop(0)

    @property
    def _patience(self):
        """Return the seconds without an answer after which something is wrong."""
        if self._greeted:
            return SILENCE
        # somebody may be typing a password
        return float("inf") if self.connection.separate else GREETING

    def _need_greeting(self):
        """Raise Trouble when the channel has ended before its first answer: another one would, too."""
        if not self._greeted and self._process.poll() is not None:
            key = "no_connection" if self.connection.separate else "no_answer"
            raise Trouble(key, login=self.connection.login)

    def _listen(self, seconds):
        """Wait for one line, a second at most; asks for a sign of life when it is time to."""
        self.heed()
        if time.monotonic() - self._pinged >= PING:
            self.ask_for_life()
        try:
            event = self._events.get(timeout=min(seconds, 1.0))
        except queue.Empty:
            return
        # None wakes up; what comes from a channel that was given up is nobody's business any more
        if event is None or event[0] is not self._process:
            return
        line = event[1]
        if line is None:
            raise Lost
        self._heard, self._unanswered = time.monotonic(), None
        words = line.split("\t")
        if words[0] != "passerelle" or len(words) < 2:
            # before the greeting it is what startup files print
            if self._greeted:
                self.waiting.done()
                print(line, flush=True)
        elif words[1] == "hello":
            self._greeted, self.waiting.quiet = True, False
        elif words[1] != "alive":
            self._answers.append(words[1:])

    def ask_for(self, kind, *request):
        """Send a request and return the words of its answer after `kind`; raises Trouble, and Interrupted."""
        self.ask(*request)
        while True:
            answer = self.next_answer()
            if answer[0] == "trouble":
                raise Trouble("slurm_says", words=answer[1])
            if answer[0] == kind:
                return answer[1:]

    def next_answer(self):
        """Return the next answer, saying what is awaited; for commands that are done after a few.

        Raises Trouble when none comes: nothing of such a command needs to be saved.
        """
        self.waiting.restart()
        try:
            while not (answer := self.next()):
                self.waiting.show("waiting_for_answer", login=self.connection.login)
        except Lost:
            self._need_greeting()
            raise Trouble("no_word", login=self.connection.login, seconds=int(self.silence)) from None
        finally:
            self.waiting.done()
        return answer

    @property
    def silence(self):
        """Seconds since the login node was last asked for a sign of life, and has given none."""
        return time.monotonic() - self._unanswered if self._unanswered else 0

    def repair(self):
        """After Lost: waits until the connection is there again, or makes it anew, and say which it was.

        Return whether there is a new channel, which knows nothing of what was asked before.

        The connection is given time to come back by itself, because a new one may ask for the second factor: TCP tries
        again at growing intervals, so as long as it has been silent, at most two minutes from when the network is back.
        Raises Trouble when ssh cannot log in, and Interrupted.
        """
        self.waiting.done()
        began = time.monotonic() - self.silence
        connection, ended = self.connection, self.silence < SILENCE
        self.waiting.since = began
        if connection.separate:
            self._need_greeting()
        back, warned, again, pause, patience = None, False, 0, 1, SILENCE
        while (state := connection.state()) == "running":
            if ended:
                self._need_greeting()
                # the channel alone has ended
                say("channel_lost", login=connection.login)
                self._start()
                return True
            if not warned:
                warn("silent", login=connection.login, seconds=int(self.silence))
                warned = True
            before = self._heard
            try:
                self._listen(1)
            except Lost:
                ended = True
                continue
            if self._heard > before:
                self.waiting.done()
                say("connection_back", login=connection.login, time=clock(time.monotonic() - began))
                self.waiting.restart()
                return False
            if back is not None and time.monotonic() - back > patience:
                break
            if time.monotonic() >= again:
                # sshd counts who knocks and does not log in: ever less often
                pause = 1 if back is None else pause * 2 + 5
                again = time.monotonic() + pause
                if not connection.reachable():
                    back = None
                elif back is None:
                    back, patience = time.monotonic(), max(SILENCE, min(120, time.monotonic() - began))
            self.waiting.show(
                "waiting_for_network" if back is None else "waiting_for_connection", login=connection.login
            )
        self.waiting.done()
        warn("connection_frozen" if state == "frozen" else "connection_died", login=connection.login)
        self._process.kill()
        connection.drop()
        while not connection.reachable():
            self.waiting.show("waiting_for_network", login=connection.login)
            time.sleep(1)
            self.heed()
        self.waiting.restart()
        self.open()
        return True

    def close(self):
        """End the channel, and with it attend.sh; the connection stays."""
        if self._process and self._process.poll() is None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
