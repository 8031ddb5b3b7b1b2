"""The command line of `passerelle`: its commands, and the one place where trouble becomes an exit status."""

import signal
import sys
import textwrap
from contextlib import contextmanager
from importlib import metadata

from plumbum import cli
from plumbum.cli.application import ShowCompletion, ShowHelp, ShowHelpAll, ShowVersion

from .texts import MISUSE, Trouble, complain, message


class Command(cli.Application):
    """A command whose misuse is one line."""

    ALLOW_ABBREV = False

    @cli.switch(["-h", "--help"], overridable=True, group="Meta-switches", help=message("help_help"))
    def help(self):
        """Print what the command does, in our words: plumbum's are in the languages that the system has."""
        print(self.DESCRIPTION, "", message("usage"), self.USAGE, message("options"), sep="\n")
        infos = {info.names[0]: info for info in self._switches_by_name.values()}
        for info in sorted(infos.values(), key=lambda info: (info.group == "Meta-switches", info.names)):
            if info.group != "Meta-switches" or "help" in info.names:
                names = ", ".join(f"-{name}" if len(name) == 1 else f"--{name}" for name in info.names)
                self._say_row(names, info.help)

    @staticmethod
    def _say_row(left, right):
        """Print two columns."""
        rows = textwrap.wrap(right, 52, break_on_hyphens=False)
        print("\n".join([f"    {left:<23} {rows[0]}", *(f"{'':<28}{row}" for row in rows[1:])]))

    def _parse_args(self, argv):
        with self._in_one_line():
            return super()._parse_args(argv)

    def _validate_args(self, *parsed):
        with self._in_one_line():
            return super()._validate_args(*parsed)

    @contextmanager
    def _in_one_line(self):
        """Plumbum itself prints the whole help."""
        try:
            yield
        except (ShowHelp, ShowHelpAll, ShowVersion, ShowCompletion):
            raise
        except cli.SwitchError as error:
            raise Trouble("misuse", MISUSE, words=error, command=self.PROGNAME) from None


class Passerelle(Command):
    """The command without a sub-command."""

    PROGNAME = "passerelle"
    VERSION = metadata.version("passerelle")
    DESCRIPTION = message("help_passerelle")
    USAGE = message("usage_passerelle")

    @cli.switch(["-h", "--help"], overridable=True, group="Meta-switches", help=message("help_help"))
    def help(self):
        """Print what there is."""
        super().help()
        print("", message("commands"), sep="\n")
        for name in self._subcommands:
            self._say_row(name, message(f"help_{name}"))

    def main(self, *words):
        """Show the help; status 64, as nothing was done."""
        if words:
            raise Trouble("no_such_command", MISUSE, command=words[0], known=" ".join(self._subcommands))
        if not self.nested_command:
            self.help()
            return MISUSE
        return 0


for name in ("new", "update", "facts", "handout"):
    # imported when it is called: Copier takes its time
    Passerelle.subcommand(name, f"passerelle.{name}.{name.capitalize()}")


def main():
    """Run the command line; the exit status is the command's."""
    for stream in (sys.stdout, sys.stderr):
        # a terminal that lacks a letter is no reason to end
        stream.reconfigure(errors="replace")
    for name in ("SIGTERM", "SIGHUP"):
        # what is half-made goes then, too
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    sys.exit(run(sys.argv))


def run(words):
    """Run one command line, the program's name first; return the exit status."""
    try:
        return Passerelle.run(words, exit=False)[1]
    except KeyboardInterrupt:
        print(flush=True)
        return 130
    except Trouble as trouble:
        complain(trouble)
        return trouble.status
    except OSError as error:
        complain(message("os_error", words=error))
        return 1
