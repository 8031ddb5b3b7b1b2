"""setup_env.sh on the login node: what it builds, what it refuses, and what an interruption leaves."""

import pytest
from life import HOLD, Life

WORKS = "$HOME/{0}/bin/jupyter-lab --version && $HOME/{0}/bin/python -c 'import ipykernel, nbconvert'"


@pytest.fixture
def other(idle, pristine_folder):
    """Make a life with an environment of its own: other(path="small_py3", kernels=...)."""

    def make(path, facts=None, user="student", **answers):
        idle.run("login", user, "bash", "-c", f"rm -rf ~/{path}*", check=True)
        plain = {"kernels": ["python"], "extensions": [], "environment_path": f"$HOME/{path}"}
        return Life(
            idle, pristine_folder("vcluster", name="lab", **{**plain, **answers}), "other", user, **(facts or {})
        )

    return make


def works(life, path):
    return life.on_login(WORKS.format(path)).returncode == 0


@pytest.fixture
def killed(other):
    """An environment that works, and settings that ask for another one: one package more."""
    life = other("killed_py3")
    done = life.on_login("./setup_env.sh", timeout=300)
    assert done.returncode == 0, done.stderr
    return life


PHASES = {
    "made": "created virtual environment",
    "packages": "Installing collected packages: .*jupyterlab",
    "complete": ("ln", "-sfn *"),
    "in place": ("grep", "^jupyter"),
}
"""How far a build is: what it has printed, or which command it is about to run, with which words."""


def kill_in(phase, life):
    """Start setup_env.sh and kill it, and all that it has started, in a phase, which holds or is far from the end."""
    on_login = life.cluster.run
    command, words = PHASES[phase] if isinstance(PHASES[phase], tuple) else ("nothing", "")
    wrapper = f'#!/bin/bash\n[[ "$*" != {words.replace(" ", chr(92) + " ")} ]] || {{ {HOLD}; }}\nexec /usr/bin/{command} "$@"\n'
    on_login("login", "student", "bash", "-c", "rm -rf ~/reached; touch ~/held", check=True)
    with life.in_front(**{command: wrapper}):
        process = life.cluster.spawn("login", "student", "bash", "-c", "cd other && exec setsid --wait ./setup_env.sh")
        if command == "nothing":
            process.wait_for(PHASES[phase])
        else:
            assert life.on_login("until [[ -e ~/reached ]]; do sleep 0.05; done").returncode == 0
        kill = "pkill -KILL --session $(pgrep --oldest -u student -f '^/bin/bash -p ./setup_env.sh')"
        on_login("login", "student", "bash", "-c", kill, check=True)
        on_login("login", "student", "rm", "-rf", "held", check=True)
        assert process.wait() != 0
    # it had not come to its end
    assert "The environment is ready" not in process.output


def test_setup_env_killed_in_any_phase_never_breaks_what_worked_and_then_succeeds(killed):
    packages = {phase: f"[numpy, {'papermill' if number % 2 else 'plumbum'}]" for number, phase in enumerate(PHASES)}
    for phase, wanted in packages.items():
        killed.on_login(f"sed -i 's/^packages: .*/packages: {wanted}/' settings.yml")
        before = killed.on_login("readlink ~/killed_py3").stdout
        kill_in(phase, killed)
        assert works(killed, "killed_py3"), f"broken when killed in the phase: {phase}"
        assert (killed.on_login("readlink ~/killed_py3").stdout == before) == (phase != "in place")
        done = killed.on_login("./setup_env.sh", timeout=300)
        assert done.returncode == 0, done.stderr
        assert works(killed, "killed_py3")
        assert killed.on_login(f"$HOME/killed_py3/bin/python -c 'import {wanted.strip('[]')}'").returncode == 0
        # one build in use, at most one before it, and no leftovers
        assert len(killed.on_login("ls $HOME/killed_py3.builds").stdout.split()) <= 2


@pytest.mark.parametrize("phase", ["made", "complete"])
def test_the_very_first_build_killed_leaves_no_half_environment(other, phase):
    life = other("first_py3")
    kill_in(phase, life)
    assert life.on_login("[[ -e $HOME/first_py3 ]]").returncode == 1
    refused = life.on_login("./start_salloc.sh")
    assert (refused.returncode, refused.stderr) == (
        1,
        "start_salloc.sh: There is no environment at /home/student/first_py3 yet; "
        "run ./setup_env.sh on a login node first.\n",
    )


def test_a_second_setup_env_at_the_same_time_is_refused(other):
    life = other("twice_py3")
    first = life.cluster.spawn("login", "student", "bash", "-c", "cd other && ./setup_env.sh")
    first.wait_for("created virtual environment")
    second = life.on_login("./setup_env.sh")
    assert (second.returncode, second.stderr) == (
        1,
        "setup_env.sh: Another setup_env.sh is already running (it holds /home/student/twice_py3.lock); wait until it has finished.\n",
    )
    assert first.wait() == 0
    assert works(life, "twice_py3")


def test_a_second_run_changes_nothing_and_what_pip_added_is_carried_over(other):
    life = other("again_py3")
    assert life.on_login("./setup_env.sh", timeout=300).returncode == 0
    built = life.on_login("readlink $HOME/again_py3").stdout
    assert life.on_login("./setup_env.sh").returncode == 0
    assert life.on_login("readlink $HOME/again_py3").stdout == built
    # "installer d'autres bibliothèques Python"
    added = life.on_login("./setup_env.sh --add python numpy", timeout=300)
    assert added.returncode == 0, added.stderr
    assert life.on_login("./setup_env.sh --rebuild", timeout=300).returncode == 0
    assert life.on_login("readlink $HOME/again_py3").stdout != built
    assert life.on_login("$HOME/again_py3/bin/python -c 'import numpy'").returncode == 0
    missing = life.on_login("./setup_env.sh --add python no-such-package-here")
    assert missing.returncode == 1
    assert missing.stderr.splitlines()[-1].startswith("setup_env.sh: --add: there is no package “no-such-package-here”")


def test_a_full_disk_is_one_clear_line_and_nothing_is_replaced(other, idle):
    life = other("full_py3", environment_path="/srv/small/full_py3")
    idle.run("login", "root", "mkdir", "-p", "/srv/small", check=True)
    idle.run("login", "root", "mount", "-t", "tmpfs", "-o", "size=30m,mode=1777", "tmpfs", "/srv/small", check=True)
    try:
        done = life.on_login("./setup_env.sh")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            "setup_env.sh: The environment could not be built at /srv/small/full_py3: No space left on device. "
            "Free some space or delete some files (diskusage_report shows your quotas), then run this again."
        )
        # the space is given back
        assert life.on_login("ls /srv/small/full_py3.builds").stdout == ""
    finally:
        idle.run("login", "root", "umount", "/srv/small", check=True)


def test_a_build_ended_by_a_signal_at_its_very_end_leaves_the_environment(other):
    life = other("signal_py3")
    assert life.on_login("./setup_env.sh", timeout=300).returncode == 0
    # TERM as soon as the new build stands in the old one's place
    wait = (
        "old=$(readlink ~/signal_py3); until [[ $(readlink ~/signal_py3) != $old ]]; do :; done; kill -TERM %1; wait %1"
    )
    life.on_login(f"set -m; ./setup_env.sh --rebuild & {wait}", timeout=300)
    assert works(life, "signal_py3")


def test_a_failed_rebuild_leaves_the_environment_also_behind_a_link(other):
    life = other("linked_py3")
    assert life.on_login("./setup_env.sh", timeout=300).returncode == 0
    life.on_login(
        "sed -i 's/^packages: .*/packages: [no-such-package-here]/' settings.yml; ln -sfn $HOME ~/link-to-home"
    )
    failed = life.on_login("HOME=$HOME/link-to-home ./setup_env.sh", timeout=300)
    assert failed.returncode == 1
    assert works(life, "linked_py3")


def test_what_settings_no_longer_ask_for_goes_and_a_renamed_environment_stays(other):
    life = other("renamed_py3", packages=["numpy"])
    assert life.on_login("./setup_env.sh", timeout=300).returncode == 0
    life.on_login("mv ~/renamed_py3 ~/renamed_py3.before; sed -i 's/^packages: .*/packages: []/' settings.yml")
    assert life.on_login("./setup_env.sh", timeout=300).returncode == 0
    assert works(life, "renamed_py3.before")
    assert life.on_login("./setup_env.sh --rebuild", timeout=300).returncode == 0
    assert life.on_login("$HOME/renamed_py3/bin/python -c 'import numpy'").returncode == 1


def test_the_link_that_scp_made_a_file_of_is_a_link_again(other):
    life = other("scp_py3")
    life.on_login("rm .copier-answers.yml; cp settings.yml .copier-answers.yml; ./setup_env.sh", timeout=300)
    assert life.on_login("readlink .copier-answers.yml").stdout == "settings.yml\n"


def test_a_missing_module_is_one_clear_line(other):
    life = other("module_py3", python_module="python/9.9")
    line = life.on_login("grep -n ^python_module settings.yml").stdout.split(":")[0]
    done = life.on_login("./setup_env.sh")
    assert (done.returncode, done.stderr) == (
        1,
        f"setup_env.sh: settings.yml:{line}: module not found: python/9.9. "
        "See what there is with: module spider NAME\n",
    )


def test_an_environment_that_somebody_else_built_is_left_alone(other):
    life = other("mine_py3")
    life.on_login("mkdir -p $HOME/mine_py3/bin && touch $HOME/mine_py3/bin/activate")
    line = life.on_login("grep -n ^environment_path settings.yml").stdout.split(":")[0]
    done = life.on_login("./setup_env.sh")
    assert (done.returncode, done.stderr) == (
        1,
        "setup_env.sh: /home/student/mine_py3 already exists and was not built by setup_env.sh; move it away, "
        f"or change environment_path (settings.yml:{line}).\n",
    )
    assert life.on_login("[[ -e $HOME/mine_py3/bin/activate ]]").returncode == 0


def test_a_compute_node_without_internet_is_refused(other):
    life = other("offline_py3", {"internet_on_compute": "none"})
    done = life.on_login("srun --time=5 --mem=500M ./setup_env.sh")
    assert done.returncode == 64
    # srun says in a line of its own that it has failed
    assert [line for line in done.stderr.splitlines() if not line.startswith("srun: ")] == [
        "setup_env.sh: The compute nodes of login.vcluster.example have no internet access; "
        "run this on a login node: ssh USER@login.vcluster.example"
    ]


def test_the_clusters_own_kernel_modules_need_no_installation(other, idle):
    kernels = ["ipython-kernel", "ir-kernel", "ijulia-kernel"]
    facts = {"kernel_modules": f"[{', '.join(kernels)}]"}
    life = other("modules_py3", facts)
    life.on_login(
        f"sed -i 's/^kernels: .*/kernels: [{', '.join(kernels)}]/; s/^python_module: .*/python_module: python\\/{idle.python_version}/' settings.yml"
    )
    done = life.on_login("./setup_env.sh", timeout=300)
    assert done.returncode == 0, done.stderr
    _, address = life.start_session()
    _, url = life.tunnel(address)
    names = {card["name"] for card in idle.browse(url)["cards"] if card["category"] == "Notebook"}
    # Julia is a stub here, and its kernel says so; R runs from the module's library
    assert any("stub" in name.lower() for name in names), names
    ran = idle.browse(url, "--kernel", "R", "--run", 'cat(as.character(packageVersion("IRkernel")))')
    assert ran["output"][0].isdigit()


def test_a_kernel_module_that_the_cluster_does_not_list_is_refused(other):
    life = other("nokernel_py3")
    life.on_login("sed -i 's/^kernels: .*/kernels: [ir-kernel]/' settings.yml")
    line = life.on_login("grep -n ^kernels settings.yml").stdout.split(":")[0]
    done = life.on_login("./setup_env.sh")
    assert (done.returncode, done.stderr) == (
        64,
        f"setup_env.sh: settings.yml:{line}: login.vcluster.example is not known to have the module ir-kernel; "
        "write python, julia or r instead, which setup_env.sh installs.\n",
    )


def test_julia_installs_ijulia_on_the_login_node_and_more_packages_by_one_command(other, idle):
    """Julia itself cannot be had here: the module's julia is a stub that does what Pkg.add would leave behind."""
    idle.run("login", "student", "rm", "-rf", ".julia", ".local/share/jupyter/kernels/julia-1.10", check=True)
    life = other("julia_py3", kernels=["python", "julia"])
    assert life.on_login("./setup_env.sh", timeout=300).returncode == 0
    assert "julia" in idle.read("login", "student", ".local/share/jupyter/kernels/julia-1.10/kernel.json")
    added = life.on_login("./setup_env.sh --add julia Glob")
    assert added.returncode == 0, added.stderr
    assert idle.run("login", "student", "bash", "-c", "find ~/.julia | grep -q Glob").returncode == 0
    hostile = life.on_login("./setup_env.sh --add julia 'Glob\"); run(`id`) #'")
    assert (hostile.returncode, hostile.stderr) == (
        64,
        'setup_env.sh: “Glob"); run(`id`) #” is not the name of a package; for example: numpy\n',
    )


def test_r_gets_more_packages_by_one_command_and_says_which_it_cannot(lab):
    done = lab.on_login("./setup_env.sh --add r doParallel", timeout=300)
    assert done.returncode == 0, done.stderr
    assert lab.on_login("module load r; Rscript -e 'library(doParallel)'").returncode == 0
    missing = lab.on_login("./setup_env.sh --add r noSuchPackage", timeout=300)
    assert missing.returncode == 1
    assert missing.stderr.splitlines()[-1] == (
        "setup_env.sh: noSuchPackage could not be added to the kernel r: see the messages above."
    )


def test_another_environment_becomes_a_kernel_with_its_own_name(lab):
    make = "module load python; rm -rf ~/second; virtualenv --no-download ~/second >/dev/null"
    assert lab.on_login(make).returncode == 0
    done = lab.on_login("./setup_env.sh --register ~/second my-second", timeout=300)
    assert done.returncode == 0, done.stderr
    _, address = lab.start_session()
    _, url = lab.tunnel(address)
    ran = lab.cluster.browse(url, "--kernel", "Python (my-second)", "--run", "import sys; print(sys.prefix)")
    assert ran["output"] == "/home/student/second"
    bad = lab.on_login("./setup_env.sh --register ~/second 'my kernel'")
    assert (bad.returncode, bad.stderr) == (
        64,
        "setup_env.sh: “my kernel” cannot be the name of a kernel; for example: my-kernel\n",
    )


def test_a_shared_environment_brings_its_kernels_to_everybody(idle, shared_folder, shared_built):
    specs = idle.run("login", "student2", "ls", "/project/def-prof/jupyter/share/jupyter/kernels", check=True).stdout
    assert {"ir", "python3"} <= set(specs.split())
    life = Life(idle, shared_folder, user="student2")
    _, address = life.start_session()
    _, url = life.tunnel(address)
    ran = idle.browse(url, "--kernel", "R", "--run", "library(crayon); cat(Sys.info()[['user']])")
    assert ran["output"].endswith("student2")
