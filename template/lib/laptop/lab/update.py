"""`lab update`: brings the folder up to date with its template, by Copier."""

import shutil
import subprocess

from .messages import FOLDER, Trouble, say


def update(taken):
    """Run `copier update` in the folder; options go to Copier, which says itself what is wrong. Return its status.

    Raises Trouble where there is no Copier, nor uv, which brings it.
    """
    copier = ["copier"] if shutil.which("copier") else ["uvx", "copier"]
    if not shutil.which(copier[0]):
        raise Trouble("no_copier")
    # the link .copier-answers.yml, which leads there, does not exist on Windows
    words = ["update", "--answers-file", "settings.yml", *taken["rest"]]
    status = subprocess.run([*copier, *words], cwd=FOLDER, check=False).returncode
    if status == 0:
        say("updated")
    return status
