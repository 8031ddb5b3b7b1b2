"""The tunnel to a session's server: a forwarded port that is proved before the token is used."""

import contextlib
import hmac
import os
import secrets
import socket
import time

from both.limits import LIMITS
from both.messages import Trouble, say

from .paths import STATE, make_state_folder
from .ports import candidates, free_port, listens

NO_WAY = "Connection closed by UNKNOWN port 65535"
"""What ssh says when the way to a host (ProxyJump, ProxyCommand) ends before that has said anything."""
SSH_PORT = 22


def tunnel_to(session, channel, settings):
    """Return the Tunnel that fits the cluster."""
    jump = settings.facts["reach"] == "jump"
    kind = Unreached if jump and channel.connection.here else JumpTunnel if jump else Tunnel
    return kind(session, channel, settings.personal.get("port"))


class Tunnel:
    """A port of this computer that leads to a session's server; see lead."""

    def __init__(self, session, channel, wanted=None):
        """wanted: the local port to begin with, else the server's number."""
        self.session, self.channel, self.connection = session, channel, channel.connection
        self.host, self.port = (session.node if self.connection.here else "127.0.0.1"), None
        # which port this lab leads there, for others of this folder, and for the next one when this one is killed
        self.note = STATE / f"tunnel-{session.job}-{os.getpid()}"
        self.first = next((port for port, _ in self.noted(running=False)), int(wanted or session.port))

    @property
    def address(self):
        """Return the address for the browser, without the token."""
        return f"http://{self.host}:{self.port}/" + self.session.page.split("?")[0]

    @property
    def address_with_token(self):
        """Return the address with the token; not to be shown unless asked for."""
        return f"http://{self.host}:{self.port}/{self.session.page}"

    # --- leading ------------------------------------------------------------------------------------------------------

    def lead(self):
        """Lead a local port to the server and prove it. Raises Trouble when nothing answers, or something else does."""
        if self.connection.here:
            self.port = self.session.port
            self._wait_for_proof()
            return
        self._cancel_left_behind()
        try:
            self._lead_from(self.first)
        except Trouble:
            self.close()
            raise

    def renew(self):
        """Make the tunnel anew, on the same port if it is still free."""
        if self.connection.here:
            self._wait_for_proof()
        else:
            self._cancel(self.port)
            self._lead_from(self.port)

    def _lead_from(self, first):
        """Take the first port from there on that ssh itself can take: one that somebody else has is never trusted."""
        for port in candidates(first):
            if self._forward(port):
                break
            self._pause()
        else:
            raise self.no_free_port(first)
        self.port = port
        if port != first:
            say("other_port", port=port, taken=first)
        make_state_folder()
        self.note.write_text(f"{port}\n", encoding="utf-8")
        self._wait_for_proof()

    def no_free_port(self, first):
        """Return the Trouble of a computer whose ports are all taken."""
        return Trouble("no_free_port", first=first, last=candidates(first)[-1])

    def close(self):
        """End this lab's own forwarding, and one that a killed lab left behind."""
        if self.connection.here:
            return
        if self.port:
            self._cancel(self.port)
            self.note.unlink(missing_ok=True)
        self._cancel_left_behind()

    def _cancel_left_behind(self):
        """End the forwardings of killed labs."""
        for port, note in self.noted(running=False):
            self._cancel(port)
            note.unlink(missing_ok=True)

    def _forward(self, port):
        """Ask ssh to lead a free port there; return whether it does."""
        # what ssh leads there already is another lab's, and asking for the same again would succeed
        return not listens(port) and self.connection.forward(port, self.session.node, self.session.port, self._pause)

    def _cancel(self, port):
        """Ask ssh to lead it there no longer."""
        self.connection.cancel(port, self.session.node, self.session.port)

    # --- looking ------------------------------------------------------------------------------------------------------

    def look(self):
        """Return the port that lead would take (None: all are taken), and whether it leads to the server already."""
        for port, _ in self.noted():
            if self.proved(port):
                return port, True
        for port in candidates(self.first):
            if not listens(port):
                return port, False
            if self.proved(port):
                return port, True
        return None, False

    @contextlib.contextmanager
    def for_a_moment(self):
        """Lead a port there that nobody else uses; the value is whether that worked."""
        if self.connection.here:
            self.port = self.session.port
            yield True
            return
        self.port = free_port()
        try:
            yield self._forward(self.port)
        finally:
            self._cancel(self.port)

    def noted(self, running=True):
        """Return [(port, note)] for the local ports that labs of this folder lead there: that run, or were killed."""
        found = []
        for note in STATE.glob(f"tunnel-{self.session.job}-*"):
            with contextlib.suppress(OSError, ValueError):
                if is_running(int(note.name.rpartition("-")[2])) == running:
                    found.append((int(note.read_text(encoding="utf-8")), note))
        return found

    # --- proving ------------------------------------------------------------------------------------------------------

    def proved(self, port=None):
        """Return whether *this* server answers at the port. The token is not sent."""
        return self._ask_for_proof(port or self.port) == "proved"

    def _wait_for_proof(self):
        """Wait until the server shows itself at the port.

        Raises Trouble when another one does, or none: at once when nothing listens there for some seconds, later when
        the node is only slow.
        """
        began = time.monotonic()
        while (shown := self._ask_for_proof(self.port)) != "proved":
            limit = LIMITS.SERVER_SLOW if shown == "slow" else LIMITS.SERVER_ANSWER
            if shown == "other" or time.monotonic() - began > limit:
                raise self.refusal() or self._silent()
            self.channel.waiting.show("waiting_for_page", node=self.session.node)
            self._pause()

    def _silent(self):
        """Return the Trouble of a server that does not show itself."""
        return Trouble("nothing_answers_here", node=self.session.node, port=self.session.port)

    def refusal(self):
        """Return the Trouble of a login node that does not let ssh lead to the server, None where it is the server.

        ssh takes the port whether or not the login node lets it lead anywhere (sshd_config, AllowTcpForwarding and
        PermitOpen), and does not say; so the login node itself goes to the server.
        """
        if self.connection.here or self._ask_for_proof(self.port) != "none":
            return None
        node, port = self.session.node, self.session.port
        (reached,) = self.channel.ask("reached", "reach", node, port)
        # it may have begun to answer in between
        if reached == "no" or self._ask_for_proof(self.port) != "none":
            return None
        return Trouble("forwarding_refused", login=self.connection.login, node=node, port=port)

    def _pause(self):
        """Wait a moment; raises Interrupted after a Ctrl-C."""
        time.sleep(0.1)
        self.channel.heed()

    def _ask_for_proof(self, port):
        """Return "proved" for this server, "other" for another one, "slow" and "none" for no answer.

        The server answers a new number with what only somebody who knows the token can compute
        (lib/compute_node/proof.py), so this tells whether the way ends at the right server. That it begins at ssh and
        not at a stranger who hands the question on is known from ssh, which has taken the port itself.
        """
        nonce, shown, end = secrets.token_hex(32), b"", time.monotonic() + LIMITS.SERVER_ANSWER
        right = hmac.new(self.session.token.encode(), b"passerelle " + nonce.encode(), "sha256").hexdigest()
        try:
            with socket.create_connection((self.host, port), LIMITS.SERVER_ANSWER) as server:
                server.sendall(f"GET /passerelle/{nonce} HTTP/1.0\r\n\r\n".encode())
                # a stranger may send as much as he likes, as slowly as he likes
                while (part := server.recv(4096)) and len(shown) < 4096:
                    shown += part
                    server.settimeout(max(0.01, end - time.monotonic()))
        # one and the same from Python 3.10 on
        except (TimeoutError, socket.timeout):  # noqa: UP041
            return "slow"
        except OSError:
            return "none"
        if not shown:
            return "none"
        return "proved" if hmac.compare_digest(shown.partition(b"\r\n\r\n")[2], right.encode()) else "other"


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
        deadline = time.monotonic() + LIMITS.LOGIN
        while not listens(port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.terminate()
                self.process.shown.join(1)
                key = "jump_refused" if self._is_cut() else "jump_failed"
                raise Trouble(key, node=self.session.node, login=self.connection.login)
            self._pause()
        return True

    def _is_cut(self):
        """Return whether the login node, which reaches the node's sshd itself, does not let ssh through to it."""
        if NO_WAY not in "".join(self.process.words):
            return False
        (reached,) = self.channel.ask("reached", "reach", self.session.node, SSH_PORT)
        return reached == "yes"

    def _cancel(self, port):
        """End it."""
        if self.process:
            self.process.stdin.close()
            self.process.terminate()
            self.process.wait()
            self.process = None


class Unreached(Tunnel):
    """On the login node, where only ssh reaches the node: the session's record is believed."""

    def lead(self):
        """Do nothing."""
        self.port = self.session.port

    renew = lead

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
