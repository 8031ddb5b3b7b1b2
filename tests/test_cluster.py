"""The cluster itself: that its hosts, network, Slurm and software behave as those of a real one."""

import os
import re
import signal
import subprocess
import sys

import pytest
from cluster.api import HERE, LOGIN, MFA, Cluster, Failed, Unexpected

pytest_plugins = ["cluster.fixtures"]

NODE1 = "node1.int.vcluster.example"
OUTSIDE = "http://cran.vcluster.example/src/contrib/PACKAGES"


def on_login(cluster: Cluster, command: str, user: str = "student", **how):
    """What `user` gets who types `command` on the login node."""
    return cluster.run("login", user, "bash", "-c", command, **how)


# --- where there can be one --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("within", "said"),
    [
        (["unshare", "--user"], "needs root, for namespaces and users"),
        (
            [
                "unshare",
                "--mount",
                "sh",
                "-c",
                'mount --bind "$0" /etc/os-release; exec "$@"',
                "ID=fedora VERSION_ID=13",
            ],
            "needs Debian 12 or 13, whose packages it is made of",
        ),
        (
            ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/os-release; exec "$@"', "ID=debian"],
            "needs Debian 12 or 13, whose packages it is made of",
        ),
        (
            ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"],
            "needs namespaces and mounts, which root may not make here",
        ),
    ],
)
def test_where_there_can_be_none_one_line_says_why(cluster, tmp_path, within, said):
    release = tmp_path / "os-release"
    release.write_text(within[-1].replace(" ", "\n"))
    within = [str(release) if word.startswith("ID=") else word for word in within]
    for command in (["check"], ["prepare"], ["up"]):
        done = subprocess.run([*within, HERE / "cluster", *command], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"cluster: {said}\n")


def test_all_tests_that_are_skipped_for_want_of_a_cluster_are_one_line(tmp_path):
    (tmp_path / "conftest.py").write_text(
        "from cluster.api import Cluster\nCluster.hindrance = staticmethod(lambda: 'cluster: needs root')\n"
    )
    (tmp_path / "test_two.py").write_text(
        "def test_one(cluster): ...\ndef test_another(clean): ...\ndef test_third(): ...\n"
    )
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "cluster.fixtures", "-p", "no:cacheprovider", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert skipped == [f"SKIPPED [2] {os.path.relpath(HERE, tmp_path)}: cluster: needs root"]
    assert re.search("1 passed, 2 skipped", done.stdout)


# --- the network -------------------------------------------------------------------------------


def test_alice_reaches_the_login_node_with_her_key(cluster):
    assert cluster.run("laptop", "alice", "ssh", LOGIN, "hostname -f").stdout == "login.int.vcluster.example\n"


def test_the_laptop_neither_resolves_nor_reaches_a_node(cluster):
    assert cluster.run("laptop", "alice", "getent", "hosts", NODE1).returncode == 2
    ping = cluster.run("laptop", "alice", "ping", "-c", "1", "-W", "2", "10.78.0.11")
    assert "Net Unreachable" in ping.stdout


def test_the_laptop_has_neither_slurm_nor_modules_nor_the_clusters_disks(cluster):
    assert cluster.run("laptop", "alice", "bash", "-c", "type -t salloc srun squeue module").stdout == ""
    assert cluster.run("laptop", "alice", "ls", "/cvmfs", "/scratch").returncode == 2


def test_a_forward_through_the_login_node_reaches_a_node(cluster):
    with cluster.spawn("laptop", "alice", "ssh", "-v", "-N", "-L", f"2222:{NODE1}:22", LOGIN) as tunnel:
        tunnel.wait_for("pledge: (network|filesystem)")
        first_line = cluster.run("laptop", "alice", "bash", "-c", "head -1 <>/dev/tcp/127.0.0.1/2222").stdout
    assert first_line.startswith("SSH-2.0-OpenSSH")


def test_sshuttle_makes_a_node_reachable_by_its_name(cluster):
    with cluster.spawn("laptop", "alice", "sshuttle", "--dns", "-Nr", LOGIN) as sshuttle:
        sshuttle.wait_for("Connected to server")
        command = f"until getent hosts {NODE1}; do sleep 0.1; done; head -1 <>/dev/tcp/{NODE1}/22"
        assert "SSH-2.0-OpenSSH" in cluster.run("laptop", "alice", "bash", "-c", command).stdout


def test_compute_nodes_are_offline_and_the_login_node_is_not(cluster):
    assert on_login(cluster, f"curl -sSf {OUTSIDE}").stdout.startswith("Package: ")
    refused = cluster.run("node1", "student", "curl", "-sS", OUTSIDE)
    assert (refused.returncode, refused.stdout) == (7, "")


def test_a_cut_cable_is_felt_and_can_be_mended(cluster):
    with cluster.network("laptop").cut():
        assert cluster.run("laptop", "alice", "ping", "-c", "1", "-W", "1", "10.77.0.10").returncode == 1
    assert cluster.run("laptop", "alice", "ping", "-c", "1", "-W", "5", "10.77.0.10").returncode == 0


def test_files_go_from_the_laptop_to_the_cluster_and_back_by_rsync(clean):
    clean.write("laptop", "alice", "there/file", "something")
    clean.run("laptop", "alice", "rsync", "-a", "there", f"{LOGIN}:", check=True)
    clean.run("laptop", "alice", "rsync", "-a", f"{LOGIN}:there/", "back", check=True)
    assert clean.read("login", "student", "there/file") == clean.read("laptop", "alice", "back/file") == "something"


# --- authentication ----------------------------------------------------------------------------


def test_a_key_alone_does_not_open_the_address_with_the_second_factor(cluster):
    before = cluster.auth_count("student")
    refused = cluster.run("laptop", "alice", "ssh", "-o", "BatchMode=yes", MFA, "hostname")
    assert refused.stderr == f"{MFA}: Permission denied (keyboard-interactive).\n"
    assert cluster.auth_count("student") == before


def test_key_and_code_do_and_count_as_one_authentication(cluster):
    before = cluster.auth_count("student")
    assert cluster.ssh_with_code(MFA, "hostname").stdout == "login\n"
    assert cluster.auth_count("student") == before + 1


def test_a_person_can_type_the_code_and_a_wrong_one_is_refused(cluster):
    def typed(code: str) -> str:
        command = ["answer-code", code, "ssh", "-o", "NumberOfPasswordPrompts=1", MFA, "hostname"]
        return cluster.run("laptop", "alice", *command).stdout

    assert typed(cluster.totp()).endswith("\nlogin\n")
    assert "Permission denied" in typed("000000")


# --- users and shells --------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["student", "zsh", "fish", "xonsh"])
def test_every_login_shell_knows_the_cluster_and_its_disks(cluster, user):
    command = "echo $SHELL $CC_CLUSTER $SCRATCH $PROJECT"
    answer = cluster.run("laptop", "alice", "ssh", f"{user}@login.vcluster.example", command).stdout.split()
    shell = {"student": "/bin/bash", "zsh": "/bin/zsh"}.get(user, f"/usr/bin/{user}")
    assert answer == [shell, "vcluster", f"/scratch/{user}", "/project"]


def test_a_login_shell_leaves_no_trace_of_the_machine(cluster):
    names = {line.split("=")[0] for line in cluster.run("inet", "root", "env").stdout.splitlines()}
    assert names <= {"HOME", "LANG", "LOGNAME", "MAIL", "PATH", "PWD", "SHELL", "SHLVL", "TERM", "USER", "_"}


def test_arguments_arrive_as_they_were_given(cluster):
    words = ["two words", "", "it's", "$HOME", "-x", "--", "line\nline"]
    assert cluster.run("login", "fish", "printf", "<%s>", *words).stdout == "".join(f"<{word}>" for word in words)


def test_a_copied_folder_belongs_to_the_user_and_keeps_what_can_run(cluster, tmp_path):
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "hello"
    script.write_text("#!/bin/sh\necho hello from $(hostname)\n")
    script.chmod(0o755)
    cluster.put("login", "student", tmp_path, "copied")
    assert on_login(cluster, "stat -c %U copied/bin/hello; copied/bin/hello").stdout == "student\nhello from login\n"


def test_clean_makes_homes_new(clean):
    clean.write("login", "student", "left/over", "something")
    clean.clean()
    with pytest.raises(Failed, match="No such file"):
        clean.read("login", "student", "left/over")


# --- Slurm -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        ("srun --mem=200G -t 5 true", "Memory specification can not be satisfied"),
        ("srun --cpus-per-task=64 -t 5 true", "CPU count per node can not be satisfied|More processors requested"),
        ("salloc --time=9:0:0 true", "Requested time limit is invalid"),
        ("srun -A def-nobody -t 1 true", "Invalid account"),
    ],
)
def test_slurm_refuses_what_the_cluster_cannot_give(cluster, request_, refusal):
    answer = on_login(cluster, request_)
    assert answer.returncode != 0
    assert re.search(refusal, answer.stderr)


def test_who_has_two_allocations_is_told_to_choose(cluster):
    answer = on_login(cluster, "srun -t 1 true", user="student2").stderr
    assert re.search("one of the following accounts to submit this job:.*def-prof.*rrg-prof", answer, re.DOTALL)


def test_a_job_gets_gpus_the_account_and_a_disk_of_its_own(idle):
    command = 'srun -t 2 --gpus-per-node=h100:2 bash -c "echo \\$CUDA_VISIBLE_DEVICES \\$SLURM_JOB_ACCOUNT; touch \\$SLURM_TMPDIR/x"'
    assert on_login(idle, command, check=True).stdout == "0,1 def-prof_gpu\n"


def test_a_job_waits_while_another_has_the_node_and_ctrl_c_gives_it_up(idle):
    on_login(idle, "sbatch -t 30 -c 31 --wrap 'sleep 600'", user="rival", check=True)
    on_login(idle, "until squeue -h -u rival -t R | grep -q .; do sleep 0.1; done")
    salloc = idle.spawn("login", "student", "salloc", "-w", "node1", "-t", "30", "-c", "20", tty=True)
    salloc.wait_for("queued and waiting for resources")
    pending = on_login(idle, 'until squeue -h -u student -o "%T %r" | grep -v None; do sleep 0.2; done').stdout
    assert pending in ("PENDING Resources\n", "PENDING Priority\n")
    salloc.type("\x03")
    assert salloc.wait() != 0
    assert on_login(idle, "squeue -h -u student").stdout == ""


def test_salloc_opens_a_shell_on_the_node_and_ctrl_c_reaches_what_runs_there(idle):
    with idle.spawn("login", "student", "salloc", "-t", "5", tty=True) as salloc:
        salloc.wait_for(r"@node1 ~\]\$ $")
        salloc.type("sleep 600\r")
        salloc.wait_for("sleep 600")
        on_login(idle, "until ssh -o LogLevel=ERROR node1 pgrep -x -u student sleep; do sleep 0.1; done")
        salloc.type("\x03")
        salloc.type("echo status $?\r")
        salloc.wait_for("^status 130$")
        salloc.type("exit\r")
        salloc.wait_for("Relinquishing job allocation")


def test_a_job_over_its_memory_is_killed(idle):
    hog = "x = bytearray(600 * 2**20); import time; time.sleep(30)"
    answer = on_login(idle, f"srun -t 2 --mem=150M /usr/bin/python3 -c '{hog}'")
    assert answer.returncode != 0
    assert "Exceeded job memory limit" in answer.stderr or "oom" in answer.stderr.lower()


def test_a_signal_reaches_the_command_itself(cluster):
    trap = cluster.spawn(
        "login", "student", "bash", "-c", "trap 'echo felt; exit 3' USR1; echo set; while :; do sleep 0.1; done"
    )
    trap.wait_for("^set$")
    trap.send_signal(signal.SIGUSR1)
    assert (trap.wait(), trap.output) == (3, "set\nfelt\n")


def test_waiting_for_what_never_comes_ends_and_shows_the_output(cluster):
    process = cluster.spawn("login", "student", "bash", "-c", "echo something else; sleep 600")
    process.wait_for("something else")
    with pytest.raises(Unexpected, match="something else"):
        process.wait_for("^something expected$", timeout=1)
    process.stop()
    assert process.poll() == 143


# --- the software ------------------------------------------------------------------------------


def test_the_standard_environment_offers_the_modules(cluster):
    offered = on_login(cluster, "module --terse avail 2>&1").stdout.split()
    of_the_machine = {f"{name}/{cluster.python_version}" for name in ["python", "ipython-kernel"]}
    assert of_the_machine | {"r/4.1", "julia/1.10", "ir-kernel/4.1", "ijulia-kernel/1.10"} <= set(offered)
    assert {"nodejs/20", "rstudio-server/4.1"} <= set(offered)


def test_the_module_python_is_of_the_version_that_its_name_says(cluster):
    version = cluster.python_version
    names = ["python", "python3", f"python{version}", "pip", "virtualenv"]
    command = f"module load python/{version}; for name in {' '.join(names)}; do $name --version; done"
    python, python3, exactly, pip, _ = on_login(cluster, command, check=True).stdout.splitlines()
    assert python.startswith(f"Python {version}.")
    assert python3 == exactly == python
    assert pip.endswith(f"(python {version})")


def test_without_modules_there_is_no_virtualenv_and_no_r(cluster):
    assert on_login(cluster, "type -t virtualenv R Rscript julia node").stdout == ""


def test_an_environment_is_built_from_the_wheelhouse_without_the_internet(clean):
    with clean.network("login").cut():
        command = "module load python; virtualenv --no-download ~/env && ~/env/bin/pip install --no-index plumbum"
        assert "Successfully installed plumbum" in on_login(clean, command, check=True).stdout


@pytest.mark.parametrize(
    ("module", "kernel", "code", "says"),
    [
        ("ipython-kernel", "ipython-kernel-{version}", "import socket; print(socket.gethostname(), 6 * 7)", "node1 42"),
        ("ir-kernel", "ir", 'cat(Sys.info()[["nodename"]], 6 * 7)', "node1 42"),
    ],
)
def test_a_kernel_module_brings_a_kernel_that_runs_in_a_job(idle, module, kernel, code, says):
    idle.write("login", "student", "cell", code)
    version = idle.python_version
    python = f"/cvmfs/soft.vcluster.example/software/ipython-kernel/{version}/python/bin/python"
    kernel = kernel.format(version=version)
    command = f"module load {module}; srun -t 2 --mem=1G {python} -m jupyter_client.runapp --kernel={kernel} ~/cell"
    assert says in on_login(idle, command, check=True).stdout


def test_r_packages_are_installed_from_the_mirror_on_the_login_node_only(clean):
    library = 'dir.create(Sys.getenv("R_LIBS_USER"), recursive = TRUE)'
    command = f"module load r; Rscript -e '{library}; install.packages(\"crayon\")'; Rscript -e 'library(crayon)'"
    assert "there is no package called ‘crayon’" in clean.run("node1", "student", "bash", "-c", command).stderr
    on_login(clean, command, check=True)
    assert clean.run("node1", "student", "bash", "-c", "module load r; Rscript -e 'library(crayon)'").returncode == 0


def test_the_julia_stub_says_so_and_needs_the_internet_to_add_a_package(clean):
    add = r"""module load julia; echo -e 'using Pkg\nPkg.add("IJulia")' | julia"""
    assert "(stub) could not download" in clean.run("node1", "student", "bash", "-c", add).stderr
    assert "Installed IJulia (stub)" in on_login(clean, add, check=True).stderr
    assert '"Julia 1.10.3 (stub)"' in clean.read(
        "login", "student", ".local/share/jupyter/kernels/julia-1.10/kernel.json"
    )
    assert "(stub): knows nothing but" in on_login(clean, "module load julia; julia -e 1+1").stderr


def test_the_rstudio_stub_says_so(cluster):
    assert "rserver stub" in on_login(cluster, "module load rstudio-server; rserver --version").stdout


# --- everything together -----------------------------------------------------------------------


def test_a_notebook_in_the_browser_runs_on_the_node(clean):
    build = """
        module load python ir-kernel
        virtualenv --no-download ~/env
        ~/env/bin/pip install --no-index --quiet jupyterlab
        """
    on_login(clean, build, check=True)
    serve = "module load python ir-kernel; unset XDG_RUNTIME_DIR; salloc -t 10 --mem=2G srun ~/env/bin/jupyter lab --ip $(hostname)"
    serve = serve.replace("$(hostname)", NODE1) + " --no-browser"
    lab = clean.spawn("laptop", "alice", "ssh", "-tt", LOGIN, serve)
    token = lab.wait_for(rf"http://{NODE1}:8888/lab\?token=(\w+)")[1]
    clean.spawn("laptop", "alice", "ssh", "-N", "-L", f"8888:{NODE1}:8888", LOGIN)
    command = "until curl -sf -o /dev/null http://127.0.0.1:8888/api; do sleep 0.1; done"
    clean.run("laptop", "alice", "bash", "-c", command)

    cell = "import os, socket; print(socket.getfqdn(), 'SLURM_JOB_ID' in os.environ)"
    url = f"http://127.0.0.1:8888/lab?token={token}"
    seen = clean.browse(url, "--kernel", "Python 3 (ipykernel)", "--run", cell)
    assert seen["output"] == f"{NODE1} True"
    assert {"Python 3 (ipykernel)", "R 4.1 (module)"} <= {card["name"] for card in seen["cards"]}
