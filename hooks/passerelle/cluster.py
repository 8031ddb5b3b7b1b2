"""The way to a cluster: lab's own connection, with its verified host key and its one authentication.

lab belongs to a folder, so a copy of the template serves as one until this program ends; the connection stays, and
`./lab open` finds it.
"""

import atexit
import os
import shlex
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from .probe import parse, refusal_in, waits_of
from .texts import HERE, language, part

PATIENCE = 60
"""Seconds for all that a cluster is asked: four times PATIENCE of probe.sh."""
MOST = 1 << 20
"""More bytes than that are no answer."""

_lab = []


def folder():
    """Return a folder that lab takes for its own, and can import lab from; it goes when the program ends."""
    if not _lab:
        made = tempfile.mkdtemp(prefix="passerelle-")
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        place = Path(made) / "folder"
        shutil.copytree(part("template"), place, ignore=shutil.ignore_patterns("__pycache__", ".copier-answers.yml"))
        (place / "settings.yml").write_text(f"language: {language()}\n", encoding="utf-8")
        sys.path[:0] = [str(place / "lib/laptop"), str(place / "lib")]
        _lab.append(place)
    return _lab[0]


def ssh_says(name, host):
    """Return one of ssh's settings for a host, as somebody's ~/.ssh/config has it; "" where there is no ssh."""
    folder()
    from both.messages import Trouble
    from lab.openssh import ssh_settings

    try:
        return ssh_settings(host)[name][0]
    except (Trouble, IndexError):
        return ""


def is_unknown(host):
    """Return whether nobody knows a host of that name; False where nobody can be asked."""
    folder()
    from both.messages import Trouble
    from lab.openssh import address_of, ssh_settings

    try:
        address_of(ssh_settings(host), "login_host")
    except Trouble as trouble:
        return trouble.key == "check_no_name"
    return False


class Cluster:
    """A login node that can be asked; login is None on the login node itself."""

    def __init__(self, login, facts):
        folder()
        from lab.connection import Connection, Here, SeparateConnections

        if login is None:
            self.connection = Here()
        elif os.name == "nt":
            self.connection = SeparateConnections(login, facts, "login_host", 1)
        else:
            self.connection = Connection(login, as_lab_reads(facts), "login_host")

    def live(self):
        """Return what the cluster says of itself, the Live of probe.py."""
        return parse(self._ask("probe\n"))

    def waits(self, requests):
        """Return {number: seconds until it starts} for lists of Slurm's options, and why Slurm refuses the first."""
        lines = [shlex.join(["estimate", str(number), *options]) + "\n" for number, options in enumerate(requests)]
        said = self._ask("".join(lines))
        return waits_of(said), refusal_in(said)

    def _ask(self, request):
        """Return the lines that the cluster answers; raises lab's Trouble where there is no connection."""
        from lab.rsh import BASH, DOOR
        from lab.waiting import Waiting

        waiting = Waiting()
        self.connection.open(waiting, lambda: None)
        waiting.restart()
        process = self.connection.shell()
        end = threading.Timer(PATIENCE, process.kill)
        end.start()
        try:
            process.stdin.write(DOOR)
            process.stdin.flush()
            # startup files may print anything before
            while (line := process.stdout.readline(MOST)) and not line.startswith(BASH):
                pass
            script = [(folder() / "lib/cluster/clean.sh").read_bytes(), (HERE / "probe.sh").read_bytes()]
            process.stdin.write(b"\n".join([*script, b"clean_login", request.encode()]))
            process.stdin.close()
            return process.stdout.read(MOST).decode("utf-8", "replace").splitlines()
        except OSError:
            return []
        finally:
            end.cancel()
            process.kill()
            process.wait()


def as_lab_reads(facts):
    """Return facts with texts for numbers, as lab reads them from the files."""
    return {name: value if isinstance(value, list) else str(value) for name, value in facts.items()}


def troubles():
    """Return what may be raised for a cluster that cannot be asked."""
    folder()
    from both.messages import Trouble

    return Trouble, OSError
