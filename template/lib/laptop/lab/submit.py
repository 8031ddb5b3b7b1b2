"""`lab submit`: a notebook as a batch job, by submit_notebook.sh on the login node."""

from both.messages import FOLDER, MISUSE, Trouble

from .batch import place_of
from .paths import escaped, sum_of_folder
from .sync import Sync


def submit(settings, channel, taken):
    """Send what has changed here, so that the notebook is there, and submit it; return the exit status.

    Raises Trouble for a notebook that is not in the folder, and for one that could not be sent.
    """
    connection, notebook = channel.connection, taken["notebook"]
    path = place_of(connection, notebook)
    if not (FOLDER / path).is_file():
        raise Trouble("no_such_notebook", MISUSE, notebook=notebook)
    if not connection.here:
        Sync(settings, channel).send(path)
    folder = connection.folder(settings)
    for kind, *words in channel.call("submit", folder, sum_of_folder(), escaped(path), *taken["rest"]):
        if kind == "done":
            return 0
        if kind == "folder" and words[0] != "same":
            raise Trouble("submit_not_in_sync", notebook=path)
