"""The variables of a notebook's kernel, on disk (--keep-state), so that finished cells need not run again.

They are kept between cells alone: a cell that was stopped halfway runs again, on what there was before it. The file is
the run's own, readable by its owner alone. To read it is to run what stands in it, so another owner's is not read.
"""

import asyncio
import contextlib
import json
import os
import shutil
import stat
import time
from pathlib import Path

from both.limits import LIMITS
from both.messages import message
from keep import own_among
from nbclient.exceptions import DeadKernelError

SHARE = 0.1
"""Of the time since variables were last kept, keeping them may take that part: so what has to run again, because they
were not kept after it, has taken ten times as long as keeping them does, or less."""
IN_KERNEL = {
    "python": ("in_kernel.py", "__import__('runpy').run_path(%s)['main'](get_ipython(), %s)"),
    "r": ("in_kernel.R", "local({source(%s, local = TRUE, encoding = 'UTF-8'); main(%s)})"),
}
"""For each language what its kernel runs: the file beside this one, and how."""
NAMES_SHOWN = 10


class Refused(Exception):
    """The kernel, or the disk, has not done it; the words say why."""


class Variables:
    """What is kept of a run, in FOLDER/.variables.NUMBER: as it was when so many cells had run."""

    def __init__(self, folder, injected=0):
        """folder: of this run; injected: which of the cells has a row's values, 0 for none."""
        # a notebook may change to another one
        self.folder, self.injected = folder.resolve(), injected
        self.path, self.number, self.lost = None, 0, {}
        self.saved, self.took = time.monotonic(), 0

    def find(self, folder, most):
        """Find the newest that an earlier run has kept; return after how many cells, at most so many, 0 for none."""
        numbers = {int(path.suffix[1:]): path for path in folder.glob(".variables.*") if path.suffix[1:].isdigit()}
        self.number = max((number for number in numbers if number <= most), default=0)
        self.path = numbers.get(self.number)
        return self.number

    def due(self):
        """Return whether it is time to keep them."""
        return self.took <= SHARE * (time.monotonic() - self.saved)

    async def keep(self, client, private, sources):
        """Keep them as they are now that these cells have run; return a line, "" where there is nothing to say.

        client: nbclient's; private: a folder that nobody else reads
        """
        begun, part, said = time.monotonic(), self.folder / ".variables.part", ""
        size, number = LIMITS.VARIABLES_MEGABYTES * 10**6, len(sources)
        try:
            wanted = {"path": str(part), "sources": sources, "size": size, "seconds": LIMITS.KEEP_VARIABLES}
            lost = await _ask(client, private, do="keep", **wanted)
            path = part.with_name(f".variables.{number}")
            part.replace(path)
            if self.path and self.path != path:
                self.path.unlink(missing_ok=True)
            self.path = path
            if lost.keys() - self.lost.keys():
                said = message("variables_lost", names=_names(lost))
            self.lost = lost
        except (Refused, OSError) as error:
            said = message("variables_not_kept", number=own_among(number, self.injected), words=error)
        finally:
            part.unlink(missing_ok=True)
            self.saved = time.monotonic()
            self.took = self.saved - begun
        return said

    async def restore(self, client, private):
        """Bring them back into a new kernel; return a line, "" where all are back; raises Refused where none are."""
        try:
            # whoever can write to the folder could put another file into its place
            file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            raise Refused(error) from None
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise Refused(message("variables_of_another", path=self.path))
            self.lost = await _ask(client, private, do="restore", path=f"/proc/{os.getpid()}/fd/{file}")
        finally:
            os.close(file)
        if self.path.parent != self.folder:
            # it is large, and of use to the newest run alone
            with contextlib.suppress(OSError):
                self.path = Path(shutil.move(self.path, self.folder / self.path.name))
        return message("variables_lost", names=_names(self.lost)) if self.lost else ""

    def forget(self):
        """Remove them: all cells have run."""
        if self.path:
            self.path.unlink(missing_ok=True)


async def _ask(client, private, **wanted):
    """Have the kernel do something with its variables; return what it has lost, {name: why}; raises Refused."""
    file, call = IN_KERNEL[client.km.kernel_spec.language.lower()]
    request, answer = Path(private, "request.json"), Path(private, "answer.json")
    request.write_text(json.dumps(wanted, ensure_ascii=False), encoding="utf-8")
    answer.unlink(missing_ok=True)
    # both languages read text as JSON writes it
    code = call % tuple(json.dumps(str(path), ensure_ascii=False) for path in (Path(__file__).with_name(file), request))
    reply = asyncio.ensure_future(client.kc.execute(code, silent=True, store_history=False, reply=True))
    # the kernel ends it sooner by itself, if it can
    end = time.monotonic() + 2 * LIMITS.KEEP_VARIABLES
    try:
        while not (await asyncio.wait({reply}, timeout=1))[0]:
            if not await client.km.is_alive():
                raise DeadKernelError
            if time.monotonic() > end:
                await client.km.interrupt_kernel()
                end = float("inf")
        content = reply.result()["content"]
    finally:
        reply.cancel()
    if content["status"] != "ok":
        error = f"{content.get('ename')}: {content.get('evalue')}".strip().splitlines()
        raise Refused(error[0][:200])
    return dict(json.loads(answer.read_text(encoding="utf-8"))["lost"])


def _names(lost):
    """Return what could not be kept, and why, in a line."""
    limits = {"size": f"> {LIMITS.VARIABLES_MEGABYTES // 1000} GB", "time": f"> {LIMITS.KEEP_VARIABLES} s"}
    words = [f"{name} ({limits.get(why, why)})" for name, why in lost.items()]
    return ", ".join(words[:NAMES_SHOWN]) + (", …" if words[NAMES_SHOWN:] else "")
