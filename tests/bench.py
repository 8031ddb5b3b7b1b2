"""Ours beside what people do without it, pair by pair in one run on the test cluster: nox -s bench [-- PAIRS].

Absolute times mean little on a machine that others use; the ratio of each pair does. Aims:

- from the job's start to HTTP 200, jupyterlab.sh takes at most 1.1 times the wiki's bare wrapper;
- setup_env.sh takes no longer than the wiki's commands typed one after another;
- with environment_location: node it takes at most 3 s longer, and looks up at most 114 names below the home until then;
- from the laptop to HTTP 200 through the tunnel, `lab open` takes at most 1.1 times the limit, which is the same by
  somebody who knows node, port and token beforehand and asks nobody anything, and at most 0.7 times jupyter-forward;
  it may be less than the limit, whose server is the plain one (template/lib/compute_node/jupyter-lab.py);
- `lab --help` takes at most 1.5 times `import plumbum`;
- a notebook that runs itself takes no longer than with papermill, also where it prints much, and to submit 1,000 rows
  takes at most 2 times as long as one.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import copier
import nbformat

sys.path.insert(0, str(Path(__file__).parent))

from cluster.api import LOGIN, Cluster
from traces import STRACE, below

HERE = Path(__file__).resolve().parents[1]
ANSWERS = {
    "project_name": "bench",
    "cluster": "other",
    "login_host": "login.vcluster.example",
    "pip_source": "wheelhouse",
    "account": "def-prof",
    "environment_path": "$HOME/bench_py3",
}
WIKI_SETUP = """
set -e
rm -rf ~/wiki_py3
module load python
virtualenv --no-download $HOME/wiki_py3
source $HOME/wiki_py3/bin/activate
pip install --no-index --upgrade pip
pip install --no-index jupyterlab
echo -e '#!/bin/bash\\nunset XDG_RUNTIME_DIR\\njupyter lab --ip $(hostname -f) --no-browser' \\
  > $VIRTUAL_ENV/bin/jupyterlab.sh
chmod u+x $VIRTUAL_ENV/bin/jupyterlab.sh
"""
OURS = ("", "bench/jupyterlab.sh")
WIKI = ("source ~/wiki_py3/bin/activate; ", "wiki_py3/bin/jupyterlab.sh")
"""What is typed first, and the server's script, which finds the environment itself where it is ours."""
# runs on the node, in the job: starts the clock, then the server, and stops both at the first HTTP 200
TIMED = r"""
start=$(date +%s%N)
"$@" >/tmp/bench.$SLURM_JOB_ID 2>&1 &
until url=$(grep -o -m 1 'http://node[^ ]*' /tmp/bench.$SLURM_JOB_ID) &&
  [[ $(curl -s -o /dev/null -w '%{http_code}' "${url%/lab*}/api") == 200 ]]; do sleep 0.02; done
echo "took $(($(date +%s%N) - start))"
if [[ -e /tmp/trace ]]; then cp /tmp/trace /tmp/seen; fi
kill %1
"""
PORT = 9100
JOB = ("--time=10", "--cpus-per-task=2", "--mem=2G", "--nodelist=node1", "--account=def-prof")
# runs on the laptop: starts the clock, then a command, and stops both at the first HTTP 200 of its PORT
CLOCK = f"""
import http.client, subprocess, sys, time

start = time.monotonic()
command = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
status = 0
while status != 200:
    if command.poll() is not None:
        sys.exit(command.stdout.read().decode())
    request = http.client.HTTPConnection("127.0.0.1", {PORT}, timeout=5)
    try:
        request.request("GET", "/api")
        status = request.getresponse().status
    except (OSError, http.client.HTTPException):
        time.sleep(0.01)
print("took", time.monotonic() - start)
command.terminate()
"""
# who knows all of it beforehand needs one ssh: it submits this job, and its tunnel waits for the server
KNOWN = f"""#!/bin/bash
#SBATCH --output=/dev/null
JUPYTER_TOKEN=known exec ~/bench_py3/bin/jupyter-lab --no-browser --ip node1.int.vcluster.example --port {PORT}
"""
LIMIT = ("ssh", "-L", f"{PORT}:node1.int.vcluster.example:{PORT}", LOGIN, f"sbatch {' '.join(JOB)} known.job; cat")
# It asks for a conda environment, without which it does not start, and enters it by "source activate NAME"; that finds
# the activate of the same virtual environment in PATH.
FORWARD = (
    *("env", "PYTHONPATH=jupyter-forward", "python3", "jupyter-forward/bin/jupyter-forward", f"--port={PORT}"),
    *("--conda-env=bench_py3", "--launch-command", f"sbatch {' '.join(JOB)}", LOGIN),
)
LAB = ("bench/lab", "open", "--no-browser", *JOB)
NOTEBOOKS = {
    "200 small cells": ["print(1)"] * 200,
    "5 MB, then 199 small cells": ["print('x' * 5000000)", *["print(1)"] * 199],
}


def seconds(cluster, command):
    """Return how long a command line of student takes on the login node; raises when it fails."""
    start = time.monotonic()
    cluster.run("login", "student", "bash", "-c", command, timeout=600, check=True)
    return time.monotonic() - start


def start_seconds(cluster, typed, server, *before):
    """Return the seconds from the job's start to HTTP 200.

    before: words before the server's, as of strace
    """
    cluster.write("login", "student", "timed.sh", TIMED)
    salloc = "salloc --quiet --time=10 --cpus-per-task=2 --mem=2G --nodelist=node1 srun bash ~/timed.sh"
    line = f"module load python; {typed}{salloc} {' '.join(before)} ~/{server}"
    done = cluster.run("login", "student", "bash", "-c", line, timeout=120, check=True)
    return int(done.stdout.split("took ")[1].split()[0]) / 1e9


def looked_up(cluster, typed, server):
    """Return how many names below the home a session looks up from the job's start to HTTP 200."""
    start_seconds(cluster, typed, server, *STRACE, "/tmp/trace")
    trace = cluster.read("node1", "root", "/tmp/seen")
    cluster.run("node1", "root", "rm", "/tmp/trace", check=True)
    return len(below(trace, "/home/student"))


def get_ready_to_open(cluster, folder):
    """Give the laptop the folder and jupyter-forward, and both sides what belongs to PORT."""
    cluster.put("laptop", "alice", folder, "bench")
    cluster.write("laptop", "alice", "bench/personal.yml", f"user: student\nport: {PORT}\n")
    cluster.write("laptop", "alice", "clock.py", CLOCK)
    cluster.write("login", "student", "known.job", KNOWN)
    cluster.run(
        *("login", "student", "bash", "-c", "echo 'PATH=$HOME/bench_py3/bin:$PATH' >>~/.bash_profile"), check=True
    )
    with tempfile.TemporaryDirectory() as peer:
        # with the Python of the laptop, which is Debian's
        pip = ["/usr/bin/python3", "-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--target", peer]
        subprocess.run([*pip, "jupyter-forward"], check=True)
        cluster.put("laptop", "alice", peer, "jupyter-forward")


def open_seconds(cluster, *command):
    """Return the seconds from a command on the laptop to HTTP 200 through its tunnel, with nothing open before."""
    # ends all jobs and all processes of the users, with them the connection that lab shares
    cluster.clean(homes=False)
    cluster.run("laptop", "alice", "bash", "-c", "rm -rf ~/.ssh/passerelle-* bench/.lab", check=True)
    done = cluster.run("laptop", "alice", "python3", "clock.py", *command, timeout=120, check=True)
    return float(done.stdout.split("took ")[1])


def process_seconds(*arguments):
    """Return how long a process of this Python takes."""
    start = time.monotonic()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def report_imports(lab):
    """Print where the time of `lab --help` goes: to Python itself, to each of our modules, to those of Python."""
    python = statistics.median(process_seconds("-c", "pass") for _ in range(20))
    words = [sys.executable, "-X", "importtime", lab, "--help"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    # a module's own time, its time with all that it imports, its name; up to "site" it is Python itself
    rows = [row.removeprefix("import time:").split("|") for row in done.stderr.splitlines()[1:]]
    spent = [(name.strip(), int(own) / 1000) for own, _, name in rows]
    spent = spent[[name for name, _ in spent].index("site") + 1 :]
    ours = [(name, own) for name, own in spent if name.split(".")[0] == "passerelle"]
    rest = sum(own for _, own in spent) - sum(own for _, own in ours)
    shown = ", ".join(f"{name} {own:.1f}" for name, own in ours)
    print(f"  in ms: Python itself {1000 * python:.1f}; {shown}; the modules of Python that they import {rest:.1f}")


def report(name, ours, whose, theirs):
    """Print the pairs' times and the ratios' middle."""
    pairs = list(zip(ours, theirs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name}: {ratio:.2f} times {whose} (in s: {'  '.join(f'{a:.3g}/{b:.3g}' for a, b in pairs)})")


def measure_help(folder, pairs):
    """Measure what every command of lab takes before it begins."""
    lab = str(folder / "lab")
    process_seconds(lab, "--help")
    ours, plumbum = [], []
    for _ in range(4 * pairs):
        ours.append(process_seconds(lab, "--help"))
        plumbum.append(process_seconds("-c", "import plumbum"))
    report("lab --help", ours, "import plumbum", plumbum)
    report_imports(lab)


def measure_setup(cluster, pairs):
    """Measure how long an environment takes from nothing."""
    ours, wiki = [], []
    for _ in range(pairs):
        ours.append(seconds(cluster, "rm -rf ~/bench_py3*; cd bench && ./setup_env.sh"))
        wiki.append(seconds(cluster, WIKI_SETUP))
    report("setup_env.sh", ours, "the wiki's", wiki)


def measure_start(cluster, pairs):
    """Measure how long the server takes, and how often it looks at the network disk."""
    ours, wiki = [], []
    for _ in range(pairs):
        ours.append(start_seconds(cluster, *OURS))
        wiki.append(start_seconds(cluster, *WIKI))
    report("jupyterlab.sh", ours, "the wiki's", wiki)
    counts = [looked_up(cluster, *session) for session in (OURS, WIKI)]
    node = "echo 'environment_location: node' >>~/bench/settings.yml; cd bench && ./setup_env.sh"
    print(f"  packed for the node's own disk in {seconds(cluster, node):.1f} s")
    there = [start_seconds(cluster, *OURS) for _ in range(pairs)]
    longer = statistics.median(a - b for a, b in zip(there, ours, strict=True))
    print(f"  from the node's own disk: {longer:+.1f} s (in s: {'  '.join(f'{a:.3g}' for a in there)})")
    counts.insert(0, looked_up(cluster, *OURS))
    print("  names looked up below the home: {} from the node's own disk, {}; the wiki's {}".format(*counts))
    cluster.run("login", "student", "sed", "-i", "/^environment_location/d", "bench/settings.yml", check=True)


def measure_open(cluster, folder, pairs):
    """Measure how long it takes from the laptop to the page."""
    get_ready_to_open(cluster, folder)
    ours, limit, forward = [], [], []
    for _ in range(pairs):
        ours.append(open_seconds(cluster, *LAB))
        limit.append(open_seconds(cluster, *LIMIT))
        forward.append(open_seconds(cluster, *FORWARD))
    report("lab open", ours, "the limit", limit)
    report("lab open", ours, "jupyter-forward", forward)


def measure_batch(cluster, pairs):
    """Measure how long notebooks take to run themselves, and a table to submit."""
    python = "cd bench && module load python && ~/bench_py3/bin/python"
    seconds(cluster, f"{python} -m pip install --quiet --no-index papermill")
    for name, cells in NOTEBOOKS.items():
        cluster.write("login", "student", "bench/nb.ipynb", nbformat.writes(notebook(cells)))
        ours, papermill, nbconvert = [], [], []
        for _ in range(pairs):
            ours.append(seconds(cluster, f"rm -rf out; {python} lib/compute_node/notebook/run.py nb.ipynb out"))
            papermill.append(seconds(cluster, f"{python} -m papermill --no-progress-bar nb.ipynb out.ipynb"))
            nbconvert.append(seconds(cluster, f"{python} -m nbconvert --execute --to notebook --output out nb.ipynb"))
        report(f"--execute, {name}", ours, "papermill", papermill)
        report(f"--execute, {name}", ours, "nbconvert --execute, which keeps nothing before the end", nbconvert)
    many, one = [], []
    cluster.write("login", "student", "bench/nb.ipynb", nbformat.writes(notebook(["a = 0"], tags=["parameters"])))
    for rows, times in (times for _ in range(pairs) for times in ((1000, many), (1, one))):
        cluster.write("login", "student", "bench/t.csv", "a\n" + "1\n" * rows)
        times.append(seconds(cluster, "cd bench && ./submit_notebook.sh --hold --parameters=t.csv nb.ipynb"))
        cluster.clean(homes=False)
    report("--parameters, 1,000 rows", many, "one row", one)


def notebook(cells, tags=()):
    """Return a notebook of these sources."""
    made = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    )
    made.cells = [nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)}) for source in cells]
    return made


def main(pairs):
    """Bring a cluster up, measure, take it down."""
    cluster = Cluster()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "folder")
        copier.run_copy(str(HERE), folder, data=ANSWERS, defaults=True, quiet=True, vcs_ref="HEAD")
        measure_help(folder, pairs)
        cluster.up()
        try:
            cluster.put("login", "student", folder, "bench")
            measure_setup(cluster, pairs)
            measure_start(cluster, pairs)
            measure_open(cluster, folder, pairs)
            measure_batch(cluster, pairs)
        finally:
            cluster.down()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
