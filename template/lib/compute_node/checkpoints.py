"""Before the time limit: have every open JupyterLab say so and save, then put a checkpoint beside each open notebook.

checkpoints.py RECORD MESSAGE: RECORD is the path of the server's jpserver-PID.json
"""

import contextlib
import json
import sys
import time
import urllib.parse
import urllib.request

import notice


def call(server, method, path, data=None):
    """Return what the server says to one request of its REST API, None where that is nothing.

    server: the content of the server's jpserver-PID.json; data: what is sent, for JSON
    Raises OSError (urllib.error.URLError) when the server does not answer.
    Source: https://jupyter-server.readthedocs.io, REST API (sessions, contents)
    """
    request = urllib.request.Request(
        server["url"] + "api/" + urllib.parse.quote(path),
        method=method,
        data=data and json.dumps(data).encode(),
        headers={"Authorization": "token " + server["token"], "Content-Type": "application/json"},
    )
    # never through a proxy: the node itself is called, and the token is the proxy's business least of all
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        return json.loads(answer.read() or "null")


def main(record, message):
    """Say it, make the checkpoints, and print each notebook's path."""
    with open(record, encoding="utf-8") as file:
        server = json.load(file)
    # an older server has no events
    with contextlib.suppress(OSError):
        call(server, "POST", "events", notice.event("time", message, save=True))
        time.sleep(notice.TO_SAVE)
    for session in call(server, "GET", "sessions"):
        if session["type"] == "notebook":
            call(server, "POST", "contents/" + session["path"] + "/checkpoints")
            print("  " + session["path"])


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"checkpoints: {error}")
