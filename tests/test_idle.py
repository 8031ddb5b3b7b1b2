"""A session in which nothing is done: what is work, and what is none. Real JupyterLab on this computer, without Slurm."""

import json
import subprocess
import sys

import pytest
from conftest import TEMPLATE

SCENARIO = """
import asyncio, json, os, subprocess, sys, time
from datetime import timedelta
sys.path.insert(0, sys.argv[1])
import idle
from jupyterlab.labapp import LabApp
from tornado.httpclient import AsyncHTTPClient
from tornado.web import RequestHandler

MINUTES, BEFORE = 60, 10
LATE = (MINUTES - BEFORE) * 60 + 5
warnings = []

async def until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, [kernel.execution_state for kernel in kernels()]
        await asyncio.sleep(0.02)

async def ask(path, method="GET", body=None, **headers):
    headers = {"Authorization": f"token {server.identity_provider.token}", **headers}
    url = f"http://127.0.0.1:{server.port}/{path}"
    return (await AsyncHTTPClient().fetch(url, method=method, body=body, headers=headers)).body

def pass_by(seconds):
    "All that has been done was done so much earlier."
    watch.used -= seconds
    for one in [*kernels(), *terminals()]:
        one.last_activity -= timedelta(seconds=seconds)

def look(after=0, since=1000):
    "Return whether the session is over, and the warnings given and taken back; since: seconds after the look before."
    warnings.clear()
    watch.looked = time.time() - since
    over = watch.is_over(time.time() + after)
    return [over, *warnings]

def kernels():
    return [server.kernel_manager.get_kernel(name) for name in server.kernel_manager.list_kernel_ids()]

def terminals():
    return server.web_app.settings["terminal_manager"].terminals.values()

def write(text):
    next(iter(terminals())).ptyproc.write(text)

async def run(code):
    "Run it in the kernel; return when it runs."
    count = len(open("begun").read())
    client.execute(f"open('begun', 'a').write('.'); {code}")
    await until(lambda: len(open("begun").read()) > count and kernels()[0].execution_state == "busy")

def is_idle():
    return kernels()[0].execution_state == "idle"

async def scenario():
    global watch, client
    open("begun", "w").close()
    watch = idle.Idle(server, MINUTES, BEFORE, warnings.append)
    await ask("api/kernels", "POST", json.dumps({"name": "python3"}))
    await ask("api/terminals", "POST", "{}")
    client = kernels()[0].client()
    client.start_channels()
    await client.wait_for_ready(60)

    def has_been_heard():
        "Return whether the server hears the kernel: it may have begun to listen only after the kernel's last word."
        client.kernel_info()
        return is_idle()

    await until(has_been_heard)
    await until(is_idle)
    await until(lambda: not idle.runs_a_program(next(iter(terminals()))))
    yield "nothing yet", look()

    async def after(what, doing):
        "Nothing is done for long, then that."
        pass_by(LATE)
        said = [look()]
        await doing()
        return what, said + [look()]

    async def polls():
        for path in ("kernels", "sessions", "terminals", "contents", "status"):
            await ask("api/" + path)

    async def layout():
        await ask("lab/api/workspaces/default", "PUT", json.dumps({"data": {}, "metadata": {"id": "default"}}))

    async def rstudio_waits():
        await ask("rstudio/events/get_events", "POST", "{}")

    async def rstudio():
        await ask("rstudio/rpc/console_input", "POST", "{}")

    async def save():
        await ask("api/contents/a.txt", "PUT", json.dumps({"type": "file", "format": "text", "content": "x"}))

    async def load():
        await ask("lab", Accept="text/html,application/xhtml+xml")

    async def cell():
        await run("import time; time.sleep(0.2)")
        await until(is_idle)

    async def terminal():
        before = [one.last_activity for one in terminals()]
        write("true\\n")
        await until(lambda: [one.last_activity for one in terminals()] != before)
        await until(lambda: not idle.runs_a_program(next(iter(terminals()))))

    for doing in (polls, layout, rstudio_waits):
        yield await after(doing.__name__, doing)
        await save()
        look()
    for doing in (save, load, rstudio, cell, terminal):
        yield await after(doing.__name__, doing)

    await run("import os, time\\nwhile not os.path.exists('end'): time.sleep(0.02)")
    pass_by(2 * LATE)
    yield "silent cell", look()
    open("end", "w").close()
    await until(is_idle)
    write("cat\\n")
    await until(lambda: idle.runs_a_program(next(iter(terminals()))))
    pass_by(2 * LATE)
    yield "silent program", look()
    write("\\x04")
    await until(lambda: not idle.runs_a_program(next(iter(terminals()))))
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    seconds = lambda: idle.seconds_of_job().get(str(busy.pid), 0)
    await until(lambda: seconds() > 0.01)
    look()
    spent = seconds()
    await until(lambda: seconds() > spent + 0.5)
    pass_by(2 * LATE)
    yield "computing", look(since=1)
    busy.kill()
    busy.wait()

    await save()
    pass_by(2 * LATE)
    yield "suspended", look()
    yield "the end", look(after=BEFORE * 60)

async def main():
    try:
        async for what, seen in scenario():
            print(json.dumps([what, seen]), flush=True)
    finally:
        server.stop()

options = ["--ip", "127.0.0.1", "--no-browser", "--port=0", "--ServerApp.root_dir=" + os.getcwd(), "--allow-root"]
server = LabApp.initialize_server(argv=options)
class RStudio(RequestHandler):
    "What answers behind jupyter-server-proxy."
    def check_xsrf_cookie(self):
        pass
    def post(self):
        pass

server.web_app.add_handlers(".*$", [("/rstudio/.*", RStudio)])
server.io_loop.add_callback(main)
server.start()
"""


@pytest.mark.timeout(300)
def test_only_what_a_person_does_and_what_runs_keeps_a_session(environment, tmp_path):
    home = {"HOME": str(tmp_path), "SHELL": "/bin/sh", "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    # as in a job of its own
    home |= {"SLURM_JOB_ID": f"of-{tmp_path}", "IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run(
        [sys.executable, "-c", SCENARIO, TEMPLATE / "lib/compute_node"],
        env={**environment, **home},
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
    )
    seen = dict(map(json.loads, done.stdout.splitlines()))
    none, warned, taken_back = [False], [False, True], [False, False]
    assert seen == {
        "nothing yet": none,
        # what an open page asks by itself
        "polls": [warned, none],
        "layout": [warned, none],
        "rstudio_waits": [warned, none],
        # what somebody does
        **dict.fromkeys(["save", "load", "rstudio", "cell", "terminal"], [warned, taken_back]),
        # what runs
        **dict.fromkeys(["silent cell", "silent program", "computing"], none),
        # nobody has been warned yet
        "suspended": warned,
        "the end": [True],
    }, done.stderr
