"""`lab submit`: a notebook as a batch job, by submit_notebook.sh on the login node."""

import contextlib

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
    options = [_seen_from_folder(connection, option) for option in taken["rest"]]
    for kind, *words in channel.call("submit", folder, sum_of_folder(), escaped(path), *options):
        if kind == "done":
            return 0
        if kind == "folder" and words[0] != "same":
            raise Trouble("submit_not_in_sync", notebook=path)


def _seen_from_folder(connection, option):
    """Return an option whose file somebody has typed as they see it as submit_notebook.sh does, in the folder there."""
    name, given, path = option.partition("=")
    if not path or name not in ("--parameters", "--resume"):
        return option
    with contextlib.suppress(Trouble):
        path = place_of(connection, path)
    # what is not in the folder here can be the cluster's own
    return f"{name}{given}{path}"
