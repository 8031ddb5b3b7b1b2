"""`lab logs`: what a session or a batch job has printed, and goes on to print."""

from both.job_states import ENDED, FORGOTTEN
from both.limits import LIMITS
from both.messages import Trouble, message, say, warn

from .batch import is_batch, known, request_for
from .session import how_it_ended, no_session, words_of
from .waiting import clock_time


def show_log(settings, channel, taken):
    """Show what the session of that name has printed, or the last one that has ended, or that batch job; no token.

    Raises Trouble for no log.
    """
    name, follow = taken["name"], "follow" in taken
    if is_batch(name) and _show_output(settings, channel, name, follow):
        return
    (job,) = channel.ask("found", "find", name)
    if job and name.isdigit() and not channel.ask("logged", "log", name, job, "there")[0]:
        raise Trouble("log_by_hand", name=name)
    if job and follow:
        state, reason, memory = _follow(channel, job, "log", name, job)
        warn("job_ended", job=job, **how_it_ended(name, state, reason, memory))
        return
    (shown,) = channel.ask("logged", "log", name, job, show=lambda: None)
    if job and not shown:
        state, reason, *_ = channel.ask("state", "state", job, limit=LIMITS.SLURM_ANSWER)
        words = state if reason in ("", "None") else f"{state}: {reason}"
        raise Trouble("no_log_yet", name=name, job=job, words=words)
    if job:
        return
    last = channel.ask("last", "last", name, ",".join(ENDED))
    ended = no_session(name, *last)
    if not shown:
        raise ended if last[0] or name.isdigit() else Trouble("no_log", name=name)
    if shown == last[0]:
        warn(ended.key, **ended.values)
    else:
        warn("log_of_before", name=name, job=shown)


def _show_output(settings, channel, name, follow):
    """Show what that batch job has printed; return whether there is such a job."""
    request = request_for(settings, channel, name)
    job, notebook = channel.ask("batch_job", "batch", *request)
    if not known(job, name):
        return False
    # what Slurm has forgotten has ended long ago
    if follow and channel.ask("state", "state", job, FORGOTTEN, limit=LIMITS.SLURM_ANSWER)[0] != FORGOTTEN:
        state, reason, _ = _follow(channel, job, "output", *request)
        ended = {"job": job, "notebook": notebook, "words": words_of(state, reason)}
        if state == "COMPLETED":
            say("batch_ended", **ended)
        else:
            warn("batch_ended", **ended)
    elif not channel.ask("logged", "output", *request, show=lambda: None)[0]:
        raise Trouble("no_output", job=job, notebook=notebook)
    return True


def _follow(channel, job, *request):
    """Show what that job prints, from when it begins until it has ended; return its state, the reason, the memory."""
    pending = {}

    def show():
        if pending:
            channel.waiting.show("waiting_pending", job=job, **pending)

    channel.request(*request, "follow")
    for kind, *words in channel.call("follow", job, show=show, warns=True):
        if kind == "up":
            continue
        state, reason, start, _, memory = words
        pending = {"reason": reason, "start": clock_time(start) or message("unknown")} if state == "PENDING" else {}
        if state in (*ENDED, FORGOTTEN):
            break
    channel.ask("logged", "log_end")
    return state, reason, memory
