"""setup_env.sh on the login node: what it builds, what it refuses, what it shows, and what an interruption leaves."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from cluster.api import PipedProcess
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


LOGS = ".local/state/passerelle/logs"
PHASES = {
    "made": "created virtual environment",
    "packages": "Installing collected packages: .*jupyterlab",
    "complete": ("ln", "-sfn *"),
    "in place": ("grep", "^jupyter"),
}
"""How far a build is: what stands in its log, or which command it is about to run, with which words."""


def kill_in(phase, life):
    """Start setup_env.sh and kill it, and all that it has started, in a phase, which holds or is far from the end."""
    on_login = life.cluster.run
    command, words = PHASES[phase] if isinstance(PHASES[phase], tuple) else ("nothing", "")
    wrapper = f'#!/bin/bash\n[[ "$*" != {words.replace(" ", chr(92) + " ")} ]] || {{ {HOLD}; }}\nexec /usr/bin/{command} "$@"\n'
    on_login("login", "student", "bash", "-c", f"rm -rf ~/reached ~/{LOGS}; touch ~/held", check=True)
    with life.in_front(**{command: wrapper}):
        process = life.cluster.spawn("login", "student", "bash", "-c", "cd other && exec setsid --wait ./setup_env.sh")
        until = f"grep -sqE '{PHASES[phase]}' ~/{LOGS}/*" if command == "nothing" else "[[ -e ~/reached ]]"
        assert life.on_login(f"until {until}; do sleep 0.05; done").returncode == 0
        kill = "pkill -KILL --session $(pgrep --oldest -u student -f '^/bin/bash -p ./setup_env.sh')"
        on_login("login", "student", "bash", "-c", kill, check=True)
        on_login("login", "student", "rm", "-rf", "held", check=True)
        assert process.wait() != 0
    # it had not come to its end
    assert "The environment is ready" not in process.output


def builds(life, path):
    return life.on_login(f"ls ~/{path}.builds").stdout.split()


def test_setup_env_killed_in_any_phase_never_breaks_what_worked_nor_a_session(killed):
    # replaced before the session began
    killed.on_login(
        "cp -a ~/killed_py3.builds/2* ~/killed_py3.builds/before; echo 1 >~/killed_py3.builds/before/passerelle.replaced"
    )
    _, address = killed.start_session()
    (used,) = set(builds(killed, "killed_py3")) - {"before"}
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
    # the session began with the first one, and any that has been replaced since may be another session's
    kept = builds(killed, "killed_py3")
    assert used in kept and "before" not in kept
    for page in ("lab", "static/lab/package.json"):
        answer = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", address.replace("/lab?", f"/{page}?")]
        assert killed.cluster.run("login", "student", *answer).stdout == "200"
    done = killed.on_login("./setup_env.sh")
    assert done.stdout.splitlines()[0] == (
        "Earlier builds kept in /home/student/killed_py3.builds, because jobs may still be using them: "
        f"{len(kept) - 1}. A later build removes them."
    )
    # without it, one remains
    killed.cluster.clean(homes=False)
    done = killed.on_login("./setup_env.sh")
    assert (done.returncode, done.stderr, "Earlier builds" in done.stdout) == (0, "", False)
    assert [f"/home/student/killed_py3.builds/{name}\n" for name in builds(killed, "killed_py3")] == [
        killed.on_login("readlink ~/killed_py3").stdout
    ]


@pytest.mark.parametrize("phase", ["made", "complete"])
def test_the_very_first_build_killed_leaves_no_half_environment(other, phase):
    life = other("first_py3")
    kill_in(phase, life)
    assert life.on_login("[[ -e $HOME/first_py3 ]]").returncode == 1
    refused = life.on_login("./start_salloc.sh")
    assert (refused.returncode, refused.stderr) == (
        1,
        "start_salloc.sh: There is no environment at /home/student/first_py3 yet. To build it: ./setup_env.sh\n",
    )


def test_a_second_setup_env_at_the_same_time_is_refused(other):
    life = other("twice_py3")
    first = life.cluster.spawn("login", "student", "bash", "-c", "cd other && ./setup_env.sh")
    first.wait_for("Building the environment")
    assert life.on_login("until [[ -d ~/twice_py3.builds ]]; do sleep 0.05; done").returncode == 0
    second = life.on_login("./setup_env.sh")
    assert (second.returncode, second.stderr) == (
        1,
        "setup_env.sh: Another setup_env.sh is already running (it holds /home/student/twice_py3.lock); wait until it has finished, "
        "then run this again.\n",
    )
    assert first.wait() == 0
    assert works(life, "twice_py3")


def test_a_second_run_changes_nothing_and_what_pip_added_is_carried_over(other):
    life = other("again_py3")
    first = life.on_login(f"rm -rf ~/{LOGS}; umask 022; ./setup_env.sh", timeout=300)
    assert first.returncode == 0, first.stderr
    begins, *steps = [line for line in first.stdout.splitlines() if not line.startswith("jupyter")]
    log = re.fullmatch(
        "Building the environment /home/student/again_py3; this takes a few minutes. The output of pip, R and Julia goes to "
        rf"(/home/student/{LOGS}/setup_env-\d{{8}}-\d{{6}}.log)",
        begins,
    )[1]
    for step in steps[:-3]:
        assert re.fullmatch(r"(pip|Python packages): \d+ (found so far|of \d+ installed) \(\d+:\d\d\)", step), step
    # all of them are counted
    number = re.fullmatch(r"Python packages: (\d+) of \1 installed \(\d+:\d\d\)", steps[-4])[1]
    asked = life.cluster.read("login", "student", log)
    assert len(re.findall(r"(?m)^Installing collected packages: (.*jupyterlab.*)$", asked)[0].split(", ")) == int(
        number
    )
    assert life.on_login(f"stat -c %a {log} {log.rpartition('/')[0]}").stdout == "600\n700\n"
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
    assert re.fullmatch(
        r"ERROR: Could not find a version that satisfies the requirement no-such-package-here .*\n"
        "ERROR: No matching distribution found for no-such-package-here\n"
        rf"setup_env.sh: The full output is in /home/student/{LOGS}/setup_env-\d{{8}}-\d{{6}}.log\n"
        "setup_env.sh: The cluster's wheelhouse lacks: no-such-package-here\n"
        r"setup_env.sh: Nothing was installed\. Check the names \(on the Alliance's clusters, with: avail_wheels NAME\)\. To have them "
        r"fetched from PyPI, on a login node: \./setup_env\.sh --fetch --add python no-such-package-here\n",
        missing.stderr,
    )
    # an error that pip outlives is shown, too
    wish = "sed -i '2i Requires-Dist: plumbum<0.1' ~/again_py3/lib/python*/site-packages/numpy-*.dist-info/METADATA"
    broken = life.on_login(f"{wish}; ./setup_env.sh --add python plumbum", timeout=300)
    assert broken.returncode == 0
    assert re.search(
        r"(?m)^numpy \S+ requires plumbum<0.1, but you have plumbum \S+ which is incompatible\.$", broken.stderr
    )


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


def test_a_login_node_whose_tmp_is_full_hinders_nobody(lab, idle):
    def on_login(*words):
        idle.run("login", "root", *words, check=True)

    try:
        # no file more can be made: one is there
        on_login("mount", "-t", "tmpfs", "-o", "nr_inodes=2,mode=1777", "tmpfs", "/tmp")
        on_login("touch", "/tmp/one")
        done = lab.on_login("./setup_env.sh --add r R6")
        assert (done.returncode, done.stderr) == (0, ""), done
        # one can be made, and nothing can be written to it
        on_login("umount", "-l", "/tmp")
        on_login("mount", "-t", "tmpfs", "-o", "size=4k,mode=1777", "tmpfs", "/tmp")
        on_login("cp", "/etc/passwd", "/tmp/one")
        done = lab.on_login("./submit_session.sh --account=nobodys")
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert done.stderr.startswith("submit_session.sh: Slurm refused the job: "), done.stderr
        assert lab.on_login("ls -d ~/.passerelle-*").stdout == ""
    finally:
        on_login("umount", "-l", "/tmp")


def test_nobody_builds_an_environment_that_many_are_to_share_by_the_way(other):
    life = other("nobodys_py3", environment_path="/project/def-prof/nobodys")
    life.on_login("echo 'environment_location: project' >>settings.yml")
    words = (
        "There is no environment at /project/def-prof/nobodys yet, and many are to share it (environment_location: project), so "
        "lab does not build it on its own: it belongs to whoever builds it. That person types, in this folder on "
        "USER@login.vcluster.example: ./setup_env.sh"
    )
    done = life.on_login("./submit_session.sh --set-up --name=class")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"submit_session.sh: {words}\n")
    done = life.on_login("bash -p lib/login_node/check.sh environment")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"check.sh: {words}\n")
    assert life.on_login("ls -d /project/def-prof/nobodys*").stdout == ""
    # one of one's own is somewhere else, which the setting must say, too
    life.on_login("sed -i 's|^environment_path: .*|environment_path: $HOME/own_py3|' settings.yml")
    done = life.on_login("bash -p lib/login_node/check.sh environment")
    assert done.returncode == 64
    assert done.stderr.endswith("or, for an environment of your own, environment_location: home\n")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("WARNING: Retrying (Retry(total=4)) after connection broken", ", but where pip looks for packages nothing answers "
         "(settings.yml:9: pip_source)\n"),
        ("Looking in links: /cvmfs", "\n"),
    ],
)  # fmt: skip
def test_that_nothing_answers_where_pip_looks_for_packages_is_said_while_it_tries_again(
    pristine_folder, tmp_path, lines, said
):
    script = """
        FOLDER=$1 PRINT="" LOG=$2/log LINE_pip_source=settings.yml:9 PASSERELLE_REQUEST=1
        source "$1/lib/both/messages.sh"; source "$1/lib/both/limits.sh"; source "$1/lib/login_node/progress.sh"
        pip() { echo "Processing /x/a-1.whl"; echo "$1"; sleep 2.5; }
        watched Packages pip "$3" """
    words = ["bash", "-euc", script, "-", pristine_folder("least"), tmp_path, lines]
    done = subprocess.run(words, capture_output=True, text=True)
    assert f"\tbuilding\tPackages: 1 found so far{said}" in done.stdout, done.stdout + done.stderr
    assert ("nothing answers" in done.stdout) == (said != "\n")


def test_where_nothing_can_be_written_is_one_clear_line(other):
    done = other("closed_py3", environment_path="/root/closed_py3").on_login("./setup_env.sh")
    assert (done.returncode, done.stderr) == (
        1,
        "setup_env.sh: Cannot write to /root/closed_py3.lock: choose another environment_path in settings.yml, or free "
        "some space.\n",
    )


REPORT = """#!/bin/sh
cat <<EOF
                             Description                Space           # of files
                     /home (student)         20G/50G          {home}
             /project (group def-prof)     971G/1000G          {project}
EOF
"""
"""What diskusage_report says, which cannot be had here (docs.alliancecan.ca/wiki/Storage_and_file_management)."""


def test_where_the_quota_of_files_is_known_not_to_suffice_nothing_is_built(other):
    life = other("quota_py3")
    with life.in_front(diskusage_report=REPORT.format(home="490k/500k", project="1/1000k")):
        done = life.on_login("./setup_env.sh")
    assert (done.returncode, done.stderr) == (
        1,
        "setup_env.sh: The environment does not fit at /home/student/quota_py3: /home (student) has room for 10000 more files "
        "(490000 of 500000 are there), and an environment has at least 17700. Delete what you no longer need there, old "
        "environments first, or choose another place in settings.yml (environment_path), then run this again.\n",
    )
    assert life.on_login("ls ~ | grep quota_py3").stdout == "quota_py3.lock\n"


@pytest.mark.parametrize(
    ("report", "place", "said"),
    [
        (REPORT.format(home="25/500k", project="991k/1005k"), "home", "/home (student) has room for 499975"),
        (REPORT.format(home="25/500k", project="0.9M/1M"), "project", "/project (group def-prof) has room for 100000"),
        # more than all
        (REPORT.format(home="25/500k", project="1010k/1005k"), "project", "does not fit"),
        (
            "#!/bin/sh\necho 'Home (student)    280 kB/47 GB      480k/500k'\n",
            "home",
            "Home (student) has room for 20000",
        ),
        # of another group, of none, and what is no such line
        (REPORT.format(home="25/500k", project="0/1k").replace("def-prof", "def-other"), "project", ""),
        (REPORT.format(home="$(id)/500k", project="1/1k"), "home", ""),
        ("#!/bin/sh\nexit 1\n", "home", ""),
        ("#!/bin/sh\nsleep 1000\n", "home", ""),
    ],
)
def test_the_quota_of_the_disk_where_the_environment_is_to_be_is_said(pristine_folder, tmp_path, report, place, said):
    for name in ("home", "project", "bin"):
        (tmp_path / name).mkdir()
    for name, text in {"diskusage_report": report, "stat": "#!/bin/sh\necho def-prof\n"}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    script = """
        set -o pipefail
        PRINT="" FOLDER=$1 path=$2/not/yet SLURM_ANSWER=2 SSH_ANSWER=1 ENVIRONMENT_FILES=17700
        source "$1/lib/both/messages.sh"; source "$1/lib/login_node/quota.sh"; mind_the_quota"""
    words = ["bash", "-euc", script, "-", pristine_folder("least"), tmp_path / place]
    env = {"HOME": str(tmp_path / "home"), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert (said in done.stdout + done.stderr, bool(done.stdout + done.stderr)) == (True, bool(said))
    assert done.returncode == (1 if said == "does not fit" else 0)


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
    assert (done.returncode, done.stderr) == (0, "")
    _, address = lab.start_session()
    _, url = lab.tunnel(address)
    ran = lab.cluster.browse(url, "--kernel", "Python (my-second)", "--run", "import sys; print(sys.prefix)")
    assert ran["output"] == "/home/student/second"
    bad = lab.on_login("./setup_env.sh --register ~/second 'my kernel'")
    assert (bad.returncode, bad.stderr) == (
        64,
        "setup_env.sh: “my kernel” cannot be the name of a kernel; for example: my-kernel\n",
    )


def test_ctrl_c_ends_a_build_with_a_line_and_leaves_what_was_before(other):
    life = other("stopped_py3")
    process = life.cluster.spawn(
        "login", "student", "bash", "-c", "cd other && ./setup_env.sh; echo status $?", tty=True
    )
    process.wait_for(r"Python packages: \d+ of \d+ installed")
    process.type("\x03")
    process.wait_for(r"setup_env.sh: Interrupted: /home/student/stopped_py3 is what it was before\.\s+status 130")
    assert builds(life, "stopped_py3") == []


def test_another_folders_environment_is_not_rebuilt_in_silence(lab, pristine_folder):
    folder = pristine_folder("vcluster", name="lab", packages=["no-such-package-here"], project_name="second")
    second = Life(lab.cluster, folder, name="second")
    before = lab.on_login("readlink ~/jupyter_py3; cat ~/jupyter_py3/passerelle.folder").stdout
    assert before.endswith("/home/student/lab\n")
    line = second.on_login("grep -n ^environment_path settings.yml").stdout.split(":")[0]
    words = (
        f"setup_env.sh: settings.yml:{line}: /home/student/jupyter_py3 is the environment of /home/student/lab, whose "
        "settings ask for other packages, another Python, other modules or another pip_source; it was left as it is. "
        "Give this folder its own: write environment_path: "
        "$HOME/jupyter_py3-second. Or take over the other's, and change it, on the login node: ./setup_env.sh --rebuild\n"
    )
    for command in ("./setup_env.sh", "./submit_session.sh --set-up"):
        refused = second.on_login(command)
        assert (refused.returncode, refused.stdout, refused.stderr) == (64, "", words)
    try:
        # when it is asked for, and when nobody needs it any more, it is built: pip is asked for that package
        asked = second.on_login("./setup_env.sh --rebuild")
        assert "wheelhouse lacks: no-such-package-here\n" in asked.stderr
        lab.on_login("mv ~/lab/settings.yml ~/lab/settings.away")
        gone = second.on_login("./setup_env.sh")
        assert "wheelhouse lacks: no-such-package-here\n" in gone.stderr
    finally:
        lab.on_login("mv ~/lab/settings.away ~/lab/settings.yml")
    assert lab.on_login("readlink ~/jupyter_py3; cat ~/jupyter_py3/passerelle.folder").stdout == before
    # the same packages in another order are the same environment, for all folders
    other_order = "sed -i 's/^extensions: .*/extensions: [rstudio, lmod]/; s/^packages: .*/packages: []/' settings.yml"
    assert second.on_login(f"{other_order}; ./setup_env.sh").returncode == 0
    assert lab.on_login("readlink ~/jupyter_py3; cat ~/jupyter_py3/passerelle.folder").stdout == before


PLACE = "/project/def-prof/jupyter"
OWN = "environment of your own; write for example environment_path: $HOME/jupyter_py3\n"


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        # the student's folder is older, or newer, than the teacher's environment
        ("s/^kernels: .*/kernels: []/", ""),
        ("s/^packages: .*/packages: [numpy, plumbum]/", "it lacks numpy, plumbum"),
        ("s/^kernels: .*/kernels: [python, r, julia]/", "it has none of these kernels: julia"),
        (
            "s/^packages: .*/packages: [numpy]/; s/^kernels: .*/kernels: []/; s/^python_module: .*/python_module: python\\/9.9/",
            "it lacks numpy; it also has ipykernel; it was built with python_module: python",
        ),
    ],
)
def test_a_student_with_another_folder_than_the_teachers_uses_the_environment_as_it_is(
    idle, shared_folder, shared_built, change, differences
):
    life = Life(idle, shared_folder, user="student2")
    differs = (
        f"{PLACE} is the environment of student and is used as it is, although settings.yml asks for something else: "
        f"{differences}. Only student can change it. To choose for yourself, have an {OWN}"
    )
    submits, checks = (f"{script}: {differs}" if differences else "" for script in ("submit_session.sh", "check.sh"))
    done = life.on_login(f"sed -i '{change}' settings.yml; ./submit_session.sh --set-up --hold")
    assert (done.returncode, done.stderr) == (0, submits)
    # what it has loaded is what the environment was built with
    loaded = life.on_login("bash -p lib/login_node/check.sh modules; bash -p lib/login_node/check.sh environment")
    assert (loaded.stderr, "9.9" in loaded.stdout) == (checks, False)
    assert re.search(rf"^path={PLACE}\tversion=\d", loaded.stdout, re.MULTILINE), loaded.stdout
    for command in ("./setup_env.sh", "./setup_env.sh --rebuild", "./setup_env.sh --add python numpy"):
        refused = life.on_login(command)
        assert (refused.returncode, refused.stdout, refused.stderr) == (
            64,
            "",
            f"setup_env.sh: {PLACE} belongs to student, who alone can change it; you can use it as it is: "
            f"./start_salloc.sh. For an {OWN.replace(';', ',')}",
        )


def test_a_student_opens_a_session_after_the_teachers_change_with_one_line(idle, shared_folder, shared_built):
    life = Life(idle, shared_folder, user="student2")
    idle.run("login", "student2", "rm", "-rf", life.name, check=True)
    idle.run(
        "laptop", "alice", "sed", "-i", "s/^packages: .*/packages: [plumbum]/", f"{life.name}/settings.yml", check=True
    )
    process, address = life.open_session(tty=False)
    assert (
        process.output.count("and is used as it is, although settings.yml asks for something else: it lacks plumbum.")
        == 1
    )
    answer = idle.run("laptop", "alice", "curl", "-sL", "-o", "/dev/null", "-w", "%{http_code}", address)
    assert answer.stdout == "200"


def chmod_lines(language):
    """Return the commands that the page for teachers says, for the class's environment of these tests."""
    page = (Path(__file__).parents[1] / f"docs/how-to/class.{language}.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"(?m)^    cd /project/.*\n    chmod .*$", page)
    return re.sub(r"/project/def-yourpi/\w+", "/project/def-prof", block).replace("jupyter_py3", "jupyter")


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_line_of_the_documentation_opens_an_environment_to_the_class(idle, shared_folder, shared_built, language):
    life = Life(idle, shared_folder, user="student2")
    close = "cd /project/def-prof && chmod -R go-rwx jupyter.builds jupyter.r"
    idle.run("login", "student", "bash", "-c", close, check=True)
    try:
        closed = life.on_login("./start_salloc.sh")
        assert (closed.returncode, closed.stderr) == (
            1,
            f"start_salloc.sh: {PLACE} belongs to student, and you may not read it, or it is not complete; ask student "
            "to open it to you.\n",
        )
        done = idle.run("login", "student", "bash", "-e", "-c", chmod_lines(language))
        assert (done.returncode, done.stderr) == (0, "")
        assert life.on_login(f"{PLACE}/bin/jupyter-lab --version && ls {PLACE}.r/crayon").returncode == 0
    finally:
        idle.run(
            "login",
            "student",
            "bash",
            "-c",
            "cd /project/def-prof && chmod -R go+rX jupyter.builds jupyter.r",
            check=True,
        )


def test_what_is_written_later_is_as_open_as_the_environment_is(pristine_folder, tmp_path):
    script = """
        PRINT="" path=$1 SETTING_environment_path=$1 LINE_environment_path=settings.yml:1 HOME=/nonexistent
        for file in cluster/environment login_node/build; do source "$2/lib/$file.sh"; done
        shared_environment() { [[ $3 == shared ]]; }
        umask 077; as_open_as_before; umask"""
    masks = {"750": "0027", "2750": "0027", "755": "0022", "701": "0077", "700": "0077"}
    for mode, mask in masks.items():
        (tmp_path / mode).mkdir()
        (tmp_path / mode).chmod(int(mode, 8))
        for kind in ("shared", "own"):
            words = script.replace("$3", kind)
            done = subprocess.run(
                ["bash", "-c", words, "-", tmp_path / mode, pristine_folder("least")], capture_output=True, text=True
            )
            assert (done.stdout, done.stderr) == (f"{mask if kind == 'shared' else '0077'}\n", ""), (mode, kind)


def test_without_slurm_a_build_is_kept_while_something_runs_from_it(pristine_folder, tmp_path):
    for name in ("runs", "rests", "linked"):
        (tmp_path / "py3.builds" / name).mkdir(parents=True)
        (tmp_path / "py3.builds" / name / "passerelle.specification").touch()
    (tmp_path / "py3").symlink_to("py3.builds/linked")
    shutil.copy(shutil.which("sleep"), tmp_path / "py3.builds/runs")
    script = """
        LOCKED=yes FACT_scheduler=none FACT_hours_max=unknown path=$1/py3 FOLDER=$2
        say() { echo "$@"; }
        source "$2/lib/login_node/build.sh"
        LOCKED=yes
        remove_leftovers "$1/py3.builds"; ls "$1/py3.builds"
    """
    words = ["bash", "-c", script, "-", tmp_path, pristine_folder("local")]
    with subprocess.Popen([tmp_path / "py3.builds/runs/sleep", "60"]) as running:
        try:
            kept = subprocess.run(words, capture_output=True, text=True)
        finally:
            running.kill()
    assert (kept.stdout, kept.stderr) == (f"builds_kept number=1 folder={tmp_path}/py3.builds\nlinked\nruns\n", "")
    assert subprocess.run(words, capture_output=True, text=True).stdout == "linked\n"


def test_the_kernels_that_were_registered_in_a_shared_environment_outlive_its_builds(pristine_folder, tmp_path):
    argv = {"python3": "python -m ipykernel_launcher", "mine": "/x/bin/python -m ipykernel_launcher", "ir": "R"}
    for name, words in argv.items():
        spec = tmp_path / "old/share/jupyter/kernels" / name
        spec.mkdir(parents=True)
        (spec / "kernel.json").write_text(json.dumps({"argv": words.split()}))
    keep = 'PRINT="" path=$1/old VIRTUAL_ENV=$1/new; source "$2/lib/login_node/build.sh"; keep_registered'
    subprocess.run(["bash", "-euc", keep, "-", tmp_path, pristine_folder("least")], check=True)
    kept = list((tmp_path / "new/share/jupyter/kernels").glob("*/*"))
    assert [path.relative_to(tmp_path / "new/share/jupyter/kernels").as_posix() for path in kept] == [
        "mine/kernel.json"
    ]


def test_a_session_waits_for_an_environment_that_is_being_built_and_does_not_build_it_again(
    make_folder, environment, tmp_path
):
    path = tmp_path / "py3"
    folder = make_folder("local", environment_path=str(path))
    asked = {**environment, "PASSERELLE_GOES_ON": "yes", "PASSERELLE_REQUEST": "1"}
    with subprocess.Popen(["flock", f"{path}.lock", "cat"], stdin=subprocess.PIPE) as builds:
        while subprocess.run(["flock", "--nonblock", f"{path}.lock", "true"]).returncode == 0:
            pass
        second = PipedProcess([str(folder / "setup_env.sh")], asked)
        second.wait_for("\npasserelle\t1\tbuilding\tAnother setup_env.sh is building it\n")
        # as the first one leaves it
        make = """
            set -e; FOLDER=$1 PRINT=""; mkdir -p "$2.builds/1/bin"; touch "$2.builds/1/bin/activate"; ln -s "$2.builds/1" "$2"
            source "$1/lib/both/settings.sh"; source "$1/lib/cluster/environment.sh"; load_settings
            specification >"$2/passerelle.specification"
        """
        subprocess.run(["bash", "-c", make, "-", folder, path], env=environment, check=True)
        builds.stdin.close()
    assert second.wait(30) == 0
    assert second.output.splitlines()[-1] == f"The environment is ready: {path}"
    assert "Building" not in second.output


def test_other_modules_and_a_python_that_is_gone_are_named_and_an_older_record_is_no_news(
    make_folder, environment, tmp_path
):
    path = tmp_path / "py3"
    folder = make_folder("other", environment_path=str(path))
    look = """
        set -e; FOLDER=$1 PRINT="" path=$2; mkdir -p "$2/bin"
        source "$1/lib/both/settings.sh"; source "$1/lib/cluster/environment.sh"; load_settings
        specification | sed "$3" >"$2/passerelle.specification"; ln -sf "$4" "$2/bin/python"
        built_from_these_settings || differences
    """

    def named(change, python="/bin/sh"):
        done = subprocess.run(
            ["bash", "-c", look, "-", folder, path, change, python], env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert named("") == named("s/modules_first: [^;]*; //") == ""
    assert named("s:StdEnv/2023:StdEnv/2020:", "/gone/bin/python3.11") == (
        "it was built with modules_first: gcc StdEnv/2020; its Python, /gone/bin/python3.11, is no longer there"
    )


def test_builds_of_a_class_are_kept_for_as_long_as_the_longest_job(idle, shared_folder, shared_built):
    def left(**facts):
        life = Life(idle, shared_folder, name="class", **facts)
        days = {"1": 1, "6": 6, "8": 8, "29": 29, "31": 31}
        for name, age in days.items():
            replaced = f"{PLACE}.builds/{name}/passerelle.replaced"
            life.on_login(
                f"mkdir -p {PLACE}.builds/{name}; touch {PLACE}.builds/{name}/passerelle.specification; echo {int(time.time()) - age * 86400} >{replaced}"
            )
        code = f"{PLACE}.builds/code/passerelle"
        life.on_login(
            f"mkdir -p $(dirname {code}); touch {code}.specification; echo 'kept[$(touch ~/run)]' >{code}.replaced"
        )
        # one that is not complete is nobody's
        life.on_login(f"mkdir {PLACE}.builds/half")
        done = life.on_login("./setup_env.sh")
        assert done.returncode == 0, done.stderr
        names = [name for name in life.on_login(f"ls {PLACE}.builds").stdout.split() if len(name) < 5]
        said = (
            f"Earlier builds kept in {PLACE}.builds, because jobs may still be using them: {len(names)}. "
            "A later build removes them."
        )
        assert said in done.stdout.splitlines()
        return names

    try:
        assert left() == ["1", "29", "6", "8", "code"]
        assert left(hours_max=168) == ["1", "6", "code"]
        assert idle.run("login", "student", "ls").stdout.split().count("run") == 0
    finally:
        idle.run("login", "student", "bash", "-c", f"rm -rf {PLACE}.builds/?{{,?,???}}", check=True)


def test_a_shared_environment_brings_its_kernels_to_everybody(idle, shared_folder, shared_built):
    specs = idle.run("login", "student2", "ls", "/project/def-prof/jupyter/share/jupyter/kernels", check=True).stdout
    assert {"ir", "python3"} <= set(specs.split())
    life = Life(idle, shared_folder, user="student2")
    _, address = life.start_session()
    _, url = life.tunnel(address)
    # what they install goes into a library of their own, and the class's comes behind
    look = "library(crayon); own <- .libPaths()[1]; cat(own, file.access(own, 2), .libPaths()[2], Sys.info()[['user']])"
    ran = idle.browse(url, "--kernel", "R", "--run", look)
    assert re.search(r"/home/student2/R/[^/ ]+-library/\d\.\d+ 0 /project/def-prof/jupyter\.r student2$", ran["output"])
