"""Notebooks that run in their own kernel (submit_notebook.sh --execute): what is left of a run, however it ends."""

import copy
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

import keep  # noqa: E402 - the runner's own
import resume  # noqa: E402
from lab.messages import Trouble  # noqa: E402

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


# --- going on ---------------------------------------------------------------------------------------------------------


def executed(folder, made, finished):
    """Leave in a folder what a run of a notebook leaves that has finished so many cells, and failed in the next."""
    made = copy.deepcopy(made)
    result = keep.Result(made, folder, "a.ipynb")
    made.metadata.passerelle = resume.conditions(made)
    for number, index in enumerate(keep.code_cells(made)[: finished + 1]):
        made.cells[index].outputs = [nbformat.v4.new_output("stream", text=f"before {number}\n")]
        result.keep(index, "passed" if number < finished else "failed", 1)
    result.finish("failed", finished + 1, 9, "")
    return folder / "a.ipynb"


CELLS = ["import x", "# train", "x.plot()", "last()"]
GOES_ON = "Goes on with cell 3. Variables are not kept, so the cells before it run again"
CHANGED = "Cell {} is not what it was when it ran; without --resume, all cells run."
RESUMED = {
    "nothing has changed": (notebook(*CELLS), GOES_ON + "."),
    "the cell that failed was mended": (notebook(*CELLS[:2], "x.plots()", CELLS[3]), GOES_ON + "."),
    "a text was added": (notebook(CELLS[0], "", *CELLS[1:]), GOES_ON + "."),
    "a cell is tagged": (notebook(*CELLS, tags={1: "once"}), GOES_ON + ", except those tagged “once”: 2."),
    "a finished cell has changed": (notebook("import y", *CELLS[1:]), CHANGED.format(1)),
    "a finished cell is gone": (notebook(*CELLS[1:]), CHANGED.format(1)),
    "a cell has come before": (notebook(CELLS[0], "new()", *CELLS[1:]), CHANGED.format(2)),
    "only a finished cell is left": (notebook(CELLS[0]), CHANGED.format(2)),
    "nothing is left to run": (
        notebook(*CELLS[:2]),
        "All 2 cells have run already; without --resume, they run again.",
    ),
    "another kernel": (
        notebook(*CELLS, kernel="ir"),
        "The kernel is another one (ir",
    ),
}


@pytest.mark.parametrize("case", RESUMED)
def test_a_run_goes_on_only_where_what_is_finished_is_what_would_run(case, tmp_path):
    changed, words = RESUMED[case]
    changed = copy.deepcopy(changed)
    before = executed(tmp_path / "before", notebook(*CELLS), 2)
    try:
        said = resume.take_up(changed, before)
    except Trouble as trouble:
        said = str(trouble)
    assert said[: len(words)] == words
    shown = [text_of(cell.outputs[0]) for cell in changed.cells if cell.outputs]
    assert shown == (["before 0\n", "before 1\n"] if words.startswith(GOES_ON) else [])


def test_packages_that_have_changed_are_named_and_nothing_goes_on(tmp_path, monkeypatch):
    before = executed(tmp_path / "before", notebook(*CELLS), 2)
    now = resume.conditions(notebook(*CELLS))
    then = {**now["packages"], "numpy": "1.26", "gone": "2"}
    del then["nbclient"]
    made = json.loads(before.read_text())
    made["metadata"]["passerelle"]["packages"] = then
    made["metadata"]["passerelle"]["packages"]["numpy"] = "1.26"
    before.write_text(json.dumps(made))
    monkeypatch.setattr(resume, "conditions", lambda notebook: {**now, "packages": {**now["packages"], "numpy": "2.0"}})
    with pytest.raises(Trouble) as trouble:
        resume.take_up(notebook(*CELLS), before)
    version = now["packages"]["nbclient"]
    assert str(trouble.value) == (
        f"Packages have changed since (gone 2 > -, nbclient - > {version}, numpy 1.26 > 2.0); without --resume, all "
        "cells run."
    )


# --- on disk ----------------------------------------------------------------------------------------------------------


def test_each_finished_cell_is_on_disk_and_much_output_is_not_written_again_and_again(tmp_path, monkeypatch):
    made = notebook(*["1"] * 60)
    written = []
    result = keep.Result(made, tmp_path, "a.ipynb")
    # time goes by as bytes are written, a second for each megabyte, and a second with each cell
    monkeypatch.setattr(keep.time, "monotonic", lambda: sum(written) / 1e6 + len(kept))
    real = keep.write

    def write(path, text):
        written.append(len(text))
        real(path, text)

    monkeypatch.setattr(keep, "write", write)
    kept = []
    for index, cell in enumerate(made.cells):
        cell.outputs = [nbformat.v4.new_output("stream", text="x" * 1_000_000)]
        kept.append(index)
        result.keep(index, "passed", 1)
        # whoever looks, or goes on after the node has gone, finds it
        found = keep.read(tmp_path / "a.ipynb") if (tmp_path / "a.ipynb").exists() else made
        assert [keep.state_of(cell) for cell in found.cells] == ["passed"] * (index + 1) + [""] * (59 - index)
        assert found.cells[index].outputs == cell.outputs
    # whole saves each time would have written 60 * 61 / 2 MB
    assert sum(written) < 3 * 60e6
    result.finish("passed", 60, 60, "")
    assert not list(tmp_path.glob("*.journal"))


def test_half_a_line_of_the_journal_is_what_a_node_that_went_leaves_and_no_more_is_lost(tmp_path):
    made = notebook("1", "2")
    result = keep.Result(made, tmp_path, "a.ipynb")
    result.finish("running", 0, 2, "")
    made.cells[0].metadata.passerelle = {"state": "passed"}
    (tmp_path / "a.ipynb.journal").write_text(json.dumps([0, made.cells[0]]) + "\n" + json.dumps([1, made.cells[1]])[:20])
    assert [keep.state_of(cell) for cell in keep.read(tmp_path / "a.ipynb").cells] == ["passed", ""]
