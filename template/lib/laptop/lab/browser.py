"""Open the browser without showing the token to anybody: not in the browser's arguments, which all users can read."""

import html
import os
import threading
import webbrowser

from .messages import FOLDER, say

_PAGE = FOLDER / ".lab" / "open.html"


def open_browser(address, waiting):
    """Open an address with its token, through a page that only the user can read, and wait for nothing."""
    forget()
    _PAGE.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(_PAGE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as page:
        page.write(f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={html.escape(address)}">\n')
    # some browsers return only when they are closed
    threading.Thread(target=_browse, args=[waiting], daemon=True).start()


def _browse(waiting):
    """Say so when there is no browser."""
    try:
        found = webbrowser.open(_PAGE.as_uri())
    except webbrowser.Error:
        found = False
    if not found:
        waiting.done()
        say("no_browser")


def forget():
    """Remove that page."""
    _PAGE.unlink(missing_ok=True)
