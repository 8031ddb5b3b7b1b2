"""Run a notebook in its own kernel, cell by cell: what submit_notebook.sh --execute asks for.

run.py NOTEBOOK FOLDER [--again EARLIER] [--row ROWS NUMBER] [--requeue TIMES] [--keep-state]: the executed notebook, as
far as it has come, a report to read (HTML), and its state go into FOLDER; it may go on where an earlier run has ended,
and take a row of parameters, and its variables may be kept. What a finished cell has shown is on disk before the next
one begins, and what the running one has when a signal, an error or its kernel's death ends the run. In FOLDER itself a
run goes on that Slurm has begun again, because its node was lost, or, TIMES times, at the time limit.

nbclient runs the cells. Its execute() would not do: it saves at the end only, and takes signals for itself
(nbclient 0.11, client.py).
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

sys.path += [str(Path(__file__).resolve().parents[2] / side) for side in ("", "cluster")]

import memory  # noqa: E402
import requeue  # noqa: E402
import resume  # noqa: E402
import sweep  # noqa: E402
from at_end import at_end  # noqa: E402
from both.messages import Trouble, message  # noqa: E402 - one voice for all Python
from inject import inject  # noqa: E402
from keep import OURS, Result, as_counted, code_cells, own_among, write  # noqa: E402
from variables import Refused, Variables  # noqa: E402

KERNEL_START = 600
"""Seconds; Julia compiles at its first start."""
TO_ARRIVE = 0.5
"""Seconds; what a cell has shown when a signal comes is on its way, or here."""


class End(NamedTuple):
    """How a run ends: "passed", "failed" or "stopped", its exit status, a line that says why, whether at the limit."""

    state: str
    status: int
    why: str
    at_limit: bool = False


class Stopped(Exception):
    """A signal has come, and the kernel is gone."""


class Run:
    """One run of a notebook; where it has come to."""

    def __init__(self, notebook, result, goes_on, injected, variables=None):
        """notebook: as nbformat reads it, whose outputs are replaced; result: the keep.Result.

        goes_on: a line that says for which time Slurm has begun it
        injected: which of the cells has a row's values, 0 for none
        variables: the Variables, where they are to be kept
        """
        self.notebook, self.result, self.goes_on, self.injected = notebook, result, goes_on, injected
        self.variables = variables
        # what people call cell 3 is the third of those in which there is something to run
        self.cells = code_cells(notebook)
        self.total = own_among(len(self.cells), injected)
        self.number, self.begun, self.ends_here = 0, time.monotonic(), False
        # so many cells have done to the kernel's variables what they do
        self.restored = 0
        self.client = NotebookClient(notebook, timeout=None, startup_timeout=KERNEL_START, record_timing=False)
        self.client.kernel_name = notebook.metadata.kernelspec.name
        self.client.on_cell_executed = self.note_reply
        self.client.reset_execution_trackers()
        self.memory = memory.kills()

    def line(self, key, **values):
        """Return a message that says where the run is."""
        number, cells = as_counted(self.number, self.injected), self.total
        own = 0 < self.number == self.injected
        cell = message("cell_of_row") if own else message("cell_of", number=number, cells=cells)
        return message(key, cell=cell, number=number, cells=cells, **values)

    def record(self, state, why):
        """Say how far the run has come."""
        self.result.record(state, as_counted(self.number, self.injected), self.total, why)

    def note_reply(self, cell, cell_index, execute_reply):
        """Note whether the cell asks its kernel to end: exit in IPython, quit() in R."""
        payload = execute_reply["content"].get("payload", [])
        self.ends_here = any(part.get("source") == "ask_exit" for part in payload)

    async def go(self):
        """Run all cells that are to be run, and keep what comes of it; return the End."""
        loop = asyncio.get_running_loop()
        # an exception out of a signal's handler would be asyncio's, which only notes it
        self.signal = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            loop.add_signal_handler(number, self.note_signal, number)
        self.private = tempfile.mkdtemp(prefix="notebook-", dir="/tmp")
        try:
            end = await self.begin() or await self.run_cells()
        finally:
            await self.end_kernel()
            shutil.rmtree(self.private, ignore_errors=True)
        self.result.finish()
        self.record(end.state, end.why)
        if self.variables and end.state == "passed":
            self.variables.forget()
        return end

    async def begin(self):
        """Start the kernel; return the End where that cannot be: no such program, a start without an end, a signal."""
        try:
            await self.unless_signalled(self.start_kernel())
            if self.variables and self.variables.path:
                await self.unless_signalled(self.restore())
        except Stopped:
            return self.stopped()
        except Exception as error:
            return End(
                "failed", 1, message("kernel_not_started", kernel=self.client.kernel_name, words=one_line(error))
            )

    def note_signal(self, number):
        """Note the first signal."""
        if not self.signal.done():
            self.signal.set_result(number)

    async def unless_signalled(self, work):
        """Return what a coroutine returns; raises Stopped when a signal comes before, and then the kernel is gone."""
        task = asyncio.ensure_future(work)
        await asyncio.wait({task, self.signal}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        await asyncio.wait({task}, timeout=TO_ARRIVE)
        await self.kill_kernel()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise Stopped

    async def start_kernel(self):
        """Start the kernel; what it is reached by is in a folder that nobody else reads."""
        manager = self.client.create_kernel_manager()
        manager.connection_file = f"{self.private}/kernel.json"
        # a port of the node is open to all its users; IJulia knows no other way
        # (github.com/JuliaLang/IJulia.jl/issues/862)
        if manager.kernel_spec.language.lower() != "julia":
            manager.transport, manager.ip = "ipc", f"{self.private}/kernel"
        await self.client.async_start_new_kernel(cwd=os.getcwd())
        await self.client.async_start_new_kernel_client()

    async def restore(self):
        """Bring back the variables that an earlier run has kept; where they do not come back, all cells run again."""
        try:
            print_if(await self.variables.restore(self.client, self.private))
            self.restored = self.variables.number
        except (Refused, DeadKernelError) as error:
            number = own_among(self.variables.number, self.injected)
            print(message("variables_not_back", number=number, words=error), flush=True)
            self.variables.path = None
            # some of them may be there
            await self.end_kernel()
            await self.start_kernel()

    async def keep_variables(self):
        """Keep the variables, if it is time to; return the End if it is one."""
        # what a cell tagged "always" finds may be further on than the cell
        between = self.restored < self.number < len(self.cells)
        if not (self.variables and between and self.variables.due()):
            return None
        sources = [self.notebook.cells[index].source for index in self.cells[: self.number]]
        try:
            print_if(await self.unless_signalled(self.variables.keep(self.client, self.private, sources)))
        except DeadKernelError:
            return self.kernel_died()
        except Stopped:
            self.number += 1
            return self.stopped()

    async def kill_kernel(self):
        """End the kernel at once, if there is one: what it was doing is not wanted any more."""
        if self.client.km and self.client.km.has_kernel:
            await self.client.km.shutdown_kernel(now=True)

    async def end_kernel(self):
        """Leave nothing of the kernel."""
        if self.client.kc:
            self.client.kc.stop_channels()
        await self.kill_kernel()

    async def run_cells(self):
        """Run the cells in their order; return the End."""
        for number, index in enumerate(self.cells, start=1):
            self.number = number
            if not self.result.skips(index, number <= self.restored):
                self.record("running", self.goes_on)
                end = await self.run_cell(index)
                if end:
                    return end
                if number != self.injected:
                    print(self.line("cell_passed", time=duration(time.monotonic() - self.begun)), flush=True)
                if self.ends_here:
                    return End("passed", 0, self.line("notebook_ended_itself"))
                end = await self.keep_variables()
                if end:
                    return end
        return End("passed", 0, self.line("notebook_passed", time=duration(time.monotonic() - self.begun)))

    async def run_cell(self, index):
        """Run one cell and keep what it has shown; return the End if it is one."""
        begun, end = time.monotonic(), None
        try:
            await self.unless_signalled(self.client.async_execute_cell(self.notebook.cells[index], index))
        except CellExecutionError as error:
            end = self.failed(error)
        except DeadKernelError:
            end = self.kernel_died()
        except Stopped:
            end = self.stopped()
        except Exception as error:
            # what the cell is, or shows, is nothing that can be sent, or that a notebook can hold
            end = End("failed", 1, self.line("cell_failed", words=one_line(f"{type(error).__name__}: {error}")))
        self.result.keep(index, end.state if end else "passed", time.monotonic() - begun)
        return end

    def failed(self, error):
        """Return the End of an error in a cell; of Python's sys.exit, as of any script."""
        if error.ename != "SystemExit":
            # a file has no colours
            print(re.sub(r"\x1b\[[0-9;]*m", "", error.traceback), flush=True)
            return End("failed", 1, self.line("cell_failed", words=one_line(f"{error.ename}: {error.evalue}")))
        if error.evalue in ("0", "None", "False", ""):
            return End("passed", 0, self.line("notebook_ended_itself"))
        status = int(error.evalue) if error.evalue.isdecimal() and int(error.evalue) < 256 else 1
        return End("failed", status, self.line("cell_failed", words=one_line(f"sys.exit({error.evalue})")))

    def kernel_died(self):
        """Return the End of a cell whose kernel is gone."""
        if memory.kills() > self.memory:
            return End("failed", 1, self.line("kernel_killed_for_memory"))
        return End("failed", 1, self.line("kernel_died"))

    def stopped(self):
        """Return the End that a signal has brought; Slurm's warning before the time limit is one."""
        number = self.signal.result()
        at_limit = number == signal.SIGUSR1
        key = "stopped_before_limit" if at_limit else "stopped_by_signal"
        return End("stopped", 1, self.line(key, signal=signal.Signals(number).name), at_limit)


def print_if(words):
    """Print a line, if there is one."""
    if words:
        print(words, flush=True)


def one_line(words):
    """Return the first line of some words, at most 200 letters of it."""
    lines = str(words).strip().splitlines() or [""]
    return lines[0][:200]


def duration(seconds):
    """Return a time as 5 s, 3 min 10 s or 2 h 05 min, which is the same in English and French."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def main(words):
    """Run the notebook that a command line names; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("notebook", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--again", type=Path)
    parser.add_argument("--row", nargs=2)
    parser.add_argument("--requeue", type=int, default=0)
    parser.add_argument("--keep-state", action="store_true")
    given = parser.parse_args(words)
    notebook, earlier, injected = resume.read_notebook(given.notebook), given.again, 0
    if given.row:
        with open(given.row[0], encoding="utf-8") as file:
            row = json.load(file)[int(given.row[1])]
        injected = inject(notebook, row["values"])
        earlier = row.get("before") and Path(row["before"]) / given.notebook.name
    result = Result(notebook, given.folder, given.notebook.name)
    said = sweep.said_by(given.folder)
    if said and said.state == "passed":
        # the node was lost afterwards
        print(said.why, flush=True)
        return 0
    goes_on = requeue.said(given.requeue)
    print_if(goes_on)
    (given.folder / sweep.WHICH).unlink(missing_ok=True)
    variables = Variables(given.folder, injected) if given.keep_state else None
    if result.path.exists():
        # Slurm has begun this job again
        earlier = result.path
    if earlier:
        print(resume.take_up(notebook, earlier, injected, variables), flush=True)
    notebook.metadata[OURS] = resume.conditions(notebook)
    run = Run(notebook, result, goes_on, injected, variables)
    end = asyncio.run(run.go())
    print(end.why, flush=True)
    if end.at_limit and given.requeue:
        queued, words = requeue.queue_again(given.requeue)
        print(words, flush=True)
        if queued:
            # true for as long as Slurm has the job
            write(given.folder / sweep.WHICH, words + "\n")
        else:
            run.record(end.state, f"{end.why}. {words}")
    return end.status


if __name__ == "__main__":
    # those are for developers, as nbformat's of cells without ids; a kernel's own are in its cells
    warnings.simplefilter("ignore")
    try:
        with at_end():
            sys.exit(main(sys.argv[1:]))
    except Trouble as trouble:
        sys.exit(str(trouble))
    except OSError as error:
        # the disk is full, the notebook is gone
        sys.exit(message("os_error", words=error))
