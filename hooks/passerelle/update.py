"""`passerelle update`: the folder brought up to date with its template."""

from .cli import Command
from .texts import message


class Update(Command):
    """Update a folder."""

    DESCRIPTION = message("help_update")

    def main(self, folder="."):
        """Update the folder."""
        raise NotImplementedError
