"""`lab open` and `lab attach`: from nothing to a page in the browser, which is kept alive until the user says stop."""

import re
import sys
import time

from both.job_states import ENDED, FORGOTTEN
from both.limits import LIMITS
from both.messages import Trouble, answered, message, report, say, warn

from . import browser, desktop
from .channel import Interrupted, Lost
from .paths import sum_of_folder
from .remembered import being_started, forget
from .session import Session, find_job, how_it_ended, stop_job
from .sync import Sync
from .template import ask_today
from .tunnel import tunnel_to
from .waiting import clock_time, hours_and_minutes

IN_VAIN = re.compile(
    # this job asks for more than one job may have, or for less: other limits wait for other jobs to end
    "(QOS|Assoc)Max.*Per(Job|Node)|QOSMin|MaxMemPerLimit|PartitionTimeLimit"
    # its account or QOS may not run it
    "|InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed|Job's (account|QOS) not|uid [0-9]+ not in group"
    # what it needs is gone, or never was
    "|BadConstraints|DependencyNeverSatisfied|Reservation(Deleted|Invalid)|Reservation .* (was deleted|is invalid)"
    # an administrator keeps it back
    "|JobHeldAdmin"
)
"""How the reasons begin for which a pending job never starts unless somebody changes it, or what its account may do.

With all others it may start by itself: nodes come back, reservations end, licences are returned, partitions are opened
(https://slurm.schedmd.com/job_reason_codes.html; where squeue shows a sentence in place of a code, that is from
src/slurmctld of Slurm 22.05 to 24.11).
"""
HELD = re.compile("JobHeldUser|JobHoldMaxRequeue|(launch|job) .*requeued (held|in .*)")
"""The same where the user alone can let it go."""


def open_session(settings, channel, taken):
    """Find the session of that name or submit one, with options of sbatch, and stay; return the exit status."""
    opening = Opening(settings, channel, taken["name"])
    return opening.run(lambda: opening.submit(taken["rest"]), "no-browser" not in taken)


def attach(settings, channel, taken):
    """Go to the session of that name, and stay; return the exit status."""
    opening = Opening(settings, channel, taken["name"])
    return opening.run(opening.find, "no-browser" not in taken)


SAY_WHAT_BECOMES_OF_IT = ("job_ended", "pending_in_vain", "pending_held", "perhaps_running")
"""The troubles after which nothing more is to be said of the job."""


class Opening:
    """One session that is opened, or attached to, and then watched."""

    def __init__(self, settings, channel, name):
        self.settings, self.channel, self.name = settings, channel, name
        self.waiting, self.login = channel.waiting, channel.connection.login
        # mine: this lab has submitted it; it cancels no other
        self.job, self.mine, self.session, self.tunnel = None, False, None, None
        # when somebody began to wait, by a clock that goes on while the computer sleeps
        self.began = time.time()
        # what of the environment is being built; whether another lab has its turn
        self.building, self.behind = "", False
        # whether the login node may have submitted it without saying so
        self.begun = False
        # the settings that were others when the job that was found was submitted
        self.changed = ""
        # whether the page begins with what the last session of that name had open
        self.again = False
        # Slurm's words: state, reason, start
        self.state, self.reason, self.start = "", "", ""
        # whether the template has a newer version is asked meanwhile
        self.template = ask_today()

    def run(self, find, browse):
        """Find the job, lead a local port to its server, open the browser, stay; return the exit status."""
        try:
            try:
                find()
                self._wait_for_server()
                self._reach(browse)
                return self._stay()
            except Interrupted:
                return self._keep_or_stop()
        except (Trouble, OSError, KeyboardInterrupt) as trouble:
            if getattr(trouble, "key", "") in SAY_WHAT_BECOMES_OF_IT or not (self.job or self.begun):
                raise
            status = report(trouble)
            # what was submitted goes on, and that is said last
            self._say_what_is_left()
            return status
        finally:
            self.waiting.done()
            if self.template:
                self.template.close()
            browser.forget()
            self.channel.close()

    # --- the job --------------------------------------------------------------------------------------------------

    def submit(self, options):
        """Send the folder there if it must be, and wait for the job's number."""
        with being_started(self.name):
            if not self._ask_for_job(options):
                Sync(self.settings, self.channel).send_scripts()
                if not self._ask_for_job(options):
                    raise Trouble("scripts_differ", login=self.login, folder=self.settings.project)
        say("session_submitted" if self.mine else "session_found", name=self.name, job=self.job)
        if options and not self.mine:
            warn("options_not_used", options=" ".join(options), name=self.name)
        if self.changed:
            warn("settings_for_the_next", names=self.changed.replace(" ", ", "), name=self.name)

    def _ask_for_job(self, options):
        """Return whether there is a job now; there is none where the folder there is not this one."""
        folder = self.channel.connection.folder(self.settings)
        answers = self.channel.call(
            "open", folder, sum_of_folder(), self.name, *options, show=self._show_submission, again=True
        )
        self.begun, same = True, False
        try:
            for kind, *words in answers:
                word = words[0] if words else ""
                if kind == "folder" and word == "other":
                    raise Trouble("other_folder", folder=self.settings.project, login=self.login)
                if kind == "folder" and word != "same":
                    self.begun = False
                    return False
                if kind == "folder":
                    same = True
                elif kind == "again":
                    self.again = True
                elif kind == "changed":
                    self.changed = word
                elif kind == "building":
                    # nothing is submitted before that is ready
                    self.building, self.begun = word, not word
                    if not word:
                        self.waiting.restart()
                    self._show_submission()
                elif kind == "turn":
                    self.behind = word == "another"
                    self.begun = not self.behind
                else:
                    self.job, self.mine = word, kind == "submitted"
                    return True
        except Trouble as trouble:
            # nothing is submitted before that, nor where Slurm was not reached or has refused
            self.begun = self.begun and same and trouble.key not in ("slurm_says", "script_failed")
            raise

    def _show_submission(self):
        """Show what the submission is waiting for."""
        if self.building:
            self.waiting.show("waiting_for_build", words=self.building)
        elif self.behind:
            self.waiting.show("waiting_for_turn", login=self.login)
        else:
            self.waiting.show("waiting_for_submission", login=self.login)

    def find(self):
        """Wait for the number of the job that has this name."""
        self.job = find_job(self.channel, self.name, again=True)

    def _wait_for_server(self):
        """Wait until the session's record is there; raises Trouble as soon as Slurm says that it will not be."""
        for kind, *words in self.channel.call("follow", self.job, show=self._show_state, again=True, warns=True):
            if kind == "up":
                self.state = "RUNNING"
                self.session = Session(self.job, self.name, *words)
                return
            if kind == "state":
                pending = self.state == "PENDING"
                self._hear(words)
                if self.state == "PENDING":
                    self._look_at_reason()
                    if not pending:
                        say("waiting_can_be_left", job=self.job, name=self.name)

    def _look_at_reason(self):
        """Raise Trouble where the job that this lab has submitted will not start by itself."""
        if self.mine and (HELD.match(self.reason) or IN_VAIN.match(self.reason)):
            key = "pending_held" if HELD.match(self.reason) else "pending_in_vain"
            raise Trouble(key, job=self.job, reason=self.reason, name=self.name)

    def _hear(self, words):
        """Keep what Slurm says of the job; raises Trouble when it is over."""
        self.state, self.reason, self.start, _, memory = words
        if self.state in (*ENDED, FORGOTTEN):
            forget(self.name)
            raise Ended(self.job, self.name, self.state, self.reason, memory)

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
        try:
            self.tunnel.lead()
        except Trouble:
            self._ask_slurm()
            raise
        end, node, here = self.session.end, self.session.node, self.channel.connection.here
        key = "session_here" if here else "session_ready" if self.mine else "session_attached"
        say(key, address=self.tunnel.address, node=node, end=end, name=self.name)
        idle, left = int(self.settings.idle_minutes), self.session.left
        if self.mine and idle and (left is None or left > idle * 60):
            say("ends_when_idle", minutes=self.settings.idle_minutes)
        if self.again:
            say("tabs_again", name=self.name)
        if browse and not here:
            browser.open_browser(self.tunnel.address_with_token, self.name)
        if time.time() - self.began > LIMITS.LONG_WAIT and not self.settings.is_for_a_course:
            desktop.tell(message("desktop_ready", name=self.name))

    def _stay(self):
        """Keep tunnel and page alive until the session ends; return the exit status."""
        left = self.session.left
        warnings = (LIMITS.LONG_WARNING_MINUTES, LIMITS.SHORT_WARNING_MINUTES)
        to_come = [minutes for minutes in warnings if left is not None and left > minutes * 60]
        look, failures, heard = time.monotonic() + LIMITS.PAGE_LOOK, 0, True
        while True:
            try:
                kind, *words = self.channel.next() or [None]
                heard = heard or kind in ("state", "trouble")
                if kind == "state":
                    self._hear(words)
                elif kind == "up":
                    self.session.limit(*words[1:])
                # not while the connection is silent: that is another trouble
                if time.monotonic() >= look and not self.channel.silence:
                    failures = 0 if self.tunnel.proved() else failures + 1
                    if failures == 1:
                        # the second look comes when that is answered
                        self.channel.ask_for_life()
                        self.channel.request("state", self.job, FORGOTTEN)
                        heard = False
                    elif failures > 1 and heard:
                        self._look_after()
                    # a second look at once; where nothing helps, Slurm is asked ever less often
                    pause = LIMITS.PAGE_LOOK if not failures else 1 if failures == 1 else 5 * 2 ** min(failures - 2, 4)
                    look = time.monotonic() + min(pause, LIMITS.LONGEST_PAUSE)
            except Lost:
                heard = True
                self._come_back()
            except Ended as ended:
                self.tunnel.close()
                if ended.state not in ("COMPLETED", "CANCELLED"):
                    raise
                if ended.idle:
                    say(ended.key, **ended.values)
                else:
                    say("session_over", name=self.name, state=ended.state)
                return 0
            left = self.session.left
            if to_come and left is not None and left <= to_come[0] * 60:
                # after a sleep of the computer it may be more than one
                to_come = [minutes for minutes in to_come if left > minutes * 60]
                minutes = max(0, -int(-left // 60))
                warn("time_is_short_here", name=self.name, minutes=minutes, end=self.session.end)
            self._tell_of_template()
            if left is not None:
                self.waiting.stand("staying", node=self.session.node, left=hours_and_minutes(left))

    def _tell_of_template(self):
        """Say once that the template has a newer version, as soon as that is known."""
        if self.template and (newer := self.template.newer()) is not None:
            if newer:
                say("template_newer", newer=newer, version=self.template.version)
            self.template = None

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
        self.waiting.restart()
        try:
            self.tunnel.renew()
        except Trouble as trouble:
            warn(trouble.key, **trouble.values)
            self.channel.request("state", self.job, FORGOTTEN)

    def _ask_slurm(self):
        """Raise Ended where Slurm says that the job is over: that is why there is no server."""
        try:
            words = self.channel.ask("state", "state", self.job, FORGOTTEN, limit=LIMITS.SLURM_ANSWER)
        except Trouble:
            return
        self._hear(words)

    # --- the end --------------------------------------------------------------------------------------------------

    def _keep_or_stop(self):
        """After Ctrl-C: ask whether the job is to go on; the job of another lab always does."""
        channel = self.channel
        self.waiting.done()
        asked = channel.interrupted == "SIGINT" and sys.stdin.isatty()
        channel.interrupted = ""
        if not self.job:
            # a submission that is under way is ended; a job that there is nevertheless is not cancelled
            (self.job,) = channel.ask("withdrawn", "withdraw", self.name)
            if not self.job:
                say("build_given_up" if self.building else "nothing_submitted", login=self.login)
                return 130
        stop = asked and self.mine and self._wants_to_stop()
        if self.tunnel:
            self.tunnel.close()
        if stop:
            stop_job(channel, self.job, self.name, again=True)
        else:
            self._say_what_is_left()
        return 0

    def _say_what_is_left(self):
        """Say that the job goes on, and how to come back to it or to stop it."""
        if not self.job:
            say("perhaps_submitted", name=self.name)
        else:
            say("kept" if self.has_started else "kept_in_queue", name=self.name, job=self.job)

    @property
    def has_started(self):
        """Return whether Slurm has started the job, as far as is known."""
        return self.state not in ("", "PENDING")

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
        super().__init__("job_ended", job=job, **how_it_ended(name, state, reason, memory))
        self.state, self.idle = "OUT_OF_MEMORY" if memory else state, reason.startswith("idle ")
