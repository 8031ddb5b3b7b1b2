"""`lab update`: brings the folder up to date with its template, by Copier: a clean commit first, then what is new."""

import os
import re
import shutil
import subprocess
import sys

from both.messages import FOLDER, MISUSE, Trouble, answered, message, say, warn

from . import template
from .paths import files_here, is_undecided, named, shown
from .settings import SettingsError, read_flat, read_rules


def update(taken):
    """Run `copier update` in the folder; options go to Copier. Return its status.

    Raises Trouble for what would keep Copier from it, where it has failed, and for files that hold both versions of a
    line afterwards. `passerelle update` runs this on a folder whose own lab is older.
    """
    copier = ["copier"] if shutil.which("copier") else ["uvx", "copier"]
    if not shutil.which(copier[0]):
        raise Trouble("no_copier")
    if not (FOLDER / "settings.yml").exists():
        raise Trouble("no_settings", MISUSE, folder=FOLDER)
    # Copier's own words for a line that it cannot read are a traceback
    settings = read_flat(FOLDER / "settings.yml")
    # said after an update in today's words, though the texts are others then
    message("updated")
    _check_git()
    before = template.Origin()
    if before.folder and not before.folder.exists():
        raise Trouble("update_from_nowhere", place=before.place, source=before.source)
    asked = template.Asked()
    if undecided := _undecided():
        raise Trouble("update_unfinished", names=undecided)
    _commit_what_is_not(ask=sys.stdin.isatty() and not {"-l", "--defaults"} & set(taken["rest"]))
    asked.wait()
    # the link .copier-answers.yml, which leads there, does not exist on Windows; what has changed is said below
    words = ["update", "--quiet", "--answers-file", "settings.yml", *taken["rest"]]
    if list(asked.versions()) == ["HEAD"] and not any(word.startswith(("-r", "--vcs-ref")) for word in words):
        # what Copier would take as well, with a warning
        words += ["--vcs-ref", "HEAD"]
    status = _run([*copier, *words])
    if status != 0:
        warn("update_halfway" if _git("status", "--porcelain", "--", ".") else "update_not_made")
        return status
    _say_what_has_changed(settings, before)
    _name_what_nobody_asks(taken["rest"])
    if undecided := _undecided():
        raise Trouble("update_undecided", names=undecided)
    say("updated" if _git("status", "--porcelain", "--", ".") else "update_nothing_new")
    return 0


def _run(copier):
    """Run Copier in the folder and return its status; of a traceback, only what it ends with is shown."""
    broken = ""
    with subprocess.Popen(copier, cwd=FOLDER, stderr=subprocess.PIPE, encoding="utf-8", errors="replace") as process:
        for line in process.stderr:
            if broken or line.startswith("Traceback (most recent call last):"):
                broken = line.strip() or broken
            else:
                print(line, end="", file=sys.stderr, flush=True)
    if broken:
        warn("copier_failed", words=broken)
    return process.returncode


def _git(*words, key="git_failed"):
    """Return what git prints in the folder; raises Trouble with its last words."""
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(["git", *words], cwd=FOLDER, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().split("\n")
        raise Trouble(key, words=next((line for line in said if line.startswith("fatal: ")), said[-1]))
    return done.stdout.decode("utf-8", "surrogateescape")


# --- before -----------------------------------------------------------------------------------------------------------


def _check_git():
    """Raise Trouble where there is no git, and for a folder that it does not know, has no commit of, or refuses."""
    if not shutil.which("git"):
        raise Trouble("no_git")
    try:
        _git("rev-parse", "--verify", "HEAD")
    except Trouble as trouble:
        # another's folder is not to be put under git
        if "dubious ownership" in trouble.values["words"]:
            raise Trouble("git_failed", **trouble.values) from None
        raise Trouble("update_without_git") from None


def _undecided():
    """Return the files that hold both versions of a line, each with the number of the first such line."""
    places = []
    for path in sorted(path for path, _ in files_here() if is_undecided(path)):
        lines = (FOLDER / path).read_bytes().split(b"\n")
        number = next(number for number, line in enumerate(lines, 1) if line.startswith(b"<<<<<<< before updating"))
        places.append(f"{shown(path)}:{number}")
    return ", ".join(places)


def _commit_what_is_not(ask):
    """Commit what has changed, as Copier compares with a commit; raises Trouble where the user does not want that.

    ask: whether there is somebody who can be asked
    """
    changed = _git("status", "--porcelain", "-z", "--no-renames", "--", ".").split("\0")[:-1]
    if not changed:
        return
    names = named([line[3:] for line in changed])
    if ask and not answered("update_commit", message("word_yes"), names=names):
        raise Trouble("update_uncommitted", names=names)
    try:
        _git("var", "GIT_COMMITTER_IDENT")
    except Trouble:
        # nor could the user make a commit by hand
        raise Trouble("git_unknown_user") from None
    if not ask:
        raise Trouble("update_uncommitted", names=names)
    _git("add", "--all", "--", ".", key="update_not_committed")
    # what else of a larger repository is prepared for a commit stays so
    _git("commit", "--quiet", "--message", message("update_commit_says"), "--", ".", key="update_not_committed")


# --- after ------------------------------------------------------------------------------------------------------------


def _say_what_has_changed(settings, before):
    """Say what is new, which settings are others now, and what of the user's own is no longer there.

    settings, before: the folder's settings, and its Origin, before the update
    """
    after = template.Origin()
    if after.version != before.version:
        say("update_versions", before=before.version, after=after.version)
    _say_settings(settings)
    with template.repository(after) as run:
        entries = template.news(run, before.version, after.version)
        if entries:
            say("update_news")
        for entry in entries:
            say("update_entry", text=entry)
        _name_what_is_gone(template.sums_of(run, before.version))


def _say_settings(before):
    """Say which settings are new, others or gone."""
    try:
        after = read_flat(FOLDER / "settings.yml")
    except SettingsError:
        # said at the next use
        return
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = (_spelt(settings.get(name)) for settings in (before, after))
        if old is None:
            say("update_setting_new", name=name, value=new)
        elif new is None:
            say("update_setting_gone", name=name, value=old)
        elif old != new:
            say("update_setting_changed", name=name, before=old, after=new)


def _name_what_nobody_asks(options):
    """Warn of answers, given by --data, to what is no setting: Copier passes over them."""
    words, rules = iter(options), read_rules()
    for word in words:
        if word in ("-d", "--data"):
            answer = next(words, "")
        else:
            given = re.match("--data=|-d", word)
            answer = word[given.end() :] if given else ""
        name, is_one, _ = answer.partition("=")
        if is_one and name not in rules:
            warn("no_such_setting", place="--data", name=name)


def _spelt(value):
    """Return a setting's value as the file has it."""
    return f"[{', '.join(value)}]" if isinstance(value, list) else value


def _name_what_is_gone(sums):
    """Warn of files that the template no longer has and the user had changed; their last commit has them.

    sums: {path: sum} of the version that the folder had
    """
    options = ("--relative", "--name-only", "--diff-filter=D", "--no-renames", "-z")
    for path in _git("diff", *options, "HEAD", "--", ".").split("\0")[:-1]:
        if path in sums and _git("rev-parse", f"HEAD:./{path}").strip() != sums[path]:
            place = f"{_git('rev-parse', '--short', 'HEAD').strip()}:./{path}"
            warn("update_edit_gone", path=shown(path), place=shown(place))
