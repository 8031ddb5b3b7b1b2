"""The scripts beside the wiki's own commands, pair by pair in one run on the test cluster: nox -s bench [-- PAIRS].

Absolute times mean little on a machine that others use; the ratio of each pair does. Aims: from the job's start to
HTTP 200, jupyterlab.sh takes at most 1.1 times the wiki's bare wrapper; setup_env.sh takes no longer than the wiki's
commands typed one after another.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import copier

sys.path.insert(0, str(Path(__file__).parent))

from cluster.api import Cluster

HERE = Path(__file__).resolve().parents[1]
ANSWERS = {
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
# runs on the node, in the job: starts the clock, then the server, and stops both at the first HTTP 200
TIMED = r"""
start=$(date +%s%N)
"$@" >/tmp/bench.$SLURM_JOB_ID 2>&1 &
until url=$(grep -o -m 1 'http://node[^ ]*' /tmp/bench.$SLURM_JOB_ID) &&
  [[ $(curl -s -o /dev/null -w '%{http_code}' "${url%/lab*}/api") == 200 ]]; do sleep 0.02; done
echo "took $(($(date +%s%N) - start))"
kill %1
"""


def seconds(cluster, command):
    """Answers how long a command line of student takes on the login node; raises when it fails."""
    start = time.monotonic()
    cluster.run("login", "student", "bash", "-c", command, timeout=600, check=True)
    return time.monotonic() - start


def start_seconds(cluster, environment, server):
    """Answers the seconds from the job's start to HTTP 200, in an environment activated as the wiki says."""
    cluster.write("login", "student", "timed.sh", TIMED)
    salloc = "salloc --quiet --time=10 --cpus-per-task=2 --mem=2G --nodelist=node1 srun bash ~/timed.sh"
    line = f"module load python; source ~/{environment}/bin/activate; {salloc} ~/{server}"
    done = cluster.run("login", "student", "bash", "-c", line, timeout=120, check=True)
    return int(done.stdout.split("took ")[1].split()[0]) / 1e9


def report(name, ours, theirs):
    """Prints the pairs' times and the ratios' middle."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    shown = "  ".join(f"{a:.2f}/{b:.2f}" for a, b in zip(ours, theirs, strict=True))
    print(f"{name}: {statistics.median(ratios):.2f} times the wiki's (ours/wiki in s: {shown})")


def main(pairs):
    """Brings a cluster up, measures, takes it down."""
    cluster = Cluster()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "folder")
        copier.run_copy(str(HERE), folder, data=ANSWERS, defaults=True, quiet=True, vcs_ref="HEAD")
        cluster.up()
        try:
            cluster.put("login", "student", folder, "bench")
            ours, wiki = [], []
            for _ in range(pairs):
                ours.append(seconds(cluster, "rm -rf ~/bench_py3*; cd bench && ./setup_env.sh"))
                wiki.append(seconds(cluster, WIKI_SETUP))
            report("setup_env.sh", ours, wiki)
            ours, wiki = [], []
            for _ in range(pairs):
                ours.append(start_seconds(cluster, "bench_py3", "bench/jupyterlab.sh"))
                wiki.append(start_seconds(cluster, "wiki_py3", "wiki_py3/bin/jupyterlab.sh"))
            report("jupyterlab.sh", ours, wiki)
        finally:
            cluster.down()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
