"""The choice of a port of this computer."""

import contextlib
import socket

from both.limits import LIMITS


def listens(port):
    """Return whether anything listens at a port of this computer."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), LIMITS.SSH_ANSWER):
        return True
    return False


def candidates(wanted):
    """Return the ports that are tried in turn, from the wanted one on."""
    return range(wanted, min(wanted + LIMITS.LOCAL_PORTS, 65536))


def free_port():
    """Return a port that nobody has or wants, for a moment's use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
