"""Settings of the session's server that are not needed for it to be safe and reachable (lib/compute_node/guard.py)."""

import os

c = get_config()  # noqa: F821 - Jupyter defines it

# SQLite locks up on network file systems; the Alliance's own hubs do the same
# (github.com/ComputeCanada/puppet-jupyterhub, 2026-06-01)
c.NotebookNotary.db_file = ":memory:"
# no look-ups for news or newer versions, whatever the page is set to: a node without internet access waits for each
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
# the session's notices (lib/compute_node/notice.py)
c.LabApp.extra_labextensions_path = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "labextensions")]
