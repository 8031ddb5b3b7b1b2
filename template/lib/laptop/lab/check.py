"""`lab check`: one line for each step of the way to the page, up to the first that fails; nothing there is changed."""

import functools
import itertools
import time

from both.job_states import ENDED
from both.limits import LIMITS
from both.messages import Trouble, message, printable, put, say

from .channel import Channel
from .openssh import address_of, log_in, meaning, offered_keys, ssh_settings
from .paths import sum_of, sum_of_folder
from .session import Session, no_session
from .template import Asked
from .tunnel import tunnel_to
from .waiting import Waiting, clock_time, hours_and_minutes, is_time

STEPS = (
    "step_name", "step_key", "step_connection", "step_folder", "step_account", "step_quota", "step_modules",
    "step_environment", "step_session", "step_node", "step_port", "step_time",
)  # fmt: skip
"""What is looked at, in the order in which `lab open` needs it; keys of lib/texts."""
TIMED_OUT = ("124", "137")
"""The statuses of `timeout`, when it had to end or to kill a command."""
DONE_BY_OPEN = "3"
"""The status of check.sh for what is no failure, because the next `lab open` does it."""


def check(settings, connection, taken):
    """Take step after step; return the exit status. Connects by itself: that is one of the steps."""
    return Check(settings, connection, taken["name"]).run()


class Check:
    """The steps, one after the other."""

    def __init__(self, settings, connection, name):
        """name: the session's, if one is there."""
        self.settings, self.connection, self.name = settings, connection, name
        self.login, self.step, self.channel, self.shared = connection.login, STEPS[0], None, True

    def run(self):
        """Take step after step; return the exit status. Last of all comes a newer template, which nothing waits for."""
        template = Asked()
        try:
            status = self._take_steps()
            if newer := template.wait():
                say("template_newer", newer=newer, version=template.version)
            return status
        finally:
            template.close()
            if self.channel:
                self.channel.close()

    def _take_steps(self):
        """Take step after step; return the exit status."""
        try:
            if not self.connection.here:
                self._look_up_name()
                self._connect()
            self._ask_login_node()
            self._look_at_session()
        except Trouble as trouble:
            self._line(message("check_fails"), str(trouble))
            return 1
        return 0

    def _line(self, mark, text):
        """Print how the step went."""
        marks = len(message("check_fails"))
        steps = max(len(message(step)) for step in STEPS)
        put(f"{mark:<{marks}}  {message(self.step):<{steps}}  {text}")

    def _ok(self, key, **values):
        """The step went well."""
        self._line("ok", message(key, **values))

    def _nothing(self, key, **values):
        """There is nothing to look at, and that is no failure."""
        self._line("--", message(key, **values))

    # --- the way to the login node --------------------------------------------------------------------------------

    def _look_up_name(self):
        """The login node's name, as ~/.ssh/config has it."""
        self.ssh = ssh_settings(self.login)
        self.host = self.ssh["hostname"][0]
        waiting = Waiting()
        try:
            show = functools.partial(waiting.show, "check_waiting", step=message(self.step))
            address = address_of(self.ssh, self.connection.place_of(self.host), show)
        finally:
            waiting.done()
        self._ok("check_name" if address else "check_proxied", host=self.host, address=address)

    def _connect(self):
        """Log in, unless a connection is open."""
        self.step = "step_connection"
        if self.connection.state() == "frozen":
            raise self._trouble("check_no_reaction")
        # where each channel logs in by itself, the next one does
        if self.connection.separate:
            self.shared = False
            return
        with self.connection.turn(Waiting(), heed=lambda: None) as is_open:
            self.shared = is_open
            if not is_open:
                self._log_in()
        self.step = "step_key"
        if self.shared:
            self._ok("check_key_unneeded")
        else:
            keys = offered_keys(self.ssh)
            self._ok("check_keys" if keys else "check_no_keys", keys=", ".join(keys))

    def _log_in(self):
        """Log in; raises Trouble with what ssh has said."""
        say("lab_connecting", login=self.login)
        self.step = "step_key"
        command = self.connection.prepare()
        self.step = "step_connection"
        logged_in, words = log_in(command)
        if not logged_in:
            self.step, key = meaning(words)
            raise self._trouble(key)

    def _trouble(self, key):
        """Return a Trouble with what messages about the way to the login node may name."""
        place = self.connection.place_of(self.host)
        port, user = self.ssh["port"][0], self.ssh["user"][0]
        known_as = self.host if port == "22" else f"'[{self.host}]:{port}'"
        keys = ", ".join(offered_keys(self.ssh)) or message("check_none")
        return Trouble(
            key, host=self.host, place=place, login=self.login, user=user, port=port, known_as=known_as, keys=keys
        )

    # --- on the login node ----------------------------------------------------------------------------------------

    def _call(self, *words):
        """Return the answers to a request; raises Trouble, about the connection if it is lost."""
        try:
            yield from self.channel.call(
                *words, limit=LIMITS.CHECK_ANSWER,
                show=lambda: self.channel.waiting.show("check_waiting", step=message(self.step)),
            )  # fmt: skip
        except Trouble as trouble:
            if trouble.key not in ("no_word", "no_answer") or self.connection.here:
                raise
            self.step = "step_connection"
            if not self.connection.reachable():
                raise self._trouble("check_unreachable") from None
            if self.shared:
                raise self._trouble("check_no_reaction") from None
            raise Trouble("no_answer", login=self.login) from None

    def _ask_login_node(self):
        """What lib/login_node/check.sh looks at, there."""
        self.step = "step_connection"
        folder = self.connection.folder(self.settings)
        self.channel = Channel(self.connection)
        self.channel.open()
        answers = self._call("check", folder, sum_of_folder())
        state = next(words[0] for kind, *words in answers if kind == "folder")
        if self.connection.here:
            self._ok("check_here", login=self.login)
        else:
            self._ok("check_shared" if self.shared else "check_connected", login=self.login)
            self.step = "step_folder"
            if state == "other":
                raise Trouble("other_folder", folder=folder, login=self.login)
            if state == "missing":
                self._nothing("check_no_folder", folder=folder, login=self.login)
                return
            if state == "differs":
                self._nothing("check_folder_differs", folder=folder, login=self.login)
            else:
                self._ok("check_folder", folder=folder)
        for step in ("step_account", "step_quota", "step_modules", "step_environment"):
            self.step = step
            status, words = next(words[1:] for kind, *words in answers if kind == "step")
            if status in TIMED_OUT:
                raise Trouble("check_slow", login=self.login)
            # what other settings ask for there is no failure here; a full disk is one with any
            if status != "0" and step != "step_quota" and state == "differs" and self._settings_differ(folder):
                self._nothing("check_there", login=self.login, words=words)
                return
            if status == DONE_BY_OPEN:
                self._line("--", printable(words))
                continue
            if status != "0":
                raise Trouble("said", words=words)
            self._say_well(dict(pair.partition("=")[::2] for pair in words.split("\t")))

    def _settings_differ(self, folder):
        """Return whether settings.yml there is another one than here, so that its words and lines are not ours."""
        sums = itertools.takewhile(lambda answer: answer != ["summed"], self._call("sums", folder, "settings.yml"))
        return [*sums] != [["sum", "0", sum_of("settings.yml")]]

    def _say_well(self, found):
        """Print what check.sh has found, where all is well; start and now: seconds since 1970, by that clock."""
        found = {name: found.get(name, "") for name in ("start", "now", "folders", "modules", "path", "version")}
        if self.step == "step_quota":
            self._ok("check_quota", **found)
        elif self.step == "step_modules":
            self._ok("check_modules" if found["modules"] else "check_no_modules", **found)
        elif self.step == "step_environment":
            self._ok("check_environment", **found)
        elif not (is_time(found["start"]) and is_time(found["now"])) or int(found["start"]) - int(found["now"]) < 60:
            self._ok("check_starts_now")
        else:
            self._ok("check_starts", start=clock_time(str(int(time.time()) + int(found["start"]) - int(found["now"]))))

    # --- the session ----------------------------------------------------------------------------------------------

    def _look_at_session(self):
        """The running session of that name: its server, the port that leads there, the time left."""
        self.step = "step_session"
        _, job = next(self._call("find", self.name))
        if not job:
            last = no_session(self.name, *next(self._call("last", self.name, ",".join(ENDED)))[1:])
            if last.key == "session_ended":
                self._line("--", str(last))
                return
            option = "" if self.name == self.settings.project else f" --name={self.name}"
            self._nothing("check_no_session", name=self.name, option=option)
            return
        _, state, reason, start, node, _ = next(self._call("state", job))
        _, address, end, now = next(self._call("record", job))
        if state != "RUNNING":
            start = clock_time(start) or message("unknown")
            self._nothing("check_waits", name=self.name, job=job, state=state, reason=reason, start=start)
        elif not address:
            self._nothing("check_no_server_yet", name=self.name, job=job, node=node)
        else:
            self._ok("check_session", name=self.name, job=job)
            self._look_at_server(Session(job, self.name, address, end, now), node)

    def _look_at_server(self, session, node):
        """node: as Slurm calls it."""
        self.step = "step_node"
        tunnel = tunnel_to(session, self.channel, self.settings)
        port, leads = (None, False) if self.connection.here else tunnel.look()
        if not leads and not self._proves_itself(tunnel):
            _, state = next(self._call("node", node))
            raise Trouble("check_no_server", node=session.node, state=state or message("unknown"), name=self.name)
        self._ok("check_server", node=session.node)
        self.step = "step_port"
        if leads:
            self._ok("check_port_leads", port=port)
        elif port == tunnel.first:
            self._ok("check_port_free", port=port)
        elif port:
            self._ok("check_port_taken", port=port, taken=tunnel.first)
        elif not self.connection.here:
            raise tunnel.no_free_port(tunnel.first)
        self.step = "step_time"
        if session.left is None:
            self._nothing("check_no_end")
            return
        left = hours_and_minutes(session.left)
        if session.left < LIMITS.SHORT_WARNING_MINUTES * 60:
            raise Trouble("check_too_short", left=left, end=session.end)
        self._ok("check_time", left=left, end=session.end)

    def _proves_itself(self, tunnel):
        """Return whether the server does before long; `lab open` has more patience."""
        # where a second ssh is needed, that may ask its questions
        with tunnel.for_a_moment() as leads:
            deadline = time.monotonic() + 2 * LIMITS.SERVER_ANSWER
            while leads and not tunnel.proved():
                self.channel.waiting.show("check_waiting", step=message(self.step))
                self.channel.heed()
                if time.monotonic() > deadline:
                    if refusal := tunnel.refusal():
                        raise refusal
                    return False
                time.sleep(0.1)
            return leads
