"""Notebooks that run in their own kernel (submit_notebook.sh --execute): what is left of a run, however it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from conftest import TEMPLATE

RUNNER = TEMPLATE / "lib/compute_node/notebook"
sys.path.append(str(RUNNER))
sys.path.append(str(TEMPLATE / "lib/laptop"))

R = '{"argv": ["R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"], "display_name": "R", "language": "R"}'


def notebook(*cells, kernel="python3", tags=None):
    """A notebook with these cells; tags: {index: tag}."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": kernel, "display_name": kernel}})
    made.cells = [nbformat.v4.new_code_cell(cell, id=f"c{number}") for number, cell in enumerate(cells)]
    for index, tag in (tags or {}).items():
        made.cells[index].metadata.tags = [tag]
    return made


class Ran(NamedTuple):
    """What has come of a run: its exit status, its last line, and the folder with what it has left."""

    status: int
    last: str
    folder: Path

    def shown(self):
        """What each cell has shown, None for one that has not run, as the notebook on disk says."""
        cells = nbformat.read(self.folder / "a.ipynb", as_version=4).cells
        return ["".join(map(text_of, cell.outputs)) if "passerelle" in cell.metadata else None for cell in cells]

    def state(self):
        """What its state says, without the last line."""
        *words, why = (self.folder / "state").read_text().rstrip("\n").split("\t")
        assert why == self.last
        return words


def text_of(output):
    """What one output says."""
    # what IPython adds to it
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    return output.ename if output.output_type == "error" else output.data["text/plain"]


NOTEBOOKS = {
    "all": notebook("x = 1", "print('one', x)", "", "x + 1"),
    "an error": notebook("print('one')", "print('two'); 1 / 0", "print('never')"),
    "exit 0": notebook("import sys", "print('one'); sys.exit(0)", "print('never')"),
    "exit 3": notebook("print('one'); raise SystemExit(3)", "print('never')"),
    "exit()": notebook("print('one'); exit()", "print('never')"),
    "killed": notebook("1", "import os\nprint('one', flush=True)\nimport time; time.sleep(1)\nos.kill(os.getpid(), 9)", "2"),
    "no such kernel": notebook("1", kernel="none"),
    "R": notebook("x <- 1", "cat('one', x)", "x + 1", kernel="ir"),
    "R, an error": notebook("cat('one')", "stop('two')", "cat('never')", kernel="ir"),
    "R, quit": notebook("cat('one')\nquit(status = 3)", "cat('never')", kernel="ir"),
    "TERM": notebook("1", "print('one', flush=True)\nopen('here', 'w').close()\nimport time; time.sleep(1000)", "2"),
    "USR1": notebook("1", "cat('one'); invisible(file.create('here')); Sys.sleep(1000)", "2", kernel="ir"),
}
ENDED_ITSELF = "cell {} of {} has ended the notebook, as it asks; the cells after it were not run"
# status, state, what the cells show, the last line
ENDS = {
    "all": (0, ["passed", "3", "3"], ["", "one 1\n", None, "2"], "All 3 cells have run, in "),
    "an error": (
        *(1, ["failed", "2", "3"], ["one\n", "two\nZeroDivisionError", None]),
        "cell 2 of 3 failed: ZeroDivisionError: division by zero",
    ),
    "exit 0": (0, ["passed", "2", "3"], ["", "one\nSystemExit", None], ENDED_ITSELF.format(2, 3)),
    "exit 3": (3, ["failed", "1", "2"], ["one\nSystemExit", None], "cell 1 of 2 failed: sys.exit(3)"),
    "exit()": (0, ["passed", "1", "2"], ["one\n", None], ENDED_ITSELF.format(1, 2)),
    "killed": (1, ["failed", "2", "3"], ["1", "one\n", None], "cell 2 of 3: its kernel has died"),
    "no such kernel": (
        *(1, ["failed", "0", "1"], [None]),
        "The kernel none did not start: No such kernel named none",
    ),
    "R": (0, ["passed", "3", "3"], ["", "one 1", "[1] 2"], "All 3 cells have run, in "),
    "R, an error": (1, ["failed", "2", "3"], ["one", "ERROR", None], "cell 2 of 3 failed: ERROR: Error"),
    "R, quit": (0, ["passed", "1", "2"], ["one", None], ENDED_ITSELF.format(1, 2)),
    "TERM": (143, ["stopped", "2", "3"], ["1", "one\n", None], "cell 2 of 3 was stopped (SIGTERM); what has run is kept"),
    "USR1": (
        *(138, ["stopped", "2", "3"], ["[1] 1", "one", None]),
        "cell 2 of 3 was stopped because the time limit is near; what has run is kept",
    ),
}


def start(folder, made, *options):
    """Begin to run a notebook in a folder."""
    nbformat.write(made, folder / "a.ipynb")
    command = [sys.executable, RUNNER / "run.py", "a.ipynb", "out", *options]
    variables = {**os.environ, "JUPYTER_PATH": str(folder.parent / "jupyter"), "HOME": str(folder.parent)}
    return subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(folder, process):
    """Wait for a run and return what has come of it."""
    said, _ = process.communicate()
    return Ran(process.returncode, said.rstrip("\n").split("\n")[-1], folder / "out")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Each of the notebooks, run; all at once, because each waits for its kernel."""
    place, processes = tmp_path_factory.mktemp("runs"), {}
    if shutil.which("R"):
        spec = place / "jupyter/kernels/ir/kernel.json"
        spec.parent.mkdir(parents=True)
        spec.write_text(R)
    for number, (name, made) in enumerate(NOTEBOOKS.items()):
        folder = place / str(number)
        folder.mkdir()
        processes[name] = folder, start(folder, made)
    for name in ("TERM", "USR1"):
        folder, process = processes[name]
        while not (folder / "here").exists() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGUSR1 if name == "USR1" else signal.SIGTERM)
    return {name: ended(*process) for name, process in processes.items()}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_however_a_notebook_ends_what_has_run_is_kept_and_the_last_line_says_how(runs, name):
    if NOTEBOOKS[name].metadata.kernelspec.name == "ir" and not shutil.which("R"):
        pytest.skip("this machine has no R")
    status, state, shown, last = ENDS[name]
    ran = runs[name]
    assert (ran.status, ran.shown(), ran.last[: len(last)]) == (status, shown, last)
    assert ran.state() == state
    assert sorted(path.name for path in ran.folder.iterdir()) == ["a.html", "a.ipynb", "state"]
