"""Brings this folder and the login node's together, by rsync.

.lab/synced-*.json holds what each file was on both sides when they last agreed. What has changed on one side goes
to the other; what has changed on both is named and left until the user chooses. Nothing is deleted, and what is
replaced is kept in .lab/replaced. What the login node says and sends is data: it arrives in .lab/incoming, and from
there come only files that were asked for, into this folder, which nothing here runs or reads as configuration.
"""

import contextlib
import difflib
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import NamedTuple

from .channel import Lost
from .messages import FOLDER, MISUSE, Trouble, message, printable, say, warn
from .paths import (
    STATE,
    amount,
    escaped,
    files_here,
    is_below,
    is_safe,
    is_script,
    make_state_folder,
    named,
    runs_here,
    shown,
    unescaped,
)  # fmt: skip
from .rsync import INCOMING, names_printed, rsync

LINK = ".copier-answers.yml"
"""The one link that is sent, as a link to settings.yml; no other is, and none is followed."""
SECOND = 10**9
"""In ns. A file's time tells whether it has changed again only when it is older: some file systems count whole ones."""
DIFFERENCE_LINES = 60
"""So many lines of a difference are shown at the most."""


class File(NamedTuple):
    """A file as one side has it. kind: "f", or "l" for a link; size in bytes; time in ns, None for one not to trust."""

    kind: str
    size: int
    runs: bool
    time: int


def sync(settings, channel, taken):
    """Bring this folder and the cluster's together; return the exit status."""
    if channel.connection.here:
        raise Trouble("not_on_your_computer", MISUSE)
    return Sync(settings, channel).run(taken["choices"])


class Sync:
    """One comparison of both sides, and what follows from it."""

    def __init__(self, settings, channel):
        self.channel, self.waiting = channel, channel.waiting
        self.login, self.folder = channel.connection.login, channel.connection.folder(settings)
        self.choices, self.whole = [], True

    # --- what lab does with it ----------------------------------------------------------------------------------------

    def run(self, choices=()):
        """Bring both sides together; return the exit status.

        choices: ("mine" or "theirs", path) for each file or folder of which the user has chosen a side
        """
        self.choices = choices
        if not self._through(self._both_ways) and self.whole:
            say("sync_same", login=self.login, folder=self.folder)
        return 0 if self.whole else 1

    def send(self):
        """Send what has changed here, and bring nothing; raises Trouble where the login node's must not be lost."""
        self._through(lambda: self._only_send(lambda path: True))

    def send_scripts(self):
        """Send what a session depends on, and all of a folder that is not there yet; raises as send does."""
        self._through(lambda: self._only_send(is_script))

    def _through(self, work):
        """Do the work, and again after a lost connection: it goes on where it was. One lab at a time does."""
        if not shutil.which("rsync"):
            raise Trouble("no_rsync")
        import fcntl

        make_state_folder()
        with open(STATE / "lock", "w", encoding="utf-8") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self.memory = Memory(self.login, self.folder)
                    return work()
                except BlockingIOError:
                    self.waiting.show("waiting_for_sync")
                    time.sleep(0.5)
                    self.channel.heed()
                except Lost:
                    self.channel.repair()
                finally:
                    self.waiting.done()

    def _both_ways(self):
        """Compare and carry; return whether there was anything to say."""
        here, there = self._look()
        self._check_choices(here, there)
        send, bring, conflicts, gone_here, gone_there = self._decide(here, there)
        for path in (conflicts := self._really_differ(conflicts, here, there)):
            self._warn("sync_conflict", path=shown(path), login=self.login)
        bring = self._without_code(bring, here, there)
        aside = [path for path in gone_here if self._chosen(path) == "mine"]
        gone_here = [path for path in gone_here if path not in aside]
        for key, paths in (("sync_gone_here", gone_here), ("sync_gone_there", gone_there)):
            if paths:
                self._say(key, login=self.login, names=named(paths), path=shown(paths[0]))
                # once is enough
                self.memory.keep_as_they_are(paths, here, there)
        self._put(send, here, there)
        brought = self._get(bring, here, there)
        self._put_aside(aside)
        agreed = self._agree(send, brought, there)
        for done, paths, files in (("sync_sent", send, here), ("sync_brought", brought, there)):
            if paths := [path for path in paths if path in agreed]:
                self._say(done, login=self.login, names=named(paths), size=size_of(paths, files))
        return send or bring or aside or conflicts or gone_here or gone_there

    def _only_send(self, wanted):
        """Send what is wanted of what has changed here; wanted(path) returns whether it is."""
        here, there = self._look()
        if there:
            here, there = ({path: file for path, file in side.items() if wanted(path)} for side in (here, there))
        send, bring, conflicts, gone_here, gone_there = self._decide(here, there)
        kept = self._really_differ(conflicts, here, there)
        # what is new there may be a result; a script would run in the session
        if kept := kept + [path for path in bring if is_script(path)]:
            self._show_differences(kept, there)
            for path in kept[:-1]:
                self._warn("sync_changed_there", path=shown(path), login=self.login)
            raise Trouble("sync_changed_there", path=shown(kept[-1]), login=self.login)
        send += [path for path in gone_there if is_script(path)]
        self._put(send, here, there)
        self._put_aside([path for path in gone_here if is_script(path)])
        self._agree(send, [], there)

    # --- looking ------------------------------------------------------------------------------------------------------

    def _look(self):
        """Return what is here and there, {path: File}, without what is not carried."""
        here, there, state = self._list()
        if state == "other":
            raise Trouble("other_folder", folder=self.folder, login=self.login)
        if state == "missing":
            self._say("sending_folder", login=self.login, folder=self.folder)
        link, known_link = here.pop(LINK, None), there.pop(LINK, None)
        for path in [path for path in {**here, **there} if not is_safe(path)]:
            here.pop(path, None), there.pop(path, None)
            self._warn("sync_strange_name", path=shown(path))
        for side, other, key in ((here, there, "sync_link_here"), (there, here, "sync_link_there")):
            for path in [path for path, file in side.items() if file.kind != "f"]:
                del side[path]
                if hidden := [below for below in other if is_below(below, path)]:
                    self._say(key, path=shown(path), login=self.login)
                for below in hidden:
                    del other[below]
        environments = tuple(path[: -len("pyvenv.cfg")] for path in {**here, **there} if path.endswith("/pyvenv.cfg"))
        for side in (here, there):
            for path in [path for path in side if path.startswith(environments)]:
                del side[path]
        if link and link.kind == "l" and not known_link and os.readlink(FOLDER / LINK) == "settings.yml":
            here[LINK] = link
        return here, there

    def _list(self):
        """Return all that is here, all that is there, and whether the folder there is "there", "missing" or "other"."""
        there, self.clock_here = {}, time.time_ns()
        for kind, *words in self.channel.call("files", self.folder):
            if kind == "file":
                there[unescaped(words[1])] = file_there(words[0])
            elif kind == "listed":
                state, self.clock_there = words[0], int(words[1]) * SECOND
                break
        here = {path: file for path in files_here(links=True) if (file := file_here(path))}
        return here, there, state

    def _check_choices(self, here, there):
        """Raise Trouble for a choice of what is not there; "mine" of what is only there takes it out of the way."""
        for side, path in self.choices:
            if not any(is_below(known, path) for known in ({**here, **there} if side == "mine" else there)):
                key = "sync_none_here" if side == "mine" else "sync_none_there"
                raise Trouble(key, MISUSE, path=shown(path), login=self.login)

    def _chosen(self, path):
        """Return which side the user has chosen for a path, or None."""
        return next((side for side, chosen in self.choices if is_below(path, chosen)), None)

    # --- deciding -----------------------------------------------------------------------------------------------------

    def _decide(self, here, there):
        """Return the paths to send, to bring, changed on both sides, gone here, and gone there."""
        send, bring, conflicts, gone_here, gone_there = [], [], [], [], []
        for path in sorted({**here, **there}):
            mine, theirs, choice = here.get(path), there.get(path), self._chosen(path)
            new_here, new_there = (self.memory.is_new(path, side, file) for side, file in enumerate((mine, theirs)))
            if mine and theirs and choice:
                (send if choice == "mine" else bring).append(path)
            elif mine and theirs and new_here and new_there:
                conflicts.append(path)
            elif mine and (theirs or path not in self.memory.files or choice == "mine"):
                if theirs is None or new_here or new_there:
                    (bring if new_there and theirs else send).append(path)
            elif theirs and choice != "mine" and (new_there or choice == "theirs"):
                bring.append(path)
            elif new_here or new_there or choice:
                (gone_there if mine else gone_here).append(path)
        return send, bring, conflicts, gone_here, gone_there

    def _really_differ(self, conflicts, here, there):
        """Return those of the paths whose contents differ; the others are agreed."""
        alike = [path for path in conflicts if here[path].size == there[path].size]
        if alike:
            options = ("--dry-run", "--checksum", "--out-format=%n")
            differ = names_printed(rsync(self.channel, self.folder, alike, *options))
            alike = [path for path in alike if path not in differ]
            self._remember(alike, here, there)
        return [path for path in conflicts if path not in alike]

    def _without_code(self, bring, here, there):
        """Return these paths without what would run here, unless the user wants it after seeing the difference."""
        code = [path for path in bring if runs_here(path)]
        wanted = [path for path in code if self._chosen(path) == "theirs"]
        if others := [path for path in code if path not in wanted]:
            self._warn("sync_code_there", login=self.login, names=named(others), path=shown(others[0]))
        if wanted:
            self._show_differences(wanted, there)
            if not self._agrees(wanted):
                self._warn("sync_not_taken", names=named(wanted), login=self.login)
                wanted = []
        return [path for path in bring if path not in code or path in wanted]

    def _agrees(self, paths):
        """Return whether the user takes these as shown; who cannot be asked has named them on the command line."""
        if not sys.stdin.isatty():
            return True
        print(message("sync_take", names=named(paths), login=self.login), end=" ", flush=True)
        answer = sys.stdin.readline().strip().lower()
        self.channel.heed()
        return bool(answer) and message("word_yes").startswith(answer)

    def _show_differences(self, paths, there):
        """Show how the login node's files differ from this folder's, a few lines of each."""
        self._fetch(paths, there)
        for path in paths:
            mine, theirs = (lines_of(folder / path) for folder in (FOLDER, INCOMING))
            difference = list(difflib.unified_diff(mine, theirs, path, f"{self.login}:{path}", lineterm=""))
            if len(difference) > DIFFERENCE_LINES:
                difference[DIFFERENCE_LINES:] = [f"... (+{len(difference) - DIFFERENCE_LINES})"]
            print("\n".join(map(printable, difference)), flush=True)

    # --- carrying -----------------------------------------------------------------------------------------------------

    def _put(self, paths, here, there):
        """Send files; what they replace is kept there."""
        if not paths:
            return
        (prepared,) = self.channel.ask("prepared", "prepare", self.folder)
        if prepared != "yes":
            raise Trouble("no_rsync_there" if prepared == "no_rsync" else "not_sent", login=self.login)
        options = ["-lp", "--backup", f"--backup-dir=.lab/replaced/{folder_of_now()}", "--temp-dir=.lab/incoming"]
        # what has become newer there since it was looked at is not replaced
        newer = {path for path in paths if path in there and there[path].time > here[path].time}
        forced = newer | {path for path in paths if self._chosen(path)}
        size = sum(here[path].size for path in paths)
        for some, more in (([path for path in paths if path not in forced], ["--update"]), (sorted(forced), [])):
            if some:
                rsync(self.channel, self.folder, some, *options, *more, key="sync_sending", size=size)

    def _fetch(self, paths, there):
        """Bring files into .lab/incoming; raises Trouble where there is no space for them."""
        size, free = sum(there[path].size for path in paths), shutil.disk_usage(FOLDER).free
        if size > free:
            raise Trouble("sync_no_space", size=amount(size), free=amount(free))
        INCOMING.mkdir(mode=0o700, exist_ok=True)
        rsync(self.channel, self.folder, paths, out=False, key="sync_bringing", size=size)

    def _get(self, paths, here, there):
        """Bring files and put them in their places; return those that are there."""
        brought, replaced = [], STATE / "replaced" / folder_of_now()
        if paths:
            self._fetch(paths, there)
        for path in paths:
            try:
                put_in_place(path, here.get(path), replaced / path)
                brought.append(path)
            except FileExistsError:
                self._warn("sync_changing", path=shown(path))
            except OSError as error:
                self._warn("not_written", path=shown(path), words=error.strerror)
        shutil.rmtree(INCOMING, ignore_errors=True)
        return brought

    def _put_aside(self, paths):
        """Take files out of the way on the login node that this folder has no more."""
        if paths:
            self.channel.ask("aside", "aside", self.folder, *map(escaped, paths))
        for path in paths:
            self._say("sync_aside", path=shown(path), login=self.login, folder=self.folder)

    def _agree(self, sent, brought, there):
        """Look again, and remember what is the same now; return the paths that are."""
        here_now, there_now, _ = self._list() if sent or brought else ({}, {}, "")
        agreed = [path for path in sent if path == LINK or alike(here_now.get(path), there_now.get(path))]
        agreed += [path for path in brought if there_now.get(path) == there[path] and path in here_now]
        for path in {*sent, *brought} - {*agreed}:
            self._warn("sync_changing", path=shown(path))
        for paths, written in ((sent, 1), (brought, 0)):
            self._remember([path for path in paths if path in agreed and path != LINK], here_now, there_now, written)
        self.memory.save()
        return agreed

    def _remember(self, paths, here, there, written=None):
        """Keep what these files are on both sides; written: the side on which lab has just written them, 0 for here."""
        for path in paths:
            files = [here[path], there[path]]
            for side, clock in enumerate((self.clock_here, self.clock_there)):
                # it may change once more within the second in which it was looked at
                if side != written and files[side].time > clock - 2 * SECOND:
                    files[side] = files[side]._replace(time=None)
            self.memory.files[path] = [list(file) for file in files]

    def _say(self, key, **values):
        """Say what was done."""
        self.waiting.done()
        say(key, **values)

    def _warn(self, key, **values):
        """Say what has not been done."""
        self.waiting.done()
        warn(key, **values)
        self.whole = False


class Memory:
    """What both sides were when they last agreed: {path: [the File here, the File there]}, None for none.

    Where a memory is lost, nothing else is: files that are the same are found to be so by their sums.
    """

    def __init__(self, login, folder):
        self.whose, self.files = [login, str(folder)], {}
        name = hashlib.sha256(f"{login}:{folder}".encode()).hexdigest()[:12]
        self.path = STATE / f"synced-{name}.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            self.files = kept["files"] if kept["whose"] == self.whose else {}

    def is_new(self, path, side, file):
        """Return whether a file is another one than it was. side: 0 for here, 1 for there."""
        return path not in self.files or self.files[path][side] != (list(file) if file else None)

    def keep_as_they_are(self, paths, here, there):
        """Remember that these differ, and that the user knows."""
        for path in paths:
            self.files[path] = [list(side[path]) if path in side else None for side in (here, there)]

    def save(self):
        """Write it down."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"whose": self.whose, "files": self.files}), encoding="utf-8")
        os.replace(new, self.path)


def file_here(path):
    """Return the File at a path of the folder on this computer, None where there is none."""
    try:
        status = os.lstat(FOLDER / path)
    except OSError:
        return None
    kind = {0o100000: "f", 0o120000: "l"}.get(status.st_mode & 0o170000, "?")
    return File(kind, status.st_size, bool(status.st_mode & 0o100), status.st_mtime_ns)


def file_there(state):
    """Return the File that requests.sh tells of as type:size:time:mode."""
    kind, size, seconds, mode = state.split(":")
    whole, _, part = seconds.partition(".")
    return File(kind, int(size), bool(int(mode, 8) & 0o100), int(whole) * SECOND + int(part[:9].ljust(9, "0")))


def alike(mine, theirs):
    """Return whether both sides' files look the same; a file system or an old rsync may keep whole seconds only."""
    if not (mine and theirs and mine[:3] == theirs[:3]):
        return False
    whole = 0 in (mine.time % SECOND, theirs.time % SECOND)
    return mine.time // SECOND == theirs.time // SECOND if whole else mine.time == theirs.time


def put_in_place(path, seen, replaced):
    """Put a file that has come in its place, and what it replaces into `replaced`.

    Raises FileExistsError where this folder is not what was seen, or no file has come, and OSError.
    """
    new, target = INCOMING / path, FOLDER / path
    parents = [FOLDER / parent for parent in Path(path).parents]
    if any(parent.is_symlink() or (parent.exists() and not parent.is_dir()) for parent in parents[:-1]):
        raise FileExistsError
    if new.is_symlink() or not new.is_file() or file_here(path) != seen:
        raise FileExistsError
    target.parent.mkdir(parents=True, exist_ok=True)
    if seen:
        replaced.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(target, replaced)
    # as it was here, or as any new file of this user; what comes gets no right to run
    umask = os.umask(0o077)
    os.umask(umask)
    new.chmod(target.stat().st_mode & 0o777 if seen else 0o666 & ~umask)
    os.replace(new, target)


def lines_of(path):
    """Return the lines of a file; none where there is no file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def size_of(paths, files):
    """Return how large these files are together, for a message."""
    return amount(sum(files[path].size for path in paths))


def folder_of_now():
    """Return the time as the name of a folder."""
    return time.strftime("%Y%m%d-%H%M%S")
