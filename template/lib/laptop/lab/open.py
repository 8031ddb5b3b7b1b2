"""`lab open` and `lab attach`: from nothing to a page in the browser, which is kept alive until the user says stop."""

import re
import sys
import time

from . import browser
from .channel import Interrupted, Lost
from .limits import LIMITS
from .messages import Trouble, answered, message, say, warn
from .paths import sum_of_folder
from .session import Session, find_job, stop_job
from .sync import Sync
from .tunnel import tunnel_to
from .waiting import clock_time, hours_and_minutes

ENDED = (
    "CANCELLED", "COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE",
    "REVOKED",
)  # fmt: skip
"""Slurm's states of a job that is over (https://slurm.schedmd.com/squeue.html, job state codes)."""
HOPELESS = (
    "ReqNodeNotAvail", "Nodes required", "Partition", "BadConstraints", "InvalidAccount", "InvalidQOS",
    "AccountNotAllowed", "QOSNotAllowed", "DependencyNeverSatisfied", "JobHeld", "launch failed",
)  # fmt: skip
"""How the reasons begin for which a pending job waits in vain, or nobody knows how long
(https://slurm.schedmd.com/job_reason_codes.html)."""
TOO_MUCH = re.compile("(QOS|Assoc)Max.*Per(Job|Node)")
"""Limits that this job alone exceeds; all others wait for other jobs to end."""


def open_session(settings, channel, taken):
    """Find the session of that name or submit one, with options of sbatch, and stay; return the exit status."""
    opening = Opening(settings, channel, taken["name"])
    return opening.run(lambda: opening.submit(taken["rest"]), "no-browser" not in taken)


def attach(settings, channel, taken):
    """Go to the session of that name, and stay; return the exit status."""
    opening = Opening(settings, channel, taken["name"])
    return opening.run(opening.find, "no-browser" not in taken)


class Opening:
    """One session that is opened, or attached to, and then watched."""

    def __init__(self, settings, channel, name):
        self.settings, self.channel, self.name = settings, channel, name
        self.waiting, self.login = channel.waiting, channel.connection.login
        # mine: this lab has submitted it; it cancels no other
        self.job, self.mine, self.session, self.tunnel = None, False, None, None
        # what of the environment is being built
        self.building = ""
        # Slurm's words: state, reason, start
        self.state, self.reason, self.start = "", "", ""

    def run(self, find, browse):
        """Find the job, lead a local port to its server, open the browser, stay; return the exit status."""
        try:
            find()
            self._wait_for_server()
            self._reach(browse)
            return self._stay()
        except Interrupted:
            return self._keep_or_stop()
        except Trouble as trouble:
            # what was submitted goes on; these say so themselves, or that it does not
            if self.job and trouble.key not in ("job_ended", "pending_in_vain"):
                self._say_kept()
            raise
        finally:
            self.waiting.done()
            browser.forget()
            self.channel.close()

    # --- the job --------------------------------------------------------------------------------------------------

    def submit(self, options):
        """Send the folder there if it must be, and wait for the job's number."""
        if not self._ask_for_job(options):
            Sync(self.settings, self.channel).send_scripts()
            if not self._ask_for_job(options):
                raise Trouble("scripts_differ", login=self.login, folder=self.settings.project)
        say("session_submitted" if self.mine else "session_found", name=self.name, job=self.job)
        if options and not self.mine:
            warn("options_not_used", options=" ".join(options), name=self.name)

    def _ask_for_job(self, options):
        """Return whether there is a job now; there is none where the folder there is not this one."""
        folder = self.channel.connection.folder(self.settings)
        answers = self.channel.call(
            "open", folder, sum_of_folder(), self.name, *options, show=self._show_submission, again=True
        )
        for kind, word in answers:
            if kind == "building":
                self.building = word
                if not word:
                    self.waiting.restart()
                self._show_submission()
            if kind == "folder" and word == "other":
                raise Trouble("other_folder", folder=self.settings.project, login=self.login)
            if kind == "folder" and word != "same":
                return False
            if kind in ("submitted", "found"):
                self.job, self.mine = word, kind == "submitted"
                return True

    def _show_submission(self):
        """Show what the submission is waiting for."""
        if self.building:
            self.waiting.show("waiting_for_build", words=self.building)
        else:
            self.waiting.show("waiting_for_submission", login=self.login)

    def find(self):
        """Wait for the number of the job that has this name."""
        self.job = find_job(self.channel, self.name, again=True)

    def _wait_for_server(self):
        """Wait until the session's record is there; raises Trouble as soon as Slurm says that it will not be."""
        for kind, *words in self.channel.call("follow", self.job, show=self._show_state, again=True, warns=True):
            if kind == "up":
                self.session = Session(self.job, self.name, *words)
                return
            if kind == "state":
                self._hear(words)
                if self.state == "PENDING" and self._waits_in_vain() and self.mine:
                    raise Trouble("pending_in_vain", job=self.job, reason=self.reason, name=self.name)

    def _waits_in_vain(self):
        """Return whether what Slurm says of the job means that it will not start."""
        return self.reason.startswith(HOPELESS) or bool(TOO_MUCH.match(self.reason))

    def _hear(self, words):
        """Keep what Slurm says of the job; raises Trouble when it is over."""
        self.state, self.reason, self.start, _, memory = words
        if self.state in ENDED:
            raise Ended(self.job, self.name, self.state, memory or self.reason, memory)

    def _show_state(self):
        """Show what is awaited and what Slurm says of it."""
        if not self.state:
            self.waiting.show("waiting_for_start", job=self.job)
        elif self.state == "PENDING":
            start = clock_time(self.start) or message("unknown")
            self.waiting.show("waiting_pending", job=self.job, reason=self.reason, start=start)
        else:
            self.waiting.show("waiting_for_server", job=self.job, state=self.state)

    # --- the page -------------------------------------------------------------------------------------------------

    def _reach(self, browse):
        """Open the tunnel, prove it, open the browser."""
        self.waiting.restart()
        self.tunnel = tunnel_to(self.session, self.channel, self.settings)
        self.tunnel.lead()
        end, node = self.session.end, self.session.node
        if self.channel.connection.here:
            say("session_here", name=self.name, node=node, end=end)
            return
        key = "session_ready" if self.mine else "session_attached"
        say(key, address=self.tunnel.address, node=node, end=end, name=self.name)
        if browse:
            browser.open_browser(self.tunnel.address_with_token)

    def _stay(self):
        """Keep tunnel and page alive until the session ends; return the exit status."""
        left = self.session.left
        warnings = (LIMITS.LONG_WARNING_MINUTES, LIMITS.SHORT_WARNING_MINUTES)
        to_come = [minutes for minutes in warnings if left is not None and left > minutes * 60]
        look, failures = time.monotonic() + LIMITS.PAGE_LOOK, 0
        ask = time.monotonic() + LIMITS.JOB_LOOK
        while True:
            try:
                kind, *words = self.channel.next() or [None]
                if kind == "state":
                    self._hear(words)
                elif kind == "up":
                    self.session.limit(*words[1:])
                # whatever the server proves, Slurm knows whether its job is over
                if time.monotonic() >= ask:
                    ask = time.monotonic() + LIMITS.JOB_LOOK
                    self.channel.request("state", self.job)
                # not while the connection is silent: that is another trouble
                if time.monotonic() >= look and not self.channel.silence:
                    failures = 0 if self.tunnel.proved() else failures + 1
                    if failures == 1:
                        # the second look comes when that is answered
                        self.channel.ask_for_life()
                    elif failures > 1:
                        self._look_after()
                    # a second look at once; where nothing helps, Slurm is asked ever less often
                    pause = LIMITS.PAGE_LOOK if not failures else 1 if failures == 1 else 5 * 2 ** min(failures - 2, 4)
                    look = time.monotonic() + min(pause, LIMITS.LONGEST_PAUSE)
            except Lost:
                self._come_back()
            except Ended as ended:
                self.tunnel.close()
                if ended.state not in ("COMPLETED", "CANCELLED"):
                    raise
                say("session_over", name=self.name, state=ended.state)
                return 0
            left = self.session.left
            if to_come and left is not None and left <= to_come[0] * 60:
                # after a sleep of the computer it may be more than one
                to_come = [minutes for minutes in to_come if left > minutes * 60]
                minutes = max(0, -int(-left // 60))
                warn("time_is_short_here", name=self.name, minutes=minutes, end=self.session.end)
            if left is not None:
                self.waiting.stand("staying", node=self.session.node, left=hours_and_minutes(left))

    def _come_back(self):
        """After a lost connection: the same session on the same port."""
        new = self.channel.repair()
        if new:
            # it says whether the job is still there
            self.channel.request("follow", self.job)
        try:
            # within the same connection the port is still ssh's
            if new or not self.tunnel.proved():
                self.tunnel.renew()
        except Trouble:
            # what became of the server is seen at the next looks
            return
        say("page_works_again", address=self.tunnel.address)

    def _look_after(self):
        """Make the tunnel anew after two looks in vain; where that is no help, ask Slurm."""
        try:
            self.tunnel.renew()
        except Trouble as trouble:
            warn(trouble.key, **trouble.values)
            self.channel.request("state", self.job)

    # --- the end --------------------------------------------------------------------------------------------------

    def _keep_or_stop(self):
        """After Ctrl-C: ask whether the job is to go on; the job of another lab always does."""
        channel = self.channel
        self.waiting.done()
        asked = channel.interrupted == "SIGINT" and sys.stdin.isatty()
        channel.interrupted = ""
        if not self.job:
            # a submission that is under way is ended; a job that there is nevertheless is not cancelled
            try:
                (self.job,) = channel.ask("withdrawn", "withdraw", self.name)
            except Trouble as trouble:
                if trouble.key != "slurm_says":
                    raise
                raise Trouble("perhaps_submitted", **trouble.values, name=self.name) from None
            if not self.job:
                say("nothing_submitted")
                return 130
        stop = asked and self.mine and self._wants_to_stop()
        if self.tunnel:
            self.tunnel.close()
        if stop:
            stop_job(channel, self.job, self.name, again=True)
        else:
            self._say_kept()
        return 0

    def _say_kept(self):
        """Say that the job goes on, and how to come back to it."""
        say("kept" if self.has_started else "kept_in_queue", name=self.name, job=self.job)

    @property
    def has_started(self):
        """Return whether Slurm has started the job, as far as is known."""
        return self.session is not None or self.state not in ("", "PENDING")

    def _wants_to_stop(self):
        """Ask; no answer, and a second Ctrl-C, mean to keep it."""
        print()
        try:
            if self.session:
                return answered("keep_or_stop", message("word_stop"), end=self.session.end)
            key = "keep_or_stop_starting" if self.has_started else "keep_or_stop_waiting"
            return answered(key, message("word_stop"))
        except KeyboardInterrupt:
            print()
            return False


class Ended(Trouble):
    """The job is over; Slurm's words, and what to do."""

    def __init__(self, job, name, state, reason, memory):
        """memory: what Slurm wrote about the job's memory, if that was it."""
        hint = message("hint_out_of_memory" if memory else f"hint_{state.lower()}", name=name)
        # "CANCELLED by 1001" has the state in it; "None" says nothing
        words = reason if reason.startswith(state) else f"{state} ({reason})" if reason not in ("", "None") else state
        super().__init__("job_ended", job=job, words=words, hint=hint)
        self.state = "OUT_OF_MEMORY" if memory else state
