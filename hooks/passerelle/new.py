"""`passerelle new`: a folder made by Copier's own questions, which know what the cluster has; git keeps it."""

import io
import os
import re
import shlex
import warnings
from contextlib import redirect_stderr
from pathlib import Path

from plumbum import cli

from .ask import choose, somebody, type_in
from .cli import Command
from .cluster import troubles
from .meeting import choose_cluster, cluster_here, clusters, meet
from .place import check_free, commit_first, settle, workshop
from .probe import NEARLY_FULL, narrowed, rules
from .sooner import answers_of, look_for_sooner
from .source import find_source
from .texts import LANGUAGES, MISUSE, Trouble, complain, language, message, part, say, speak, spoken, warn, wording


class New(Command):
    """Make a folder."""

    DESCRIPTION = message("help_new")
    USAGE = message("usage_new")
    defaults = cli.Flag(["-l", "--defaults"], help=message("help_defaults"))
    offline = cli.Flag("--offline", help=message("help_offline"))
    data = cli.SwitchAttr(["-d", "--data"], str, argname="NAME=VALUE", list=True, help=message("help_data"))

    def main(self, folder=None):
        """Ask, make the folder, say what comes next; return the exit status."""
        data = take_answers(self.data)
        if not self.defaults and not somebody():
            raise Trouble("nobody_to_ask")
        return make(folder, data, self.defaults, self.offline)


def take_answers(words):
    """Return {name: value} for what is given by --data; Copier passes over what it does not ask."""
    data, known = {}, rules()
    names = [name for name in known if f"{name}_example" in known and name not in known["personal"].split()]
    for word in words:
        name, given, data[name] = word.partition("=")
        if not given:
            raise Trouble("data_without_value", MISUSE, word=word)
        if name not in names:
            raise Trouble("no_such_answer", MISUSE, word=word, known=", ".join(names))
    cluster = data.get("cluster", "other")
    # one that is retired is known, and its successor
    if not (part("template") / "plugins/clusters" / f"{cluster}.yml").is_file():
        raise Trouble("no_such_cluster", MISUSE, cluster=cluster, known=", ".join(clusters()))
    return data


def make(folder, data, defaults, offline):
    """Make the folder from these answers and those of whoever is asked; return the exit status."""
    source, commit = find_source()
    folder = place_for(folder) if folder else None
    if "language" not in data:
        data["language"] = spoken() if defaults else choose_language()
    speak(data["language"])
    if folder is None:
        usual = message("my_folder")
        folder = place_for(usual if defaults else type_in(message("which_folder"), usual, lambda name: bool(name)))
    if "cluster" not in data and (cluster := cluster_here() or not defaults and choose_cluster()):
        data["cluster"] = cluster
    facts = clusters().get(data.get("cluster"))
    personal, cluster = {}, None
    asking = facts and facts["scheduler"] == "slurm" and not offline
    while asking:
        personal, cluster = meet(facts, data, defaults)
        cluster, asking = take_live(cluster, facts, data, defaults) if cluster else (None, False)
    with workshop(folder) as bench:
        made = bench / "0" / folder.name
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
    say_what_next(folder, answers, facts, personal)
    return 1 if key == "git_failed" else 0


# --- before copying ---------------------------------------------------------------------------------------------------


def place_for(folder):
    """Return the full path of a folder that is to be made; raises Trouble where it cannot be."""
    folder = Path(os.path.abspath(Path(folder).expanduser()))
    check_free(folder)
    return folder


def choose_language():
    """Return the language that somebody chooses; it is asked for in each."""
    before, titles = language(), {}
    for name in LANGUAGES:
        speak(name)
        titles[message("language_name")] = name
    speak(before)
    return choose(message("which_language"), titles, spoken())


def take_live(cluster, facts, data, defaults):
    """Ask the cluster, and put what it says into the data.

    Return the cluster, None where it does not answer; and whether to ask again, because it has not let this user in.
    """
    place = data.get("login_host", data["cluster"])
    try:
        live = cluster.live()
    except troubles() as error:
        complain(error)
        if getattr(error, "key", "") == "no_connection":
            return None, True
        warn("live_not_known", cluster=place)
        return None, False
    if len(live.missing) == 4:
        warn("live_not_known", cluster=place)
        return None, False
    # bash asks for the dash, too
    accounts = {
        name: endings for name, endings in live.accounts.items() if "-" in name or not facts["account_prefixes"]
    }
    python, r, julia = (live.modules.get(name, []) for name in ("python", "r", "julia"))
    data["live"] = {
        "accounts": [
            [f"{name} ({'/'.join(ends)})" if len(ends) == 1 else name, name] for name, ends in accounts.items()
        ],
        "facts": narrowed(facts, live),
        "python": python[:12],
        "r": r[:1],
        "julia": julia[:1],
        "pip_source": "wheelhouse" if live.wheelhouse else "pypi",
    }
    if "gpu_model" in data:
        data["live"]["facts"].pop("gpu_requests", None)
    if defaults and len(accounts) == 1:
        data.setdefault("account", *accounts)
    found = [*accounts, *live.gpus]
    found += [
        f"{name} {versions[0]}" for name, versions in (("Python", python), ("R", r), ("Julia", julia)) if versions
    ]
    say("live_found", cluster=place, found=", ".join(found))
    # nobody is asked about quotas
    if missing := [source for source in live.missing if source != "source_quotas"]:
        warn("live_partly", cluster=place, names=", ".join(map(message, missing)))
    for quota in live.quotas:
        if max(quota.space, quota.files) >= NEARLY_FULL:
            warn("quota_nearly_full", place=quota.place, space=f"{quota.space:.0%}", files=f"{quota.files:.0%}")
    return cluster, False


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
    """Return what Copier says in one line; the template's own words stand in a lookup (questions/given.jinja)."""
    text = str(error)
    if own := re.fullmatch(r"'None' has no attribute ['\"](.*)['\"]", text, re.DOTALL):
        return own[1]
    if own := re.fullmatch(r"Validation error for question '(\w+)': (.*)", text, re.DOTALL):
        return f"{own[1]}: {own[2]}"
    return next((line.strip(" |") for line in reversed(text.splitlines()) if line.strip(" |")), type(error).__name__)


# --- afterwards -------------------------------------------------------------------------------------------------------


def doubt_account(answers, facts, data):
    """Warn of an account that does not begin as usual, unless the cluster itself has named it."""
    account = answers["account"]
    prefixes = (facts or {}).get("account_prefixes") or [account.split("-")[0]]
    named = [name for _, name in data.get("live", {}).get("accounts", [])]
    if account.split("-")[0] not in prefixes and account not in named:
        complain(wording("unusual_account", account=account, prefixes="-, ".join(prefixes) + "-"))


def say_what_next(folder, answers, facts, personal):
    """Say what comes next, in the words that Copier has for it; who logs in is known to whom it was said."""
    facts = facts or {}
    host = answers.get("login_host") or facts.get("login_host", "")
    if answers["gpus"]:
        host = facts.get("gpu_login_host", host)
    login = personal.get("ssh_host") or f"{personal.get('user', 'USER')}@{host}"
    whose = "" if personal else wording("after_copy_user")
    after = "after_copy_local" if facts.get("scheduler") == "none" else "after_copy_cluster"
    print(wording(after, folder=shlex.quote(str(folder)), name=answers["project_name"], login=login, user=whose))
