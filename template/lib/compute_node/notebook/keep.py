"""What a run leaves on disk: the executed notebook, its report, and how far it has come."""

import json
import os
import time
from pathlib import Path

import nbformat
from both.messages import message

SHARE = 0.02
"""Of the time since the notebook was last saved, saving it whole may take that part. Where its output has become so
large that it would take more, the finished cell alone is added to a journal, so that the whole cost of saving does not
grow with the square of the output; the journal is folded in when the run ends, or is taken up again."""
OURS = "passerelle"
"""The key of our words in a notebook's and a cell's metadata."""


class Result:
    """The folder of one run, with NAME.ipynb, NAME.html, and "state": a line with state, cell, cells, seconds, why."""

    def __init__(self, notebook, folder, name):
        """notebook: what is run; folder: is made; name: the notebook's, ending in .ipynb."""
        folder.mkdir(parents=True, exist_ok=True)
        self.notebook, self.path, self.folder = notebook, folder / name, folder
        self.journal = folder / f"{name}.journal"
        self._begun = self._saved = time.monotonic()
        self._took = 0
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
                cell.metadata.pop(OURS, None)

    def skips(self, index, restored):
        """Return whether a cell is not to be run: restored says whether what it has done to variables is there."""
        return not runs_again(self.notebook.cells[index], restored)

    def keep(self, index, state, seconds):
        """Put a cell on disk, with what it has shown; whole and at once, so that nobody finds half of it."""
        cell = self.notebook.cells[index]
        cell.metadata[OURS] = {"state": state, "seconds": round(seconds, 2)}
        if self._took <= SHARE * (time.monotonic() - self._saved) or not self.path.exists():
            self._save()
        else:
            with self.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps([index, cell]) + "\n")

    def finish(self):
        """Save the whole notebook and its report."""
        self._save()
        self._report()

    def _save(self):
        begun = time.monotonic()
        write(self.path, nbformat.writes(self.notebook))
        self.journal.unlink(missing_ok=True)
        self._saved = time.monotonic()
        self._took = self._saved - begun

    def _report(self):
        """Write the report; a run is none the worse for one that cannot be made."""
        # it takes a second to import
        from nbconvert import HTMLExporter

        try:
            html, _ = HTMLExporter().from_notebook_node(self.notebook)
            write(self.path.with_suffix(".html"), html)
        except Exception as error:
            print(message("no_report", words=str(error).strip().split("\n")[0]), flush=True)

    def record(self, state, number, cells, why):
        """Say how far the run has come."""
        write_state(self.folder, state, number, cells, round(time.monotonic() - self._begun), why)


def code_cells(notebook):
    """Return the indexes of the cells in which there is something to run."""
    return [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]


def as_counted(number, injected):
    """Return the number of a cell with something to run as people count those of their own notebook.

    injected: which one a row's values are in, and is none of theirs, 0 for none; it has the number of the next one
    """
    return number - (0 < injected < number)


def own_among(number, injected):
    """Return how many of the first so many cells with something to run are people's own."""
    return number - (0 < injected <= number)


def state_of(cell):
    """Return how a cell's run has ended: "passed", "failed", "stopped"; "" for one that has not been run."""
    return cell.metadata.get(OURS, {}).get("state", "")


def runs_again(cell, restored):
    """Return whether a cell is to be run; one that has been is not if its variables are there, or its tag says so."""
    tags = cell.metadata.get("tags", [])
    enough = "once" in tags or (restored and "always" not in tags)
    return state_of(cell) != "passed" or not enough


def write_state(folder, state, number="", cells="", seconds="", why=""):
    """Write down how far a run has come, for sweep.said_by and for `lab status` (requests/list.sh)."""
    words = (state, number, cells, seconds, why.replace("\t", " "))
    write(folder / "state", "\t".join(map(str, words)) + "\n")


def write(path, text):
    """Write a file in one step: who reads it finds the old one or the new one, also after a crash of the node."""
    # a run that takes a day outlives a folder that somebody has cleared away
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    # half of a letter becomes what JSON writes for it
    with part.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read(path):
    """Return an executed notebook with its journal folded in.

    Raises OSError, or a ValueError for what is no notebook.
    """
    notebook = nbformat.read(path, as_version=4)
    journal = Path(f"{path}.journal")
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    for line in lines:
        try:
            index, cell = json.loads(line)
        except ValueError:
            # the last one, when the node went
            break
        notebook.cells[index] = nbformat.from_dict(cell)
    return notebook
