"""One voice with the scripts: every text that lab shows comes from lib/messages/en.yml or fr.yml."""

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2]
MISUSE = 64
"""The exit status for what was typed or set wrongly (EX_USAGE of sysexits.h)."""


class Trouble(Exception):
    """What ends a command, in one line: a key of lib/messages and the values of its {names}."""

    def __init__(self, key, status=1, **values):
        super().__init__(key)
        self.key, self.status, self.values = key, status, values

    def __str__(self):
        return message(self.key, **self.values)


def language():
    """Answers "fr" or "en", as settings.yml says; "en" when it cannot be read."""
    try:
        settings = (FOLDER / "settings.yml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "en"
    return "fr" if re.search(r"(?m)^language: *fr", settings) else "en"


_catalogue = {}


def message(key, **values):
    """Answers the text of a key of lib/messages, each {name} replaced."""
    if not _catalogue:
        lines = (FOLDER / f"lib/messages/{language()}.yml").read_text(encoding="utf-8").splitlines()
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
    """Prints lib/help/LANGUAGE/NAME.txt."""
    print((FOLDER / f"lib/help/{language()}/{name}.txt").read_text(encoding="utf-8"), end="")
