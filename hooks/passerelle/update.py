"""`passerelle update`: `lab update` of the newest version, for a folder whose own is older, or that has none."""

import os
import sys
from pathlib import Path

from plumbum import cli

from .cli import Command
from .texts import message, part


class Update(Command):
    """Update a folder."""

    DESCRIPTION = message("help_update")
    USAGE = message("usage_update")
    defaults = cli.Flag(["l", "defaults"], help=message("help_update_defaults"))
    data = cli.SwitchAttr(["d", "data"], str, list=True, argname="NAME=VALUE", help=message("help_update_data"))

    def main(self, folder="."):
        """Update the folder; return the exit status."""
        # Copier came with this command
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        sys.path[:0] = [str(part("template") / "lib/laptop"), str(part("template") / "lib")]
        from both import messages

        # before the modules that take it from there
        messages.FOLDER = Path(folder).resolve()
        from lab import cli as lab

        options = ["--defaults"] if self.defaults else []
        return lab.main(["update", *options, *(word for pair in self.data for word in ("--data", pair))])
