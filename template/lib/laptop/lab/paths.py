"""Paths of the folder: what a session depends on, what would run on this computer, what stays where it is."""

import contextlib
import fnmatch
import hashlib
import os
import re
import shlex
import stat
import unicodedata
from pathlib import Path

from both.messages import FOLDER, MISUSE, Trouble, message, spelt_out

STATE = FOLDER / ".lab"
"""What lab remembers on this computer, for the user alone."""
LEFT_OUT = (
    ".git", ".lab", "__pycache__", ".ipynb_checkpoints", ".rsync-partial", ".nfs*", ".DS_Store", "Thumbs.db",
    "desktop.ini",
    # half-written files of a notebook that runs as a job (keep.py, sweep.py), and what it saves beside the notebook
    ".*.part", "*.ipynb.journal",
    # of a notebook's kernel (compute_node/notebook/variables.py): large, and to read them is to run them
    ".variables.*",
    # editors keep the addresses of servers there, with their tokens
    ".idea", ".vscode", ".fleet", ".zed",
)  # fmt: skip
"""What stays where it is on either side, with personal.yml: history, one person's own, and what is made anew.

A star stands for any letters. The login node is told by channel.py.
"""
SCRIPTS = {"settings.yml", "requirements.txt", "lab", "lib", "plugins"}
"""What a session depends on, with all that ends in .sh; folders with all that is in them."""
LOCK, LOCK_SUMS = "requirements.lock", "requirements.sha256"
"""The versions of the environment, which setup_env.sh writes and reads, on the login node; and their files' sums."""


def plain(path):
    """Return a path as macOS and Windows compare it, which take LIB/ for lib/; macOS drops letters that do not show."""
    if path.isascii():
        return path.lower()
    letters = (letter for letter in unicodedata.normalize("NFKC", path) if unicodedata.category(letter) != "Cf")
    return "".join(letters).casefold()


_LEFT_OUT = re.compile("|".join(fnmatch.translate(plain(name)) for name in LEFT_OUT))
_RUNS = re.compile(
    r"(lab|lib|plugins|shell|settings\.yml)(/.*)?"
    r"|(.*/)?(\.[^/]+|pyproject\.toml|uv\.toml|setup\.cfg|(jupyter|ipython)[^/]*config[^/]*)(/.*)?"
    # pip installs what they name, from where they say
    r"|(.*/)?requirements[^/]*\.(txt|in|lock)"
    r"|.*\.(sh|bash|zsh|fish|xsh|ksh|csh|tcsh|command|tool|terminal|desktop"
    r"|ps1|psm1|bat|cmd|com|exe|scr|pif|msi|lnk|vbs|vbe|js|jse|wsf|hta)",
    re.DOTALL,
)


def runs_here(path):
    """Return whether a file of the folder is run on this computer, or read as configuration: dot files are."""
    return bool(_RUNS.fullmatch(plain(path)))


def is_script(path):
    """Return whether a session depends on it."""
    top = path.split("/")[0]
    return top in SCRIPTS or (top.endswith(".sh") and not top.startswith("."))


def is_left_out(name):
    """Return whether a file or folder of that name stays where it is."""
    return bool(_LEFT_OUT.fullmatch(plain(name)))


def is_safe(path):
    """Return whether a path that the login node has told stays within the folder and can be a file on both sides."""
    if any(part in ("", ".", "..") or is_left_out(part) for part in path.split("/")):
        return False
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return plain(path) != "personal.yml" and "\0" not in path


def is_below(path, folder):
    """Return whether a path is this one, or in this folder."""
    return folder in (".", path) or path.startswith(folder + "/")


def meant(word):
    """Return the full path of what somebody has typed, seen from where they are; a link at its end stays one.

    Who is outside the folder, and has nothing of that name there, means the folder's.
    """
    here = Path.cwd()
    path = _full(here, word)
    at_home = FOLDER in (here, *here.parents, path, *path.parents)
    return path if at_home or os.path.lexists(path) else _full(FOLDER, word)


def _full(start, word):
    """Return a path without links, but for the last part."""
    folder, name = os.path.split(os.path.join(start, word).rstrip("/") or "/")
    return Path(os.path.realpath(folder), name) if name not in ("", ".", "..") else Path(os.path.realpath(start / word))


def inside(word):
    """Return a path that somebody has typed, relative to the folder; raises Trouble for one that is not in it."""
    try:
        return meant(word).relative_to(FOLDER).as_posix()
    except ValueError:
        raise Trouble("sync_outside", MISUSE, path=shown(word), folder=FOLDER) from None


def with_parents(path):
    """Yield a path and the folders that it is in."""
    yield path
    while "/" in path:
        path = path.rsplit("/", 1)[0]
        yield path


def sum_of_folder():
    """Return one sum over the scripts here, as sum_of_folder in requests/folder.sh computes it on the login node."""
    sums = {}
    for path, status in files_here():
        if is_script(path) and stat.S_ISREG(status.st_mode):
            sums[path.encode("utf-8", "surrogateescape")] = sum_of(path)
    text = b"".join(f"{sums[path]}  ./".encode() + path + b"\n" for path in sorted(sums))
    return hashlib.sha256(text).hexdigest()


def sum_of(path):
    """Return the sum of a file of the folder, that of nothing where it cannot be read."""
    whole = hashlib.sha256()
    with contextlib.suppress(OSError), open(FOLDER / path, "rb") as file:
        while piece := file.read(1 << 20):
            whole.update(piece)
    return whole.hexdigest()


def is_undecided(path):
    """Return whether a file of the folder holds two versions of a line, as Copier's update leaves them."""
    with contextlib.suppress(OSError), open(FOLDER / path, "rb") as file:
        # what the template has is small
        return b"\n<<<<<<< before updating" in b"\n" + file.read(1 << 20)
    return False


def is_broken_by_windows(path):
    """Return whether a script of the folder has the ends of lines of Windows, with which no shell runs it."""
    with contextlib.suppress(OSError), open(FOLDER / path, "rb") as file:
        first = file.readline(1 << 10)
        return first.endswith(b"\r\n") and (first.startswith(b"#!") or path.endswith(".sh"))
    return False


def files_here():
    """Yield all in this folder that is no folder itself, links as such: its path, with "/", and its status."""
    folders = [""]
    while folders:
        top = folders.pop()
        with contextlib.suppress(OSError), os.scandir(FOLDER / top) as entries:
            for entry in entries:
                path = top + entry.name
                if is_left_out(entry.name) or path == "personal.yml":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{path}/")
                else:
                    with contextlib.suppress(FileNotFoundError):
                        yield path, entry.stat(follow_symlinks=False)


def unescaped(path):
    """Return a path that requests/folder.sh has written with backslashes."""
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r", "t": "\t"}.get(found[1], found[1]), path)


def escaped(path):
    """Return a path as the login node's "printf %b" reads it."""
    return path.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


def shown(path):
    """Return a path as it can be typed into a shell, on one line; letters of all alphabets are letters there."""
    if path.isprintable():
        others = "".join(letter for letter in path if letter.isascii() or unicodedata.category(letter)[0] not in "LMN")
        return path if path and others in ("", shlex.quote(others)) else shlex.quote(path)
    letters = (letter if letter.isprintable() and letter not in "'\\" else spelt_out(letter) for letter in path)
    return f"$'{''.join(letters)}'"


def make_state_folder():
    """Make .lab; git is told there to leave it alone."""
    STATE.mkdir(mode=0o700, exist_ok=True)
    if not (STATE / ".gitignore").exists():
        (STATE / ".gitignore").write_text("*\n", encoding="utf-8")


def named(paths, most=5):
    """Return a few of the paths, and how many more there are."""
    return ", ".join(map(shown, paths[:most])) + (f" (+{len(paths) - most})" if len(paths) > most else "")


def amount(size):
    """Return a number of bytes as 512 B or 3.4 MB."""
    units = message("units").split()
    while size >= 1000 and len(units) > 1:
        size /= 1000
        del units[0]
    number = f"{size:.1f}" if isinstance(size, float) and size < 10 else f"{size:.0f}"
    return f"{number.replace('.', message('decimal_point'))} {units[0]}"
