"""Settings of the session's server; people's own in ~/.jupyter come after these and win."""

import logging

c = get_config()  # noqa: F821 - Jupyter defines it

# SQLite locks up on network file systems; the Alliance's own hubs do the same
# (github.com/ComputeCanada/puppet-jupyterhub, 2026-06-01)
c.NotebookNotary.db_file = ":memory:"

# when the terminal goes first, the last lines have nowhere to go; that is no reason for a traceback
logging.raiseExceptions = False
