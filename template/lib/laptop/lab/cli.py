"""lab's commands: what each takes from its line, and whom it asks to do it."""

import os
import re
import sys
from pathlib import Path

from .messages import FOLDER, MISUSE, Trouble, message, say, show_help

COMMANDS = ("open", "status", "attach", "stop", "logs", "url", "submit", "sync", "check", "update")


def main(arguments):
    """Run one command line; return the exit status, and is the only place where a Trouble becomes one."""
    for stream in (sys.stdout, sys.stderr):
        # a terminal that lacks a letter is no reason to end, nor is one that is closed
        if stream:
            stream.reconfigure(errors="replace")
    try:
        return run(arguments)
    except Trouble as trouble:
        print(f"lab: {trouble}", file=sys.stderr)
        return trouble.status
    except BrokenPipeError:
        # whoever read what is printed has gone (lab logs | head); Python is not to complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"lab: {message('os_error', words=error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 130


def run(arguments):
    """Find the command and return its exit status; raises Trouble, OSError and KeyboardInterrupt."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        show_help("lab")
        return 0 if arguments else MISUSE
    command, words = arguments[0], arguments[1:]
    if command not in COMMANDS:
        raise Trouble("no_such_command", MISUSE, command=command, known=" ".join(COMMANDS))
    if "--help" in words or "-h" in words:
        show_help(f"lab-{command}")
        return 0
    return globals()[f"lab_{command}"](words)


def take(words, flags=(), values=(), rest=""):
    """Take a command line apart: {"no-browser": True, "name": "x", "rest": [...]}.

    flags: options without a value; values: options with one (--name=x or --name x)
    rest: "" for nothing else, "one" or "may" for one word (or none), "options" for options of sbatch,
          "both" for a word and options of sbatch
    Raises Trouble for anything else.
    """
    taken, others = {"rest": []}, list(words)
    while others:
        word = others.pop(0)
        name, given, value = word.partition("=")
        if word.startswith("--") and word[2:] in flags:
            taken[word[2:]] = True
        elif word.startswith("--") and name[2:] in values:
            if not given:
                if not others:
                    raise Trouble("value_missing", MISUSE, option=name)
                value = others.pop(0)
            taken[name[2:]] = value
        elif word.startswith("-") and rest in ("options", "both") and "\t" not in word and "\n" not in word:
            taken["rest"].append(word)
        elif not word.startswith("-") and rest in ("one", "may", "both") and "word" not in taken:
            taken["word"] = word
        else:
            raise Trouble("unknown_option", MISUSE, option=word)
    if rest in ("one", "both") and "word" not in taken:
        raise Trouble("word_missing", MISUSE)
    return taken


def start(command):
    """Return the settings and the way to the login node, for one command."""
    from . import settings as reader

    settings = reader.load()
    if settings.facts["scheduler"] == "none":
        # this computer is the cluster
        if command != "open" or os.name == "nt":
            raise Trouble("no_slurm_here", MISUSE, cluster=settings.cluster, command=command)
        os.execv(FOLDER / "start_salloc.sh", ["start_salloc.sh"])
    need_plumbum()
    import shutil

    from .connection import Connection, Here, SeparateConnections

    if shutil.which("sbatch"):
        return settings, Here()
    if not settings.login:
        if not sys.stdin.isatty():
            raise Trouble("no_user", MISUSE, cluster=settings.cluster)
        say("which_user", cluster=settings.cluster)
        reader.keep_user(sys.stdin.readline().strip())
        settings = reader.load()
    if os.name == "nt" or settings.personal.get("connection") == "separate":
        # the channel, and the tunnel or the files beside it
        return settings, SeparateConnections(
            settings.login, 2 if command in ("open", "attach", "submit", "sync") else 1
        )
    return settings, Connection(settings.login)


def session_name(taken, option="word"):
    """Return the session's name on the command line, or None; raises Trouble for what no session can be called."""
    from .settings import read_rules

    name = taken.get(option)
    if name is not None and not re.fullmatch(f"{read_rules()['project_name']}|[0-9]+", name):
        raise Trouble("bad_session_name", MISUSE, name=name)
    return name


def need_plumbum():
    """Where plumbum is not installed, runs lab again with a Python that has it; raises Trouble when there is none."""
    try:
        import plumbum  # noqa: F401 - only whether it is there
    except ImportError:
        if os.environ.get("PASSERELLE_PYTHON"):
            raise Trouble("no_plumbum") from None
        # made once, as the message says; or that of Copier, which uses plumbum itself
        import shutil

        found = [FOLDER / ".lab/python" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")]
        if copier := shutil.which("copier"):
            found.append(Path(copier).resolve().with_name("python.exe" if os.name == "nt" else "python"))
        found = [str(path) for path in found if path.exists()]
        uv = shutil.which("uv")
        if found:
            command = found[:1]
        elif uv:
            command = [uv, "run", "--quiet", "--script"]
        else:
            raise Trouble("no_plumbum") from None
        os.environ["PASSERELLE_PYTHON"] = "found"
        os.execv(command[0], [*command, str(FOLDER / "lab"), *sys.argv[1:]])


def converse(command):
    """Return the settings, and a conversation with the login node."""
    settings, connection = start(command)
    from .channel import Conversation

    conversation = Conversation(connection)
    conversation.open()
    return settings, conversation


def lab_open(words):
    """Start or finds a session, and stay."""
    taken = take(words, flags=["no-browser"], values=["name"], rest="options")
    name = session_name(taken, "name")
    settings, conversation = converse("open")
    from .open import Opening

    return Opening(settings, conversation, name or settings.project).open(taken["rest"], "no-browser" not in taken)


def lab_attach(words):
    """Go to a session that is there, and stay."""
    taken = take(words, flags=["no-browser"], rest="may")
    name = session_name(taken)
    settings, conversation = converse("attach")
    from .open import Opening

    return Opening(settings, conversation, name or settings.project).attach("no-browser" not in taken)


def lab_status(words):
    """Show the sessions there are."""
    take(words)
    _, conversation = converse("status")
    from .sessions import show_status

    show_status(conversation)
    return 0


def lab_stop(words):
    """End a session."""
    taken = take(words, rest="may")
    name = session_name(taken)
    settings, conversation = converse("stop")
    from .sessions import stop

    stop(settings, conversation, name or settings.project)
    return 0


def lab_logs(words):
    """Show what a session has printed."""
    taken = take(words, flags=["follow"], rest="may")
    name = session_name(taken)
    settings, conversation = converse("logs")
    from .sessions import show_log

    show_log(conversation, name or settings.project, "follow" in taken)
    return 0


def lab_url(words):
    """Print a session's address with its token."""
    taken = take(words, rest="may")
    name = session_name(taken)
    settings, conversation = converse("url")
    from .sessions import print_url

    print_url(settings, conversation, name or settings.project)
    return 0


def lab_submit(words):
    """Submit a notebook as a batch job."""
    taken = take(words, rest="both")
    settings, conversation = converse("submit")
    from .submit import submit

    return submit(settings, conversation, taken["word"], taken["rest"])


def lab_check(words):
    """Say how each step of the way to a session goes, up to the first that fails."""
    taken = take(words, rest="may")
    name = session_name(taken)
    settings, connection = start("check")
    from .check import Check

    return Check(settings, connection, name or settings.project).run()


def lab_sync(words):
    """Bring this folder and the cluster's together."""
    from .files import inside

    side, choices = "", {}
    for word in words:
        option, given, path = word.partition("=")
        if option in ("--mine", "--theirs"):
            side = option
            choices.setdefault(side, []).extend([path] if given else [])
        elif side and not word.startswith("-"):
            choices[side].append(word)
        else:
            raise Trouble("unknown_option", MISUSE, option=word)
    for option, paths in choices.items():
        if "" in (paths or [""]):
            raise Trouble("path_missing", MISUSE, option=option)
    chosen = [(option[2:], inside(path)) for option, paths in choices.items() for path in paths]
    settings, conversation = converse("sync")
    if conversation.connection.here:
        raise Trouble("not_on_your_computer", MISUSE)
    from .sync import Sync

    return Sync(settings, conversation).run(chosen)


def lab_update(words):
    """Bring the folder up to date with its template; further words are Copier's."""
    need_plumbum()
    from .update import update

    return update(words)
