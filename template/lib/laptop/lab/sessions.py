"""The sessions there are: `lab status`, `stop`, `logs` and `url`."""

import re

from .messages import Trouble, message, printable, say, warn
from .open import ENDED
from .session import Session, find_job, stop_job
from .tunnel import tunnel_to
from .waiting import clock_time, hours_and_minutes, is_time


def show_status(settings, channel, taken):
    """Print a line for each session that waits or runs: name, job, state, node, time left, memory and CPU in use."""
    sessions, usage = {}, {}
    for kind, *words in channel.call("list"):
        if kind == "end":
            break
        if kind == "session" and words[2] not in ENDED:
            sessions[words[1]] = words
        elif kind == "usage":
            job = words[0].split(".")[0]
            memory, seconds = usage.get(job, (0, 0))
            usage[job] = memory + megabytes(words[1]), seconds + cpu_seconds(words[2])
    if not sessions:
        say("no_sessions")
        return
    rows = [message("status_heading").split("|"), *(_row(words, usage.get(job)) for job, words in sessions.items())]
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def _row(words, usage):
    """Return the cells of one session; usage: megabytes and CPU seconds, None where Slurm has none yet."""
    now, job, state, reason, start, end, node, given, cores, name, *_ = words
    name = name.removeprefix("passerelle-") if name.startswith("passerelle-") else job
    left = hours_and_minutes(int(end) - int(now)) if state == "RUNNING" and is_time(end) else ""
    if state == "PENDING":
        state += f" ({reason})"
        left = message("starts_at", start=clock_time(start) or message("unknown"))
    memory = cpu = ""
    if usage and state == "RUNNING" and is_time(start):
        limit = re.search(r"mem=([0-9]+(?:\.[0-9]+)?[KMGT])", given)
        memory = message("of_megabytes", part=f"{usage[0]:.0f}", whole=f"{megabytes(limit[1]):.0f}" if limit else "?")
        ran = max(1, int(now) - int(start)) * int(cores)
        cpu = message("of_cores", percent=f"{100 * usage[1] / ran:.0f}", cores=cores)
    return [name, job, state, node, left, memory, cpu]


def megabytes(text):
    """Return Slurm's 3136K, 1.50G, 2T, or a number of bytes, in MB."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)", text)
    if not found:
        return 0
    return float(found[1]) * {"": 1 / 1024 / 1024, "K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}[found[2]]


def cpu_seconds(text):
    """Return Slurm's 1-02:03:04 or 02:03.456 in seconds."""
    days, _, rest = text.rpartition("-")
    seconds = 0.0
    for part in rest.split(":"):
        seconds = seconds * 60 + float(part or 0)
    return seconds + int(days or 0) * 86400


def session_of(channel, name, job):
    """Return that session with its server's address, or None while there is no server."""
    address, *times = channel.ask("record", "record", job)
    return Session(job, name, address, *times) if address else None


def stop(settings, channel, taken):
    """Cancel the job of the session of that name, and end the tunnel to it."""
    name = taken["name"]
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


def show_log(settings, channel, taken):
    """Show what the newest session of that name has printed, without its token; raises Trouble for no log."""
    name, follow = taken["name"], "follow" in taken
    for _, log in channel.call("log", name, *(["follow"] if follow else []), show=lambda: None):
        if not log:
            raise Trouble("no_log", name=name)
        if not follow:
            return
