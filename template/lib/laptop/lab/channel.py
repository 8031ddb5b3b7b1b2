"""Requests to the login node and its answers, through one held channel of the connection.

The other half is lib/login_node/attend.sh. What comes is data: an answer that does not have the shape it should have
ends the command, and everything else is shown without its control characters.
"""

import contextlib
import itertools
import os
import queue
import re
import shlex
import signal
import subprocess
import threading
import time

from both.limits import LIMITS
from both.messages import FOLDER, Trouble, printable, put, say, warn

from .paths import LEFT_OUT
from .rsh import DOOR
from .waiting import Waiting, clock

JOB, TIME, TEXT, REST = "[0-9]{1,12}", "[0-9]{1,11}", r"[^\t]*", ".*"
A_TIME = f"(?:{TIME}|N/A|Unknown|)"
COUNT = "[0-9]{1,7}"
SHAPES = {
    "alive": [],
    "folder": ["missing|other|differs|same"],
    "file": [r"[^\t:]:[0-9]{1,18}:-?[0-9]{1,11}(?:\.[0-9]{1,12})?:[0-7]{1,6}", r"[^\t]+"],
    "listed": ["there|missing|other", TIME],
    "sum": ["[0-9]{1,6}", "[0-9a-f]{64}"],
    "summed": [],
    "prepared": ["yes|no|no_rsync"],
    "aside": [],
    "submitted": [JOB],
    "found": [f"(?:{JOB})?"],
    # what of the environment is built; nothing when it is ready
    "building": [TEXT],
    # whose it is to submit
    "turn": ["another|ours"],
    # there is what the last session of that name had open
    "again": [],
    # the settings that have changed since
    "changed": ["[a-z_ ]*"],
    # job, state, all that Slurm's accounts say of it, end, what Slurm wrote about the memory
    "last": [f"(?:{JOB})?", "[A-Z_]*", TEXT, A_TIME, TEXT],
    "withdrawn": [f"(?:{JOB})?"],
    "failed": [r"[a-z_]+\.sh"],
    "done": [],
    "trouble": [TEXT],
    "up": [TEXT, f"(?:{TIME})?", TIME],
    "record": [TEXT, f"(?:{TIME})?", TIME],
    # state, reason, start, node, what Slurm wrote about the memory
    "state": ["[A-Z_]+|forgotten", TEXT, A_TIME, TEXT, TEXT],
    # now, job, state, reason, start, end, node, what Slurm has given, cores, name
    "session": [TIME, f"{JOB}[^\t]*", "[A-Z_]+", TEXT, A_TIME, A_TIME, TEXT, TEXT, "[1-9][0-9]{0,6}", r"[^\t]+"],
    # of one that ended because nothing was done in it: job, name, minutes, end
    "idle": [JOB, "[A-Za-z0-9._-]+", "[0-9]{1,4}", TIME],
    # step, memory, CPU time
    "usage": [f"{JOB}[^\t]*", TEXT, TEXT],
    # job, state, exit status and signal, end, notebook
    "ended": [JOB, "[A-Z_]+", "[0-9]{1,3}:[0-9]{1,3}", A_TIME, r"[^\t]+"],
    # of a notebook that runs itself: job, state, cell, of how many, why it has ended
    "cells": [JOB, "[a-z]+", COUNT, COUNT, TEXT],
    # job, how many rows its table has, how many of them have passed, failed, run, wait, and never ran; the table; for
    # which time the work goes on
    "rows": [JOB, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT, TEXT, TEXT],
    # job, notebook
    "batch_job": [f"(?:{JOB})?", TEXT],
    "end": [],
    "stopped": [f"(?:{JOB})?"],
    "logged": [f"(?:{JOB})?"],
    # step, exit status, what is found or wrong
    "step": ["[a-z]+", "[0-9]{1,3}", REST],
    "node": [TEXT],
    "reached": ["yes|no"],
}  # fmt: skip
"""The kinds of answers, and what their words look like (times in seconds since 1970)."""
# as a session, with the notebook in the place of the name
SHAPES["batch"] = SHAPES["session"]
_SHAPES = {kind: re.compile("\t".join([kind, *(f"({word})" for word in words)])) for kind, words in SHAPES.items()}
ANSWERS = {
    "files": ("file", "listed"),
    "sums": ("sum", "summed"),
    "prepare": ("prepared",),
    "aside": ("aside",),
    "open": ("folder", "turn", "again", "changed", "building", "submitted", "found", "failed", "trouble"),
    "find": ("found", "trouble"),
    "last": ("last",),
    "withdraw": ("withdrawn", "trouble"),
    "follow": ("up", "state", "trouble"),
    "state": ("state", "trouble"),
    "list": ("session", "batch", "idle", "usage", "ended", "cells", "rows", "end", "trouble"),
    "stop": ("stopped", "trouble"),
    "record": ("record",),
    "log": ("logged",),
    "batch": ("batch_job",),
    "output": ("batch_job", "logged"),
    "log_end": ("logged",),
    "submit": ("folder", "done", "failed"),
    "check": ("folder", "step"),
    "node": ("node",),
    "reach": ("reached",),
}
"""The requests (answer_NAME in lib/login_node/requests/), and the kinds of answers to each."""
PARTS = ("cluster/clean", "both/limits", "cluster/places", "cluster/jobs", "login_node/attend")
"""What is sent to the login node, and the requests behind it."""
BASH = re.compile("passerelle\t0\tbash\t[0-9][^\t]*")
"""What answers there is bash; only then the rest is sent."""
HELLO = "passerelle\t0\thello"
LINE = 16384
"""A line is no longer, in bytes; two paths as long as Linux allows would fit."""
AHEAD = 1000
"""So many lines are read before somebody wants them; then the login node has to wait."""


class Lost(Exception):
    """The channel has ended, or nothing has come through it for LIMITS.SILENCE seconds."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C was pressed, or the terminal was closed."""


def write(process, outbox):
    """Write to a process what comes into the box, until it is None or nobody reads any more."""
    with contextlib.suppress(OSError, ValueError):
        for data in iter(outbox.get, None):
            # not through its buffer: Python cannot end while this holds the buffer's lock
            while data:
                data = data[os.write(process.stdin.fileno(), data) :]
    with contextlib.suppress(OSError):
        process.stdin.close()


class Channel:
    """One held channel; see call."""

    def __init__(self, connection):
        self.connection = connection
        self.waiting = Waiting()
        self.interrupted = ""
        self._events, self._ahead = queue.SimpleQueue(), threading.Semaphore(AHEAD)
        self._process, self._answers, self._script = None, [], b""
        self._numbers = itertools.count(1)
        for name in ["SIGINT", "SIGTERM", "SIGHUP"]:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._interrupt)

    def _interrupt(self, number, frame):
        """Note the signal; next() raises Interrupted where that does no harm."""
        self.interrupted = signal.Signals(number).name
        self._events.put(None)

    def heed(self):
        """Raise Interrupted after a Ctrl-C."""
        if self.interrupted:
            raise Interrupted

    # --- requests -----------------------------------------------------------------------------------------------------

    def request(self, *words):
        """Send a request; return its number, which its answers repeat."""
        number = str(next(self._numbers))
        # its own line from both sides: bash's read loses an end that comes in the moment in which its time is up
        line = "\n" + "\t".join([number, *map(str, words)]) + "\n"
        line = line.encode("utf-8", "surrogateescape")
        if self._script:
            # what would read it now is not known to be bash
            self._script += line
        else:
            self._write(line)
        return number

    def call(self, *words, show=None, again=False, limit=None, warns=False):
        """Send a request and yield its answers, [kind, word, ...], for as long as somebody wants them.

        show: is called every second while nothing comes; without it, the login node's answer is awaited
        again: whether it is sent again after a lost connection, which is repaired then
        limit: seconds until the last answer wanted
        warns: whether Slurm's trouble is only shown
        Raises Trouble (no answer in time, a lost connection, Slurm's trouble, a script's, no login), and Interrupted.
        """
        show = show or (lambda: self.waiting.show("waiting_for_answer", login=self.connection.login))
        self.waiting.restart()
        number, began, size = self.request(*words), time.monotonic(), 0
        try:
            while True:
                if limit and time.monotonic() - began > limit:
                    raise Trouble("check_slow", login=self.connection.login)
                try:
                    answer = self.next(number)
                except Lost:
                    if not again:
                        raise self._no_answer() from None
                    if self.repair():
                        number = self.request(*words)
                    continue
                if answer is None:
                    show()
                    continue
                if answer[0] not in ANSWERS[words[0]]:
                    raise self._garbled("\t".join(answer))
                size += sum(map(len, answer))
                if size > LIMITS.ANSWER_MEGABYTES * 1000000:
                    raise Trouble("endless", login=self.connection.login, megabytes=LIMITS.ANSWER_MEGABYTES)
                if answer[0] == "trouble" and warns:
                    warn("slurm_says", words=answer[1])
                elif answer[0] == "trouble":
                    raise Trouble("slurm_says", words=answer[1])
                elif answer[0] == "failed":
                    # its own words stand above
                    raise Trouble("script_failed", script=answer[1])
                else:
                    yield answer
        finally:
            self.waiting.done()

    def ask(self, kind, *words, **how):
        """Send a request and return the words of its first answer of that kind; see call."""
        return next(answer[1:] for answer in self.call(*words, **how) if answer[0] == kind)

    def next(self, number=None):
        """Return the next answer, [kind, word, ...], to the request of that number (None: to any).

        Returns None when none has come within a second. Raises Lost, Interrupted, and Trouble for what is no answer.
        """
        deadline = time.monotonic() + 1
        while True:
            while self._answers:
                asked, *answer = self._answers.pop(0)
                # what still comes of an earlier request is nobody's business
                if number in (None, asked):
                    return answer
            if (left := deadline - time.monotonic()) <= 0:
                return None
            self._listen(left)
            if self.silence > self._patience and self._events.empty() and not self._is_slow():
                raise Lost

    # --- the channel --------------------------------------------------------------------------------------------------

    def open(self):
        """Open connection and channel; raises Trouble when ssh cannot log in."""
        self.connection.open(self.waiting, self.heed)
        self._start()

    def _start(self):
        """Start attend.sh in a new channel and wait for nothing."""
        self._process = process = self.connection.shell()
        self._began = self._heard = self._pinged = time.monotonic()
        self._unanswered = self._heard
        # hello does not prove that the requests are answered
        self._greeted = self._served = self._slow = False
        self._empty = ""
        # ssh may be asking for a password
        self.waiting.quiet = self.connection.separate
        parts = [FOLDER / f"lib/{part}.sh" for part in PARTS]
        clean, *rest = (path.read_bytes() for path in parts + sorted(FOLDER.glob("lib/login_node/requests/*.sh")))
        left_out = " -o ".join(["-path ./personal.yml", *(f"-name {shlex.quote(name)}" for name in LEFT_OUT)])
        # a startup file may have printed a line without its end
        begin = f"LEFT_OUT=('(' {left_out} ')')\necho\ntell hello\nattend\n".encode()
        self._script = b"\n".join([clean, b"clean_login", *rest, begin])
        self._outbox = queue.SimpleQueue()
        self._write(DOOR)
        # both may have to wait for the other side, and a Ctrl-C must not wait with them
        threading.Thread(target=self._read, args=[process], daemon=True).start()
        threading.Thread(target=write, args=[process, self._outbox], daemon=True).start()

    def _read(self, process):
        """Put each line of a channel into the queue; the channel's end is an empty one."""
        for line in iter(lambda: process.stdout.readline(LINE), b""):
            if len(line) < LINE and not line.endswith(b"\n") and line.startswith(b"passerelle\t"):
                # the channel has ended in the middle of it
                break
            self._ahead.acquire()
            self._events.put((process, line.decode("utf-8", "surrogateescape")))
        if self.connection.separate:
            process.shown.join(1)
        self._events.put((process, None))

    def _write(self, data):
        """Write to the channel; that it is closed is found when reading."""
        self._outbox.put(data)

    def _listen(self, seconds):
        """Wait for one line; asks for a sign of life when it is time to."""
        self.heed()
        if time.monotonic() - self._pinged >= LIMITS.PING:
            self.ask_for_life()
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return
        # None wakes up; what comes from a channel that was given up is nobody's business any more
        if event is None:
            return
        process, line = event
        if line is not None:
            self._ahead.release()
        if process is not self._process:
            return
        if line is None:
            raise Lost
        if self._greeted:
            self._heard, self._unanswered = time.monotonic(), None
        text = line.rstrip("\r\n")
        mark, number, answer = (*text.split("\t", 2), "", "")[:3]
        kind = answer.split("\t")[0]
        if BASH.fullmatch(text):
            self._heard, self._unanswered = time.monotonic(), None
            script, self._script = self._script, b""
            self._write(script)
        elif text == HELLO and not self._script:
            self._heard, self._unanswered = time.monotonic(), None
            self._greeted, self.waiting.quiet = True, False
        elif not self._greeted:
            # startup files print it; from their first line on, somebody has logged in
            self._unanswered = self._unanswered if self._noisy else time.monotonic()
            self._heard = time.monotonic()
        elif mark != "passerelle":
            self.waiting.done()
            # before an answer an empty line only ends another one (tell in attend.sh)
            text, self._empty = f"{self._empty}{printable(text.expandtabs())}", ""
            if text.strip("\n"):
                put(text)
            else:
                self._empty = f"{text}\n"
        elif not (found := line.endswith("\n") and kind in _SHAPES and _SHAPES[kind].fullmatch(answer)):
            raise self._garbled(text)
        else:
            self._served, self._empty = True, self._empty[1:]
            if answer != "alive":
                self._answers.append([number, kind, *found.groups()])

    def _garbled(self, words):
        """Return the Trouble of something that is no answer."""
        return Trouble("garbled", login=self.connection.login, words=words[:200])

    def ask_for_life(self):
        """Ask at once for a sign of life; silence counts from now on, until there is one."""
        self._pinged = time.monotonic()
        self._unanswered = self._unanswered or self._pinged
        self.request("ping")

    def forgive(self):
        """Count silence anew: somebody else has kept the connection busy."""
        self._pinged, self._unanswered = time.monotonic(), None

    @property
    def silence(self):
        """Seconds since the login node was last asked for a sign of life, and has given none."""
        return time.monotonic() - self._unanswered if self._unanswered else 0

    @property
    def _patience(self):
        """Return the seconds without an answer after which something is wrong."""
        if self._greeted:
            return LIMITS.SILENCE
        # somebody may be typing a password
        if self.connection.separate and not self._noisy:
            return float("inf")
        return LIMITS.LOGIN_SHELL if self._slow else LIMITS.GREETING

    def _is_slow(self):
        """Return whether it is the login shell that takes long, and not the network; says so."""
        if self._greeted or self._slow or self.connection.separate or not self.connection.reachable():
            return False
        self._slow = True
        self.waiting.done()
        warn("shell_slow", login=self.connection.login, seconds=int(self.silence))
        return True

    @property
    def _deaf(self):
        """Return whether there is somebody who has never answered, nor would in another channel."""
        return not self._served and (self.silence < self._patience or self._noisy or self._slow)

    @property
    def _noisy(self):
        """Return whether somebody has logged in there, and only startup files have printed anything."""
        return not self._greeted and self._heard > self._began

    def _no_answer(self):
        """Return the Trouble of a channel that is lost and is not to be repaired."""
        if self._deaf:
            if self.connection.is_full(self._process):
                return Trouble("no_more_sessions", login=self.connection.login)
            if not (self.connection.here or self.connection.separate) and self.connection.state() == "absent":
                return Trouble("connection_ended", login=self.connection.login)
            if not self._greeted and (self._slow or self._ended_by_itself()):
                return Trouble("no_shell", login=self.connection.login)
            unheard = self.connection.separate and self._heard == self._began
            return Trouble("no_connection" if unheard else "no_answer", login=self.connection.login)
        return Trouble("no_word", login=self.connection.login, seconds=int(self.silence))

    def _ended_by_itself(self):
        """Return whether what the login node has started has ended, and not ssh (255)."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(LIMITS.SSH_ANSWER) != 255
        return False

    # --- after a lost connection --------------------------------------------------------------------------------------

    def repair(self):
        """After Lost: wait until the connection is there again, or make it anew, and say which it was.

        Return whether there is a new channel, which knows nothing of what was asked before. Raises Trouble when ssh
        cannot log in, and Interrupted.
        """
        self.waiting.done()
        if self._deaf:
            raise self._no_answer()
        ended = self.silence < self._patience
        if not ended:
            ended = self._comes_back()
            if ended is None:
                return False
        state = self.connection.state()
        if ended and state == "running":
            # the channel alone
            say("channel_lost", login=self.connection.login)
            self._start()
            return True
        warn("connection_frozen" if state == "frozen" else "connection_died", login=self.connection.login)
        self._process.kill()
        self.connection.give_up()
        self.waiting.restart()
        while not self.connection.reachable():
            self.waiting.show("waiting_for_network", login=self.connection.login)
            time.sleep(1)
            self.heed()
        self.waiting.restart()
        self.open()
        return True

    def _comes_back(self):
        """Give a silent connection time to recover; return None when it has, else whether the channel has ended.

        A new one may ask for the second factor. TCP tries again at growing intervals, so it is given as long as it has
        been silent, counted from when the network is back.
        """
        connection = self.connection
        began = self.waiting.since = time.monotonic() - self.silence
        warn("silent", login=connection.login, seconds=int(self.silence))
        back, knock, pause, patience = None, 0, 1, LIMITS.SILENCE
        while connection.state() == "running":
            before = self._heard
            try:
                self._listen(1)
            except Lost:
                return True
            if self._heard > before:
                self.waiting.done()
                say("connection_back", login=connection.login, time=clock(time.monotonic() - began))
                return None
            if back is not None and time.monotonic() - back > patience:
                break
            if time.monotonic() >= knock:
                # sshd counts who knocks and does not log in: ever less often
                pause = 1 if back is None else pause * 2 + 5
                knock = time.monotonic() + pause
                if not connection.reachable():
                    back = None
                elif back is None:
                    back = time.monotonic()
                    patience = max(LIMITS.SILENCE, min(LIMITS.RECOVERY, back - began))
            waits = "waiting_for_network" if back is None else "waiting_for_connection"
            self.waiting.show(waits, login=connection.login)
        self.waiting.done()
        return False

    def close(self):
        """End the channel, and with it attend.sh; the connection stays."""
        if self._process:
            self._outbox.put(None)
