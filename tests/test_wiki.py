"""The wiki's page from top to bottom, through the generated scripts, as student on the cluster."""

import pytest
from life import ADDRESS, CODE, Life, press_ctrl_c_twice

WHERE = "import os, socket; print(socket.getfqdn(), 'in job', os.environ['SLURM_JOB_ID'])"
WHERE_IN_R = 'cat(Sys.info()[["nodename"]], "in job", Sys.getenv("SLURM_JOB_ID"))'


def test_the_environment_has_what_the_wiki_installs(lab):
    done = lab.on_login("module load python; source $HOME/jupyter_py3/bin/activate; pip freeze | grep jupyter")
    assert done.returncode == 0
    for package in ("jupyterlab", "jupyter_server", "jupyterlmod", "jupyter-rsession-proxy"):
        assert f"{package}==" in done.stdout
    wrapper = lab.cluster.read("login", "student", "jupyter_py3/bin/jupyterlab.sh")
    assert wrapper == "#!/bin/bash\nunset XDG_RUNTIME_DIR\njupyter lab --ip $(hostname -f) --no-browser\n"
    assert lab.on_login("[[ -x $HOME/jupyter_py3/bin/jupyterlab.sh ]]").returncode == 0


def test_setup_env_ends_with_the_wikis_check_and_the_next_step(lab):
    done = lab.on_login("./setup_env.sh")
    assert done.returncode == 0, done.stderr
    lock, *packages, ready, following = done.stdout.splitlines()
    assert lock.startswith("The versions are in requirements.lock")
    assert all(line.startswith("jupyter") for line in packages)
    assert ready == "The environment is ready: /home/student/jupyter_py3"
    assert following == "Next: ./start_salloc.sh"


def test_the_wikis_own_salloc_line_works_with_the_environment(lab):
    session = lab.start(
        "module load python; source $HOME/jupyter_py3/bin/activate; salloc --time=1:0:0 --ntasks=1 --cpus-per-task=2 "
        "--mem-per-cpu=1024M --account=def-prof srun $VIRTUAL_ENV/bin/jupyterlab.sh"
    )
    session.wait_for(ADDRESS)


@pytest.mark.parametrize("tunnel", ["tunnel_ssh.sh", "tunnel_sshuttle.sh"])
def test_python_and_r_run_in_the_job_through(tunnel, lab):
    session, address = lab.start_session()
    job = lab.jobs().split()[0]
    node = address.split("/")[2].split(":")[0]
    process, url = lab.tunnel(address, script=tunnel)
    assert url == address if tunnel == "tunnel_sshuttle.sh" else url.startswith("http://127.0.0.1:")
    python = lab.cluster.browse(url, "--kernel", "Python 3 (ipykernel)", "--run", WHERE)
    assert {card["name"] for card in python["cards"]} >= {"Python 3 (ipykernel)", "R", "RStudio [↗]", "Terminal"}
    assert python["output"] == f"{node} in job {job}"
    r = lab.cluster.browse(url, "--kernel", "R", "--run", WHERE_IN_R)
    assert r["output"] == f"{node.split('.')[0]} in job {job}"
    process.type("\x03")
    process.wait_for("Tunnel closed.")
    assert process.wait() == 0
    press_ctrl_c_twice(session)
    session.wait()
    assert lab.jobs() == ""


def test_python_runs_in_the_job_through_a_jump_where_only_ssh_passes(idle, other_folder, built):
    lab = Life(idle, other_folder, reach="jump")
    _, address = lab.start_session()
    port = address.split(":")[2].split("/")[0]
    node = address.split("/")[2].split(":")[0]
    # nobody else on the cluster's network reaches the server
    assert idle.run("login", "rival", "curl", "-sS", "-m", "5", f"http://{node}:{port}/api").returncode == 7
    for known in ("node1", "node2"):
        idle.run("laptop", "alice", "ssh-keygen", "-R", f"{known}.int.vcluster.example")
    # the node's host key is shown and has to be accepted, as any new one
    process = idle.spawn("laptop", "alice", "lab/tunnel_ssh.sh", address, tty=True)
    process.wait_for("continue connecting")
    process.type("yes\r")
    url = process.wait_for(r"The tunnel works\. Open\s+(http://\S+)")[1]
    assert f" {node} in job " in " " + idle.browse(url, "--kernel", "Python 3 (ipykernel)", "--run", WHERE)["output"]
    refused = idle.run("laptop", "alice", "lab/tunnel_sshuttle.sh", address)
    assert refused.returncode == 64
    assert refused.stderr == (
        "tunnel_sshuttle.sh: On login.vcluster.example the nodes can be reached by ssh only, so sshuttle cannot lead to the session; "
        "use ./tunnel_ssh.sh\n"
    )


def test_everything_works_through_the_second_factor(idle, make_folder, built):
    lab = Life(idle, make_folder("vcluster", login_host=CODE), host=CODE)
    before = idle.auth_count("student", "keyboard-interactive/pam")
    _, address = lab.start_session()
    process, url = lab.tunnel(address)
    assert " in job " in idle.browse(url, "--kernel", "Python 3 (ipykernel)", "--run", WHERE)["output"]
    # one code for the session, one for the tunnel
    assert idle.auth_count("student", "keyboard-interactive/pam") - before == 2


def test_rstudio_and_lmod_answer_within_the_session(lab):
    session, address = lab.start_session()
    base, token = address.split("/lab?token=")
    header = f"Authorization: token {token}"
    modules = lab.cluster.run("login", "student", "curl", "-sS", "-H", header, f"{base}/module/modules", check=True)
    assert '"rstudio-server/4.1"' in modules.stdout
    # RStudio Server itself is a stub, and says so; that it is reached through JupyterLab's proxy is real
    rstudio = lab.cluster.run(
        "login", "student", "curl", "-sSL", "-m", "60", "-H", header, f"{base}/rstudio/", check=True
    )
    assert "stub" in rstudio.stdout
