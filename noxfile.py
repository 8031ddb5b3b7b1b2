# /// script
# dependencies = ["nox"]
# ///
"""What developers run; `nox --list` says what there is. Nothing needs to be installed but nox itself."""

import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests", "docs"]
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")
SHELL = ["template", "tests/cluster", ".ci/run"]


def install(session, *groups):
    """Install Copier as the project asks for it, and dependency groups of pyproject.toml."""
    session.install(*PROJECT["project"]["dependencies"], *nox.project.dependency_groups(PROJECT, *groups))


def shell_files():
    """List the bash files of the repository: those that end in .sh, and executables with a bash shebang."""
    found = []
    for root in map(Path, SHELL):
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_symlink() or not path.is_file() or path.name.endswith((".py", ".exp")):
                continue
            with path.open("rb") as file:
                if path.suffix == ".sh" or b"bash" in file.readline() and path.suffix == "":
                    found.append(str(path))
    return found


@nox.session
def lint(session):
    """ShellCheck, shfmt, ruff; spelling and links of the texts."""
    install(session, "lint")
    session.run("shellcheck", "-x", *shell_files())
    session.run("shfmt", "-i", "2", "-ci", "-bn", "-d", *shell_files())
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # English only; the tests quote French messages
    french = "*.fr.md,*/fr.yml,*/fr/*,LISEZMOI.md,./tests/test_*.py"
    session.run("codespell", "--skip", french + ",.git,.nox,.venv,site,out,.*_cache")


@nox.session
def tests(session):
    """All tests, those on the cluster, too, where there can be one; arguments go to pytest."""
    install(session, "tests", "lint")
    # each worker brings up a cluster of its own, unless there is one to be used again and again
    workers = 0 if "PASSERELLE_CLUSTER_STATE" in os.environ else 2
    # in the order of the files' names: the longest, test_lab.py, is to begin early
    session.run("pytest", f"--numprocesses={workers}", "--dist=loadfile", "--no-loadscope-reorder", *session.posargs)


@nox.session(venv_backend="none")
def cluster(session):
    """The test cluster by hand: nox -s cluster -- up, then shell, exec, status, down."""
    session.run("tests/cluster/cluster", *(session.posargs or ["--help"]), external=True)


@nox.session
def docs(session):
    """Build the documentation in site/ and follow its links; warnings are errors."""
    session.install(*nox.project.dependency_groups(PROJECT, "docs"))
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})
    # links that lead elsewhere are not followed: a test must not depend on others' servers
    session.run("linkchecker", "--no-status", "--ignore-url=sitemap", "site/index.html", "site/fr/index.html")


def make_folder(session, answers, folder, *options):
    """Make a folder from the working tree and tests/answers/ANSWERS.yml; options go to Copier."""
    install(session)
    shutil.rmtree(folder, ignore_errors=True)
    data = Path("tests/answers", f"{answers}.yml")
    if not data.exists():
        session.error(f"there is no {data}; there is: {', '.join(sorted(path.stem for path in data.parent.iterdir()))}")
    session.run(
        "copier", "copy", "--quiet", "--defaults", "--vcs-ref", "HEAD", "--data-file", data, *options, ".", folder
    )


@nox.session(name="try")
def try_(session):
    """Make out/NAME from tests/answers/NAME.yml: nox -s try -- everything."""
    for name in session.posargs or ["least"]:
        make_folder(session, name, Path("out", name))
        session.log(f"look at out/{name}")


@nox.session
def demo(session):
    """The main job on this computer: a folder, its environment, JupyterLab and the address that answers."""
    folder = Path("out/demo").absolute()
    if not (folder / "settings.yml").exists():
        make_folder(session, "local", folder, "-d", "environment_path=$HOME/.cache/passerelle-demo/jupyter_py3")
    with session.chdir(folder):
        session.run("./setup_env.sh", external=True)
        session.run("./start_salloc.sh", external=True, interrupt_timeout=20)


@nox.session
def bench(session):
    """How long the scripts and lab take beside what people do without them, on the test cluster."""
    install(session, "tests")
    session.run("python", "tests/bench.py", *session.posargs)


if __name__ == "__main__":
    sys.exit(nox.main())
