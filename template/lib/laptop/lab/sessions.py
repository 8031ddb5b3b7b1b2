"""The sessions there are: `lab status`, `stop` and `url`."""

import re
import time

from .batch import cancel, is_batch
from .messages import Trouble, message, printable, say, warn
from .remembered import remember_all
from .session import ENDED, Session, find_job, stop_job
from .tunnel import tunnel_to
from .waiting import clock_time, hours_and_minutes, is_time


def show_status(settings, channel, taken):
    """Print a line for each session and batch job that waits or runs, and for each batch job that ended lately.

    It has name, job, state, node, time left, memory and CPU in use.
    """
    jobs, ended, usage = {}, [], {}
    for kind, *words in channel.call("list", channel.connection.folder(settings)):
        if kind == "end":
            break
        if kind in ("session", "batch") and words[2] not in ENDED:
            jobs[words[1]] = kind, words
        elif kind == "ended":
            ended.append(words)
        elif kind == "usage":
            job = words[0].split(".")[0]
            memory, seconds = megabytes(words[1]), cpu_seconds(words[2])
            if memory is not None and seconds is not None:
                before = usage.get(job, (0, 0))
                usage[job] = before[0] + memory, before[1] + seconds
    remember_all(dict(_name_and_end(words) for kind, words in jobs.values() if kind == "session"))
    rows = [*(_row(*words, usage.get(job)) for job, words in jobs.items()), *map(_row_of_ended, ended)]
    if not rows:
        say("no_sessions")
        return
    rows.insert(0, message("status_heading").split("|"))
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


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
    if state == "PENDING":
        state += f" ({reason})"
        left = message("starts_at", start=clock_time(start) or message("unknown"))
    memory = cpu = ""
    if usage and state == "RUNNING" and is_time(start):
        limit = re.search(r"mem=([0-9]{1,12}(?:\.[0-9]{1,12})?[KMGT])", given)
        memory = message("of_megabytes", part=f"{usage[0]:.0f}", whole=f"{megabytes(limit[1]):.0f}" if limit else "?")
        ran = max(1, int(now) - int(start)) * int(cores)
        cpu = message("of_cores", percent=f"{100 * usage[1] / ran:.0f}", cores=cores)
    return [name, job, state, node, left, memory, cpu]


def _row_of_ended(words):
    """Return the cells of a batch job that has ended."""
    job, state, status, end, notebook = words
    code, _, number = status.partition(":")
    if state == "FAILED":
        key = "failed_by_signal" if code == "0" else "failed_with_status"
        state = message(key, state=state, number=number if code == "0" else code)
    left = message("ended_at", end=clock_time(end)) if is_time(end) else ""
    return [notebook, job, state, "", left, "", ""]


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
        session = warn(trouble.key, **trouble.values)
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
