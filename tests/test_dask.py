"""Dask on several nodes, by the extension alone: whose workers they are, who is refused, and what is left at the end."""

import json
import re
from types import SimpleNamespace

import pytest
from life import Life

START = """
import json, os
from IPython.display import IFrame
from dask.distributed import Client, LocalCluster
from dask_jobqueue import SLURMCluster
local = LocalCluster(n_workers=0)
cluster = SLURMCluster()
cluster.scale({workers})
client = Client(cluster)
client.wait_for_workers(2, timeout=120)
def where(dask_worker):
    import os, socket, sys
    return socket.getfqdn(), sys.prefix, dask_worker.local_directory, os.environ["SLURM_TMPDIR"], os.environ["SLURM_JOB_ID"]
print(json.dumps(dict(
    workers=list(client.run(where).values()), link=cluster.dashboard_link, local=local.dashboard_link,
    addresses=[cluster.scheduler_address, *client.run(lambda dask_worker: dask_worker.address).values()],
    kernel=os.getpid(), result=client.submit(sum, [1, 2]).result(),
)))
IFrame(cluster.dashboard_link, "100%", 450)
"""
"""What somebody writes into a notebook, and what is asked for the test."""

STRANGER = """
import asyncio, ssl, sys
from distributed import Client
from distributed.security import Security

class Stranger(Security):
    "Takes the scheduler for what it says that it is, and shows what there is."
    def get_connection_args(self, role):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self.tls_client_cert:
            context.load_cert_chain(self.tls_client_cert)
        return {"ssl_context": context, "require_encryption": False, "extra_conn_args": {}}

async def ask(address, *certificate):
    try:
        security = Stranger(**dict.fromkeys(["tls_client_cert"], *certificate))
        async with Client(address, security=security, asynchronous=True, timeout=TIMEOUT) as client:
            return await client.submit(sum, [1, 2])
    except OSError:
        return "refused"

async def main(address, certificate, *without):
    asked = [(address, certificate)]
    if without:
        asked += [(address,), (address.replace("tls:", "tcp:"),)]
    print(*await asyncio.gather(*(ask(*one) for one in asked)))

asyncio.run(main(*sys.argv[1:]))
"""
"""A client of Dask's with a certificate (a file) and, if that is said, without one, and without encryption: the answers."""

KNOCK = """
import http.client, json, socket, ssl, sys

def tls(host, port, certificate):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    try:
        with context.wrap_socket(socket.create_connection((host, port), 60)) as connection:
            return repr(connection.recv(1))
    except ssl.SSLError as error:
        return error.reason

def get(host, port, path):
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return "none"
    finally:
        connection.close()

kind, *asked = json.load(sys.stdin)
print(json.dumps([{"tls": tls, "get": get}[kind](*one) for one in asked]))
"""
LISTENING = r"""
ss -Hltnp | sed -nE 's/^LISTEN +\S+ +\S+ +(\S+):([0-9]+) .*pid=([0-9]+).*/\1 \2 \3/p' | while read -r address port process; do
  ! grep -zqx USER=student /proc/$process/environ || echo "$address $port $(grep -zx SLURM_JOB_NAME=.* /proc/$process/environ | tr -d '\0' | cut -d= -f2)"
done
"""
STATE = "/home/student/.local/state/passerelle"
PAGES = ["/", "/sitemap.json", "/status", "/workers", "/info/main/workers.html", "/json/counts.json", "/metrics", "/health", "/statics/css/base.css"]  # fmt: skip
OWN = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=rival -keyout - -out - >own.pem"
NODES = ["node1.int.vcluster.example", "node2.int.vcluster.example"]


@pytest.fixture(scope="module")
def folder(pristine_folder):
    """A folder with Dask, whose sessions have 16 cores: the first node has room for one worker more, the second for one."""
    return pristine_folder("vcluster-dask", name="dask", cores=16)


@pytest.fixture(scope="module")
def built(cluster, folder):
    """student's environment with Dask, and a batch partition of both nodes: as it is, it has the first one only."""
    cluster.clean(homes=False)
    partition = ["scontrol", "update", "PartitionName=cpubase_bycore_b1"]
    cluster.run("login", "root", *partition, "Nodes=node1,node2", check=True)
    life = Life(cluster, folder, name="dask")
    done = life.on_login("./setup_env.sh", timeout=600)
    assert done.returncode == 0, done.stderr
    yield
    # what tests have changed of the home that others find
    life.on_login("chmod 700 ~; rm -rf ~/.config/dask; sed -i /DASK_/d ~/.bashrc")
    cluster.run("login", "root", *partition, "Nodes=node1", check=True)
    cluster.clean(homes=False)


def submitted(life):
    """Start a session as a batch job; return its number and its address."""
    job = re.match(r"Submitted batch job (\d+)\n", life.on_login("./submit_session.sh").stdout)[1]
    record = f"{STATE}/sessions/{job}"
    return job, life.on_login(f"until [[ -s {record} ]]; do sleep 0.1; done; head -n 1 {record}").stdout.strip()


def compute(life, workers):
    """Start a session and have a notebook compute in it, with two workers at first; return what there is then.

    A cluster of Dask's own, beside it, opens its dashboard to everybody.
    """
    job, address = submitted(life)
    _, url = life.tunnel(address)
    browse = ["--kernel", "Python 3 (ipykernel)", "--run", START.format(workers=workers)]
    # what it draws has come through its websocket
    shown = life.cluster.browse(url, *browse, "--frame", ".bk-Figure")["output"]
    return SimpleNamespace(life=life, cluster=life.cluster, job=job, address=address, **json.loads(shown))


@pytest.fixture(scope="module")
def dask(cluster, folder, built):
    """A session whose notebook computes with two workers."""
    yield compute(Life(cluster, folder, name="dask"), 2)
    cluster.clean(homes=False)


def knock(cluster, host, kind, asked):
    """Return what another user is answered, who asks from that host."""
    said = cluster.run(host, "rival", "python3", "-c", KNOCK, input=json.dumps([kind, *asked]), check=True, timeout=300)
    return json.loads(said.stdout)


def listening(cluster, node):
    """Return who listens on a node: for each of student's sockets its address, its port, and its job's name."""
    shown = cluster.run(node, "root", "bash", "-c", LISTENING, check=True).stdout
    return [(address, int(port), job) for address, port, job in map(str.split, shown.splitlines())]


def test_a_bare_cluster_has_its_workers_on_both_nodes_in_the_sessions_environment_and_on_the_nodes_own_disk(dask):
    hosts, prefixes, folders, disks, jobs = zip(*dask.workers, strict=True)
    assert sorted(hosts) == NODES
    build = dask.life.on_login("readlink -f ~/dask_py3").stdout.strip()
    assert set(prefixes) == {build}
    assert all(folder.startswith(f"{disk}/") for folder, disk in zip(folders, disks, strict=True))
    assert dask.result == 3
    # each is a job as the session's is
    shown = dask.life.on_login(
        f"squeue --noheader --jobs={','.join(jobs)} --Format=Name:20,Account:20,NumCPUs:20,MinMemory:20,TimeLimit:20"
    ).stdout
    assert [line.split() for line in shown.splitlines()] == [
        [f"dask-{dask.job}", "def-prof_cpu", "16", "16G", "1:00:00"]
    ] * 2
    assert all(address.startswith("tls://") for address in dask.addresses)


def test_another_users_client_is_refused(dask):
    cluster, scheduler = dask.cluster, dask.addresses[0]
    # who could use the environment: the key is what counts
    dask.life.on_login("chmod 711 ~")
    cluster.run("login", "rival", "bash", "-c", OWN, check=True)

    def ask(user, certificate, timeout, *without):
        python = "/home/student/dask_py3/bin/python"
        code = STRANGER.replace("TIMEOUT", str(timeout))
        return cluster.run("login", user, python, "-c", code, scheduler, certificate, *without, check=True).stdout

    assert ask("rival", "own.pem", 4, "without") == "refused refused refused\n"
    # with the session's key it is the same client, and is served; alone, as this Python may take another's error for its own
    key = f"{STATE}/dask/{dask.job}/session.pem"
    assert ask("student", key, 30) == "3\n"
    for path in (key, key.replace("session.pem", "dask.yaml")):
        assert "Permission denied" in cluster.run("login", "rival", "cat", path).stderr


def test_no_port_but_jupyterlabs_own_answers_another_user(dask):
    cluster = dask.cluster
    jupyter, local = (int(re.search(r"[:/](\d+)/", one)[1]) for one in (dask.address, dask.local))
    for node in NODES:
        host = node.split(".")[0]
        cluster.run(host, "rival", "bash", "-c", OWN, check=True)
        found = listening(cluster, host)
        # twice, where it is IPv6's, too
        ports = {port for address, port, _ in found if not address.startswith("127.")} - {jupyter, local}
        open_to_all = [(node, port) for port in sorted(ports)]
        # the scheduler; a worker and what watches over it
        assert len(open_to_all) == {"node1": 3, "node2": 2}[host], found
        assert set(knock(cluster, "login", "get", [(*one, "/status") for one in open_to_all])) == {"none"}
        assert set(knock(cluster, "login", "tls", [(*one, "") for one in open_to_all])) == {
            "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        }
        assert set(knock(cluster, host, "tls", [(*one, "own.pem") for one in open_to_all])) == {
            "TLSV1_ALERT_UNKNOWN_CA"
        }
        # a worker's page, for who is on its node
        pages = [port for address, port, name in found if address.startswith("127.") and name == f"dask-{dask.job}"]
        assert len(pages) == 1, found
        asked = [("127.0.0.1", port, path) for port in pages for path in PAGES]
        assert knock(cluster, host, "get", asked) == [404] * len(asked)


def test_the_dashboard_is_seen_in_jupyterlab_and_by_nobody_else(dask):
    cluster = dask.cluster
    base, token = dask.address.split("/lab?token=")
    port, secret = re.fullmatch(r"/proxy/(\d+)/([0-9a-f]{48})/status", dask.link).groups()

    def fetch(path, *options):
        curl = ["curl", "-sS", "-m", "60", "-w", "\n%{http_code}", *options]
        return cluster.run("login", "student", *curl, base + path, check=True).stdout.rpartition("\n")

    known = ["-H", f"Authorization: token {token}"]
    page, _, status = fetch(dask.link, *known)
    assert (status, "<title>Dask Diagnostic UI</title>" in page) == ("200", True), page[:500]
    assert fetch(dask.link)[2] in ("302", "403")
    name, local = re.search(r"//(.*):", base)[1], re.fullmatch(rf"/proxy/(\d+)/{secret}/status", dask.local)[1]
    # on the session's own node; the other cluster's, from everywhere
    node = re.search("node[12]", base)[0]
    assert knock(cluster, node, "get", [("127.0.0.1", port, path) for path in PAGES]) == [404] * len(PAGES)
    assert knock(cluster, node, "get", [("127.0.0.1", port, f"/{secret}/status")]) == [200]
    assert knock(cluster, "login", "get", [(name, port, f"/{secret}/status")]) == ["none"]
    assert knock(cluster, "login", "get", [(name, local, path) for path in PAGES]) == [404] * len(PAGES)
    for host in ("node1", "node2", "login"):
        assert secret not in cluster.run(host, "root", "ps", "-eww", "-o", "args", check=True).stdout


def test_whoever_has_settings_of_their_own_has_encryption_and_workers_that_wait_go_with_the_session(
    cluster, folder, built
):
    cluster.clean(homes=False)
    life = Life(cluster, folder, name="dask")
    # each node unpacks the environment
    life.on_login("echo environment_location: node >>settings.yml; ./setup_env.sh", timeout=600)
    cluster.write("login", "student", ".config/dask/own.yaml", "jobqueue: {slurm: {interface: eth9, python: /none}}\n")
    life.on_login(
        "echo 'export DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME=tcp DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=False "
        "DASK_JOBQUEUE__SLURM__NAME=mine' >>~/.bashrc"
    )
    begun = compute(life, 4)
    assert all(address.startswith("tls://") for address in begun.addresses)
    assert all(prefix.startswith(f"{disk}/") for _, prefix, _, disk, _ in begun.workers)
    waiting = f"squeue --me --noheader --name=dask-{begun.job} --states=PENDING --format=%i"
    assert len(life.on_login(waiting).stdout.splitlines()) == 2
    # so that Dask itself cannot
    node = re.search("node[12]", begun.address)[0]
    cluster.run(node, "root", "kill", "-KILL", str(begun.kernel), check=True)
    life.on_login(f"scancel {begun.job}; while [[ $(squeue --noheader --me) ]]; do sleep 0.1; done")
    ended = life.on_login(
        f"sacct --allocations --noheader --name=dask-{begun.job} --parsable2 --format=Start,State"
    ).stdout
    assert ended.splitlines().count("None|CANCELLED by 20001") == 2, ended
    assert life.on_login(f"ls {STATE}/dask").stdout == ""


BATCH = """
import json, os
from dask.distributed import Client
from dask_jobqueue import SLURMCluster
cluster = SLURMCluster()
cluster.scale(4)
client = Client(cluster)
client.wait_for_workers(1, timeout=120)
print(json.dumps(dict(
    address=cluster.scheduler_address, link=cluster.dashboard_link, result=client.submit(sum, [1, 2]).result(),
    key=oct(os.stat(os.environ["DASK_CONFIG"] + "/session.pem").st_mode & 0o077), told=os.environ.get("PASSERELLE_AT_END"),
)))
"""


def test_a_notebook_that_runs_itself_has_workers_as_in_a_session_and_its_end_withdraws_those_that_wait(
    cluster, folder, built
):
    cluster.clean(homes=False)
    life = Life(cluster, folder, name="dask")
    cell = dict(cell_type="code", id="a", metadata={}, execution_count=None, outputs=[], source=BATCH)
    notebook = dict(nbformat=4, nbformat_minor=5, metadata={}, cells=[cell])
    cluster.write("login", "student", "dask/many.ipynb", json.dumps(notebook))
    said = life.on_login("./submit_notebook.sh --execute many.ipynb --time=20").stdout
    job = re.match(r"Submitted batch job (\d+)\n", said)[1]
    life.on_login(f"while [[ $(squeue --noheader --jobs={job}) ]]; do sleep 0.2; done", timeout=300)
    printed = life.on_login(f"cat many-{job}.out").stdout
    shown = life.on_login(f"cat results/*-many-{job}/many.ipynb").stdout
    (output,) = json.loads(shown)["cells"][0]["outputs"][-1:]
    assert output["output_type"] == "stream", (printed, output)
    found = json.loads("".join(output["text"]).splitlines()[-1])
    link = found.pop("link")
    assert re.fullmatch(r"/proxy/\d+/[0-9a-f]{48}/status", link)
    assert found.pop("address").startswith("tls://")
    assert found == {"result": 3, "key": "0o0", "told": None}
    life.on_login("while [[ $(squeue --me --noheader) ]]; do sleep 0.2; done", timeout=120)
    assert life.on_login(f"ls {STATE}/dask").stdout == ""


def test_where_jobs_cannot_submit_jobs_and_where_there_is_no_key_a_session_says_so(cluster, folder, built):
    cluster.clean(homes=False)
    life = Life(cluster, folder, name="dask")
    life.on_login("echo jobs_from_jobs: refused >>plugins/clusters/other.yml")
    failing = "#!/bin/sh\necho 'openssl: ecparam: unknown curve' >&2\nexit 1\n"
    cluster.write("node1", "root", "/usr/local/bin/openssl", failing)
    cluster.run("node1", "root", "chmod", "755", "/usr/local/bin/openssl", check=True)
    try:
        session, _ = life.start_session()
    finally:
        cluster.run("node1", "root", "rm", "/usr/local/bin/openssl", check=True)
    said = [line.strip() for line in session.output.splitlines() if line.startswith("jupyterlab.sh: ")]
    assert said == [
        "jupyterlab.sh: On login.vcluster.example, jobs cannot be submitted from jobs: SLURMCluster() gets no workers. "
        "LocalCluster() has them in this session; workers on several nodes of one job: "
        "https://docs.alliancecan.ca/wiki/Dask",
        "jupyterlab.sh: Dask is not configured in this session, because openssl could not make a key for it: unknown "
        "curve. SLURMCluster() will ask for cores and memory.",
    ]
    assert life.on_login(f"ls {STATE}/dask").stdout == ""
