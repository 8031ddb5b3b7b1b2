"""rsync through lab's connection, from this folder to the login node's, or from there to .lab/incoming.

Its options are those that rsync 2.6.9 and openrsync (both macOS') have, too.
"""

import contextlib
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace

from both.limits import LIMITS
from both.messages import FOLDER, Trouble, printable

from .openssh import NO_MORE_SESSIONS
from .paths import STATE, amount
from .rsh import UNIT

INCOMING = STATE / "incoming"
"""Where what the login node sends arrives, and stays half-finished after a lost connection."""
CONNECTION_LOST = (10, 12, 30, 35, 255)
"""rsync's statuses of a connection that has ended (rsync(1), EXIT VALUES); 255 is ssh's."""
RSH = "/bin/sh lib/laptop/lab/rsh.sh"
"""What rsync calls in place of ssh, from the folder: rsync parts it at spaces and takes quotes in it for its own."""
SAFE = (3, 1, 1)
"""The first rsync that refuses absolute names and names with ".." from the other side."""


class Broken(Exception):
    """The connection has ended; units: how much had passed; status, words: rsync's."""

    def __init__(self, units, status, words):
        super().__init__()
        self.units, self.status, self.words = units, status, words


def check_rsync():
    """Return the options for what is half-sent, where rsync has them; raises Trouble where there is no rsync."""
    if os.name == "nt" or not shutil.which("rsync"):
        raise Trouble("no_rsync")
    # openrsync keeps only what is half-brought
    return ["--partial-dir=.rsync-partial"] if "--partial-dir" in said_by_rsync("--help") else []


def check_rsync_is_safe():
    """Raise Trouble where the login node could make rsync write outside the folder."""
    found = re.match(r"rsync +version v?(\d+)\.(\d+)\.(\d+)", said_by_rsync("--version"))
    if found and tuple(map(int, found.groups())) < SAFE:
        raise Trouble("sync_rsync_old", version=".".join(found.groups()))


def said_by_rsync(option):
    """Return what rsync prints of itself."""
    done = subprocess.run(["rsync", option], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def rsync(channel, folder, paths, *options, out=True, size=0):
    """Carry these paths of the folder, out to the login node or in from it; size: how many bytes it is about.

    Raises Broken when the connection has ended, Trouble for what rsync could not do at all, and Interrupted.
    """
    connection = channel.connection
    here, there = f"{FOLDER if out else INCOMING}/", f"login:{folder}/"
    command = [
        "rsync", "-t", "--from0", "--files-from=-", "--no-implied-dirs", "--ignore-times", "-e", RSH,
        *options, *([here, there] if out else [there, here]),
    ]  # fmt: skip
    counter, counted = os.pipe()
    # none of one's own settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RSYNC_")}
    environment.update(LAB_SHELL=shlex.join(connection.shell_command), LAB_COUNT=str(counted), LC_ALL="C")
    environment.update(LAB_PYTHON=sys.executable)
    login = LIMITS.LOGIN_SHELL + (LIMITS.LOGIN if connection.separate else 0)
    environment.update(LAB_PATIENCE=f"{login} {LIMITS.RSYNC_SILENCE} {LIMITS.SSH_ANSWER}")
    channel.waiting.restart()
    # a Ctrl-C for lab is not one for rsync, which is ended here; but ssh may have to ask something at the terminal
    process = subprocess.Popen(
        command, env=environment, cwd=FOLDER, pass_fds=[counted], start_new_session=not connection.separate,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(counted)
    names = "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")
    said, units = SimpleNamespace(words=b"", size=0), 0
    begin(hand_over, process.stdin, names)
    reader, ending = begin(listen, process.stderr, said), begin(process.wait)
    try:
        while ending.is_alive():
            ending.join(0.2)
            channel.heed()
            if select.select([counter], [], [], 0)[0]:
                units += len(os.read(counter, UNIT))
            # rsync may carry a file twice; what is around a million of them takes less than a long answer. What is sent
            # has an end, and what is read there for it may be an older copy, which is larger.
            for passed, most in ((said.size, 0), (0 if out else units * UNIT, 2 * size // 1000000)):
                if passed > (megabytes := LIMITS.ANSWER_MEGABYTES + most) * 1000000:
                    raise Trouble("endless", login=connection.login, megabytes=megabytes)
            percent = min(100, 100 * units * UNIT // max(1, size))
            # without a terminal each change is a line: a few are enough
            percent -= 0 if sys.stdout.isatty() else percent % 25
            key = ("sync_sending" if out else "sync_bringing") if units else "waiting_for_answer"
            channel.waiting.show(key, login=connection.login, size=amount(size), done=amount(size * percent // 100))
        channel.heed()
    finally:
        if process.poll() is None:
            process.terminate()
            ending.join(LIMITS.SSH_ANSWER)
        if ending.is_alive():
            process.kill()
        os.close(counter)
        # rsh.py ends with that; whoever else has rsync's standard error is not waited for
        reader.join(LIMITS.SSH_ANSWER)
        channel.waiting.done()
        channel.forgive()
    if NO_MORE_SESSIONS in said.words:
        raise Trouble("no_more_sessions", login=connection.login)
    words = said.words.decode(errors="replace")
    # no space, or no quota (of macOS, of Linux); a file's name may have the same in it
    if re.search(r"\((28|69|122)\)\r?$", words, re.MULTILINE):
        raise Trouble("not_sent" if out else "not_brought", login=connection.login)
    if process.returncode in CONNECTION_LOST:
        raise Broken(units, process.returncode, words)
    # 23 and 24: some files could not be carried; which they are is seen afterwards
    if process.returncode not in (0, 23, 24):
        raise failed(channel, process.returncode, words)


def begin(work, *arguments):
    """Return a thread that does this."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def hand_over(target, names):
    """Write the names; whether rsync reads them all is its own affair."""
    with contextlib.suppress(OSError), target:
        target.write(names)


def listen(source, said):
    """Keep the first of what comes in said.words, and how much it is in said.size: the login node's words come, too."""
    while piece := os.read(source.fileno(), UNIT):
        said.words, said.size = (said.words + piece)[:UNIT], said.size + len(piece)


def failed(channel, status, words):
    """Show rsync's words and return the Trouble of its failure."""
    for line in words.splitlines():
        print(printable(line), file=sys.stderr)
    return Trouble("rsync_failed", code=status, login=channel.connection.login)
