"""Settings of the session's server; people's own in ~/.jupyter come after these and win."""

import logging
import os

c = get_config()  # noqa: F821 - Jupyter defines it

# SQLite locks up on network file systems; the Alliance's own hubs do the same
# (github.com/ComputeCanada/puppet-jupyterhub, 2026-06-01)
c.NotebookNotary.db_file = ":memory:"

# /static/passerelle, by which lab knows this server without sending it the token (session.sh, leave_proof)
c.ServerApp.extra_static_paths = [os.environ["JUPYTER_RUNTIME_DIR"] + "/proof"]

# when the terminal goes first, the last lines have nowhere to go; that is no reason for a traceback
logging.raiseExceptions = False
