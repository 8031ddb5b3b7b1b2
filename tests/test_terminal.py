"""What people see at a terminal of 80 columns, and what they type who follow a message's advice."""

import importlib
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pexpect
import pytest
import yaml
from conftest import LANGUAGES, PYTHON, REPOSITORY, TEMPLATE, set_answer

sys.path[:0] = [str(TEMPLATE / "lib/laptop"), str(TEMPLATE / "lib")]
messages = importlib.import_module("both.messages")
waiting = importlib.import_module("lab.waiting")
RULES = importlib.import_module("lab.settings").read_rules()

COPIER = (REPOSITORY / "copier.yml").read_text(encoding="utf-8")
CATALOGUES = {
    language: yaml.safe_load((TEMPLATE / f"lib/texts/{language}/messages.yml").read_text(encoding="utf-8"))
    for language in LANGUAGES
}
# as long as such words usually are
LONG = {
    "login": "alice@trillium-gpu.alliancecan.ca", "url": "http://node1.int.example:8888/lab?token=" + 48 * "f",
    "reason": "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
}  # fmt: skip


def filled(text):
    """Return a message with something for each of its {names}."""
    return re.sub(r"\{(\w+)\}", lambda name: LONG.get(name[1], f"{name[1]}-1"), text)


# --- how wide ---------------------------------------------------------------------------------------------------------

FOLD = """
    FOLDER=$1; source "$FOLDER/lib/both/messages.sh"
    while IFS= read -r line; do fold_line 80 "$line"; echo; done
"""


@pytest.mark.parametrize("language", LANGUAGES)
def test_bash_and_python_break_a_message_between_the_same_words(pristine_folder, environment, language):
    """And nowhere within one; a command that is to be copied stays whole, if a row can hold it."""
    folder = pristine_folder("least", language=language)
    lines = [
        f"lab{CATALOGUES[language]['colon']}{line}"
        for text in CATALOGUES[language].values()
        for line in filled(text).split("\n")
    ]
    lines = [line for line in lines if len(line) > 80 and "  " not in line]
    assert len(lines) > 100
    fold = ["bash", "-c", FOLD, "bash", str(folder)]
    done = subprocess.run(
        fold, input="\n".join(lines) + "\n", env=environment, capture_output=True, encoding="utf-8", check=True
    )
    for line, text in zip(lines, done.stdout.split("\n\n")[:-1], strict=True):
        rows = text.split("\n")
        assert rows == messages._rows(line, 80)
        assert " ".join(rows) == line
        assert [row for row in rows if len(row) > 80 and " " in row] == []
        for command in re.findall(r"(?<=[a-z\u00a0]: )(?:\./|ssh |git |python3 |copier |squeue )[^.;,()]*", line):
            assert len(command) > 80 or any(command.strip() in row for row in rows), command


@pytest.mark.parametrize("language", LANGUAGES)
def test_at_a_terminal_no_word_is_broken(make_folder, environment, language):
    folder = make_folder("least", language=language)
    set_answer(folder, account="alice", gpus="as many as there are free just now")
    for command in [[str(folder / "start_salloc.sh")], [PYTHON, str(folder / "lab"), "open"]]:
        seen = {}
        for width in (80, 1000):
            shown, status = run_at_terminal(command, environment, width)
            assert status == 64
            seen[width] = shown.splitlines()
        (whole,) = seen[1000]
        assert len(whole) > 80 >= max(map(len, seen[80]))
        assert " ".join(seen[80]) == whole


def run_at_terminal(command, environment, width):
    """Run a command at a terminal so wide; return what it shows, and its status."""
    child = pexpect.spawn(
        command[0], command[1:], env={**environment, "TERM": "xterm", "PATH": "/usr/bin:/bin"}, encoding="utf-8",
        dimensions=(24, width),
    )  # fmt: skip
    shown = child.read()
    child.close()
    return shown, child.exitstatus


WAITING = [key for key, text in CATALOGUES["en"].items() if text.startswith("{time} ")]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", WAITING)
def test_what_is_awaited_is_said_to_its_end_in_one_row(monkeypatch, key, language):
    catalogue = CATALOGUES[language]
    monkeypatch.setattr(messages, "_catalogue", catalogue)
    values = {name: LONG.get(name, "12345678") for name in re.findall(r"\{(\w+)\}", catalogue[key])}
    values |= {"time": "1:02:03"}
    if "start" in values:
        values["start"] = waiting.clock_time(str(int(datetime(2031, 11, 27, 23, 13).timestamp())))
        assert values["start"] == {"en": "2031-11-27 23:13", "fr": "le 27 nov. 2031 à 23\u00a0h\u00a013"}[language]
    row = waiting.in_one_row(key, 79, **values)
    assert len(row) <= 79
    assert row.startswith("1:02:03 ") and values.get("start", "") in row
    # all of our own words are there
    for part in re.split(r"\{\w+\}", catalogue[key]):
        assert part in row
    # and all of theirs, where there is room
    assert waiting.in_one_row(key, 1000, **values) == re.sub(r"\{(\w+)\}", lambda name: values[name[1]], catalogue[key])


QUESTIONS = {
    language: yaml.safe_load((REPOSITORY / f"questions/{language}.yml").read_text(encoding="utf-8"))
    for language in LANGUAGES
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_question_fits_a_row_and_a_refusal_begins_with_a_right_answer(language):
    """Copier cuts both at the terminal's width, and puts up to four columns in front of them."""
    asked = re.findall(r"texts\.(\w+)", "".join(re.findall("(?m)help: .*$", COPIER)))
    assert len(asked) > 10
    assert [QUESTIONS[language][key] for key in asked if len(QUESTIONS[language][key]) > 76] == []
    for key, text in QUESTIONS[language].items():
        if "{example}" in text and not key.startswith("needed"):
            row = (
                text.replace("{example}", "login.example.org")
                .replace("{value}", 80 * "x")
                .replace("{prefixes}", 80 * "y")
            )
            assert "login.example.org" in row[:76], key


# --- what follows the advice ------------------------------------------------------------------------------------------

# a file, what is wrong in it: a line, or an answer
WRONG = [
    ("settings.yml", {"hours": "1:00:00"}), ("settings.yml", {"hours": "0"}), ("settings.yml", {"cores": "two"}),
    ("settings.yml", {"account": "alice"}), ("settings.yml", {"account": "yes"}), ("settings.yml", {"account": "none"}),
    ("settings.yml", {"gpu_model": "a100", "gpus": "9"}), ("settings.yml", {"gpu_model": "a100_1g.5gb", "gpus": "2"}),
    ("settings.yml", {"gpus": "1"}), ("settings.yml", {"gpu_model": "h100", "gpus": "1"}),
    ("settings.yml", {"cluster": "killarney", "account": "aip-yourpi"}), ("settings.yml", {"cluster": "cedar"}),
    ("settings.yml", {"kernels": "python"}), ("settings.yml", {"packages": "[nump*y]"}),
    ("settings.yml", {"python_module": "[python]"}), ("settings.yml", {"environment_path": "here/it/is"}),
    ("settings.yml", {"project_name": "my project"}), ("settings.yml", {"project_name": "2nd"}),
    ("settings.yml", {"hours": None}), ("settings.yml", {"kernels": None}), ("settings.yml", {"cores": None}),
    ("settings.yml", "hours : 2"), ("settings.yml", " Cores: 2"), ("settings.yml", "- packages: x"),
    ("settings.yml", "memory-per-core-mb: 2048"), ("settings.yml", "cores=4"), ("settings.yml", 'kernels: ["python"]'), ("settings.yml", "extensions:"),
    ("personal.yml", "user: alice@narval"), ("personal.yml", "user = alice"), ("personal.yml", "port: 80"),
    ("personal.yml", "SSH_HOST: narval"), ("personal.yml", "connection: no"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "wrong", "language"),
    [(*case, LANGUAGES[number % len(LANGUAGES)]) for number, case in enumerate(WRONG)],
    ids=[str(wrong) for _, wrong in WRONG],
)
def test_the_lines_that_a_refusal_shows_are_taken_as_they_stand(make_folder, script, file, wrong, language):
    folder = make_folder("least", language=language)
    path = folder / file
    if isinstance(wrong, dict):
        set_answer(folder, **wrong)
        names = list(wrong)
    else:
        names = [re.search("[a-z_]+", wrong.lower().lstrip("- ").replace("-", "_"))[0]]
        rows = path.read_text().splitlines() if path.exists() else []
        path.write_text("\n".join([row for row in rows if not row.startswith(f"{names[0]}:")] + [wrong]) + "\n")
    refused = script(folder / "start_salloc.sh", "--print")
    assert (refused.returncode, refused.stdout) == (64, "")
    # what is said is about what is wrong, and in its line alone
    advice = dict(re.findall(r"(?<![\w.])([a-z_]+): (\[[^]]*\]|[^\s,;]*[^\s,;.])", refused.stderr.split(":", 2)[2]))
    advice = {name: value for name, value in advice.items() if name in RULES}
    assert advice.keys() & {*names, "gpus"}, refused.stderr
    if isinstance(wrong, dict) and wrong.get("gpu_model", "").startswith("a100"):
        # a model that there is stays
        assert advice["gpu_model"] == wrong["gpu_model"]
    rows = [row for row in path.read_text().splitlines() if row != wrong and row.split(":")[0] not in advice]
    path.write_text("\n".join(rows + [f"{name}: {value}" for name, value in advice.items()]) + "\n")
    done = script(folder / "start_salloc.sh", "--print")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith("salloc --time=")


# what is typed, and the words of it in whose place the advice comes
TYPED = [
    (["start_salloc.sh", "--time", "3:00:00"], 2), (["start_salloc.sh", "-c", "4"], 2),
    (["start_salloc.sh", "--exclusive", "--mem-per-cpu", "4096M"], 2),
    (["submit_session.sh", "--time", "3:00:00"], 2), (["submit_session.sh", "--name=a", "-t", "3:00:00"], 2),
    (["submit_session.sh", "essay"], 1),
    (["lab", "open", "--time", "3:00:00"], 2), (["lab", "open", "-t", "90"], 2), (["lab", "open", "essay"], 1),
    (["lab", "submit", "analysis.ipynb", "--gpus-per-node", "h100:1"], 2),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "wrong", "language"),
    [(*case, LANGUAGES[number % len(LANGUAGES)]) for number, case in enumerate(TYPED)],
    ids=[" ".join(words) for words, _ in TYPED],
)
def test_the_option_that_a_refusal_shows_is_taken_as_it_stands(make_folder, script, words, wrong, language):
    folder = make_folder("least", language=language)
    command = [Path(PYTHON), folder / "lab"] if words[0] == "lab" else [folder / words[0], "--print"]
    refused = script(*command, *words[1:])
    assert (refused.returncode, refused.stdout) == (64, "")
    advice = refused.stderr.split()[-1]
    joined = words[-2] + "=" * words[-2].startswith("--") + words[-1]
    assert advice == (joined if wrong == 2 else f"--name={words[-1]}")
    done = script(*command, *words[1:-wrong], advice)
    if words[0] == "lab":
        no_user = CATALOGUES[language]["no_user"].replace("{cluster}", "narval")
        assert (done.returncode, done.stderr) == (64, f"lab{CATALOGUES[language]['colon']}{no_user}\n")
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert advice in done.stdout or advice == "--name=essay" and "passerelle-essay" in done.stdout


def test_a_value_in_front_of_the_notebook_is_shown_with_its_option(make_folder, script):
    folder = make_folder("least")
    done = script(Path(PYTHON), folder / "lab", "submit", "--time", "9:00:00", "a.ipynb")
    assert (done.returncode, done.stderr) == (64, "lab: “9:00:00” is separated from its option; write --time=9:00:00\n")
