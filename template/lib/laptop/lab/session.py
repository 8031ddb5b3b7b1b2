"""A session: its job, and what is known of its server."""

import re
import time

from .messages import Trouble, say
from .settings import read_rules
from .waiting import clock_time


def find_job(channel, name, **how):
    """Return the job of the session of that name; raises Trouble when there is none. how: as call takes it."""
    (job,) = channel.ask("found", "find", name, **how)
    if not job:
        raise Trouble("no_session_called", name=name)
    return job


def stop_job(channel, job, name, **how):
    """Cancel the job of the session of that name, and say what became of it."""
    (stopped,) = channel.ask("stopped", "stop", job, name, **how)
    say("session_stopped" if stopped else "session_was_over", name=name, job=job)


class Session:
    """A session's server, as its record has it."""

    def __init__(self, job, name, address, end="", now=""):
        """address: with the token; end, now: when Slurm ends the job, and the cluster's time (seconds since 1970).

        Raises Trouble for an address that is none.
        """
        found = re.fullmatch(read_rules()["address"], address)
        if not found or int(found[2]) > 65535:
            raise Trouble("bad_address", address=re.sub("token=.*", "token=...", address))
        self.job, self.name = job, name
        self.node, self.port, self.page, self.token = found[1], int(found[2]), found[3], found[4]
        self.limit(end, now)

    def limit(self, end, now):
        """Keep when Slurm ends the job, by this computer's clock, which also goes on while the computer sleeps."""
        self._end = time.time() + int(end) - int(now) if end and now else None

    @property
    def left(self):
        """Return the seconds until the time limit; None when it is not known."""
        return None if self._end is None else self._end - time.time()

    @property
    def end(self):
        """Return when that will be, as 14:05 by this computer's clock; "?" when it is not known."""
        return clock_time("" if self._end is None else str(int(self._end))) or "?"
