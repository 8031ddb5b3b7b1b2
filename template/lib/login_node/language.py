"""Prints the language of a notebook, as submit_notebook.sh asks: language.py NOTEBOOK ENVIRONMENT.

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
    metadata = notebook.get("metadata", {})
    kernel = metadata.get("kernelspec", {})
    said = [metadata.get("language_info", {}).get("name"), kernel.get("language"), metadata.get("language")]
    said += [cell.get("language") for cell in cells if cell["cell_type"] == "code"]
    languages = [language for language in said if language]
    if not languages and kernel.get("name"):
        languages = [language_of_kernel(kernel["name"], environment)]
    # IJulia has left "python" in the cells of nbformat 3
    return next((language for language in languages if language.lower() != "python"), "python")


def language_of_kernel(name, environment):
    """Return the language of a kernel, as its kernel.json has it, or as it is called; "kernel NAME" for neither."""
    for place in (os.path.join(environment, "share/jupyter"), os.path.expanduser("~/.local/share/jupyter")):
        path = os.path.join(place, "kernels", name.lower(), "kernel.json")
        if re.fullmatch("[A-Za-z0-9._-]+", name):
            # one that is damaged says nothing of the notebook
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError), open(path, encoding="utf-8") as file:
                return str(json.load(file)["language"])
    return "python" if re.search("python|-py$", name.lower()) else "kernel " + name


try:
    with open(sys.argv[1], encoding="utf-8") as file:
        language = language_of(json.load(file), sys.argv[2])
    words = "".join(letter for letter in language if letter.isprintable())[:50]
    sys.stdout.buffer.write(words.encode() + b"\n")
# whatever stands in the place of something else
except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
    sys.exit(1)
