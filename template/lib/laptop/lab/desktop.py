"""Tell somebody who looks elsewhere, in the desktop's own way: nothing has to be installed for it."""

import contextlib
import platform
import shutil
import subprocess
import sys

TITLE = "lab"
_BY_APPLESCRIPT = [
    *("osascript", "-e", "on run {title, words}"),
    *("-e", "display notification words with title title", "-e", "end run", TITLE),
]
"""The words are arguments, and so no part of the program. Nothing was tried on macOS."""
_BY_FREEDESKTOP = ["notify-send", TITLE]


def tell(words):
    """Show words on the desktop and ring the terminal's bell, where there is a terminal; wait for nothing.

    Where lab has no terminal, another program has started it, and nobody is to be called.
    """
    if not sys.stdout.isatty():
        return
    print("\a", end="", flush=True)
    command = _BY_APPLESCRIPT if platform.system() == "Darwin" else _BY_FREEDESKTOP
    if shutil.which(command[0]):
        # who knows whether a desktop answers
        with contextlib.suppress(OSError):
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.Popen([*command, words], start_new_session=True, **quiet)
