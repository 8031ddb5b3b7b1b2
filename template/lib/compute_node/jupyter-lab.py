"""Start JupyterLab as `jupyter-lab` does, in half the time, and again when another server was faster at its port."""

import os
import socket
import sys

# Not there, for this process: jsonschema would import it to check international addresses (IRI), which no schema of
# Jupyter's has, and it compiles its grammar some thirty times at every import: 0.8 s of 1.3 s, measured with 1.1.0
# (github.com/jupyter-server/jupyter_server/issues/1559). jsonschema does without it.
sys.modules["rfc3987_syntax"] = None

from jupyter_server.serverapp import ServerApp  # noqa: E402 - after that
from jupyterlab.labapp import main  # noqa: E402

ATTEMPTS = 10
"""So often it is started before a port that is taken again and again is somebody's fault."""


def port_was_lost():
    """Return whether the port that the server has chosen is somebody else's.

    Jupyter looks for a free port, and takes it a moment later; of a class that starts on one node at the same time some
    lose it in between (jupyter_server 2.21, serverapp.py: _find_http_port, _bind_http_server).
    """
    if not ServerApp.initialized():
        return False
    server = ServerApp.instance()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.ip, server.port))
        except OSError:
            return True
    return False


attempt = int(os.environ.get("PASSERELLE_ATTEMPT", "1"))
try:
    sys.exit(main())
except SystemExit as end:
    if end.code != 1 or attempt >= ATTEMPTS or not port_was_lost():
        raise
os.environ["PASSERELLE_ATTEMPT"] = str(attempt + 1)
os.execv(sys.executable, [sys.executable, *sys.argv])
