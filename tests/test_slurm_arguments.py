"""From settings.yml to Slurm: what salloc and sbatch are asked for on every cluster, to the letter."""

import json
import os
import re
import shlex
import shutil
import subprocess

import pytest
import yaml
from conftest import TEMPLATE, french, given, set_answer
from hypothesis import event, settings
from hypothesis import given as given_that
from hypothesis import strategies as st

FACTS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((TEMPLATE / "plugins/clusters").glob("*.yml"))
}
SCRATCH = "/scratch/prof"
AIP = {"account": "aip-yourpi"}

# cluster and answers, and what Slurm is asked for; the options are in the order of the wiki page
ASKED_FOR = [
    ("narval", {}, "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=def-yourpi"),
    (
        "narval",
        {"gpus": 1},
        "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=def-yourpi --gpus-per-node=a100:1",
    ),
    (
        "narval",
        {"gpus": 1, "gpu_model": "a100_2g.10gb", "hours": 8, "cores": 3, "memory_per_core_mb": 10580},
        "--time=8:00:00 --ntasks=1 --cpus-per-task=3 --mem-per-cpu=10580M --account=def-yourpi"
        " --gpus-per-node=a100_2g.10gb:1",
    ),
    ("fir", {}, "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=def-yourpi"),
    (
        "fir",
        {"gpus": 4, "cores": 48},
        "--time=1:00:00 --ntasks=1 --cpus-per-task=48 --mem-per-cpu=1024M --account=def-yourpi --gpus-per-node=h100:4",
    ),
    (
        "fir",
        {"gpus": 1, "gpu_model": "nvidia_h100_80gb_hbm3_1g.10gb"},
        "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=def-yourpi"
        " --gpus-per-node=nvidia_h100_80gb_hbm3_1g.10gb:1",
    ),
    ("nibi", {}, "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=def-yourpi"),
    (
        "nibi",
        {"gpus": 8, "gpu_model": "h100", "cores": 112},
        "--time=1:00:00 --ntasks=1 --cpus-per-task=112 --mem-per-cpu=1024M --account=def-yourpi --gpus-per-node=h100:8",
    ),
    ("rorqual", {}, "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=def-yourpi"),
    (
        "rorqual",
        {"gpus": 1},
        "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=def-yourpi --gpus-per-node=h100:1",
    ),
    # whole nodes, no --mem; cores and memory of settings.yml do not count
    ("trillium", {}, "--time=1:00:00 --nodes=1 --ntasks=1 --cpus-per-task=192 --account=def-yourpi"),
    (
        "trillium",
        {"gpus": 1},
        "--time=1:00:00 --nodes=1 --ntasks=1 --cpus-per-task=24 --account=def-yourpi --gpus-per-node=h100:1",
    ),
    (
        "trillium",
        {"gpus": 4, "hours": 24},
        "--time=24:00:00 --nodes=1 --ntasks=1 --cpus-per-task=96 --account=def-yourpi --gpus-per-node=h100:4",
    ),
    (
        "trillium",
        {"gpus": 4, "gpu_model": "h200"},
        "--time=1:00:00 --nodes=1 --ntasks=1 --cpus-per-task=96 --account=def-yourpi --gpus-per-node=h200:4",
    ),
    ("tamia", AIP, "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=aip-yourpi"),
    # all GPUs of a node or none
    (
        "tamia",
        {**AIP, "gpus": 4},
        "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=aip-yourpi --gpus-per-node=h100:4",
    ),
    (
        "tamia",
        {**AIP, "gpus": 8, "gpu_model": "h200"},
        "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=aip-yourpi --gpus-per-node=h200:8",
    ),
    (
        "killarney",
        {**AIP, "gpus": 1},
        "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=aip-yourpi --gpus-per-node=l40s:1",
    ),
    ("vulcan", AIP, "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=aip-yourpi"),
    (
        "vulcan",
        {**AIP, "gpus": 2},
        "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=aip-yourpi --gpus-per-node=l40s:2",
    ),
    # slices are asked for in another way than whole GPUs
    (
        "vulcan",
        {**AIP, "gpus": 1, "gpu_model": "l40s.3"},
        "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=aip-yourpi --gres=gpu:l40s.3:1",
    ),
    (
        "other",
        {"login_host": "login.example.org", "gpus": 2, "account": "physics"},
        "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=physics --gpus-per-node=2",
    ),
    (
        "other",
        {"login_host": "login.example.org", "account": "none"},
        "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M",
    ),
]


@pytest.fixture
def folder_with(make_folder):
    """Make a folder with these answers written into its settings.yml, as Copier would, but faster."""

    def make(cluster, answers):
        folder = make_folder("least")
        (folder / "settings.yml").write_bytes(settings_file({"cluster": cluster, "account": "def-yourpi", **answers}))
        return folder

    return make


def a_notebook(folder, name="analysis.ipynb"):
    """Write an empty notebook and return its path."""
    path = folder / name
    path.write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.mark.parametrize(("cluster", "answers", "options"), ASKED_FOR)
def test_a_session_asks_slurm_for_exactly_this(folder_with, script, cluster, answers, options):
    folder = folder_with(cluster, answers)
    done = script(folder / "start_salloc.sh", "--print", SCRATCH=SCRATCH)
    moved = f"cd {SCRATCH}\n" if cluster == "trillium" else ""
    assert done.stdout == f"{moved}salloc {options} srun {folder}/jupyterlab.sh\n"
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("cluster", "answers", "options"), ASKED_FOR)
def test_a_batch_job_asks_slurm_for_the_same(folder_with, script, cluster, answers, options):
    folder = folder_with(cluster, answers)
    done = script(folder / "submit_notebook.sh", "--print", a_notebook(folder), SCRATCH=SCRATCH)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.split("\n")
    directives = lines[1 : lines.index("")]
    expected = [*options.split(), "--job-name=analysis.ipynb", f'--output="{folder}/analysis-%j.out"']
    assert (lines[0], directives) == ("#!/bin/bash", [f"#SBATCH {option}" for option in expected])


def test_the_batch_script_is_complete(make_folder, script, environment):
    folder = make_folder("least")
    done = script(folder / "submit_notebook.sh", "--print", a_notebook(folder))
    assert (
        done.stdout
        == f"""\
#!/bin/bash
#SBATCH --time=1:00:00
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem-per-cpu=1024M
#SBATCH --account=def-yourpi
#SBATCH --job-name=analysis.ipynb
#SBATCH --output="{folder}/analysis-%j.out"

type module &>/dev/null || source /etc/profile
module load python
source {environment["HOME"]}/jupyter_py3/bin/activate || exit
cd {folder}
export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-${{SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}}}}
set -e
name=analysis
script=./$name-$SLURM_JOB_ID.py
jupyter nbconvert --to python --stdin --stdout <"./$name.ipynb" >"$script"
# only IPython takes an "await" outside of functions, in a file named .ipy
compile='compile(open(0, "rb").read(), "", "exec")'
if ! python -c "$compile" <"$script" 2>/dev/null; then
  mv "$script" "${{script%.py}}.ipy"
  script=${{script%.py}}.ipy
fi
# what is printed is not lost when the time limit ends the job
export PYTHONUNBUFFERED=1
# display(), %magics and !commands need IPython
ipython --colors=NoColor "$script"
"""
    )


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "48"}, "2 localhost,127.0.0.1,::1"),
        ({"SLURM_CPUS_ON_NODE": "48"}, "48 localhost,127.0.0.1,::1"),
        # who has chosen something keeps it
        (
            {"SLURM_CPUS_PER_TASK": "2", "OMP_NUM_THREADS": "1", "no_proxy": "kept.example"},
            "1 kept.example,localhost,127.0.0.1,::1",
        ),
    ],
)
def test_a_batch_job_has_as_many_threads_as_cores_and_asks_no_proxy_for_what_is_near(
    make_folder, script, variables, said
):
    # where jobs have a proxy
    folder = make_folder("least", cluster="vulcan", account="aip-yourpi")
    shown = script(folder / "submit_notebook.sh", "--print", a_notebook(folder)).stdout
    lines = [line for line in shown.splitlines() if "OMP_NUM_THREADS" in line or "PROXY" in line.upper()]
    done = subprocess.run(
        ["bash", "-euc", "\n".join([*lines, 'echo "$OMP_NUM_THREADS $NO_PROXY"'])],
        env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (said + "\n", "")


def test_the_local_folder_starts_the_server_without_slurm(pristine_folder, script):
    folder = pristine_folder("local")
    done = script(folder / "start_salloc.sh", "--print")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"exec {folder}/jupyterlab.sh\n", "")


def test_the_local_folder_has_nobody_to_give_options_to(pristine_folder, script):
    done = script(pristine_folder("local") / "start_salloc.sh", "--print", "--time=3:00:00")
    words = "start_salloc.sh: “--time=3:00:00” is not understood; see --help\n"
    assert (done.returncode, done.stdout, done.stderr) == (64, "", words)


def test_more_options_go_to_salloc_as_they_are_and_last(pristine_folder, script):
    folder = pristine_folder("least")
    options = ["--time=3:00:00", "--mail-type=BEGIN", "--comment=it's two words"]
    done = script(folder / "start_salloc.sh", "--print", *options)
    words = shlex.split(done.stdout)
    assert words[words.index("--account=def-yourpi") + 1 :] == [*options, "srun", f"{folder}/jupyterlab.sh"]


@pytest.mark.parametrize("memory", ["--mem=8G", "--mem-per-cpu=4G", "--mem-per-gpu=60G"])
def test_slurm_is_given_one_way_of_asking_for_memory(pristine_folder, script, memory):
    done = script(pristine_folder("least") / "start_salloc.sh", "--print", memory)
    assert [word for word in shlex.split(done.stdout) if word.startswith("--mem")] == [memory]


def test_print_is_understood_wherever_it_stands(pristine_folder, script):
    folder = pristine_folder("least")
    first = script(folder / "start_salloc.sh", "--print", "--time=3:00:00")
    last = script(folder / "start_salloc.sh", "--time=3:00:00", "--print")
    assert first.stdout == last.stdout
    assert last.returncode == 0


def test_more_options_go_to_sbatch_as_they_are_and_last(make_folder, script):
    folder = make_folder("least")
    options = ["--time=24:00:00", "--comment=two words"]
    done = script(folder / "submit_notebook.sh", a_notebook(folder), *options, "--print")
    directives = [line for line in done.stdout.split("\n") if line.startswith("#SBATCH ")]
    # sbatch reads these lines much as a shell does
    assert [shlex.split(line.removeprefix("#SBATCH ")) for line in directives[-2:]] == [[option] for option in options]


def test_a_name_that_slurm_would_read_as_more_is_spelt_for_it(make_folder, script):
    folder = make_folder("least")
    done = script(folder / "submit_notebook.sh", "--print", a_notebook(folder, "50 % d'été.ipynb"))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"(?m)^#SBATCH --job-name=[A-Za-z0-9._-]+$", done.stdout)
    assert f'#SBATCH --output="{folder}/50 %% d\'été-%j.out"\n' in done.stdout
    (name,) = [line for line in done.stdout.split("\n") if line.startswith("name=")]
    assert shlex.split(name) == ["name=50 % d'été"]


@pytest.mark.parametrize("await_in_it", [False, True], ids=["Python", "await"])
@pytest.mark.parametrize(
    "name", ["analysis", "50 % d'été", "-rf", "$(touch canary)", "~", "a?", "*", "[a].ipynb", "{a}"]
)
def test_the_batch_script_does_to_the_notebook_what_the_wiki_page_says(
    make_folder, script, environment, tmp_path, name, await_in_it
):
    folder = make_folder("least")
    set_answer(folder, python_module="none")
    code = "await a" if await_in_it else "display(1)"
    for other in ("a", "ab", "analysis-7"):
        a_notebook(folder, f"{other}.ipynb")
    text = (
        a_notebook(folder, f"{name}.ipynb")
        .read_text()
        .replace("[]", f"[{json.dumps({'cell_type': 'code', 'source': code, 'metadata': {}})}]")
    )
    (folder / f"{name}.ipynb").write_text(text)
    home = tmp_path / "home"
    (home / "jupyter_py3/bin").mkdir(parents=True)
    (home / "jupyter_py3/bin/activate").write_text("PATH=$HOME/jupyter_py3/bin:$PATH\n")
    show = 'for word in "${0##*/}" "$@"; do printf "<%s>" "$word"; done; echo'
    for tool, does in (
        # nbconvert prints the script
        ("jupyter", f"{{ {show}; cat; }} >&2; echo '{code}'"),
        ("ipython", f'{show}; echo "$PYTHONUNBUFFERED $OMP_NUM_THREADS"; for script; do :; done; cat -- "$script"'),
        ("python", 'exec python3 "$@"'),
    ):
        path = home / "jupyter_py3/bin" / tool
        path.write_text(f"#!/bin/bash\n{does}\n")
        path.chmod(0o755)
    shown = script(folder / "submit_notebook.sh", "--print", folder / f"{name}.ipynb", HOME=home)
    assert (shown.returncode, shown.stderr) == (0, "")
    job = tmp_path / "job.sh"
    job.write_text(shown.stdout)
    ran = script(environment["PATH"] + "/bash", job, cwd=tmp_path, HOME=home, SLURM_JOB_ID=7, SLURM_CPUS_ON_NODE=3)
    # the notebook, and not another one; what begins with a dash is no option
    assert ran.stderr == f"<jupyter><nbconvert><--to><python><--stdin><--stdout>\n{text}"
    end = "ipy" if await_in_it else "py"
    assert ran.stdout == f"<ipython><--colors=NoColor><./{name}-7.{end}>\n1 3\n{code}\n"
    assert ran.returncode == 0
    assert not list(tmp_path.rglob("canary"))
    assert [path.name for path in folder.glob("*.*py")] == [f"{name}-7.{end}"]


# --- the same at Copier's door and in bash --------------------------------------------------------------------------

IN_SERVICE = [name for name, facts in FACTS.items() if facts["status"] == "in_service"]
MODELS = sorted({request.rsplit(":", 1)[0] for name in IN_SERVICE for request in FACTS[name]["gpu_requests"]})


def around(*limits):
    """Numbers about these limits."""
    known = [limit for limit in limits if isinstance(limit, int)]
    return st.sampled_from(sorted({1, 2, *known, *(limit + 1 for limit in known), *(limit // 2 for limit in known)}))


RULES = yaml.safe_load((TEMPLATE / "lib/both/rules.yml").read_text(encoding="utf-8"))
EXAMPLES = {
    name: RULES[f"{name}_example"]
    for name in RULES
    if f"{name}_example" in RULES and name not in RULES["personal"].split()
}


def known_numbers(entries):
    """Return the numbers of a list such as [h100:48, t4:unknown]."""
    return [int(number) for _, _, number in (entry.rpartition(":") for entry in entries) if number != "unknown"]


@st.composite
def sessions(draw):
    """All answers that count for Slurm, right and nearly right."""
    cluster = draw(st.sampled_from(IN_SERVICE))
    facts = FACTS[cluster]
    per_gpu_node = known_numbers(facts["gpu_node_cores"])
    memories = known_numbers(facts["gpu_node_memory_mb"]) + [facts["node_memory_mb"]]
    cores = draw(around(facts["node_cores"], *per_gpu_node))
    gpus = draw(st.sampled_from([0, 0, 1, 1, 2, 3, 4, 5, 8, 9]))
    models = [request.rsplit(":", 1)[0] for request in facts["gpu_requests"]] or ["none"]
    answers = {
        "cluster": cluster,
        "account": draw(
            st.sampled_from(
                [f"{prefix}-yourpi" for prefix in facts["account_prefixes"]] * 9 + ["def", "x", "wgssum-wa"]
            )
        ),
        "hours": draw(around(facts["hours_max"], facts["interactive_hours_max"])),
        "cores": cores,
        "memory_per_core_mb": draw(around(*(memory // cores for memory in memories if isinstance(memory, int)))),
        "gpus": gpus,
        "gpu_model": draw(st.sampled_from([*models * 5, *MODELS, "none"])) if gpus else "none",
    }
    if FACTS[cluster]["login_host"] == "asked":
        answers["login_host"] = "login.example.org"
    return {name: max(value, 1) if name in ("cores", "hours") else value for name, value in answers.items()}


def settings_file(answers):
    """Return the settings.yml of these answers (bytes), as Copier writes it."""
    least, requests = FACTS[answers["cluster"]].get("gpus_min", 0), FACTS[answers["cluster"]]["gpu_requests"]
    gpus = answers.get("gpus", least)
    whole = {
        # what Copier proposes, but for what comes with a GPU
        **{"hours": 1, "cores": 2, "memory_per_core_mb": 1024, "gpus": least},
        "gpu_model": requests[0].split(":")[0] if gpus and requests else "none",
        **{"language": "en", "project_name": "p", "modules_first": [], "pip_source": "pypi", "python_module": "python"},
        **{"kernels": ["python"], "extensions": [], "environment_path": "$HOME/jupyter_py3", "packages": []},
        **{"reservation": "none", "environment_location": "home"},
        **answers,
    }
    # what came later
    whole = {**{name: example for name, example in EXAMPLES.items() if name not in whole}, **whole}
    return "".join(
        f"{name}: [{', '.join(value)}]\n" if isinstance(value, list) else f"{name}: {value}\n"
        for name, value in whole.items()
    ).encode()


@settings(max_examples=200)
@given_that(answers=sessions())
def test_the_door_lets_in_exactly_what_the_scripts_can_use(door, bash_reader, answers):
    said = door.refusal(answers)
    status, _, words = bash_reader.ask("session", settings_file(answers))
    event(f"{'refused' if said else 'let in'}")
    assert (status == 0) == (said == ""), f"Copier: {said or 'yes'}; bash: {words.decode() or 'yes'}"


# the corners, through Copier itself and start_salloc.sh of the folder that it makes; and whether they are right
CORNERS = [
    ({"cluster": "narval", "cores": 64, "memory_per_core_mb": 64296, "hours": 8}, True),
    ({"cluster": "narval", "cores": 64, "memory_per_core_mb": 64297}, False),
    ({"cluster": "narval", "hours": 9}, False),
    ({"cluster": "narval", "gpus": 1, "gpu_model": "a100", "cores": 64, "memory_per_core_mb": 16000}, True),
    ({"cluster": "narval", "gpus": 0, "gpu_model": "a100"}, True),
    ({"cluster": "nibi", "gpus": 1, "gpu_model": "mi300a"}, False),
    ({"cluster": "nibi", "gpus": 4, "gpu_model": "mi300a", "cores": 96}, True),
    ({"cluster": "trillium", "gpus": 2, "gpu_model": "h100"}, False),
    ({"cluster": "trillium", "cores": 300, "memory_per_core_mb": 9999999}, True),
    ({"cluster": "fir", "hours": 168}, True),
    ({"cluster": "killarney", "account": "aip-yourpi", "gpus": 0}, False),
    ({"cluster": "killarney", "account": "aip-yourpi"}, True),
    ({"cluster": "vulcan", "account": "aip-yourpi", "gpus": 2, "gpu_model": "l40s.3"}, False),
    ({"cluster": "other", "login_host": "login.example.org", "hours": 9999, "cores": 99999}, True),
    ({"cluster": "other", "login_host": "login.example.org", "gpus": 2, "gpu_model": "v100"}, True),
]


@pytest.mark.parametrize(("answers", "right"), CORNERS)
def test_copier_and_the_scripts_agree_in_the_corners(
    copier_command, door, bash_reader, script, pristine_template, tmp_path, answers, right
):
    answers = {"account": "def-yourpi", **answers}
    done = copier_command("copy", "--quiet", "--defaults", *given(answers), pristine_template, tmp_path / "p")
    # one line, whichever way
    assert done.stderr.count("\n") <= 1, done.stderr
    assert (done.returncode == 0) == right, done.stderr
    assert (door.refusal(answers) == "") == right
    assert (bash_reader.ask("session", settings_file(answers))[0] == 0) == right
    if right:
        started = script(tmp_path / "p/start_salloc.sh", "--print", SCRATCH=SCRATCH)
        assert (started.returncode, started.stderr) == (0, "")


def test_a_session_lasts_no_longer_than_an_interactive_one_may(make_folder, script):
    folder = make_folder("least")
    set_answer(folder, hours=9)
    done = script(folder / "start_salloc.sh", "--print")
    assert (done.returncode, done.stdout) == (64, "")
    assert re.fullmatch(
        r"start_salloc\.sh: settings\.yml:\d+: hours is 9; on narval it can be 8 at most\.\n", done.stderr
    )


def test_a_batch_job_may_last_longer_than_a_session(make_folder, script):
    folder = make_folder("least")
    set_answer(folder, hours=168)
    done = script(folder / "submit_notebook.sh", "--print", a_notebook(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert "#SBATCH --time=168:00:00\n" in done.stdout


# --- what comes with a GPU ------------------------------------------------------------------------------------------

# cores, and memory per core in MB, as the page Allocations_and_compute_scheduling (2025-09-26) has them for each GPU of
# Narval, Fir and Nibi, vec-playbook (2026-01-19) for Killarney, and the node's own divided on tamIA
PROPOSED = {
    ("narval", "a100", 1): (12, 124 * 1024 // 12),
    ("narval", "a100", 4): (48, 124 * 1024 // 12),
    ("narval", "a100_4g.20gb", 1): (6, 62 * 1024 // 6),
    ("fir", "nvidia_h100_80gb_hbm3_2g.20gb", 1): (3, 70 * 1024 // 3),
    ("nibi", "h100_1.10", 1): (2, 31 * 1024 // 2),
    ("nibi", "h100_40gb", 1): (6, 124 * 1024 // 6),
    ("nibi", "h100_80gb", 8): (112, 250 * 1024 // 14),
    ("killarney", "h100", 8): (48, 240 * 1024 // 6),
    ("tamia", "h100", 4): (48, 122 * 1024 // 12),
    # where nobody says
    ("nibi", "t4", 1): (2, 1024),
    ("vulcan", "l40s", 2): (32, 1024),
    ("vulcan", "l40s.2", 1): (2, 1024),
    # no GPU
    ("narval", "none", 0): (2, 1024),
}


@pytest.mark.parametrize(("cluster", "model", "gpus"), PROPOSED)
def test_the_cores_and_the_memory_that_come_with_a_gpu_are_proposed(door, cluster, model, gpus):
    checks = door.jinja.get_template("questions/checks.jinja").module
    words = [checks.cores_with(gpus, model, FACTS[cluster]), checks.memory_with(gpus, model, FACTS[cluster])]
    assert tuple(map(int, words)) == PROPOSED[cluster, model, gpus]


@pytest.mark.parametrize("cluster", [name for name in IN_SERVICE if FACTS[name]["gpu_requests"]])
def test_what_is_proposed_with_a_gpu_fits_its_node(door, cluster):
    for request in FACTS[cluster]["gpu_requests"]:
        model, _, numbers = request.rpartition(":")
        for gpus in numbers.split("-"):
            answers = {"cluster": cluster, "account": f"{FACTS[cluster]['account_prefixes'][0]}-x"}
            assert door.refusal({**answers, "gpus": int(gpus), "gpu_model": model}) == "", request


# --- where jobs are submitted from ----------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path):
    """A person's home with links to a scratch and a project, an environment in it, and a Slurm that says where it is."""
    for folder in ["home/jupyter_py3/bin", "home/analyses", "scratch/mine", "project/ours", "bin"]:
        (tmp_path / folder).mkdir(parents=True)
    for link in ["scratch", "project"]:
        (tmp_path / "home" / link).symlink_to(tmp_path / link)
    commands = {name: "cat >/dev/null; pwd -P; echo Submitted batch job 7" for name in ["sbatch", "salloc"]}
    for path, code in [(tmp_path / "bin" / name, code) for name, code in commands.items()] + [
        (tmp_path / "home/jupyter_py3/bin/jupyter-lab", "")
    ]:
        path.write_text(f"#!/bin/sh\n{code}\n")
        path.chmod(0o755)
    return tmp_path


# the cluster, where somebody stands, and where Slurm is asked
PLACES = [
    ("narval", "home/analyses", "home/analyses"),
    ("killarney", "home", "scratch"),
    ("killarney", "home/analyses", "scratch"),
    ("killarney", "home/project/ours", "project/ours"),
    ("killarney", "home/scratch/mine", "scratch/mine"),
    ("fir", "home/analyses", "scratch"),
    ("trillium", "project/ours", "scratch"),
]


@pytest.mark.parametrize(("cluster", "stands", "asked"), PLACES)
def test_slurm_is_asked_from_a_folder_that_the_cluster_takes(
    folder_with, script, here, plain_path, cluster, stands, asked
):
    account = FACTS[cluster]["account_prefixes"][0] + "-yourpi"
    folder = folder_with(cluster, {"account": account, "python_module": "none"})
    variables = {"HOME": here / "home", "SCRATCH": here / "scratch", "PATH": f"{here}/bin:{plain_path}"}
    # what is submitted in a home that jobs cannot write to is another matter
    notebook = a_notebook(here / ("scratch" if cluster == "trillium" else stands))
    for command in [["start_salloc.sh"], ["submit_session.sh"], ["submit_notebook.sh", notebook]]:
        done = script(folder / command[0], *command[1:], cwd=here / stands, **variables)
        assert (done.returncode, str(here / asked) in done.stdout.replace("\n", " ").split()) == (0, True), done


def test_a_session_has_the_number_that_sbatch_says_and_no_other(folder_with, script, here, plain_path):
    folder = folder_with("narval", {"python_module": "none"})
    notice = "NOTE: 3 jobs of def-yourpi are waiting"
    (here / "bin/sbatch").write_text(
        f"#!/bin/sh\ncat >/dev/null; echo '{notice}'; echo 'Submitted batch job 77 on cluster narval'\n"
    )
    done = script(folder / "submit_session.sh", HOME=here / "home", PATH=f"{here}/bin:{plain_path}")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, notice)
    assert re.findall(r"scancel \d+", done.stdout) == ["scancel 77"]


TRIALS = [
    (
        "echo allocation failure: Invalid account; exit 1",
        "Slurm refused the job: Invalid account; look at settings.yml:{}",
    ),
    ("echo sbatch: unrecognized option x; exit 255", ""),
    ("echo sbatch: Job 7 to start at 1764000000", None),
    ("echo allocation failure: Unable to contact slurm controller; exit 1", None),
    # said of nodes that are out of service, for which a job may wait
    ("echo allocation failure: Requested node configuration is not available; exit 1", None),
    ("exec sleep 60", None),
]


@pytest.mark.parametrize(("does", "said"), TRIALS)
def test_what_slurm_refuses_is_said_before_the_environment_is_built(folder_with, script, here, plain_path, does, said):
    """said: None where it does not refuse, nothing where its own words are all."""
    folder = folder_with("narval", {"python_module": "none"})
    limits = folder / "lib/both/limits.sh"
    limits.write_text(re.sub("SLURM_TRIAL=.*", "SLURM_TRIAL=1", limits.read_text()))
    (folder / "setup_env.sh").write_text("#!/bin/sh\necho builds\n")
    accepts = 'if [ ! "$1" ]; then echo Submitted batch job 7; exit; fi'
    (here / "bin/sbatch").write_text(f"#!/bin/sh\ncat >/dev/null; {accepts}\nexec >&2; {does}\n")
    (here / "bin/timeout").symlink_to(shutil.which("timeout"))
    done = script(folder / "submit_session.sh", "--set-up", HOME=here / "home", PATH=f"{here}/bin:{plain_path}")
    if said is None:
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "Submitted batch job 7")
        assert "builds" in done.stderr.splitlines()
    else:
        account = (folder / "settings.yml").read_text().split("\naccount:")[0].count("\n") + 2
        said = f"submit_session.sh: {said.format(account)}" if said else "sbatch: unrecognized option x"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{said}\n")


def test_what_sbatch_answers_to_a_notebook_is_what_is_said(folder_with, script, here, plain_path):
    folder = folder_with("narval", {"python_module": "none"})
    variables = {"HOME": here / "home", "PATH": f"{here}/bin:{plain_path}"}
    notebook = a_notebook(folder)

    def said(answer):
        (here / "bin/sbatch").write_text(f"#!/bin/sh\ncat >/dev/null\nprintf '%b' '{answer}'\n")
        done = script(folder / "submit_notebook.sh", notebook, **variables)
        lines = [line for line in done.stderr.splitlines() if "jupyter_py3" not in line]
        return done.returncode, done.stdout.splitlines(), lines

    set_answer(folder, language="fr")
    status, (notice, *lines), _ = said("Be nice\\nSubmitted batch job 77 on cluster narval\\n")
    assert (status, notice) == (0, "Be nice")
    assert lines == [
        "Tâche 77 soumise",
        f"Sa sortie va dans {folder}/analysis-77.out",
        french("Pour la suivre : squeue --me, et une fois terminée : sacct -j 77. Pour l'annuler : scancel 77"),
        "Ses résultats sont sur la grappe, là où le notebook les écrit.",
    ]
    assert (folder / ".lab/jobs/77").read_text() == f"analysis.ipynb\n{folder}/analysis-77.out\n"
    assert (folder / ".lab").stat().st_mode & 0o777 == 0o700
    set_answer(folder, language="en")
    (folder / ".lab").rename(folder / "moved")
    (folder / ".lab").write_text("")
    status, lines, (warning,) = said("Submitted batch job 78\\n")
    assert (status, lines[0]) == (0, "Submitted batch job 78")
    assert re.fullmatch(
        r"submit_notebook\.sh: Job 78 was submitted, but could not be noted down for lab \((File exists|Not a directory)\): "
        r"lab status, logs and stop do not know it\.",
        warning,
    )
    for answer, words in (("", ""), ("12 34\\n", "12 34"), ("slurm 22.05\\nno job\\n", "slurm 22.05 no job")):
        line = f"sbatch did not say the number of a job (its answer: “{words}”). See with squeue --me whether there is a new one."
        assert said(answer) == (1, [], [f"submit_notebook.sh: {line}"])


@pytest.mark.parametrize("scratch", ["", "/proc/nowhere"])
@pytest.mark.parametrize("cluster", ["killarney", "trillium"])
def test_without_a_scratch_folder_one_line_says_so(folder_with, script, here, plain_path, cluster, scratch):
    account = FACTS[cluster]["account_prefixes"][0] + "-yourpi"
    folder = folder_with(cluster, {"account": account, "python_module": "none"})
    variables = {"HOME": here / "home", "SCRATCH": scratch, "PATH": f"{here}/bin:{plain_path}"}
    for command in ["start_salloc.sh", "submit_session.sh"]:
        done = script(folder / command, cwd=here / "home", **variables)
        words = (
            f"Jobs of {cluster} need your scratch folder, but there is no {scratch or '$SCRATCH'} here; log in again, "
        )
        words += "and if that does not help, ask the cluster's support.\n"
        # the environment is another matter
        said = [line for line in done.stderr.splitlines(keepends=True) if "jupyter_py3" not in line]
        assert (done.returncode, said) == (1, [f"{command}: {words}"]), done


# --- accounts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["wgssum-wa", "wgssubc-wa_cpu", "aip-yourpi"])
def test_an_account_that_begins_as_no_other_is_taken_with_a_warning(folder_with, script, account):
    folder = folder_with("narval", {"account": account})
    for command in [["start_salloc.sh"], ["submit_session.sh"], ["submit_notebook.sh", a_notebook(folder)]]:
        done = script(folder / command[0], *command[1:], "--print")
        assert done.returncode == 0
        assert f"--account={account}" in done.stdout.replace("\n", " ").split()
        assert re.fullmatch(
            rf"{command[0]}: settings\.yml:\d+: accounts of narval usually begin with def-, rrg-, rpp-, ctb-; "
            rf"Slurm decides whether “{account}” is one\.\n",
            done.stderr,
        )
    # nothing is said where Slurm is not asked
    assert script(folder / "tunnel_sshuttle.sh", "--print").stderr == ""


def test_a_course_s_reservation_is_asked_of_slurm_and_otherwise_there_is_none(folder_with, pristine_folder, script):
    folder = folder_with("narval", {"reservation": "wgss1-wr_cpu"})
    for command in [["start_salloc.sh"], ["submit_session.sh"], ["submit_notebook.sh", a_notebook(folder)]]:
        done = script(folder / command[0], *command[1:], "--print")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.replace("\n", " ").split().count("--reservation=wgss1-wr_cpu") == 1
    # nobody is asked about it, and it is no line where there is none
    assert "reservation" not in (pristine_folder("least") / "settings.yml").read_text()


POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    ("refusal", "typed", "place"),
    [
        ("Requested node configuration is not available", "--cpus-per-task=500", "--cpus-per-task=500"),
        ("Requested node configuration is not available", "-c500 --gres=gpu:9", "-c500, --gres=gpu:9"),
        ("Requested node configuration is not available", "--time=1:00:00", "cores, memory, gpus"),
        ("More processors requested than permitted", "", "cores"),
        ("Memory specification can not be satisfied", "--mem-per-cpu=9T", "--mem-per-cpu=9T"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "-t90:00:00", "-t90:00:00"),
        ("Invalid account or account/partition combination specified", "--partition=x", "--partition=x"),
        ("Invalid account or account/partition combination specified", "--time=1", "account"),
        ("Invalid generic resource (gres) specification", "", "gpus"),
        ("Requested partition configuration not available now", "--time=1:00", "--time=1:00"),
        ("Requested partition configuration not available now", "", "hours, cores, memory, gpus"),
        (POLICY, "--gres=gpu:4 -qx", "--gres=gpu:4, -qx"),
        (POLICY, "--account=def-x", "hours, cores, memory, gpus"),
        ("Invalid qos specification", "--qos=x", "--qos=x"),
        ("Invalid feature specification", "-Cx", "-Cx"),
        ("Requested reservation is invalid", "--reservation=x", "--reservation=x"),
        ("Access denied to requested reservation", "--time=1", "reservation"),
        ("Something new", "--time=1", "settings.yml"),
    ],
)
def test_a_refusal_leads_to_what_was_asked_for(refusal, typed, place):
    script = """
        LINE_account=account LINE_hours=hours LINE_cores=cores LINE_memory_per_core_mb=memory LINE_gpus=gpus
        LINE_reservation=reservation
        source "$1"; read -r -a OPTIONS <<<"$3"; place_of "$2"
    """
    slurm = TEMPLATE / "lib/cluster/slurm.sh"
    done = subprocess.run(
        ["bash", "-euc", script, "-", slurm, refusal, typed], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (f"{place}\n", "")
