"""Traps of clusters, each of which springs without us and is closed in a session: real kernels on this computer, without Slurm.

Elsewhere: what stands in ~/.jupyter and other kernels of that name (test_jupyter.py), pip's and Python's variables and files while
an environment is built (test_own_settings.py), settings.yml from Windows (test_settings.py), requirements.txt (test_lock.py).
"""

import json
import os
import subprocess
import sys
import sysconfig
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from jupyter_client import BlockingKernelClient
from test_jupyter import OPENER, Person, get

THREADS = "import ctypes\nprint(ctypes.CDLL('libgomp.so.1').omp_get_max_threads())"


def run_in(person, session, code):
    """Return what a code prints in a new kernel of a session, or the name of its error."""
    assert session.base, session.log.read_text()
    kernel = json.loads(get(session.base + "/api/kernels", session.token, name="python3")[1])["id"]
    (file,) = person.home.parent.glob(f"*/jupyter/kernel-{kernel}.json")
    client, said = BlockingKernelClient(connection_file=str(file)), []
    client.load_connection_file()
    # a busy kernel is no dead one
    client.start_channels(hb=False)
    try:
        client.wait_for_ready(timeout=120)
        client.execute_interactive(code, output_hook=lambda message: said.append(message["content"]), timeout=60)
    finally:
        client.stop_channels()
    return "".join(content.get("text") or content.get("ename") or "" for content in said).strip()


def run_in_session(person, folder, *codes, **variables):
    """Return what each code prints in a session."""
    with person.session(folder, **variables) as session:
        return [run_in(person, session, code) for code in codes]


def save(session, path, notebook):
    """Save a notebook as the page does."""
    request = urllib.request.Request(
        f"{session.base}/api/contents{path}",
        json.dumps({"type": "notebook", "content": notebook}).encode(),
        {"Authorization": f"token {session.token}"},
        method="PUT",
    )
    with OPENER.open(request, timeout=60) as answer:
        assert answer.status == 201


def without_us(person, code, python=sys.executable, **variables):
    """Return what a code prints in a Python that nobody has prepared, or the name of its error."""
    words = [python, "-c", code]
    done = subprocess.run(words, env={**person.environment, **variables}, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr.strip().rpartition("\n")[2].partition(":")[0].rpartition(".")[2]


@pytest.fixture
def person(environment, tmp_path):
    """Somebody new."""
    return Person(tmp_path / "home", environment)


def test_pythonpath_and_packages_of_ones_own_do_not_replace_the_environments(person, make_folder):
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    person.write({"lib/tabnanny.py": "", f".local/lib/{version}/site-packages/stale.py": ""})
    path = {"PYTHONPATH": str(person.home / "lib")}
    shadowed, stale = "import tabnanny; print(tabnanny.__file__)", "import stale; print(stale.__file__)"
    assert without_us(person, shadowed, **path).startswith(str(person.home))
    assert without_us(person, stale, python=sys._base_executable).startswith(str(person.home))
    found, missing = run_in_session(person, make_folder("local"), shadowed, stale, **path)
    assert (str(person.home) in found, missing) == (False, "ModuleNotFoundError")


@pytest.fixture
def near():
    """Something that answers on this computer; the value is its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Answers(BaseHTTPRequestHandler):
    """An answer to whatever is asked."""

    def do_GET(self):
        """Answer."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words):
        """Say nothing."""


def test_a_proxy_of_the_clusters_is_not_asked_for_what_is_near(person, make_folder, near):
    # as Vulcan's, which does not answer from everywhere
    proxies = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": "kept.example"}
    ask = f"import urllib.request as r\nprint(r.urlopen({near!r}, timeout=20).status)"
    assert (without_us(person, ask), without_us(person, ask, **proxies)) == ("200", "URLError")
    far = "import os, urllib.request as r\nprint(r.getproxies()['http'], bool(r.proxy_bypass('far.example')), os.environ['NO_PROXY'])"
    assert run_in_session(person, make_folder("local"), ask, far, **proxies) == [
        "200",
        "http://127.0.0.1:9 False kept.example,localhost,127.0.0.1,::1",
    ]


def test_other_nodes_are_near_too(pristine_folder):
    script = 'NODE=$2; source "$1/lib/compute_node/session.sh"; not_through_proxies; echo "${no_proxy:-}"'
    for variable, near in (("HTTPS_PROXY=http://squid:3128", ",rack01,.vulcan.example"), ("x=y", "")):
        words = ["env", variable, "bash", "-euc", script, "-", pristine_folder("least"), "rack01.vulcan.example"]
        done = subprocess.run(words, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == (f"localhost,127.0.0.1,::1{near}\n" if near else "\n", "")


def test_a_kernel_has_as_many_threads_as_its_job_has_cores(person, make_folder):
    cores = len(os.sched_getaffinity(0))
    job = {"SLURM_CPUS_PER_TASK": str(cores + 3), "SLURMD_NODENAME": "node1"}
    assert without_us(person, THREADS, **job) == str(cores)
    folder = make_folder("local")
    assert run_in_session(person, folder, THREADS, **job) == [str(cores + 3)]
    # who has chosen a number keeps it
    assert run_in_session(person, folder, THREADS, **job, OMP_NUM_THREADS="1") == ["1"]


def databases(folder):
    """Return the names of the databases below a folder."""
    return sorted({path.name for end in ("*.sqlite", "*.db") for path in folder.rglob(end)})


def test_no_sqlite_file_is_made_on_a_network_disk(person, make_folder):
    """The home is one, where SQLite's locks may not work: Jupyter's signatures and IPython's history would be there."""
    empty = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    sign = f"from nbformat import from_dict, sign; sign.NotebookNotary().sign(from_dict({empty}))"
    without_us(person, "from IPython import start_ipython; start_ipython(['--simple-prompt', '-c', '1'])")
    without_us(person, sign)
    assert databases(person.home) == ["history.sqlite", "nbsignatures.db"]
    for path in (*person.home.rglob("*.sqlite"), *person.home.rglob("*.db")):
        path.unlink()
    # an environment of its own, with what setup_env.sh writes into it
    made = person.home / "jupyter_py3"
    for part in ("bin", "share"):
        (made / part).unlink()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    (made / "bin/jupyter-lab").symlink_to(f"{sys.prefix}/bin/jupyter-lab")
    (made / "share").symlink_to(f"{sys.prefix}/share")
    (library,) = made.glob("lib/python*/site-packages")
    (library / "these.pth").write_text(sysconfig.get_path("purelib") + "\n")
    folder = make_folder("local")
    keep = 'PRINT=""; source "$1/lib/login_node/build.sh"; keep_history_in_memory "$2"'
    subprocess.run(["bash", "-euc", keep, "-", folder, made], check=True)
    with person.session(folder) as session:
        assert run_in(person, session, "import sys; print(sys.prefix)") == str(made)
        run_in(person, session, "1 + 1")
        # saving signs it
        save(session, f"{folder}/mine.ipynb", empty)
    assert databases(person.home) == []
