"""`passerelle new`: a folder made by Copier's own questions, which know what the cluster has; git keeps it."""

import io
import os
import re
import shlex
import shutil
import subprocess
import warnings
from contextlib import redirect_stderr
from pathlib import Path

import yaml
from plumbum import cli

from .ask import choose, somebody, type_in
from .cli import Command
from .cluster import Cluster, is_here, ssh_says, troubles
from .place import check_free, commit_first, settle, workshop
from .probe import NEARLY_FULL, fits, is_slice, model_of, narrowed, same
from .source import find_source
from .texts import LANGUAGES, MISUSE, Trouble, complain, language, message, part, say, speak, spoken, warn, wording

LONG_WAIT = 1800
"""Seconds until Slurm would start a session from which something cheaper is looked for."""


class New(Command):
    """Make a folder."""

    DESCRIPTION = message("help_new")
    USAGE = message("usage_new")
    defaults = cli.Flag(["-l", "--defaults"], help=message("help_defaults"))
    offline = cli.Flag("--offline", help=message("help_offline"))
    data = cli.SwitchAttr(["-d", "--data"], str, argname="NAME=VALUE", list=True, help=message("help_data"))

    def main(self, folder=None):
        """Ask, make the folder, say what comes next; return the exit status."""
        data = {}
        for word in self.data:
            name, given, data[name] = word.partition("=")
            if not given:
                raise Trouble("data_without_value", MISUSE, word=word)
        if not self.defaults and not somebody():
            raise Trouble("nobody_to_ask")
        return make(folder, data, self.defaults, self.offline)


def make(folder, data, defaults, offline):
    """Make the folder from these answers and those of whoever is asked; return the exit status."""
    source, commit = find_source()
    if "language" not in data:
        data["language"] = spoken() if defaults else choose_language()
    speak(data["language"])
    if folder is None:
        folder = "my-project" if defaults else type_in(message("which_folder"), "my-project", lambda name: bool(name))
    folder = Path(os.path.abspath(Path(folder).expanduser()))
    check_free(folder)
    if "cluster" not in data and (cluster := cluster_here() or not defaults and choose_cluster()):
        data["cluster"] = cluster
    facts = clusters().get(data.get("cluster"))
    personal, cluster = {}, None
    if facts and facts["scheduler"] == "slurm" and not offline:
        personal, cluster = meet(facts, data, defaults)
    if cluster:
        cluster = take_live(cluster, facts, data, defaults)
    with workshop(folder) as place:
        made = place / "0" / folder.name
        copy(source, commit, made, data, defaults)
        if cluster:
            made = look_for_sooner(cluster, made, facts | data["live"]["facts"], defaults)
        if personal:
            (made / "personal.yml").write_text("".join(f"{name}: {value}\n" for name, value in personal.items()))
        key, values = commit_first(made, folder)
        answers = answers_of(made)
        settle(made, folder)
    doubt_account(answers, facts, data)
    (warn if key != "git_keeps" else say)(key, folder=folder, **values)
    say_what_next(folder, answers, facts)
    return 1 if key == "git_failed" else 0


# --- before copying ---------------------------------------------------------------------------------------------------


def choose_language():
    """Return the language that somebody chooses; it is asked for in each."""
    before, titles = language(), {}
    for name in LANGUAGES:
        speak(name)
        titles[message("language_name")] = name
    speak(before)
    return choose(message("which_language"), titles, spoken())


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
    """Return what is to be kept in personal.yml, and the Cluster to ask; None where there is none, or nobody to log in."""
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


def take_live(cluster, facts, data, defaults):
    """Ask the cluster, and put what it says into the data; return the cluster, None where it does not answer."""
    try:
        live = cluster.live()
    except troubles() as error:
        complain(error)
        warn("live_not_known", cluster=data["cluster"])
        return None
    if len(live.missing) == 4:
        warn("live_not_known", cluster=data["cluster"])
        return None
    # bash asks for the dash, too
    accounts = {
        name: endings for name, endings in live.accounts.items() if "-" in name or not facts["account_prefixes"]
    }
    python, r, julia = (live.modules.get(name, []) for name in ("python", "r", "julia"))
    data["live"] = {
        "accounts": [[f"{name} ({'/'.join(ends)})" if len(ends) == 1 else name, name] for name, ends in accounts.items()],
        "facts": narrowed(facts, live),
        "python": python[:12],
        "r": r[:1],
        "julia": julia[:1],
    }
    if "gpu_model" in data:
        data["live"]["facts"].pop("gpu_requests", None)
    if defaults and len(accounts) == 1:
        data.setdefault("account", *accounts)
    found = [*accounts, *live.gpus]
    found += [f"{name} {versions[0]}" for name, versions in (("Python", python), ("R", r), ("Julia", julia)) if versions]
    say("live_found", cluster=data["cluster"], found=", ".join(found))
    if live.missing:
        warn("live_partly", cluster=data["cluster"], names=", ".join(map(message, live.missing)))
    for quota in live.quotas:
        if max(quota.space, quota.files) >= NEARLY_FULL:
            warn("quota_nearly_full", place=quota.place, space=f"{quota.space:.0%}", files=f"{quota.files:.0%}")
    return cluster


# --- copying ----------------------------------------------------------------------------------------------------------


def copy(source, commit, made, data, defaults):
    """Have Copier ask and write; raises Trouble with its words in one line."""
    import copier

    try:
        # its remarks on git's tags; its questions are on standard output
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            copier.run_copy(source, made, data=data, defaults=defaults, quiet=True, vcs_ref=commit)
    except KeyboardInterrupt:
        raise
    except Exception as error:  # noqa: BLE001 - an answer that it cannot take may end it with any
        raise Trouble("copier_ended", words=words_of(error)) from error


def words_of(error):
    """Return what Copier says, in one line; what the template itself says stands in a lookup (questions/given.jinja)."""
    text = str(error)
    if own := re.fullmatch(r"'None' has no attribute ['\"](.*)['\"]", text, re.DOTALL):
        return own[1]
    if own := re.fullmatch(r"Validation error for question '(\w+)': (.*)", text, re.DOTALL):
        return f"{own[1]}: {own[2]}"
    return next((line.strip(" |") for line in reversed(text.splitlines()) if line.strip(" |")), type(error).__name__)


def answers_of(folder):
    """Return the answers that a folder was made from."""
    settings = yaml.safe_load((folder / "settings.yml").read_text(encoding="utf-8"))
    return {name: value for name, value in settings.items() if not name.startswith("_")}


# --- when would it start? ---------------------------------------------------------------------------------------------


def look_for_sooner(cluster, made, facts, defaults):
    """Say when Slurm would start the session; where that is late, offer what starts sooner. Return the folder to keep."""
    answers = answers_of(made)
    if facts.get("gpu_login_host") and answers["gpus"]:
        # which takes no jobs with GPUs where this was asked
        return made
    waits = ask_slurm(cluster, [made])
    if 0 not in waits:
        say("no_estimate")
        return made
    say("estimate", time=spelt(waits[0]))
    changes = cheaper(answers, facts) if waits[0] >= LONG_WAIT else []
    folders = [changed(made, number, change) for number, change in enumerate(changes, start=1)]
    titles = {message("keep_it", time=spelt(waits[0])): made}
    for number, wait in ask_slurm(cluster, folders).items():
        if wait * 2 <= waits[0]:
            what = message("fewer_hours" if "hours" in changes[number] else "a_slice", **changes[number])
            titles[message("sooner", what=what, time=spelt(wait))] = folders[number]
    if defaults:
        print("".join(f"{title}\n" for title in list(titles)[1:]), end="")
    return made if defaults or len(titles) == 1 else choose(message("which_resources"), titles)


def cheaper(answers, facts):
    """Return what could be asked for in its stead: [{name: value}, ...]."""
    others = []
    if answers["hours"] > 1:
        others.append({"hours": 3 if answers["hours"] > 3 else 1})
    model = answers["gpu_model"]
    slices = [
        name
        for name in map(model_of, facts["gpu_requests"])
        if is_slice(name) and same(name).startswith(f"{same(model)}_")
    ]
    if answers["gpus"] == 1 and slices and not is_slice(model):
        # the largest stands last; what comes with it, as the questions propose it
        cores, memory = (entry_of(facts[name], slices[-1]) for name in ("gpu_cores", "gpu_memory_gb"))
        own = {"cores": int(cores), "memory_per_core_mb": int(memory) * 1024 // int(cores)} if cores and memory else {}
        others.append({"gpu_model": slices[-1], **own})
    return others


def entry_of(entries, model):
    """Return the number that a list such as h100:48 has for a model, "" if none."""
    found = [entry.rpartition(":")[2] for entry in entries if model.startswith(model_of(entry))]
    return found[0] if found and found[0].isdigit() else ""


def changed(made, number, change):
    """Return another folder, with other answers."""
    other = shutil.copytree(made, made.parents[1] / str(number) / made.name, symlinks=True)
    settings = other / "settings.yml"
    text = settings.read_text(encoding="utf-8")
    for name, value in change.items():
        text = re.sub(rf"(?m)^{name}: .*$", f"{name}: {value}", text)
    settings.write_text(text, encoding="utf-8")
    return other


def ask_slurm(cluster, folders):
    """Return {number of the folder: seconds until Slurm would start its session}."""
    requests = [options_of(folder) for folder in folders]
    if not requests or not all(requests):
        return {}
    try:
        return cluster.waits(requests)
    except troubles() as error:
        complain(error)
        return {}


def options_of(folder):
    """Return Slurm's options for the folder's session, as its own script has them; none where that cannot run."""
    command = ["/bin/bash", "-p", str(folder / "submit_session.sh"), "--print"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    options = re.findall(r"(?m)^#SBATCH (--\S+)$", done.stdout)
    return [option for option in options if not option.startswith(("--job-name", "--output", "--no-requeue"))]


def spelt(seconds):
    """Return a wait in words."""
    minutes = seconds // 60
    if minutes < 1:
        return message("at_once")
    if minutes < 60:
        return message("in_minutes", minutes=minutes)
    if minutes < 48 * 60:
        return message("in_hours", hours=minutes // 60, minutes=f"{minutes % 60:02}")
    return message("in_days", days=minutes // 1440)


# --- afterwards -------------------------------------------------------------------------------------------------------


def doubt_account(answers, facts, data):
    """Warn of an account that does not begin as usual, unless the cluster itself has named it."""
    account = answers["account"]
    prefixes = (facts or {}).get("account_prefixes") or [account.split("-")[0]]
    named = [name for _, name in data.get("live", {}).get("accounts", [])]
    if account.split("-")[0] not in prefixes and account not in named:
        complain(wording("unusual_account", account=account, prefixes="-, ".join(prefixes) + "-"))


def say_what_next(folder, answers, facts):
    """Say what comes next, in the words that Copier has for it."""
    facts = facts or {}
    host = answers.get("login_host") or facts.get("login_host", "")
    if answers["gpus"]:
        host = facts.get("gpu_login_host", host)
    after = "after_copy_local" if facts.get("scheduler") == "none" else "after_copy_cluster"
    print(wording(after, folder=shlex.quote(str(folder)), name=shlex.quote(folder.name), login=host))
