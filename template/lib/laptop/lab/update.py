"""`lab update`: brings the folder up to date with its template, by Copier."""

from plumbum import FG, ProcessExecutionError, local
from plumbum.commands import CommandNotFound

from .messages import FOLDER, Trouble, say


def update(options):
    """Run `copier update` in the folder; options go to Copier, which says itself what is wrong. Return its status.

    Raises Trouble where there is no Copier, nor uv, which brings it.
    """
    try:
        copier = local["copier"]
    except CommandNotFound:
        try:
            copier = local["uvx"]["copier"]
        except CommandNotFound:
            raise Trouble("no_copier") from None
    try:
        # the link .copier-answers.yml, which leads there, does not exist on Windows
        with local.cwd(FOLDER):
            copier["update", "--answers-file", "settings.yml", options] & FG
    except ProcessExecutionError as error:
        return error.retcode
    say("updated")
    return 0
