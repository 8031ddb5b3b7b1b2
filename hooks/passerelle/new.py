"""`passerelle new`: a folder, made by Copier's own questions."""

from .cli import Command
from .texts import message


class New(Command):
    """Make a folder."""

    DESCRIPTION = message("help_new")

    def main(self, folder=None):
        """Make the folder."""
        raise NotImplementedError
