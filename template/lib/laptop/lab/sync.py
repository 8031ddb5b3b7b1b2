"""Bring this computer's folder and the login node's together.

Both are compared with what they were when they last agreed, which is kept in .lab. What has changed on one side only
goes to the other. What has changed on both, and is not the same, stays as it is until the user chooses. Nothing is
deleted. A file is written elsewhere in the same file system and then put in its place whole, and only over what was
compared.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import sys
import threading
import time

from .channel import Lost
from .files import (
    amount,
    can_be_carried,
    escaped,
    file_here,
    file_there,
    files_here,
    is_below,
    is_script,
    path_and_sum,
    runs_here,
    shown,
    sum_of_file,
    sum_of_folder,
    unescaped,
)
from .messages import FOLDER, MISUSE, Trouble, say, warn

LINK = ".copier-answers.yml"
"""The one link that is sent, as a link to settings.yml; no other is, and none is followed."""
STATE = FOLDER / ".lab"
"""What lab remembers on this computer, for the user alone."""
PORTION_FILES, PORTION_BYTES = 1000, 64_000_000
"""So much travels at once; it is put in its place before the next comes."""
YOUNG = 2 * 10**9
"""Nanoseconds after which a file's time tells whether it has changed again: some file systems count whole seconds."""
ABANDONED = 3600
"""Seconds after which what has come and was not put in its place is thrown away: the lab that it came to was killed."""

_number = itertools.count(1)


def send_scripts(settings, conversation, missing):
    """Send the folder to the login node where it is missing; where its scripts differ, brings both sides together.

    Raises Trouble where a script has changed on both sides: only the user can say which one is right.
    """
    Sync(settings, conversation, scripts=not missing).agree()


def make_state_folder():
    """Make .lab; git is told there to leave it alone."""
    STATE.mkdir(mode=0o700, exist_ok=True)
    if not (STATE / ".gitignore").exists():
        (STATE / ".gitignore").write_text("*\n", encoding="utf-8")


class Memory:
    """What both sides were when they last agreed: of each path size and sum, and time and right to run on each side.

    Where a memory is lost, nothing else is: files that are the same are found to be so by their sums.
    """

    def __init__(self, login, folder):
        self.whose, self.files, self.saved = [login, folder], {}, True
        self.path = STATE / f"sync-{hashlib.sha256(f'{login}:{folder}'.encode()).hexdigest()[:12]}.json"
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            if kept["whose"] == self.whose:
                self.files = kept["files"]
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def keep(self, path, mine, theirs, clocks):
        """Both sides agree about a file; clocks: each side's time in ns when it was looked at."""
        times = [
            file.time if file.time < clock - YOUNG else None for file, clock in ((mine, clocks[0]), (theirs, clocks[1]))
        ]
        self.files[path] = {
            "size": mine.size, "sum": mine.sum, "here": [times[0], mine.runs], "there": [times[1], theirs.runs],
        }  # fmt: skip
        self.saved = False

    def forget(self, path):
        """Neither side has this file any more."""
        if self.files.pop(path, None):
            self.saved = False

    def tell(self, path, what):
        """Return whether the user has yet to be told something of a file, which is done then."""
        new = self.files[path].get("told") != what
        if new:
            self.files[path]["told"] = what
            self.saved = False
        return new

    def save(self):
        """Write it down."""
        if not self.saved:
            make_state_folder()
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps({"whose": self.whose, "files": self.files}), encoding="utf-8")
            os.replace(new, self.path)
            self.saved = True


class Sync:
    """One comparison of both sides, and what follows from it.

    scripts: only what a session depends on, so that it becomes the same there as here
    """

    def __init__(self, settings, conversation, scripts=False):
        self.conversation, self.waiting, self.connection = conversation, conversation.waiting, conversation.connection
        self.login, self.folder = self.connection.login, self.connection.folder(settings)
        self.scripts = scripts
        self.memory = Memory(self.login, self.folder)
        self.choices, self.overwritten = [], set()
        # files and bytes that have come to the other side
        self.sent, self.brought = [0, 0], [0, 0]
        self.archive = self.stage = self.incoming = None

    def run(self, choices=()):
        """Bring both sides together and say how much that was; return the exit status.

        choices: ("mine" or "theirs", path) for each file or folder of which the user has chosen a side
        """
        self.choices = choices
        self._through(self._bring_together)
        if self.same and not self.sent[0] and not self.brought[0]:
            say("sync_same", login=self.login, folder=self.folder)
        else:
            sent, brought = amount(self.sent[1]), amount(self.brought[1])
            say(
                "sync_done", login=self.login,
                sent=self.sent[0], sent_size=sent, brought=self.brought[0], brought_size=brought,
            )  # fmt: skip
        return 0 if self.whole else 1

    def agree(self):
        """Make the login node's scripts the same as this folder's; raises Trouble where that is not possible."""
        if self._through(self._agree) != "same":
            raise Trouble("scripts_differ", login=self.login, folder=self.folder)

    def _agree(self):
        """Bring the scripts together; return what the login node says of the folder then."""
        self._bring_together()
        self._await_answer()
        self.conversation.ask("folder", self.folder, sum_of_folder())
        while not (answer := self._hear()) or answer[0] != "folder":
            pass
        return answer[1]

    def _through(self, work):
        """Do the work; after a lost connection it begins anew, and goes fast over what is done already."""
        try:
            while True:
                try:
                    return work()
                except Lost:
                    self._end_channel()
                    self.conversation.repair()
        finally:
            self._end_channel()
            self.waiting.done()
            self.memory.save()
            if self.incoming:
                shutil.rmtree(self.incoming, ignore_errors=True)

    # --- the login node -----------------------------------------------------------------------------------------------

    def _await(self, show):
        """From now on something is awaited; show() says what."""
        self.waiting.restart()
        self.show = show

    def _await_answer(self):
        """From now on the login node's answer is awaited."""
        self._await(lambda: self.waiting.show("waiting_for_answer", login=self.login))

    def _hear(self, seconds=1.0):
        """Return what the login node says next, or None, and show what is awaited."""
        answer = self.conversation.next(seconds)
        if answer is None:
            self.show()
        return answer

    def _ask(self, last, request, *words):
        """Send a request and yields its answers, up to the one called `last`."""
        number = str(next(_number))
        self.conversation.ask(request, number, *words)
        while True:
            answer = self._hear()
            # what still comes of a request before a lost connection is nobody's business
            if answer and answer[1:2] == [number]:
                yield [answer[0], *answer[2:]]
                if answer[0] == last:
                    return

    def _meanwhile(self, work, *words):
        """Return what the work answers, done in a thread; this one listens to the login node and to Ctrl-C."""
        done = {}

        def run():
            try:
                done["answer"] = work(*words)
            except BaseException as error:
                done["error"] = error

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(0.1)
        while thread.is_alive():
            self._hear(0.01)
            thread.join(0.1)
        if "error" in done:
            raise done["error"]
        return done["answer"]

    def _open_channel(self):
        """Open a channel for data within the connection; return the archive that goes through it."""
        # only now: they take time, and `lab open` seldom needs them
        from .archive import Archive

        self.archive = Archive(self.connection.run("bash", "-s"))
        return self.archive

    def _end_channel(self):
        """End that channel, if there is one."""
        if self.archive:
            self.passed += self.archive.passed
            self.archive.channel.kill()
            self.archive.channel.wait()
            self.archive = None

    # --- comparing ----------------------------------------------------------------------------------------------------

    def _bring_together(self):
        """Compare and carries. self.whole is whether all went well then, self.same whether nothing was left out."""
        self.whole, self.same, self.stage, self.passed = True, True, None, 0
        self._forget_abandoned()
        there = self._files_there()
        missing = there is None
        if missing:
            self._say("sending_folder", login=self.login, folder=self.folder)
            # whatever once was there: everything is sent
            self.memory.files, self.scripts, there = {}, False, {}
        here = files_here(self.scripts)
        self.clocks = [time.time_ns(), self.clock_there]
        for side, path in self.choices:
            if not any(is_below(known, path) for known in (here if side == "mine" else there)):
                key = "sync_none_here" if side == "mine" else "sync_none_there"
                raise Trouble(key, MISUSE, path=shown(path), login=self.login)
        link = None if LINK in there else here.get(LINK)
        self._leave_out(here, there)
        self._compare_sums(here, there)
        send, bring, conflicts, aside = self._decide(here, there)
        if conflicts and self.scripts:
            self._say_conflicts(conflicts[:-1])
            raise Trouble("sync_conflict", path=shown(conflicts[-1]), login=self.login)
        self._say_conflicts(conflicts)
        if link and link.kind == "l" and os.readlink(FOLDER / LINK) == "settings.yml":
            here[LINK] = link
            send.append(LINK)
        self._check_space(sum(there[path].size for path in bring))
        # the scripts first: a folder that was missing appears with them
        send.sort(key=lambda path: not (is_script(path) or path == LINK))
        self._send(send, here, there, missing)
        self._bring(bring, here, there)
        self._put_aside(aside, there)

    def _files_there(self):
        """Return the login node's files, None where the folder is missing."""
        self._await_answer()
        found, scope = {}, ["scripts"] if self.scripts else []
        for kind, state, *words in self._ask("listed", "files", self.folder, *scope):
            if kind == "file":
                found[unescaped("\t".join(words))] = file_there(state)
        if state == "other":
            raise Trouble("other_folder", folder=self.folder, login=self.login)
        self.clock_there = int(words[0]) * 10**9
        return None if state == "missing" else found

    def _leave_out(self, here, there):
        """Take out what is not carried: links and what they hide on the other side, environments, unfit names."""
        for side, other in ((here, there), (there, here)):
            links, hiding = {path for path, file in side.items() if file.kind != "f"}, set()
            for path in list(other) if links else ():
                tops = {path} | {path[:place] for place, letter in enumerate(path) if letter == "/"}
                if tops & links:
                    hiding |= tops & links
                    del other[path]
            for path in links:
                side.pop(path, None)
            for path in sorted(hiding - {LINK}):
                self.same = False
                self._say("sync_link_here" if side is here else "sync_link_there", path=shown(path), login=self.login)
        environments = tuple(path[: -len("pyvenv.cfg")] for path in {**here, **there} if path.endswith("/pyvenv.cfg"))
        for path in {**here, **there}:
            unfit = not can_be_carried(path)
            if unfit:
                self._warn("sync_strange_name", path=shown(path))
            if unfit or path == LINK or path.startswith(environments):
                here.pop(path, None)
                there.pop(path, None)

    def _compare_sums(self, here, there):
        """Give a sum to each file for which it matters: it may have changed, and its size does not tell."""
        wanted = {"here": [], "there": []}
        for path in {**here, **there}:
            known = self.memory.files.get(path)
            same_size = path in here and path in there and here[path].size == there[path].size
            for side, file in (("here", here.get(path)), ("there", there.get(path))):
                as_known = file and known and file.size == known["size"]
                if as_known and file.time == known[side][0]:
                    file.sum = known["sum"]
                elif as_known or (file and same_size):
                    wanted[side].append(path)
        self._await(lambda: self.waiting.show("sync_comparing", login=self.login))
        for start in range(0, len(wanted["there"]), PORTION_FILES):
            portion = wanted["there"][start : start + PORTION_FILES]
            for kind, *words in self._ask("summed", "sums", *map(escaped, portion)):
                if kind == "sum":
                    path, whole = path_and_sum("\t".join(words))
                    there[path].sum = whole

        def sum_here():
            for path in wanted["here"]:
                here[path].sum = sum_of_file(path)

        self._meanwhile(sum_here)

    def _decide(self, here, there):
        """Return which files to send, to bring, to leave to the user, and (scripts) to put aside there."""
        send, bring, conflicts, aside, gone_here, gone_there = [], [], [], [], [], []
        for path in sorted({**here, **there, **self.memory.files}):
            mine, theirs, known = here.get(path), there.get(path), self.memory.files.get(path)
            choice = self._chosen(path)
            new_here, new_there = changed(mine, known, "here"), changed(theirs, known, "there")
            if mine and theirs:
                if mine.sum and mine.sum == theirs.sum:
                    # what has changed on one side alone is whether it can be run
                    if known and new_here != new_there:
                        (send if new_here else bring).append(path)
                    else:
                        self.memory.keep(path, mine, theirs, self.clocks)
                elif choice:
                    self.overwritten.add(path)
                    (send if choice == "mine" else bring).append(path)
                elif new_here and new_there:
                    conflicts.append(path)
                else:
                    (send if new_here else bring).append(path)
            elif mine:
                (send if new_here or self.scripts or choice == "mine" else gone_there).append(path)
            elif theirs:
                (bring if new_there or choice == "theirs" else aside if self.scripts else gone_here).append(path)
            elif is_script(path) or not self.scripts:
                self.memory.forget(path)
        self.same = self.same and not gone_here and not gone_there
        for side, paths in (("here", gone_here), ("there", gone_there)):
            if paths := [path for path in paths if self.memory.tell(path, f"gone {side}")]:
                key = "sync_gone_here" if side == "here" else "sync_gone_there"
                self._say(key, login=self.login, names=named(paths), path=shown(paths[0]))
        return send, self._without_code(bring), conflicts, aside

    def _without_code(self, bring):
        """Return these paths without what runs on this computer: whoever writes there is not to run commands here.

        Raises Trouble where nothing else is wanted but that both sides have the same.
        """
        code = [path for path in bring if runs_here(path) and path not in self.overwritten and not self._chosen(path)]
        if code and self.scripts:
            raise Trouble("sync_code_there", login=self.login, names=named(code), path=shown(code[0]))
        if code:
            self.same = self.whole = False
            self._warn("sync_code_there", login=self.login, names=named(code), path=shown(code[0]))
        return [path for path in bring if path not in code]

    def _chosen(self, path):
        """Return which side the user has chosen for a path, or None."""
        return next((side for side, chosen in self.choices if is_below(path, chosen)), None)

    def _say_conflicts(self, paths):
        """Say how to choose, a line for each."""
        for path in paths:
            self._warn("sync_conflict", path=shown(path), login=self.login)

    # --- carrying -----------------------------------------------------------------------------------------------------

    def _check_space(self, size):
        """Raise Trouble where this computer has no space for so many bytes."""
        free = shutil.disk_usage(FOLDER).free
        if size > free:
            raise Trouble("sync_no_space", size=amount(size), free=amount(free))

    def _portions(self, paths, files, together=0):
        """Yield the paths in portions; together: so many of the first must not be separated."""
        while paths:
            count, size = 1, files[paths[0]].size
            while count < len(paths):
                size += files[paths[count]].size
                if count >= together and (count == PORTION_FILES or size > PORTION_BYTES):
                    break
                count += 1
            yield paths[:count]
            paths, together = paths[count:], 0

    def _count(self, paths, files):
        """From now on the bytes of these files are counted; return how many they are."""
        self.passed, self.total = 0, sum(files[path].size for path in paths)
        return amount(self.total)

    @property
    def _percent(self):
        """Return how much of what is counted has passed."""
        passed = self.passed + (self.archive.passed if self.archive else 0)
        # without a terminal each change is a line: a few are enough
        step = 1 if sys.stdout.isatty() else 25
        return min(100, 100 * passed // max(1, self.total)) // step * step

    def _send(self, paths, here, there, missing):
        """Send files; missing: the folder is not there yet, and appears with all scripts."""
        size = self._count(paths, here)
        self._await(lambda: self.waiting.show("sync_sending", login=self.login, size=size, percent=self._percent))
        scripts = sum(is_script(path) or path == LINK for path in paths) if missing else 0
        for portion in self._portions(paths, here, scripts):
            if not self.stage:
                [(_, self.stage)] = self._ask("stage", "stage")
            received = False
            if self.stage:
                archive = self._open_channel()
                received, sums, unread = self._meanwhile(archive.send, self.stage, portion, here)
                self._end_channel()
            if not received:
                # where it is the connection, this raises Lost
                list(self._ask("looked", "look"))
                raise Trouble("not_sent", login=self.login)
            self._place(portion, sums, unread, here, there)
            self.memory.save()

    def _place(self, portion, sums, unread, here, there):
        """Let the login node put in its place what it has received, if it has a sum: it is as it was compared."""
        request, others = [], {}
        for path in portion:
            seen = there[path].state if path in there else "-"
            request += [seen if path in sums else "nothing", escaped(path)]
        for kind, *words in self._ask("settled", "place", *request):
            if kind != "settled":
                others[unescaped("\t".join(words))] = kind
        for path, kind in others.items():
            if kind == "kept":
                self._warn("not_read" if path in unread else "sync_changing", path=shown(path))
        if failed := sorted(path for path, kind in others.items() if kind == "failed"):
            # its own words stand above
            self._warn("not_placed", login=self.login, names=named(failed))
        for path in sums:
            if path in others or path == LINK:
                continue
            mine = here[path]
            mine.sum = sums[path]
            theirs = file_there(f"f:{mine.size}:{mine.time // 10**9}:{mine.mode:o}")
            self.memory.keep(path, mine, theirs, self.clocks)
            self.sent = [self.sent[0] + 1, self.sent[1] + mine.size]
            if path in self.overwritten:
                self._say("sync_overwritten_there", path=shown(path), login=self.login)

    def _bring(self, paths, here, there):
        """Bring files."""
        size = self._count(paths, there)
        self._await(lambda: self.waiting.show("sync_bringing", login=self.login, size=size, percent=self._percent))
        for portion in self._portions(paths, there):
            self._make_incoming()
            archive = self._open_channel()
            arrived = self._meanwhile(archive.bring, self.folder, portion, self.incoming)
            self._end_channel()
            # were they the same all the time?
            states = {}
            for kind, *words in self._ask("looked", "look", *map(escaped, portion)):
                if kind == "file":
                    states[unescaped("\t".join(words[1:]))] = words[0]
            for path in portion:
                if path not in arrived:
                    self._warn("not_read", path=self._there(path))
                elif states.get(path) != there[path].state:
                    self._warn("sync_changing", path=shown(path))
                else:
                    self._put_here(path, *arrived[path], here.get(path), there[path])
            self.memory.save()

    def _make_incoming(self):
        """Make a folder for what comes, in the same file system as the places where it belongs."""
        if not self.incoming:
            make_state_folder()
            self.incoming = STATE / f"incoming.{os.getpid()}.{next(_number)}"
            self.incoming.mkdir(mode=0o700)

    def _forget_abandoned(self):
        """Remove what has come for a lab that was killed."""
        for folder in STATE.glob("incoming.*"):
            with contextlib.suppress(OSError):
                newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
                if newest < time.time() - ABANDONED:
                    shutil.rmtree(folder)

    def _put_here(self, path, new, whole, before, theirs):
        """Put a file that has come in its place, if what is there is still what was compared."""
        target = FOLDER / path
        try:
            now = file_here(path).state if os.path.lexists(target) else None
            if now != (before.state if before else None):
                self._warn("sync_changing", path=shown(path))
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            os.utime(new, ns=(theirs.time, theirs.time))
            os.replace(new, target)
            mine = file_here(path)
        except OSError as error:
            self._warn("not_written", path=shown(str(target)), words=error.strerror)
            return
        mine.sum = whole
        self.memory.keep(path, mine, theirs, self.clocks)
        self.brought = [self.brought[0] + 1, self.brought[1] + mine.size]
        if path in self.overwritten:
            self._say("sync_overwritten_here", path=shown(path), login=self.login)
        elif is_script(path):
            self._say("sync_script_brought", path=shown(path), login=self.login)

    def _put_aside(self, paths, there):
        """Take scripts out of the way on the login node that this folder had and has no more."""
        words = [word for path in paths for word in (there[path].state, escaped(path))]
        for kind, *moved in self._ask("aside", "aside", *words) if paths else ():
            if kind == "moved":
                path = unescaped(moved[0])
                self.memory.forget(path)
                self._say("sync_aside", path=shown(path), login=self.login, folder=self.folder)

    def _there(self, path):
        """Return a path of the login node for a message."""
        return f"{self.login}:{shown(f'{self.folder}/{path}')}"

    def _say(self, key, **values):
        """News."""
        self.waiting.done()
        say(key, **values)

    def _warn(self, key, **values):
        """What has not been done."""
        self.waiting.done()
        warn(key, **values)
        self.whole = self.same = False


def named(paths):
    """Return a few of the paths, and how many more there are."""
    return ", ".join(map(shown, paths[:5])) + (f" (+{len(paths) - 5})" if len(paths) > 5 else "")


def changed(file, known, side):
    """Return whether a side's file is another one than is known of it, or can be run now, or no more."""
    return not known or not file or file.sum != known["sum"] or file.runs != known[side][1]
