"""What the batch script has left to be done at the job's end: it is gone by then, to let Slurm's warning come here."""

import contextlib
import os
import shlex
import subprocess

from both.limits import LIMITS


@contextlib.contextmanager
def at_end():
    """Run the command in PASSERELLE_AT_END once, however this ends; what is started meanwhile does not know of it."""
    command = shlex.split(os.environ.pop("PASSERELLE_AT_END", ""))
    try:
        yield
    finally:
        if command:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(command, timeout=2 * LIMITS.SLURM_ANSWER, check=False)
