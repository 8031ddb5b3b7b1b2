# /// script
# dependencies = ["nox"]
# ///
"""What developers run; `nox --list` says what there is. Nothing needs to be installed but nox itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests", "docs"]
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = [f"3.{minor}" for minor in range(6, 15)]
# what runs on each of them: its tests, the oldest Python for them (3.6: is told that it is too old), its packages
ON_PYTHONS = [
    ("tests/test_pythons.py", 6, []),
    ("tests/test_lab_commands.py", 9, ["plumbum"]),
]
SHELL = ["template", "hooks", "tests/cluster", ".ci/run"]
# the command `passerelle`, from where it lies
OURS = ["--no-deps", "--editable", "."]


def install(session, *groups):
    """Install Copier as the project asks for it, and dependency groups of pyproject.toml."""
    session.install(*PROJECT["project"]["dependencies"], *nox.project.dependency_groups(PROJECT, *groups))


def shell_files():
    """List the bash files of the repository: those that end in .sh or .bash, and executables with a bash shebang."""
    found = []
    for root in map(Path, SHELL):
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_symlink() or not path.is_file() or path.name.endswith((".py", ".exp")):
                continue
            with path.open("rb") as file:
                if path.suffix in (".sh", ".bash") or b"bash" in file.readline() and path.suffix == "":
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
    others = [path.name for path in Path("template/lib/texts").iterdir() if path.name != "en"]
    skipped = [f"*.{language}.md,*/{language}.md,*/{language}.yml,*/{language}/*" for language in others]
    # a terminal breaks words, too
    skipped += ["LISEZMOI.md,*.svg,./tests/test_*.py,.git,.nox,.venv,site,out,.*_cache"]
    # remarks of the clusters' files
    remarks = rf"# ({'|'.join(others)}): .*"
    session.run("codespell", "--skip", ",".join(skipped), "--ignore-regex", remarks)


@nox.session
def tests(session):
    """All tests, those on the cluster, too, where there can be one; arguments go to pytest."""
    install(session, "tests", "lint")
    session.install(*OURS)
    # each worker brings up a cluster of its own, and waits for it much of the time: one more than the cores of a small
    # machine. A few tests, and a cluster that is there already, need one worker.
    few = any(word.startswith(("-k", "--lf", "--last-failed")) or "test_" in word for word in session.posargs)
    workers = 0 if few or "PASSERELLE_CLUSTER_STATE" in os.environ else 3
    # in the order that conftest.py gives them: the longest files first
    session.run("pytest", f"--numprocesses={workers}", "--dist=loadfile", "--no-loadscope-reorder", *session.posargs)


@nox.session
def again(session):
    """One test many times: nox -s again -- tests/test_lab.py -k NAME; its cluster stays: nox -s cluster -- down."""
    wanted = [*PROJECT["project"]["dependencies"], *nox.project.dependency_groups(PROJECT, "tests", "lint")]
    installed = Path(session.virtualenv.location, "installed")
    # asking for what is there costs seconds each time
    if not installed.exists() or installed.read_text() != "\n".join(wanted):
        session.install(*wanted)
        session.install(*OURS)
        installed.write_text("\n".join(wanted))
    cache = os.environ.get("PASSERELLE_CLUSTER_CACHE", Path.home() / ".cache/passerelle-cluster")
    state = os.environ.get("PASSERELLE_CLUSTER_STATE", f"{cache}/state")
    session.run("pytest", *session.posargs, env={"PASSERELLE_CLUSTER_STATE": state})


def find_python(version):
    """Return the path of a Python (3.9) that runs, from PATH, pyenv or uv; None where the machine has none."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    uv = Path.home() / ".local/share/uv/python"
    kept = [*pyenv.glob(f"{version}.*/bin/python"), *uv.glob(f"cpython-{version}.*/bin/python")]
    for python in [shutil.which(f"python{version}"), *map(str, kept)]:
        # pyenv puts names on PATH that run nothing
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


@nox.session
def pythons(session):
    """What needs no cluster, with every Python from 3.6 to 3.14 that this machine has."""
    install(session, "tests")
    session.install("virtualenv")
    found = {version: find_python(version) for version in PYTHONS}
    for version, python in found.items():
        if not python:
            continue
        ours = [part for part in ON_PYTHONS if part[1] <= int(version.split(".")[1])]
        if packages := [package for _, _, needed in ours for package in needed]:
            folder = Path(session.virtualenv.location, f"python{version}")
            session.run("virtualenv", "--quiet", "--python", python, folder)
            python = str(folder / "bin/python")
            session.run(python, "-m", "pip", "install", "--quiet", *packages, external=True)
        session.run("pytest", *(tests for tests, _, _ in ours), *session.posargs, env={"PASSERELLE_PYTHON": python})
    session.log("tried: Python " + ", ".join(version for version in found if found[version]))
    if missing := [version for version in found if not found[version]]:
        session.log("not tried, because this machine has none that runs: Python " + ", ".join(missing))


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
    session.log("read site/index.html, in French site/fr/index.html")


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
def recording(session):
    """Make the pictures of docs/images anew, from a run on the test cluster in each language (root, minutes)."""
    install(session, "tests")
    session.run("pytest", "tests/recording.py", *session.posargs)


@nox.session
def bench(session):
    """How long the scripts and lab take beside what people do without them, on the test cluster."""
    install(session, "tests")
    session.run("python", "tests/bench.py", *session.posargs)


if __name__ == "__main__":
    sys.exit(nox.main())
