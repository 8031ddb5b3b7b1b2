"""One voice with the scripts: every text that lab shows comes from lib/texts/LANGUAGE."""

import contextlib
import os
import re
import signal
import sys
import textwrap
import unicodedata
from pathlib import Path

LIB = Path(__file__).resolve().parents[1]
"""What lab brings with it."""
FOLDER = LIB.parent
"""The folder that lab is for: its own, unless `passerelle update` says another."""
TEXTS = LIB / "texts"
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
    """Return the text of a key of lib/texts, each {name} replaced by its value, which is made printable."""
    if not _catalogue:
        lines = (TEXTS / language() / "messages.yml").read_text(encoding="utf-8").splitlines()
        for line in lines:
            if line.endswith('"') and not line.startswith("#"):
                name, text = line.split(': "', 1)
                _catalogue[name] = text[:-1].replace("\\n", "\n")
    return re.sub(r"\{([a-z_]+)\}", lambda name: printable(str(values.get(name[1], name[0]))), _catalogue[key])


def printable(text):
    r"""Return a text with its control characters spelt out (\x1b): what others have written cannot steer a terminal."""
    if text.isprintable():
        return text
    # no-break spaces are no control characters, though Python calls them unprintable
    return "".join(
        letter if letter.isprintable() or unicodedata.category(letter) == "Zs" else spelt_out(letter) for letter in text
    )


def spelt_out(letter):
    r"""Return a letter as bash, zsh and Python write its bytes: \x1b, \xe2\x80\xae."""
    # half of a letter may be a byte that Python could not read, or come from JSON
    errors = "surrogateescape" if "\udc80" <= letter <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", errors))


# what may be there to be copied: from a word with a colon (not lab's name, nor a line's number), "./" or "(" up to the
# next punctuation
_KEPT = re.compile(
    r"(?:(?<= )(?=[^ ]*[^\d ]: )|(?<![^ ])(?=\./|\())"
    r"(?:(?! \().)*?(?:[.;,)?](?= |$)|(?= \()|$)"
)


def put(text, stream=None, end="\n"):
    """Print a text; on a terminal, in rows of whole words, as lib/both/messages.sh does."""
    stream = stream or sys.stdout
    if stream.isatty():
        text = "\n".join(row for line in text.split("\n") for row in _rows(line, columns(stream)))
    print(text, end=end, file=stream, flush=True)


def columns(stream):
    """Return how wide the terminal behind a stream is; one that does not say has 80 columns."""
    return os.get_terminal_size(stream.fileno()).columns or 80


def _rows(line, width):
    """Return a line in rows; what may be there to be copied stays in one, if it fits, and a word always does."""
    if len(line) <= width or line.startswith(" "):
        return [line]
    kept = _KEPT.sub(lambda part: part[0].replace(" ", "\0") if len(part[0]) <= width else part[0], line)
    rows = textwrap.wrap(kept, width, break_long_words=False, break_on_hyphens=False)
    return [row.replace("\0", " ") for row in rows]


_at_bottom = ""


def put_at_bottom(line):
    """Put a line at the terminal's bottom, in the place of the last one, until something else is said."""
    global _at_bottom
    # cut where the terminal ends, because a second line would stay
    line = line[: columns(sys.stdout) - 1]
    if line != _at_bottom:
        print(f"\r\x1b[K{line}", end="", flush=True)
        _at_bottom = line


def clear_bottom():
    """Take that line back."""
    global _at_bottom
    if _at_bottom:
        # the terminal may have been closed
        with contextlib.suppress(OSError):
            print("\r\x1b[K", end="", flush=True)
        _at_bottom = ""


def say(key, **values):
    """Print news, on standard output."""
    clear_bottom()
    put(message(key, **values))


def warn(key, **values):
    """Print trouble that ends nothing, on standard error."""
    clear_bottom()
    complain(message(key, **values))


def complain(words):
    """Print trouble in words, on standard error."""
    put(f"lab{message('colon')}{words}", sys.stderr)


def report(error):
    """Say in one line what ends a command: a Trouble, an OSError or a Ctrl-C; return the exit status."""
    clear_bottom()
    # the terminal may have been closed
    with contextlib.suppress(OSError):
        if isinstance(error, OSError) and not can_print():
            # Python is not to complain at its end, and what is still to be said goes elsewhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.stdout = sys.stderr
        if isinstance(error, KeyboardInterrupt):
            print(flush=True)
        elif not isinstance(error, BrokenPipeError):
            complain(error if isinstance(error, Trouble) else message("os_error", words=error))
    return 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "status", 1)


def can_print():
    """Return whether standard output takes what is printed.

    Whoever read it may have gone (lab logs | head), its disk may be full.
    """
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def answered(key, word, **values):
    """Ask a question at the terminal; return whether the answer is that word, or how it begins.

    A Ctrl-C ends it with KeyboardInterrupt, also where lab only notes them (channel.py).
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        put(message(key, **values), end=" ")
        answer = sys.stdin.readline().strip().lower()
    finally:
        signal.signal(signal.SIGINT, before)
    return bool(answer) and word.startswith(answer)


def show_help(name):
    """Print lib/texts/LANGUAGE/help/NAME.txt."""
    print((TEXTS / language() / f"help/{name}.txt").read_text(encoding="utf-8"), end="")
