"""Start JupyterLab as `jupyter-lab` does, in half the time, and again when another server was faster at its port.

In $JUPYTER_RUNTIME_DIR it leaves passerelle.notes, what is to be said (guard.Notes), and, as soon as the server answers
as it must, passerelle.ready (proof.leave_word); from there it knows when to end by itself (idle.watch). With --version
alone it only says whether all this can be imported (lib/login_node/check.sh, session.sh).
"""

import logging
import os
import secrets
import signal
import socket
import sys

import guard

VERSION = sys.argv[1:] == ["--version"]
RUNTIME = os.environ.get("JUPYTER_RUNTIME_DIR", "")
notes = guard.Notes(os.devnull if VERSION else RUNTIME + "/passerelle.notes")
guard.drop_variables(notes)

# Not there, for this process: jsonschema would import it to check international addresses (IRI), which no schema of
# Jupyter's has, and it compiles its grammar some thirty times at every import: 0.8 s of 1.3 s, measured with 1.1.0
# (github.com/jupyter-server/jupyter_server/issues/1559). jsonschema does without it.
sys.modules["rfc3987_syntax"] = None

import idle  # noqa: E402 - after that
import notice  # noqa: E402

# Python would look into this folder first, on the network disk, for each of the hundreds of modules to come
ours_first = sys.path.pop(0)
from jupyter_server.serverapp import ServerApp  # noqa: E402
from jupyterlab.labapp import LabApp  # noqa: E402

sys.path.insert(0, ours_first)
import proof  # noqa: E402

del sys.path[0]

# when the terminal goes first, the last lines have nowhere to go; that is no reason for a traceback
logging.raiseExceptions = False

PORTS = range(10000, 32768)
"""Each session draws its own, so that a page that outlives its tunnel finds neither the next session there, nor whoever
waits at Jupyter's usual port. Above these, systems take numbers for connections."""
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


def say_why(error):
    """Say in a line why there is no server."""
    notes.note("not_started", words=guard.what(error), files=", ".join(ours.files) or "-")


def say_unsafe(names):
    """Say in a line what of the server is not as it must be."""
    notes.note("unsafe_server", names=names, files=", ".join(ours.files) or "-")


def start():
    """Start the server and stay until it ends."""
    options = sys.argv[1:]
    server = LabApp.initialize_server(argv=[*options, f"--port={secrets.choice(PORTS)}"])
    if names := ours.wrong(server, options[options.index("--ip") + 1]):
        say_unsafe(", ".join(names))
        sys.exit(1)
    proof.prepare(server)
    server.io_loop.add_callback(announce, server)
    server.io_loop.add_callback(idle.watch, server, notice.prepare(server), RUNTIME)
    server.start()


async def announce(server):
    """Look at the server as others see it, and say that it is ready; one that is not as it must be ends."""
    try:
        await proof.try_server(server)
        proof.leave_word(server, RUNTIME + "/passerelle.ready")
    except Exception as error:
        say_unsafe(error) if isinstance(error, PermissionError) else say_why(error)
        os.kill(os.getpid(), signal.SIGTERM)


if VERSION:
    print(LabApp.version)
    sys.exit()
ours = guard.Guard(notes)
ours.install()
attempt = int(os.environ.get("PASSERELLE_ATTEMPT", "1"))
try:
    start()
except SystemExit as end:
    if end.code == 1 and attempt < ATTEMPTS and port_was_lost():
        os.environ["PASSERELLE_ATTEMPT"] = str(attempt + 1)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    # what Jupyter has shown before it ends
    if end.code and end.__context__:
        say_why(end.__context__)
    raise
except Exception as error:
    say_why(error)
    raise
