"""`passerelle facts`: what a cluster says of itself beside what its file of plugins/clusters says."""

from .cli import Command
from .texts import message


class Facts(Command):
    """Compare a cluster with the catalogue."""

    DESCRIPTION = message("help_facts")

    def main(self, cluster):
        """Print the difference."""
        raise NotImplementedError
