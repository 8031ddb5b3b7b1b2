"""`passerelle handout`: one page for the students of a course."""

import getpass
import re
import socket
import subprocess

import pytest
from conftest import REPOSITORY, french, git, set_answer
from passerelle import cli, texts


@pytest.fixture
def handout(capsys):
    """Run `passerelle handout`; return its status, what it prints, and what it complains of."""

    def run(*words):
        texts.speak("en")
        status = cli.run(["passerelle", "handout", *map(str, words)])
        return status, *capsys.readouterr()

    return run


ON_RORQUAL = french(
    "- Il attend un nœud : 1 cœurs pour 3 h, sur le compte def-prof. La ligne du bas dit ce qu'il attend."
)
IN_THE_CLOUD = "Then it waits for a node: 2 cores for 1 h, on the account def-sponsor00 and the reservation school-wr_cpu. The line"
WITH_A_GPU = "Then it waits for a node: "


@pytest.mark.parametrize(
    ("answers", "title", "wanted", "register"),
    [
        ("class", french("# cours-bio : JupyterLab sur Rorqual"), ON_RORQUAL, True),
        ("magic-castle", "# summer-school: JupyterLab on school.example.org", IN_THE_CLOUD, False),
        ("gpu", "# my-project: JupyterLab on ", WITH_A_GPU, True),
    ],
)
def test_the_page_says_what_this_course_needs_and_nothing_of_whose_computer_it_was_made_on(
    make_folder, handout, answers, title, wanted, register
):
    folder = make_folder(answers)
    (folder / "personal.yml").write_text("user: prof-alice\n")
    status, said, complaints = handout(folder)
    assert (status, complaints) == (0, "")
    assert said.replace("\u00a0", " ").count("handout") == 2
    text, page = ((folder / f"handout.{suffix}").read_text(encoding="utf-8") for suffix in ("md", "html"))
    assert text.startswith(title) and wanted in text
    assert ("ccdb.alliancecan.ca" in text) == register
    for command in ("./lab open", "./lab stop", "./lab sync", "./lab check"):
        assert command in text and command in page
    assert page.count("<tr>") == 4 and page.count("<h2>") == 4 and "{" not in re.sub(r"(?s)<style>.*</style>", "", page)
    for own in ("prof-alice", str(folder.parent), socket.gethostname(), f"/{getpass.getuser()}/"):
        assert own not in text + page


def test_sponsor_and_help_are_named_where_the_teacher_names_them(make_folder, handout):
    folder = make_folder("class")
    assert handout("--sponsor=Prof. X", "--ccri=abc-123-01", "--help-at", "mardi 10 h, local 12", folder)[0] == 0
    text = (folder / "handout.md").read_text(encoding="utf-8")
    assert french("indiquez Prof. X (abc-123-01)") in text and text.endswith("mardi 10 h, local 12.\n")


def test_a_sponsor_of_whom_the_page_says_nothing_is_said(make_folder, handout):
    status, _, complaints = handout("--sponsor=Prof. X", make_folder("magic-castle"))
    assert (status, complaints) == (
        0,
        "passerelle: The page says nothing of a sponsor: whoever works on this cluster need not register with the Alliance.\n",
    )


def test_what_is_no_folder_for_a_course_is_one_line(make_folder, handout, tmp_path):
    (tmp_path / "empty").mkdir()
    said = f"passerelle: {tmp_path}/empty is not a Passerelle folder, or its settings.yml cannot be read.\n"
    assert handout(tmp_path / "empty") == (64, "", said)
    folder = make_folder("local")
    said = "passerelle: This folder is for this computer alone (cluster: local); a course needs a cluster in settings.yml.\n"
    assert handout(folder) == (64, "", said)
    # one that is retired is none for a course
    set_answer(folder, cluster="cedar")
    status, _, said = handout(folder)
    assert status == 64 and said.startswith("passerelle: The catalogue has no cluster “cedar”; there are: ")
    for before, after, example in [
        ("language: en", "", "language: en"),
        ("hours: 1", "hours: [1]", "hours: 1"),
        ("environment_path: ", "# ", "environment_path: $HOME/jupyter_py3"),
        ("cores: ", "cores: many # ", "cores: 2"),
    ]:
        settings = folder / "settings.yml"
        text = settings.read_text(encoding="utf-8")
        assert before in text
        settings.write_text(text.replace(before, after), encoding="utf-8")
        said = f"passerelle: {settings} needs a line such as {example}; the page is made from it.\n"
        assert handout(folder) == (64, "", said)
        settings.write_text(text, encoding="utf-8")
    settings.write_bytes("# été\n".encode("latin-1") + settings.read_bytes())
    said = f"passerelle: {folder} is not a Passerelle folder, or its settings.yml cannot be read.\n"
    assert handout(folder) == (64, "", said)
    assert not (folder / "handout.md").exists()


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_notebook_that_teacher_and_student_have_changed_is_kept_twice_as_the_page_says(
    make_folder, tmp_path, language
):
    teacher, student = make_folder("class"), tmp_path / "student"
    page = (REPOSITORY / f"docs/how-to/class.{language}.md").read_text(encoding="utf-8")
    commands = re.search(r"#new-versions \}.+?\n((?:    (?:mv|git) [^\n]+\n){3})", page, re.DOTALL)[1]
    name, own = re.search(r"mv (\S+) (\S+)", commands).groups()
    git(teacher, "init", "--quiet")
    for text in ("first", "second"):
        (teacher / name).write_text(text)
        git(teacher, "add", "--all")
        git(teacher, "commit", "--quiet", "--message", text)
        if text == "first":
            git(tmp_path, "clone", "--quiet", str(teacher), str(student))
    (student / name).write_text("mine")
    with pytest.raises(RuntimeError, match=r"Your local changes [^.]* would be overwritten"):
        git(student, "pull")
    assert (student / name).read_text() == "mine"
    subprocess.run(["bash", "-ec", commands], cwd=student, check=True, capture_output=True)
    assert ((student / name).read_text(), (student / own).read_text()) == ("second", "mine")
