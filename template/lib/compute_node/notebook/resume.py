"""Whether a run can go on that has ended before its notebook did, and with what: for submit_notebook.sh --resume.

resume.py NOTEBOOK FOLDER: ends with status 1 and a line where the run in FOLDER cannot be taken up. Variables are not
kept, so finished cells run again, except those tagged "once", whose work is on disk. Both are right only for the same
cells, kernel and packages; parameters are a cell.
"""

import importlib.metadata
import sys
from pathlib import Path

import nbformat

sys.path.append(str(Path(__file__).resolve().parents[2] / "laptop"))

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel  # noqa: E402
from keep import OURS, code_cells, read, state_of  # noqa: E402
from lab.messages import Trouble, message  # noqa: E402


def conditions(notebook):
    """Return what a run depends on beside its cells: {"kernel": words, "packages": {name: version}}."""
    name = notebook.metadata.kernelspec.name
    packages = {part.name: part.version for part in importlib.metadata.distributions()}
    # the modules that the environment was built with
    record = Path(sys.prefix) / "passerelle.modules"
    for module in record.read_text(encoding="utf-8").split() if record.exists() else []:
        title, _, version = module.rpartition("/")
        packages[title or module] = version
    try:
        words = KernelSpecManager().get_kernel_spec(name).argv
    except NoSuchKernel:
        words = []
    return {"kernel": " ".join([name, *words]), "packages": packages}


def take_up(notebook, earlier):
    """Put into a notebook what an earlier run of it has finished; return a line that says what runs again.

    earlier: the path of the executed notebook
    Raises Trouble for a run that cannot be taken up.
    """
    done = read(earlier)
    cells, before = ([book.cells[index] for index in code_cells(book)] for book in (notebook, done))
    finished = next((number for number, cell in enumerate(before) if state_of(cell) != "passed"), len(before))
    _compare(cells, before[:finished], conditions(notebook), done.metadata.get(OURS, {}))
    if finished >= len(cells):
        raise Trouble("resume_finished", cells=finished)
    once = []
    for number, old in enumerate(before[:finished], start=1):
        cell = cells[number - 1]
        cell.outputs, cell.execution_count, cell.metadata[OURS] = old.outputs, old.execution_count, old.metadata[OURS]
        if "once" in cell.metadata.get("tags", []):
            once.append(str(number))
    words = message("resume_once", numbers=", ".join(once)) if once else ""
    return message("resume_from", next=finished + 1, once=words)


def _compare(cells, finished, now, before):
    """Raise Trouble for the first difference that makes what is finished worth nothing."""
    for number, old in enumerate(finished, start=1):
        if number > len(cells) or cells[number - 1].source != old.source:
            raise Trouble("resume_cell_changed", number=number)
    if now["kernel"] != before.get("kernel"):
        raise Trouble("resume_kernel_changed", before=before.get("kernel", "?"), now=now["kernel"])
    then = before.get("packages", {})
    changed = sorted(name for name in {*now["packages"], *then} if now["packages"].get(name) != then.get(name))
    if changed:
        words = [f"{name} {then.get(name, '-')} > {now['packages'].get(name, '-')}" for name in changed[:5]]
        raise Trouble("resume_packages_changed", packages=", ".join(words) + (", …" if changed[5:] else ""))


if __name__ == "__main__":
    try:
        take_up(nbformat.read(sys.argv[1], as_version=4), sys.argv[2])
    except Trouble as trouble:
        sys.exit(f"submit_notebook.sh{message('colon')}{trouble}")
