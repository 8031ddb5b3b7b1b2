"""OpenSSH on this computer: the folder's ssh, its settings for a host, its keys, what it says and what that means."""

import codecs
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict, deque
from pathlib import Path

from both.limits import LIMITS
from both.messages import FOLDER, Trouble, message, printable
from plumbum import local
from plumbum.commands import CommandNotFound, ProcessTimedOut

MEANINGS = (
    # the host in between (ProxyJump) has ended it, and says why itself
    (r"Connection closed by UNKNOWN port 65535", "step_connection", "no_connection"),
    (r"^ssh: Could not resolve hostname", "step_name", "check_no_name"),
    (r"HOST IDENTIFICATION HAS CHANGED|REVOKED HOST KEY", "step_key", "check_other_host_key"),
    (r"^Host key verification failed", "step_key", "check_new_host_key"),
    (r"Too many authentication failures", "step_key", "check_too_many_keys"),
    (r"Permission denied \((?!.*(password|keyboard))", "step_key", "check_key_refused"),
    (r"Permission denied \(", "step_connection", "check_login_refused"),
    (r"^ssh: connect to host .*: Connection refused", "step_connection", "check_port_refused"),
    (r"^ssh: connect to host |timed out", "step_connection", "check_unreachable"),
    (r"Connection (closed|reset)", "step_connection", "check_closed"),
)
"""What OpenSSH's words mean when it could not log in (seen with 9.2): the step that fails, and what to say of it."""

NO_MORE_SESSIONS = b"Session open refused by peer"
"""What ssh says when the host allows no further session in a connection (sshd_config, MaxSessions)."""
SSH_CONFIG = "lib/laptop/ssh_config"
"""What every ssh is told first (its -F); from the folder, because ssh hands it to a ProxyJump's ssh without quotes."""
WORDS = 100
"""So many pieces of what ssh says are kept, the last ones."""


def options(**values):
    """Return the words that set options of ssh_config(5)."""
    return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]


def ssh_command(config=SSH_CONFIG):
    """Return the ssh of this folder, which is to be run in the folder. Raises Trouble where there is no ssh."""
    try:
        return local["ssh"]["-F", config]
    except CommandNotFound:
        raise Trouble("no_ssh") from None


def meaning(words):
    """Return the step that fails, and the key of what to say of it, for what ssh has said."""
    found = ((step, key) for pattern, step, key in MEANINGS if re.search(pattern, words, re.MULTILINE))
    return next(found, ("step_connection", "no_connection"))


def log_in(command):
    """Run ssh, which asks its questions at the terminal; return whether it has logged in, and what it has said.

    Raises Trouble when nobody has logged in within LIMITS.LOGIN seconds.
    """
    process = command.popen(stdin=None, stdout=None, stderr=subprocess.PIPE, cwd=FOLDER)
    words = deque(maxlen=WORDS)
    copier = show_words(process.stderr, words)
    try:
        status = process.wait(LIMITS.LOGIN)
    except subprocess.TimeoutExpired:
        process.terminate()
        raise Trouble("check_login_slow", seconds=LIMITS.LOGIN) from None
    # where ~/.ssh/config wants debugging, the connection keeps the pipe
    copier.join(1)
    return status == 0, "".join(words)


def ssh_settings(login):
    """Return ssh's settings for this host, {name: [value, ...]}; raises Trouble when it cannot read them."""
    try:
        status, out, error = ssh_command()["-G", login].run(retcode=None, timeout=LIMITS.SSH_ANSWER, cwd=FOLDER)
    except ProcessTimedOut:
        raise Trouble("check_ssh_settings", words="ssh -G") from None
    if status != 0:
        raise Trouble("check_ssh_settings", words=error.strip().splitlines()[0] if error.strip() else "ssh -G")
    settings = defaultdict(list)
    for line in out.splitlines():
        name, _, value = line.partition(" ")
        settings[name].append(value)
    return settings


def is_proxied(settings):
    """Return whether another host, or a command, leads to the host of these settings."""
    return bool({"proxyjump", "proxycommand"} & {name for name, value in settings.items() if value != ["none"]})


def address_of(settings, place, show=lambda: None):
    """Return the address of the host of these settings; "" where a host in between looks it up.

    place: where it is set that this is the host; show: is called while nobody answers
    Raises Trouble for a name that nobody knows, and where nobody can be asked.
    """
    if is_proxied(settings):
        return ""
    host, found, began = settings["hostname"][0], [], time.monotonic()
    # it cannot be told to give up
    looker = threading.Thread(target=_look_up, args=[host, found], daemon=True)
    looker.start()
    looker.join(0.5)
    while looker.is_alive() and time.monotonic() - began < LIMITS.LOOK_UP:
        show()
        looker.join(0.5)
    if not found or found[0] == socket.EAI_AGAIN:
        raise Trouble("check_no_network", host=host)
    if not isinstance(found[0], str):
        raise Trouble("check_no_name", host=host, place=place)
    return found[0]


def _look_up(host, found):
    """Put a host's address into a list, or the number of the error."""
    try:
        found.append(socket.getaddrinfo(host, None)[0][4][0])
    except (socket.gaierror, UnicodeError) as error:
        found.append(getattr(error, "errno", None))


def offered_keys(settings):
    """Return the keys that ssh can offer: files, and how many an agent has."""
    keys = [name for name in settings["identityfile"] if Path(name).expanduser().exists()]
    if settings["identitiesonly"] != ["yes"]:
        try:
            status, out, _ = local["ssh-add"]["-l"].run(retcode=None, timeout=LIMITS.SSH_ANSWER)
        except (CommandNotFound, ProcessTimedOut):
            return keys
        if status == 0:
            keys.append(message("check_agent", count=len(out.splitlines())))
    return keys


def keep_words(stream):
    """Keep what ssh says on standard error, up to some length; return it, as a list of bytes, and the thread."""
    words = []

    def keep():
        while piece := os.read(stream.fileno(), 4096):
            if len(words) < WORDS:
                words.append(piece)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    return words, thread


def show_words(stream, words=None):
    """Show from now on what ssh, and the host behind it, say on standard error, and keep it; return the thread."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("surrogateescape"), translate=True)

    def show():
        # as it comes: it may be half a line
        while piece := os.read(stream.fileno(), 4096):
            text = decoder.decode(piece)
            if words is not None:
                words.append(text)
            sys.stderr.write("\n".join(map(printable, text.split("\n"))))
            sys.stderr.flush()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    return thread
