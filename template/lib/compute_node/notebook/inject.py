"""A row of parameters, as a cell that runs after the one that is tagged "parameters" (papermill's convention)."""

import contextlib
import json

import nbformat
from both.messages import Trouble
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from keep import code_cells


def inject(notebook, values):
    """Put a cell into a notebook that gives these names these values, in the notebook's language.

    Return which one of the cells with something to run it is, as code_cells has them.
    Raises Trouble for a notebook without a cell for parameters.
    """
    write = {"r": _in_r, "julia": _in_julia}.get(language_of(notebook).lower(), _in_python)
    cell = nbformat.v4.new_code_cell("\n".join(write(name, value) for name, value in values.items()))
    cell.metadata.tags = ["injected-parameters"]
    for number, other in enumerate(notebook.cells, start=1):
        if "parameters" in other.metadata.get("tags", []):
            notebook.cells.insert(number, cell)
            return code_cells(notebook).index(number) + 1
    # it was there when the table was checked
    raise Trouble("no_parameters_cell")


def language_of(notebook):
    """Return the language of a notebook, which may name its kernel alone; "" where nobody says it."""
    kernel = notebook.metadata.kernelspec
    said = kernel.get("language") or notebook.metadata.get("language_info", {}).get("name", "")
    with contextlib.suppress(NoSuchKernel):
        return said or KernelSpecManager().get_kernel_spec(kernel.name).language
    return ""


def _in_python(name, value):
    return f"{name} = {value!r}"


def _in_r(name, value):
    return f"{name} <- {_quoted(value, 'NULL', 'TRUE', 'FALSE')}"


def _in_julia(name, value):
    return f"{name} = {_quoted(value, 'nothing').replace('$', chr(92) + '$')}"


def _quoted(value, nothing, true="true", false="false"):
    """Return a value as R and Julia read it: numbers and text as JSON has them."""
    words = {"null": nothing, "true": true, "false": false}
    word = json.dumps(value, ensure_ascii=False)
    return words.get(word, word)
