"""Put a checkpoint beside every notebook that is open on this session's server.

The server has what the browser saved last (JupyterLab saves by itself); it cannot reach what a browser has not sent.
"""

import json
import sys
import urllib.parse
import urllib.request


def call(server, method, path):
    """Return what the server says to one request of its REST API.

    server: the content of the server's jpserver-PID.json
    Raises OSError (urllib.error.URLError) when the server does not answer.
    Source: https://jupyter-server.readthedocs.io, REST API (sessions, contents)
    """
    request = urllib.request.Request(
        server["url"] + "api/" + urllib.parse.quote(path),
        method=method,
        headers={"Authorization": "token " + server["token"]},
    )
    # never through a proxy: the node itself is called, and the token is the proxy's business least of all
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        return json.load(answer)


def main(record):
    """Make the checkpoints and print each notebook's path; record is the path of jpserver-PID.json."""
    with open(record, encoding="utf-8") as file:
        server = json.load(file)
    for session in call(server, "GET", "sessions"):
        if session["type"] == "notebook":
            call(server, "POST", "contents/" + session["path"] + "/checkpoints")
            print("  " + session["path"])


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except OSError as error:
        sys.exit(f"checkpoints: {error}")
