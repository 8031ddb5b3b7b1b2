"""From settings.yml to Slurm: what salloc and sbatch are asked for on every cluster, to the letter."""

import json
import re
import shlex

import pytest
import yaml
from conftest import TEMPLATE, given, set_answer
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
    ("killarney", AIP, "--time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=aip-yourpi"),
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
    expected = [*options.split(), "--job-name=analysis", f'--output="{folder}/analysis-%j.out"']
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
#SBATCH --job-name=analysis
#SBATCH --output="{folder}/analysis-%j.out"

type module &>/dev/null || source /etc/profile
module load python
source {environment["HOME"]}/jupyter_py3/bin/activate
cd {folder}
set -e
name=analysis
script=./$name-$SLURM_JOB_ID
jupyter nbconvert --to python --output "$script" "./$name.ipynb"
# %magics and !commands of a notebook need IPython
if grep -q get_ipython "$script.py"; then
  ipython "$script.py"
else
  python "$script.py"
fi
"""
    )


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


@pytest.mark.parametrize("name", ["analysis", "50 % d'été", "-rf", "$(touch canary)"])
def test_the_batch_script_does_to_the_notebook_what_the_wiki_page_says(
    make_folder, script, environment, tmp_path, name
):
    folder = make_folder("least")
    set_answer(folder, python_module="none")
    a_notebook(folder, f"{name}.ipynb")
    home = tmp_path / "home"
    (home / "jupyter_py3/bin").mkdir(parents=True)
    (home / "jupyter_py3/bin/activate").write_text("PATH=$HOME/jupyter_py3/bin:$PATH\n")
    for tool in ["jupyter", "python"]:
        path = home / "jupyter_py3/bin" / tool
        path.write_text(f'#!/bin/sh\nfor word in {tool} "$@"; do printf "<%s>" "$word"; done\necho\ntouch ./*-7.py\n')
        path.chmod(0o755)
    shown = script(folder / "submit_notebook.sh", "--print", folder / f"{name}.ipynb", HOME=home)
    assert (shown.returncode, shown.stderr) == (0, "")
    # nbconvert makes the script
    (folder / f"{name}-7.py").touch()
    job = tmp_path / "job.sh"
    job.write_text(shown.stdout)
    ran = script(environment["PATH"] + "/bash", job, cwd=tmp_path, HOME=home, SLURM_JOB_ID=7)
    # what begins with a dash is no option
    given_name = f"(?:\\./)?{re.escape(name)}"
    assert re.fullmatch(
        rf"<jupyter><nbconvert><--to><python>(?:<--output><|<--output=){given_name}-7>(?:<-->)?<{given_name}\.ipynb>\n"
        rf"<python>(?:<-->)?<{given_name}-7\.py>\n",
        ran.stdout,
    ), ran.stdout
    assert (ran.returncode, ran.stderr) == (0, "")
    assert not list(tmp_path.rglob("canary"))


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


@st.composite
def sessions(draw):
    """All answers that count for Slurm, right and nearly right."""
    cluster = draw(st.sampled_from(IN_SERVICE))
    facts = FACTS[cluster]
    per_gpu_node = [int(entry.rsplit(":", 1)[1]) for entry in facts["gpu_node_cores"]]
    memories = [int(entry.rsplit(":", 1)[1]) for entry in facts["gpu_node_memory_mb"]] + [facts["node_memory_mb"]]
    cores = draw(around(facts["node_cores"], *per_gpu_node))
    gpus = draw(st.sampled_from([0, 0, 1, 1, 2, 3, 4, 5, 8, 9]))
    models = [request.rsplit(":", 1)[0] for request in facts["gpu_requests"]] or ["none"]
    answers = {
        "cluster": cluster,
        "account": draw(
            st.sampled_from([f"{prefix}-yourpi" for prefix in facts["account_prefixes"]] * 9 + ["def", "x"])
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
    gpus, requests = answers.get("gpus", 0), FACTS[answers["cluster"]]["gpu_requests"]
    whole = {
        # what Copier proposes
        **{"hours": 1, "cores": 2, "memory_per_core_mb": 1024, "gpus": 0},
        "gpu_model": requests[0].split(":")[0] if gpus and requests else "none",
        **{"language": "en", "project_name": "p", "modules_first": [], "pip_source": "pypi", "python_module": "python"},
        **{"kernels": ["python"], "extensions": [], "environment_path": "$HOME/jupyter_py3", "packages": []},
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
    ({"cluster": "narval", "cores": 64, "memory_per_core_mb": 64000, "hours": 8}, True),
    ({"cluster": "narval", "cores": 64, "memory_per_core_mb": 64001}, False),
    ({"cluster": "narval", "hours": 9}, False),
    ({"cluster": "narval", "gpus": 1, "gpu_model": "a100", "cores": 48, "memory_per_core_mb": 10625}, True),
    ({"cluster": "narval", "gpus": 0, "gpu_model": "a100"}, True),
    ({"cluster": "nibi", "gpus": 1, "gpu_model": "mi300a"}, False),
    ({"cluster": "nibi", "gpus": 4, "gpu_model": "mi300a", "cores": 96}, True),
    ({"cluster": "trillium", "gpus": 2, "gpu_model": "h100"}, False),
    ({"cluster": "trillium", "cores": 300, "memory_per_core_mb": 9999999}, True),
    ({"cluster": "fir", "hours": 168}, True),
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
