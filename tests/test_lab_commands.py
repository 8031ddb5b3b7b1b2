"""What `lab` says before it connects to anything: no cluster is needed for these."""

import json
import subprocess

import pytest
from conftest import PYTHON, french, set_answer

COMMANDS = ["open", "status", "attach", "stop", "logs", "url", "submit", "sync", "check", "update", "shell"]


@pytest.fixture
def lab(environment):
    """Run ./lab of a folder with PYTHON: lab(folder, "open", "--help"); return status, output and errors."""

    def run(folder, *words, stdin="", **variables):
        done = subprocess.run(
            [PYTHON, str(folder / "lab"), *words],
            env={**environment, **variables},
            input=stdin,
            capture_output=True,
            encoding="utf-8",
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_12_help_is_shown_before_anything_is_imported_that_it_does_not_need(make_folder, environment):
    folder = make_folder("least")
    # the stand-in for plumbum would end it
    broken = folder / "broken/plumbum.py"
    broken.parent.mkdir()
    broken.write_text("raise SystemExit('plumbum was imported')\n")
    for words in (["--help"], ["open", "--help"]):
        command = [PYTHON, "-X", "importtime", str(folder / "lab"), *words]
        done = subprocess.run(
            command, env={**environment, "PYTHONPATH": str(broken.parent)}, capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("lab")
        imported = {line.split("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
        ours = {name for name in imported if name.startswith(("lab.", "both."))}
        assert ours == {"lab.cli", "both.messages"}
        assert not imported & {"subprocess", "http.client", "argparse", "webbrowser", "tarfile", "socket"}


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_in_the_users_language(make_folder, lab, language, command):
    folder = make_folder("least", language=language)
    status, shown, errors = lab(folder, command, "--help")
    assert (status, errors) == (0, "")
    assert shown == (folder / f"lib/texts/{language}/help/lab-{command}.txt").read_text(encoding="utf-8")
    assert command in lab(folder, "--help")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["start"], "“start” is not a command of lab; available: " + " ".join(COMMANDS)),
        (["open", "--name"], "--name needs a value, for example --name=my-project"),
        (["open", "essay"], "“essay” is not understood; for a session of that name: ./lab open --name=essay"),
        (
            ["open", "--name=" + "a" * 201],
            f"“{'a' * 201}” cannot be the name of a session: letters and digits, at most 200 in all, with single . _ - between "
            "them; for example: my-project",
        ),
        (["open", "my session"], "“my session” is not understood; see --help"),
        (["open", "--time", "3:00:00"], "“3:00:00” is separated from its option; write --time=3:00:00"),
        (["open", "--exclusive", "-t", "90"], "“90” is separated from its option; write -t90"),
        (["submit", "--time", "9:00:00", "a.ipynb"], "“9:00:00” is separated from its option; write --time=9:00:00"),
        (["status", "all"], "“all” is not understood; see --help"),
        (["attach", "one", "two"], "“two” is not understood; see --help"),
        (["submit"], "NOTEBOOK is missing: ./lab submit NOTEBOOK"),
        (["stop", "--all"], "“--all” is not understood; see --help"),
        (["status"], "Your user name on narval is not known; write it into personal.yml, for example: user: alice"),
    ],
)
def test_what_is_typed_wrongly_is_one_line_and_status_64(make_folder, lab, words, said):
    assert lab(make_folder("least"), *words) == (64, "", f"lab: {said}\n")


def test_without_a_command_there_is_help_and_status_64(make_folder, lab):
    folder = make_folder("least")
    assert lab(folder) == (64, (folder / "lib/texts/en/help/lab.txt").read_text(encoding="utf-8"), "")


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            {"account": None, "cluster": "nowhere"},
            "settings.yml:8: there is no “nowhere” in plugins/clusters; available: ",
        ),
        ({"project_name": None}, "settings.yml: project_name is missing; add the line project_name: my-project"),
        ({"gpus": "many"}, "settings.yml:15: gpus cannot be “many”; possible: 0-999. Write for example gpus: 0"),
        ({"cluster": "graham"}, "settings.yml:8: graham is retired; its successor is nibi. Write cluster: nibi"),
    ],
)
def test_what_is_set_wrongly_is_one_line_with_its_place(make_folder, lab, answers, said):
    folder = make_folder("least")
    set_answer(folder, **answers)
    status, shown, errors = lab(folder, "open")
    assert (status, shown) == (64, "")
    assert errors.startswith(f"lab: {said}") and errors.count("\n") == 1


def test_it_is_said_in_french_too(make_folder, lab):
    folder = make_folder("least", language="fr")
    said = french(
        "lab : Votre nom d'utilisateur sur narval n'est pas connu ; écrivez-le dans personal.yml, par exemple : user: alice\n"
    )
    assert lab(folder, "open") == (64, "", said)


def test_without_settings_there_is_no_traceback(make_folder, lab):
    folder = make_folder("least")
    (folder / "settings.yml").unlink()
    status, shown, errors = lab(folder, "status")
    assert (status, shown) == (64, "")
    assert errors == f"lab: There is no settings.yml in {folder}; such a folder is made with: copier copy\n"


def test_personal_yml_is_read_as_the_scripts_read_it(make_folder, lab):
    folder = make_folder("least")
    (folder / "personal.yml").write_text("user: alice\naccount: def-x\n")
    said = "lab: personal.yml:2: account belongs in settings.yml.\n"
    assert lab(folder, "status") == (64, "", said)


def test_on_this_computer_itself_open_is_the_script_and_nothing_else_has_to_be_done(make_folder, lab, tmp_path):
    folder = make_folder("local", environment_path=str(tmp_path / "nothing"))
    status, shown, errors = lab(folder, "open")
    assert (status, shown) == (1, "")
    assert errors == (
        f"jupyterlab.sh: There is no environment at {tmp_path}/nothing yet. To build it: ./setup_env.sh\n"
    )
    assert lab(folder, "status") == (
        64,
        "",
        "lab: With cluster: local there is no Slurm, so lab status has nothing to do; start JupyterLab with: ./lab open\n",
    )


def test_a_python_without_plumbum_is_told_what_to_do_and_another_one_is_found(make_folder, lab, environment, tmp_path):
    folder = make_folder("least")
    (folder / "personal.yml").write_text("user: alice\n")
    bare = tmp_path / "bare"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", bare], check=True)
    command = [str(bare / "bin/python"), str(folder / "lab"), "status"]
    empty = {**environment, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=empty, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "lab: lab needs the Python package plumbum; install it once, in this folder: python3 -m venv .lab/"
    )
    # the one that is made as the message says
    python = folder / ".lab/python/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "found: $*"\n')
    python.chmod(0o755)
    done = subprocess.run(command, env=empty, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (0, f"found: {folder}/lab status\n")


NAMES = {
    "résultats/été.csv": "résultats/été.csv",
    # as macOS has it
    "e\u0301te\u0301.csv": "e\u0301te\u0301.csv",
    "分析.ipynb": "分析.ipynb",
    "l'été": "'l'\"'\"'été'",
    "mon été": "'mon été'",
    "été\x1b[2J": r"$'été\x1b[2J'",
    "a\u00a0b\u202ec": r"$'a\xc2\xa0b\xe2\x80\xaec'",
    "$HOME": "'$HOME'",
}


def test_a_name_is_shown_as_it_can_be_typed_with_the_letters_that_it_has(make_folder, environment):
    show = "import json, sys; sys.path.append('..'); from lab.paths import shown; print(json.dumps([*map(shown, json.load(sys.stdin))]))"
    done = subprocess.run(
        [PYTHON, "-c", show], cwd=make_folder("least") / "lib/laptop", env=environment, input=json.dumps([*NAMES]),
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert json.loads(done.stdout) == [*NAMES.values()], done.stderr
    for name, word in NAMES.items():
        echo = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, encoding="utf-8", check=True)
        assert echo.stdout == name
