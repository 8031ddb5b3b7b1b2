"""The environment on the node's own disk: environment_location: node."""

import json
import os
import re
import subprocess
import tempfile

import pytest
from conftest import set_answer
from test_submit_notebook import notebook, state
from traces import STRACE, below

MOST = 114
"""Calls below the home from the job's start to the page: 2 % of what it takes with the environment there."""


def looked_up(life, location):
    """Return the paths below the home that a session looks up until its page answers, and what it says."""
    life.on_login(
        f"sed -i '/^environment_location/d' settings.yml; echo 'environment_location: {location}' >>settings.yml"
    )
    done = life.on_login("./setup_env.sh", timeout=300)
    assert done.returncode == 0, done.stderr
    trace = "/tmp/trace"
    life.cluster.run("node1", "root", "rm", "-f", trace, check=True)
    # as after a first session, and nothing that another test has left; an environment that was brought here has no log
    life.on_login(
        "rm -rf ~/.local/state/passerelle ~/.local/share/jupyter ~/.jupyter ~/.ipython; "
        "mkdir -p ~/.local/state/passerelle/{logs,sessions}"
    )
    # the kernels and extensions of one who has chosen none
    life.on_login("sed -i 's/^kernels: .*/kernels: [python]/; s/^extensions: .*/extensions: []/' settings.yml")
    life.on_login(f"sed -i 's:^server=(:&{' '.join(STRACE)} {trace} :' start_salloc.sh")
    process, url = life.start_session("./start_salloc.sh --nodelist=node1")
    ask = "curl -s -o /dev/null -w '%{http_code} ' \"$1\"; date +%s.%N"
    status, when = life.cluster.run("login", life.user, "bash", "-c", ask, "-", url).stdout.split()
    assert status == "200"
    calls = below(life.cluster.read("node1", "root", trace), f"/home/{life.user}", float(when))
    life.cluster.run("login", life.user, "scancel", "--me", check=True)
    process.wait()
    return calls, process.output


def test_a_session_hardly_looks_at_the_network_disk_and_a_notebook_runs_from_the_nodes_own(lab):
    calls, said = looked_up(lab, "node")
    assert "The environment is on the node's own disk" in said
    build = lab.on_login("readlink ~/jupyter_py3").stdout.strip()
    names = {path.removeprefix(build + "/") for path in calls if path.startswith(build + "/")}
    # that the archive is of what is there now; no program, and no module
    assert not {name for name in names if re.search(r"\.(py|pyc|so|json)$|^bin/", name)}, names
    assert len(calls) <= MOST, calls
    lab.cluster.write("login", "student", "lab/where.ipynb", notebook("import sys; print(sys.prefix)"))
    for option in ("", "--execute"):
        done = lab.on_login(f"./submit_notebook.sh {option} where.ipynb")
        assert done.returncode == 0, done.stderr
        job = re.search(r"Submitted batch job (\d+)", done.stdout)[1]
        assert state(lab, job) == "COMPLETED"
        # the output of the one is the job's, of the other the notebook's
        shown = lab.on_login(f"cat where-{job}.out results/*-where-{job}/where.ipynb 2>/dev/null").stdout
        assert re.search(rf"/localscratch/student\.{job}\.0/jupyter_py3-\w{{6}}\b", shown), shown


@pytest.fixture
def packed(tmp_path, pristine_folder):
    """An environment of a few files with its archive, a node's disk, and what unpacks it there: unpacked(NAME=VALUE)."""
    build, disk, folder = tmp_path / "my py3.builds/1", tmp_path / "disk", pristine_folder("least")
    for name, text in {
        "bin/tool": f"#!{build}/bin/python\n",
        "bin/activate": f"VIRTUAL_ENV='{build}'\nP={tmp_path}/my py3/bin:{tmp_path}/my py3.r\n",
        "pyvenv.cfg": f"command = virtualenv {build}\n",
        "etc/jupyter/x.json": "{}",
        "share/jupyter/kernels/mine/kernel.json": json.dumps({"argv": [f"{tmp_path}/my py3/bin/python"]}),
        "lib/python3.11/site-packages/a.pth": f"{build}/lib/b\n",
    }.items():
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_text(text)
    (tmp_path / "my py3").symlink_to(build)
    disk.mkdir()
    words = {"build": build, "link": tmp_path / "my py3", "disk": disk, "folder": folder}

    def run(script, **variables):
        env = {"PATH": "/usr/bin:/bin", "SLURMD_NODENAME": "n", "SLURM_TMPDIR": str(disk), **variables}
        return subprocess.run(
            ["bash", "-euc", script, "-", folder, tmp_path / "my py3"], env=env, capture_output=True, text=True
        )

    pack = """
        FACT_node_disk=${DISK:-} CLUSTER_NAME=trillium
        FOLDER=$1 path=$2 PRINT="" SETTING_environment_location=node FACT_scheduler=slurm
        for file in both/messages cluster/environment cluster/archive login_node/progress login_node/build; do source "$1/lib/$file.sh"; done
        pack_environment "$2"
    """
    words["pack"] = lambda **variables: run(pack, **variables)
    words["unpack"] = lambda **variables: run('bash -p "$1/lib/compute_node/unpack.sh" "$2"', **variables)
    done = words["pack"]()
    assert done.returncode == 0, done.stderr
    return words


def test_what_a_copy_takes_of_the_memory_is_said_where_the_nodes_have_no_disk(packed):
    (packed["build"] / "passerelle.packed").unlink()
    assert packed["pack"](DISK="memory").stdout.splitlines()[-2:] == [
        "Archive for the nodes' own disks: 1 MB, packed with zstd",
        "On trillium, $SLURM_TMPDIR is memory: in each job, the environment takes 1 MB of what the job has asked for.",
    ]


def test_nothing_of_a_copy_names_the_old_place(packed, tmp_path):
    done = packed["unpack"]()
    assert (done.returncode, done.stderr) == (0, "")
    copy = done.stdout.rstrip("\n")
    assert re.fullmatch(rf"{tmp_path}/disk/my py3-\w{{6}}", copy)
    texts = {path.name: path.read_text() for path in (packed["disk"] / copy).rglob("*") if path.is_file()}
    assert texts["tool"] == f"#!{copy}/bin/python\n"
    # what lies beside it is still there
    assert texts["activate"] == f"VIRTUAL_ENV='{copy}'\nP={copy}/bin:{tmp_path}/my py3.r\n"
    assert texts["a.pth"] == f"{copy}/lib/b\n"
    assert json.loads(texts["kernel.json"]) == {"argv": [f"{copy}/bin/python"]}


def test_where_a_copy_cannot_be_the_environment_is_used_where_it_is_and_a_line_says_why(packed, tmp_path):
    def said(**variables):
        done = packed["unpack"](**variables)
        assert (done.returncode, done.stdout) == (0, f"{packed['build']}\n")
        assert list(packed["disk"].iterdir()) == []
        return done.stderr

    link, build, stays = packed["link"], packed["build"], f"so {packed['link']} is used where it is.\n"
    no_folder = f"unpack.sh: This job has no folder on the node's own disk ($SLURM_TMPDIR), {stays}"
    assert said(SLURM_TMPDIR="") == said(SLURM_TMPDIR="/nowhere") == no_folder
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        # half of the job's memory is not for that
        small = {"SLURM_MEM_PER_CPU": "1", "SLURM_CPUS_ON_NODE": "2", "SLURM_TMPDIR": memory}
        assert said(**small) == f"unpack.sh: {memory} has room for 1 MB and the environment needs 1 MB, {stays}"
        done = packed["unpack"](**{**small, "SLURM_MEM_PER_CPU": "1000"})
        assert done.stdout.startswith(memory + "/")
        assert done.stderr == (
            "unpack.sh: The environment takes 1 MB of this job's memory, because $SLURM_TMPDIR is memory on this node.\n"
        )
    whole = (build / "passerelle.archive").read_bytes()
    (build / "passerelle.archive").write_bytes(whole[:-20])
    broken = said()
    assert broken.startswith(f"unpack.sh: The archive of {link} could not be unpacked to {packed['disk']} (")
    assert broken.endswith("), so the environment is used where it is.\n")
    # somebody has installed something: until it is packed again, the archive is of another environment
    (build / "passerelle.archive").write_bytes(whole)
    os.utime(build / "lib/python3.11/site-packages", (1, 1))
    assert said() == (
        f"unpack.sh: There is no archive of {link} as it is now, so it is used where it is. On a login node, ./setup_env.sh "
        "makes one, run by its owner.\n"
    )
    assert packed["pack"]().stdout.splitlines()[-1] == "Archive for the nodes' own disks: 1 MB, packed with zstd"
    assert packed["unpack"]().stdout.startswith(f"{packed['disk']}/")


def test_without_zstd_it_is_gzip(packed, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in os.listdir("/usr/bin"):
        if name in ("zstd", "unzstd"):
            continue
        (tools / name).symlink_to(f"/usr/bin/{name}")
    (packed["build"] / "passerelle.packed").unlink()
    done = packed["pack"](PATH=str(tools))
    assert done.stdout.splitlines()[-1] == "Archive for the nodes' own disks: 1 MB, packed with gzip"
    done = packed["unpack"](PATH=str(tools))
    assert (done.stderr, done.stdout.startswith(f"{packed['disk']}/")) == ("", True)


@pytest.mark.parametrize(
    ("location", "path", "words"),
    [
        ("home", "/project/def-yourpi/py3", "{place}: environment_location is home, but /project/def-yourpi/py3 "
         "({path}) is not in your home directory; write environment_location: project"),
        ("project", "$HOME/py3", "{place}: environment_location is project, but {home}/py3 ({path}) is in your home "
         "directory; write for example environment_path: /project/def-yourpi/jupyter_py3 or, for an environment of your own, "
         "environment_location: home"),
        ("project", "/project/def-yourpi/py3", ""),
        ("home", "$HOME/py3", ""),
    ],
)  # fmt: skip
def test_home_and_project_say_where_environment_path_leads(make_folder, script, environment, location, path, words):
    folder = make_folder("least")
    set_answer(folder, environment_path=path)
    with (folder / "settings.yml").open("a") as settings:
        settings.write(f"environment_location: {location}\n")
    lines = (folder / "settings.yml").read_text().split("\n")
    place, at = f"settings.yml:{len(lines) - 1}", f"settings.yml:{lines.index(f'environment_path: {path}') + 1}"
    done = script(folder / "setup_env.sh", "--print")
    said = words.format(place=place, path=at, home=environment["HOME"])
    assert (done.returncode, done.stderr) == ((64, f"setup_env.sh: {said}\n") if words else (0, ""))


def test_what_is_printed_unpacks_it_and_an_environment_for_a_class_has_a_place_of_its_own(
    make_folder, pristine_folder, script
):
    folder = make_folder("least", environment_location="node")
    assert (
        "\nenvironment_location: node\nenvironment_path: $HOME/jupyter_py3\n" in (folder / "settings.yml").read_text()
    )
    unpack = f"environment=$(bash -p {folder}/lib/compute_node/unpack.sh "
    session = script(folder / "jupyterlab.sh", "--print").stdout
    (folder / "a.ipynb").write_text(notebook("1"))
    batch = script(folder / "submit_notebook.sh", "--print", folder / "a.ipynb").stdout
    for shown, or_not in ((session, ""), (batch, " || exit")):
        assert f"\n{unpack}" in shown and f'\nsource "$environment/bin/activate"{or_not}\n' in shown
    assert 'export JUPYTER_PATH="$VIRTUAL_ENV/share/jupyter"\n' in session
    shared = (pristine_folder("least", environment_location="project") / "settings.yml").read_text()
    assert "\nenvironment_location: project\nenvironment_path: /project/def-yourpi/my-project/jupyter_py3\n" in shared
