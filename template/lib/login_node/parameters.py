"""Checks a table of parameters before anything is queued, and copies it: parameters.py NOTEBOOK TABLE COPY LANGUAGE.

NOTEBOOK, in LANGUAGE, has a cell that is tagged "parameters" and gives each a value; TABLE (.csv, .json, .yml) has a
column for each that is to have another one, and a row for each run. COPY becomes the list of rows that sweep.py reads.
Prints how many rows there are. Ends with status 64 and a line for what cannot be.

One rule for values: what is written as JSON writes numbers, true, false and null is that, all else is text (007, yes).
"""

import ast
import csv
import io
import json
import re
import sys
import warnings
from pathlib import Path

import nbformat
import yaml

sys.path.append(str(Path(__file__).resolve().parents[1]))

from both.messages import Trouble, message  # noqa: E402

TAG = "parameters"
INFINITE = (float("inf"), -float("inf"))
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}
# a = 1, α: float = 1, learning.rate <- 1
_GIVEN = re.compile(r"(?m)(?:^|;[ \t]*)([^\W\d][\w.]*)[ \t]*(?::[^=\n]*)?(?:<-|=)(?!=)")


def value_of(word):
    """Return what a word of a table is: 7, 1.5, true, false, null, or text."""
    if word in _WORDS:
        return _WORDS[word]
    return json.loads(word) if _NUMBER.fullmatch(word) else word


def read_table(path):
    """Return a table's rows; raises Trouble for what is no table."""
    reader = {".csv": _read_csv, ".json": _read_json, ".yml": _read_yaml, ".yaml": _read_yaml}.get(path.suffix.lower())
    if not reader:
        raise Trouble("table_unknown", table=path.name)
    try:
        rows = reader(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise Trouble("no_such_table", table=path) from None
    except (OSError, ValueError, csv.Error, yaml.YAMLError, RecursionError) as error:
        raise Trouble("table_unreadable", table=path.name, words=str(error).split("\n")[0]) from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and row for row in rows):
        raise Trouble("table_empty", table=path.name)
    for number, row in enumerate(rows, start=1):
        if row.keys() != rows[0].keys() or "" in row or ... in row.values():
            names = ", ".join(str(name) for name in rows[0] if name != "")
            raise Trouble("table_ragged", table=path.name, number=number, names=names)
        for name, value in row.items():
            # Python reads NaN and Infinity, which are no JSON
            if not isinstance(value, (str, int, float, type(None))) or value in INFINITE or value != value:
                raise Trouble("table_bad_value", table=path.name, number=number, name=name)
    return rows


def _read_csv(text):
    # newlines within quotes are the value's; a spreadsheet writes its empty rows as commas alone
    lines = [line for line in csv.reader(io.StringIO(text), strict=True) if any(map(str.strip, line))]
    names = [name.strip() for name in lines[0]] if lines else []
    _once(names)
    if len(names) == 1 and re.search("[;\t]", names[0]):
        # so a spreadsheet writes it where numbers have a decimal comma
        raise ValueError(message("table_commas"))
    rows = []
    for line in lines[1:]:
        # a value too many has no name, and one too few is no value; read_table finds both
        named = zip([*names, *[""] * len(line)], line)  # noqa: B905
        rows.append({**dict.fromkeys(names, ...), **{name: value_of(word.strip()) for name, word in named}})
    return rows


def _read_json(text):
    def made(pairs):
        _once([name for name, _ in pairs])
        return dict(pairs)

    return json.loads(text, object_pairs_hook=made)


def _read_yaml(text):
    """YAML's own words for true (yes, on), numbers (007, 1_000) and types (!!int) would be a second rule."""

    class Loader(yaml.BaseLoader):
        def construct_scalar(self, node):
            word = super().construct_scalar(node)
            return value_of(word) if node.style is None else word

        def construct_mapping(self, node, deep=False):
            _once([name.value for name, _ in node.value])
            return super().construct_mapping(node, deep)

    return yaml.load(text, Loader)  # noqa: S506 - it makes text, lists and dictionaries only


def _once(names):
    """Raise ValueError for a name that stands there twice."""
    if len({*map(str, names)}) != len(names):
        raise ValueError(message("table_twice"))


def names_in(notebook, language="python"):
    """Return the names to which the cell that is tagged "parameters" gives values; raises Trouble without one."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and TAG in cell.metadata.get("tags", []):
            break
    else:
        raise Trouble("no_parameters_cell")
    try:
        # to Python, R's "a <- 1" is a comparison
        parts = ast.parse(cell.source if language == "python" else "?").body
    except (SyntaxError, ValueError):
        return set(_GIVEN.findall(cell.source))
    targets = [target for part in parts for target in getattr(part, "targets", [getattr(part, "target", None)])]
    parts = [part for target in targets if target for part in ast.walk(target)]
    return {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def main(notebook, table, copy, language="python"):
    """Check the table against the notebook, write the copy, and return how many rows there are."""
    rows = read_table(Path(table))
    known = names_in(nbformat.read(notebook, as_version=4), language)
    unknown = [str(name) for name in rows[0] if name not in known]
    if unknown:
        raise Trouble("unknown_parameter", names=", ".join(unknown), known=", ".join(sorted(known)) or "-")
    try:
        text = json.dumps([{"values": row} for row in rows], ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        # JSON and YAML can write half of a letter
        raise Trouble("table_unreadable", table=Path(table).name, words=error) from None
    Path(copy).write_bytes(text)
    return len(rows)


if __name__ == "__main__":
    # those are for developers, as nbformat's of cells without ids
    warnings.simplefilter("ignore")
    try:
        print(main(*sys.argv[1:]))
    except Trouble as trouble:
        print(f"submit_notebook.sh{message('colon')}{trouble}", file=sys.stderr)
        sys.exit(64)
    except OSError as error:
        # the disk is full
        sys.exit(f"submit_notebook.sh{message('colon')}{message('os_error', words=error)}")
