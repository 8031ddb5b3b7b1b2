"""`passerelle new` and a real cluster: what it asks it, over the one connection that `./lab` uses afterwards."""

import json
import shutil
from pathlib import Path

import plumbum
import yaml
from cluster.api import WITH_CODE
from conftest import REPOSITORY
from life import CODE, Life

ASK = """
import json, sys
sys.path.insert(0, "hooks")
from passerelle.cluster import Cluster
login, facts, requests = json.load(sys.stdin)
cluster = Cluster(login, facts)
live = cluster.live()
print(json.dumps([{name: sorted(live.accounts[name]) for name in live.accounts}, *live[1:]]))
print(json.dumps(cluster.waits(requests)))
"""


def test_all_is_asked_over_one_connection_which_lab_shares_later(idle, other_folder, tmp_path):
    life = Life(idle, other_folder, host=CODE)
    hooks = tmp_path / "hooks"
    shutil.copytree(REPOSITORY / "hooks/passerelle", hooks / "passerelle", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("template", "questions"):
        shutil.copytree(REPOSITORY / name, hooks / "passerelle" / name, symlinks=True)
    # of what it is installed with, this much is needed
    for package in (plumbum, yaml):
        source = Path(package.__file__).parent
        shutil.copytree(source, hooks / source.name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for host, person in (("laptop", "alice"), ("login", "student")):
        idle.run(host, person, "rm", "-rf", "hooks", check=True)
        idle.put(host, person, hooks, "hooks")
    facts = yaml.safe_load((other_folder / "plugins/clusters/other.yml").read_text(encoding="utf-8"))
    requests = [["--time=1:00:00", "--account=def-prof"], ["--time=1:00:00", "--account=nobody"]]

    def ask(host, person, login, *before):
        words = json.dumps([login, facts, requests])
        done = idle.run(host, person, *before, "python3", "-c", ASK, input=words)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    # the connection of a test before may still be there, and what it has left in a folder that all share
    close = 'for way in ~/.ssh/passerelle-*; do ssh -S "$way" -O exit x; done'
    idle.run("laptop", "alice", "bash", "-c", close)

    def left():
        here = idle.run("laptop", "alice", "ls", "/tmp").stdout.split()
        there = idle.run("login", "student", "bash", "-c", "ls -d ~/.passerelle* /tmp/tmp.*").stdout.split()
        return [name for name in here if name.startswith("passerelle-")], there

    before, left_before = idle.auth_count("student"), left()
    said, *answers = ask("laptop", "alice", f"student@{CODE}", *WITH_CODE)
    assert said == f"Connecting to student@{CODE}; answer ssh's questions (password, second factor)."
    accounts, gpus, cores, memory, gpu_cores, gpu_memory, hours, modules, wheelhouse, quotas = json.loads(answers[0])
    assert (accounts, gpus, cores, memory) == ({"def-prof": ["cpu", "gpu"]}, {"h100": 4}, 32, 128000)
    assert (gpu_cores, gpu_memory, hours, wheelhouse, quotas) == ({"h100": 16}, {"h100": 64000}, 168, True, [])
    assert set(modules) == {"python", "r", "julia", "ipython-kernel", "ir-kernel", "ijulia-kernel"}
    # of the second, Slurm says that it is refused
    assert [list(waits) if isinstance(waits, dict) else waits for waits in json.loads(answers[1])] == [["0"], ""]
    assert life.run_lab("status").returncode == 0
    assert idle.auth_count("student") - before == 1
    # nothing of it is left there
    assert left() == left_before
    # on the login node itself nobody logs in
    assert ask("login", "student", None)[0] == answers[0]
    assert idle.auth_count("student") - before == 1
    # where the first is refused, Slurm's words
    del requests[0]
    waits, refusal = json.loads(ask("login", "student", None)[1])
    assert (waits, refusal) == ({}, "Invalid account or account/partition combination specified")
    assert life.jobs() == ""
    for host, person in (("laptop", "alice"), ("login", "student")):
        idle.run(host, person, "rm", "-rf", "hooks", check=True)
