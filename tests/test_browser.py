"""Which page lab gives to which browser, and what it tells which desktop.

The commands of Windows and macOS are stand-ins here; nothing was tried there.
"""

import os
import subprocess
import time

import pytest
from cluster.api import TerminalProcess
from conftest import PYTHON

# what a stand-in does: it writes down what it was given
STAND_IN = '#!/bin/sh\nprintf \'%s\\n\' "$(basename "$0")" "$@" >>{calls}\nexit {status}\n'
WSLPATH = (
    "#!/bin/sh\n[ \"$1\" = -w ] && printf '%s\\n' '\\\\wsl.localhost\\Ubuntu'\"$(printf %s \"$2\" | tr / '\\\\')\"\n"
)
BROWSE = """
import sys; sys.path[:0] = [sys.argv[1] + "/lib/laptop", sys.argv[1] + "/lib"]
import threading
from lab import browser
browser.open_browser("http://127.0.0.1:8888/lab?token=0123abcd", "essay")
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join()
"""
WSL = {"WSL_DISTRO_NAME": "Ubuntu"}
NO_BROWSER = "No browser could be opened. In another terminal, in this folder, ./lab url essay prints the address with its token.\n"


@pytest.mark.parametrize(
    ("variables", "commands", "called", "said"),
    [
        (WSL, {"powershell.exe": 0}, ["powershell.exe", "-NoProfile", "-Command", "Start-Process '{quoted}'"], ""),
        ({**WSL, "BROWSER": "wslview"}, {"wslview": 0}, ["wslview", "{windows}"], ""),
        (WSL, {"powershell.exe": 1, "wslview": 0}, ["wslview", "{windows}"], ""),
        ({**WSL, "BROWSER": "my-browser"}, {"my-browser": 0, "powershell.exe": 0}, ["my-browser", "{linux}"], ""),
        ({"BROWSER": "my-browser"}, {"my-browser": 0, "powershell.exe": 0}, ["my-browser", "{linux}"], ""),
        (WSL, {"powershell.exe": 1}, ["powershell.exe", "-NoProfile", "-Command", "Start-Process '{quoted}'"], NO_BROWSER),
        ({}, {}, [], NO_BROWSER),
    ],
    ids=["powershell", "wslview", "no powershell", "own browser in WSL", "no WSL", "refused", "none"],
)  # fmt: skip
def test_the_browser_gets_a_name_that_it_can_read(
    make_folder, environment, tmp_path, variables, commands, called, said
):
    folder = make_folder("least").rename(tmp_path / "o'brien’s folder")
    bin = tmp_path / "bin"
    bin.mkdir()
    calls = tmp_path / "calls"
    calls.touch()
    (folder / ".lab").mkdir()
    for number in (os.getpid(), 4194304):
        (folder / f".lab/open-{number}.html").touch()
    for name, status in commands.items():
        (bin / name).write_text(STAND_IN.format(calls=calls, status=status))
    (bin / "wslpath").write_text(WSLPATH)
    for path in bin.iterdir():
        path.chmod(0o755)
    variables = {**environment, **variables, "PATH": f"{bin}:{environment['PATH']}"}
    done = subprocess.run(
        [PYTHON, "-c", BROWSE, folder], env=variables, capture_output=True, encoding="utf-8", check=True
    )
    # a lab's that was killed goes, and not that of one that still waits for its browser
    others = [folder / f".lab/open-{number}.html" for number in (os.getpid(), 4194304)]
    assert [page.exists() for page in others] == [True, False]
    (page,) = set(folder.glob(".lab/open-*.html")) - set(others)
    assert (done.stdout, done.stderr) == (said, "")
    windows = "\\\\wsl.localhost\\Ubuntu" + str(page).replace("/", "\\")
    quoted = windows.replace("'", "''").replace("’", "’’")
    expected = [word.format(windows=windows, quoted=quoted, linux=page.as_uri()) for word in called]
    made = calls.read_text().splitlines()
    assert made[-len(expected) :] == expected if expected else made == []
    # the token is in the page, for the user alone
    assert "token" not in calls.read_text() and "token=0123abcd" in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600


TELL = """
import platform, sys; sys.path[:0] = [sys.argv[1] + "/lib/laptop", sys.argv[1] + "/lib"]
from lab import desktop
platform.system = lambda: sys.argv[2]
desktop.tell("“It's” ready.")
"""


@pytest.mark.parametrize(
    ("system", "commands", "called"),
    [
        ("Darwin", ["osascript", "notify-send"], ["osascript", "-e", "on run {title, words}", "-e",
         "display notification words with title title", "-e", "end run", "lab", "“It's” ready."]),
        ("Linux", ["osascript", "notify-send"], ["notify-send", "lab", "“It's” ready."]),
        ("Linux", [], []),
    ],
)  # fmt: skip
def test_each_desktop_is_told_in_its_own_way_and_the_bell_rings(
    make_folder, environment, tmp_path, system, commands, called
):
    calls = tmp_path / "calls"
    calls.touch()
    (tmp_path / "bin").mkdir()
    for name in commands:
        (tmp_path / "bin" / name).write_text(STAND_IN.format(calls=calls, status=0))
        (tmp_path / "bin" / name).chmod(0o755)
    variables = {**environment, "PATH": f"{tmp_path / 'bin'}:{environment['PATH']}"}
    told = TerminalProcess([PYTHON, "-c", TELL, str(make_folder("least")), system], variables)
    assert told.wait(20) == 0
    end = time.monotonic() + 20
    while len(calls.read_text().splitlines()) < len(called) and time.monotonic() < end:
        time.sleep(0.02)
    assert calls.read_text().splitlines() == called
    assert "\a" in told._raw
