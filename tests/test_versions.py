"""From every version that people may have to the newest: answers, edits and files of one's own are kept, and all works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import copier
import pytest
import yaml
from conftest import ANSWERS, REPOSITORY, edit, git, set_answer

CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
VERSIONS = dict(re.findall(r"(?m)^## ([0-9.]+), [0-9-]{10} \(([0-9a-f]{7})\)$", CHANGELOG))
"""The commit of each version, the newest first."""
NEWEST = "99.0"
# one for each kind of user; those of the tests' own cluster are no other kind
ALL_ANSWERS = sorted(path.stem for path in ANSWERS.glob("*.yml") if not path.stem.startswith("vcluster"))


@pytest.fixture(scope="session")
def released(pristine_template, tmp_path_factory):
    """A clone with the tags that CHANGELOG names, and the working tree's template as the newest version."""
    clone = tmp_path_factory.mktemp("released") / "template"
    try:
        git(REPOSITORY, "clone", "--quiet", "--shared", "--no-checkout", ".", clone)
        for version, commit in VERSIONS.items():
            git(clone, "tag", version, commit)
    except RuntimeError as error:
        pytest.skip(f"the versions' commits are not here: {error}")
    git(clone, "fetch", "--quiet", pristine_template, "1.0.0")
    tree = git(clone, "rev-parse", "FETCH_HEAD^{tree}").strip()
    commit = git(clone, "commit-tree", tree, "-p", next(iter(VERSIONS)), "-m", "The working tree").strip()
    git(clone, "tag", NEWEST, commit)
    git(clone, "checkout", "--quiet", "--force", commit)
    return clone


def answers_of(released, version, name):
    """Return an example of answers as that version had it."""
    return yaml.safe_load(git(released, "show", f"{version}:tests/answers/{name}.yml"))


def values(folder):
    """Return what settings.yml says."""
    return yaml.safe_load((folder / "settings.yml").read_text(encoding="utf-8"))


def test_every_version_is_a_commit_and_they_follow_one_another(released):
    commits = list(VERSIONS.values())
    for older, newer in zip(commits[1:], commits, strict=False):
        git(released, "merge-base", "--is-ancestor", older, newer)
    assert git(released, "describe", "--tags").strip() == NEWEST
    assert list(VERSIONS)[-1] == "0.1.0"


def test_the_package_has_the_newest_version():
    assert f'\nversion = "{next(iter(VERSIONS))}"\n' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_somebody_answered_in_any_version_means_the_same_in_the_newest(released, bash_reader, tmp_path, version):
    known = git(released, "ls-tree", "--name-only", f"{version}:tests/answers").split()
    for name in (name for name in ALL_ANSWERS if f"{name}.yml" in known):
        folder = tmp_path / name
        # the one file that is rendered
        only = {"defaults": True, "quiet": True, "exclude": ["*", "!settings.yml"]}
        copier.run_copy(str(released), folder, answers_of(released, version, name), vcs_ref=version, **only)
        edited = {"packages": ["polars", "numpy<3"], **({"hours": 2} if name != "local" else {})}
        set_answer(folder, **{**edited, "packages": "[polars, numpy<3]"})
        before = values(folder)

        copier.run_copy(str(released), folder, overwrite=True, answers_file="settings.yml", **only)

        assert values(folder) == {**before, **edited, "_commit": NEWEST}, name
        status, settings, said = bash_reader.ask("load", (folder / "settings.yml").read_bytes())
        assert (status, said, settings["SETTING_account"]) == (0, b"", before["account"]), name


OURS = "# of our own\n"
EDITED = 'folder=$(submission_folder)\n[[ ! $folder ]] || run cd "$folder"\n'


def a_folder(released, folder, version, answers):
    """Make a folder of a version under git, with edits, a file less, and a kernel and results of one's own."""
    copier.run_copy(
        str(released), folder, answers_of(released, version, answers), vcs_ref=version, defaults=True, quiet=True
    )
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Copied")
    set_answer(folder, packages="[polars]")
    edit(folder / "start_salloc.sh", EDITED, OURS + EDITED)
    (folder / "plugins/kernels/mine.sh").write_bytes((folder / "plugins/kernels/r.sh").read_bytes())
    (folder / "results.csv").write_text("1,2\n")
    (folder / "tunnel_ssh.ps1").unlink()


def commit(folder):
    """Commit everything in a folder."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Edited by hand")


def updated(folder, *words):
    """Run a command that updates the folder; return what it did."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY / "hooks"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=variables, capture_output=True, encoding="utf-8")


PASSERELLE = ["-c", "from passerelle.cli import main; main()", "update", "--defaults"]
OWN = ["lab", "update", "--defaults"]
# a version, what its people type, and their answers; the first has no lab, the second looks for its texts where they were
UPDATES = [
    ("0.1.0", PASSERELLE, "class"),
    ("0.2.0", PASSERELLE, "everything"),
    ("0.3.0", OWN, "other"),
    ("0.4.0", OWN, "least"),
]


@pytest.mark.parametrize(("version", "words", "answers"), UPDATES)
def test_edits_and_files_of_ones_own_outlive_the_update_from_any_version(
    released, tmp_path, script, version, words, answers
):
    folder = tmp_path / "my-project"
    a_folder(released, folder, version, answers)
    commit(folder)
    before = values(folder)

    done = updated(folder, *words)

    assert done.returncode == 0, done.stderr
    assert values(folder) == {**before, "_commit": NEWEST}
    newest = {path for path in git(released, "ls-tree", "-r", "--name-only", "HEAD:template").splitlines()}
    ours = {"plugins/kernels/mine.sh", "results.csv"}
    there = set(git(folder, "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate").splitlines())
    there = {path for path in there if os.path.lexists(folder / path)}
    assert there == (newest | ours | {"settings.yml"}) - {"settings.yml.jinja", "tunnel_ssh.ps1"}
    template = REPOSITORY / "template"
    changed = [path for path in there & newest if not same(folder / path, template / path)]
    assert changed == ["start_salloc.sh"]
    text = (template / "start_salloc.sh").read_text(encoding="utf-8")
    assert (folder / "start_salloc.sh").read_text(encoding="utf-8") == text.replace(EDITED, OURS + EDITED)

    for path in sorted(folder.glob("*.sh")):
        assert script(path, "--help").returncode == 0, path.name
    done = script(folder / "start_salloc.sh", "--print")
    assert (done.returncode, done.stderr) == (0, "") and f"--account={before['account']} " in done.stdout
    done = script(folder / "lab", "--help")
    assert (done.returncode, done.stderr) == (0, "")


def same(one, other):
    """Return whether two files have the same content, and the same right to run."""
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and os.readlink(one) == os.readlink(other)
    return one.read_bytes() == other.read_bytes() and os.access(one, os.X_OK) == os.access(other, os.X_OK)


def test_a_conflict_is_where_both_have_changed_a_line_and_an_edit_of_what_is_gone_is_named(released, tmp_path):
    folder = tmp_path / "my-project"
    a_folder(released, folder, "0.2.0", "least")
    edit(folder / "start_salloc.sh", "[[ $PRINT ]] || say ended\n", "say ended\n")
    with (folder / "lib/messages.sh").open("a") as file:
        file.write(OURS)
    commit(folder)
    head = git(folder, "rev-parse", "--short", "HEAD").strip()
    done = updated(folder, *PASSERELLE)
    assert done.returncode == 1
    text = (folder / "start_salloc.sh").read_text(encoding="utf-8")
    number = text.split("\n").index("<<<<<<< before updating") + 1
    assert done.stderr.splitlines()[-2:] == [
        "lab: lib/messages.sh: you had changed this file, and it is no longer in the template; your version is kept, see it "
        f"with: git show {head}:./lib/messages.sh",
        "lab: Where you and the template changed the same lines, both versions are there now, between <<<<<<< "
        f"and >>>>>>>: start_salloc.sh:{number}. Keep one of them, delete the marks, and commit.",
    ]
    assert git(folder, "show", f"{head}:./lib/messages.sh").endswith(OURS)
    assert done.stdout.splitlines()[:2] == [
        f"The folder had version 0.2.0 of the template, and has {NEWEST} now.",
        "What is new in the template:",
    ]
    since = CHANGELOG.split("\n## 0.2.0")[0].count("\n- ")
    assert len(done.stdout.splitlines()[2:]) == since > 2
    both = "<<<<<<< before updating\nsay ended\n=======\n[[ ! ${ALLOCATED:-} ]] || say ended\n>>>>>>> after updating\n"
    assert both in text and text.count("<<<<<<<") == 1 and OURS + EDITED in text
