"""`passerelle update`: the newest `lab update`, for a folder whose own is older; tests/test_versions.py runs it with Copier."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, edit, french, git, set_answer

LINE = "import sys; sys.argv[0] = 'passerelle'; from passerelle.cli import main; main()"
STUB = '#!/bin/sh\necho "copier $*"\n'


@pytest.fixture
def passerelle(environment, own_home, tmp_path):
    """Run `passerelle update` with a Copier, beside its Python, that only says with what it was called."""
    bin = tmp_path / "bin"
    bin.mkdir()
    # no environment of its own, so that what is installed is named
    (bin / "python").symlink_to(Path(sys.executable).resolve())
    (bin / "copier").write_text(STUB)
    (bin / "copier").chmod(0o755)
    (bin / "git").symlink_to(shutil.which("git"))
    installed = [path for path in sys.path if path.endswith("site-packages")]
    variables = {
        **environment, "PYTHONPATH": ":".join([str(REPOSITORY / "hooks"), *installed]), "PYTHONDONTWRITEBYTECODE": "1",
        "GIT_CONFIG_GLOBAL": str(own_home / ".gitconfig"), "PATH": f"{bin}:{environment['PATH']}",
    }  # fmt: skip

    def run(*words, cwd=tmp_path):
        command = [bin / "python", "-c", LINE, "update", *words]
        return subprocess.run(command, env=variables, cwd=cwd, capture_output=True, encoding="utf-8")

    return run


@pytest.fixture
def folder(make_folder):
    """A folder under git that has no lab at all."""

    def make(**more):
        folder = make_folder("least", **more)
        shutil.rmtree(folder / "lib")
        (folder / "lab").unlink()
        git(folder, "init", "--quiet")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "Copied")
        return folder

    return make


def test_it_runs_the_copier_that_came_with_it_wherever_it_is_typed_and_speaks_as_the_folder_does(passerelle, folder):
    folder = folder(language="fr")
    nothing = french("Rien n'a changé : le dossier était à jour.\n")
    called = "copier update --quiet --answers-file settings.yml"
    for words, cwd, options in [
        ([folder], folder.parent, ""),
        ([], folder, ""),
        (["--defaults", "-d", "hours=2", "--data=cores=4", "."], folder, " --defaults --data hours=2 --data cores=4"),
    ]:
        done = passerelle(*words, cwd=cwd)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{called}{options}\n{nothing}", "")


def test_what_keeps_it_from_updating_is_one_line(passerelle, folder, tmp_path):
    folder = folder()
    set_answer(folder, hours=2)
    for words, status, said in [
        (["nowhere"], 64, f"lab: There is no settings.yml in {tmp_path}/nowhere; such a folder is made with: copier copy"),
        (["--nonsense"], 64, "passerelle: Unknown switch --nonsense. See: passerelle update --help"),
        ([folder, "--defaults"], 1, "lab: Nothing was updated: an update needs everything in a commit, and this is not yet: "
         "settings.yml. Type: git add --all . && git commit -m 'My changes', then update again."),
    ]:  # fmt: skip
        done = passerelle(*words)
        assert (done.returncode, done.stdout, done.stderr) == (status, "", said + "\n")


def test_of_a_template_without_tags_the_newest_state_is_taken_without_a_warning(passerelle, folder, tmp_path):
    folder, origin, template = folder(), tmp_path / "origin", tmp_path / "template"
    origin.mkdir()
    git(origin, "init", "--quiet")
    git(origin, "commit", "--quiet", "--allow-empty", "--message", "no version")
    # which has names of its own
    git(tmp_path, "clone", "--quiet", origin, template)
    source = next(line for line in (folder / "settings.yml").read_text().split("\n") if line.startswith("_src_path: "))
    edit(folder / "settings.yml", source, f'_src_path: "{template}"')
    git(folder, "commit", "--quiet", "--all", "--message", "A template of one's own")
    for tag, option in [("", " --vcs-ref HEAD"), ("next", "")]:
        if tag:
            git(template, "tag", tag)
        done = passerelle("--defaults", folder)
        assert done.stdout.split("\n")[0] == f"copier update --quiet --answers-file settings.yml --defaults{option}"
