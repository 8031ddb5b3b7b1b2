"""Prints the language of a notebook, and its kernel if that is not installed: language.py NOTEBOOK ENVIRONMENT.

Where the notebook names a kernel alone that nobody knows, that is "kernel NAME". Ends with status 1 for a file that is
no notebook. A batch script cannot say more than the job's log, so what can be seen beforehand is.
"""

import contextlib
import json
import os
import re
import sys


def language_of(notebook, environment):
    """Return the language; raises KeyError, TypeError or ValueError for what is no notebook."""
    # bool is an int
    if type(notebook["nbformat"]) is not int or not 1 <= notebook["nbformat"] <= 4:
        raise ValueError
    # up to nbformat 3
    sheets = [notebook] if notebook["nbformat"] == 4 else notebook["worksheets"]
    cells = [cell for sheet in sheets for cell in sheet["cells"]]
    metadata = notebook["metadata"]
    if notebook["nbformat"] == 4 and not all(map(is_cell, cells)):
        raise ValueError
    kernel = metadata.get("kernelspec", {})
    said = [metadata.get("language_info", {}).get("name"), kernel.get("language"), metadata.get("language")]
    said += [cell.get("language") for cell in cells if cell["cell_type"] == "code"]
    languages = [language for language in said if language]
    if not languages and kernel.get("name"):
        languages = [language_of_kernel(kernel["name"], environment)]
    # IJulia has left "python" in the cells of nbformat 3
    return next((language for language in languages if language.lower() != "python"), "python")


def is_cell(cell):
    """Return whether Jupyter reads a cell of nbformat 4; raises KeyError, TypeError as well."""
    source, lists = cell["source"], [cell["metadata"].get("tags", []), cell.get("outputs", [])]
    is_text = isinstance(source, str) or all(isinstance(line, str) for line in source)
    return is_text and all(isinstance(part, list) for part in lists)


def specification(name, environment):
    """Return the kernel.json of a kernel; None where it is not installed, or damaged."""
    places = [os.path.join(environment, "share/jupyter"), os.path.expanduser("~/.local/share/jupyter")]
    for place in places + [path for path in os.environ.get("JUPYTER_PATH", "").split(":") if path]:
        path = os.path.join(place, "kernels", name.lower(), "kernel.json")
        if re.fullmatch("[A-Za-z0-9._-]+", name):
            with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
                found = json.load(file)
                return found if isinstance(found, dict) else None
    return None


def language_of_kernel(name, environment):
    """Return the language of a kernel, as its kernel.json has it, or as it is called; "kernel NAME" for neither."""
    language = (specification(name, environment) or {}).get("language")
    if language:
        return str(language)
    return "python" if re.search("python|-py$", name.lower()) else "kernel " + name


try:
    with open(sys.argv[1], encoding="utf-8") as file:
        notebook = json.load(file)
    kernel = notebook["metadata"].get("kernelspec", {}).get("name", "python3")
    found = [language_of(notebook, sys.argv[2]), "" if specification(kernel, sys.argv[2]) else kernel]
    words = ("".join(letter for letter in word if letter.isprintable())[:50] for word in found)
    sys.stdout.buffer.write("\t".join(words).encode() + b"\n")
# whatever stands in the place of something else
except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
    sys.exit(1)
