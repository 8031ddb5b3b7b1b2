"""Which cluster it is about, and who logs in there."""

import getpass
import os
import re
import shutil
from functools import cache

import yaml

from .ask import choose, type_in
from .cluster import Cluster, is_unknown, ssh_says
from .probe import fits, rules
from .texts import Trouble, message, part, say, wording


@cache
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
            data["login_host"] = type_in(wording("login_host"), valid=right_host)
        elif is_unknown(data["login_host"]):
            raise Trouble("host_unknown", host=data["login_host"])
        facts = {**facts, "login_host": data["login_host"]}
    host = facts["login_host"]
    # that of ~/.ssh/config; without one, ssh says this computer's, in front of which nobody wants to type
    known = ssh_says("user", host)
    known = "" if known == getpass.getuser() else known
    name = type_in(message("which_user", host=host), known, lambda name: not name or right("user", name))
    if not name:
        say("live_not_asked")
        return {}, None
    # a name of somebody's ~/.ssh/config stands for another host
    if ssh_says("hostname", name) not in ("", name.lower(), name):
        return {"ssh_host": name}, Cluster(name, facts)
    return {"user": name}, Cluster(f"{name}@{host}", facts)


def right(name, value):
    """Return True for a value that settings.yml takes, else what is wrong with it."""
    return fits(name, value) or wording("bad_value", value=value, example=rules()[f"{name}_example"])


def right_host(host):
    """Return True for the name of a host, else what is wrong with it."""
    words = right("login_host", host)
    return words if words is not True or not is_unknown(host) else message("host_unknown", host=host)


def is_here(cluster, facts):
    """Return whether this computer is a login node of that cluster."""
    if not shutil.which("sbatch"):
        return False
    # the Alliance names the cluster on all its nodes; of another, whoever has come by ssh sits at its login node
    return os.environ.get("CC_CLUSTER") == cluster or facts["login_host"] == "asked" and "SSH_CONNECTION" in os.environ
