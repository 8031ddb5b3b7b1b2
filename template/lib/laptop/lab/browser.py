"""Open the browser without showing the token to anybody: not in the browser's arguments, which all users can read."""

import html
import os
import threading
import webbrowser

from .messages import say
from .paths import STATE, make_state_folder

_PAGE = STATE / "open.html"


def open_browser(address):
    """Open an address with its token, through a page that only the user can read, and wait for nothing."""
    forget()
    make_state_folder()
    with os.fdopen(os.open(_PAGE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as page:
        page.write(f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={html.escape(address)}">\n')
    # some browsers return only when they are closed
    threading.Thread(target=_browse, daemon=True).start()


def _browse():
    """Say so when there is no browser."""
    try:
        found = webbrowser.open(_PAGE.as_uri())
    except webbrowser.Error:
        found = False
    if not found:
        say("no_browser")


def forget():
    """Remove that page."""
    _PAGE.unlink(missing_ok=True)
