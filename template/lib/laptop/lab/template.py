"""The folder's template: where it is, which version of it the folder has, and what its repository says is new.

What the repository says is data: names of tags that are versions, sums, and the text of CHANGELOG.md.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from both.limits import LIMITS
from both.messages import FOLDER

from .paths import STATE, make_state_folder

ASKED = STATE / "template-asked"
"""Its time is when `lab open` has asked last."""
DAY = 86400
VERSION = re.compile(r"v?([0-9]+(?:\.[0-9]+)+)")
_SHORT = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}
# nobody is asked anything, and what does not answer ends
_GIT = ["git", "-c", "http.lowSpeedLimit=1", "-c", f"http.lowSpeedTime={LIMITS.TEMPLATE_ANSWER}"]
_SSH = f"ssh -o BatchMode=yes -o ConnectTimeout={LIMITS.TEMPLATE_ANSWER}"


class Origin:
    """What Copier's own lines in settings.yml say: version, source, and the place of the source; "" for none."""

    def __init__(self):
        self.version, self.source, self.place = "", "", ""
        text = (FOLDER / "settings.yml").read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.split("\n"), start=1):
            name, _, value = line.strip().partition(": ")
            if name in ("_commit", "_src_path"):
                with contextlib.suppress(ValueError):
                    value = json.loads(value)
                if name == "_commit":
                    # what git takes for a version, and for no option
                    self.version = str(value) if re.fullmatch(r"\w[\w.+-]*", str(value)) else ""
                else:
                    self.source, self.place = str(value), f"settings.yml:{number}"

    @property
    def address(self):
        """Return the source as git takes it; Copier has short names for two hosts."""
        if self.source[:3] in _SHORT:
            return _SHORT[self.source[:3]] + self.source[3:].lstrip("/").removesuffix(".git") + ".git"
        return os.path.expanduser(self.source.removeprefix("git+"))

    @property
    def folder(self):
        """Return the template's folder on this computer; None for an address."""
        return None if ":" in self.source or not self.source else FOLDER / Path(self.source).expanduser()


# --- is there a newer one? --------------------------------------------------------------------------------------------


class Asked:
    """The repository, asked for its versions in the background: nobody waits for it, and no network is no trouble."""

    def __init__(self):
        """Begin to ask, where there is git and a template that the folder comes from."""
        self.process, origin = None, Origin()
        self.version = origin.version
        if not (origin.source and origin.version and shutil.which("git")):
            return
        words = [*_GIT, "ls-remote", "--", origin.address, "HEAD", "refs/tags/*"]
        quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GIT_SSH_COMMAND": _SSH}
        self.deadline = time.monotonic() + LIMITS.TEMPLATE_ANSWER
        with contextlib.suppress(OSError):
            self.answers = tempfile.TemporaryFile()  # noqa: SIM115 - gone with this object
            self.process = subprocess.Popen(
                words, cwd=FOLDER, env={**os.environ, **quiet}, stdin=subprocess.DEVNULL, stdout=self.answers,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def versions(self):
        """Return {version or tag: sum}, "HEAD" among them; None as long as there is no answer, {} where none comes."""
        if not self.process:
            return {}
        if self.process.poll() is None and time.monotonic() < self.deadline:
            return None
        self.close()
        if self.process.returncode:
            return {}
        self.answers.seek(0)
        lines = self.answers.read().decode("ascii", "replace").splitlines()
        # a clone has other names that end in HEAD
        found = (
            re.fullmatch(r"([0-9a-f]{40,64})\t(?:refs/tags/|(?=HEAD$))([^\t^]+)(?:\^\{\})?", line) for line in lines
        )
        # the commit of a tag follows the tag itself
        return {line[2]: line[1] for line in found if line}

    def newer(self):
        """Return the version that the folder could have, "" for none, None as long as there is no answer."""
        known = self.versions()
        return None if known is None else newer(known, self.version)

    def wait(self):
        """Return what newer says, once there is an answer."""
        while (found := self.newer()) is None:
            time.sleep(0.05)
        return found

    def close(self):
        """End what has not answered."""
        if self.process and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                # git has others ask for it
                os.killpg(self.process.pid, signal.SIGKILL) if os.name != "nt" else self.process.kill()
            self.process.wait()


def newer(known, version):
    """Return which of the versions that are known is newer than the folder's, "" for none.

    known: {tag: sum}; a version is a tag, a tag and what came after it (git describe), or the beginning of a sum
    """
    tags = [tag for tag in known if VERSION.fullmatch(tag)]
    newest = max(tags, key=numbers, default="HEAD")
    if newest not in known or known[newest].startswith(version.rpartition("-g")[2]):
        return ""
    if newest == "HEAD":
        return known["HEAD"][:7]
    own = VERSION.match(version)
    return newest if not own or numbers(newest) > numbers(own[0]) else ""


def numbers(version):
    """Return a version's numbers, to compare them."""
    return [int(number) for number in VERSION.match(version)[1].split(".")]


def ask_today():
    """Ask, unless that was done within a day: return an Asked, or None."""
    with contextlib.suppress(OSError):
        make_state_folder()
        if ASKED.exists() and abs(time.time() - ASKED.stat().st_mtime) < DAY:
            return None
        ASKED.touch()
        return Asked()
    # a folder that cannot be written, such as a class's
    return None


# --- what is new in it? -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def repository(origin):
    """Yield a function that runs git in the template's repository and returns what it prints, or None if it fails."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

    def run(*words, at=None):
        try:
            done = subprocess.run(
                [*_GIT, "-C", str(at or place), *words], env=environment, stdin=subprocess.DEVNULL,
                capture_output=True, timeout=LIMITS.TEMPLATE_NEWS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None
        return None if done.returncode else done.stdout.decode("utf-8", "replace")

    with contextlib.ExitStack() as stack:
        place = origin.folder
        if not place:
            place = stack.enter_context(tempfile.TemporaryDirectory())
            run("clone", "--quiet", "--bare", "--filter=blob:none", "--", origin.address, ".", at=place)
        yield run


def news(run, before, after):
    """Return the entries of CHANGELOG.md that the version `after` has and `before` has not, newest first.

    run: what `repository` yields; each entry is one line
    """
    old, new = (run("show", f"{version}:CHANGELOG.md") for version in (before, after))
    known, entries = set(_entries(old or "")), []
    for heading, text in re.findall(r"(?ms)^## ([^\n]*)\n(.*?)(?=^## |\Z)", new or ""):
        named = re.search(r"\(([0-9a-f]{7,40})\)", heading)
        if named and run("merge-base", "--is-ancestor", named[1], before) is not None:
            break
        entries += [entry for entry in _entries(text) if entry not in known]
    return entries


def _entries(text):
    """Return the points of a list, each in one line, without Markdown's marks of code."""
    return [" ".join(entry.split()).replace("`", "") for entry in re.findall(r"(?ms)^- (.*?)(?=^- |^#|\n\n|\Z)", text)]


def sums_of(run, version):
    """Return {path: sum} of the files that a version gives to a folder; {} where that is not known."""
    lines = (run("ls-tree", "-r", "-z", f"{version}:template") or "").split("\0")
    return {path: words.split()[2] for words, _, path in (line.partition("\t") for line in lines if line)}
