"""A terminal with a shell in it: what is typed, and what is seen on the screen."""

import contextlib
import re
import time

import pexpect
import pyte

ROWS, COLUMNS = 40, 160


class Terminal:
    """A terminal in which a shell runs whose prompt is "> "."""

    def __init__(self, command, cwd, environment, rows=ROWS, columns=COLUMNS):
        """Start the shell."""
        self.screen = pyte.Screen(columns, rows)
        # fish asks the terminal what it is, and waits for the answer
        self.screen.write_process_input = lambda text: self.child.send(text)
        self.stream = pyte.ByteStream(self.screen)
        self.unseen = b""
        self.child = pexpect.spawn(
            str(command[0]), list(map(str, command[1:])), cwd=str(cwd), env=environment, dimensions=(rows, columns)
        )
        # no time is left for a password's echo to be turned off
        self.child.delaybeforesend = None

    @property
    def rows(self):
        """Return the rows of the screen that have something in them."""
        return [row.rstrip() for row in self.screen.display if row.strip()]

    @property
    def line(self):
        """Return what stands between the prompt and the cursor; None where there is no prompt."""
        row = self.screen.display[self.screen.cursor.y]
        return row[2 : self.screen.cursor.x] if row.startswith("> ") else None

    def show(self, text):
        """Have the screen show what the shell has sent."""
        # pyte would print "5u" of what fish 4 says of its keyboard; it may come in two parts
        self.unseen += text
        whole = re.sub(rb"\x1b(\[(=[0-9;]*)?)?$", b"", self.unseen)
        self.stream.feed(re.sub(rb"\x1b\[=[0-9;]*u", b"", whole))
        self.unseen = self.unseen[len(whole) :]

    def wait(self, seen, what, limit=120):
        """Wait until seen() holds; fails with the screen."""
        end = time.monotonic() + limit
        while not seen():
            assert time.monotonic() < end, f"never seen: {what!r}\n" + "\n".join(self.rows)
            with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
                self.show(self.child.read_nonblocking(65536, timeout=0.05))

    def wait_for_line(self, line):
        """Wait until that stands between the prompt and the cursor."""
        self.wait(lambda: self.line == line, line)

    def wait_for_row(self, pattern):
        """Wait until a row of the screen is what the pattern says."""
        self.wait(lambda: any(re.fullmatch(pattern, row) for row in self.rows), pattern)

    def type(self, text):
        """Type a text."""
        self.child.send(text)

    def clear(self):
        """Take the line back, and begin with an empty screen: by keys, for Ctrl-C would reach what is still at work."""
        self.wait(lambda: self.line is not None, "> ")
        self.type("\x15\x0c")
        self.wait(lambda: self.line == "" and len(self.rows) <= 2, "an empty screen")

    def run(self, command, row):
        """Run a command, and wait for a row that it prints, and for the next prompt."""
        self.type(command + "\r")
        self.wait(lambda: row in self.rows and self.line == "", row)
        self.clear()

    def close(self):
        """End the shell."""
        self.child.close(force=True)
