"""lab's commands: what each takes from its line, and whom it asks to do it."""

import importlib
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from both.messages import FOLDER, MISUSE, Trouble, report, say, show_help


def main(arguments):
    """Run one command line; return the exit status. It is the only place where a Trouble becomes one."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        # where one is closed (>&-), nothing that is opened next is to take its place
        if not getattr(sys, name):
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))
        # a terminal that lacks a letter, or sends what is none, is no reason to end
        getattr(sys, name).reconfigure(errors="replace")
    try:
        status = run(arguments)
        sys.stdout.flush()
        return status
    except (Trouble, OSError, KeyboardInterrupt) as error:
        return report(error)


def run(arguments):
    """Find the command and return its exit status; raises Trouble, OSError and KeyboardInterrupt."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        show_help("lab")
        return 0 if arguments else MISUSE
    name, words = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise Trouble("no_such_command", MISUSE, command=name, known=" ".join(COMMANDS))
    if "--help" in words or "-h" in words:
        show_help(f"lab-{name}")
        return 0
    command = COMMANDS[name]
    taken = take(name, words)
    session = session_name(taken, command)
    module, function = command.runs.split(".")
    alone = command.given == "nothing"
    settings, connection = (None, None) if alone else start(name, taken.get("rest", []))
    work = getattr(importlib.import_module(f".{module}", __package__), function)
    if alone:
        return work(taken)
    taken["name"] = session or settings.project
    if command.given == "connection":
        return work(settings, connection, taken)
    from .channel import Channel

    channel = Channel(connection)
    channel.open()
    return work(settings, channel, taken) or 0


class Command(NamedTuple):
    """What a command of lab is: its line of lib/laptop/commands.

    runs: "module.function", called with the settings, an open channel (or what else it is given) and what is taken
    flags: its options without a value; values: those with one (--name=x or --name x)
    word: its argument, as the help calls it, in brackets where it can be left out
    more: whose further words it takes: sbatch, copier, or paths
    """

    runs: str
    given: str
    logins: int
    flags: tuple
    values: tuple
    word: str
    more: str

    @property
    def batch(self):
        """Return whether its argument may be a notebook, for the batch job of it."""
        return self.word == "[NAME|NOTEBOOK]"

    @property
    def argument(self):
        """Return what its argument is called among what is taken."""
        return self.word.strip("[]").partition("|")[0].lower()


def read_commands():
    """Return every command by its name; its help is lib/texts/LANGUAGE/help/lab-NAME.txt."""
    found = {}
    # beside this program: `passerelle update` is at work in folders of all ages
    for line in Path(__file__).parents[1].joinpath("commands").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, runs, given, logins, *takes = line.split()
            options = [word.partition("=") for word in takes if word.startswith("--")]
            flags = tuple(option for option, value, _ in options if not value)
            values = tuple(option for option, value, _ in options if value)
            word = next((word for word in takes if word.isupper()), "")
            more = next((word for word in takes if word.isalpha() and word.islower()), "")
            found[name] = Command(runs, given, int(logins), flags, values, word, more)
    return found


COMMANDS = read_commands()


# --- a command line ---------------------------------------------------------------------------------------------------


def take(name, words):
    """Take a command line of that command apart: {"no-browser": True, "name": "x", "rest": [...]}.

    Raises Trouble for what the command does not take.
    """
    command = COMMANDS[name]
    if command.more == "copier":
        return {"rest": words}
    if command.more == "paths":
        return {"choices": take_choices(words)}
    taken, argument, others = {"rest": []}, command.argument, iter(words)
    for word in others:
        option, given, value = word.partition("=")
        if word in command.flags:
            taken[word[2:]] = True
        elif option in command.values:
            taken[option[2:]] = value if given else next(others, None)
            if taken[option[2:]] is None:
                raise Trouble("value_missing", MISUSE, option=option)
        elif command.more and word.startswith("-") and not {"\t", "\n"} & set(word):
            taken["rest"].append(word)
        elif not word.startswith("-") and command.word and argument not in taken:
            taken[argument] = word
        else:
            raise not_understood(name, word, words, taken["rest"])
    if command.word and command.word[0] != "[" and argument not in taken:
        raise Trouble("word_missing", MISUSE, word=command.word, command=name)
    return taken


def not_understood(command, word, words, options):
    """Return what there is to say about a word; options: those that Slurm is to understand."""
    for number, option in enumerate(words[:-1]):
        value = words[number + 1]
        if option in options and "=" not in option and not value.startswith("-"):
            joined = f"{option}={value}" if option.startswith("--") else option + value
            return Trouble("value_apart", MISUSE, value=value, option=joined)
    if "--name" in COMMANDS[command].values and is_session_name(word):
        return Trouble("name_apart", MISUSE, name=word, command=f"./lab {command}")
    return Trouble("unknown_option", MISUSE, option=word)


def take_choices(words):
    """Return what `lab sync` takes: ("mine" or "theirs", path) for each path behind --mine or --theirs."""
    from .paths import inside

    option, choices = "", {}
    for word in words:
        name, given, path = word.partition("=")
        if name in ("--mine", "--theirs"):
            option = name
            choices.setdefault(option, []).extend([path] if given else [])
        elif option and not word.startswith("-"):
            choices[option].append(word)
        else:
            raise Trouble("unknown_option", MISUSE, option=word)
    for option, paths in choices.items():
        if "" in (paths or [""]):
            raise Trouble("path_missing", MISUSE, option=option)
    return [(option[2:], inside(path)) for option, paths in choices.items() for path in paths]


# --- what every command needs -----------------------------------------------------------------------------------------


def start(command, options):
    """Return the settings and the way to the login node, for one command and its further options."""
    from . import settings as reader

    settings = reader.load()
    if settings.facts["scheduler"] == "none":
        # this computer is the cluster
        if command != "open" or os.name == "nt":
            raise Trouble("no_slurm_here", MISUSE, cluster=settings.place, command=command)
        os.execv(FOLDER / "start_salloc.sh", ["start_salloc.sh", *options])
    need_plumbum()
    import shutil

    from .connection import Connection, Here, SeparateConnections

    if shutil.which("sbatch") and is_here():
        return settings, Here()
    if not os.access(FOLDER, os.W_OK):
        raise Trouble("folder_read_only", folder=FOLDER)
    if not settings.login:
        if not sys.stdin.isatty():
            raise Trouble("no_user", MISUSE, cluster=settings.place)
        say("which_user", cluster=settings.place)
        reader.keep_user(sys.stdin.readline().strip())
        settings = reader.load()
    way = settings.login, settings.facts, settings.login_place
    if os.name == "nt" or settings.personal.get("connection") == "separate":
        return settings, SeparateConnections(*way, COMMANDS[command].logins)
    return settings, Connection(*way)


def is_here():
    """Return whether this computer is the folder's cluster; on another one's login node bash says so, and lab ends."""
    import subprocess

    script = str(FOLDER / "lib/login_node/here.sh")
    # "lab" is what its line begins with
    command = ["/bin/bash", "-p", "-c", 'source "$1"', "lab", script]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    if done.returncode > 1:
        sys.exit(done.returncode)
    return done.returncode == 0


def need_plumbum():
    """Where plumbum is not installed, run lab again with a Python that has it; raises Trouble when there is none."""
    try:
        import plumbum  # noqa: F401 - only whether it is there
    except ImportError:
        import shutil

        # made once, as the message says; or that of Copier or of the command around it, which use plumbum themselves
        python = "Scripts/python.exe" if os.name == "nt" else "bin/python"
        found = [FOLDER / ".lab/python" / python]
        for path in filter(None, map(shutil.which, ("copier", "passerelle"))):
            found.append(Path(path).resolve().parents[1] / python)
        command = next(([str(path)] for path in found if path.exists()), None)
        if not command and (uv := shutil.which("uv")):
            command = [uv, "run", "--quiet", "--script"]
        if not command or os.environ.get("PASSERELLE_PYTHON"):
            raise Trouble("no_plumbum") from None
        os.environ["PASSERELLE_PYTHON"] = "found"
        os.execv(command[0], [*command, str(FOLDER / "lab"), *sys.argv[1:]])


def session_name(taken, command):
    """Return the name of a session that somebody has typed, or None; raises Trouble for what none can be called."""
    name = taken.get("name")
    if command.batch and (name or "").endswith(".ipynb"):
        return name
    if name is not None and not is_session_name(name):
        from both.limits import LIMITS

        raise Trouble("bad_session_name", MISUSE, name=name, most=LIMITS.SESSION_NAME)
    return name


def is_session_name(word):
    """Return whether a session can be called so: after the project, or by the number of its job; no notebook is one."""
    from both.limits import LIMITS

    from .settings import read_rules

    known = re.fullmatch(f"{read_rules()['project_name']}|[0-9]+", word) and len(word) <= LIMITS.SESSION_NAME
    return bool(known) and not word.endswith(".ipynb")
