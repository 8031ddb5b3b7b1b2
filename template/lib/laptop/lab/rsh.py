#!/usr/bin/env python3
"""What rsync calls in place of ssh: bash in a channel of lab's connection, whatever the login shell is and prints.

LAB_SHELL is the command that starts that bash; LAB_COUNT a file descriptor to lab, which gets a byte for each UNIT that
has passed; LAB_PATIENCE see wait_for_end. When lab has ended, so does this, and rsync with it.
"""

import contextlib
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
    b'exec /bin/bash --noprofile --norc -p -c \'printf "\\npasserelle\\t0\\tbash\\t%s\\n" "$BASH_VERSION"; '
    b"exec /bin/bash --noprofile --norc -p -s'\n"
)
"""What is sent first, and alone until bash says its version: where a startup file has put another shell in bash's place
(exec zsh -l), that becomes bash."""
BASH = b"passerelle\t0\tbash\t"
MARK = b"\0passerelle\0"
UNIT = 1 << 16
moved = [time.monotonic()]
"""When something has passed for the last time, either way."""


def end_with_lab(counter):
    """Wait until nobody counts any more."""
    lab = select.poll()
    lab.register(counter, 0)
    lab.poll()
    os._exit(255)


def wait_for_end(channel, back):
    """Return the login side's exit status, 0 for one that does not end: rsync and lab judge what has passed.

    LAB_PATIENCE: the seconds of silence after which rsync has given up, or has nothing more to carry, and those that
    the end may take then. For a login side that goes on without a word, rsync would wait without an end.
    """
    silence, patience = map(int, os.environ["LAB_PATIENCE"].split())
    while back.is_alive() and time.monotonic() - moved[0] < silence:
        back.join(1)
    try:
        return channel.wait(patience)
    except subprocess.TimeoutExpired:
        channel.kill()
        return 0


def carry(source, target, counter):
    """Copy until the end of either, or of lab, and tell lab how much has passed this way."""
    passed = 0
    with contextlib.suppress(OSError):
        while piece := os.read(source, UNIT):
            before, passed, moved[0] = passed, passed + len(piece), time.monotonic()
            os.write(counter, b"." * (passed // UNIT - before // UNIT))
            while piece:
                piece = piece[os.write(target, piece) :]
    os.close(target)


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
        shlex.split(os.environ["LAB_SHELL"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    say(channel, DOOR)
    wait_for(BASH, channel)
    clean = Path(__file__).resolve().parents[2] / "cluster/clean.sh"
    # bash reads a script from a pipe no further than the end of a line; what follows is rsync's. The host's name comes
    # first, as for ssh.
    command = b"\nclean_login; printf '\\0passerelle\\0'; exec " + shlex.join(sys.argv[2:]).encode() + b"\n"
    say(channel, clean.read_bytes() + command)
    wait_for(MARK, channel)
    threading.Thread(target=carry, args=[0, channel.stdin.fileno(), counter], daemon=True).start()
    back = threading.Thread(target=carry, args=[channel.stdout.fileno(), 1, counter], daemon=True)
    back.start()
    os._exit(wait_for_end(channel, back))


if __name__ == "__main__":
    main()
