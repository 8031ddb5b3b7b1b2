"""Where the folder comes into being: beside its place, so that nothing half-made is ever in it."""

import getpass
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from .texts import Trouble, message, part


def check_free(folder):
    """Raise Trouble where the folder cannot be made, or has something that would be in the way."""
    if (folder / "settings.yml").is_file() and (folder / "lab").exists():
        raise Trouble("folder_there", folder=folder, path=shlex.quote(str(folder)))
    # a link that leads nowhere is in the way, too
    lowest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not lowest.is_dir():
        raise Trouble("no_folder", folder=lowest)
    if not os.access(lowest, os.W_OK | os.X_OK):
        raise Trouble("folder_closed", folder=lowest)
    in_the_way(folder, [path.name for path in part("template").iterdir()])


def in_the_way(folder, names):
    """Raise Trouble where the folder has something of these names."""
    if taken := sorted(name for name in names if os.path.lexists(folder / name)):
        raise Trouble("folder_taken", folder=folder, names=", ".join(taken))


def around(folder):
    """Return the folder itself, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


@contextmanager
def workshop(folder):
    """A place on the same disk, which goes with all that is in it, however this ends."""
    with tempfile.TemporaryDirectory(prefix=".passerelle-", dir=around(folder), ignore_cleanup_errors=True) as place:
        yield Path(place)


def settle(made, folder):
    """Put what was made into its place, whole."""
    if folder.exists():
        in_the_way(folder, [path.name for path in made.iterdir()])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if folder.exists():
            for path in made.iterdir():
                path.rename(folder / path.name)
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
            made.rename(folder)
    finally:
        signal.signal(signal.SIGINT, before)


# --- git --------------------------------------------------------------------------------------------------------------


def git(folder, *words):
    """Run git in a folder; return its status, and the last line of what it says."""
    # a hook of git's that calls this has them set
    own = {
        name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    done = subprocess.run(
        ["git", *words], cwd=folder, env=own, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    return done.returncode, (done.stdout.strip().splitlines() or [""])[-1]


def repository_around(folder):
    """Return the git repository that the folder is or will be in, "" if none."""
    status, top = git(around(folder), "rev-parse", "--show-toplevel")
    return top if status == 0 else ""


def commit_first(made, folder):
    """Have git keep the folder, with a first commit; return the key of what there is to say of it, and its values."""
    if not shutil.which("git"):
        return "no_git", {}
    if top := repository_around(folder):
        return "git_around", {"top": top}
    who = []
    for name, value in (("name", getpass.getuser()), ("email", f"{getpass.getuser()}@localhost")):
        # for this commit alone: it is not known who makes the next one
        if git(made, "config", f"user.{name}")[0] != 0:
            who += ["-c", f"user.{name}={value}"]
    plain = ["-c", "commit.gpgSign=false", "commit", "--quiet", "--no-verify", "--message", message("first_commit")]
    for words in (["init", "--quiet"], ["add", "--all"], [*who, *plain]):
        status, said = git(made, *words)
        if status != 0:
            return "git_failed", {"words": said}
    return "git_keeps", {}
