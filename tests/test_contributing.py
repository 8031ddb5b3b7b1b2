"""CONTRIBUTING.md keeps its promises: what it says how to add is added in a copy of the repository, and works there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import LANGUAGES, REPOSITORY, copied_from, edit, git

# the language that is added: English with a mark before each text
NEW, MARK = "de", "(de)"


def insert(path, before, text):
    """Insert a text before another one, which stands once in a file."""
    edit(path, before, text + before)


def cluster_like(repository, model, name, **facts):
    """Add a cluster: another one's file with some facts changed."""
    text = (repository / f"template/plugins/clusters/{model}.yml").read_text(encoding="utf-8")
    for fact, value in facts.items():
        text, count = re.subn(rf"(?m)^{fact}: .*$", f"{fact}: {value}", text)
        assert count == 1, fact
    (repository / f"template/plugins/clusters/{name}.yml").write_text(text, encoding="utf-8")


def add_a_ninth_cluster(repository):
    """One more of the Alliance's, last in the list."""
    cluster_like(repository, "rorqual", "boreal", login_host="boreal.alliancecan.ca", web="none")
    last = "{{ retired('mist', texts) }}\"\n"
    edit(repository / "copier.yml", last, last + "    Boréal: boreal\n")


def add_a_cluster_elsewhere(repository):
    """One of another domain, where accounts, modules and packages are other ones; first in the list."""
    cluster_like(
        repository,
        "narval",
        "lumen",
        login_host="login1.lumen.example.edu",
        account_prefixes="[]",
        interactive_hours_max="unknown",
        hours_max="unknown",
        gpu_requests="[v100:1-16]",
        gpu_node_cores="[]",
        gpu_node_memory_mb="[]",
        gpu_cores="[]",
        gpu_memory_gb="[]",
        modules_first="[gcc/12.3]",
        pip_source="pypi",
        kernel_modules="[]",
        web="https://ood-2.lumen.example.edu/pun",
    )
    insert(repository / "copier.yml", "    Narval: narval\n", "    Lumen: lumen\n")


def add_a_kernel(repository):
    """Octave; what it says of packages is the message that is added, too."""
    (repository / "template/plugins/kernels/octave.sh").write_text(
        """\
# shellcheck shell=bash
# GNU Octave, the cluster's module, with a kernel from PyPI.

plugin_modules() {
  echo octave
}

plugin_packages() {
  echo octave-kernel
}

plugin_add() {
  misuse octave_packages packages="$*"
}
"""
    )
    insert(
        repository / "copier.yml",
        "    \"{{ texts.kernel_module | replace('{module}', 'ipython",
        '    "Octave": octave\n',
    )


def add_an_extension(repository):
    """Quarto, which has a module of its own."""
    (repository / "template/plugins/extensions/quarto.sh").write_text(
        """\
# shellcheck shell=bash
# Quarto in JupyterLab.

plugin_modules_before_python() {
  echo quarto
}

plugin_packages() {
  echo jupyterlab-quarto
}

plugin_setup() {
  run quarto check
}
"""
    )
    insert(repository / "copier.yml", '    "RStudio": rstudio\n', '    "Quarto": quarto\n')


def add_a_setting(repository):
    """Slurm's partition."""
    insert(
        repository / "copier.yml",
        "python_module_typed:\n",
        """\
partition_typed:
  type: str
  help: "{{ texts.partition }}"
  placeholder: "{{ partition | default('none') }}"
  validator: "{% from 'questions/checks.jinja' import fits %}{{ fits('partition', partition_typed or partition | default('none'), rules, texts) }}"
  when: "{% from 'questions/checks.jinja' import typing %}{{ typing('partition', partition, _copier_conf) == 'yes' and facts.scheduler == 'slurm' }}"
partition:
  type: str
  default: "{{ partition_typed | default('') or 'none' }}"
  validator: "{% from 'questions/checks.jinja' import typed_over, fits %}{{ typed_over(partition, partition_typed | default('')) or fits('partition', partition, rules, texts) }}"
  when: "{{ facts.scheduler == 'slurm' }}"
  ask: false

""",
    )
    for language, words in {
        "en": "Which partition do you want, such as gpu (none: Slurm's choice)?",
        "fr": "Quelle partition voulez-vous, par exemple gpu (none\u00a0: au choix de Slurm)\u00a0?",
    }.items():
        insert(repository / f"questions/{language}.yml", "\npython_module:", f'\npartition: "{words}"')
    insert(
        repository / "template/settings.yml.jinja", "\n\n# {{ texts.settings_software", "\npartition: {{ partition }}"
    )
    insert(
        repository / "template/lib/both/rules.yml",
        "python_module: ",
        "partition: ([a-z][a-z0-9_-]*)\npartition_example: gpu\n",
    )
    insert(
        repository / "template/lib/cluster/slurm.sh",
        "  ((SETTING_gpus == 0)) || SLURM_OPTIONS+=(",
        '  [[ $SETTING_partition == none ]] || SLURM_OPTIONS+=(--partition="$SETTING_partition")\n',
    )


def add_a_message(repository):
    """What the kernel that is added says."""
    for language, words in {
        "en": "{packages}: Octave has the packages of its module, and no others.",
        "fr": "{packages}\u00a0: Octave a les paquets de son module, et aucun autre.",
    }.items():
        path = repository / f"template/lib/texts/{language}/messages.yml"
        rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        after = [number for number, row in enumerate(rows) if row[0] != "#" and row > "octave_packages:"]
        rows.insert(after[0], f'octave_packages: "{words}"\n')
        path.write_text("".join(rows), encoding="utf-8")
        with (repository / f"docs/how-to/when-it-fails.{language}.md").open("a", encoding="utf-8") as page:
            page.write("\n{{ message octave_packages packages=struct }}\n:   `module spider octave`\n")


def add_a_language(repository):
    """Every text of English, marked."""
    texts = repository / "template/lib/texts"
    for source, target in [
        (repository / "questions/en.yml", repository / f"questions/{NEW}.yml"),
        (repository / "hooks/passerelle/texts/en.yml", repository / f"hooks/passerelle/texts/{NEW}.yml"),
        (texts / "en/messages.yml", texts / f"{NEW}/messages.yml"),
    ]:
        target.parent.mkdir(exist_ok=True)
        marked = re.sub(r'(?m)^([a-z_]+: ")', rf"\1{MARK} ", source.read_text(encoding="utf-8"))
        target.write_text(marked, encoding="utf-8")
    (texts / NEW / "help").mkdir()
    for french in (texts / "fr/help").iterdir():
        name = french.name.removesuffix(".txt")
        english = texts / "en/help" / french.name
        words = (
            english.read_text(encoding="utf-8") if english.exists() else english_help(repository / "template" / name)
        )
        # its first word and a colon come first in every help
        (texts / NEW / "help" / french.name).write_text(
            re.sub(r": .*", f": {MARK} kurz", words, count=1), encoding="utf-8"
        )
    insert(repository / "copier.yml", "    français: fr\n", f"    Deutsch: {NEW}\n")


def english_help(script):
    """Return a script's header without the signs of a comment."""
    text = script.read_text(encoding="utf-8")
    if script.suffix == ".ps1":
        return re.sub(r"(?m)^\.[A-Z]+\n", "", re.search(r"<#\n(.*?)#>", text, re.S)[1])
    return re.sub(r"(?m)^# ?", "", re.match(r"#!.*\n((#.*\n)+)", text)[1])


# in this order; the name in bold is CONTRIBUTING's
ADDITIONS = {
    "a ninth cluster": ("a cluster", add_a_ninth_cluster),
    "a cluster elsewhere": ("a cluster", add_a_cluster_elsewhere),
    "a kernel": ("a kernel", add_a_kernel),
    "an extension": ("an extension", add_an_extension),
    "a setting": ("a setting", add_a_setting),
    "a message": ("a message", add_a_message),
    "a language": ("a language", add_a_language),
}


def promised(what):
    """Return the files that CONTRIBUTING names for an addition, as regular expressions."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    words = re.search(rf"(?ms)^- \*\*{what}\*\*: (.*?)(?=^- \*\*|^## )", text)[1]
    paths = re.findall(r"`((?:[\w.-]+/)*[\w.-]+\.(?:yml|sh|md|txt|py|jinja))`", words)
    paths = [
        path.replace("LANGUAGE", language)
        for path in paths
        for language in (LANGUAGES if "LANGUAGE" in path and what != "a language" else [NEW])
    ]
    return [re.escape(path).replace("NAME", r"[\w.-]+") for path in paths]


@pytest.fixture(scope="module")
def grown(scrubbed, tmp_path_factory):
    """A copy of the repository with every addition, each a commit of its name."""
    copy = tmp_path_factory.mktemp("grown") / "passerelle"
    for name in git(REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        source = REPOSITORY / name
        if name and (source.is_symlink() or source.is_file()):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy / name, follow_symlinks=False)
    git(copy, "init", "--quiet")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message", "As it is")
    for name, (_, add) in ADDITIONS.items():
        add(copy)
        git(copy, "add", "--all")
        git(copy, "commit", "--quiet", "--message", name)
    git(copy, "tag", "1.0.0")
    return copy


@pytest.fixture(scope="module")
def folder(grown, tmp_path_factory):
    """Make a folder of a language and a cluster from the copy, with the kernel, the extension and the setting in it."""
    made = {}

    def make(language="en", cluster="lumen", account="physics"):
        if (language, cluster) not in made:
            answers = {"language": language, "cluster": cluster, "account": account, "partition": "gpu"}
            answers |= {"kernels": ["python", "octave"], "extensions": ["quarto"]}
            made[language, cluster] = copied_from(grown, tmp_path_factory.mktemp("made") / "my-project", answers)
        return made[language, cluster]

    return make


def ran(script, path, *arguments):
    """Return what a script prints, which ends well and has nothing to say against it."""
    done = script(path, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# --- what CONTRIBUTING says -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("addition", ADDITIONS)
def test_an_addition_takes_the_files_that_contributing_names_and_no_others(grown, addition):
    expected = promised(ADDITIONS[addition][0])
    commit = git(grown, "log", "--format=%H", "--fixed-strings", f"--grep={addition}").strip()
    touched = git(grown, "show", "--format=", "--name-only", commit).split()
    assert [path for path in touched if not any(re.fullmatch(pattern, path) for pattern in expected)] == []
    assert [pattern for pattern in expected if not any(re.fullmatch(pattern, path) for path in touched)] == []


def test_nothing_else_is_said_to_be_added_but_a_command_of_lab():
    """Which needs a function of its own, and is no more than a line of a table and its helps."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index("## To add") : text.index("## Rules")]
    named = re.findall(r"(?m)^- \*\*(.*?)\*\*: ", section)
    assert named == [*dict.fromkeys(what for what, _ in ADDITIONS.values()), "a command of `lab`"]


def test_every_place_that_contributing_names_is_there():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text[text.index("## Where things live") : text.index("## To add")].replace("LANGUAGE", "en")
    named = re.findall(r"`([\w./-]+[./][\w./-]*)`", table)
    assert len(named) > 20
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


# --- what must pass -------------------------------------------------------------------------------------------------

# what knows of clusters, plugins, settings, messages and languages; the rest of the suite cannot tell the difference
CHECKS = {
    "test_rules.py": "",
    "test_settings.py": "not spoilt and not this_file and not right_file",
    "test_questions.py": "choice or language or every_text or every_question or copier_knows or answer_files or default"
    " or every_cluster or every_kind or every_file or are_enough or models_of",
    "test_slurm_arguments.py": "the_door or asked_for",
    "test_scripts.py": "help",
}


@pytest.mark.parametrize("file", CHECKS)
def test_with_every_addition_the_tests_pass(grown, file):
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, f"tests/{file}", "-k", CHECKS[file]], cwd=grown, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_with_every_addition_the_linters_have_nothing_to_say(grown):
    root = git(grown, "rev-list", "--max-parents=0", "HEAD").strip()
    changed = [name for name in git(grown, "diff", "--name-only", root).split() if name.endswith(".sh")]
    assert len(changed) == 3
    for command in [["shellcheck", "-x"], ["shfmt", "-i", "2", "-ci", "-bn", "-d"]]:
        tool = Path(sys.executable).with_name(command[0])
        done = subprocess.run(
            [tool, *command[1:], *changed],
            cwd=grown,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        assert (done.returncode, done.stdout) == (0, "")


# MkDocs, as far as reference.py sees it
BUILD = """
import logging, sys
from pathlib import Path
from types import SimpleNamespace as Object
sys.path.insert(0, "docs")
# a fake of mkdocs, which the tests do without
sys.modules["mkdocs"] = sys.modules["mkdocs.plugins"] = Object(event_priority=lambda _: lambda function: function)
import reference
logging.basicConfig(format="%(message)s", stream=sys.stdout)
for path in sorted(Path("docs").rglob("*.md")):
    language = path.suffixes[0][1:]
    page = Object(file=Object(locale=language, src_uri=str(path)), meta={})
    config = Object(plugins={"i18n": Object(current_language=language)})
    text = reference.on_page_markdown(path.read_text(encoding="utf-8"), page, config)
    if "reference/" in str(path) or "when-it-fails" in str(path):
        print(text, file=sys.stderr)
"""


def test_with_every_addition_the_documentation_is_filled_in(grown):
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=grown, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-2000:]
    for words in [
        "### partition",
        "- Example: `partition: gpu`",
        "### lumen { #lumen }",
        "[boreal](#boreal)",
        "```text\nsetup_env.sh: ",
        "```text\nsetup_env.sh\u00a0: ",
        "`struct: Octave has the packages of its module, and no others.`",
    ]:
        assert words in done.stderr, words


# --- what people get ------------------------------------------------------------------------------------------------


def test_the_cluster_elsewhere_the_kernel_the_extension_and_the_setting_work(folder, script):
    assert ran(script, folder() / "start_salloc.sh", "--print") == (
        "salloc --time=1:00:00 --ntasks=1 --cpus-per-task=2 --mem-per-cpu=1024M --account=physics --partition=gpu "
        f"srun {folder()}/jupyterlab.sh\n"
    )
    shown = ran(script, folder() / "setup_env.sh", "--print").splitlines()
    assert shown[0] == "module load gcc/12.3 quarto python octave"
    assert "pip install jupyterlab nbconvert jupyterlab-quarto ipykernel octave-kernel" in shown
    assert "quarto check" in shown
    assert (
        ran(script, folder() / "tunnel_sshuttle.sh", "--print")
        == "sshuttle --dns -Nr USER@login1.lumen.example.edu -e 'ssh -F lib/laptop/ssh_config'\n"
    )


def test_the_ninth_cluster_works(folder, script):
    made = folder("fr", "boreal", "def-yourpi")
    assert "--account=def-yourpi --partition=gpu srun" in ran(script, made / "start_salloc.sh", "--print")
    assert (
        ran(script, made / "tunnel_sshuttle.sh", "--print")
        == "sshuttle --dns -Nr USER@boreal.alliancecan.ca -e 'ssh -F lib/laptop/ssh_config'\n"
    )


def test_bash_and_python_read_the_same_settings(folder, environment):
    expected = yaml.safe_load((folder() / "settings.yml").read_text(encoding="utf-8"))
    assert (expected["cluster"], expected["partition"], expected["kernels"]) == ("lumen", "gpu", ["python", "octave"])
    bash = 'FOLDER=$1; source "$1/lib/both/settings.sh"; load_settings; echo "$SETTING_partition,$SETTING_kernels"'
    done = subprocess.run(
        ["bash", "-euc", bash, "bash", str(folder())], env=environment, capture_output=True, encoding="utf-8"
    )
    assert (done.stdout, done.stderr) == ("gpu,python octave\n", "")
    python = "import sys; sys.path.append('..'); from lab.settings import load; answers = load().answers; print(answers['partition'], answers['kernels'])"
    done = subprocess.run(
        [sys.executable, "-c", python],
        cwd=folder() / "lib/laptop",
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert (done.stdout, done.stderr) == ("gpu ['python', 'octave']\n", "")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "struct: Octave has the packages of its module, and no others."),
        ("fr", "struct\u00a0: Octave a les paquets de son module, et aucun autre."),
        (NEW, f"{MARK} struct: Octave has the packages of its module, and no others."),
    ],
)
def test_the_message_is_said_in_every_language(folder, script, language, words):
    done = script(folder(language) / "setup_env.sh", "--print", "--add", "octave", "struct")
    colon = {"fr": "\u00a0: ", NEW: f"{MARK} : "}.get(language, ": ")
    assert (done.returncode, done.stderr) == (64, f"setup_env.sh{colon}{words}\n")


def test_the_language_is_spoken_by_questions_scripts_and_lab(folder, script, grown, copier_command, tmp_path):
    made = folder(NEW)
    assert (made / "settings.yml").read_text(encoding="utf-8").startswith(f"# {MARK} ")
    assert script(made / "start_salloc.sh", "--help").stdout.startswith(f"start_salloc.sh: {MARK} ")
    for command in ["lab", "lab-open"]:
        arguments = command.split("-")[1:]
        done = script(Path(sys.executable), made / "lab", *arguments, "--help", cwd=made)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{command.replace('-', ' ')}: {MARK} ")
    (made / "personal.yml").write_text("account: physics\n")
    refused = script(made / "start_salloc.sh", "--print")
    (made / "personal.yml").unlink()
    assert (refused.returncode, refused.stdout) == (64, "")
    assert refused.stderr.startswith(f"start_salloc.sh{MARK} : {MARK} personal.yml:1: account ")
    wrong = copier_command(
        "copy", "--defaults", "-d", f"language={NEW}", "-d", "cluster=lumen", "-d", "account=a b", grown, tmp_path / "p"
    )
    assert wrong.returncode == 1
    assert f"account: {MARK} Write for example def-yourpi; “a b”" in wrong.stderr
