"""When would Slurm start the session that was chosen, and what would start sooner?"""

import re
import shutil
import subprocess

import yaml

from .ask import choose
from .cluster import troubles
from .probe import is_slice, model_of, same
from .texts import complain, message, say, warn

LONG_WAIT = 1800
"""Seconds until Slurm would start a session from which something cheaper is looked for."""


def look_for_sooner(cluster, made, facts, defaults):
    """Say when Slurm would start the session; where that is late, offer what starts sooner.

    Return the folder to keep: what was made, or another one beside it.
    """
    answers = answers_of(made)
    if facts.get("gpu_login_host") and answers["gpus"]:
        # which takes no jobs with GPUs where this was asked
        return made
    waits, refusal = ask_slurm(cluster, [made])
    if refusal:
        warn("would_be_refused", words=refusal)
        return made
    if 0 not in waits:
        say("no_estimate")
        return made
    say("estimate", time=spelt(waits[0]))
    changes = cheaper(answers, facts) if waits[0] >= LONG_WAIT else []
    folders = [changed(made, number, change) for number, change in enumerate(changes, start=1)]
    titles = {message("keep_it", time=spelt(waits[0])): made}
    for number, wait in ask_slurm(cluster, folders)[0].items():
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
    """Return {number of the folder: seconds until Slurm would start its session}, and why it refuses the first."""
    requests = [options_of(folder) for folder in folders]
    if not requests or not all(requests):
        return {}, ""
    try:
        return cluster.waits(requests)
    except troubles() as error:
        complain(error)
        return {}, ""


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


def answers_of(folder):
    """Return the answers that a folder was made from."""
    settings = yaml.safe_load((folder / "settings.yml").read_text(encoding="utf-8"))
    return {name: value for name, value in settings.items() if not name.startswith("_")}
