"""The sessions that lab has heard of last, for the completion and the prompt of the user's shell (shell/)."""

import contextlib
import os
import re

from .paths import STATE, make_state_folder

SESSIONS = STATE / "sessions"
"""A line for each: its name, a tab, when Slurm ends it (seconds since 1970, by this computer's clock), if it runs."""


def remember(name, end=None):
    """Keep that there is a session of that name, and when it ends; None for one that waits."""
    _keep({**_kept(), name: end and str(int(end))})


def forget(name):
    """Keep that there is none of that name any more."""
    kept = _kept()
    if kept.pop(name, None) is not None:
        _keep(kept)


def remember_all(ends):
    """Keep that these are the sessions there are: name to end, as remember takes them."""
    _keep({name: end and str(int(end)) for name, end in ends.items()})


@contextlib.contextmanager
def being_started(name):
    """As long as this lasts, other labs of this folder can see that a session of that name is being started."""
    path = STATE / f"starting-{name}"
    with contextlib.ExitStack() as stack:
        # where that cannot be noted, it is not seen
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            make_state_folder()
            # the kernel takes the lock back when this lab ends
            file = stack.enter_context(open(path, "w", encoding="utf-8"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # of several, the first
            stack.callback(path.unlink, missing_ok=True)
        yield


def started_now():
    """Return the names of the sessions that other labs of this folder are starting."""
    names = []
    for path in sorted(STATE.glob("starting-*")):
        with contextlib.suppress(OSError, ImportError), open(path, encoding="utf-8") as file:
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                names.append(path.name.removeprefix("starting-"))
            else:
                path.unlink()
    return names


def _kept():
    """Return what is kept, name to end as text."""
    try:
        lines = SESSIONS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return dict(line.partition("\t")[::2] for line in lines)


def _keep(ends):
    """Write the file anew; a name that no session can have, which only a cluster can tell, is left out."""
    lines = [f"{name}\t{end or ''}\n" for name, end in ends.items() if re.fullmatch("[A-Za-z0-9._-]+", name)]
    # a folder that cannot be written to is no reason to end
    with contextlib.suppress(OSError):
        make_state_folder()
        # whole at any time; two labs may write at once
        new = SESSIONS.with_name(f"sessions-{os.getpid()}")
        new.write_text("".join(lines), encoding="utf-8")
        new.replace(SESSIONS)
