"""`lab update`: brings the folder up to date with its template, by Copier."""

import json
import shutil
import subprocess
from pathlib import Path

from .messages import FOLDER, Trouble
from .paths import files_here, is_undecided, named
from .settings import read_flat


def update(taken):
    """Run `copier update` in the folder; options go to Copier, which says itself what is wrong. Return its status.

    Raises Trouble where there is no Copier, nor uv, which brings it, where Copier would not know what to do, for a line
    of settings.yml that cannot be read, and for files that hold both versions afterwards.
    """
    copier = ["copier"] if shutil.which("copier") else ["uvx", "copier"]
    if not shutil.which(copier[0]):
        raise Trouble("no_copier")
    _check_git()
    # Copier's own words for a line that it cannot read are a traceback
    read_flat(FOLDER / "settings.yml")
    _check_source()
    # the link .copier-answers.yml, which leads there, does not exist on Windows
    words = ["update", "--answers-file", "settings.yml", *taken["rest"]]
    status = subprocess.run([*copier, *words], cwd=FOLDER, check=False).returncode
    if status == 0 and (undecided := sorted(path for path, _ in files_here() if is_undecided(path))):
        raise Trouble("update_undecided", names=named(undecided))
    # how it ended, Copier has said
    return status


def _check_git():
    """Raise Trouble for a folder that git does not know; of git itself Copier speaks."""
    words = ["git", "rev-parse", "--git-dir"]
    if shutil.which("git") and subprocess.run(words, cwd=FOLDER, capture_output=True, check=False).returncode:
        raise Trouble("update_without_git")


def _check_source():
    """Raise Trouble for a template's path that leads nowhere here: the folder was made elsewhere, or is very old."""
    lines = (FOLDER / "settings.yml").read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if line.startswith('_src_path: "'):
            source = json.loads(line.partition(": ")[2])
            if ":" not in source and not (FOLDER / Path(source).expanduser()).exists():
                raise Trouble("update_from_nowhere", place=f"settings.yml:{number}", source=source)
