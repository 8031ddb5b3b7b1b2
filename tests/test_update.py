"""A project's life: copied, edited by hand, updated to a newer template, and nobody's work is lost."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import copied_from, edit, french, git, given, read_answers, refused, set_answer
from test_questions import Conversation

# a French class, and no Slurm; tests/test_versions.py has all others
ALL_ANSWERS = ["class", "local"]


def release(template, version):
    """Commit the template as it is and tags it."""
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--message", f"Version {version}")
    git(template, "tag", version)


ENTRY = "Slurm writes to whom you name\n  in `notify`."


def a_newer_version(template):
    """Release 2.0.0: one more question, a script that says more, and a fact that has changed."""
    edit(
        template / "copier.yml",
        "\n# computed\n",
        '\nnotify:\n  type: str\n  help: "Whom shall Slurm write to?"\n  default: nobody\n\n# computed\n',
    )
    edit(template / "template/settings.yml.jinja", "\npackages: ", "\nnotify: {{ notify }}\npackages: ")
    with (template / "template/lib/both/rules.yml").open("a") as rules:
        rules.write("notify: ([a-z]+)\nnotify_example: nobody\n")
    edit(template / "template/start_salloc.sh", "set -euo pipefail\n", "# new in 2.0.0\nset -euo pipefail\n")
    edit(template / "template/plugins/clusters/narval.yml", "node_cores: 64\n", "node_cores: 72\n")
    edit(template / "CHANGELOG.md", "## Unreleased\n\n", f"## Unreleased\n\n- {ENTRY}\n")
    release(template, "2.0.0")


SAID = {
    "en": "Updated. See what changed with: git diff    The next ./lab open sends it to the cluster; by hand: copy it there "
    "and run ./setup_env.sh again.",
    "fr": french(
        "Mise à jour faite. Voyez ce qui a changé avec : git diff    Le prochain ./lab open l'envoie à la grappe ; à la main : "
        "copiez-le là-bas et exécutez de nouveau ./setup_env.sh."
    ),
}
CHANGED = {"settings.yml", "start_salloc.sh", "lib/both/rules.yml", "plugins/clusters/narval.yml"}


@pytest.fixture(scope="session")
def versions(pristine_template, tmp_path_factory):
    """A template of two versions, 1.0.0 and 2.0.0."""
    template = Path(shutil.copytree(pristine_template, tmp_path_factory.mktemp("versions") / "template", symlinks=True))
    a_newer_version(template)
    return template


@pytest.fixture(scope="session")
def pristine_project(versions, tmp_path_factory):
    """Make a project of 1.0.0 under git, once for all tests; not to be changed."""
    made = {}

    def make(answers, **more):
        key = repr((answers, more))
        if key not in made:
            folder = tmp_path_factory.mktemp("project") / "my-project"
            made[key] = under_git(copied_from(versions, folder, {**read_answers(answers), **more}, vcs_ref="1.0.0"))
        return made[key]

    return make


@pytest.fixture
def project(pristine_project, tmp_path):
    """Make a project of one's own: a folder of version 1.0.0 under git."""

    def make(answers, **more):
        return Path(shutil.copytree(pristine_project(answers, **more), tmp_path / "my-project", symlinks=True))

    return make


def under_git(folder):
    """Put a folder under git and return it."""
    git(folder, "init", "--quiet")
    commit(folder, "Copied")
    return folder


def commit(folder, message="Edited by hand"):
    """Commit everything in a folder."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def values(folder):
    """Return what settings.yml says."""
    return yaml.safe_load((folder / "settings.yml").read_text(encoding="utf-8"))


def lines_of(path):
    """Return the lines of a file."""
    return path.read_text(encoding="utf-8").split("\n")


def nothing_is_left_to_resolve(folder):
    """Assert that no file has conflict markers and none was put aside."""
    assert not list(folder.rglob("*.rej"))
    done = subprocess.run(["git", "grep", "-nE", "^(<<<<<<<|=======|>>>>>>>)"], cwd=folder, capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")


def added_and_removed(folder, name):
    """Return the lines that git sees as removed and as added in a file, without their signs."""
    diff = git(folder, "diff", "--unified=0", "--", name).split("\n")[4:]
    return [line[1:] for line in diff if line[:1] == "-"], [line[1:] for line in diff if line[:1] == "+"]


@pytest.fixture
def lab_update(environment, own_home):
    """Run ./lab update of a folder, where only these commands are found beside a laptop's; return what it did."""

    def run(folder, *options, tools=("copier", "git"), **extra):
        bin = folder.parent / "found"
        bin.mkdir(exist_ok=True)
        for tool in tools:
            # where this Python has its own
            found = shutil.which(tool, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
            if not (bin / tool).exists():
                (bin / tool).symlink_to(found)
        variables = {**environment, "PATH": f"{bin}:{environment['PATH']}"}
        variables.update(GIT_CONFIG_GLOBAL=str(own_home / ".gitconfig"), GIT_CONFIG_NOSYSTEM="1")
        variables.update(extra)
        command = [sys.executable, str(folder / "lab"), "update", *options]
        return subprocess.run(command, env=variables, cwd=folder.parent, capture_output=True, encoding="utf-8")

    return run


NEWS = {
    "en": (
        "The folder had version 1.0.0 of the template, and has 2.0.0 now.\n"
        "settings.yml: notify is new: nobody\n"
        "What is new in the template:\n"
        "  - Slurm writes to whom you name in notify.\n"
    ),
    "fr": french(
        "Le dossier avait la version 1.0.0 du modèle ; il a maintenant 2.0.0.\n"
        "settings.yml : notify est nouveau : nobody\n"
        "Ce qui est nouveau dans le modèle (en anglais) :\n"
        "  - Slurm writes to whom you name in notify.\n"
    ),
}
UPDATED = {
    "en": "The folder is up to date; see what has changed with: git diff. The next ./lab open sends it to the cluster.\n",
    "fr": french(
        "Le dossier est à jour ; voyez ce qui a changé avec : git diff. Le prochain ./lab open l'envoie à la grappe.\n"
    ),
}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_lab_update_is_copiers_update_of_the_folder_wherever_it_is_typed(project, lab_update, language):
    folder = project("least", language=language)
    set_answer(folder, hours=2)
    commit(folder)
    done = lab_update(folder, "--defaults")
    assert (done.returncode, done.stdout) == (0, NEWS[language] + UPDATED[language]), done.stderr
    assert (values(folder)["hours"], values(folder)["notify"], values(folder)["_commit"]) == (2, "nobody", "2.0.0")
    nothing_is_left_to_resolve(folder)
    assert set(git(folder, "diff", "--name-only").split()) == CHANGED


def test_an_update_that_has_nothing_to_bring_says_so(project, lab_update):
    folder = project("least")
    done = lab_update(folder, "--defaults", "--vcs-ref=1.0.0")
    assert (done.returncode, done.stdout) == (0, "Nothing has changed: the folder was up to date.\n"), done.stderr


def test_lab_update_that_asks_nothing_commits_nothing_and_says_what_to_type(project, lab_update):
    folder = project("least")
    edit(folder / "tunnel_sshuttle.sh", "set -euo pipefail\n", "set -euo pipefail\n# not committed\n")
    (folder / "a result.csv").write_text("1\n")
    done = lab_update(folder, "--defaults")
    said = "lab: Nothing was updated: an update needs everything in a commit, and this is not yet: tunnel_sshuttle.sh, "
    said += "'a result.csv'. Type: git add --all . && git commit -m 'My changes', then update again.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    assert values(folder)["_commit"] == "1.0.0"
    assert git(folder, "status", "--porcelain") == ' M tunnel_sshuttle.sh\n?? "a result.csv"\n'


# what lab update does first of all, where there is somebody to ask
COMMIT = """
import sys; sys.path.append("..")
from both.messages import Trouble
from lab import update
try:
    update._commit_what_is_not(ask=True)
except Trouble as trouble:
    print(trouble)
"""
ASKED = "Not yet in a commit: result.csv. An update needs that; commit it all now, as it is? [y]es, or [n]o (default) "
NOT_YET = "Nothing was updated: an update needs everything in a commit, and this is not yet: result.csv. "
UNKNOWN = "git does not know who you are, and commits have a name; type: git config --global user.name 'Your Name' "


@pytest.mark.parametrize(
    ("answer", "settings", "said"),
    [
        ("y\n", {}, ""),
        ("\n", {}, NOT_YET),
        ("no\n", {}, NOT_YET),
        ("", {}, NOT_YET),
        ("y\n", {"user.useConfigOnly": "true"}, UNKNOWN),
        ("y\n", {"core.hooksPath": "hooks"}, "The commit before the update was not made, and nothing was updated; git says: no"),
    ],
)  # fmt: skip
def test_who_is_asked_has_a_commit_made_or_is_told_why_not_and_nothing_is_lost(
    project, own_home, environment, answer, settings, said
):
    # a folder in a larger repository, of which something else is prepared for a commit
    folder = project("least")
    top = folder.parent
    shutil.rmtree(folder / ".git")
    (top / "hooks").mkdir()
    (top / "hooks/pre-commit").write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    (top / "hooks/pre-commit").chmod(0o755)
    under_git(top)
    (folder / "result.csv").write_text("1\n")
    (top / "other.txt").write_text("1\n")
    git(top, "add", "other.txt")
    config = folder.parent / "gitconfig"
    config.write_text("" if "user.useConfigOnly" in settings else (own_home / ".gitconfig").read_text())
    for name, value in settings.items():
        git(top, "config", "--file", config, name, str(top / value) if value == "hooks" else value)
    variables = {**environment, "GIT_CONFIG_GLOBAL": str(config), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", COMMIT], cwd=folder / "lib/laptop", env=variables, input=answer, capture_output=True,
        encoding="utf-8",
    )  # fmt: skip
    before, question, after = done.stdout.partition(ASKED.replace("result.csv", "my-project/result.csv"))
    assert (before, bool(question), done.stderr) == ("", True, "")
    assert after.startswith(said.replace("result.csv", "my-project/result.csv")) and bool(said) == bool(after)
    committed = git(top, "log", "-1", "--format=%s", "--name-only")
    done = committed == "Before the update from the template\n\nmy-project/result.csv\n"
    assert done == (not said) and "A  other.txt\n" in git(top, "status", "--porcelain")
    assert (folder / "result.csv").read_text() == "1\n"


def test_an_update_needs_no_name_of_gits_and_sets_none(project, lab_update, tmp_path):
    folder, config = project("least"), tmp_path / "gitconfig"
    config.write_text("[user]\n\tuseConfigOnly = true\n")
    done = lab_update(folder, "--defaults", GIT_CONFIG_GLOBAL=str(config))
    assert (done.returncode, values(folder)["_commit"]) == (0, "2.0.0"), done.stderr
    assert git(folder, "log", "--format=%s") == "Copied\n"
    # a commit does, and nobody is sent to make one that git refuses
    done = lab_update(folder, "--defaults", GIT_CONFIG_GLOBAL=str(config))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"lab: {UNKNOWN}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("named", ["template", "./template", "../{here}/template", "{template}"])
def test_a_template_is_found_again_however_its_folder_was_named(versions, copier_command, lab_update, tmp_path, named):
    (tmp_path / "template").symlink_to(versions)
    source = named.format(here=tmp_path.name, template=tmp_path / "template")
    answers = ["-d", "account=def-yourpi", "-d", "cluster=narval"]
    words = ["copy", "--quiet", "--defaults", "--vcs-ref=1.0.0", *answers, source, "my-project"]
    assert copier_command(*words, cwd=tmp_path).returncode == 0
    folder = under_git(tmp_path / "my-project")
    done = lab_update(folder, "--defaults")
    assert (done.returncode, values(folder)["_commit"]) == (0, "2.0.0"), done.stderr


# what lab's sync does first with what it is to send
SEND = """
import sys; sys.path.append("..")
from both.messages import Trouble
from lab.paths import files_here
from lab.sync import Sync
try:
    Sync._put(object.__new__(Sync), sorted(path for path, _ in files_here()), {}, {})
except Trouble as trouble:
    print(trouble)
"""


def test_both_versions_of_a_line_are_named_and_not_sent(project, lab_update, environment):
    folder = project("least")
    edit(folder / "start_salloc.sh", "set -euo pipefail\n", "# ours\nset -euo pipefail\n")
    commit(folder)
    done = lab_update(folder, "--defaults")
    said = "lab: Where you and the template changed the same lines, both versions are there now, between <<<<<<< "
    place = "start_salloc.sh:" + str(lines_of(folder / "start_salloc.sh").index("<<<<<<< before updating") + 1)
    said += f"and >>>>>>>: {place}. Keep one of them, delete the marks, and commit."
    assert (done.returncode, done.stderr.splitlines()[-1], done.stdout) == (1, said, NEWS["en"])
    done = lab_update(folder, "--defaults")
    said = "lab: Nothing was updated: there are still both versions that an earlier update left, between <<<<<<< and "
    said += f">>>>>>>, in {place}. Keep one of them, delete the marks, commit, and update again.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    done = subprocess.run(
        [sys.executable, "-c", SEND], cwd=folder / "lib/laptop", env=environment, capture_output=True, encoding="utf-8"
    )
    said = (
        "Nothing was sent: start_salloc.sh still has both versions that an update left, between <<<<<<< and >>>>>>>. "
    )
    assert (done.stdout, done.stderr) == (said + "Keep one of them, and delete the marks.\n", "")


def test_lab_update_needs_git_and_says_so(project, lab_update):
    folder = project("least", language="fr")
    shutil.rmtree(folder / ".git")
    done = lab_update(folder, "--defaults")
    said = "lab\u00a0: Une mise à jour a besoin de git, et le dossier n'y est pas\u00a0; exécutez-y\u00a0: "
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == said + "git init && git add --all && git commit -m debut\n"


def test_a_folder_of_somebody_else_is_not_told_to_be_put_under_git(project, lab_update):
    folder = project("least")
    done = lab_update(folder, "--defaults", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    said = f"lab: git: fatal: detected dubious ownership in repository at '{folder}'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


@pytest.mark.parametrize("named", ["passerelle", "~/passerelle", "/home/teacher/passerelle"])
def test_a_folder_whose_template_is_not_on_this_computer_is_told_where_that_stands(project, lab_update, named):
    folder = project("least")
    source = values(folder)["_src_path"]
    edit(folder / "settings.yml", source, named)
    commit(folder)
    done = lab_update(folder, "--defaults")
    assert (done.returncode, done.stdout) == (1, "")
    place = (folder / "settings.yml").read_text().splitlines().index(f'_src_path: "{named}"') + 1
    assert done.stderr == (
        f"lab: settings.yml:{place}: the template is not at {named} on this computer; write there its full path or its "
        "address, commit, and update again.\n"
    )


@pytest.mark.parametrize("line", ["account def-yourpi", "x", "[", "a: b: c", "- hours: 1"])
def test_a_line_that_nobody_can_read_ends_an_update_as_it_ends_everything_else(project, lab_update, line):
    folder = project("least")
    (folder / "settings.yml").open("a").write(line + "\n")
    commit(folder)
    number = len((folder / "settings.yml").read_text().splitlines())
    done = lab_update(folder, "--defaults")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (64, "", 1)
    assert done.stderr.startswith(f"lab: settings.yml:{number}: “{line}” cannot be read; write for example ")


def test_a_folder_that_is_given_away_does_not_say_whose_home_the_template_was_in(
    versions, own_home, tmp_path, copier_command, lab_update
):
    kept = Path(shutil.copytree(versions, own_home / "été/the template", symlinks=True))
    folder = tmp_path / "my-project"
    answers = given(read_answers("least"))
    done = copier_command("copy", "--defaults", "--vcs-ref", "1.0.0", *answers, kept, folder)
    assert done.returncode == 0, done.stderr
    assert values(folder)["_src_path"] == "~/été/the template"
    texts = [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    assert texts and not [text for text in texts if str(own_home) in text]
    under_git(folder)
    done = lab_update(folder, "--defaults")
    shutil.rmtree(kept)
    assert done.returncode == 0, done.stderr
    assert (values(folder)["_commit"], values(folder)["_src_path"]) == ("2.0.0", "~/été/the template")


def test_a_version_that_the_template_no_longer_has_is_no_traceback(project, lab_update):
    folder = project("local")
    edit(folder / "settings.yml", '_commit: "1.0.0"', '_commit: "0.9.0"')
    commit(folder)
    done = lab_update(folder, "--defaults")
    assert (done.returncode, done.stdout) == (1, "")
    # Copier's own come first
    *words, last = done.stderr.splitlines()
    assert "0.9.0" in " ".join(words) and "Traceback" not in done.stderr
    assert last.startswith("lab: Nothing was updated, and the folder is as it was; why is said above. ")


BROKEN_COPIER = """#!/bin/sh
echo "Updating to 2.0.0" >&2
echo half >settings.yml
echo new >new
cat >&2 <<'WORDS'
Traceback (most recent call last):
  File "/usr/bin/copier", line 1, in main
ValueError: one

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/usr/bin/copier", line 2, in main
OSError: two

WORDS
exit 1
"""
"""It stands in for a Copier with a fault, of which nobody knows how long the newest has it."""


def test_of_an_error_of_copiers_own_its_last_line_is_shown_and_the_way_back(project, lab_update, tmp_path):
    folder = project("local")
    (tmp_path / "found").mkdir()
    (tmp_path / "found/copier").write_text(BROKEN_COPIER)
    (tmp_path / "found/copier").chmod(0o755)
    done = lab_update(folder, "--defaults")
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert lines[:2] == ["Updating to 2.0.0", "lab: Copier has failed: OSError: two"]
    (back,) = re.findall(r"^lab: The update stopped halfway; .* in the folder: (git .*)$", "\n".join(lines[2:]))
    subprocess.run(["bash", "-c", back], cwd=folder, check=True)
    assert (git(folder, "status", "--porcelain"), values(folder)["_commit"]) == ("", "1.0.0")


def test_lab_update_without_git_says_how_to_get_it(project, lab_update):
    done = lab_update(project("least"), tools=["copier"])
    said = "lab: git is not installed on this computer, and an update needs it to see what you have changed; install it, for "
    said += "example with: sudo apt install git\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


# what `lab open` and `lab check` ask in the background
NEWER = """
import sys; sys.path.append("..")
import json, sys, time
from lab import template
print(json.dumps([template.newer(*case) for case in json.load(sys.stdin)]))
began, asked = time.monotonic(), template.Asked()
print(json.dumps([asked.wait(), time.monotonic() - began < 30]))
"""
SUM, OTHER = "1234567" + 33 * "0", "abcdef0" + 33 * "0"
NEWER_CASES = [
    ({}, "1.0.0", ""),
    ({"HEAD": SUM, "1.0.0": SUM}, "1.0.0", ""),
    ({"HEAD": SUM, "1.9": OTHER, "1.10": SUM}, "1.9", "1.10"),
    ({"HEAD": SUM, "v2.0": OTHER, "2.1rc1": SUM, "2027": SUM}, "v1.9.3", "v2.0"),
    ({"HEAD": SUM, "1.0.0": OTHER}, "1.0.0-3-gabcabc1", ""),
    ({"HEAD": SUM, "1.0.1": OTHER}, "1.0.0-3-gabcabc1", "1.0.1"),
    # a template that had no tags when the folder was made
    ({"HEAD": SUM, "1.0.0": OTHER}, "abcdef0", ""),
    ({"HEAD": SUM, "1.0.0": SUM}, "abcdef0", "1.0.0"),
    ({"HEAD": SUM}, "1234567", ""),
    ({"HEAD": SUM}, "abcdef0", "1234567"),
    # neither has anything to do with the other
    ({"1.0.0": SUM}, "none", "1.0.0"),
]


@pytest.mark.parametrize(
    ("git_says", "newer"),
    [
        ("", "2.0.0"),
        ("echo nothing of the kind; printf '\\e[31m\\t\\n'", ""),
        (f"printf '%s\\trefs/tags/%s\\n' {SUM} '9.0;reboot' {SUM} 3.0", "3.0"),
        ("printf '%s\\trefs/tags/9.0\\n' " + SUM + "; exit 128", ""),
        ("exec sleep 1000", ""),
    ],
)
def test_what_the_template_says_of_newer_versions_is_data_and_no_answer_is_no_trouble(
    project, environment, git_says, newer
):
    folder = project("least")
    bin = folder.parent / "bin"
    bin.mkdir()
    if git_says:
        (bin / "git").write_text(f"#!/bin/bash\n{git_says}\n")
        (bin / "git").chmod(0o755)
    else:
        (bin / "git").symlink_to(shutil.which("git"))
    edit(folder / "lib/both/limits.sh", "TEMPLATE_ANSWER=30", "TEMPLATE_ANSWER=2")
    done = subprocess.run(
        [sys.executable, "-c", NEWER], cwd=folder / "lib/laptop", env={**environment, "PATH": f"{bin}:{environment['PATH']}"},
        input=json.dumps([case[:2] for case in NEWER_CASES]), capture_output=True, encoding="utf-8",
    )  # fmt: skip
    cases, asked = (json.loads(line) for line in done.stdout.splitlines())
    assert (cases, asked, done.stderr) == ([case[2] for case in NEWER_CASES], [newer, True], "")


def test_lab_update_without_copier_says_how_to_get_it(project, lab_update):
    folder = project("least")
    done = lab_update(folder, tools=["git"])
    said = "lab: Copier is not installed on this computer; install it with: python3 -m pip install copier (or install uv)\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    assert values(folder)["_commit"] == "1.0.0"


@pytest.mark.parametrize("answers", ALL_ANSWERS)
def test_an_update_keeps_what_people_changed_and_brings_what_is_new(project, copier_command, answers):
    folder = project(answers)
    before = values(folder)
    # where there is no Slurm, hours do not count, and are not kept
    edited = {"packages": ["polars", "numpy<3"], **({"hours": 2} if answers != "local" else {})}
    set_answer(folder, **{**edited, "packages": "[polars, numpy<3]"})
    edit(folder / "tunnel_sshuttle.sh", "set -euo pipefail\n", "set -euo pipefail\necho 'of our own'\n")
    (folder / "our_notes.txt").write_text("ours\n")
    commit(folder)

    done = copier_command("update", "--defaults", cwd=folder)

    # Copier has its own words before
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (0, SAID[before["language"]])
    after = values(folder)
    assert after == {**before, **edited, "notify": "nobody", "_commit": "2.0.0"}
    nothing_is_left_to_resolve(folder)
    assert set(git(folder, "diff", "--name-only").split()) == CHANGED
    assert git(folder, "ls-files", "--others", "--exclude-standard") == ""
    assert added_and_removed(folder, "settings.yml") == (['_commit: "1.0.0"'], ["notify: nobody", '_commit: "2.0.0"'])
    assert added_and_removed(folder, "start_salloc.sh") == ([], ["# new in 2.0.0"])
    assert added_and_removed(folder, "plugins/clusters/narval.yml") == (["node_cores: 64"], ["node_cores: 72"])
    assert "\necho 'of our own'\n" in (folder / "tunnel_sshuttle.sh").read_text()
    assert (folder / ".copier-answers.yml").is_symlink()


def test_in_an_update_what_is_typed_counts_and_what_was_there_need_not_be_erased(project):
    folder = project("least")
    set_answer(folder, hours=2, cores=4)
    commit(folder)
    conversation = Conversation(folder, command="update")
    before, typed = {"How many hours": "2", "How many CPU cores": "4"}, {"How many hours": "5"}
    while (question := conversation.next_question()) is not None:
        start = " ".join(question.split()[: 4 if "CPU" in question else 3])
        if start in before:
            assert conversation.field() == before[start]
        conversation.answer(typed.get(start, ""))
    assert conversation.terminal.exitstatus == 0, conversation.seen
    assert (values(folder)["hours"], values(folder)["cores"], values(folder)["_commit"]) == (5, 4, "2.0.0")
    nothing_is_left_to_resolve(folder)


def test_what_is_new_counts_and_what_was_edited_too(project, copier_command, script):
    folder = project("least")
    set_answer(folder, hours=2)
    commit(folder)
    assert copier_command("update", "--defaults", cwd=folder).returncode == 0
    set_answer(folder, cores=72)
    done = script(folder / "start_salloc.sh", "--print")
    words = "--time=2:00:00 --ntasks=1 --cpus-per-task=72 --mem-per-cpu=1024M --account=def-yourpi"
    assert (done.stdout, done.stderr) == (f"salloc {words} srun {folder}/jupyterlab.sh\n", "")


def test_a_newer_version_is_announced_and_after_the_update_no_more(project, copier_command):
    folder = project("class")
    assert copier_command("check-update", "--quiet", cwd=folder).returncode == 2
    assert copier_command("update", "--defaults", cwd=folder).returncode == 0
    commit(folder, "Updated")
    assert copier_command("check-update", cwd=folder).returncode == 0
    assert copier_command("update", "--defaults", cwd=folder).returncode == 0
    assert git(folder, "status", "--porcelain") == ""


def test_without_the_link_the_settings_are_named_instead(project, copier_command):
    folder = project("least")
    (folder / ".copier-answers.yml").unlink()
    set_answer(folder, hours=2)
    commit(folder)
    done = copier_command("update", "--defaults", "-a", "settings.yml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (values(folder)["hours"], values(folder)["notify"], values(folder)["_commit"]) == (2, "nobody", "2.0.0")
    nothing_is_left_to_resolve(folder)


def test_comments_of_ones_own_make_no_conflict(project, copier_command):
    folder = project("least")
    edit(folder / "settings.yml", "\nhours: 1\n", "\n# ours: a seminar lasts two\nhours: 2 # at least\n")
    commit(folder)
    done = copier_command("update", "--defaults", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert values(folder)["hours"] == 2
    nothing_is_left_to_resolve(folder)


def test_an_answer_can_be_changed_in_an_update(project, copier_command):
    folder = project("least")
    set_answer(folder, hours=2)
    commit(folder)
    done = copier_command("update", "--defaults", "-d", "language=fr", "-d", "cores=4", cwd=folder)
    assert done.returncode == 0, done.stderr
    text = (folder / "settings.yml").read_text(encoding="utf-8")
    assert text.startswith("# Toutes vos réponses.")
    assert (values(folder)["language"], values(folder)["cores"], values(folder)["hours"]) == ("fr", 4, 2)
    nothing_is_left_to_resolve(folder)


WRONG_EDITS = [
    ("least", {"hours": 999}, "hours: This cluster allows 168 at most."),
    (
        "least",
        {"account": "alice"},
        "account: Write for example def-yourpi; accounts of this cluster begin with def-, rrg-, rpp-, ctb-",
    ),
    ("least", {"kernels": "[python, cobol]"}, "kernels: “cobol” is not one of the choices."),
    (
        "class",
        {"environment_path": "/project/../mine"},
        "environment_path: Écrivez par exemple $HOME/jupyter_py3 ; « /project/../mine » n'est pas possible.",
    ),
]


@pytest.mark.parametrize(("answers", "wrong", "words"), WRONG_EDITS)
def test_a_wrong_edit_ends_the_update_in_one_line_and_nothing_is_lost(project, copier_command, answers, wrong, words):
    folder = project(answers)
    set_answer(folder, **wrong)
    commit(folder)
    before = (folder / "settings.yml").read_bytes()
    done = copier_command("update", "--quiet", "--defaults", cwd=folder)
    assert (done.returncode, done.stderr) == (1, refused(words) + "\n")
    assert (folder / "settings.yml").read_bytes() == before
    assert git(folder, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("answers", "edits", "forgotten"),
    [
        # GPUs given up: the model does not count any more
        ("tamia", {"gpus": 0}, {"gpu_model": "none"}),
        # a number of cores of another cluster, where whole nodes are given
        ("trillium", {"cores": 500}, {"cores": 2}),
        # another cluster
        ("least", {"cluster": "fir"}, {}),
        ("gpu", {"cluster": "rorqual"}, {}),
        # a batch job's hours
        ("least", {"hours": 24}, {}),
        # no kernels at all
        ("class", {"kernels": "[]", "extensions": "[ ]"}, {}),
        # a model of GPU that only this cluster has
        ("other", {"gpu_model": "v100"}, {}),
    ],
)
def test_an_edit_that_the_scripts_can_use_outlives_an_update(
    project, copier_command, bash_reader, answers, edits, forgotten
):
    folder = project(answers)
    set_answer(folder, **edits)
    commit(folder)
    assert bash_reader.ask("load", (folder / "settings.yml").read_bytes())[::2] == (0, b"")
    before = values(folder)
    done = copier_command("update", "--quiet", "--defaults", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    after = values(folder)
    expected = {**before, "notify": "nobody", "_commit": "2.0.0"}
    assert after == expected or after == {**expected, **forgotten}
    nothing_is_left_to_resolve(folder)


def test_the_answers_outlive_a_new_copy_too(project, copier_command):
    folder = project("class")
    set_answer(folder, hours=2, packages="[polars]")
    edit(folder / "tunnel_sshuttle.sh", "set -euo pipefail\n", "set -euo pipefail\necho 'of our own'\n")
    commit(folder)
    before = values(folder)
    done = copier_command("recopy", "--quiet", "--defaults", "--overwrite", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert values(folder) == {**before, "notify": "nobody", "_commit": "2.0.0"}
    assert "of our own" not in (folder / "tunnel_sshuttle.sh").read_text()


def a_version_with_cedar_in_service(template):
    """Make 1.0.0 a template of the time when Cedar was in service, for longer jobs; return what is otherwise today."""
    today = {name: (template / name).read_bytes() for name in ["copier.yml", "template/plugins/clusters/cedar.yml"]}
    edit(
        template / "copier.yml",
        "    Cedar:\n      value: cedar\n      validator: \"{% from 'questions/checks.jinja' import retired %}"
        "{{ retired('cedar', texts) }}\"\n",
        "    Cedar: cedar\n",
    )
    fir = (template / "template/plugins/clusters/fir.yml").read_text(encoding="utf-8")
    (template / "template/plugins/clusters/cedar.yml").write_text(
        re.sub("(?m)^hours_max: .*", "hours_max: 672", fir.replace("fir.alliancecan.ca", "cedar.alliancecan.ca")),
        encoding="utf-8",
    )
    git(template, "tag", "--delete", "1.0.0")
    release(template, "1.0.0")
    return today


@pytest.fixture
def cedar(template, tmp_path):
    """A folder on Cedar, whose template has retired it since."""
    today = a_version_with_cedar_in_service(template)

    def make(**more):
        answers = {"cluster": "cedar", "account": "rrg-yourpi", "cores": 8, **more}
        folder = under_git(copied_from(template, tmp_path / "my-project", answers))
        for name, content in today.items():
            (template / name).write_bytes(content)
        release(template, "2.0.0")
        assert values(folder)["cluster"] == "cedar"
        return folder

    return make


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_project_on_a_retired_cluster_is_led_to_its_successor(cedar, lab_update, script, language):
    folder = cedar(language=language)
    set_answer(folder, hours=3)
    commit(folder)
    before = values(folder)

    done = lab_update(folder, "--defaults")

    said = {
        "en": "The folder had version 1.0.0 of the template, and has 2.0.0 now.\n"
        f"settings.yml: cluster was cedar, and is now fir\n{UPDATED['en']}",
        "fr": french("Le dossier avait la version 1.0.0 du modèle ; il a maintenant 2.0.0.\n")
        + french(f"settings.yml : cluster valait cedar, et vaut maintenant fir\n{UPDATED['fr']}"),
    }
    assert (done.returncode, done.stdout) == (0, said[language]), done.stderr
    assert values(folder) == {**before, "cluster": "fir", "_commit": "2.0.0"}
    nothing_is_left_to_resolve(folder)
    started = script(folder / "tunnel_sshuttle.sh", "--print")
    assert (started.stdout, started.stderr) == (
        "sshuttle --dns -Nr USER@fir.alliancecan.ca -e 'ssh -F lib/laptop/ssh_config'\n",
        "",
    )


def test_what_the_successor_does_not_allow_is_never_changed_unasked(cedar, lab_update, copier_command):
    folder = cedar()
    set_answer(folder, hours=300)
    commit(folder)
    done = lab_update(folder, "--defaults")
    stopped = (
        "lab: Nothing was updated, and the folder is as it was; why is said above. To change an answer, answer the "
    )
    stopped += "questions: ./lab update"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-2:] == [refused("hours: This cluster allows 168 at most."), stopped]
    assert (values(folder)["cluster"], values(folder)["hours"]) == ("cedar", 300)
    assert git(folder, "status", "--porcelain") == ""
    # whoever says what it is to be has it
    done = copier_command("update", "--quiet", "--defaults", "-d", "hours=24", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert (values(folder)["cluster"], values(folder)["hours"]) == ("fir", 24)


@pytest.mark.parametrize(
    "words", [["--data", "ours=3"], ["--data=ours=3"], ["-d", "ours=3"], ["-dours=3", "-d", "hours=2"]]
)
def test_an_answer_that_nobody_asks_for_is_named(cedar, lab_update, words):
    folder = cedar()
    done = lab_update(folder, "--defaults", *words)
    assert done.returncode == 0
    line = "lab: --data: no setting is called “ours”; the names are in lib/both/rules.yml"
    assert [text for text in done.stderr.splitlines() if "--data" in text] == [line]


def test_what_the_successor_does_not_allow_is_asked(cedar):
    folder = cedar()
    set_answer(folder, hours=300)
    commit(folder)
    conversation = Conversation(folder, command="update")
    while (question := conversation.next_question()) is not None:
        conversation.answer()
        if question.startswith("How many hours"):
            assert "This cluster allows 168 at most." in conversation.wait_for("168 at most")
            conversation.answer("12")
    assert conversation.terminal.exitstatus == 0, conversation.seen
    assert (values(folder)["cluster"], values(folder)["hours"], values(folder)["cores"]) == ("fir", 12, 8)


def test_who_edits_a_retired_cluster_into_the_settings_is_told_by_the_update_too(project, copier_command):
    """The scripts say: write cluster: fir, or run copier update."""
    folder = project("least")
    set_answer(folder, cluster="cedar")
    commit(folder)
    done = copier_command("update", "--quiet", "--defaults", cwd=folder)
    if done.returncode:
        assert done.stderr == refused("cluster: retired: its successor is fir") + "\n"
        assert git(folder, "status", "--porcelain") == ""
    else:
        assert values(folder)["cluster"] == "fir"


def test_what_belongs_to_one_person_is_neither_committed_nor_touched(project, copier_command):
    folder = project("least")
    (folder / "personal.yml").write_text("user: alice\n")
    assert git(folder, "status", "--porcelain") == ""
    assert copier_command("update", "--defaults", cwd=folder).returncode == 0
    assert (folder / "personal.yml").read_text() == "user: alice\n"


def test_a_copy_over_an_old_folder_keeps_its_answers(versions, project, copier_command):
    folder = project("least")
    set_answer(folder, hours=2, account="rrg-other")
    commit(folder)
    done = copier_command("copy", "--quiet", "--defaults", "--overwrite", versions, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert (values(folder)["hours"], values(folder)["account"]) == (2, "rrg-other")
