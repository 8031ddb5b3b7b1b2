"""Where this command came from, for Copier: the folder's template, to which updates go back (PEP 610)."""

import json
import os
import shlex
import subprocess
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from .texts import Trouble


def find_source():
    """Return the template's address or path for Copier, and the commit that was asked for at installation, or None.

    Without such a wish Copier takes the newest release, as by itself, so that the next update is one forwards.
    Raises Trouble where the installation does not say, or names a path that is there no more.
    """
    try:
        said = json.loads(metadata.distribution("passerelle").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        said = {}
    url, git = said.get("url", ""), said.get("vcs_info")
    if git:
        source = url if url.endswith(".git") else f"git+{url}"
        return source, git.get("commit_id") if git.get("requested_revision") else None
    if not url.startswith("file:") or "archive_info" in said:
        raise Trouble("source_unknown")
    path = Path(url2pathname(urlsplit(url).path))
    if not (path / "copier.yml").is_file():
        raise Trouble("source_gone", path=path)
    if (path / ".git").exists() and _is_somebody_elses(path):
        raise Trouble("source_not_trusted", path=path, quoted=shlex.quote(str(path)))
    return str(path), None


def _is_somebody_elses(path):
    """Return whether git does not read a clone because of its owner: Copier would take it for one without versions."""
    try:
        asked = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(["git", "-C", path, "rev-parse"], env=asked, capture_output=True, text=True, check=False)
    except OSError:
        # no git
        return False
    return "dubious ownership" in done.stderr
