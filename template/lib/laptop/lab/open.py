"""`lab open` and `lab attach`: from nothing to a page in the browser, which is kept alive until the user says stop."""

import signal
import sys
import time

from . import browser
from .channel import Interrupted, Lost
from .messages import Trouble, message, say, warn
from .sync import send_scripts, sum_of_folder
from .tunnel import Session, tunnel_to
from .waiting import clock_time, hours_and_minutes

PROOF = 10
"""Seconds between two looks at whether the page still answers."""
WARNINGS = (15, 5)
"""Minutes before the time limit at which the user is warned."""
ENDED = (
    "CANCELLED", "COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE",
    "REVOKED",
)  # fmt: skip
"""Slurm's states of a job that is over (https://slurm.schedmd.com/squeue.html, job state codes)."""
HOPELESS = (
    "ReqNodeNotAvail", "Nodes required", "Partition", "BadConstraints", "InvalidAccount", "InvalidQOS",
    "AccountNotAllowed", "QOSNotAllowed", "QOSMax", "AssocMax", "DependencyNeverSatisfied", "JobHeld", "launch failed",
)  # fmt: skip
"""How the reasons begin for which a pending job waits in vain, or nobody knows how long
(https://slurm.schedmd.com/job_reason_codes.html)."""


class Opening:
    """One session that is opened, or attached to, and then watched."""

    def __init__(self, settings, conversation, name):
        self.settings, self.conversation, self.name = settings, conversation, name
        self.waiting = conversation.waiting
        # mine: this lab has submitted it; it cancels no other
        self.job, self.mine, self.session, self.tunnel = None, False, None, None
        # Slurm's words: state, reason, start
        self.state, self.reason, self.start = "", "", ""

    def open(self, options, browse):
        """Find the session of that name or submits one, with options of sbatch; then as attach. Return the status."""
        self.request = (
            "open",
            self.conversation.connection.folder(self.settings),
            sum_of_folder(),
            self.name,
            *options,
        )
        return self._run(self._submit, browse, options)

    def attach(self, browse):
        """Lead a local port to the session's server, opens the browser, stays until the session ends or Ctrl-C."""
        self.request = ("find", self.name)
        return self._run(self._find, browse)

    def _run(self, find, browse, *how):
        """Run the whole of it; return the exit status."""
        try:
            self.conversation.ask(*self.request)
            find(*how)
            self._wait_for_server()
            self._reach(browse)
            return self._stay()
        except Interrupted:
            return self._keep_or_stop()
        except Trouble as trouble:
            if self.job and trouble.key == "no_connection":
                say("kept" if self.session else "kept_in_queue", name=self.name, job=self.job)
            raise
        finally:
            self.waiting.done()
            browser.forget()
            self.conversation.close()

    # --- the job --------------------------------------------------------------------------------------------------

    def _answer(self):
        """Return what the login node says next (None after a second); repairs the connection and ask again."""
        try:
            return self.conversation.next()
        except Lost:
            if self.conversation.repair():
                self.conversation.ask(*self.request)
            return None

    def _submit(self, options):
        """Send the folder there if it must be, and wait for the job's number."""
        while not self.job:
            words = self._answer()
            if words is None:
                self.waiting.show("waiting_for_submission", login=self._place)
            elif words[0] == "folder" and words[1] == "other":
                raise Trouble("other_folder", folder=self.settings.project, login=self._place)
            elif words[0] == "folder" and words[1] != "same":
                self.waiting.done()
                send_scripts(self.settings, self.conversation, words[1] == "missing")
                self.request = (*self.request[:2], sum_of_folder(), *self.request[3:])
                self.conversation.ask(*self.request)
            elif words[0] == "trouble":
                raise Trouble("slurm_says", words=words[1])
            elif words[0] == "failed":
                # its own words stand above
                raise Trouble("script_failed", script=words[1])
            elif words[0] in ("submitted", "found"):
                self.job, self.mine = words[1], words[0] == "submitted"
        self.waiting.done()
        say("session_submitted" if self.mine else "session_found", name=self.name, job=self.job)
        if options and not self.mine:
            warn("options_not_used", options=" ".join(options), name=self.name)

    def _find(self):
        """Wait for the number of the job that has this name."""
        while not self.job:
            words = self._answer()
            if words is None:
                self.waiting.show("waiting_for_answer", login=self._place)
            elif words[0] == "trouble":
                raise Trouble("slurm_says", words=words[1])
            elif words[0] == "found":
                if len(words) < 2 or not words[1]:
                    raise Trouble("no_session_called", name=self.name)
                self.job = words[1]
        self.waiting.done()

    def _wait_for_server(self):
        """Wait until the session's record is there; raises Trouble as soon as Slurm says that it will not be."""
        self.request = ("follow", self.job)
        self.conversation.ask(*self.request)
        self.waiting.restart()
        while not self.session:
            words = self._answer()
            if words is None:
                self._show_state()
            elif words[0] == "up":
                self.session = Session(words[1], self.name, *words[2:])
            elif words[0] == "state":
                self._hear(words)
                if self.state == "PENDING" and self.reason.startswith(HOPELESS) and self.mine:
                    raise Trouble("pending_in_vain", job=self.job, reason=self.reason, name=self.name)
            elif words[0] == "trouble":
                self.waiting.done()
                warn("slurm_says", words=words[1])

    def _hear(self, words):
        """Keep what Slurm says of the job; raises Trouble when it is over."""
        self.state, self.reason, self.start = words[3:6]
        if self.state in ENDED:
            memory = words[8] if len(words) > 8 else ""
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
        """Open the tunnel, proves it, opens the browser."""
        self.waiting.restart()
        self.tunnel = tunnel_to(self.session, self.conversation, self.settings)
        port = self.settings.personal.get("port")
        self.tunnel.lead(int(port) if port else None)
        self.waiting.done()
        end = self.session.end
        if self.conversation.connection.here:
            say("session_here", name=self.name, node=self.session.node, end=end)
            return
        key = "session_ready" if self.mine else "session_attached"
        say(key, address=self.tunnel.address, node=self.session.node, end=end, name=self.name)
        if browse:
            browser.open_browser(self.tunnel.address_with_token, self.waiting)

    def _stay(self):
        """Keep tunnel and page alive until the session ends; return the exit status."""
        left = self.session.left
        to_come = [minutes for minutes in WARNINGS if left is not None and left > minutes * 60]
        look, failures = time.monotonic() + PROOF, 0
        while True:
            try:
                words = self.conversation.next()
                if words and words[0] == "state":
                    self._hear(words)
                elif words and words[0] == "up":
                    self.session.limit(*words[3:])
                # not while the connection is silent: that is another trouble
                if time.monotonic() >= look and not self.conversation.silence:
                    failures = 0 if self.tunnel.proved() else failures + 1
                    if failures == 1:
                        # the second look comes when that is answered
                        self.conversation.ask_for_life()
                    if failures > 1:
                        self._look_after()
                    # a second look at once; where nothing helps, Slurm is asked ever less often
                    look = time.monotonic() + (PROOF if failures == 0 else min(60, 5 * 2 ** (failures - 1)) - 4)
            except Lost:
                self._come_back()
            except Ended as ended:
                self.waiting.done()
                self.tunnel.close()
                if ended.state not in ("COMPLETED", "CANCELLED"):
                    raise
                say("session_over", name=self.name, state=ended.state)
                return 0
            left = self.session.left
            if to_come and left <= to_come[0] * 60:
                # after a sleep of the computer it may be more than one
                to_come = [minutes for minutes in to_come if left > minutes * 60]
                self.waiting.done()
                minutes = max(0, -int(-left // 60))
                warn("time_is_short_here", name=self.name, minutes=minutes, end=self.session.end)
            if left is not None:
                self.waiting.stand("staying", node=self.session.node, left=hours_and_minutes(left))

    def _come_back(self):
        """After a lost connection: the same session on the same port."""
        self.waiting.done()
        new = self.conversation.repair()
        if new:
            # it says whether the job is still there
            self.conversation.ask("follow", self.job)
        try:
            # within the same connection the port is still ssh's
            if new or not self.tunnel.proved():
                self.tunnel.renew()
        except Trouble:
            # what became of the server is seen at the next looks
            return
        self.waiting.done()
        say("page_works_again", address=self.tunnel.address)

    def _look_after(self):
        """The page has not answered twice: the tunnel is made anew, and where that is no help, Slurm is asked."""
        try:
            self.tunnel.renew()
        except Trouble as trouble:
            self.waiting.done()
            warn(trouble.key, **trouble.values)
            self.conversation.ask("state", self.job)

    # --- the end --------------------------------------------------------------------------------------------------

    @property
    def _place(self):
        """Return where the scripts run, for a message."""
        return self.conversation.connection.login or self.settings.cluster

    def _keep_or_stop(self):
        """After Ctrl-C: asks whether the job is to go on; the job of another lab always does."""
        conversation = self.conversation
        self.waiting.done()
        asked = conversation.interrupted == "SIGINT" and sys.stdin.isatty()
        conversation.interrupted = ""
        if not self.job and not self._late_answer():
            say("nothing_submitted")
            return 130
        stop = asked and self.mine and self._wants_to_stop()
        if self.tunnel:
            self.tunnel.close()
        if not stop:
            say("kept" if self.session else "kept_in_queue", name=self.name, job=self.job)
            return 0
        try:
            done = conversation.ask_for("stopped", "stop", self.job, self.name)
        except Trouble as trouble:
            if trouble.key != "no_word":
                raise
            conversation.repair()
            done = conversation.ask_for("stopped", "stop", self.job, self.name)
        say("session_stopped" if done else "session_was_over", name=self.name, job=self.job)
        return 0

    def _late_answer(self):
        """End a submission that is under way; return the job that there is nevertheless, which is not cancelled."""
        found = self.conversation.ask_for("withdrawn", "withdraw", self.name)
        self.job = found[0] if found else None
        return self.job

    def _wants_to_stop(self):
        """Asks; no answer, and a second Ctrl-C, mean to keep it."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        end = self.session.end if self.session else "?"
        print("\n" + message("keep_or_stop" if self.session else "keep_or_stop_waiting", end=end), end=" ", flush=True)
        try:
            answer = sys.stdin.readline().strip().lower()
        except KeyboardInterrupt:
            print()
            return False
        return bool(answer) and message("word_stop").startswith(answer)


class Ended(Trouble):
    """The job is over; Slurm's words, and what to do."""

    def __init__(self, job, name, state, reason, memory):
        """memory: what Slurm wrote about the job's memory, if that was it."""
        hint = message("hint_out_of_memory" if memory else f"hint_{state.lower()}", name=name)
        # "CANCELLED by 1001" has the state in it; "None" says nothing
        words = reason if reason.startswith(state) else f"{state} ({reason})" if reason not in ("", "None") else state
        super().__init__("job_ended", job=job, words=words, hint=hint)
        self.state = "OUT_OF_MEMORY" if memory else state
