"""One voice with the scripts: every text that lab shows comes from lib/texts."""

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3]
TEXTS = FOLDER / "lib/texts"
MISUSE = 64
"""The exit status for what was typed or set wrongly (EX_USAGE of sysexits.h)."""


class Trouble(Exception):
    """What ends a command, in one line: a key of lib/texts and the values of its {names}."""

    def __init__(self, key, status=1, **values):
        super().__init__(key)
        self.key, self.status, self.values = key, status, values

    def __str__(self):
        return message(self.key, **self.values)


def language():
    """Return the language that settings.yml says, "en" when there are no texts in it."""
    try:
        settings = (FOLDER / "settings.yml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        settings = ""
    found = re.findall(r"(?m)^language: *([a-z]+)", settings)
    return found[-1] if found and (TEXTS / found[-1] / "messages.yml").exists() else "en"


_catalogue = {}


def message(key, **values):
    """Return the text of a key of lib/texts, each {name} replaced."""
    if not _catalogue:
        lines = (FOLDER / f"lib/texts/{language()}/messages.yml").read_text(encoding="utf-8").splitlines()
        for line in lines:
            if line.endswith('"') and not line.startswith("#"):
                name, text = line.split(': "', 1)
                _catalogue[name] = text[:-1].replace("\\n", "\n")
    return re.sub(r"\{([a-z_]+)\}", lambda name: str(values.get(name[1], name[0])), _catalogue[key])


def say(key, **values):
    """News, on standard output."""
    print(message(key, **values), flush=True)


def warn(key, **values):
    """Trouble that ends nothing, on standard error."""
    print(f"lab: {message(key, **values)}", file=sys.stderr, flush=True)


def show_help(name):
    """Print lib/texts/LANGUAGE/help/NAME.txt."""
    print((FOLDER / f"lib/texts/{language()}/help/{name}.txt").read_text(encoding="utf-8"), end="")
