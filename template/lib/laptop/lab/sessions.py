"""The sessions there are: `lab status`, `stop`, `logs` and `url`."""

import re

from .channel import Lost
from .messages import Trouble, message, say
from .open import ENDED
from .tunnel import Session, tunnel_to
from .waiting import clock_time, hours_and_minutes


def show_status(conversation):
    """Print a line for each session that waits or runs: name, job, state, node, time left, memory and CPU in use."""
    sessions, usage = {}, {}
    conversation.ask("list")
    while True:
        words = conversation.next_answer()
        if words[0] == "listed":
            break
        if words[0] == "trouble":
            raise Trouble("slurm_says", words=words[1])
        if words[0] == "session" and len(words) > 10 and words[3] not in ENDED:
            sessions[words[2]] = words
        elif words[0] == "usage":
            job = words[1].split(".")[0]
            memory, seconds = usage.get(job, (0, 0))
            usage[job] = memory + megabytes(words[2]), seconds + cpu_seconds(words[3])
    if not sessions:
        say("no_sessions")
        return
    rows = [message("status_heading").split("|")]
    for words in sessions.values():
        rows.append(_row(words[1:], usage.get(words[2])))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def _row(words, usage):
    """Return the cells of one session; usage: megabytes and CPU seconds, None where Slurm has none yet."""
    now, job, state, reason, start, end, node, given, cores, name, *_ = words
    name = name.removeprefix("passerelle-") if name.startswith("passerelle-") else job
    left = hours_and_minutes(int(end) - int(now)) if state == "RUNNING" and end.isdigit() else ""
    if state == "PENDING":
        state += f" ({reason})"
        left = message("starts_at", start=clock_time(start) or message("unknown"))
    memory = cpu = ""
    if usage and state == "RUNNING":
        limit = re.search(r"mem=([0-9.]+[KMGT])", given)
        memory = message("of_megabytes", part=f"{usage[0]:.0f}", whole=f"{megabytes(limit[1]):.0f}" if limit else "?")
        ran = max(1, int(now) - int(start)) * int(cores)
        cpu = message("of_cores", percent=f"{100 * usage[1] / ran:.0f}", cores=cores)
    return [name, job, state, node, left, memory, cpu]


def megabytes(text):
    """Return Slurm's 3136K, 1.50G, 2T, or a number of bytes, in MB."""
    found = re.fullmatch(r"([0-9.]+)([KMGT]?)", text)
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


def find(conversation, name):
    """Return the job of the session of that name; raises Trouble when there is none."""
    found = conversation.ask_for("found", "find", name)
    if not found or not found[0]:
        raise Trouble("no_session_called", name=name)
    return found[0]


def session_of(conversation, name, job):
    """Return that session with its server's address, or None while there is no server."""
    address = conversation.ask_for("address", "address", job)
    return Session(job, name, address[0]) if address and address[0] else None


def stop(settings, conversation, name):
    """Cancel the job of the session of that name, and ends the tunnel to it."""
    job = find(conversation, name)
    session = session_of(conversation, name, job)
    stopped = conversation.ask_for("stopped", "stop", job, name)
    if session:
        tunnel_to(session, conversation, settings).close()
    say("session_stopped" if stopped and stopped[0] else "session_was_over", name=name, job=job)


def print_url(settings, conversation, name):
    """Print the address of the session of that name, with its token; raises Trouble when no tunnel leads there."""
    job = find(conversation, name)
    session = session_of(conversation, name, job)
    if not session:
        raise Trouble("no_server_yet", name=name)
    tunnel = tunnel_to(session, conversation, settings)
    tunnel.port = session.port if conversation.connection.here else tunnel.noted()
    if not tunnel.port or not tunnel.proved():
        raise Trouble("no_tunnel_yet", name=name)
    print(tunnel.address_with_token)


def show_log(conversation, name, follow):
    """Show what the newest session of that name has printed, without its token; raises Trouble for no log."""
    conversation.ask("log", name, *(["follow"] if follow else []))
    try:
        while True:
            words = conversation.next(1)
            if words and words[0] == "logged":
                if len(words) < 2 or not words[1]:
                    raise Trouble("no_log", name=name)
                if not follow:
                    return
    except Lost:
        raise Trouble("no_answer", login=conversation.connection.login) from None
