"""Where this command came from, for Copier: the folder's template, to which updates go back (PEP 610)."""

import json
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
    return str(path), None
