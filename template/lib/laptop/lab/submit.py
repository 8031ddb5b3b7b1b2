"""`lab submit`: a notebook as a batch job, by submit_notebook.sh on the login node."""

from pathlib import Path

from .files import inside
from .messages import MISUSE, Trouble
from .sync import Sync, sum_of_folder


def submit(settings, conversation, notebook, options):
    """Bring both sides together, so that the notebook is there, and submits it; return the exit status.

    options: sbatch's. Raises Trouble for a notebook that is not in the folder, and for one that could not be sent.
    """
    connection = conversation.connection
    if not Path(notebook).is_file():
        raise Trouble("no_such_notebook", MISUSE, notebook=notebook)
    if connection.here:
        path = Path(notebook).resolve()
    else:
        path = inside(notebook)
        if Sync(settings, conversation).run() != 0:
            raise Trouble("submit_not_in_sync", notebook=path)
    conversation.ask("submit", connection.folder(settings), sum_of_folder(), path, *options)
    while True:
        words = conversation.next_answer()
        if words[0] == "done":
            return 0
        if words[0] == "failed":
            raise Trouble("script_failed", script=words[1])
        if words[0] == "folder" and words[1] != "same":
            raise Trouble("submit_not_in_sync", notebook=path)
