"""What is known of a session, and the way to its server: a forwarded port that is proved before the token is used."""

import contextlib
import hashlib
import http.client
import os
import re
import socket
import time

from .connection import listens
from .messages import FOLDER, Trouble, say
from .waiting import clock_time

PORTS = 50
"""So many local ports are tried, from the wanted one on."""
ANSWER = 5
"""Seconds that the server may take for a small answer."""
SLOW = 60
"""Seconds after which a server that takes the question and does not answer is given up."""
_ADDRESS = re.compile(r"http://([A-Za-z0-9][A-Za-z0-9.-]*):([1-9][0-9]{0,4})/([A-Za-z0-9/]*\?token=([A-Za-z0-9._-]+))")


class Session:
    """A session's server, as its record has it."""

    def __init__(self, job, name, address, end="", now=""):
        """address: with the token; end, now: when Slurm ends the job, and the cluster's time (seconds since 1970).

        Raises Trouble for an address that is none.
        """
        found = _ADDRESS.fullmatch(address)
        if not found:
            raise Trouble("bad_address", address=re.sub("token=.*", "token=...", address))
        self.job, self.name = job, name
        self.node, self.port, self.page, self.token = found[1], int(found[2]), found[3], found[4]
        self.limit(end, now)

    def limit(self, end, now):
        """Keep when Slurm ends the job, by this computer's clock, which also goes on while the computer sleeps."""
        self._end = time.time() + int(end) - int(now) if end.isdigit() and now.isdigit() else None

    @property
    def left(self):
        """Return the seconds until the time limit; None when it is not known."""
        return None if self._end is None else self._end - time.time()

    @property
    def end(self):
        """Return when that will be, as 14:05 by this computer's clock; "?" when it is not known."""
        return "?" if self.left is None else clock_time(str(int(time.time() + self.left)))


def tunnel_to(session, conversation, settings):
    """Return the Tunnel that fits the cluster."""
    connection = conversation.connection
    jump = settings.facts["reach"] == "jump"
    kind = Unreached if jump and connection.here else JumpTunnel if jump else Tunnel
    return kind(connection, session, conversation)


class Tunnel:
    """A port of this computer that leads to a session's server; see lead."""

    def __init__(self, connection, session, conversation=None):
        """session: the server; connection: the way to its login node; conversation: who shows what is awaited."""
        self.connection, self.session, self.conversation = connection, session, conversation
        self.host, self.port = (session.node if connection.here else "127.0.0.1"), None
        # which port leads there, for other labs of this folder, and for the next one when this one is killed
        self.note = FOLDER / ".lab" / f"tunnel-{session.job}"

    @property
    def address(self):
        """Return the address for the browser, without the token."""
        return f"http://{self.host}:{self.port}/" + self.session.page.split("?")[0]

    @property
    def address_with_token(self):
        """Return the address with the token; not to be shown unless asked for."""
        return f"http://{self.host}:{self.port}/{self.session.page}"

    def lead(self, wanted=None):
        """Lead a local port to the server and proves it: the port of before, else `wanted`, else the server's number.

        Raises Trouble when nothing answers, or something else does.
        """
        if self.connection.here:
            self.port = self.session.port
            self._wait_for_proof()
            return
        left_behind = self._left_behind()
        if left_behind:
            self.connection.cancel(left_behind, self.session.node, self.session.port)
        self._lead_from(left_behind or wanted or self.session.port)

    def _lead_from(self, first):
        """The first port from there on that ssh itself can take: one that somebody else has is never trusted."""
        for port in range(first, min(first + PORTS, 65536)):
            if self._forward(port):
                break
            self._pause()
        else:
            raise Trouble("no_free_port", first=first, last=first + PORTS - 1)
        self.port = port
        if port != first:
            say("other_port", port=port, taken=first)
        self.note.parent.mkdir(mode=0o700, exist_ok=True)
        self.note.write_text(f"{port} {os.getpid()}\n", encoding="utf-8")
        self._wait_for_proof()

    def renew(self):
        """Make the tunnel anew, on the same port if it is still free."""
        if not self.connection.here:
            self._cancel(self.port)
            self._lead_from(self.port)
        else:
            self._wait_for_proof()

    def noted(self):
        """Return the local port that a running lab of this folder leads to this session, or None."""
        port, lab = self._note()
        return port if lab and is_running(lab) else None

    def _left_behind(self):
        """Return the local port that a lab led there which was killed, or None."""
        port, lab = self._note()
        return port if lab and not is_running(lab) else None

    def _note(self):
        """Return port and process of the last lab that led there; None for both when there was none."""
        try:
            port, lab = map(int, self.note.read_text(encoding="utf-8").split())
            return port, lab
        except (OSError, ValueError):
            return None, None

    def close(self):
        """End this lab's own forwarding, and one that a killed lab left behind."""
        port = self.port or self._left_behind()
        if port and not self.connection.here:
            self._cancel(port)
            self.note.unlink(missing_ok=True)

    def _forward(self, port):
        """Ask ssh to lead a free port there; return whether it does."""
        # what ssh leads there already is another lab's, and asking for the same again would succeed
        return not listens(port) and self.connection.forward(port, self.session.node, self.session.port)

    def _cancel(self, port):
        """Ask ssh to lead it there no longer."""
        self.connection.cancel(port, self.session.node, self.session.port)

    def _wait_for_proof(self):
        """Wait until the server shows itself at the port.

        Raises Trouble when another one does, or none: at once when nothing listens there for some seconds, later when
        the node is only slow.
        """
        began = time.monotonic()
        while (shown := self._ask_for_proof(self.port)) != "proved":
            if shown == "other" or time.monotonic() - began > (SLOW if shown == "slow" else ANSWER):
                raise Trouble("nothing_answers_here", node=self.session.node, port=self.session.port)
            if self.conversation:
                self.conversation.waiting.show("waiting_for_page", node=self.session.node)
            self._pause()

    def _pause(self):
        """Wait a moment; raises Interrupted after a Ctrl-C."""
        time.sleep(0.1)
        if self.conversation:
            self.conversation.heed()

    def proved(self, port=None):
        """Return whether *this* server answers at the port. The token is not sent."""
        return self._ask_for_proof(port or self.port) == "proved"

    def _ask_for_proof(self, port):
        """Return "proved" for this server, "other" for another one, "slow" and "none" for no answer.

        The server shows a sum of its token to anybody who asks (session.sh, leave_proof), so this tells whether the
        way ends at the right server. That it begins at ssh and not at a stranger who repeats the sum is known from ssh,
        which has taken the port itself.
        """
        proof = hashlib.sha256(self.session.token.encode()).hexdigest()
        request = http.client.HTTPConnection(self.host, port, timeout=ANSWER)
        with contextlib.closing(request):
            try:
                request.request("GET", "/static/passerelle")
                answer = request.getresponse()
                shown = answer.read(100).decode("latin-1").strip()
                return "proved" if answer.status == 200 and shown == proof else "other"
            # one and the same from Python 3.10 on
            except (TimeoutError, socket.timeout):  # noqa: UP041
                return "slow"
            except (OSError, http.client.HTTPException):
                return "none"


class JumpTunnel(Tunnel):
    """The same where only ssh reaches the node (the fact "reach: jump"): a second ssh, within the connection."""

    process = None

    def _forward(self, port):
        """Start that ssh; return whether it leads the port there. Raises Trouble for no login on the node."""
        self._cancel(port)
        if listens(port):
            return False
        self.process = self.connection.jump(port, self.connection.user, self.session.node, self.session.port)
        # until the port is there, somebody may be asked for a key
        while not listens(port):
            if self.process.poll() is not None:
                raise Trouble("jump_failed", node=self.session.node, login=self.connection.login)
            self._pause()
        return True

    def _cancel(self, port):
        """End it."""
        if self.process:
            self.process.stdin.close()
            self.process.terminate()
            self.process.wait()
            self.process = None


class Unreached(Tunnel):
    """On the login node, where only ssh reaches the node: the session's record is believed."""

    def lead(self, wanted=None):
        """Do nothing."""
        self.port = self.session.port

    def renew(self):
        """Do nothing."""

    def proved(self, port=None):
        """Return True."""
        return True


def is_running(process):
    """Return whether there is a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
