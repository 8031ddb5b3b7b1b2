"""What has become of each row of a table of parameters, and rows.csv, which says it.

sweep.py [JOB TASKS live|over FOLDER]..., with sacct's lines ("8_3|TIMEOUT|...") on standard input: brings rows.csv in
each FOLDER up to date, and prints JOB, rows, passed, failed, running, waiting, never ran, for which time the work goes
on, with tabs between. FOLDER has the rows in rows.json, and what each has said of itself in row-NUMBER/state. Of a row
that could not say how it has ended, only Slurm knows. It needs no environment.
"""

import csv
import io
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

from both.job_states import ENDED  # noqa: E402
from both.messages import message  # noqa: E402 - one voice for all Python

WHICH = "which"
"""The file in which a job says for which time its work goes on (rows.py, run.py)."""
STATES = ("passed", "failed", "running", "waiting", "never ran")


class Row(NamedTuple):
    """What has become of a row: one of STATES, or "stopped"; the cell and their number, the seconds, why, and where."""

    state: str
    cell: str = ""
    cells: str = ""
    seconds: str = ""
    why: str = ""
    folder: str = ""


def read_rows(folder):
    """Return the rows of a table: {"values": {name: value}}, with "before" the folder of an earlier run of that row.

    "passed" says that this run was enough. Raises OSError, or ValueError where there is only half of it.
    """
    return json.loads((Path(folder) / "rows.json").read_text(encoding="utf-8"))


def shares(rows, tasks):
    """Return the numbers of the rows that each task runs, from 0: rows are shared out like cards."""
    numbers = [number for number, row in enumerate(rows) if not row.get("passed")]
    return [numbers[task::tasks] for task in range(tasks)]


def folder_of(folder, number):
    """Return the folder of a row, whose number counts from 0."""
    return Path(folder) / f"row-{number + 1:04}"


def said_by(folder):
    """Return what a row has said of itself in its folder: a Row; None for nothing."""
    try:
        state, cell, cells, seconds, why = (folder / "state").read_text(encoding="utf-8").rstrip("\n").split("\t")
    except (OSError, ValueError):
        return None
    return Row(state, cell, cells, seconds, why)


def look(rows, folder, tasks, states=None, live=True):
    """Return the Row of each row.

    states: of the array's tasks, as Slurm says them, by their numbers, "" for those that have not begun; None where
    nobody has asked, and every task may go on. live: whether Slurm has tasks that have not ended, which it may not have
    told sacct yet.
    """
    found = [None] * len(rows)
    for task, numbers in enumerate(shares(rows, tasks)):
        state = (states or {}).get(str(task)) or (states or {}).get("", "")
        over = not live or state.split(" ")[0] in ENDED
        for number in numbers:
            found[number] = _judged(said_by(folder_of(folder, number)), state, over)
            if found[number].state not in ("waiting", "never ran"):
                found[number] = found[number]._replace(folder=folder_of("", number).name)
    for number, row in enumerate(rows):
        if not found[number]:
            before = Path(row["before"])
            said = (said_by(before) or Row(""))._replace(state="passed")
            found[number] = said._replace(folder=os.path.relpath(before, folder))
    return found


def _judged(said, state, over):
    """Return the Row of what a row has said, and Slurm of its task."""
    if said and said.state in ("passed", "failed"):
        return said
    if not over:
        # what was stopped goes on, and what runs may have lost its node
        begun = said and said.state == "running" and state != "PENDING"
        return said if begun else (said or Row(""))._replace(state="waiting")
    if said and said.state == "stopped":
        return said
    why = f"Slurm{message('colon')}{state or message('unknown')}"
    return said._replace(state="failed", why=why) if said else Row("never ran", why=why)


def write_table(rows, folder, tasks, states=None, live=True):
    """Bring rows.csv in a folder up to date; return the Row of each row.

    Tasks write it as they end: whoever writes last has seen what all others had said before.
    """
    before = None
    while True:
        found = look(rows, folder, tasks, states, live)
        if found == before:
            return found
        text = _as_csv(rows, found)
        path = Path(folder) / "rows.csv"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            part = path.with_name(f".rows.{os.uname().nodename}-{os.getpid()}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        before = found


def _as_csv(rows, found):
    """Return the table: what has become of each row, and then its values."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["row", *Row._fields, *rows[0]["values"]])
    for number, row in enumerate(found):
        values = rows[number]["values"].values()
        table.writerow(
            [number + 1, *row, *(value if isinstance(value, str) else json.dumps(value) for value in values)]
        )
    return file.getvalue()


def states_of(job, lines):
    """Return the states of an array's tasks out of sacct's lines: 8_3|TIMEOUT|0:0, 8_[4-9]|PENDING|0:0."""
    states = {}
    for line in lines:
        number, state, code = [*line.split("|"), "", ""][:3]
        array, _, task = number.partition("_")
        if array == job:
            # by itself that says nothing
            states[task if task.isdigit() else ""] = f"{state} {code}" if state == "FAILED" else state
    return states


def main(words):
    """Look at each array that a command line names."""
    lines = sys.stdin.read().splitlines()
    for start in range(0, len(words), 4):
        job, tasks, live, folder = words[start : start + 4]
        try:
            rows = read_rows(folder)
            found = write_table(rows, folder, int(tasks), states_of(job, lines), live == "live")
        except (OSError, ValueError, LookupError):
            # it is being written, or is gone
            continue
        counts = Counter("failed" if row.state == "stopped" else row.state for row in found)
        which = Path(folder, WHICH)
        said = which.read_text(encoding="utf-8").strip() if live == "live" and which.exists() else ""
        print(job, len(rows), *(counts[state] for state in STATES), said, sep="\t")


if __name__ == "__main__":
    main(sys.argv[1:])
