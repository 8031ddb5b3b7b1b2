"""rsync through lab's connection, from this folder to the login node's, or from there to .lab/incoming."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

from .channel import Lost
from .limits import LIMITS
from .messages import FOLDER, Trouble, printable
from .paths import STATE, amount

INCOMING = STATE / "incoming"
"""Where what the login node sends arrives, and stays half-finished after a lost connection."""
COUNT = STATE / "count"
CONNECTION_LOST = (10, 12, 30, 35, 255)
"""rsync's statuses of a connection that has ended (rsync(1), EXIT VALUES); 255 is ssh's."""
NO_SPACE = 11
"""rsync's status of an error when writing."""


def rsync(channel, folder, paths, *options, out=True, key="", size=0):
    """Carry these paths of the folder, out to the login node or in from it; return what rsync prints.

    key: the message that says what is awaited; size: how many bytes it is about
    Raises Lost when the connection has ended, Trouble for what rsync could not do at all, and Interrupted.
    """
    here, there = f"{FOLDER if out else INCOMING}/", f"login:{shlex.quote(str(folder))}/"
    rsh = " ".join(f'"{word}"' for word in (sys.executable, Path(__file__).with_name("rsh.py")))
    command = [
        "rsync", "-t", "--from0", "--files-from=-", "--no-implied-dirs", "--ignore-times",
        "--partial-dir=.rsync-partial", f"--timeout={LIMITS.RSYNC_SILENCE}", "-e", rsh, *options,
        *([here, there] if out else [there, here]),
    ]  # fmt: skip
    # none of one's own settings (RSYNC_*, ~/.popt), and file names as bytes
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RSYNC_")}
    shell = shlex.join(channel.connection.shell_command)
    environment.update(LAB_SHELL=shell, LAB_COUNT=str(COUNT), HOME=str(STATE), LC_ALL="C")
    pipes = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
    COUNT.unlink(missing_ok=True)
    channel.waiting.restart()
    # a Ctrl-C for lab is not one for rsync, which is ended here
    process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
    names = "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")
    said = []
    reader = threading.Thread(target=lambda: said.extend(process.communicate(names)), daemon=True)
    reader.start()
    try:
        while reader.is_alive():
            reader.join(0.2)
            channel.heed()
            if key:
                percent = min(100, 100 * counted() // max(1, size))
                # without a terminal each change is a line: a few are enough
                percent -= 0 if sys.stdout.isatty() else percent % 25
                channel.waiting.show(key, login=channel.connection.login, size=amount(size), percent=percent)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        channel.waiting.done()
        channel.forgive()
    if process.returncode in CONNECTION_LOST:
        raise Lost
    for line in said[1].decode(errors="replace").splitlines():
        print(printable(line), file=sys.stderr)
    if process.returncode == NO_SPACE:
        raise Trouble("not_sent" if out else "not_brought", login=channel.connection.login)
    # 23 and 24: some files could not be carried; which they are is seen afterwards
    if process.returncode not in (0, 23, 24):
        raise Trouble("rsync_failed", status=process.returncode, login=channel.connection.login)
    return said[0]


def counted():
    """Return how many bytes have passed through rsh.py."""
    try:
        return int(COUNT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def names_printed(text):
    r"""Return the paths that rsync has printed, a line each; it writes what does not show as \#012."""
    found = set()
    for line in text.splitlines():
        first, *rest = line.split(b"\\#")
        letters = (bytes([int(part[:3], 8)]) + part[3:] if part[:3].isdigit() else b"\\#" + part for part in rest)
        found.add((first + b"".join(letters)).decode("utf-8", "surrogateescape"))
    return found
