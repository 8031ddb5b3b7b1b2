"""The folder's files as this computer has them, what a session depends on among them, and paths in messages."""

import contextlib
import hashlib
import os
import re
import shlex
from pathlib import Path

from .messages import FOLDER, MISUSE, Trouble, language, message

LEFT_OUT = {".git", ".lab", "__pycache__", ".ipynb_checkpoints", ".DS_Store", "Thumbs.db", "desktop.ini"}
"""What stays where it is, with personal.yml and .nfs* (lib/login_node/attend.sh: LEFT_OUT)."""
SCRIPTS = {"settings.yml", "lab", "lib", "plugins"}
"""What a session depends on, with all that ends in .sh; folders with all that is in them."""


class File:
    """A file as one side has it: size in bytes, time of its last change in ns since 1970, whether it can be run.

    kind: "f"; anything else, such as "l" for a link, is not carried
    state: what shows whether it has changed since it was looked at
    """

    def __init__(self, kind, size, time, mode, state, runs):
        self.kind, self.size, self.time, self.mode, self.state, self.runs = kind, size, time, mode, state, runs
        self.sum = None


def file_here(path):
    """Return the File at a path of the folder on this computer; raises OSError."""
    path = os.path.join(FOLDER, path)
    status = os.lstat(path)
    kind, mode = {0o100000: "f", 0o120000: "l"}.get(status.st_mode & 0o170000, "?"), status.st_mode & 0o777
    if os.name == "nt" and kind == "f":
        # there is no such permission: a script is known by its first line
        with open(path, "rb") as file:
            mode = 0o755 if file.read(2) == b"#!" else 0o644
    state = (kind, status.st_size, status.st_mtime_ns, mode)
    return File(*state, state, bool(mode & 0o100))


def file_there(state):
    """Return the File that lib/login_node/attend.sh tells of as type:size:time:mode."""
    kind, size, seconds, mode = state.split(":")
    whole, _, part = seconds.partition(".")
    time, mode = int(whole) * 10**9 + int(part[:9].ljust(9, "0")), int(mode, 8) & 0o777
    return File(kind, int(size), time, mode, state, bool(mode & 0o100))


def is_script(path):
    """Return whether a session depends on it."""
    top = path.split("/")[0]
    return top in SCRIPTS or (top.endswith(".sh") and not top.startswith("."))


def runs_here(path):
    """Return whether a file of the folder is run on this computer: lab, its library and the scripts."""
    return path == "lab" or path.startswith("lib/") or ("/" not in path and path.endswith((".sh", ".ps1")))


def files_here(scripts=False):
    """Return this computer's files, by their paths with "/"; only the scripts if asked."""
    found, folders = {}, [""]
    while folders:
        folder = folders.pop()
        # what cannot be read, or goes away meanwhile, is not there
        with contextlib.suppress(OSError), os.scandir(os.path.join(FOLDER, folder)) as entries:
            for entry in entries:
                path = folder + entry.name
                if entry.name in LEFT_OUT or entry.name.startswith(".nfs") or path == "personal.yml":
                    continue
                if scripts and not is_script(path):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path + "/")
                else:
                    with contextlib.suppress(OSError):
                        found[path] = file_here(path)
    return found


def sum_of_file(path):
    """Return the sum of a file of the folder, None where it cannot be read."""
    whole = hashlib.sha256()
    try:
        with open(os.path.join(FOLDER, path), "rb") as file:
            while piece := file.read(1 << 20):
                whole.update(piece)
    except OSError:
        return None
    return whole.hexdigest()


def sum_of_folder():
    """Return one sum over the scripts here, as sum_of_folder of attend.sh computes it on the login node."""
    scripts = [path for path, file in files_here(scripts=True).items() if file.kind == "f"]
    lines = {path.encode("utf-8", "surrogateescape"): sum_of_file(path) for path in scripts}
    text = b"".join(f"{lines[path]}  ./".encode() + path + b"\n" for path in sorted(lines))
    return hashlib.sha256(text).hexdigest()


# --- paths ----------------------------------------------------------------------------------------------------------


def escaped(path):
    """Return a path as lib/login_node/attend.sh reads it."""
    return path.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


def unescaped(path):
    """Return the path that lib/login_node/attend.sh has written so, without ./ in front."""
    path = re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r", "t": "\t"}.get(found[1], found[1]), path)
    return path.removeprefix("./")


def path_and_sum(line):
    """Return both from a line of sha256sum; with a backslash in front it writes the path as escaped() does."""
    return (unescaped(line[67:]), line[1:65]) if line.startswith("\\") else (line[66:].removeprefix("./"), line[:64])


def can_be_carried(path):
    """Return whether a file can have this name on both sides."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    # what the login node's name had that was no UTF-8 has become U+FFFD
    return "\ufffd" not in path and (os.name != "nt" or not set(path) & set('\\:*?"<>|'))


def is_below(path, folder):
    """Return whether a path is this one, or in this folder."""
    return folder in (".", path) or path.startswith(folder + "/")


def inside(word):
    """Return a path of the folder that somebody has typed, relative to it; raises Trouble for another one."""
    try:
        return Path(os.path.normpath(FOLDER / word)).relative_to(FOLDER).as_posix()
    except ValueError:
        raise Trouble("sync_outside", MISUSE, path=shown(word), folder=FOLDER) from None


def shown(path):
    """Return a path as it can be typed into a shell, on one line."""
    if path.isprintable():
        return shlex.quote(path)
    letters = (letter if letter.isprintable() and letter not in "'\\" else _bytes_of(letter) for letter in path)
    return f"$'{''.join(letters)}'"


def _bytes_of(letter):
    """Return a letter as bash, zsh and Python write its bytes."""
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))


def amount(size):
    """Return a number of bytes as 512 B or 3.4 MB."""
    units = message("units").split()
    while size >= 1000 and len(units) > 1:
        size /= 1000
        del units[0]
    number = f"{size:.1f}" if isinstance(size, float) and size < 10 else f"{size:.0f}"
    return f"{number.replace('.', ',') if language() == 'fr' else number} {units[0]}"
