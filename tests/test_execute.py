"""Notebooks that run in their own kernel (submit_notebook.sh --execute): what is left of a run, however it ends."""

import copy
import csv
import json
import os
import re
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
from IPython.core.interactiveshell import InteractiveShell

RUNNER = TEMPLATE / "lib/compute_node/notebook"
sys.path.append(str(RUNNER))
sys.path += [str(TEMPLATE / "lib" / side) for side in ("", "login_node", "cluster")]

import in_kernel  # noqa: E402 - the runner's own
import keep  # noqa: E402
import parameters  # noqa: E402
import resume  # noqa: E402
import sweep  # noqa: E402
from both.messages import Trouble  # noqa: E402
from inject import inject  # noqa: E402

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
        """What its state says, without the seconds and the last line."""
        *words, seconds, why = (self.folder / "state").read_text().rstrip("\n").split("\t")
        assert seconds.isdigit()
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
    "exit False": notebook("print('one'); raise SystemExit(False)", "print('never')"),
    "exit ²": notebook("print('one'); raise SystemExit('²')", "print('never')"),
    "no kernel": nbformat.v4.new_notebook(cells=notebook("print('one')").cells),
    "a kernel without a name": nbformat.from_dict({**notebook("print('one')"), "metadata": {"kernelspec": {}}}),
    "what no notebook can hold": notebook(
        *("1", "print('one')\nget_ipython().display_pub.publish({'text/html': None, 'text/plain': 'x'})", "2")
    ),
    "half of a letter": notebook("1", "'\ud800'", "2"),
    "its folder is cleared away": notebook("print('one')", "import shutil; shutil.rmtree('out')", "print('three')"),
    "killed": notebook(
        "1", "import os\nprint('one', flush=True)\nimport time; time.sleep(1)\nos.kill(os.getpid(), 9)", "2"
    ),
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
    "exit False": (0, ["passed", "1", "2"], ["one\nSystemExit", None], ENDED_ITSELF.format(1, 2)),
    "exit ²": (1, ["failed", "1", "2"], ["one\nSystemExit", None], "cell 1 of 2 failed: sys.exit(²)"),
    "no kernel": (0, ["passed", "1", "1"], ["one\n"], "All 1 cells have run, in "),
    "a kernel without a name": (0, ["passed", "1", "1"], ["one\n"], "All 1 cells have run, in "),
    "what no notebook can hold": (
        *(1, ["failed", "2", "3"], ["1", "one\n", None]),
        "cell 2 of 3 failed: NotebookValidationError: None is not valid under any of the given schemas",
    ),
    "half of a letter": (
        *(1, ["failed", "2", "3"], ["1", "", None]),
        "cell 2 of 3 failed: UnicodeEncodeError: 'utf-8' codec can't encode character '\\ud800'",
    ),
    "its folder is cleared away": (0, ["passed", "3", "3"], ["one\n", "", "three\n"], "All 3 cells have run, in "),
    "killed": (1, ["failed", "2", "3"], ["1", "one\n", None], "cell 2 of 3: its kernel has died"),
    "no such kernel": (
        *(1, ["failed", "0", "1"], [None]),
        "The kernel none did not start: No such kernel named none",
    ),
    "R": (0, ["passed", "3", "3"], ["", "one 1", "[1] 2"], "All 3 cells have run, in "),
    "R, an error": (1, ["failed", "2", "3"], ["one", "ERROR", None], "cell 2 of 3 failed: ERROR: Error"),
    "R, quit": (0, ["passed", "1", "2"], ["one", None], ENDED_ITSELF.format(1, 2)),
    "TERM": (
        1,
        ["stopped", "2", "3"],
        ["1", "one\n", None],
        "cell 2 of 3 was stopped (SIGTERM); what has run is kept",
    ),
    "USR1": (
        *(1, ["stopped", "2", "3"], ["[1] 1", "one", None]),
        "cell 2 of 3 was stopped because the time limit is near; what has run is kept",
    ),
}


def start(folder, made, *before):
    """Begin to run a notebook in a folder; before: a command that takes this one."""
    (folder / "a.ipynb").write_text(json.dumps(made))
    command = [*before, sys.executable, RUNNER / "run.py", "a.ipynb", "out"]
    variables = {**os.environ, "JUPYTER_PATH": str(folder.parent / "jupyter"), "HOME": str(folder.parent)}
    return subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


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
    if NOTEBOOKS[name].metadata.get("kernelspec", {}).get("name") == "ir" and not shutil.which("R"):
        pytest.skip("this machine has no R")
    status, state, shown, last = ENDS[name]
    ran = runs[name]
    assert (ran.status, ran.shown(), ran.last[: len(last)]) == (status, shown, last)
    assert ran.state() == state
    assert sorted(path.name for path in ran.folder.iterdir()) == ["a.html", "a.ipynb", "state"]


@pytest.fixture
def cgroup():
    """A cgroup that is full with 300 MB, as a job's is on the clusters."""
    name = f"passerelle-{os.getpid()}"
    for path, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        folder = Path(path) / name
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text("300M")
            yield folder
            return
        except OSError:
            continue
        finally:
            folder.rmdir()
    pytest.skip("this machine lets nobody limit the memory of a cgroup")


def test_a_kernel_that_is_killed_because_the_memory_is_full_is_known_for_that(cgroup, tmp_path):
    made = notebook("print('one', flush=True)", "x = b'x' * (900 << 20)", "print('never')")
    # Jupyter's settings and caches are looked for above it
    (tmp_path / "in").mkdir()
    inside = ["bash", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', cgroup]
    ran = ended(tmp_path / "in", start(tmp_path / "in", made, *inside))
    last = "cell 2 of 3: its kernel was killed because the job's memory was full; ask for more "
    assert (ran.status, ran.shown(), ran.last[: len(last)]) == (1, ["one\n", "", None], last)
    assert ran.state() == ["failed", "2", "3"]


# --- going on ---------------------------------------------------------------------------------------------------------


def executed(folder, made, finished):
    """Leave in a folder what a run of a notebook leaves that has finished so many cells, and failed in the next."""
    made = copy.deepcopy(made)
    result = keep.Result(made, folder, "a.ipynb")
    made.metadata.passerelle = resume.conditions(made)
    for number, index in enumerate(keep.code_cells(made)[: finished + 1]):
        made.cells[index].outputs = [nbformat.v4.new_output("stream", text=f"before {number}\n")]
        result.keep(index, "passed" if number < finished else "failed", 1)
    result.finish()
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


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "7", '{"cells": 1}', '{"metadata": 7}', '{"cells": [{"metadata": 1}]}']
)
@pytest.mark.parametrize("of", ["", ".journal"])
def test_a_run_that_somebody_has_written_into_is_one_line(tmp_path, text, of):
    before = executed(tmp_path / "before", notebook(*CELLS), 2)
    made = {**json.loads(before.read_text()), **json.loads(text)} if text[:2] == '{"' and not of else text
    before.with_name(before.name + of).write_text(made if isinstance(made, str) else json.dumps(made))
    (tmp_path / "a.ipynb").write_text(nbformat.writes(notebook(*CELLS)))
    done = subprocess.run(
        [sys.executable, resume.__file__, tmp_path / "a.ipynb", before], capture_output=True, text=True
    )
    # of a journal, what can be read counts
    assert done.returncode in ((0, 1) if of else (1,))
    assert len(done.stderr.splitlines()) == done.returncode and "Traceback" not in done.stderr, done.stderr


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


def test_packages_of_a_kernel_from_another_environment_are_those_of_that_one(tmp_path, monkeypatch):
    spec, own = tmp_path / "jupyter/kernels/mine/kernel.json", tmp_path / "my env"
    spec.parent.mkdir(parents=True)
    words = [f"{own}/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": words, "display_name": "mine", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(spec.parents[2]))
    package = own / "lib/python3.12/site-packages/numpy-2.1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Name: numpy\nVersion: 2.1.0\n")
    (own / "bin").mkdir()
    (own / "bin/python").symlink_to(sys.executable)
    found = resume.conditions(notebook("1", kernel="mine"))["packages"]
    assert {name: version for name, version in found.items() if " " in name} == {"mine numpy": "2.1.0"}
    # the environment's own kernel has no other packages than those
    assert not [name for name in resume.conditions(notebook("1"))["packages"] if " " in name]


def test_packages_of_r_are_those_beside_its_kernel(tmp_path, monkeypatch):
    library = tmp_path / 'R "é"'
    spec = tmp_path / "jupyter/kernels/ir/kernel.json"
    spec.parent.mkdir(parents=True)
    # as setup_env.sh writes it
    words = f".libPaths(c(.libPaths(), {json.dumps(str(library))})); IRkernel::main()"
    spec.write_text(json.dumps({"argv": ["R", "--slave", "-e", words], "display_name": "R", "language": "R"}))
    monkeypatch.setenv("JUPYTER_PATH", str(spec.parents[2]))
    for name, version in (("IRkernel", "1.3.2"), ("data.table", "1.15.4")):
        (library / name).mkdir(parents=True)
        (library / name / "DESCRIPTION").write_bytes(
            f"Package: {name}\nVersion: {version}\nAuthor: \xe9\n".encode("latin-1")
        )
    packages = resume.conditions(notebook("1", kernel="ir"))["packages"]
    assert {name: packages[name] for name in packages if name.startswith("R ")} == {
        "R IRkernel": "1.3.2",
        "R data.table": "1.15.4",
    }


# --- variables ----------------------------------------------------------------------------------------------------------

# keeps them after each cell, however fast the machine is
KEEPING = "import run, sys, variables; variables.SHARE = float('inf'); sys.exit(run.main(sys.argv[1:]))"


def run_keeping(folder, made, *words):
    """Run a notebook with --keep-state; return what has come of it, and what the run has said."""
    nbformat.write(made, folder / "a.ipynb")
    variables = {**os.environ, "JUPYTER_PATH": str(folder / "jupyter"), "PYTHONPATH": str(RUNNER)}
    command = [sys.executable, "-c", KEEPING, "a.ipynb", *words, "--keep-state"]
    done = subprocess.run(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = [re.sub(", [0-9]+ s", "", line) for line in done.stdout.splitlines()]
    return Ran(done.returncode, lines[-1], folder / words[0]), lines


def told(lines):
    """Those lines that say what runs, and what is lost."""
    return [line for line in lines if re.match("[0-9]+/[0-9]+$|Goes on|Variables", line)]


def kept_in(folder):
    """The files of variables in a folder, and who can read them."""
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.glob(".variables*")}


COUNT = "open(home + '/count', 'a').write('{}')"
STATE = [
    "import os, random, sys, types as t\nfrom dataclasses import dataclass\nhome = os.getcwd()\n"
    f"sys.path.append(home + '/mine'); os.mkdir('in'); os.chdir('in'); random.seed(1)\n{COUNT.format(1)}",
    "scale = 2\ndef times(x, by=scale):\n    return x * by * k\nclass A:\n    rate = 1\n    def __init__(self): self.data = shared\n"
    f"@dataclass\nclass Gone:\n    x: int = scale\nplus = lambda x: times(x) + 1\n{COUNT.format(2)}",
    "k, shared, gone = 3, [1], Gone()\na, A.rate, times.calls, scale = A(), 7, 4, 100\ndel Gone\n"
    f"steps = (i for i in [1])\nfile = open(home + '/count')\n{COUNT.format(3)}",
    f"file = open(home + '/count')\n{COUNT.format(4)}",
]
LOST = (
    "Variables that cannot be kept: gone (Gone), steps (generator), file (TextIOWrapper). Cells tagged “always” run again "
    "at each --resume."
)
# what stands in several variables is one thing still, and what is defined sees the notebook's variables as they are now
SEEN = """import inspect
k = 5
shared.append(2)
print(a.data, type(a) is A, A.rate, A().rate, times(1), times.calls, plus(1), scale, t.__name__, random.random())
print(os.path.basename(os.getcwd()), sys.path[-1] == home + '/mine', {'Gone', 'gone', 'steps'} & {*globals()}, file.read())
print(inspect.getsource(plus))"""
SHOWN = "[1, 2] True 7 7 10 4 11 100 types 0.13436424411240122\nin True set() 12344\nplus = lambda x: times(x) + 1\n\n"


def test_with_variables_that_are_kept_no_finished_cell_runs_again_but_those_that_are_to(tmp_path):
    ran, said = run_keeping(tmp_path, notebook(*STATE, "1 / 0", "k"), "out")
    assert told(said) == ["1/6", "2/6", "3/6", LOST, "4/6"]
    assert kept_in(ran.folder) == {".variables.4": "0o600"}
    ran, said = run_keeping(
        tmp_path, notebook(*STATE, SEEN, "1 / 0", tags={3: "always"}), "out2", "--again", "out/a.ipynb"
    )
    again = "Goes on with cell 5, with the variables that were kept after cell 4; of the cells before it, these run again: 4."
    assert told(said) == [again, LOST, "4/6", "5/6"]
    assert ran.shown()[4] == SHOWN
    # they are on disk once, of the newest run, and what had been lost is not named again
    assert (kept_in(tmp_path / "out"), kept_in(ran.folder)) == ({}, {".variables.5": "0o600"})
    # without the choice, all is as before
    nbformat.write(notebook(*STATE, SEEN, "2"), tmp_path / "a.ipynb")
    made = notebook(*STATE, SEEN, "2")
    assert resume.take_up(made, tmp_path / "out2/a.ipynb") == GOES_ON.replace("3", "6") + "."
    # when all have run, there is nothing to go on with
    ran, said = run_keeping(tmp_path, made, "out3", "--again", "out2/a.ipynb")
    assert said[0] == "Goes on with cell 6, with the variables that were kept after cell 5."
    assert (ran.status, ran.shown()[4:]) == (0, [SHOWN, "2"])
    assert (kept_in(tmp_path / "out2"), kept_in(ran.folder)) == ({}, {})


@pytest.mark.skipif(not shutil.which("R"), reason="this machine has no R")
def test_variables_of_r_come_back_too(tmp_path):
    spec = tmp_path / "jupyter/kernels/ir/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(R)
    count = "cat('{}', file = 'count', append = TRUE)"
    cells = [
        f"library(tools)\nset.seed(1)\nk <- 2\nf <- function(x) x * k\ne <- new.env(); e$x <- 1\nl <- list(e, é = 'ü')\n{count.format(1)}",
        "con <- file('count'); within <- list(list(con))\nmakeActiveBinding('now', Sys.time, globalenv())\n"
        + count.format(2),
    ]
    ran, said = run_keeping(tmp_path, notebook(*cells, "stop('x')", kernel="ir"), "out")
    lost = "Variables that cannot be kept: con (file), now (active binding), within (list)."
    assert [line[: len(lost)] for line in said[:3]] == ["1/3", "2/3", lost]
    assert kept_in(ran.folder) == {".variables.2": "0o600"}
    seen = "k <- 5; e$x <- 9\ncat(f(1), l[[1]]$x, l$é, file_ext('a.b'), exists('con'), readLines('count', warn = FALSE), runif(1) < 0.27)"
    ran, said = run_keeping(tmp_path, notebook(*cells, seen, kernel="ir"), "out2", "--again", "out/a.ipynb")
    assert said[0] == "Goes on with cell 3, with the variables that were kept after cell 2."
    assert (ran.status, ran.shown()) == (0, ["", "", "5 9 ü b FALSE 12 TRUE"])


NOT_OURS = "out/.variables.1 is not your own file, or others can read it"
NOT_BACK = {
    "it cannot be read": ("ValueError: no way", lambda file: None),
    "others can read it": (NOT_OURS, lambda file: file.chmod(0o644)),
    "it is a link": (
        "[Errno 40] Too many levels of symbolic links: 'out/.variables.1'",
        lambda file: (file.rename(file.with_name("b")), file.symlink_to(file.with_name("b"))),
    ),
}
NO_WAY = "class A:\n    def __setstate__(self, state): raise ValueError('no way')\na = A(); a.x = 1\nopen('count', 'a').write('1')"


@pytest.fixture(scope="module")
def no_way(tmp_path_factory):
    """A run whose variables were kept, and do not come back."""
    folder = tmp_path_factory.mktemp("no-way")
    run_keeping(folder, notebook(NO_WAY, "1 / 0"), "out")
    return folder


@pytest.mark.parametrize("case", NOT_BACK)
def test_of_variables_that_do_not_come_back_or_are_not_ones_own_none_is_used(case, no_way, tmp_path):
    why, change = NOT_BACK[case]
    shutil.copytree(no_way, tmp_path / "here")
    change(tmp_path / "here/out/.variables.1")
    ran, said = run_keeping(
        tmp_path / "here", notebook(NO_WAY, "open('count').read()"), "out2", "--again", "out/a.ipynb"
    )
    line = "The variables that were kept after cell 1 do not come back ({}); all cells run again, except those tagged “once”."
    assert said[1] == line.format(why)
    assert (ran.status, ran.shown()[1]) == (0, "'11'")


def test_variables_of_another_language_are_not_kept_which_is_said_before_anything_is_queued(
    make_folder, script, tmp_path
):
    folder, spec = make_folder("least"), tmp_path / "home/jupyter_py3/share/jupyter/kernels/julia/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"language": "julia"}')
    nbformat.write(notebook("1", kernel="julia"), folder / "x.ipynb")
    done = script(folder / "submit_notebook.sh", "--print", "--keep-state", "x.ipynb", HOME=tmp_path / "home")
    assert (done.returncode, done.stdout, done.stderr) == (
        *(64, ""),
        "submit_notebook.sh: --keep-state keeps the variables of Python and R, and x.ipynb is written in julia; leave it out: "
        "--resume runs the finished cells again, except those tagged “once”.\n",
    )


def test_what_is_too_large_or_takes_too_long_to_keep_is_named_and_the_rest_is_kept(tmp_path):
    shell = InteractiveShell()
    shell.push({"a": 1, "large": b"x" * 200_000, "b": [2]})
    assert in_kernel.keep(shell, str(tmp_path / "v"), [], 100_000, 60) == {"large": "size"}
    again = InteractiveShell()
    assert in_kernel.restore(again, str(tmp_path / "v")) == {"large": "size"}
    assert {name: again.user_ns.get(name) for name in ("a", "b", "large")} == {"a": 1, "b": [2], "large": None}
    assert in_kernel.keep(shell, str(tmp_path / "v"), [], 100_000, -1) == dict.fromkeys(("a", "large", "b"), "time")


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
    result.finish()
    assert not list(tmp_path.glob("*.journal"))


def test_half_a_line_of_the_journal_is_what_a_node_that_went_leaves_and_no_more_is_lost(tmp_path):
    made = notebook("1", "2")
    result = keep.Result(made, tmp_path, "a.ipynb")
    result.finish()
    made.cells[0].metadata.passerelle = {"state": "passed"}
    (tmp_path / "a.ipynb.journal").write_text(
        json.dumps([0, made.cells[0]]) + "\n" + json.dumps([1, made.cells[1]])[:20]
    )
    assert [keep.state_of(cell) for cell in keep.read(tmp_path / "a.ipynb").cells] == ["passed", ""]


def test_what_keeps_a_run_from_beginning_is_one_line(tmp_path):
    executed(tmp_path / "before", notebook(*CELLS), 2)
    (tmp_path / "taken").write_text("")
    (tmp_path / "row.json").write_text('[{"values": {"a": 1}}]')
    without = "The notebook has no cell tagged “parameters”, whose values a table could replace; tag one in JupyterLab "
    cases = {
        ("out", "--again", "before/a.ipynb"): CHANGED.format(1),
        ("out", "--row", "row.json", "0"): f"{without}(property inspector, cell tags).",
        ("taken",): "System error: [Errno 17] File exists: 'taken'",
    }
    nbformat.write(notebook("other"), tmp_path / "a.ipynb")
    for words, line in cases.items():
        command = [sys.executable, RUNNER / "run.py", "a.ipynb", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{line}\n")
    # a job that had done all before its node was lost
    (tmp_path / "before/state").write_text("passed\t4\t4\t9\tAll have run.\n")
    command = [sys.executable, RUNNER / "run.py", "a.ipynb", "before"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "All have run.\n", "")


# --- tables of parameters ---------------------------------------------------------------------------------------------

WITH_PARAMETERS = notebook("import x", "a = 1\nb: str = 'x'\nc = None", "print(a, b)", tags={1: "parameters"})
RAGGED = "t.{}, row {}: every row needs a value for each of {}."
ROWS = [{"a": 7, "b": "x"}, {"a": 0.5, "b": "007"}]
TABLES = {
    "CSV": ("csv", "a,b\n7,x\n0.5,007\n", ROWS),
    "CSV of another system": ("csv", "\ufeffa , b\r\n7, x\r\n\r\n0.5 ,007\r\n", ROWS),
    "a spreadsheet's empty rows": ("csv", ",\na,b\n7,x\n,\n0.5,007\n , \n", ROWS),
    "JSON": ("json", '[{"a": 7, "b": "x"}, {"a": 0.5, "b": "007"}]', ROWS),
    "YAML": ("yml", "- {a: 7, b: x}\n- a: 0.5\n  b: 007\n", ROWS),
    "what is a number is stated": (
        "csv",
        'a,b\n-1e3,1_000\n+1,0x10\ntrue,yes\nnull,\n"a, ""b""",NaN\n',
        [
            {"a": -1000.0, "b": "1_000"},
            {"a": "+1", "b": "0x10"},
            {"a": True, "b": "yes"},
            {"a": None, "b": ""},
            {"a": 'a, "b"', "b": "NaN"},
        ],
    ),
    "YAML's quotes": (
        "yml",
        "- {a: '7', b: \"true\"}\n- {a: yes, b: ~}\n",
        [{"a": "7", "b": "true"}, {"a": "yes", "b": "~"}],
    ),
    "no rows": ("csv", "a,b\n", "t.csv has no rows; it needs names of parameters, and under each its values."),
    "nothing": ("csv", "", "t.csv has no rows; it needs names of parameters, and under each its values."),
    "one row alone": (
        "json",
        '{"a": 1}',
        "t.json has no rows; it needs names of parameters, and under each its values.",
    ),
    "a value too few": ("csv", "a,b\n1,2\n3\n", RAGGED.format("csv", 2, "a, b")),
    "a value too few in the only row": ("csv", "a,b\n1\n", RAGGED.format("csv", 1, "a, b")),
    "a value too few in the first row": ("csv", "a,b\n1\n1,2\n", RAGGED.format("csv", 1, "a, b")),
    "a value too many in the first row": ("csv", "a,b\n1,2,3\n1,2\n", RAGGED.format("csv", 1, "a, b")),
    "a column without a name": ("csv", "a,,b\n1,2,3\n", RAGGED.format("csv", 1, "a, b")),
    "a spreadsheet's decimal commas": (
        "csv",
        "a;b\n0,1;x\n",
        "t.csv cannot be read: separate its columns by commas, and write numbers with a point (0.5)",
    ),
    "other names": ("json", '[{"a": 1}, {"b": 1}]', RAGGED.format("json", 2, "a")),
    "a list": ("yml", "- {a: [1]}\n", "t.yml, row 1: a is neither a number nor text, true, false or null."),
    "no number": ("json", '[{"a": NaN}]', "t.json, row 1: a is neither a number nor text, true, false or null."),
    "a name twice": ("csv", "a,a\n1,2\n", "t.csv cannot be read: a column name occurs twice"),
    "no JSON": (
        "json",
        "[{",
        "t.json cannot be read: Expecting property name enclosed in double quotes: line 1 column 3 (char 2)",
    ),
    "no table": ("txt", "", "t.txt is no table; write a .csv, .json or .yml file."),
    "a value of several lines": (
        "CSV",
        'a,b\r\n1,"x\r\n\r\ny"\r\n2,u\u2028v\x0cw\r\n',
        [{"a": 1, "b": "x\n\ny"}, {"a": 2, "b": "u\u2028v\x0cw"}],
    ),
    "YAML's types are no second rule": (
        "yml",
        "- {a: !!int 7, b: !!bool x}\n- {a: !!timestamp y, b: !!int '7'}\n- {a: &v 1, b: *v}\n",
        [{"a": 7, "b": "x"}, {"a": "y", "b": "7"}, {"a": 1, "b": 1}],
    ),
    "YAML that holds itself": (
        "yml",
        "- &x {a: *x}\n",
        "t.yml cannot be read: found unconstructable recursive node",
    ),
    "a name twice in JSON": ("json", '[{"a": 1, "a": 2}]', "t.json cannot be read: a column name occurs twice"),
    "a name twice in YAML": ("yml", "- {a: 1, 'a': 2}\n", "t.yml cannot be read: a column name occurs twice"),
    "half of a letter": (
        "json",
        '[{"a": "\\ud800"}]',
        "t.json cannot be read: 'utf-8' codec can't encode character '\\ud800' in position 19: surrogates not allowed",
    ),
    "half of a letter as a name": (
        "json",
        '[{"\\ud800": 1}]',
        "The cell tagged “parameters” does not give a value to: \\xed\\xa0\\x80. It does to: a, b, c.",
    ),
    "an unknown name": (
        "csv",
        "a,d,e f\n1,2,3\n",
        "The cell tagged “parameters” does not give a value to: d, e f. It does to: a, b, c.",
    ),
}


def table_of(folder, suffix, text, made=WITH_PARAMETERS):
    """Check a table against a notebook as submit_notebook.sh does; return its rows, or the line that refuses it."""
    nbformat.write(made, folder / "a.ipynb")
    (folder / f"t.{suffix}").write_bytes(text.encode())
    try:
        number = parameters.main(folder / "a.ipynb", folder / f"t.{suffix}", folder / "copy.json")
    except Trouble as trouble:
        assert not (folder / "copy.json").exists()
        return str(trouble)
    rows = json.loads((folder / "copy.json").read_text())
    assert number == len(rows)
    return [row["values"] for row in rows]


@pytest.mark.parametrize("case", TABLES)
def test_a_table_is_read_by_one_rule_or_refused_in_a_line_before_anything_is_queued(case, tmp_path):
    suffix, text, expected = TABLES[case]
    found = table_of(tmp_path, suffix, text)
    assert found == expected
    # 7 == 7.0 == True
    assert repr(found) == repr(expected)


GIVEN = {
    "python": ("a = 1\nb: str = 'x'\n_c, (α, d) = e = 1, (2, 3)\nf[0] = g.h = 1", {"a", "b", "_c", "α", "d", "e"}),
    "R": ("a <- 1\nlearning.rate <- TRUE; c = 'x'\nif (d == 1) e\n", {"a", "learning.rate", "c"}),
    "julia": ("a = 1; α::Int = 2\nb == 3", {"a", "α"}),
}


@pytest.mark.parametrize("language", GIVEN)
def test_the_names_that_a_table_can_give_values_are_those_of_the_notebooks_language(language):
    source, names = GIVEN[language]
    assert parameters.names_in(notebook(source, tags={0: "parameters"}), language) == names


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Trouble) as refused:
        parameters.read_table(tmp_path / "t.csv")
    said = f"There is no table {tmp_path}/t.csv; give the path of a .csv, .json or .yml file."
    assert str(refused.value) == said


def test_a_notebook_without_a_cell_for_parameters_is_refused(tmp_path):
    assert table_of(tmp_path, "csv", "a\n1\n", notebook("a = 1")) == (
        "The notebook has no cell tagged “parameters”, whose values a table could replace; tag one in JupyterLab "
        "(property inspector, cell tags)."
    )


VALUES = {"a": 'it\'s "1" $x \\ é\n', "b": True, "c": None, "d": -1.5e300, "e": 10**20}
INJECTED = {
    "python": ["a = 'it\\'s \"1\" $x \\\\ é\\n'", "b = True", "c = None", "d = -1.5e+300", f"e = {10**20}"],
    "R": ['a <- "it\'s \\"1\\" $x \\\\ é\\n"', "b <- TRUE", "c <- NULL", "d <- -1.5e+300", f"e <- {10**20}"],
    "julia": ['a = "it\'s \\"1\\" \\$x \\\\ é\\n"', "b = true", "c = nothing", "d = -1.5e+300", f"e = {10**20}"],
}


@pytest.mark.parametrize("language", INJECTED)
def test_a_row_is_a_cell_of_the_notebooks_language_behind_the_one_that_it_replaces(language):
    made = copy.deepcopy(WITH_PARAMETERS)
    made.metadata.kernelspec.language = language
    inject(made, VALUES)
    assert [cell.metadata.get("tags") for cell in made.cells] == [None, ["parameters"], ["injected-parameters"], None]
    assert made.cells[2].source.split("\n") == INJECTED[language]


def test_where_only_the_kernel_is_named_a_row_is_in_its_language(tmp_path, monkeypatch):
    spec = tmp_path / "kernels/ir/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(R)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    made = notebook("b <- FALSE", kernel="ir", tags={0: "parameters"})
    inject(made, {"b": True})
    assert made.cells[1].source == "b <- TRUE"


# --- the rows of a table ----------------------------------------------------------------------------------------------


def begin_task(folder, rows, results, task, tasks):
    """Begin to run what one task of an array does."""
    numbers = {"ID": task + 4, "MIN": 4, "COUNT": tasks}
    variables = {**os.environ, **{f"SLURM_ARRAY_TASK_{name}": str(number) for name, number in numbers.items()}}
    command = [sys.executable, RUNNER / "rows.py", "a.ipynb", results, rows, "2"]
    return subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True)


def table_in(folder):
    """What rows.csv says, without the seconds."""
    with open(folder / "rows.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: word for name, word in row.items() if name != "seconds"} for row in rows]


def line(row, state, cell="", cells="", why="", folder="", **values):
    """A row of rows.csv."""
    return {"row": str(row), "state": state, "cell": cell, "cells": cells, "why": why, "folder": folder, **values}


def test_rows_are_shared_out_one_that_fails_ends_no_other_and_only_that_one_runs_again(tmp_path):
    made = notebook("a = 0", "open(f'once{a}', 'x')", "1 / (a - 3)\nprint(a)", tags={0: "parameters", 1: "once"})
    assert len(table_of(tmp_path, "csv", "a\n1\n2\n3\n", made)) == 3
    tasks = [begin_task(tmp_path, "copy.json", "out", task, 2) for task in (0, 1)]
    said = [set(task.communicate()[0].splitlines()) for task in tasks]
    assert [task.returncode for task in tasks] == [1, 0]
    # as the notebook has them: the cell with the row's values is not counted
    why = "cell 3 of 3 failed: ZeroDivisionError: division by zero"
    assert f"row 3 of 3: {why}" in said[0]
    assert {line.split(":")[0] for line in said[0]} == {f"row {row} of 3" for row in (1, 3)}
    assert {line.split(":")[0] for line in said[1]} == {"row 2 of 3"}
    shown = nbformat.read(tmp_path / "out/row-0002/a.ipynb", as_version=4).cells[3].outputs
    assert shown[0].text == "2\n"
    shutil.copy(tmp_path / "copy.json", tmp_path / "out/rows.json")
    failed = line(3, "failed", "3", "3", why, "row-0003", a="3")
    assert [row["state"] for row in table_in(tmp_path / "out")] == ["passed", "passed", "failed"]
    assert table_in(tmp_path / "out")[2] == failed

    # a finished cell is another one: nothing is submitted
    other = copy.deepcopy(made)
    other.cells[0].source = "a = 1"
    nbformat.write(other, tmp_path / "a.ipynb")
    with pytest.raises(Trouble) as trouble:
        resume.main(tmp_path / "a.ipynb", tmp_path / "out", tmp_path / "again.json")
    assert str(trouble.value) == f"row 3 of 3: {CHANGED.format(1)}"
    # the one that failed is mended
    made.cells[2].source = "print('mended')"
    nbformat.write(made, tmp_path / "a.ipynb")
    resume.main(tmp_path / "a.ipynb", tmp_path / "out", tmp_path / "again.json")
    task = begin_task(tmp_path, "again.json", "out2", 0, 1)
    assert re.fullmatch(r"row 3 of 3: All 3 cells have run, in .*\n", task.communicate()[0])
    assert [path.name for path in (tmp_path / "out2").iterdir() if path.is_dir()] == ["row-0003"]
    said = (tmp_path / "out2/row-0003/log").read_text().splitlines()
    assert said[0].startswith("Goes on with cell 3. ")
    assert said[0].endswith("except those tagged “once”: 2.")
    assert [line.split(",")[0] for line in said[1:-1]] == ["1/3", "3/3"]
    assert [(row["state"], row["folder"]) for row in table_in(tmp_path / "out2")] == [
        ("passed", "../out/row-0001"),
        ("passed", "../out/row-0002"),
        ("passed", "row-0003"),
    ]
    shutil.copy(tmp_path / "again.json", tmp_path / "out2/rows.json")
    with pytest.raises(Trouble) as trouble:
        resume.main(tmp_path / "a.ipynb", tmp_path / "out2", tmp_path / "again.json")
    assert str(trouble.value) == "All 3 rows have passed already; with --parameters, they run again."
    # a task that Slurm begins again has nothing left to do, and does not run what has failed
    task = begin_task(tmp_path, "copy.json", "out", 0, 1)
    assert (task.communicate()[0], task.returncode) == ("", 1)


def test_a_row_for_which_nothing_can_be_written_ends_no_other(tmp_path):
    made = notebook("a = 0", "import os\nif a == 2: os.remove('out/row-0002/log')", tags={0: "parameters"})
    table_of(tmp_path, "csv", "a\n1\n2\n3\n", made)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/row-0001").write_text("")
    task = begin_task(tmp_path, "copy.json", "out", 0, 1)
    said = [re.sub("in .*", "", line) for line in task.communicate()[0].splitlines()]
    assert said[0].startswith("row 1 of 3: System error: [Errno ")
    assert sorted(said[1:]) == [f"row {row} of 3: All 2 cells have run, " for row in (2, 3)]
    assert (task.returncode, [row["state"] for row in table_in(tmp_path / "out")]) == (
        1,
        ["waiting", "passed", "passed"],
    )


def test_where_the_cell_with_a_rows_values_fails_words_say_so_and_no_number_that_the_notebook_lacks(tmp_path):
    fail = "get_ipython().input_transformers_cleanup.append(lambda lines: ['1 / 0'] if lines[0].strip() == 'a = 1' else lines)"
    made = notebook(f"a = 0\n{fail}", "print(a)", tags={0: "parameters"})
    table_of(tmp_path, "csv", "a\n1\n", made)
    why = "the cell that gives the row's values failed: ZeroDivisionError: division by zero"
    assert begin_task(tmp_path, "copy.json", "out", 0, 1).communicate()[0] == f"row 1 of 1: {why}\n"
    shutil.copy(tmp_path / "copy.json", tmp_path / "out/rows.json")
    assert table_in(tmp_path / "out") == [line(1, "failed", "2", "2", why, "row-0001", a="1")]
    made.cells[0].source = "a = 0"
    nbformat.write(made, tmp_path / "a.ipynb")
    with pytest.raises(Trouble) as trouble:
        resume.main(tmp_path / "a.ipynb", tmp_path / "out", tmp_path / "again.json")
    assert str(trouble.value) == f"row 1 of 1: {CHANGED.format(1)}"


SAID = ["passed\t4\t4\t9\tdone", "failed\t2\t4\t5\twhy", "running\t3\t4\t7\t", "stopped\t3\t4\t7\tlimit", None]
# what Slurm says of the tasks that have the rows 3, 4, 5; whether it has any that wait or run; what has become of those
SLURM = {
    "it has just been submitted": ("", True, "running", "waiting", "waiting"),
    "its tasks run": ("8_2|RUNNING\n8_3|RUNNING\n8_4|RUNNING", True, "running", "waiting", "waiting"),
    "they have not begun": ("8_[2-4%2]|PENDING", True, "waiting", "waiting", "waiting"),
    "they are over the limit": ("8_2|TIMEOUT\n8_3|TIMEOUT\n8_4|TIMEOUT", False, "failed", "stopped", "never ran"),
    "one has had no memory": ("8_2|OUT_OF_MEMORY\n8_[3-4]|PENDING", True, "failed", "waiting", "waiting"),
    "they were cancelled": (
        *("8_2|CANCELLED by 1001\n8_[3-4]|CANCELLED by 1001\n9_4|RUNNING", False),
        *("failed", "stopped", "never ran"),
    ),
    "its node was lost": ("8_2|NODE_FAIL\n8_3|NODE_FAIL\n8_4|COMPLETED", False, "failed", "stopped", "never ran"),
    "its task has failed": ("8_2|FAILED|0:9|1\n8_3|FAILED|1:0|1", False, "failed", "stopped", "never ran"),
    "it was queued again, and cancelled": ("8_2|REQUEUED|0:0|1", False, "failed", "stopped", "never ran"),
    "it is queued again": ("8_2|PENDING|0:0|1\n8_3|REQUEUED|0:0|1", True, "waiting", "waiting", "waiting"),
    "it is forgotten": ("", False, "failed", "stopped", "never ran"),
}


@pytest.mark.parametrize("case", SLURM)
def test_of_rows_that_could_not_say_how_they_have_ended_slurm_says_it(case, tmp_path):
    said, live, *expected = SLURM[case]
    rows = [{"values": {"a": number, "b": None}} for number in range(5)]
    for number, words in enumerate(SAID):
        folder = sweep.folder_of(tmp_path, number)
        folder.mkdir()
        if words:
            (folder / "state").write_text(f"{words}\n")
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "which").write_text("goes on\n")
    command = [sys.executable, TEMPLATE / "lib/cluster/sweep.py", "8", "5", "live" if live else "over", tmp_path]
    done = subprocess.run(command, input=said, capture_output=True, text=True)
    assert done.stderr == ""
    found = table_in(tmp_path)
    assert [row["state"] for row in found] == ["passed", "failed", *expected]
    # a row that has stopped can be taken up, and counts as failed
    states = ["passed", "failed", *(state.replace("stopped", "failed") for state in expected)]
    counts = [states.count(state) for state in ("passed", "failed", "running", "waiting", "never ran")]
    which = "goes on" if live else ""
    assert done.stdout == "\t".join(map(str, ["8", 5, *counts, which])) + "\n"
    word = re.match(r"8_2.(\w+(?: by 1001)?)", said)
    if expected[0] == "failed":
        why = f"Slurm: {word[1] if word else 'unknown'}" + " 0:9" * ("0:9" in said)
        assert found[2] == line(3, "failed", "3", "4", why, "row-0003", a="2", b="null")
    assert not list(tmp_path.glob(".*"))


def test_a_thousand_rows_are_submitted_as_one_is(make_folder, environment, tmp_path):
    folder, built = make_folder("least"), tmp_path / "home/jupyter_py3"
    spec = built / "share/jupyter/kernels/python3/kernel.json"
    (built / "bin").mkdir(parents=True)
    spec.parent.mkdir(parents=True)
    spec.write_text('{"language": "python"}')
    (built / "bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (built / "bin/python").chmod(0o755)
    nbformat.write(notebook("a = 0", tags={0: "parameters"}), folder / "x.ipynb")
    commands = {}
    for rows in (1, 1000):
        (folder / "t.csv").write_text("a\n" + "".join(f"{row}\n" for row in range(rows)))
        # bash shows each command that it runs; a 0xff in one is not text
        words = ["/bin/bash", "-p", "-x", "submit_notebook.sh", "--print", "--parameters=t.csv", "x.ipynb"]
        variables = {**environment, "HOME": str(tmp_path / "home")}
        done = subprocess.run(words, cwd=folder, env=variables, capture_output=True)
        assert done.returncode == 0
        assert f"#SBATCH --array=0-{rows - 1}\n".encode() in done.stdout
        commands[rows] = len(re.findall(rb"(?m)^\++ ", done.stderr))
    assert commands[1] > 100
    assert abs(commands[1000] - commands[1]) < 10


def test_a_run_is_looked_for_by_its_number_and_no_folders_name_is_more_than_that(make_folder, script, tmp_path):
    folder, environment = make_folder("least"), tmp_path / "home/jupyter_py3"
    for path in (environment / "bin/python", environment / "share/jupyter/kernels/python3/kernel.json"):
        path.parent.mkdir(parents=True)
        path.write_text('{"language": "python"}' if path.suffix else '#!/bin/sh\necho checked "$3"\n')
        path.chmod(0o755)
    nbformat.write(notebook("1"), folder / "x.ipynb")
    odd = ["a[$(touch canary)]0", "newest7", "2", "10", "9"]
    for name in odd:
        (folder / f"results/2026-11-27-x-{name}").mkdir(parents=True)
        (folder / f"results/2026-11-27-x-{name}/x.ipynb").write_text("{}")
    done = script(folder / "submit_notebook.sh", "--print", "--resume", "x.ipynb", HOME=tmp_path / "home")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"checked {folder}/results/2026-11-27-x-10/x.ipynb"
    assert done.stdout.endswith(f" --again {folder}/results/2026-11-27-x-10/x.ipynb\n")
    assert not list(folder.rglob("canary"))
    shutil.rmtree(folder / "results")
    done = script(folder / "submit_notebook.sh", "--print", "--resume", "x.ipynb", HOME=tmp_path / "home")
    assert (done.returncode, done.stdout, done.stderr) == (
        *(64, ""),
        f"submit_notebook.sh: There is no run of x.ipynb in {folder}/results to go on with; this begins one: "
        "./submit_notebook.sh x.ipynb --execute\n",
    )


def test_a_notebook_whose_cells_have_no_ids_is_checked_and_run_without_a_word_for_developers(tmp_path):
    made = json.loads(nbformat.writes(notebook("a = 1", tags={0: "parameters"})))
    for cell in made["cells"]:
        del cell["id"]
    (tmp_path / "a.ipynb").write_text(json.dumps(made))
    (tmp_path / "t.csv").write_text("a\n7\n")
    command = [sys.executable, TEMPLATE / "lib/login_node/parameters.py", "a.ipynb", "t.csv", "copy.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
    command = [sys.executable, RUNNER / "run.py", "a.ipynb", "out", "--row", "copy.json", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert re.fullmatch("1/1, [0-9]+ s\\n.*\\n", done.stdout), done.stdout
    assert (done.returncode, done.stderr) == (0, "")
