"""Settings of the session's server that are not needed for it to be safe and reachable (lib/compute_node/guard.py)."""

c = get_config()  # noqa: F821 - Jupyter defines it

# SQLite locks up on network file systems; the Alliance's own hubs do the same
# (github.com/ComputeCanada/puppet-jupyterhub, 2026-06-01)
c.NotebookNotary.db_file = ":memory:"
