"""The batch jobs of the folder's notebooks, which submit_notebook.sh records: found by number or notebook."""

import itertools

from both.job_states import ENDED
from both.messages import FOLDER, MISUSE, Trouble, say

from .paths import escaped, inside, meant


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
    """Cancel the batch job of that number, or the one of that notebook; return whether there is one.

    Raises Trouble where several jobs of that notebook wait or run: the user says which.
    """
    folder, path = request_for(settings, channel, name)
    job, notebook = channel.ask("batch_job", "batch", folder, path)
    if not known(job, name):
        return False
    if not name.isdigit():
        rows = [words for kind, *words in until_end(channel.call("list", folder)) if kind == "batch"]
        # an array has a row for each state of its jobs
        live = [words[1] for words in rows if words[-1] == notebook and words[2] not in (*ENDED, "COMPLETING")]
        jobs = [*dict.fromkeys(live)]
        if len(jobs) > 1:
            raise Trouble("several_jobs", MISUSE, notebook=notebook, jobs=", ".join(jobs), job=jobs[-1])
        job = (jobs or [job])[0]
    try:
        (stopped,) = channel.ask("stopped", "stop", job, job, again=True)
    except Trouble as trouble:
        if trouble.key != "slurm_says":
            raise
        raise Trouble("job_perhaps_running", **trouble.values, notebook=notebook, job=job) from None
    say("job_cancelled" if stopped else "job_was_over", notebook=notebook, job=job)
    return True


def until_end(answers):
    """Yield the answers to "list"."""
    return itertools.takewhile(lambda answer: answer[0] != "end", answers)


def known(job, name):
    """Return whether there is a job; raises Trouble for a notebook that has none."""
    if not job and not name.isdigit():
        raise Trouble("no_batch_job", notebook=name)
    return bool(job)


def request_for(settings, channel, name):
    """Return folder and name as requests/batch.sh takes them."""
    connection = channel.connection
    return connection.folder(settings), name if name.isdigit() else escaped(place_of(connection, name))
