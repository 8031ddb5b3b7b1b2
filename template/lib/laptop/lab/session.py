"""A session: its job, and what is known of its server."""

import re
import time

from both.job_states import ENDED, FORGOTTEN
from both.messages import Trouble, message, report, say

from .remembered import forget, remember
from .settings import read_rules
from .waiting import clock_time


def find_job(channel, name, **how):
    """Return the job of the session of that name; raises Trouble when there is none. how: as call takes it."""
    (job,) = channel.ask("found", "find", name, **how)
    if not job:
        forget(name)
        raise no_session(name, *channel.ask("last", "last", name, ",".join(ENDED), **how))
    return job


def no_session(name, job, state, words, end, memory):
    """Return the Trouble of a session that neither waits nor runs: how the last one of that name ended, if any did.

    state, words, end (seconds since 1970): as Slurm's accounts have them; memory: what Slurm wrote about it
    """
    if state not in ENDED:
        return Trouble("no_job_called" if name.isdigit() else "no_session_called", name=name)
    when = clock_time(end) or message("unknown")
    return Trouble("session_ended", name=name, job=job, when=when, **how_it_ended(name, state, words, memory))


def how_it_ended(name, state, reason, memory):
    """Return for a message about a job that is over Slurm's words about it, and a hint what to do.

    reason: Slurm's, or "idle MINUTES"; memory: what Slurm wrote about the job's memory, if that was it
    """
    minutes = re.fullmatch("idle ([0-9]{1,4})", reason)
    if minutes:
        return {"words": words_of(state, idle_for(minutes[1])), "hint": message("idle_hint", name=name)}
    hint = message("hint_out_of_memory" if memory else f"hint_{state.lower()}", name=name)
    # a number is a job's, which begins no other: one that was started by hand has no name
    if name.isdigit() and state != "FAILED":
        hint = message("another_session")
    return {"words": words_of(state, memory or reason), "hint": hint}


def idle_for(minutes):
    """Return why a session has ended in which nothing was done for so many minutes."""
    return message("idle_for", minutes=minutes)


def words_of(state, reason):
    """Return Slurm's words about a job that is over: "CANCELLED by 1001" has the state in it; "None" says nothing."""
    if state == FORGOTTEN:
        return message("state_forgotten")
    return reason if reason.startswith(state) else f"{state} ({reason})" if reason not in ("", "None") else state


def stop_job(channel, job, name, **how):
    """Cancel that job of the session, and say what became of it; raises Trouble where nobody says that it is over."""
    try:
        (stopped,) = channel.ask("stopped", "stop", job, name, **how)
    except (Trouble, KeyboardInterrupt) as trouble:
        raise Trouble("perhaps_running", report(trouble), name=name, job=job) from None
    forget(name)
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
        remember(self.name, self._end)

    @property
    def left(self):
        """Return the seconds until the time limit; None when it is not known."""
        return None if self._end is None else self._end - time.time()

    @property
    def end(self):
        """Return when that will be, as 14:05 by this computer's clock; "?" when it is not known."""
        return clock_time("" if self._end is None else str(int(self._end))) or "?"
