"""The way to a cluster: lab's own connection, with its verified host key and its one authentication.

lab belongs to a folder, so a copy of the template serves as one until this program ends; the connection stays, and
`./lab open` finds it.
"""

import atexit
import os
import re
import shlex
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import yaml

from .ask import choose, type_in
from .probe import fits, parse, waits_of
from .texts import HERE, language, message, part, say, wording

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
        sys.path.insert(0, str(place / "lib/laptop"))
        _lab.append(place)
    return _lab[0]


def is_here(cluster, facts):
    """Return whether this computer is a login node of that cluster."""
    if not shutil.which("sbatch"):
        return False
    # the Alliance names the cluster on all its nodes; of another, whoever has come by ssh sits at its login node
    return os.environ.get("CC_CLUSTER") == cluster or facts["login_host"] == "asked" and "SSH_CONNECTION" in os.environ


def ssh_says(name, host):
    """Return one of ssh's settings for a host, as somebody's ~/.ssh/config has it; "" where there is no ssh."""
    folder()
    from lab.messages import Trouble
    from lab.ssh_words import ssh_settings

    try:
        return ssh_settings(host)[name][0]
    except (Trouble, IndexError):
        return ""


class Cluster:
    """A login node that can be asked; login is None on the login node itself."""

    def __init__(self, login, facts):
        folder()
        from lab.connection import Connection, Here, SeparateConnections

        if login is None:
            self.connection = Here()
        elif os.name == "nt":
            self.connection = SeparateConnections(login, facts, 1)
        else:
            self.connection = Connection(login, as_lab_reads(facts))

    def live(self):
        """Return what the cluster says of itself, the Live of probe.py."""
        return parse(self._ask("probe\n"))

    def waits(self, requests):
        """Return {number: seconds until Slurm would start it} for lists of Slurm's options."""
        lines = [shlex.join(["estimate", str(number), *options]) + "\n" for number, options in enumerate(requests)]
        return waits_of(self._ask("".join(lines)))

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
    from lab.messages import Trouble

    return Trouble, OSError


# --- which cluster, and who logs in --------------------------------------------------------------------------------


def clusters():
    """Return {id: facts} of the clusters in service."""
    found = {}
    for path in sorted((part("template") / "plugins/clusters").glob("*.yml")):
        text = path.read_text(encoding="utf-8")
        facts = yaml.safe_load(text)
        if facts["status"] == "in_service":
            found[path.stem] = {**facts, "title": re.match(r"# ([^,:\n]+)", text)[1]}
    return found


def cluster_here():
    """Return the cluster that this computer belongs to and says so, "" if none."""
    here = os.environ.get("CC_CLUSTER", "")
    if here in clusters() and shutil.which("sbatch"):
        say("cluster_here", cluster=here)
        return here
    return ""


def choose_cluster():
    """Return the cluster that somebody chooses."""
    names = {"other": wording("cluster_other"), "local": wording("cluster_local")}
    titles = {facts["title"]: name for name, facts in clusters().items() if name not in names}
    return choose(wording("cluster"), titles | {title: name for name, title in names.items()})


def meet(facts, data, defaults):
    """Return what is to be kept in personal.yml, and the Cluster to ask; None where nobody logs in."""
    if is_here(data["cluster"], facts):
        return {}, Cluster(None, facts)
    if defaults or not shutil.which("ssh"):
        say("live_not_asked")
        return {}, None
    if facts["login_host"] == "asked":
        if "login_host" not in data:
            data["login_host"] = type_in(wording("login_host"), valid=lambda host: right("login_host", host))
        facts = {**facts, "login_host": data["login_host"]}
    host = facts["login_host"]
    name = type_in(
        message("which_user", host=host), ssh_says("user", host), lambda name: not name or right("user", name)
    )
    if not name:
        say("live_not_asked")
        return {}, None
    # a name of somebody's ~/.ssh/config stands for another host
    if ssh_says("hostname", name) not in ("", name.lower(), name):
        return {"ssh_host": name}, Cluster(name, facts)
    return {"user": name}, Cluster(f"{name}@{host}", facts)


def right(name, value):
    """Return True for a value that settings.yml takes, else what is wrong with it."""
    return fits(name, value) or message("bad_value", value=value)
