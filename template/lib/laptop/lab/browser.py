"""Open the browser without showing the token to anybody: not in the browser's arguments, which all users can read."""

import html
import os
import platform
import re
import shutil
import subprocess
import threading
import webbrowser

from both.messages import say

from .paths import STATE, make_state_folder
from .tunnel import is_running

_PAGE = STATE / f"open-{os.getpid()}.html"
"""This lab's own: another one may open its session at the same time."""


def open_browser(address, name):
    """Open a session's address with its token, through a page that only the user can read, and wait for nothing."""
    make_state_folder()
    for page in STATE.glob("open-*.html"):
        # also those of labs that were killed
        if page == _PAGE or not is_running(int(page.stem[5:])):
            page.unlink(missing_ok=True)
    with os.fdopen(os.open(_PAGE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as page:
        page.write(f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={html.escape(address)}">\n')
    # some browsers return only when they are closed
    threading.Thread(target=_browse, args=[name], daemon=True).start()


def _browse(name):
    """Say so when there is no browser."""
    try:
        found = _browse_in_windows() or webbrowser.open(_PAGE.as_uri())
    except webbrowser.Error:
        found = False
    if not found:
        say("no_browser", name=name)


def _browse_in_windows():
    r"""In WSL, have Windows open the page; return whether it did.

    Its browsers cannot read file:///home/..., but the name that wslpath has for it (\\wsl.localhost\Ubuntu\home\...).
    """
    chosen = os.environ.get("BROWSER", "wslview")
    # or somebody has chosen a browser within WSL
    if not _in_wsl() or not chosen.endswith(("wslview", ".exe")) or not (path := _answer("wslpath", "-w", _PAGE)):
        return False
    # PowerShell takes each of these for a quote
    quoted = re.sub("(['‘’‚‛])", r"\1\1", path)
    start = ["powershell.exe", "-NoProfile", "-Command", f"Start-Process '{quoted}'"]
    return any(_answer(*command) is not None for command in [start, ["wslview", path]])


def _in_wsl():
    """Return whether this is a Linux within Windows: WSL says so itself."""
    return "WSL_DISTRO_NAME" in os.environ or "microsoft" in platform.release().lower()


def _answer(*command):
    """Return what a command prints; None when it is not there, or fails."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def forget():
    """Remove that page."""
    _PAGE.unlink(missing_ok=True)
