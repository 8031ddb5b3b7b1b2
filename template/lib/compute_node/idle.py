"""Ends a session in which nobody does anything any more and nothing runs, so that its node is free for others.

The server's own setting (shutdown_no_activity_timeout) ends none whose page is open somewhere, because the page itself
goes on asking, and none that has a kernel or a terminal.
"""

import asyncio
import contextlib
import os
import signal
import time

import notice
from guard import limit

MINUTE = 60
COMPUTES = 0.1
"""Of one core. What is more is work; kernels, language servers and an open page take a hundredth when they wait."""
BY_ITSELF = ("/events/get_events", "/lab/api/workspaces/")
"""What an open page sends when nobody is there: RStudio's waits for news so (rstudio/rstudio, src/gwt,
RemoteServer.java), and JupyterLab's writes down every ten seconds what is open, while a text is (seen with 4.6)."""


class Idle:
    """How long nothing has been done, and what follows from it."""

    def __init__(self, server, minutes, before, warn):
        """minutes: after so many it ends; before: with so many left, it is warn(True), which warn(False) takes back."""
        self.server, self.seconds, self.before, self.warn = server, minutes * MINUTE, before * MINUTE, warn
        # when something was done, and when it was warned
        self.used, self.warned = time.time(), None
        # what the job's processes had computed at the last look, and when that was
        self.computed, self.looked = {}, 0
        settings = server.web_app.settings
        log = settings.get("log_function", lambda handler: None)

        def heed(handler):
            if is_somebodys(handler):
                self.used = time.time()
            log(handler)

        settings["log_function"] = heed

    def is_over(self, now):
        """Return whether the session ends now (seconds since 1970); warn, or take the warning back."""
        left = self.last_use(now) + self.seconds - now
        near = left <= self.before
        if near != bool(self.warned):
            self.warned = now if near else None
            self.warn(near)
        # a job that was suspended is warned first, too
        return near and now - self.warned >= self.before

    def last_use(self, now):
        """Return when something was done, or was going on, for the last time."""
        manager = self.server.kernel_manager
        kernels = [manager.get_kernel(name) for name in manager.list_kernel_ids()]
        terminals = getattr(self.server.web_app.settings.get("terminal_manager"), "terminals", {}).values()
        busy = any(getattr(kernel, "execution_state", "") == "busy" for kernel in kernels)
        if self.computes(now) or busy or any(map(runs_a_program, terminals)):
            self.used = now
        spoken = [getattr(one, "last_activity", None) for one in [*kernels, *terminals]]
        return max([self.used, *(moment.timestamp() for moment in spoken if moment)])

    def computes(self, now):
        """Return whether the job computes: what nobody waits for in a terminal, RStudio's R, a kernel's threads."""
        before, self.computed = self.computed, seconds_of_job()
        since, self.looked = now - self.looked, now
        spent = sum(max(0, seconds - before.get(process, 0)) for process, seconds in self.computed.items())
        # the first look has nothing to compare with
        return bool(before) and spent > COMPUTES * since


def is_somebodys(handler):
    """Return whether a request is somebody's doing: it loads a page, or changes something, such as a document."""
    request = handler.request
    changes = request.method not in ("GET", "HEAD", "OPTIONS") and not any(part in request.path for part in BY_ITSELF)
    return handler.get_status() < 400 and (changes or request.headers.get("Accept", "").startswith("text/html"))


def runs_a_program(terminal):
    """Return whether something else than its shell is in the foreground of a terminal."""
    with contextlib.suppress(OSError):
        return os.tcgetpgrp(terminal.ptyproc.fd) != terminal.ptyproc.pid
    return False


def seconds_of_job():
    """Return what each process of the job but this one has computed, with the children that it has outlived."""
    job, seconds = f"SLURM_JOB_ID={os.environ.get('SLURM_JOB_ID')}".encode(), {}
    for process in filter(str.isdigit, os.listdir("/proc")):
        # others', and what has just ended
        with contextlib.suppress(OSError):
            with open(f"/proc/{process}/environ", "rb") as file:
                if job not in file.read().split(b"\0") or int(process) == os.getpid():
                    continue
            with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
                # utime, stime, cutime, cstime of proc(5)
                fields = file.read().rpartition(")")[2].split()[11:15]
            seconds[process] = sum(map(int, fields)) / os.sysconf("SC_CLK_TCK")
    return seconds


async def watch(server, notify, folder):
    """Look now and then until nothing was done for long; have what is open saved then, leave word, and end the server.

    notify: what notice.prepare returns
    folder: where passerelle.idle has a line each of minutes, minutes before, what is said then, and what at the end
    (without it, nothing is to be done); and where passerelle.was_idle is left
    """
    try:
        with open(folder + "/passerelle.idle", encoding="utf-8") as file:
            minutes, before, warning, last_words = file.read().splitlines()
    except FileNotFoundError:
        return
    idle = Idle(server, int(minutes), int(before), lambda near: notify("idle", warning if near else ""))
    while not idle.is_over(time.time()):
        await asyncio.sleep(limit("IDLE_LOOK"))
    notify("idle", last_words, save=True)
    await asyncio.sleep(notice.TO_SAVE)
    with open(folder + "/passerelle.was_idle", "w", encoding="ascii") as file:
        file.write(minutes + "\n")
    os.kill(os.getpid(), signal.SIGTERM)
