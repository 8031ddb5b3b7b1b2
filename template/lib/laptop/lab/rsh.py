#!/usr/bin/env python3
"""What rsync calls in place of ssh: bash in a channel of lab's connection, whatever the login shell is and prints.

LAB_SHELL is the command that starts that bash; LAB_COUNT a file descriptor to lab, which gets a byte for each UNIT that
has passed. When lab has ended, so does this, and rsync with it.
"""

import contextlib
import os
import select
import shlex
import subprocess
import sys
import threading

MARK = b"\0passerelle\0"
UNIT = 1 << 16


def end_with_lab(counter):
    """Wait until nobody counts any more."""
    lab = select.poll()
    lab.register(counter, 0)
    lab.poll()
    os._exit(255)


def carry(source, target, counter):
    """Copy until the end of either, or of lab, and tell lab how much has passed this way."""
    passed = 0
    with contextlib.suppress(OSError):
        while piece := os.read(source, UNIT):
            before, passed = passed, passed + len(piece)
            os.write(counter, b"." * (passed // UNIT - before // UNIT))
            while piece:
                piece = piece[os.write(target, piece) :]
    os.close(target)


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
    # bash reads a script from a pipe no further than the end of this line; what follows is rsync's. The host's name
    # comes first, as for ssh.
    channel.stdin.write(b"cd; printf '\\0passerelle\\0'; exec " + shlex.join(sys.argv[2:]).encode() + b"\n")
    before = b""
    while not before.endswith(MARK) and (letter := channel.stdout.read(1)):
        before = (before + letter)[-len(MARK) :]
    threading.Thread(target=carry, args=[0, channel.stdin.fileno(), counter], daemon=True).start()
    carry(channel.stdout.fileno(), 1, counter)
    os._exit(channel.wait())


if __name__ == "__main__":
    main()
