"""The sessions there are: `lab status`, `stop` and `url`."""

import re
import textwrap
import time
from unicodedata import combining, east_asian_width

from both.job_states import ENDED
from both.messages import Trouble, message, printable, say, warn

from .batch import cancel, is_batch, until_end
from .remembered import remember_all, started_now
from .session import Session, find_job, idle_for, stop_job
from .tunnel import tunnel_to
from .waiting import clock_time, hours_and_minutes, is_time


def show_status(settings, channel, taken):
    """Print a row for each session and batch job that waits or runs, and for those that ended lately.

    Of sessions, these are the ones that ended because nothing was done in them. A row has name, job, state, node and
    time left; what else there is to say stands below it. Both fit 80 columns.
    """
    jobs, ended, idle, usage, progress = {}, [], [], {}, {}
    for kind, *words in until_end(channel.call("list", channel.connection.folder(settings))):
        if kind in ("session", "batch") and words[2] not in ENDED:
            # of an array, what runs says more than what waits
            if jobs.get(words[1], (kind, words))[1][2] != "RUNNING" or words[2] == "RUNNING":
                jobs[words[1]] = kind, words
        elif kind in ("cells", "rows"):
            progress[words[0]] = _progress(kind, *words[1:])
        elif kind == "ended":
            ended.append(words)
        elif kind == "idle":
            idle.append(words)
        elif kind == "usage":
            job = words[0].split(".")[0]
            memory, seconds = megabytes(words[1]), cpu_seconds(words[2])
            if memory is not None and seconds is not None:
                before = usage.get(job, (0, 0))
                usage[job] = before[0] + memory, before[1] + seconds
    sessions = dict(_name_and_end(words) for kind, words in jobs.values() if kind == "session")
    remember_all(sessions)
    starting = [name for name in started_now() if name not in sessions]
    for name in starting:
        say("session_starting", name=name)
    rows = [_row(*words, usage.get(job)) for job, words in jobs.items()]
    rows += [*(_row_of_idle(*words) for words in idle), *map(_row_of_ended, ended)]
    for row in rows:
        row[-1] = ". ".join(filter(None, [progress.get(row[1]), row[-1]]))
    if not rows:
        if not starting:
            say("no_sessions")
        return
    rows.insert(0, [*message("status_heading").split("|"), ""])
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(width_of(row[column]) for row in rows) for column in range(1, len(rows[0]) - 1)]
    for row in rows:
        row[0] = shortened(row[0], max(8, 80 - sum(2 + width for width in widths)))
    widths.insert(0, max(width_of(row[0]) for row in rows))
    for *cells, more in rows:
        print("  ".join(map(padded, cells, widths)).rstrip(), *textwrap.wrap(more, 74), sep="\n    ")


def width_of(text):
    """Return how many columns of a terminal a text takes: letters of some alphabets take two, or none."""
    return sum(0 if combining(letter) else 1 + (east_asian_width(letter) in "WF") for letter in text)


def padded(text, width):
    """Return a text that takes so many columns."""
    return text + " " * (width - width_of(text))


def shortened(text, room):
    """Return a text that is no wider than so many columns: "…" stands for the middle of one that is."""
    short, kept = text, len(text)
    while width_of(short) > room:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short


def _name_and_end(words):
    """Return a session's name and when Slurm ends it, by this computer's clock; None for one that waits."""
    now, job, state, _, _, end, _, _, _, name, *_ = words
    ends = state == "RUNNING" and is_time(now) and is_time(end)
    return _name(name, job), time.time() + int(end) - int(now) if ends else None


def _name(name, job):
    """Return what lab calls a session: the name that its job has, or, started by hand, the job's number."""
    return name.removeprefix("passerelle-") if name.startswith("passerelle-") else job


def _row(kind, words, usage):
    """Return the cells of one session or batch job; usage: megabytes and CPU seconds, None where Slurm has none yet."""
    now, job, state, reason, start, end, node, given, cores, name, *_ = words
    if kind == "session":
        name = _name(name, job)
    left = hours_and_minutes(int(end) - int(now)) if state == "RUNNING" and is_time(end) else ""
    more = ""
    if state == "PENDING":
        more = message("expected_start", start=clock_time(start) or message("unknown"), reason=reason)
    elif usage and state == "RUNNING" and is_time(start):
        limit = re.search(r"mem=([0-9]{1,12}(?:\.[0-9]{1,12})?[KMGT])", given)
        percent = 100 * usage[1] / (max(1, int(now) - int(start)) * int(cores))
        whole = f"{megabytes(limit[1]):.0f}" if limit else "?"
        more = message("in_use", part=f"{usage[0]:.0f}", whole=whole, percent=f"{percent:.0f}", cores=cores)
    return [name, job, state, node, left, more]


def _progress(kind, *words):
    """Return how far a notebook that runs itself has come."""
    if kind == "rows":
        rows, passed, *others, table, which = words
        parts = [message("progress_rows", passed=passed, rows=rows)]
        for key in ("rows_failed", "rows_running", "rows_waiting", "rows_never_ran"):
            number = others.pop(0)
            if number != "0":
                parts.append(message(key, number=number))
        return ". ".join(filter(None, [f"{', '.join(parts)} ({table})", which]))
    state, number, cells, why = words
    if state == "running":
        return ", ".join(filter(None, [message("progress_cells", number=number, cells=cells), why]))
    return why if state != "passed" else ""


def _row_of_idle(job, name, minutes, end):
    """Return the cells of a session that has ended because nothing was done in it for so many minutes."""
    more = message("ended_at", end=clock_time(end)), idle_for(minutes), message("idle_hint", name=name)
    return [name, job, "COMPLETED", "", "", ", ".join(more[:2]) + ". " + more[2]]


def _row_of_ended(words):
    """Return the cells of a batch job that has ended."""
    job, state, status, end, notebook = words
    code, _, number = status.partition(":")
    more = [message("ended_at", end=clock_time(end))] if is_time(end) else []
    if state == "FAILED":
        key = "failed_by_signal" if code == "0" else "failed_with_status"
        more.insert(0, message(key, number=number if code == "0" else code))
    return [notebook, job, state, "", "", ", ".join(more)]


def megabytes(text):
    """Return Slurm's 3136K, 1.50G, 2T, or a number of bytes, in MB; None for what is none."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)([KMGT]?)", text)
    if not found:
        return None
    return float(found[1]) * {"": 1 / 1024 / 1024, "K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}[found[2]]


def cpu_seconds(text):
    """Return Slurm's 1-02:03:04 or 02:03.456 in seconds; None for what is none.

    Of a step that has just begun, sstat shows its "no value" as a time: 213503982334-14:25:51 (2^64 ms).
    """
    found = re.fullmatch(r"(?:([0-9]{1,6})-)?(?:([0-9]{1,2}):)?([0-9]{1,6}):([0-9]{1,2}(?:\.[0-9]{1,9})?)", text)
    if not found:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def session_of(channel, name, job):
    """Return that session with its server's address, or None while there is no server."""
    address, *times = channel.ask("record", "record", job)
    return Session(job, name, address, *times) if address else None


def stop(settings, channel, taken):
    """Cancel the job of the session of that name, and end the tunnel to it; or cancel that batch job."""
    name = taken["name"]
    if is_batch(name) and cancel(settings, channel, name):
        return
    job = find_job(channel, name)
    try:
        session = session_of(channel, name, job)
    except Trouble as trouble:
        # a record that cannot be read keeps no job alive
        warn(trouble.key, **trouble.values)
        session = None
    stop_job(channel, job, name, again=True)
    if session:
        tunnel_to(session, channel, settings).close()


def print_url(settings, channel, taken):
    """Print the address of the session of that name, with its token; raises Trouble when no tunnel leads there."""
    name = taken["name"]
    session = session_of(channel, name, find_job(channel, name))
    if not session:
        raise Trouble("no_server_yet", name=name)
    tunnel = tunnel_to(session, channel, settings)
    ports = [session.port] if channel.connection.here else [port for port, _ in tunnel.noted()]
    tunnel.port = next(filter(tunnel.proved, ports), None)
    if not tunnel.port:
        raise Trouble("no_tunnel_yet", name=name)
    print(tunnel.address_with_token)
