"""People's own settings: startup files, variables, functions and options that reach none of our commands."""

import re
import subprocess
import sys

import pytest
from life import Life

THERE = re.compile(r"^lab +(\d+) +(?:RUNNING|PENDING)\b", re.MULTILINE)
NO_SHELL = (
    "lab: student@login.vcluster.example let you in, but no bash starts there: a startup file of your login shell starts "
    "another program (exec, tmux), ends, or does not end. Look at ~/.bashrc there (with zsh ~/.zshenv, with fish "
    "~/.config/fish/config.fish, with tcsh ~/.tcshrc).\n"
)
STARTUP_FILES = {
    "zsh in the place of bash": "exec zsh -l",
    "zsh in the place of bash, and noise": "printf 'Welcome '; exec zsh -l",
    "tmux, unguarded": "tmux; tmux new -A -s main",
    "words without the end of a line": r"printf 'Welcome '; printf '\033]0;title\007'; (sleep 0.5; printf 'late ') &",
    "questions": "read -p 'Project? ' project; read -r -n 1 -p 'Sure? ' sure",
    "functions": """
        cd() { builtin cd "$@" && ls; }; printf() { :; }; squeue() { :; }; source() { :; }; exec() { :; }; echo() { :; }
        export -f cd printf squeue source exec echo; alias squeue=true""",
    "options": """
        set -o posix -o noglob -o noclobber -o nounset -o errexit -o xtrace; shopt -s nullglob failglob extdebug nocasematch
        export SHELLOPTS BASHOPTS BASH_COMPAT=3.1""",
    "files that bash reads": """
        echo 'cd() { exit 9; }; exit 9' >~/.own_env; export BASH_ENV=~/.own_env ENV=~/.own_env
        grep -q exit ~/.bash_profile || echo 'exec zsh -l; exit 9' >>~/.bash_profile""",
    "variables of tools": """
        export CDPATH=/:/tmp GREP_OPTIONS=--invert-match GREP_COLORS=x POSIXLY_CORRECT=1 TMPDIR=/gone TMOUT=1 GLOBIGNORE='*'
        export LC_ALL=xx_XX LANG=fr_CA.UTF-8 LC_NUMERIC=fr_CA.UTF-8 TAR_OPTIONS=--version LD_LIBRARY_PATH=~/lib IFS=x""",
    "a folder in front, a mask, another place": """
        mkdir -p ~/bin; for name in squeue sbatch bash sed date timeout; do
          printf '#!/bin/sh\\nexit 9\\n' >~/bin/$name; chmod +x ~/bin/$name
        done; PATH=~/bin:.:$PATH; umask 777; builtin cd /""",
    "Slurm's": """
        export SQUEUE_FORMAT=%u SQUEUE_FORMAT2=jobid SQUEUE_STATES=CD SQUEUE_SORT=u SQUEUE_ARRAY=1 SQUEUE_ALL=1 SQUEUE_USERS=rival
        export SQUEUE_ACCOUNT=def-other SQUEUE_PARTITION=none SINFO_FORMAT=x SACCT_FEDERATION=1 SLURM_CLUSTERS=mars
        export SLURM_TIME_FORMAT=relative SCANCEL_STATE=SUSPENDED SCANCEL_NAME=x SCANCEL_INTERACTIVE=1 SCANCEL_USER=rival""",
}
"""What somebody has in ~/.bashrc, with which lab works nevertheless."""
NO_WAY_IN = {"exit": "exit 3", "another program": "exec tmux", "not a shell": "exec true"}


ASIDE = """
    cd /home && mv student student.kept && mkdir student
    chown --reference=student.kept student && chmod --reference=student.kept student && cd student.kept
    find . -mindepth 1 -maxdepth 1 '(' -name '.bash*' -o -name .profile -o -name .ssh -o -type l '!' -name 'jupyter*' ')' -exec cp -a {} ../student ';'"""
"""A home as on the first day in the place of student's, whose environment other tests use."""


@pytest.fixture(scope="module")
def person(cluster, other_folder):
    """student's life without an environment that works, and one job that is a session to Slurm."""
    cluster.clean(homes=False)
    cluster.run("login", "root", "bash", "-ec", ASIDE, check=True)
    life = Life(cluster, other_folder)
    life.on_login("mkdir -p ~/jupyter_py3/bin && ln -s /bin/true ~/jupyter_py3/bin/jupyter-lab")
    yield life
    cluster.clean(homes=False)
    back = "cd /home && rm -rf student && mv student.kept student"
    cluster.run("login", "root", "bash", "-ec", back, check=True)


@pytest.fixture
def bashrc(person):
    """Make ~/.bashrc end with these lines; no shell of student's is asked to take them back."""
    keep = "cd ~student && cp -p .bashrc .bash_profile /root/"
    person.cluster.run("login", "root", "bash", "-c", keep, check=True)

    def write(lines):
        text = person.cluster.read("login", "root", "/root/.bashrc")
        person.cluster.write("login", "root", "/home/student/.bashrc", f"{text}\n{lines}\n")

    def back():
        again = "cd ~student && cp -p /root/.bashrc /root/.bash_profile . && rm -rf bin .own_env"
        person.cluster.run("login", "root", "bash", "-c", again, check=True)

    write.back = back
    yield write
    back()
    # of a test that failed
    person.on_login("scancel --me")


@pytest.mark.parametrize("lines", STARTUP_FILES.values(), ids=STARTUP_FILES)
def test_whatever_a_startup_file_does_lab_works(person, bashrc, lines):
    submitted = person.on_login("sbatch --parsable --job-name=passerelle-lab --wrap 'sleep 1000'")
    job = submitted.stdout.strip()
    bashrc(lines)
    shown = person.run_lab("status")
    assert (shown.returncode, THERE.findall(shown.stdout)) == (0, [job]), shown.stdout + shown.stderr
    synced = person.run_lab("sync")
    assert synced.returncode == 0, synced.stdout + synced.stderr
    stopped = person.run_lab("stop")
    assert (stopped.returncode, stopped.stdout.splitlines()[-1]) == (
        0,
        f"The session lab has been stopped (job {job}).",
    )
    bashrc.back()
    assert person.jobs() == ""


@pytest.mark.parametrize("lines", NO_WAY_IN.values(), ids=NO_WAY_IN)
def test_a_startup_file_that_lets_nobody_in_is_named(person, bashrc, lines):
    bashrc(lines)
    done = person.run_lab("status")
    assert (done.returncode, done.stderr.endswith(NO_SHELL)) == (1, True), done.stdout + done.stderr


# --- on the laptop ------------------------------------------------------------------------------------------------------

NONE = "You have no session, waiting or running; start one with: ./lab open\n"
NONE_THERE = (
    "tunnel_ssh.sh: You have no running session on login.vcluster.example; start one there with ./start_salloc.sh\n"
)
FULL = "lab: System error: [Errno 28] No space left on device\n"
ON_THE_LAPTOP = {
    "closed": ("exec ./lab status >&-", 0, "", ""),
    "all closed": ("exec ./lab status <&- >&- 2>&-", 0, "", ""),
    "a full disk": ("exec ./lab status >/dev/full", 1, "", FULL),
    "a full disk at the end": ("exec ./lab --help >/dev/full", 1, "", FULL),
    "nobody reads": ("./lab --help | true", 0, "", ""),
    "modules of one's own": ("cd modules && PYTHONPATH=:$PWD/../more exec ../lab status", 0, NONE, ""),
    "no home": ("env -u HOME ./tunnel_ssh.sh", 1, "", NONE_THERE),
    "a temporary folder that is gone": ("TMPDIR=/gone ./tunnel_ssh.sh", 1, "", NONE_THERE),
}
"""A line of bash in the folder, its status, and the ends of what it prints and of what it says on standard error."""


@pytest.mark.parametrize("case", ON_THE_LAPTOP.values(), ids=ON_THE_LAPTOP)
def test_what_somebody_has_on_the_laptop_ends_nothing_in_a_traceback(person, case):
    line, status, printed, said = case
    assert person.run_lab("status").returncode == 0
    files = "mkdir -p modules more && echo 'raise SystemExit(\"mine\")' | tee modules/queue.py >more/json.py"
    cluster = person.cluster
    done = cluster.run("laptop", "alice", "bash", "-c", f"cd {person.name} && {files}; {line}")
    cluster.run("laptop", "alice", "rm", "-r", f"{person.name}/modules", f"{person.name}/more", check=True)
    assert (done.returncode, done.stdout.endswith(printed), done.stderr.endswith(said)) == (status, True, True), done
    assert said or not done.stderr


def test_files_are_carried_from_a_folder_of_any_name(person):
    copy = r"""rm -rf "$1" && cp -a lab "$1" && cd "$1" && echo "$1" >"$2" && ./lab sync && rm -r "../$1" """
    for number, name in enumerate(("L'atelier", 'my "lab"', "two  spaces")):
        done = person.cluster.run("laptop", "alice", "bash", "-c", copy, "-", name, f"{number}.txt")
        assert done.returncode == 0, done.stdout + done.stderr
        assert person.on_login(f"cat {number}.txt").stdout == f"{name}\n"


# --- Slurm that does not answer -----------------------------------------------------------------------------------------

UNANSWERED = {
    "status": r"^lab: Slurm says: .*(Unable to contact|timed out|no answer)",
    "stop": r"^lab: Slurm (did not answer \(.*|says: .*)$",
    "./submit_notebook.sh": r"^submit_notebook.sh: Slurm did not answer in time \(.*\): the job may have been queued all the same\. "
    r"Look for it before you submit again, with: squeue --me --format='%i %j %T'$",
}
"""The last line of commands while Slurm's controller does not react."""


def test_a_slurm_that_does_not_answer_is_neither_the_network_nor_the_end_of_a_job(person):
    cluster = person.cluster
    cluster.clean(homes=False)
    person.cluster.write(
        "login", "student", "lab/empty.ipynb", '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    )
    job = person.on_login("sbatch --parsable --job-name=passerelle-lab --wrap 'sleep 1000'").stdout.strip()
    assert person.run_lab("status").returncode == 0
    cluster.run("login", "root", "pkill", "-STOP", "-x", "slurmctld", check=True)
    try:
        started = {
            "status": person.lab("status", tty=False),
            "stop": person.lab("stop", tty=False),
            "./submit_notebook.sh": cluster.spawn(
                "login", "student", "bash", "-c", "cd lab && exec ./submit_notebook.sh empty.ipynb"
            ),
        }
        for name, process in started.items():
            assert process.wait() == 1, process.output
            assert re.search(UNANSWERED[name], process.output.splitlines()[-1]), process.output
            assert "network" not in process.output
    finally:
        cluster.run("login", "root", "pkill", "-CONT", "-x", "slurmctld", check=True)
    assert job in person.jobs()
    done = person.run_lab("stop")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"The session lab has been stopped (job {job}).")


# --- Slurm's variables --------------------------------------------------------------------------------------------------

SLURMS_OWN = {
    "SBATCH_WAIT": "1", "SBATCH_ARRAY_INX": "1-3", "SBATCH_EXPORT": "NONE", "SBATCH_JOB_NAME": "other", "SBATCH_TIMELIMIT": "5",
    "SBATCH_MEM_PER_CPU": "1", "SBATCH_MEM_PER_NODE": "1", "SBATCH_OUTPUT": "/gone/x", "SBATCH_ERROR": "/gone/x",
    "SBATCH_REQUEUE": "1", "SBATCH_BEGIN": "now+1hour", "SBATCH_DEPENDENCY": "afterok:1", "SBATCH_EXCLUSIVE": "user",
    "SBATCH_PARTITION": "none", "SBATCH_QOS": "none", "SBATCH_CLUSTERS": "mars", "SBATCH_CONSTRAINT": "none",
    "SBATCH_RESERVATION": "none", "SBATCH_ACCOUNT": "def-none", "SBATCH_OPEN_MODE": "x", "SBATCH_SIGNAL": "x", "SBATCH_DEBUG": "x",
    "SBATCH_HOLD": "1", "SBATCH_GPUS": "4", "SBATCH_NO_REQUEUE": "1", "SBATCH_WCKEY": "x", "SBATCH_GRES": "none",
    "SLURM_MEM_PER_NODE": "1024", "SLURM_MEM_PER_CPU": "5", "SLURM_NTASKS": "3", "SLURM_CLUSTERS": "mars", "SLURM_EXIT_ERROR": "9",
    "SLURM_TIME_FORMAT": "relative", "SLURM_JOB_ID": "1", "SLURM_UMASK": "0777", "SLURM_HINT": "x", "SLURM_ACCOUNT": "def-none",
    "SQUEUE_FORMAT": "%u", "SQUEUE_STATES": "CD", "SQUEUE_SORT": "u", "SINFO_FORMAT": "x", "SACCT_FORMAT": "x",
    "SRUN_CPUS_PER_TASK": "3", "SALLOC_ACCOUNT": "def-none", "SALLOC_PARTITION": "none", "SALLOC_MEM_PER_NODE": "1",
}  # fmt: skip
"""Variables of sbatch(1), salloc(1), srun(1), squeue(1) and the like, each with a value that would be seen or refused."""


ASKED_FOR = (
    r"\b((?:JobName|Account|QOS|Partition|Requeue|TimeLimit|NumCPUs|NumTasks|CPUs/Task|(?:Req)?TRES|MinMemory\w+|Features|"
    r"Reservation|Dependency|ArrayTaskId|OverSubscribe|WorkDir|Command)=\S*)"
)
"""What scontrol shows of a job, but for numbers and times."""


def submitted_with(person, script, **variables):
    """Submit with these variables; return what Slurm has been asked for."""
    words = [f"{name}={value}" for name, value in variables.items()]
    line = (
        'env "$@" timeout 60 '
        + script
        + """ >said 2>&1 </dev/null; cat said >&2
        scontrol show job "$(sed -n 's/.*\\(Submitted batch\\|Granted\\) job\\( allocation\\|\\) \\([0-9]*\\).*/\\3/p' said | head -n 1)"; scancel --me"""
    )
    done = person.cluster.run("login", "student", "bash", "-c", f"cd lab && {line}", "-", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(ASKED_FOR, done.stdout)


@pytest.mark.parametrize("script", ["./submit_session.sh", "./submit_notebook.sh empty.ipynb", "./start_salloc.sh"])
def test_slurms_variables_change_nothing_of_what_is_asked_for(person, script):
    person.cluster.write(
        "login", "student", "lab/empty.ipynb", '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    )
    clean = submitted_with(person, script)
    assert "MinMemoryCPU=1G" in clean
    assert submitted_with(person, script, **SLURMS_OWN) == clean


# --- pip, Python, R -----------------------------------------------------------------------------------------------------

OF_TOOLS = {
    "PIP_USER": "1", "PIP_TARGET": "/home/student/target", "PIP_PREFIX": "/home/student/prefix", "PIP_REQUIRE_VIRTUALENV": "x",
    "PIP_DRY_RUN": "1", "PIP_NO_DEPS": "1", "PIP_INDEX_URL": "http://127.0.0.1:9/none", "PIP_CONFIG_FILE": "/home/student/own.conf",
    "PYTHONHOME": "/gone", "PYTHONPATH": "/home/student/lib", "PYTHONSTARTUP": "/gone", "PYTHONWARNINGS": "error",
    "PYTHONINSPECT": "1", "PYTHONOPTIMIZE": "2", "VIRTUAL_ENV": "/gone", "VIRTUALENV_SYSTEM_SITE_PACKAGES": "1",
    "VIRTUALENV_WITHOUT_PIP": "1", "R_LIBS": "/gone", "R_PROFILE_USER": "/home/student/lib/json.py", "R_HOME": "/gone",
    "JULIA_PROJECT": "@.", "JULIA_LOAD_PATH": "/gone", "TMPDIR": "/gone", "LD_LIBRARY_PATH": "/home/student/lib",
    "BASH_FUNC_pip%%": "() { exit 9; }", "BASH_FUNC_module%%": "() { exit 9; }", "BASH_FUNC_cd%%": "() { builtin cd \"$@\" && ls; }",
    "CDPATH": "/", "BASH_ENV": "/home/student/own_env",
}  # fmt: skip
"""Each would send packages elsewhere, have another Python, R or shell start, or end the build."""
IN_FILES = """
    mkdir -p ~/lib ~/.config/pip ~/.config/virtualenv ~/bin
    echo 'raise SystemExit("not this one")' | tee ~/lib/json.py >~/lib/encodings.py
    printf '[install]\\nuser = true\\ntarget = /home/student/target\\n' | tee ~/own.conf >~/.config/pip/pip.conf
    printf '[virtualenv]\\nwithout_pip = true\\n' >~/.config/virtualenv/virtualenv.ini
    echo 'echo noise; exit 9' >~/own_env
    printf '#!/bin/sh\\nexit 9\\n' | tee ~/bin/python3 ~/bin/pip >~/bin/virtualenv; chmod +x ~/bin/*
    printf '.libPaths("/gone")\\n' >~/lab/.Rprofile"""


def test_an_environment_is_built_and_used_whatever_pip_and_python_are_told(person):
    cluster = person.cluster
    cluster.run("login", "student", "bash", "-c", f"rm -rf ~/jupyter_py3; {IN_FILES}", check=True)
    words = [f"{name}={value}" for name, value in OF_TOOLS.items()]
    line = 'cd lab && PATH=~/bin:$PATH && umask 777 && exec env "$@" ./setup_env.sh'
    built = cluster.run("login", "student", "bash", "-c", line, "-", *words, timeout=600)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr
    assert built.stdout.endswith("Next: ./start_salloc.sh\n")
    used = """cd ~/lab && ~/jupyter_py3/bin/jupyter-lab --version && [[ ! -e ~/target && ! -e ~/prefix ]] && umask
        module load r && main=$(sed -n 's/^ *"\\(.*IRkernel::main()\\)",*$/\\1/p' ~/.local/share/jupyter/kernels/ir/kernel.json) &&
        main=${main//\\\\/} && R --slave -e "${main/IRkernel::main()/loadNamespace(\\"IRkernel\\")}" """
    done = cluster.run("login", "student", "bash", "-c", used)
    assert done.returncode == 0, done.stdout + done.stderr


def test_of_a_pip_conf_only_where_packages_come_from_counts(tmp_path, pristine_folder, environment):
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text(
        "[global]\nindex-url = https://mirror.example/simple\nproxy = http://proxy.example:3128\nrequire-virtualenv = true\n"
        "extra-index-url =\n  https://a.example\n  https://b.example\n[install]\nuser = true\ntarget = /gone\n"
    )
    script = 'PRINT=""; source "$1/lib/login_node/build.sh"; pip_settings "$2" -m pip; "$2" -m pip config list; env'
    words = ["bash", "-c", script, "-", pristine_folder("least"), sys.executable]
    done = subprocess.run(
        words,
        env={**environment, "HOME": str(tmp_path), "PIP_PROXY": "http://own.example:3128"},
        capture_output=True,
        text=True,
    )
    shown = done.stdout.splitlines()
    # the computer's own pip.conf may say more
    assert {
        "PIP_INDEX_URL=https://mirror.example/simple",
        "PIP_EXTRA_INDEX_URL= https://a.example https://b.example",
        "PIP_PROXY=http://own.example:3128",
        "PIP_CONFIG_FILE=/dev/null",
    } <= set(shown)
    assert [line for line in shown if re.search("(?i)user='|target|virtualenv", line)] == []
