"""Brings this folder and the login node's together, by rsync.

.lab/synced-*.json holds what each file was on both sides when they last agreed. What has changed on one side goes
to the other; what has changed on both is named and left until the user chooses. Nothing is deleted, and what is
replaced is kept in .lab/replaced for LIMITS.REPLACED_DAYS. What the login node says and sends is data: it arrives in
.lab/incoming, and from there come only files that were asked for, into this folder, which nothing here runs or reads as
configuration.
"""

import contextlib
import difflib
import hashlib
import json
import os
import shutil
import stat
import sys
import time
from pathlib import PurePosixPath
from typing import NamedTuple

from both.limits import LIMITS
from both.messages import FOLDER, MISUSE, Trouble, answered, message, printable, say, warn

from .paths import (
    LOCK,
    LOCK_SUMS,
    STATE,
    amount,
    escaped,
    files_here,
    is_below,
    is_broken_by_windows,
    is_safe,
    is_script,
    is_undecided,
    make_state_folder,
    named,
    runs_here,
    shown,
    sum_of,
    unescaped,
    with_parents,
)  # fmt: skip
from .rsync import INCOMING, Broken, check_rsync, check_rsync_is_safe, failed, rsync

LINK = ".copier-answers.yml"
"""The one link that is sent, as a link to settings.yml; no other is, and none is followed."""
SECOND = 10**9
"""In ns. A file's time tells whether it has changed again only when it is older: some file systems count whole ones."""
SUMS = 500
"""So many files' sums are asked for at once."""
ATTEMPTS = 3
"""So often in a row rsync may end before it has carried anything."""
RESULTS_NAMED = 20
"""So many of the files that are brought are named."""
DIFFERENCE_LINES = 60
"""So many lines of a difference are shown at the most, unless they are to be taken."""
DIFFERENCE_SIZE = 1 << 20
"""No larger file is brought to show how it differs."""


class File(NamedTuple):
    """A file as one side has it. kind: "f", or "l" for a link; size in bytes; time in ns, None for one not to trust."""

    kind: str
    size: int
    runs: bool
    time: int

    def is_like(self, known):
        """Return whether it is a file that is known, as far as its time can be trusted."""
        return known is not None and self[:3] == known[:3] and known.time in (None, self.time)


class Changing(Exception):
    """What has come is a file, and not the one that was told: it has been written meanwhile."""


class Plan:
    """What follows from a comparison: lists of paths."""

    def __init__(self):
        self.send, self.bring, self.conflicts, self.aside = [], [], [], []
        self.gone_here, self.gone_there = [], []


def sync(settings, channel, taken):
    """Bring this folder and the cluster's together; return the exit status."""
    if channel.connection.here:
        raise Trouble("not_on_your_computer", MISUSE)
    try:
        return Sync(settings, channel).run(taken["choices"])
    except KeyboardInterrupt:
        warn("sync_interrupted")
        return 130


class Sync:
    """One comparison of both sides, and what follows from it."""

    def __init__(self, settings, channel):
        self.channel, self.waiting = channel, channel.waiting
        self.login, self.folder = channel.connection.login, channel.connection.folder(settings)
        self.choices, self.whole, self.changing, self.left_out = [], True, [], set()

    # --- what lab does with it ----------------------------------------------------------------------------------------

    def run(self, choices=()):
        """Bring both sides together; return the exit status.

        choices: ("mine" or "theirs", path) for each file or folder of which the user has chosen a side
        """
        # what is said of a file is more than what is said of its folder
        self.choices = sorted(choices, key=lambda choice: len(PurePosixPath(choice[1]).parts), reverse=True)
        if not self._through(self._both_ways) and self.whole:
            say("sync_same", login=self.login, folder=self.folder)
        return 0 if self.whole else 1

    def send(self, notebook):
        """Send what has changed here, and bring nothing; raises Trouble where the login node's must not be lost."""
        self._through(lambda: self._only_send(lambda path: True, notebook))

    def send_scripts(self):
        """Send what a session depends on, and all of a folder that is not there yet; raises as send does."""
        # the versions of the environment go with what is asked for, and are there first as a rule
        self._through(lambda: self._only_send(lambda path: is_script(path) or path == LOCK))

    def _through(self, work):
        """Do the work, and again after a lost connection: it goes on where it was. One lab at a time does."""
        self.partial, failures = check_rsync(), 0
        make_state_folder()
        with open(STATE / "lock", "w", encoding="utf-8") as lock:
            self._wait_for(lock)
            while True:
                self.memory = Memory(self.login, self.folder)
                self.replaced = f".lab/replaced/{time.strftime('%Y%m%d-%H%M%S')}"
                forget_replaced()
                try:
                    return work()
                except Broken as broken:
                    failures = 0 if broken.units else failures + 1
                    if failures == ATTEMPTS:
                        raise failed(self.channel, broken.status, broken.words) from None

    def _wait_for(self, lock):
        """Wait until no other lab carries files of this folder."""
        import fcntl

        self.waiting.restart()
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                self.waiting.show("waiting_for_sync")
                time.sleep(0.5)
                self.channel.heed()

    def _both_ways(self):
        """Compare and carry; return whether there was anything to say."""
        self.changing = []
        here, there = self._look()
        self._check_choices(here, there)
        plan = self._decide(here, there)
        for path in plan.conflicts:
            self._warn("sync_conflict", path=shown(path), login=self.login)
        code = [path for path in plan.bring if runs_here(path)]
        brought = self._put_in_place(self._wanted(code, there), here, there)
        if news := LOCK in code and LOCK not in brought:
            # there after each build, and nothing to worry about
            say("sync_lock_there", login=self.login, path=LOCK)
        for key, paths, side in (("sync_gone_here", plan.gone_here, 0), ("sync_gone_there", plan.gone_there, 1)):
            # once is enough
            if paths := [path for path in paths if self.memory[path][side]]:
                news = True
                say(key, login=self.login, names=named(paths), path=shown(paths[0]))
                for path in paths:
                    self.memory[path] = [here.get(path), there.get(path)]
        self._put(plan.send, here, there)
        # the sums are those of the lock there
        results = [path for path in plan.bring if path not in code and not (news and path == LOCK_SUMS)]
        self._fetch(results, there)
        brought += self._put_in_place(results, here, there)
        shutil.rmtree(INCOMING, ignore_errors=True)
        self._put_aside(plan.aside)
        sent = self._agree(plan.send, plan.aside, here)
        for done, paths, files, most in (("sync_sent", sent, here, 5), ("sync_brought", brought, there, RESULTS_NAMED)):
            if paths:
                say(done, login=self.login, names=named(paths, most), size=amount(size_of(paths, files)))
        # what a job writes at this moment is no trouble
        if self.changing:
            say("sync_written_now", names=named(self.changing), login=self.login)
        return news or sent or brought or plan.aside or self.changing

    def _only_send(self, wanted, notebook=None):
        """Send what is wanted of what has changed here; wanted(path) returns whether it is."""
        here, there = self._look()
        # what the first time has left off is sent, too
        first = not self.memory
        here = {path: file for path, file in here.items() if wanted(path) or (first and path not in there)}
        there = {path: file for path, file in there.items() if wanted(path)}
        plan = self._decide(here, there)
        # what is new there may be a result; a script would run in the session
        if kept := plan.conflicts + [path for path in plan.bring if is_script(path) or path == notebook]:
            self._show_differences(kept, there, DIFFERENCE_LINES)
            for path in kept[:-1]:
                self._warn("sync_changed_there", path=shown(path), login=self.login)
            raise Trouble("sync_changed_there", path=shown(kept[-1]), login=self.login)
        send = plan.send + [path for path in plan.gone_there if is_script(path) or path == notebook]
        aside = [path for path in plan.gone_here if is_script(path)]
        self._put(send, here, there)
        self._put_aside(aside)
        self._agree(send, aside, here)

    # --- looking ------------------------------------------------------------------------------------------------------

    def _look(self):
        """Return what is here and there, {path: File}, without what is not carried."""
        there, state, self.clock_there = self._list()
        self.clock_here = time.time_ns()
        here = {path: file_of(status) for path, status in files_here()}
        if state == "other":
            raise Trouble("other_folder", folder=self.folder, login=self.login)
        if state == "missing":
            say("sending_folder", login=self.login, folder=self.folder)
        # what is on neither side any more
        for path in self.memory.keys() - here.keys() - there.keys():
            del self.memory[path]
        link, known_link = here.pop(LINK, None), there.pop(LINK, None)
        if strange := [path for path in {**here, **there} if not is_safe(path)]:
            self._warn("sync_strange_name", names=named(strange))
        # each with all that is below it
        self.left_out = left_out = set(strange)
        for side, other, key in ((here, there, "sync_folder_there"), (there, here, "sync_folder_here")):
            folders = {folder for path in other.keys() - left_out for folder in with_parents(path) if folder != path}
            for path in sorted(path for path in folders & side.keys() if side[path].kind == "f"):
                self._warn(key, path=shown(path), login=self.login)
                left_out.add(path)
        for side, other, key in ((here, there, "sync_link_here"), (there, here, "sync_link_there")):
            links = {path for path, file in side.items() if file.kind != "f"} - left_out
            hiding = [links.intersection(with_parents(path)) for path in other.keys() - left_out]
            for path in sorted(set().union(*hiding)):
                say(key, path=shown(path), login=self.login)
            left_out |= links
        # environments are made for one computer
        left_out.update(path[: -len("/pyvenv.cfg")] for path in {**here, **there} if path.endswith("/pyvenv.cfg"))
        here, there = (
            {path: file for path, file in side.items() if left_out.isdisjoint(with_parents(path))}
            for side in (here, there)
        )
        if link and link.kind == "l" and not known_link and os.readlink(FOLDER / LINK) == "settings.yml":
            here[LINK] = link
        return here, there

    def _list(self):
        """Return all that is there, whether the folder is "there", "missing" or "other", and the time, in ns."""
        there = {}
        for kind, *words in self.channel.call("files", self.folder, again=True):
            if kind == "file":
                there[unescaped(words[1])] = file_there(words[0])
            elif kind == "listed":
                return there, words[0], int(words[1]) * SECOND

    def _check_choices(self, here, there):
        """Raise Trouble for a choice of what is not there; "mine" of what is only there takes it out of the way."""
        for side, path in self.choices:
            if not self.left_out.isdisjoint(with_parents(path)):
                # that has been said
                self.whole = False
            elif not any(is_below(known, path) for known in ({**here, **there} if side == "mine" else there)):
                key = "sync_none_here" if side == "mine" else "sync_none_there"
                raise Trouble(key, MISUSE, path=shown(path), login=self.login)

    def _chosen(self, path):
        """Return which side the user has chosen for a path and by which words, or two times None."""
        return next(((side, chosen) for side, chosen in self.choices if is_below(path, chosen)), (None, None))

    # --- deciding -----------------------------------------------------------------------------------------------------

    def _decide(self, here, there):
        """Return what follows from what is here and there."""
        plan, same = Plan(), self._same(here, there)
        for path in sorted({**here, **there}):
            mine, theirs, (choice, words) = here.get(path), there.get(path), self._chosen(path)
            known = self.memory[path]
            if path in same:
                # the content is; the right to run goes there, and never comes
                if mine.runs != (known[0].runs if known[0] else theirs.runs and mine.runs):
                    plan.send.append(path)
                else:
                    self._remember(path, mine, theirs)
            elif mine and theirs:
                changed = (mine != known[0], theirs != known[1])
                if any(changed):
                    side = choice or {(True, False): "mine", (False, True): "theirs"}.get(changed)
                    {"mine": plan.send, "theirs": plan.bring, None: plan.conflicts}[side].append(path)
            elif mine:
                (plan.gone_there if mine.is_like(known[0]) and choice != "mine" else plan.send).append(path)
            elif choice == "mine" and (words == path or runs_here(path)):
                plan.aside.append(path)
            else:
                (plan.gone_here if theirs.is_like(known[1]) and choice != "theirs" else plan.bring).append(path)
        return plan

    def _same(self, here, there):
        """Return the paths of what may have changed and has the same content on both sides."""
        doubtful = [
            path for path, mine in here.items()
            if path in there and mine.size == there[path].size and self.memory[path] != [mine, there[path]]
        ]  # fmt: skip
        same = set()
        for start in range(0, len(doubtful), SUMS):
            asked = doubtful[start : start + SUMS]
            for kind, *words in self.channel.call("sums", self.folder, *map(escaped, asked), again=True):
                if kind == "summed":
                    break
                if int(words[0]) < len(asked) and sum_of(path := asked[int(words[0])]) == words[1]:
                    same.add(path)
        return same

    def _wanted(self, code, there):
        """Return what the user takes, having seen it, of what would run here; a folder stands for the results in it."""
        wanted = [path for path in code if self._chosen(path)[0] == "theirs" and runs_here(self._chosen(path)[1])]
        if others := [path for path in code if path not in (*wanted, LOCK)]:
            self._warn("sync_code_there", login=self.login, names=named(others), path=shown(others[0]))
        if wanted:
            self._show_differences(wanted, there)
            # who cannot be asked has named them on the command line
            if sys.stdin.isatty() and not answered(
                "sync_take", message("word_yes"), names=named(wanted), login=self.login
            ):
                self._warn("sync_not_taken", names=named(wanted), login=self.login)
                return []
        return wanted

    def _show_differences(self, paths, there, most=None):
        """Show how the login node's files differ from this folder's; most: so many lines of each."""
        self._fetch([path for path in paths if most is None or there[path].size <= DIFFERENCE_SIZE], there)
        for path in paths:
            mine, theirs, label = FOLDER / path, INCOMING / path, f"{self.login}:{path}"
            texts = text_of(mine), text_of(theirs)
            if None in texts:
                # no text, or much of it
                size = amount(mine.stat().st_size if mine.exists() else 0)
                difference = [f"--- {path} ({size})", f"+++ {label} ({amount(there[path].size)})"]
            else:
                lines = (text.splitlines() for text in texts)
                difference = list(difflib.unified_diff(*lines, path, label, lineterm=""))
            if most and len(difference) > most:
                difference[most:] = [f"... (+{len(difference) - most})"]
            print("\n".join(map(printable, difference)), flush=True)

    # --- carrying -----------------------------------------------------------------------------------------------------

    def _put(self, paths, here, there):
        """Send files; what they replace is kept there."""
        if not paths:
            return
        if undecided := [path for path in paths if is_undecided(path)]:
            raise Trouble("undecided_not_sent", names=named(undecided))
        if broken := [path for path in paths if is_script(path) and is_broken_by_windows(path)]:
            raise Trouble("windows_not_sent", names=named(broken))
        if self._prepare() != "yes":
            raise Trouble("not_sent", login=self.login)
        options = ["-l", "--backup", f"--backup-dir={self.replaced}", "--temp-dir=.lab/incoming"]
        groups = {}
        for path in paths:
            mine, theirs, (before, _) = here[path], there.get(path), self.memory[path]
            more = []
            # what has come or changed there since it was looked at is not replaced
            if not theirs:
                more.append("--ignore-existing")
            elif theirs.time <= mine.time and not self._chosen(path)[0]:
                more.append("--update")
            # what is there keeps its mode, unless the right to run has changed here
            if theirs and mine.runs != (before.runs if before else theirs.runs):
                more.append("-p")
            groups.setdefault(tuple(more), []).append(path)
        size = size_of(paths, here)
        # rsync looks at a file some time before it replaces it: what is new, and may be long, comes last
        for more, some in sorted(groups.items(), reverse=True):
            rsync(self.channel, self.folder, some, *options, *self.partial, *more, size=size)

    def _prepare(self):
        """Return whether the login node has a place for what is sent; raises Trouble where it has no rsync."""
        (prepared,) = self.channel.ask("prepared", "prepare", self.folder, again=True)
        if prepared == "no_rsync":
            raise Trouble("no_rsync_there", login=self.login)
        return prepared

    def _fetch(self, paths, there):
        """Bring files into .lab/incoming; raises Trouble where there is no space for them."""
        if not paths:
            return
        check_rsync_is_safe()
        self._prepare()
        size, free = size_of(paths, there), shutil.disk_usage(FOLDER).free
        if size > free:
            raise Trouble("sync_no_space", size=amount(size), free=amount(free))
        INCOMING.mkdir(mode=0o700, exist_ok=True)
        rsync(self.channel, self.folder, paths, "--partial", out=False, size=size)

    def _put_in_place(self, paths, here, there):
        """Put what has come in its place; return those paths that are there."""
        brought = []
        for path in paths:
            try:
                put_in_place(path, here.get(path), there[path], FOLDER / self.replaced / path)
                self._remember(path, file_of(os.lstat(FOLDER / path)), there[path], 0)
                brought.append(path)
            except Changing:
                self.changing.append(path)
            except (FileExistsError, NotADirectoryError):
                self._warn("sync_changing", path=shown(path))
            except OSError as error:
                self._warn("not_written", path=shown(path), words=error.strerror)
        return brought

    def _put_aside(self, paths):
        """Take files out of the way on the login node that this folder has no more."""
        if paths:
            self.channel.ask("aside", "aside", self.folder, *map(escaped, paths), again=True)

    def _agree(self, sent, aside, here):
        """Look at the login node again, and remember what is the same now; return what was sent of these."""
        there = self._list()[0] if sent or aside else {}
        agreed = [path for path in sent if path == LINK or alike(here[path], there.get(path))]
        for path in sent:
            if path not in agreed:
                self._warn("sync_changing", path=shown(path))
            elif path != LINK:
                self._remember(path, here[path], there[path], 1)
        for path in aside:
            if path in there:
                # mv has said why
                self.whole = False
            else:
                days = LIMITS.REPLACED_DAYS
                say("sync_aside", path=shown(path), login=self.login, folder=self.folder, days=days)
        self.memory.save()
        return agreed

    def _remember(self, path, mine, theirs, written=None):
        """Keep what a file is on both sides; written: the side on which lab has just written it, 0 for here."""
        files = [mine, theirs]
        for side, clock in enumerate((self.clock_here, self.clock_there)):
            # whose times are whole seconds, may change once more within the one in which it was looked at
            if side != written and files[side].time % SECOND == 0 and files[side].time > clock - 2 * SECOND:
                files[side] = files[side]._replace(time=None)
        self.memory[path] = files

    def _warn(self, key, **values):
        """Say what has not been done."""
        warn(key, **values)
        self.whole = False


class Memory(dict):
    """What both sides were when they last agreed: {path: [the File here, the File there]}, None for none.

    Where a memory is lost, nothing else is: files that are the same are found to be so by their sums.
    """

    def __init__(self, login, folder):
        super().__init__()
        name = hashlib.sha256(f"{login}:{folder}".encode()).hexdigest()[:12]
        self.path = STATE / f"synced-{name}.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(self.path.read_text(encoding="utf-8"))["files"]
            self.update({path: [file and File(*file) for file in files] for path, files in kept.items()})

    def __missing__(self, path):
        return [None, None]

    def save(self):
        """Write it down."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"files": self}), encoding="utf-8")
        os.replace(new, self.path)


def file_of(status):
    """Return the File of which this is the status on this computer."""
    kind = "f" if stat.S_ISREG(status.st_mode) else "l" if stat.S_ISLNK(status.st_mode) else "?"
    return File(kind, status.st_size, bool(status.st_mode & 0o100), status.st_mtime_ns)


def file_there(state):
    """Return the File that requests/folder.sh tells of as type:size:time:mode."""
    kind, size, seconds, mode = state.split(":")
    whole, _, part = seconds.partition(".")
    return File(kind, int(size), bool(int(mode, 8) & 0o100), int(whole) * SECOND + int(part[:9].ljust(9, "0")))


def alike(mine, theirs):
    """Return whether what was sent has arrived; a file system or an old rsync may keep whole seconds only."""
    if not theirs or mine[:2] != theirs[:2]:
        return False
    whole = 0 in (mine.time % SECOND, theirs.time % SECOND)
    return mine.time // SECOND == theirs.time // SECOND if whole else mine.time == theirs.time


def put_in_place(path, seen, told, replaced):
    """Put a file that has come in its place, and what it replaces into `replaced`.

    Raises Changing where what has come is not what was told, FileExistsError where this folder is not what was seen or
    no file has come, and OSError.
    """
    new, target = INCOMING / path, FOLDER / path
    # nothing through a link
    if any(os.path.realpath(place) != str(place) for place in (new, target.parent)):
        raise FileExistsError
    try:
        came, now = file_of(os.lstat(new)), os.lstat(target) if os.path.lexists(target) else None
    except OSError:
        raise FileExistsError from None
    if came.kind != "f" or (now and file_of(now)) != seen:
        raise FileExistsError
    if came.size != told.size or abs(came.time - told.time) >= 2 * SECOND:
        raise Changing
    target.parent.mkdir(parents=True, exist_ok=True)
    if now:
        replaced.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(target, replaced)
    # as it was here, or as any new file of this user; what comes gets no right to run
    umask = os.umask(0o077)
    os.umask(umask)
    new.chmod(now.st_mode & 0o777 if now else 0o666 & ~umask)
    os.replace(new, target)


def forget_replaced():
    """Remove what was replaced here long ago (requests/folder.sh, forget_old, does so there)."""
    for folder in (STATE / "replaced").glob(8 * "[0-9]" + "-" + 6 * "[0-9]"):
        with contextlib.suppress(OSError):
            if time.time() - folder.lstat().st_mtime > LIMITS.REPLACED_DAYS * 86400:
                # no link is followed
                shutil.rmtree(folder)


def text_of(path):
    """Return what is in a file that is a text, "" where there is no file; None for one that is none, or a long one."""
    try:
        if path.stat().st_size > DIFFERENCE_SIZE:
            return None
        text = path.read_text(encoding="utf-8")
        return None if "\0" in text else text
    except UnicodeDecodeError:
        return None
    except OSError:
        return ""


def size_of(paths, files):
    """Return how large these files are together."""
    return sum(files[path].size for path in paths)
