"""A project's life: copied, edited by hand, updated to a newer template, and nobody's work is lost."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ANSWERS, REPOSITORY, copied_from, edit, french, git, given, read_answers, refused, set_answer
from test_questions import Conversation

# one for each kind of user; those of the tests' own cluster are no other kind
ALL_ANSWERS = sorted(path.stem for path in ANSWERS.glob("*.yml") if not path.stem.startswith("vcluster"))


def release(template, version):
    """Commit the template as it is and tags it."""
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--message", f"Version {version}")
    git(template, "tag", version)


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

    def run(folder, *options, tools=("copier", "git")):
        bin = folder.parent / "found"
        bin.mkdir()
        for tool in tools:
            # where this Python has its own
            found = shutil.which(tool, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
            (bin / tool).symlink_to(found)
        variables = {**environment, "PATH": f"{bin}:{environment['PATH']}"}
        variables.update(GIT_CONFIG_GLOBAL=str(own_home / ".gitconfig"), GIT_CONFIG_NOSYSTEM="1")
        command = [sys.executable, str(folder / "lab"), "update", *options]
        return subprocess.run(command, env=variables, cwd=folder.parent, capture_output=True, encoding="utf-8")

    return run


@pytest.mark.parametrize("language", ["en", "fr"])
def test_lab_update_is_copiers_update_of_the_folder_wherever_it_is_typed(project, lab_update, language):
    folder = project("least", language=language)
    set_answer(folder, hours=2)
    commit(folder)
    done = lab_update(folder, "--defaults")
    said = yaml.safe_load((REPOSITORY / f"questions/{language}.yml").read_text(encoding="utf-8"))["after_update"]
    # once, by Copier
    assert (done.returncode, done.stdout, done.stderr.rstrip().splitlines()[-1]) == (0, "", said)
    assert (values(folder)["hours"], values(folder)["notify"], values(folder)["_commit"]) == (2, "nobody", "2.0.0")
    nothing_is_left_to_resolve(folder)
    assert set(git(folder, "diff", "--name-only").split()) == CHANGED


def test_lab_update_that_copier_refuses_is_no_success(project, lab_update):
    folder = project("least")
    edit(folder / "tunnel_sshuttle.sh", "set -euo pipefail\n", "set -euo pipefail\n# not committed\n")
    done = lab_update(folder, "--defaults")
    assert done.returncode != 0 and "Updated." not in done.stderr
    assert "Traceback" not in done.stderr
    assert values(folder)["_commit"] == "1.0.0"
    assert "# not committed\n" in (folder / "tunnel_sshuttle.sh").read_text()


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
from lab.messages import Trouble
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
    said += "and >>>>>>>: start_salloc.sh. Keep one of them, delete the marks, and commit."
    assert (done.returncode, done.stderr.splitlines()[-1], done.stdout) == (1, said, "")
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
    """Make 1.0.0 a template of the time when Cedar was in service, and 2.0.0 the one of today."""
    today = {name: (template / name).read_bytes() for name in ["copier.yml", "template/plugins/clusters/cedar.yml"]}
    edit(
        template / "copier.yml",
        "    Cedar:\n      value: cedar\n      validator: \"{% from 'questions/checks.jinja' import retired %}"
        "{{ retired('cedar', texts) }}\"\n",
        "    Cedar: cedar\n",
    )
    fir = (template / "template/plugins/clusters/fir.yml").read_text(encoding="utf-8")
    (template / "template/plugins/clusters/cedar.yml").write_text(
        fir.replace("fir.alliancecan.ca", "cedar.alliancecan.ca"), encoding="utf-8"
    )
    git(template, "tag", "--delete", "1.0.0")
    release(template, "1.0.0")
    return today


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_project_on_a_retired_cluster_is_led_to_its_successor(template, tmp_path, copier_command, script, language):
    today = a_version_with_cedar_in_service(template)
    answers = {"cluster": "cedar", "account": "rrg-yourpi", "cores": 8, "language": language}
    folder = under_git(copied_from(template, tmp_path / "my-project", answers))
    set_answer(folder, hours=3)
    commit(folder)
    for name, content in today.items():
        (template / name).write_bytes(content)
    release(template, "2.0.0")
    before = values(folder)
    assert before["cluster"] == "cedar"

    done = copier_command("update", "--quiet", "--defaults", cwd=folder)

    assert (done.returncode, done.stderr) == (0, "")
    assert values(folder) == {**before, "cluster": "fir", "_commit": "2.0.0"}
    nothing_is_left_to_resolve(folder)
    started = script(folder / "tunnel_sshuttle.sh", "--print")
    assert (started.stdout, started.stderr) == (
        "sshuttle --dns -Nr USER@fir.alliancecan.ca -e 'ssh -F lib/laptop/ssh_config'\n",
        "",
    )


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
