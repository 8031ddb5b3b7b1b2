"""The rows of a table of parameters that one task of a job array runs: rows.py NOTEBOOK FOLDER PARAMETERS SIDE_BY_SIDE.

Rows are shared out like cards: with 3 tasks, the first one has the rows 1, 4, 7. Each runs by itself (run.py), into
FOLDER/row-NUMBER, where its log is, too; so many at a time. A row that fails does not end the others; the task fails at
the end. A signal is passed on, and no further row begins.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "laptop"))

from lab.messages import message  # noqa: E402

RUN = Path(__file__).with_name("run.py")


class Task:
    """One task of the array."""

    def __init__(self, notebook, folder, parameters):
        """notebook, folder, parameters: the paths of these."""
        self.notebook, self.folder, self.parameters = notebook, folder, parameters
        with open(parameters, encoding="utf-8") as file:
            self.rows = json.load(file)
        self.running, self.signal, self.failed = {}, None, 0

    def run(self, task, tasks, at_once):
        """Run the rows of this task; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self.pass_on)
        for row in range(task, len(self.rows), tasks):
            while len(self.running) >= at_once:
                self.wait_for_one()
            if self.signal:
                break
            self.begin(row)
        while self.running:
            self.wait_for_one()
        return 1 if self.failed or self.signal else 0

    def begin(self, row):
        """Begin to run a row."""
        folder = self.folder / f"row-{row + 1:04}"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "log", "w", encoding="utf-8") as log:
            words = [sys.executable, RUN, self.notebook, folder, "--row", self.parameters, str(row)]
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.running[process.pid] = row, folder
        if self.signal:
            process.send_signal(self.signal)

    def wait_for_one(self):
        """Wait until one of the rows that run has ended, and say how."""
        pid, status = os.wait()
        row, folder = self.running.pop(pid)
        self.failed += status != 0
        last = (folder / "log").read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
        print(message("row_ended", number=row + 1, rows=len(self.rows), words=last), flush=True)

    def pass_on(self, number, frame):
        """Have every row end that runs."""
        self.signal = number
        for pid in [*self.running]:
            # one may have ended
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def main(notebook, folder, parameters, at_once):
    """Run this task's rows; return the exit status."""
    task, least, count = (int(os.environ[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "MIN", "COUNT"))
    return Task(notebook, Path(folder), parameters).run(task - least, count, int(at_once))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
