"""Every text that the command shows: texts/LANGUAGE.yml, and the wording of the questions."""

import os
import re
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).parent
MISUSE = 64
"""The exit status for what was typed wrongly, as lab's (EX_USAGE of sysexits.h)."""


def part(name):
    """Return the folder of that name of the repository: carried by the package, or beside it in a clone."""
    return HERE / name if (HERE / name).is_dir() else HERE.parents[1] / name


LANGUAGES = sorted(path.stem for path in (HERE / "texts").glob("*.yml"))


class Trouble(Exception):
    """What ends a command, in one line: a key of texts/ and the values of its {names}."""

    def __init__(self, key, status=1, **values):
        super().__init__(key)
        self.key, self.status, self.values = key, status, values

    def __str__(self):
        return message(self.key, **self.values)


def spoken():
    """Return the language of this terminal, "en" where there are no texts in it."""
    set_to = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    return set_to[:2] if set_to[:2] in LANGUAGES else "en"


_language = [spoken()]
_catalogues = {}


def speak(language):
    """From now on, say everything in that language."""
    _language[0] = language if language in LANGUAGES else "en"


def language():
    """Return the language that is spoken now."""
    return _language[0]


def message(key, **values):
    """Return the text of a key of texts/, each {name} replaced by its value, which is made printable."""
    return _filled(_read(HERE / "texts" / f"{language()}.yml")[key], values)


def wording(key, **values):
    """Return the text of a key of questions/, in the same way."""
    return _filled(_read(part("questions") / f"{language()}.yml")[key], values)


def _read(path):
    """Return a catalogue."""
    if path not in _catalogues:
        _catalogues[path] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return _catalogues[path]


def _filled(text, values):
    """Return a text with its {names} filled in."""
    return re.sub(r"\{([a-z_]+)\}", lambda name: printable(str(values.get(name[1], name[0]))), text)


def printable(text):
    r"""Return a text with its control characters spelt out (\x1b): what others have written cannot steer a terminal."""
    return "".join(
        letter if letter.isprintable() or letter in "\u00a0\u202f" else repr(letter)[1:-1] for letter in text
    )


def say(key, **values):
    """Print news, on standard output."""
    print(message(key, **values), flush=True)


def warn(key, **values):
    """Print trouble that ends nothing, on standard error."""
    complain(message(key, **values))


def complain(words):
    """Print trouble in words, on standard error."""
    print(f"passerelle{message('colon')}{words}", file=sys.stderr, flush=True)
