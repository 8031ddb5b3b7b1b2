"""The questions: whoever answers them right gets a folder, and whoever does not is told so in one line."""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import copier
import pexpect
import pytest
import yaml
from conftest import ANSWERS, LANGUAGES, REPOSITORY, TEMPLATE, french, given, names_in, read_answers, refused

COPIER_YML = yaml.safe_load((REPOSITORY / "copier.yml").read_text(encoding="utf-8"))
QUESTIONS = {name: question for name, question in COPIER_YML.items() if not name.startswith("_")}
# what is typed into a field is no setting
SETTINGS_ASKED = [name for name in QUESTIONS if not name.endswith("_typed")]
TEXTS = {
    language: yaml.safe_load((REPOSITORY / f"questions/{language}.yml").read_text(encoding="utf-8"))
    for language in LANGUAGES
}
FACTS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((TEMPLATE / "plugins/clusters").glob("*.yml"))
}
IN_SERVICE = [name for name, facts in FACTS.items() if facts["status"] == "in_service"]
RETIRED = [name for name, facts in FACTS.items() if facts["status"] == "retired"]
# where no file of the template knows it
ASKED_OF_OTHERS = {"login_host", "modules_first", "pip_source"}
LEAST = {"account": "def-yourpi", "cluster": "narval"}

SETTINGS = {
    "en": """\
# All your answers. Edit them whenever you like, or run: copier update
# One “name: value” or “name: [a, b]” per line, without quotes; the scripts say what they cannot read.

language: en
project_name: my-project

# the cluster, and the account that sessions are charged to
cluster: narval
account: def-yourpi

# one session: its time limit in hours, CPU cores, memory per core in MB, GPUs (gpu_model: none if there are none); \
idle, it ends after 60 minutes, or those of a line such as idle_minutes: 120 (0: never; else 5 to 9999)
hours: 1
cores: 2
memory_per_core_mb: 1024
gpus: 0
gpu_model: none

# the Python module, the kernels (plugins/kernels), the extensions (plugins/extensions), where the environment is \
(environment_location: home, project or node; home without the line), other Python packages
python_module: python
kernels: [python]
extensions: []
environment_path: $HOME/jupyter_py3
packages: []

# for Copier: the version of the template that this folder comes from; leave these lines as they are
_commit: "1.0.0"
_src_path: "{template}"
""",
    "fr": """\
# Toutes vos réponses. Modifiez-les quand vous voulez, ou exécutez : copier update
# Un « nom: valeur » ou « nom: [a, b] » par ligne, sans guillemets ; les scripts disent ce qu'ils ne peuvent pas lire.

language: fr
project_name: my-project

# la grappe, et le compte auquel les sessions sont imputées
cluster: narval
account: def-yourpi

# une session : sa limite de temps en heures, cœurs CPU, mémoire par cœur en Mo, GPU (gpu_model: none s'il n'y en a pas) ; \
inactive, elle prend fin après 60 minutes, ou celles d'une ligne telle que idle_minutes: 120 (0 : jamais ; sinon de 5 à 9999)
hours: 1
cores: 2
memory_per_core_mb: 1024
gpus: 0
gpu_model: none

# le module Python, les noyaux (plugins/kernels), les modules d'extension (plugins/extensions), \
l'emplacement de l'environnement virtuel (environment_location: home, à moins d'une ligne environment_location: project ou \
environment_location: node), d'autres paquets Python
python_module: python
kernels: [python]
extensions: []
environment_path: $HOME/jupyter_py3
packages: []

# pour Copier : la version du modèle dont vient ce dossier ; laissez ces lignes telles quelles
_commit: "1.0.0"
_src_path: "{template}"
""",
}


# --- right answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "fr"])
def test_an_account_and_a_cluster_are_enough_for_a_folder(pristine_template, tmp_path, language):
    command = [sys.executable, "-m", "copier", "copy", "-d", "account=def-yourpi", "-d", "cluster=narval", "--defaults"]
    command += ["-d", f"language={language}", str(pristine_template), "my-project"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    settings = (tmp_path / "my-project/settings.yml").read_text(encoding="utf-8")
    expected = SETTINGS[language].replace("{template}", str(pristine_template))
    expected = french(expected) if language == "fr" else expected
    names = [line.split(":")[0] for line in settings.split("\n") if re.match("[a-z]", line)]
    asked = {name for name in SETTINGS_ASKED if QUESTIONS[name].get("when") is not False}
    # what is optional has no line where there is none of it
    assert set(names) == asked - ASKED_OF_OTHERS - {"reservation", "idle_minutes", "environment_location"}
    # a setting that came later has a line of its own
    later = [name for name in names if f"\n{name}: " not in expected]
    assert re.sub(rf"(?m)^({'|'.join(later) or '-'}): .*\n", "", settings) == expected


def test_how_long_an_idle_session_stays_has_a_line_where_somebody_has_chosen_it(pristine_folder, door):
    lines = [
        [line for line in (folder / "settings.yml").read_text().splitlines() if line.startswith("idle_minutes")]
        for folder in (pristine_folder("least"), pristine_folder("least", idle_minutes=0))
    ]
    assert lines == [[], ["idle_minutes: 0"]]
    # so short that it would end while somebody thinks
    answers = {"cluster": "narval", "account": "def-yourpi", "idle_minutes": 4}
    assert door.refusal(answers) == "'None' has no attribute 'idle_minutes: " + ("Possible: 0, 5-9999; not “4”.'")


@pytest.mark.parametrize("cluster", IN_SERVICE)
def test_every_cluster_in_service_makes_a_folder_whose_scripts_start(pristine_folder, script, cluster):
    prefix = (FACTS[cluster]["account_prefixes"] or ["def"])[0]
    answers = {"cluster": cluster, "account": f"{prefix}-yourpi"}
    if FACTS[cluster]["login_host"] == "asked":
        answers["login_host"] = "login.example.org"
    done = script(pristine_folder(answers) / "start_salloc.sh", "--print", SCRATCH="/scratch/prof")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(path.stem for path in ANSWERS.glob("*.yml")))
def test_every_kind_of_user_gets_the_answers_that_they_gave(pristine_folder, name):
    answers = read_answers(name)
    settings = yaml.safe_load((pristine_folder(name) / "settings.yml").read_text(encoding="utf-8"))
    assert {key: settings[key] for key in answers} == answers


def test_the_folder_has_every_file_of_the_template_and_one_of_them_is_rendered(pristine_template, pristine_folder):
    folder, source = pristine_folder("least"), pristine_template / "template"
    expected = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_symlink() or path.is_file()}
    made = {name for name in names_in(folder) if (folder / name).is_symlink() or (folder / name).is_file()}
    assert made == expected - {"settings.yml.jinja"} | {"settings.yml"}
    for name in made - {"settings.yml", ".copier-answers.yml"}:
        assert (folder / name).read_bytes() == (source / name).read_bytes(), name
        assert os.access(folder / name, os.X_OK) == os.access(source / name, os.X_OK), name


def test_the_answers_file_of_copier_is_a_link_to_the_settings(pristine_folder):
    assert os.readlink(pristine_folder("least") / ".copier-answers.yml") == "settings.yml"


@pytest.mark.parametrize(
    ("folder", "project"),
    [
        ("my project", "my-project"),
        ("2026-hiver", "hiver"),
        ("-x-", "x"),
        ("été à Québec", "ete-a-Quebec"),
        ("Mon projet été", "Mon-projet-ete"),
        ("ÉCOLE d'Œuvres naïves", "ECOLE-d-Oeuvres-naives"),
        ("Łódź Straße", "Lodz-Strasse"),
        # as macOS spells it: the accent is a sign of its own
        ("e\u0301te\u0301", "ete"),
        ("a_b.c", "a-b-c"),
        ("日本", "jupyter"),
        ("no", "jupyter"),
        ("Y", "jupyter"),
    ],
)
def test_whatever_the_folder_is_called_a_right_project_name_is_proposed(pristine_template, tmp_path, folder, project):
    copier.run_copy(str(pristine_template), tmp_path / folder, data=LEAST, defaults=True, quiet=True)
    assert f"\nproject_name: {project}\n" in (tmp_path / folder / "settings.yml").read_text(encoding="utf-8")


# --- what is said after copying -------------------------------------------------------------------------------------

AFTER = {
    ("en", "least"): """
The folder {folder} is ready. Next, on your computer:

    cd {folder}
    ./lab open

Or by hand, step by step:

    scp -r {folder} USER@narval.alliancecan.ca:my-project
    ssh USER@narval.alliancecan.ca

and there:

    cd my-project
    ./setup_env.sh
    ./start_salloc.sh

Then, on your computer, with the address it prints:

    cd {folder}
    ./tunnel_ssh.sh 'ADDRESS'

USER is your user name on the cluster. Everything else is in {folder}/README.md
""",
    ("fr", "least"): """
Le dossier {folder} est prêt. Ensuite, sur votre ordinateur :

    cd {folder}
    ./lab open

Ou à la main, pas à pas :

    scp -r {folder} USER@narval.alliancecan.ca:my-project
    ssh USER@narval.alliancecan.ca

et là-bas :

    cd my-project
    ./setup_env.sh
    ./start_salloc.sh

Puis, sur votre ordinateur, avec l'adresse affichée :

    cd {folder}
    ./tunnel_ssh.sh 'ADRESSE'

USER est votre nom d'utilisateur sur la grappe. Tout le reste est dans {folder}/LISEZMOI.md
""",
    ("en", "local"): """
The folder {folder} is ready. Next:

    cd {folder}
    ./setup_env.sh
    ./start_salloc.sh

Everything else is in {folder}/README.md
""",
    ("fr", "local"): """
Le dossier {folder} est prêt. Ensuite :

    cd {folder}
    ./setup_env.sh
    ./start_salloc.sh

Tout le reste est dans {folder}/LISEZMOI.md
""",
}


def copied(copier_command, template, folder, answers, cwd=None):
    """Copy with the command line and return what it says after the list of files."""
    done = copier_command("copy", "--defaults", *given(answers), template, folder, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return re.sub(r"(?s)^.*\n *create +[^\n]+\n", "", done.stderr)


@pytest.mark.parametrize(("language", "kind"), AFTER)
def test_after_copying_people_are_told_what_to_type_next(copier_command, pristine_template, tmp_path, language, kind):
    folder = tmp_path / "my-project"
    said = copied(copier_command, pristine_template, folder, {**read_answers(kind), "language": language})
    expected = AFTER[language, kind].replace("{folder}", str(folder))
    assert said.rstrip("\n") == (french(expected) if language == "fr" else expected).rstrip("\n")


def test_who_takes_a_gpu_of_trillium_is_sent_to_its_login_node(copier_command, pristine_template, tmp_path):
    said = copied(copier_command, pristine_template, tmp_path / "p", read_answers("trillium-gpu"))
    assert re.findall(r"USER@\S+", said) == ["USER@trillium-gpu.alliancecan.ca:p", "USER@trillium-gpu.alliancecan.ca"]


def test_the_commands_can_be_typed_as_they_stand_also_where_the_folder_has_a_space(
    copier_command, pristine_template, tmp_path
):
    said = copied(copier_command, pristine_template, tmp_path / "mon été", read_answers("local"))
    (command,) = re.findall(r"(?m)^    (cd .*)$", said)
    assert shlex.split(command) == ["cd", str(tmp_path / "mon été")]


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            "Accounts of this cluster usually begin with def-, rrg-, rpp-, ctb-; Slurm decides whether “wgssum-wa” is one.",
        ),
        (
            "fr",
            "Les comptes de cette grappe commencent d'habitude par def-, rrg-, rpp-, ctb- ; c'est Slurm qui décide si "
            "« wgssum-wa » en est un.",
        ),
    ],
)
def test_a_summer_schools_account_is_taken_with_a_warning(copier_command, pristine_template, tmp_path, language, words):
    answers = {**LEAST, "account": "wgssum-wa", "language": language}
    said = copied(copier_command, pristine_template, tmp_path / "p", answers)
    assert said.count(french(words) if language == "fr" else words) == 1
    assert "\naccount: wgssum-wa\n" in (tmp_path / "p/settings.yml").read_text()


def test_what_comes_with_a_gpu_is_in_the_settings(copier_command, pristine_template, tmp_path):
    copied(copier_command, pristine_template, tmp_path / "p", {"cluster": "killarney", "account": "aip-yourpi"})
    made = (tmp_path / "p/settings.yml").read_text()
    assert "\ncores: 16\nmemory_per_core_mb: 7680\ngpus: 1\ngpu_model: l40s\n" in made


# --- answers given beforehand that are wrong ------------------------------------------------------------------------

# what is wrong: the answers that are given beside an account of Narval, and what is said of them in both languages
NARVAL_GPUS = "a100:1-4, a100_1g.5gb:1, a100_2g.10gb:1, a100_3g.20gb:1, a100_4g.20gb:1"
WRONG = {
    "a person instead of an account": (
        {"account": "alice"},
        "account: Write for example def-yourpi; accounts of this cluster begin with def-, rrg-, rpp-, ctb-",
        "account: Écrivez par exemple def-yourpi ; ici, les comptes commencent par def-, rrg-, rpp-, ctb-",
    ),
    "no account": (
        {"account": ""},
        "account: Write for example def-yourpi; “” is not possible.",
        "account: Écrivez par exemple def-yourpi ; «  » n'est pas possible.",
    ),
    "an account with a space": (
        {"account": "def-your pi"},
        "account: Write for example def-yourpi; “def-your pi” is not possible.",
        "account: Écrivez par exemple def-yourpi ; « def-your pi » n'est pas possible.",
    ),
    "an account with a newline": (
        {"account": "def-yourpi\nhours: 9"},
        "account: Write for example def-yourpi; “def-yourpi\nhours: 9” is not possible.",
        "account: Écrivez par exemple def-yourpi ; « def-yourpi\nhours: 9 » n'est pas possible.",
    ),
    "an account that is a command": (
        {"account": "$(id)"},
        "account: Write for example def-yourpi; “$(id)” is not possible.",
        "account: Écrivez par exemple def-yourpi ; « $(id) » n'est pas possible.",
    ),
    "a language that is none": (
        {"language": "xx"},
        "language: “xx” is not one of the choices.",
        "language: “xx” is not one of the choices.",
    ),
    "a project name that YAML takes for false": (
        {"project_name": "No"},
        "project_name: Write for example my-project; “No” is not possible.",
        "project_name: Écrivez par exemple my-project ; « No » n'est pas possible.",
    ),
    "a cluster that is none": (
        {"cluster": "atlantis"},
        "cluster: “atlantis” is not one of the choices.",
        "cluster: « atlantis » ne fait pas partie des choix.",
    ),
    "a path instead of a cluster": (
        {"cluster": "../clusters/narval"},
        "cluster: Write for example narval; “../clusters/narval” is not possible.",
        "cluster: Écrivez par exemple narval ; « ../clusters/narval » n'est pas possible.",
    ),
    "more hours than a session may last": (
        {"hours": "9"},
        "hours: This cluster allows 8 at most.",
        "hours: Cette grappe permet 8 au plus.",
    ),
    "hours with minutes": (
        {"hours": "1:30"},
        "hours: Possible: 1-9999; not “1:30”.",
        "hours: Valeurs possibles : 1-9999 ; « 1:30 » n'en fait pas partie.",
    ),
    "more cores than a node has": (
        {"cores": "65"},
        "cores: This cluster allows 64 at most.",
        "cores: Cette grappe permet 64 au plus.",
    ),
    "too much memory": (
        {"cores": "4", "memory_per_core_mb": "1028751"},
        "memory_per_core_mb: With that many cores, a node has 1028750 MB per core.",
        "memory_per_core_mb: Avec ce nombre de cœurs, un nœud a 1028750 Mo par cœur.",
    ),
    "memory with a unit": (
        {"memory_per_core_mb": "4G"},
        "memory_per_core_mb: Possible: 1-99999999; not “4G”.",
        "memory_per_core_mb: Valeurs possibles : 1-99999999 ; « 4G » n'en fait pas partie.",
    ),
    "a GPU that this cluster lacks": (
        {"gpus": "1", "gpu_model": "h100"},
        f"gpu_model: Possible here (model:number): {NARVAL_GPUS}",
        f"gpu_model: Possible ici (modèle:nombre) : {NARVAL_GPUS}",
    ),
    "more GPUs than a node has": (
        {"gpus": "5"},
        f"gpu_model: Possible here (model:number): {NARVAL_GPUS}",
        f"gpu_model: Possible ici (modèle:nombre) : {NARVAL_GPUS}",
    ),
    "two slices of a GPU": (
        {"gpus": "2", "gpu_model": "a100_1g.5gb"},
        f"gpu_model: Possible here (model:number): {NARVAL_GPUS}",
        f"gpu_model: Possible ici (modèle:nombre) : {NARVAL_GPUS}",
    ),
    "more cores than the nodes with this GPU have": (
        {"gpus": "1", "gpu_model": "a100", "cores": "65"},
        "cores: Nodes with this GPU have 64 cores.",
        "cores: Les nœuds avec ce GPU ont 64 cœurs.",
    ),
    "more memory than the nodes with this GPU have": (
        {"gpus": "1", "cores": "48", "memory_per_core_mb": "21334"},
        "memory_per_core_mb: With that many cores, a node has 21333 MB per core.",
        "memory_per_core_mb: Avec ce nombre de cœurs, un nœud a 21333 Mo par cœur.",
    ),
    "a job without a GPU where there is none": (
        {"cluster": "killarney", "account": "aip-yourpi", "gpus": "0"},
        "gpus: Write for example 1; jobs here need 1 GPU or more.",
        "gpus: Écrivez par exemple 1 ; une tâche demande ici au moins 1 GPU.",
    ),
    "a kernel that is none": (
        {"kernels": ["python", "cobol"]},
        "kernels: “cobol” is not one of the choices.",
        "kernels: « cobol » ne fait pas partie des choix.",
    ),
    "one kernel that is none": (
        {"kernels": "cobol"},
        "kernels: Write a list, such as [cobol].",
        "kernels: Écrivez une liste, comme [cobol].",
    ),
    "an extension that is none": (
        {"extensions": ["git"]},
        "extensions: “git” is not one of the choices.",
        "extensions: « git » ne fait pas partie des choix.",
    ),
    "a cluster's kernel module where none is known": (
        {"cluster": "other", "login_host": "login.example.org", "kernels": ["ir-kernel"]},
        "kernels: ir-kernel is not known to exist on this cluster.",
        "kernels: Rien n'indique que ir-kernel existe sur cette grappe.",
    ),
    "an environment that is a command": (
        {"environment_path": "$(touch canary)"},
        "environment_path: Write for example $HOME/jupyter_py3; “$(touch canary)” is not possible.",
        "environment_path: Écrivez par exemple $HOME/jupyter_py3 ; « $(touch canary) » n'est pas possible.",
    ),
    "an environment elsewhere": (
        {"environment_path": "$HOME/../alice/env"},
        "environment_path: Write for example $HOME/jupyter_py3; “$HOME/../alice/env” is not possible.",
        "environment_path: Écrivez par exemple $HOME/jupyter_py3 ; « $HOME/../alice/env » n'est pas possible.",
    ),
    "an option instead of a package": (
        {"packages": ["numpy", "--index-url=http://x"]},
        "packages: Write for example [numpy, pandas>=2]; “--index-url=http://x” is not possible.",
        "packages: Écrivez par exemple [numpy, pandas>=2] ; « --index-url=http://x » n'est pas possible.",
    ),
    "a list without its end": (
        {"packages": "[numpy, pandas"},
        "packages: Write for example [numpy, pandas>=2]; “[numpy, pandas” is not possible.",
        "packages: Écrivez par exemple [numpy, pandas>=2] ; « [numpy, pandas » n'est pas possible.",
    ),
    "a list that YAML cannot read": (
        {"packages": "`id`"},
        "packages: Write for example [numpy, pandas>=2]; “`id`” is not possible.",
        "packages: Écrivez par exemple [numpy, pandas>=2] ; « `id` » n'est pas possible.",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_ends_in_one_line_and_writes_nothing(copier_command, door, pristine_template, tmp_path, wrong):
    answers, english, _ = WRONG[wrong]
    done = copier_command(
        "copy", "--defaults", *given({**LEAST, **answers}), pristine_template, tmp_path / "made", cwd=tmp_path
    )
    assert done.stderr == refused(english) + "\n"
    assert (done.returncode, done.stdout) == (1, "")
    assert list(tmp_path.iterdir()) == []
    # the next test asks the door alone, which is faster
    assert door.refusal({**LEAST, **answers}) == refused(english)


@pytest.mark.parametrize("wrong", WRONG)
def test_it_is_said_in_french_too(door, wrong):
    answers, _, in_french = WRONG[wrong]
    assert door.refusal({"language": "fr", **LEAST, **answers}) == refused(in_french)


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("cluster", RETIRED)
def test_a_retired_cluster_is_refused_with_the_name_of_its_successor(
    copier_command, pristine_template, tmp_path, cluster, language
):
    answers = {"language": language, "account": "def-yourpi", "cluster": cluster}
    done = copier_command("copy", "--defaults", *given(answers), pristine_template, tmp_path / "made")
    successor = FACTS[cluster]["successor"]
    words = {
        "en": f"retired: its successor is {successor}",
        "fr": f"cette grappe n'est plus en service : {successor} lui succède",
    }[language]
    assert (done.returncode, done.stdout, done.stderr) == (1, "", refused(f"cluster: {words}") + "\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value", [" ", "a b", '"a"', "'a'", "a$b", "$(id)", "`id`", "a\nb", "..", "../a", "--a", "-a", "a;b"]
)
@pytest.mark.parametrize("name", [*read_answers("everything"), "login_host"])
def test_no_answer_is_made_of_what_a_shell_or_yaml_reads_as_more(door, name, value):
    texts = TEXTS["en"]
    rules = yaml.safe_load((TEMPLATE / "lib/both/rules.yml").read_text(encoding="utf-8"))
    example, allowed = rules[f"{name}_example"], rules.get(f"{name}_allowed")
    for given_value in [[value], ["python", value]] if isinstance(example, list) else [value]:
        shown = f"[{', '.join(example)}]" if isinstance(example, list) else example
        said = texts["not_allowed" if allowed else "bad_value"].replace("{example}", str(shown))
        said = said.replace("{value}", value).replace("{allowed}", str(allowed))
        assert door.refusal({**LEAST, name: given_value}) == refused(f"{name}: {said}")


@pytest.mark.parametrize(
    "answers",
    [
        {"packages": "numpy"},
        {"kernels": "r"},
        {"extensions": "lmod"},
    ],
)
def test_one_item_alone_is_answered_by_the_list_to_write(copier_command, pristine_template, tmp_path, answers):
    ((name, value),) = answers.items()
    done = copier_command(
        "copy", "--quiet", "--defaults", *given({**LEAST, **answers}), pristine_template, tmp_path / "p"
    )
    expected = f"'None' has no attribute '{name}: Write a list, such as [{value}].'\n"
    assert (done.returncode, done.stderr) == (1, expected)
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("name", ["kernels", "extensions", "packages"])
def test_an_empty_answer_is_an_empty_list_or_refused_in_one_line(copier_command, pristine_template, tmp_path, name):
    answers = {**LEAST, name: ""}
    done = copier_command("copy", "--quiet", "--defaults", *given(answers), pristine_template, tmp_path / "p")
    if done.returncode:
        assert re.fullmatch(rf"'None' has no attribute .{name}: [^\n]+\n", done.stderr), done.stderr
    else:
        assert f"\n{name}: []\n" in (tmp_path / "p/settings.yml").read_text()


def test_a_model_without_gpus_is_kept_or_refused_in_one_line(copier_command, pristine_template, tmp_path):
    answers = {**LEAST, "gpus": "0", "gpu_model": "a100"}
    done = copier_command("copy", "--quiet", "--defaults", *given(answers), pristine_template, tmp_path / "p")
    assert done.stderr.count("\n") <= 1, done.stderr
    assert done.returncode == 0 or done.stderr.startswith("'None' has no attribute"), done.stderr


def test_any_model_of_gpu_can_be_given_for_another_cluster(copier_command, pristine_template, tmp_path):
    answers = {**read_answers("other"), "gpus": "1", "gpu_model": "v100"}
    copied(copier_command, pristine_template, tmp_path / "p", answers)
    assert "\ngpu_model: v100\n" in (tmp_path / "p/settings.yml").read_text()


# --- a conversation -------------------------------------------------------------------------------------------------


class Conversation:
    """`copier copy` in a terminal, and somebody who types."""

    def __init__(self, *words, command="copy", columns=200):
        """Start Copier: a template and a folder, or a folder that is updated."""
        self.seen, self.asked = "", []
        self.terminal = pexpect.spawn(
            sys.executable,
            ["-m", "copier", command, *map(str, words)],
            # a pexpect is no terminal that answers where its cursor is
            env={**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"},
            dimensions=(60, columns),
            encoding="utf-8",
            timeout=120,
        )

    def look(self):
        """Read what has come, without the control sequences."""
        try:
            self.seen += self.terminal.read_nonblocking(65536, timeout=1)
        except pexpect.TIMEOUT:
            return
        except pexpect.EOF:
            self.terminal.wait()
        # a terminal shows a no-break space as a space
        self.seen = re.sub("\x1b(\\[[0-9;?]*[A-Za-z]|[=>])|\r", "", self.seen).replace("\u00a0", " ")

    def wait_for(self, text):
        """Look until a text has come; return everything since the last question began."""
        deadline = time.monotonic() + 120
        while text not in self.seen:
            assert time.monotonic() < deadline and self.terminal.isalive(), f"{text!r} did not come:\n{self.seen}"
            self.look()
        return self.seen[self.seen.rindex("🎤") :]

    def field(self):
        """Wait for what stands in the field of the last question, and return it."""
        deadline, before, now = time.monotonic() + 120, None, None
        # it may come in pieces
        while before is None or before != now:
            assert time.monotonic() < deadline and self.terminal.isalive(), f"the field is empty:\n{self.seen}"
            self.look()
            found = re.match(r"🎤 .+\n +(\S.*?) *(\n|$)", self.seen[self.seen.rindex("🎤") :])
            before, now = now, found and found[1]
        return now

    def next_question(self):
        """Wait for a question that was not asked before and return its text; None at the end."""
        deadline = time.monotonic() + 120
        while True:
            for text in re.findall(r"🎤 (.+?) *\n", self.seen):
                if text not in self.asked:
                    self.asked.append(text)
                    return text
            if not self.terminal.isalive():
                return None
            assert time.monotonic() < deadline, f"nothing more is asked, nor the end:\n{self.seen}"
            self.look()

    def answer(self, keys=""):
        """Type over what is proposed."""
        self.terminal.send(keys + "\r")

    def to(self, name, **answers):
        """Accept what is proposed, but for these answers and Narval, up to the question of that name.

        That one is answered by whoever calls.
        """
        answers = {"cluster": to_choice("cluster", "narval"), **answers}
        wanted = {TEXTS["en"][key]: keys for key, keys in answers.items()}
        while (question := self.next_question()) is not None:
            if question == TEXTS["en"][name]:
                return
            self.answer(wanted.get(question, ""))
        raise AssertionError(f"{name} was not asked:\n{self.seen}")

    def finish(self, account, language="en"):
        """Accept what is proposed, with this account on Narval, to the end."""
        answers = {"cluster": to_choice("cluster", "narval"), "account": account}
        wanted = {TEXTS[language][name].replace("\u00a0", " "): keys for name, keys in answers.items()}
        while (question := self.next_question()) is not None:
            self.answer(wanted.get(question, ""))
        assert "Warning" not in self.seen
        return self.terminal.exitstatus


DOWN, LINE_BEGIN_ERASED = "\x1b[B", "\x15"


def to_choice(name, value):
    """Return the keys that lead from the first choice of a question to this one; retired ones are stepped over."""
    return DOWN * [choice for choice in QUESTIONS[name]["choices"].values() if isinstance(choice, str)].index(value)


# what most people are asked, in the order of their thoughts
ASKED = {
    "en": [
        "What should the project be called?",
        "Which cluster do you work on?",
        "Which account are your sessions charged to, such as def-yourpi?",
        "How many hours may a session last (at most 8)?",
        "How many GPUs do you need?",
        "How many CPU cores do you need?",
        "How much memory do you need per core, in MB?",
        "Which Python module (python, python/3.11; none: the system's own)?",
        "Which notebook languages do you need?",
        "Which extensions do you want?",
    ],
    "fr": [
        "Comment le projet doit-il s'appeler ?",
        "Sur quelle grappe travaillez-vous ?",
        "À quel compte imputer vos sessions, par exemple def-yourpi ?",
        "Combien d'heures une session peut-elle durer (au plus 8) ?",
        "De combien de GPU avez-vous besoin ?",
        "De combien de cœurs CPU avez-vous besoin ?",
        "De combien de mémoire par cœur avez-vous besoin, en Mo ?",
        "Quel module Python (python, python/3.11 ; none : celui du système) ?",
        "De quels langages avez-vous besoin dans vos notebooks ?",
        "Quels modules d'extension voulez-vous ?",
    ],
}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_most_people_are_asked_twelve_questions_at_most_in_the_order_they_think(
    pristine_template, pristine_folder, tmp_path, language
):
    conversation = Conversation(pristine_template, tmp_path / "my-project")
    first = conversation.next_question()
    conversation.answer(to_choice("language", language))
    status = conversation.finish("def-yourpi", language)
    expected = ["Which language do you prefer? / Quelle langue préférez-vous ?", *ASKED[language]]
    assert [question for question in conversation.asked if question in expected] == expected
    # a setting that came later may be asked, too, but never what most people need not know
    not_asked = ASKED_OF_OTHERS | {"gpu_model", "environment_path", "packages"}
    assert not {TEXTS[language][name].replace("\u00a0", " ") for name in not_asked} & set(conversation.asked)
    assert len(conversation.asked) <= 12
    assert all(question.endswith("?") for question in conversation.asked)
    assert first == conversation.asked[0]
    assert status == 0, conversation.seen
    made = (tmp_path / "my-project/settings.yml").read_bytes()
    assert made == (pristine_folder("least", language=language) / "settings.yml").read_bytes()


def test_a_wrong_account_is_answered_at_once_and_the_right_one_taken(pristine_template, tmp_path):
    conversation = Conversation(pristine_template, tmp_path / "p")
    conversation.to("account")
    conversation.answer("alice")
    conversation.wait_for("Write for example def-yourpi; accounts of this cluster begin with def-, rrg-, rpp-, ctb-")
    conversation.answer(LINE_BEGIN_ERASED + "def-yourpi")
    assert conversation.finish("") == 0, conversation.seen
    assert "\naccount: def-yourpi\n" in (tmp_path / "p/settings.yml").read_text()


def on_another_cluster(template, folder):
    """Return a Conversation about the folder "p" there, in which the cluster is one that no file knows."""
    conversation = Conversation(template, folder / "p")
    conversation.to("cluster")
    conversation.answer(to_choice("cluster", "other"))
    conversation.to("login_host")
    conversation.answer("login.example.org")
    return conversation


def test_where_accounts_have_no_beginning_that_is_known_none_can_be_left_empty(pristine_template, tmp_path):
    conversation = on_another_cluster(pristine_template, tmp_path)
    conversation.to("account")
    conversation.wait_for("none")
    conversation.answer("")
    assert conversation.finish("") == 0, conversation.seen
    assert "\naccount: none\n" in (tmp_path / "p/settings.yml").read_text()


def test_the_models_of_the_chosen_cluster_are_offered_and_no_other(pristine_template, tmp_path):
    conversation = Conversation(pristine_template, tmp_path / "p")
    conversation.to("gpu_model", account="def-yourpi", gpus=LINE_BEGIN_ERASED + "1")
    offered = conversation.wait_for("a100_4g.20gb")
    assert re.findall(r"(?m)^ *»? *([a-z0-9_.]+) *$", offered) == [
        "a100",
        "a100_1g.5gb",
        "a100_2g.10gb",
        "a100_3g.20gb",
        "a100_4g.20gb",
    ]
    conversation.answer(DOWN)
    assert conversation.finish("") == 0, conversation.seen
    assert "\ngpus: 1\ngpu_model: a100_1g.5gb\n" in (tmp_path / "p/settings.yml").read_text()


@pytest.mark.parametrize(
    ("typed", "kept"), [("StdEnv/2023", "StdEnv/2023"), ("[gcc/12,StdEnv/2023]", "gcc/12, StdEnv/2023"), ("", "")]
)
def test_who_works_on_another_cluster_is_asked_what_no_file_knows(pristine_template, tmp_path, typed, kept):
    conversation = on_another_cluster(pristine_template, tmp_path)
    conversation.to("modules_first")
    assert conversation.field() == "[]"
    conversation.answer("StdEnv/2023; gcc")
    conversation.wait_for("Write for example [StdEnv/2023]; “StdEnv/2023;” is not possible.")
    conversation.answer(LINE_BEGIN_ERASED + typed)
    assert conversation.finish("physics") == 0, conversation.seen
    assert TEXTS["en"]["hours_unlimited"] in conversation.asked
    made = (tmp_path / "p/settings.yml").read_text()
    assert f"\nlogin_host: login.example.org\nmodules_first: [{kept}]\npip_source: pypi\n" in made


def test_what_is_proposed_is_typed_over(pristine_template, tmp_path):
    conversation = Conversation(pristine_template, tmp_path / "p")
    typed = {
        "account": "def-yourpi",
        "gpus": "2",
        "memory_per_core_mb": "4000",
        "python_module": "python/3.11",
    }
    conversation.to("project_name")
    conversation.answer("ours")
    conversation.to("memory_per_core_mb", **typed)
    # what comes with two GPUs is proposed, and cores were left at it
    assert conversation.field() == "10581"
    conversation.answer(typed["memory_per_core_mb"])
    while (question := conversation.next_question()) is not None:
        conversation.answer(typed["python_module"] if question == TEXTS["en"]["python_module"] else "")
    assert conversation.terminal.exitstatus == 0, conversation.seen
    made = yaml.safe_load((tmp_path / "p/settings.yml").read_text())
    assert {name: made[name] for name in ["project_name", "gpus", "gpu_model", "cores", "python_module"]} == {
        **{"project_name": "ours", "gpus": 2, "gpu_model": "a100", "cores": 24},
        "python_module": "python/3.11",
    }
    assert made["memory_per_core_mb"] == 4000


def test_every_field_begins_empty_and_its_answer_is_kept_by_another():
    for name, question in QUESTIONS.items():
        field = QUESTIONS.get(f"{name}_typed")
        if field:
            assert (field["type"], "default" in field, question["ask"]) == ("str", False, False), name
            assert {"placeholder", "validator"} <= set(field), name
        elif not name.endswith("_typed"):
            assert question.get("when") is False or question.get("ask") is False or "choices" in question, name


def test_whoever_tries_it_on_this_computer_is_asked_nothing_of_slurm(pristine_template, tmp_path):
    conversation = Conversation(pristine_template, tmp_path / "p")
    conversation.to("cluster")
    conversation.answer(to_choice("cluster", "local"))
    assert conversation.finish("") == 0, conversation.seen
    assert [question for question in conversation.asked[3:]] == [TEXTS["en"]["kernels"], TEXTS["en"]["extensions"]]


# --- the questions' own order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["kernels", "extensions"])
def test_there_is_a_choice_for_every_plugin_and_a_plugin_for_every_choice(kind):
    files = {path.stem for path in (TEMPLATE / "plugins" / kind).iterdir()}
    assert set(QUESTIONS[kind]["choices"].values()) == files


def test_there_is_a_choice_for_every_cluster_and_a_reason_against_every_retired_one():
    choices = QUESTIONS["cluster"]["choices"].values()
    assert {choice for choice in choices if isinstance(choice, str)} == set(IN_SERVICE)
    retired = {choice["value"]: choice["validator"] for choice in choices if not isinstance(choice, str)}
    reason = "{%% from 'questions/checks.jinja' import retired %%}{{ retired('%s', texts) }}"
    assert retired == {name: reason % name for name in RETIRED}


def test_there_is_a_choice_for_every_language_that_has_texts_and_questions():
    assert set(QUESTIONS["language"]["choices"].values()) == set(LANGUAGES)
    assert {path.stem for path in REPOSITORY.glob("questions/*.yml")} == set(LANGUAGES)


def placeholders(text):
    """Return the {names} in a text."""
    return set(re.findall(r"\{[a-z_]+\}", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_languages_say_the_same_things(language):
    assert list(TEXTS[language]) == list(TEXTS["en"])
    for key, text in TEXTS["en"].items():
        assert placeholders(TEXTS[language][key]) == placeholders(text), key


def test_every_text_of_the_questions_is_used_and_none_is_missing():
    sources = [REPOSITORY / "copier.yml", *REPOSITORY.glob("questions/*.jinja"), TEMPLATE / "settings.yml.jinja"]
    used = set(re.findall(r"texts\.([a-z_]+)", "".join(path.read_text(encoding="utf-8") for path in sources)))
    assert used == set(TEXTS["en"])


def test_every_question_ends_in_a_question_mark():
    for name in SETTINGS_ASKED:
        question = QUESTIONS.get(f"{name}_typed", QUESTIONS[name])
        if question.get("when") is not False and name != "language":
            assert re.sub(r"{%.*?%}\s*", "", question["help"]).startswith("{{ texts." + name), name
            assert all(texts[name].endswith("?") for texts in TEXTS.values()), name
            assert TEXTS["fr"][name].endswith("\u00a0?"), name


def test_copier_knows_every_key_of_every_question():
    known = {"type", "help", "choices", "multiselect", "default", "placeholder", "multiline", "qmark", "secret"}
    known |= {"validator", "when", "ask"}
    for name, question in QUESTIONS.items():
        assert set(question) <= known, name
    assert {name for name in COPIER_YML if name.startswith("_")} <= {
        "_min_copier_version",
        "_subdirectory",
        "_answers_file",
        "_preserve_symlinks",
        "_exclude",
        "_envops",
        "_message_after_copy",
        "_message_after_update",
    }


def test_the_answer_files_name_only_questions():
    for path in ANSWERS.glob("*.yml"):
        assert set(read_answers(path.stem)) <= set(QUESTIONS), path.name
        assert Path(path).read_text(encoding="utf-8").startswith("# "), path.name


@pytest.mark.parametrize(
    ("answers", "missing", "example"),
    [({}, "cluster", "narval"), ({"cluster": "narval"}, "account", "def-yourpi")],
)
def test_what_has_no_default_is_asked_for_in_one_line(
    copier_command, pristine_template, tmp_path, answers, missing, example
):
    done = copier_command("copy", "--quiet", "--defaults", *given(answers), pristine_template, tmp_path / "p")
    assert done.returncode == 1
    assert done.stderr == f"'None' has no attribute '{missing}: must be given, for example: -d {missing}={example}'\n"
    assert not (tmp_path / "p").exists()
