"""Whether a run can go on that has ended before its notebook did, and with what: for submit_notebook.sh --resume.

resume.py NOTEBOOK EARLIER [COPY]: ends with status 1 and a line where the earlier run, an executed notebook, cannot be
taken up. Variables are not kept, so finished cells run again, except those tagged "once", whose work is on disk. Both
are right only for the same cells, kernel and packages; parameters are a cell. With COPY, EARLIER is the folder of a
table's rows: those that have not passed are to run, each from where it has come to. COPY becomes the list of all rows,
and how many are to run is printed.
"""

import copy
import functools
import importlib.metadata
import json
import re
import sys
from pathlib import Path

import nbformat

sys.path += [str(Path(__file__).resolve().parents[2] / side) for side in ("", "cluster")]

import sweep  # noqa: E402
from both.messages import Trouble, message  # noqa: E402
from inject import inject  # noqa: E402
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel  # noqa: E402
from keep import OURS, as_counted, code_cells, own_among, read, runs_again, state_of  # noqa: E402


def conditions(notebook):
    """Return what a run depends on beside its cells: {"kernel": words, "packages": {name: version}}."""
    name = notebook.metadata.kernelspec.name
    try:
        words = KernelSpecManager().get_kernel_spec(name).argv
    except NoSuchKernel:
        words = []
    kernel = " ".join([name, *words])
    program = words[0] if words else ""
    return {
        "kernel": kernel,
        "packages": {**_packages(), **_packages_of_python(name, program), **_packages_of_r(kernel)},
    }


@functools.cache
def _packages():
    """Return {name: version} of this environment; many rows of a table ask for it."""
    packages = {part.name: part.version for part in importlib.metadata.distributions()}
    # the modules that the environment was built with
    record = Path(sys.prefix) / "passerelle.modules"
    for module in record.read_text(encoding="utf-8").split() if record.exists() else []:
        title, _, version = module.rpartition("/")
        packages[title or module] = version
    return packages


@functools.cache
def _packages_of_python(kernel, program):
    """Return {"KERNEL name": version} of the environment of a kernel's own, which setup_env.sh --register has added."""
    # of a virtual environment "python" is a link to another place
    environment = Path(program).parent.parent if Path(program).is_absolute() else Path(sys.prefix)
    places = [] if environment == Path(sys.prefix) else environment.glob("lib/python*/site-packages")
    found = importlib.metadata.distributions(path=[str(place) for place in places])
    return {f"{kernel} {part.name}": part.version for part in found}


@functools.cache
def _packages_of_r(kernel):
    """Return {"R name": version} of the library that R's kernel is started with (find_irkernel in r.sh)."""
    library = re.search(r'[.]libPaths\(c\([.]libPaths\(\), ("(?:[^"\\]|\\.)*")\)\)', kernel)
    packages = {}
    for file in Path(json.loads(library[1])).glob("*/DESCRIPTION") if library else []:
        version = re.search(r"(?m)^Version: *(\S+)", file.read_text(encoding="utf-8", errors="replace"))
        packages[f"R {file.parent.name}"] = version[1] if version else ""
    return packages


def read_notebook(path):
    """Return a notebook that is to be run; one without a kernel is Python's."""
    notebook = nbformat.read(path, as_version=4)
    if "name" not in notebook.metadata.get("kernelspec", {}):
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return notebook


def take_up(notebook, earlier, injected=0, variables=None):
    """Put into a notebook what an earlier run of it has finished; return a line that says what runs again.

    earlier: the path of the executed notebook
    injected: which of the cells has a row's values, 0 for none
    variables: the Variables of this run, where they are kept
    Raises Trouble for a run that cannot be taken up.
    """
    done = read(earlier)
    cells, before = ([book.cells[index] for index in code_cells(book)] for book in (notebook, done))
    finished = next((number for number, cell in enumerate(before) if state_of(cell) != "passed"), len(before))
    _compare(cells, before[:finished], injected, conditions(notebook), done.metadata.get(OURS, {}))
    if finished >= len(cells):
        raise Trouble("resume_finished", cells=own_among(finished, injected))
    kept = variables.find(Path(earlier).parent, finished) if variables else 0
    once, again = [], []
    for number, old in enumerate(before[:finished], start=1):
        cell = cells[number - 1]
        cell.outputs, cell.execution_count, cell.metadata[OURS] = old.outputs, old.execution_count, old.metadata[OURS]
        if runs_again(cell, number <= kept):
            # a row's values are no cell of anybody's
            again += [str(as_counted(number, injected))] if number != injected else []
        elif "once" in cell.metadata.get("tags", []):
            once.append(str(as_counted(number, injected)))
    next_one = as_counted(finished + 1, injected)
    if kept:
        words = message("resume_again", numbers=", ".join(again)) if again else ""
        return message("resume_kept", next=next_one, kept=own_among(kept, injected), again=words)
    words = message("resume_once", numbers=", ".join(once)) if once else ""
    return message("resume_from", next=next_one, once=words)


def _compare(cells, finished, injected, now, before):
    """Raise Trouble for the first difference that makes what is finished worth nothing."""
    for number, old in enumerate(finished, start=1):
        if number > len(cells) or cells[number - 1].source != old.source:
            raise Trouble("resume_cell_changed", number=as_counted(number, injected))
    if now["kernel"] != before.get("kernel"):
        raise Trouble("resume_kernel_changed", before=before.get("kernel", "?"), now=now["kernel"])
    then = before.get("packages", {})
    changed = sorted(name for name in {*now["packages"], *then} if now["packages"].get(name) != then.get(name))
    if changed:
        words = [f"{name} {then.get(name, '-')} > {now['packages'].get(name, '-')}" for name in changed[:5]]
        raise Trouble("resume_packages_changed", packages=", ".join(words) + (", …" if changed[5:] else ""))


def take_up_rows(notebook, name, earlier):
    """Return the rows of an earlier run, as this one has them: what has passed is not run again.

    name: the notebook's; earlier: the folder of that run
    Raises Trouble for a row that cannot be taken up, and where all have passed.
    """
    rows = sweep.read_rows(earlier)
    for number, row in enumerate(rows):
        folder = sweep.folder_of(earlier, number)
        if row.get("passed"):
            continue
        if (folder / name).exists():
            row["before"] = str(folder)
        if "before" in row:
            said = sweep.said_by(folder)
            row["passed"] = bool(said and said.state == "passed") or not _goes_on(notebook, name, rows, number)
    if all(row.get("passed") for row in rows):
        raise Trouble("resume_rows_passed", rows=len(rows))
    return rows


def _goes_on(notebook, name, rows, number):
    """Return whether there is something left to run of a row that has begun; raises Trouble where it cannot go on."""
    made = copy.deepcopy(notebook)
    injected = inject(made, rows[number]["values"])
    try:
        take_up(made, Path(rows[number]["before"]) / name, injected)
    except Trouble as trouble:
        # its last cell was done when its job ended
        if trouble.key != "resume_finished":
            raise Trouble("row_ended", number=number + 1, rows=len(rows), words=trouble) from None
        return False
    return True


def main(path, earlier, rows_to=None):
    """Check that a run can be taken up; with rows_to, write down the rows of it, and print how many are to run."""
    notebook = read_notebook(path)
    try:
        if not rows_to:
            take_up(notebook, earlier)
            return
        rows = take_up_rows(notebook, Path(path).name, Path(earlier))
    except (LookupError, TypeError, AttributeError, nbformat.ValidationError):
        # somebody has written into what it has left
        raise Trouble("resume_damaged", run=earlier) from None
    Path(rows_to).write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    print(sum(not row.get("passed") for row in rows))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"submit_notebook.sh{message('colon')}{message('os_error', words=error)}")
    except Trouble as trouble:
        sys.exit(f"submit_notebook.sh{message('colon')}{trouble}")
