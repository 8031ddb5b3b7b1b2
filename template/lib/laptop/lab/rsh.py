#!/usr/bin/env python3
"""What rsync calls in place of ssh: bash in a channel of lab's connection, whatever the login shell is and prints.

LAB_SHELL is the command that starts that bash; LAB_COUNT a file descriptor to lab, which gets a byte for each UNIT that
has arrived; LAB_PATIENCE see watch. When lab has ended, so does this, and rsync with it.
"""

import contextlib
import io
import os
import select
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

CLEAN_BASH = ["/bin/bash", "--noprofile", "--norc", "-p", "-s"]
"""A bash that takes none of a person's settings (template/lib/cluster/clean.sh); every login shell understands it."""
DOOR = (
    b"\n\n\n"
    b'exec /bin/bash --noprofile --norc -p -c \'printf "\\npasserelle\\t0\\tbash\\t%s\\n" "$BASH_VERSION"; '
    b"exec /bin/bash --noprofile --norc -p -s'\n"
)
"""What is sent first, and alone until bash says its version: where a startup file has put another shell in bash's place
(exec zsh -l), that becomes bash. Who asks something there (read) gets an empty line for an answer."""
BASH = b"passerelle\t0\tbash\t"
MARK = b"\0passerelle\0"
READ = b"passerelle-read "
COUNT = b"""
passerelle_read() {
  local pid line
  total=0
  for pid in $$ $(pgrep -P $$); do
    [[ $pid != "$BASHPID" && -r /proc/$pid/io ]] || continue
    while read -r line; do
      [[ $line != rchar:* ]] || total=$((total + ${line#rchar:}))
    done <"/proc/$pid/io"
  done 2>/dev/null
}
passerelle_count() {
  local total before
  exec >&2
  passerelle_read
  before=$total
  while read -r -t 1 || (($? > 128)); do
    passerelle_read
    echo "passerelle-read $((total - before))"
  done
}
"""
"""What has the login side say every second how much its rsync has read, until that has ended and closes this pipe.

What is handed to ssh here is in its buffers long before it has arrived there: on a slow line for minutes.
"""
UNIT = 1 << 16
moved = [time.monotonic()]
"""When something has moved for the last time, either way."""


def end_with_lab(counter):
    """Wait until nobody counts any more."""
    lab = select.poll()
    lab.register(counter, 0)
    lab.poll()
    os._exit(255)


def watch(channel, patience):
    """End the login side when nothing has moved for so long; rsync and lab judge what has arrived.

    LAB_PATIENCE: the seconds that its login shell may take, those without a byte afterwards, and those that its end may
    take. rsync's own --timeout does not see what moves on the other side.
    """
    while time.monotonic() - moved[0] < patience[0]:
        time.sleep(0.5)
    channel.kill()


class Counter:
    """Tells lab how much has arrived."""

    def __init__(self, file):
        self.file, self.arrived = file, 0

    def count(self, arrived):
        """Tell it of what is new; arrived: all that has so far."""
        new = arrived // UNIT - self.arrived // UNIT
        moved[0], self.arrived = time.monotonic(), max(arrived, self.arrived)
        # a pipe that lab does not empty at once takes that much
        os.write(self.file, b"." * min(max(0, new), 1024))


def carry(source, target, counter=None):
    """Copy until the end of either, or of lab; count what passes."""
    passed = 0
    with contextlib.suppress(OSError):
        while piece := os.read(source, UNIT):
            passed, moved[0] = passed + len(piece), time.monotonic()
            if counter:
                counter.count(passed)
            while piece:
                piece = piece[os.write(target, piece) :]
    os.close(target)


def listen(channel, counter):
    """Count what the login side's rsync has read, where it receives, and hand on what else comes on standard error."""
    known, stream = b"", io.BufferedReader(channel.stderr)
    with contextlib.suppress(OSError):
        # a line may have no end
        for line in iter(lambda: stream.readline(UNIT), b""):
            if not line.startswith(READ):
                os.write(2, line)
            elif line != known:
                known, moved[0] = line, time.monotonic()
                number = line[len(READ) :].strip()
                if counter and number.isdigit():
                    counter.count(int(number[:18]))


def say(channel, words):
    """Write to the login side; that it has ended is seen when reading."""
    with contextlib.suppress(OSError):
        channel.stdin.write(words)


def wait_for(mark, channel):
    """Drop what startup files print, up to a mark."""
    before = b""
    while not before.endswith(mark) and (letter := channel.stdout.read(1)):
        before = (before + letter)[-len(mark) :]


def main():
    """Start that bash, have it become rsync, and carry between both."""
    counter = int(os.environ["LAB_COUNT"])
    threading.Thread(target=end_with_lab, args=[counter], daemon=True).start()
    # rsync has made them non-blocking
    os.set_blocking(0, True)
    os.set_blocking(1, True)
    channel = subprocess.Popen(
        shlex.split(os.environ["LAB_SHELL"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        bufsize=0,
    )  # fmt: skip
    login, silence, end = map(int, os.environ["LAB_PATIENCE"].split())
    patience = [login]
    threading.Thread(target=watch, args=[channel, patience], daemon=True).start()
    brings = "--sender" in sys.argv
    counter = Counter(counter)
    words = threading.Thread(target=listen, args=[channel, None if brings else counter], daemon=True)
    words.start()
    say(channel, DOOR)
    wait_for(BASH, channel)
    clean = Path(__file__).resolve().parents[2] / "cluster/clean.sh"
    # bash reads a script from a pipe no further than the end of a line; what follows is rsync's. The host's name comes
    # first, as for ssh.
    begin = b"clean_login; exec 9> >(passerelle_count); printf '\\0passerelle\\0'; exec "
    say(channel, clean.read_bytes() + COUNT + begin + shlex.join(sys.argv[2:]).encode() + b"\n")
    wait_for(MARK, channel)
    moved[0], patience[0] = time.monotonic(), silence
    threading.Thread(target=carry, args=[0, channel.stdin.fileno()], daemon=True).start()
    carry(channel.stdout.fileno(), 1, counter if brings else None)
    try:
        # killed by watch: what has arrived is what counts
        status = max(0, channel.wait(end))
    except subprocess.TimeoutExpired:
        channel.kill()
        status = 0
    words.join(1)
    os._exit(status)


if __name__ == "__main__":
    main()
