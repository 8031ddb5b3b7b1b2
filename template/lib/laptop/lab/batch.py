"""The batch jobs of the folder's notebooks, which submit_notebook.sh records: found by number or notebook."""

import re

from .messages import FOLDER, Trouble, say
from .paths import escaped, inside, meant
from .settings import read_rules


def place_of(connection, notebook):
    """Return the path of a notebook that somebody has typed, relative to the folder.

    On the login node one that is elsewhere has its full path; on the laptop, raises Trouble for it.
    """
    path = meant(notebook)
    return str(path) if connection.here and FOLDER not in path.parents else inside(notebook)


def is_batch(name):
    """Return whether that may mean a batch job: its number, or its notebook."""
    return name.isdigit() or name.endswith(".ipynb")


def cancel(settings, channel, name):
    """Cancel the batch job of that number, or the newest one of that notebook; return whether there is one."""
    job, notebook = channel.ask("batch_job", "batch", *request_for(settings, channel, name))
    if not known(job, name):
        return False
    try:
        (stopped,) = channel.ask("stopped", "stop", job, job, again=True)
    except Trouble as trouble:
        if trouble.key != "slurm_says":
            raise
        raise Trouble("job_perhaps_running", **trouble.values, notebook=notebook, job=job) from None
    say("job_cancelled" if stopped else "job_was_over", notebook=notebook, job=job)
    return True


def known(job, name):
    """Return whether there is a job; raises Trouble where none has that name, and no session can have it."""
    if not job and not re.fullmatch(f"{read_rules()['project_name']}|[0-9]+", name):
        raise Trouble("no_session_called", name=name)
    return bool(job)


def request_for(settings, channel, name):
    """Return folder and name as requests.sh takes them."""
    connection = channel.connection
    return connection.folder(settings), name if name.isdigit() else escaped(place_of(connection, name))
