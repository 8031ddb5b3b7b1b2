"""The rows of a table that one task of a job array runs.

rows.py NOTEBOOK FOLDER ROWS SIDE_BY_SIDE [--requeue TIMES] [--keep-state]
Rows are shared out like cards: with 3 tasks, the first one has the rows 1, 4, 7. Each runs by itself (run.py), into
FOLDER/row-NUMBER, where its log is, too; so many at a time. A row that fails, or for which there is no room on the
disk, does not end the others; the task fails at the end. A signal is passed on, and no further row begins. A task that
Slurm begins again, because its node was lost, or, TIMES times, at the time limit, runs those of its rows that have
neither passed nor failed.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path += [str(Path(__file__).resolve().parents[2] / side) for side in ("", "cluster")]

import requeue  # noqa: E402
import sweep  # noqa: E402
from at_end import at_end  # noqa: E402
from both.messages import message  # noqa: E402
from keep import write, write_state  # noqa: E402

RUN = Path(__file__).with_name("run.py")
DONE = ("passed", "failed")
"""The states of rows that do not run again when their task does."""


class Task:
    """One task of the array."""

    def __init__(self, notebook, folder, rows, options):
        """notebook, folder, rows: the paths of these; options: of run.py, for each row."""
        self.notebook, self.folder, self.path, self.options = notebook, folder, rows, options
        with open(rows, encoding="utf-8") as file:
            self.rows = json.load(file)
        self.running, self.signal = {}, None

    def run(self, task, tasks, at_once):
        """Run the rows of this task; return what each has said of itself last."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self.pass_on)
        share = sweep.shares(self.rows, tasks)[task]
        for row in share:
            if self.state_of(row) in DONE:
                continue
            while len(self.running) >= at_once:
                self.wait_for_one()
            if self.signal:
                break
            self.begin(row)
        while self.running:
            self.wait_for_one()
        try:
            sweep.write_table(self.rows, self.folder, tasks)
        except OSError as error:
            print(message("os_error", words=error), flush=True)
        return [self.state_of(row) for row in share]

    def state_of(self, row):
        """Return what a row has said of itself."""
        said = sweep.said_by(sweep.folder_of(self.folder, row))
        return said.state if said else ""

    def begin(self, row):
        """Begin to run a row."""
        folder = sweep.folder_of(self.folder, row)
        words = [sys.executable, RUN, self.notebook, folder, "--row", self.path, str(row), *self.options]
        try:
            write_state(folder, "running")
            with open(folder / "log", "a", encoding="utf-8") as log:
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        except OSError as error:
            self.say_ended(row, message("os_error", words=error))
            return
        self.running[process.pid] = row, folder
        if self.signal:
            process.send_signal(self.signal)

    def wait_for_one(self):
        """Wait until one of the rows that run has ended, and say how."""
        pid, status = os.wait()
        row, folder = self.running.pop(pid)
        try:
            last = (folder / "log").read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
            if status != 0 and self.state_of(row) == "running":
                # it has been killed, or could not even begin
                write_state(folder, "stopped" if self.signal else "failed", why=last)
        except OSError as error:
            said = sweep.said_by(folder)
            last = (said and said.why) or message("os_error", words=error)
        self.say_ended(row, last)

    def say_ended(self, row, words):
        """Say how a row has ended."""
        print(message("row_ended", number=row + 1, rows=len(self.rows), words=words), flush=True)

    def pass_on(self, number, frame):
        """Have every row end that runs."""
        self.signal = number
        for pid in [*self.running]:
            # one may have ended
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def say_which(folder, words):
    """Print for which time the work goes on, if it does, and leave it for `lab status`, whatever the task."""
    if words:
        print(words, flush=True)
        with contextlib.suppress(OSError):
            write(folder / sweep.WHICH, words + "\n")


def main(words):
    """Run this task's rows; return the exit status."""
    parser = argparse.ArgumentParser()
    for name, kind in (("notebook", str), ("folder", Path), ("rows", str), ("side_by_side", int)):
        parser.add_argument(name, type=kind)
    parser.add_argument("--requeue", type=int, default=0)
    parser.add_argument("--keep-state", action="store_true")
    given = parser.parse_args(words)
    task, least, count = (int(os.environ[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "MIN", "COUNT"))
    say_which(given.folder, requeue.said(given.requeue))
    work = Task(given.notebook, given.folder, given.rows, ["--keep-state"] if given.keep_state else [])
    states = work.run(task - least, count, given.side_by_side)
    if work.signal == signal.SIGUSR1 and given.requeue and {*states} - {*DONE}:
        say_which(given.folder, requeue.queue_again(given.requeue)[1])
    return 0 if {*states} <= {"passed"} else 1


if __name__ == "__main__":
    try:
        with at_end():
            sys.exit(main(sys.argv[1:]))
    except OSError as error:
        # the table is gone
        sys.exit(message("os_error", words=error))
