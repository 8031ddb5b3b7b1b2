"""What all tests share: the template as people get it, folders made from it, and their scripts run.

Nothing here knows the developer: HOME, git's settings and the variables of a job or a cluster are the tests' own,
and scripts find the tools of a plain laptop (no Slurm, no modules), whatever this computer has.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import copier
import hypothesis
import jinja2
import jinja2.sandbox
import pytest
import yaml
from moments import begin_at_the_time_that_is_asked_for
from pytest_console_scripts import ScriptRunner

REPOSITORY = Path(__file__).resolve().parents[1]
TEMPLATE = REPOSITORY / "template"
ANSWERS = Path(__file__).with_name("answers")
# each is a folder of texts, and a file of questions
LANGUAGES = sorted(path.name for path in (TEMPLATE / "lib/texts").iterdir())
# the Python that runs lab where no cluster is needed: `nox -s pythons` tries one after another
PYTHON = os.environ.get("PASSERELLE_PYTHON", sys.executable)

# the cluster of tests/cluster, and people's lives on it; what it prepares is kept in the developer's cache
pytest_plugins = ["cluster.fixtures", "life"]
os.environ.setdefault("PASSERELLE_CLUSTER_CACHE", str(Path.home() / ".cache/passerelle-cluster"))

begin_at_the_time_that_is_asked_for()

# the same examples at every run; others with: pytest --hypothesis-profile=explore
hypothesis.settings.register_profile("repeat", database=None, deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.register_profile("explore", database=None, deadline=None, max_examples=3000)
hypothesis.settings.load_profile("repeat")

# the cluster's own tests make its homes new, so they come before what other tests build there and keep; then the files
# that take longest, the longest first: with several workers, all are to end at about the same time
FIRST = ["cluster", "setup_env", "lab", "update", "session", "contributing"]


def pytest_collection_modifyitems(items):
    """Put the tests of these files first."""
    places = {f"test_{name}": place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


# all that the scripts of a folder may count on; ssh, sshuttle, Slurm and modules are not among it
PLAIN_TOOLS = (
    "awk basename bash cat chmod cp cut date dirname env find flock grep head hostname iconv id ln ls mkdir mktemp mv "
    "od python3 readlink rm sed sh sleep sort tail tee touch tr uname wc"
)


@pytest.fixture(scope="session")
def own_home(tmp_path_factory):
    """A new user's home, for everything that tests start, and git's settings in it."""
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Prof\n\temail = prof@example.org\n[init]\n\tdefaultBranch = main\n"
        "[core]\n\tautocrlf = false\n\tfsync = none\n[gc]\n\tauto = 0\n[commit]\n\tgpgSign = false\n"
    )
    return home


@pytest.fixture(scope="session", autouse=True)
def scrubbed(own_home):
    """The environment of every test: the new user's, and nothing of a job, a cluster or Copier's own settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if re.match(r"(SLURM|SALLOC|SBATCH|LMOD|MODULE|LOADEDMODULES|COPIER|GIT_|XDG_|LC_|CDPATH|BASH_ENV)", name):
                patch.delenv(name)
        for name in ["CC_CLUSTER", "SCRATCH", "PROJECT", "VIRTUAL_ENV", "PYTHONPATH"]:
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(own_home))
        patch.setenv("GIT_CONFIG_GLOBAL", str(own_home / ".gitconfig"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("LANG", "C.UTF-8")
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_once():
    """Jinja compiles each text once for all tests, and not at every copy: that is half of what Copier takes."""
    compiled, really = {}, jinja2.Environment.compile

    def compile_(self, source, name=None, filename=None, raw=False, defer_init=False):
        if raw or not isinstance(source, str):
            return really(self, source, name, filename, raw, defer_init)
        kind = (type(self), self.trim_blocks, self.keep_trailing_newline, *sorted(self.extensions))
        key = (source, name, filename, defer_init, kind)
        if key not in compiled:
            compiled[key] = really(self, source, name, filename, raw, defer_init)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compile_)
        yield


@pytest.fixture(scope="session")
def plain_path(tmp_path_factory):
    """A folder for PATH with the plain tools of a laptop and nothing else."""
    folder = tmp_path_factory.mktemp("plain-tools")
    for tool in PLAIN_TOOLS.split():
        if found := shutil.which(tool):
            (folder / tool).symlink_to(found)
    return folder


@pytest.fixture(scope="session")
def environment(own_home, plain_path):
    """The whole environment of a script that a test runs."""
    zone = {name: value for name, value in os.environ.items() if name == "TZ"}
    return {
        "HOME": str(own_home),
        "PATH": str(plain_path),
        "USER": "prof",
        "LOGNAME": "prof",
        "LANG": "C.UTF-8",
        **zone,
    }


def git(folder, *arguments):
    """Run git in a folder and return what it prints; raises RuntimeError with git's words."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"git {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def make_template(folder):
    """Make a git repository of this one's files as they are now, without tests and docs, tagged 1.0.0."""
    listed = git(REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, listed):
        source, target = REPOSITORY / name, folder / name
        if name.startswith(("tests/", "docs/")) or not (source.is_symlink() or source.is_file()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "The working tree")
    git(folder, "tag", "1.0.0")
    return folder


@pytest.fixture(scope="session")
def pristine_template(scrubbed, tmp_path_factory):
    """The template, made once; not to be changed."""
    return make_template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def template(pristine_template, tmp_path):
    """A git repository of its own with the working tree's template, tagged 1.0.0, for a test to change."""
    return Path(shutil.copytree(pristine_template, tmp_path / "template", symlinks=True))


def read_answers(answers):
    """Return the data of tests/answers/NAME.yml, or the dictionary itself."""
    if isinstance(answers, str):
        return yaml.safe_load((ANSWERS / f"{answers}.yml").read_text(encoding="utf-8"))
    return dict(answers)


def copied_from(template, folder, data, vcs_ref=None):
    """Copy a template (its newest version, or vcs_ref) with defaults and without trust; return the folder."""
    copier.run_copy(str(template), folder, data=data, defaults=True, quiet=True, vcs_ref=vcs_ref)
    return folder


PRISTINE = {}
"""The folders that tests share, with the names of what is in each."""


@pytest.fixture(scope="session")
def pristine_folder(pristine_template, tmp_path_factory):
    """Make a folder from answers, once for all tests; not to be changed."""
    made = {}

    def make(answers, name="my-project", **more):
        data = {**read_answers(answers), **more}
        key = json.dumps([data, name], sort_keys=True)
        if key not in made:
            made[key] = copied_from(pristine_template, tmp_path_factory.mktemp("folder") / name, data)
            PRISTINE[made[key]] = names_in(made[key])
        return made[key]

    return make


def names_in(folder):
    """Return the names of all that is in a folder, but for Python's caches."""
    found = (path.relative_to(folder) for path in folder.rglob("*"))
    return {name.as_posix() for name in found if "__pycache__" not in name.parts}


@pytest.fixture(scope="module", autouse=True)
def pristine_stays():
    """Name what a file's tests have left in a folder that others copy: what becomes of those depends on it."""
    yield
    left = {folder: names_in(folder) ^ names for folder, names in PRISTINE.items()}
    for folder in left:
        PRISTINE[folder] = names_in(folder)
    assert not any(left.values()), {str(folder): names for folder, names in left.items() if names}


@pytest.fixture
def make_folder(pristine_folder, tmp_path):
    """Make a folder of its own from answers (a name of tests/answers, or a dictionary), with Copier and defaults."""

    def make(answers, name="my-project", **more):
        return Path(shutil.copytree(pristine_folder(answers, name, **more), tmp_path / name, symlinks=True))

    return make


@pytest.fixture(scope="session")
def script(environment, tmp_path_factory):
    """Run a script as a person would: ``script(folder / "start_salloc.sh", "--print")``, in the script's folder."""
    runner = ScriptRunner("subprocess", tmp_path_factory.mktemp("runner"))

    def run(path, *arguments, cwd=None, stdin="", **variables):
        return runner.run(
            [str(path), *map(str, arguments)],
            cwd=str(cwd or path.parent),
            env={**environment, **{name: str(value) for name, value in variables.items()}},
            stdin=io.StringIO(stdin),
            encoding="utf-8",
        )

    return run


@pytest.fixture(scope="session")
def copier_command(tmp_path_factory):
    """Run Copier's command line in this process, which spares half a second: ``copier_command("copy", ...)``."""
    runner = ScriptRunner("inprocess", tmp_path_factory.mktemp("copier"))

    def run(*arguments, cwd=None):
        done = runner.run(["copier", *map(str, arguments)], cwd=cwd and str(cwd))
        done.stdout, done.stderr = (re.sub("\x1b\\[[0-9;]*m", "", text) for text in (done.stdout, done.stderr))
        return done

    return run


class Door:
    """questions/given.jinja alone, rendered as Copier does: what is said of answers that are given beforehand.

    A hundred times faster than Copier; the tests that use it hold it to Copier's own words, too.
    """

    def __init__(self, template):
        """Open the template's questions."""
        self.jinja = jinja2.sandbox.SandboxedEnvironment(
            loader=jinja2.FileSystemLoader(template),
            extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
            trim_blocks=True,
        )

    def refusal(self, answers):
        """Return the one line that Copier ends with, or an empty text."""
        try:
            rendered = self.jinja.get_template("questions/given.jinja").render(_copier_conf={"data": answers})
        except jinja2.UndefinedError as error:
            return str(error)
        assert rendered.strip() == ""
        return ""


@pytest.fixture(scope="session")
def door(pristine_template):
    """The check of answers given beforehand."""
    return Door(pristine_template)


def given(answers):
    """Return the options of `copier copy` that give these answers."""
    return [
        word
        for name, value in answers.items()
        for word in ["-d", f"{name}=[{', '.join(value)}]" if isinstance(value, list) else f"{name}={value}"]
    ]


def refused(text):
    """Return the line in which Copier says a text of the template's own (see questions/given.jinja)."""
    return f"'None' has no attribute {text!r}"


def french(text):
    """Return a text with the no-break spaces of French typography, which cannot be told from others in a source."""
    return re.sub("« ", "«\u00a0", re.sub(" ([:;?!»])", "\u00a0\\1", text))


def edit(path, old, new):
    """Replace a text that stands exactly once in a file."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def set_answer(folder, **answers):
    """Edit settings.yml by hand, line by line; ``None`` deletes the line, and a name that is not there is added."""
    path = folder / "settings.yml"
    lines = path.read_text(encoding="utf-8").splitlines()
    for name, value in answers.items():
        found = [number for number, line in enumerate(lines) if line.startswith(f"{name}:")]
        assert len(found) < 2
        if value is None:
            del lines[found[0]]
        elif found:
            lines[found[0]] = f"{name}: {value}"
        else:
            lines.append(f"{name}: {value}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class BashReader:
    """lib/both/settings.sh in one bash that stays, asked again and again; starting it each time would take minutes."""

    # "-e" as in the scripts; a subshell for each request, which refusals end
    DRIVER = r"""
set -uo pipefail
while IFS=$'\t' read -r FOLDER request argument; do
  (
    set -e
    source "$FOLDER/lib/both/settings.sh"
    case $request in
      read)
        read_rules
        read_flat settings.yml SETTING check
        ;;
      facts) read_flat "$argument" FACT ;;
      load) load_settings ;;
      session)
        load_settings
        at_most hours "$FACT_interactive_hours_max"
        ;;
    esac
    for name in ${!SETTING_@} ${!FACT_@}; do printf '%s=%s\0' "$name" "${!name}"; done
  ) </dev/null >"$FOLDER.out" 2>"$FOLDER.err"
  echo "$?"
done
"""

    def __init__(self, folder, environment, where):
        """Start bash; folder is a generated folder whose settings.yml is replaced for every request."""
        self.folder, self.where = folder, where
        driver = where / "driver.sh"
        driver.write_text(self.DRIVER)
        self.bash = subprocess.Popen(
            ["bash", str(driver)],
            cwd=where,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def ask(self, request, settings=None, argument=""):
        """Return status, values (SETTING_name and FACT_name to text) and standard error (bytes)."""
        if settings is not None:
            (self.folder / "settings.yml").write_bytes(settings)
        self.bash.stdin.write(f"{self.folder}\t{request}\t{argument}\n")
        self.bash.stdin.flush()
        status = int(self.bash.stdout.readline())
        printed = Path(f"{self.folder}.out").read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
        return status, dict(item.split("=", 1) for item in printed), Path(f"{self.folder}.err").read_bytes()

    def close(self):
        """End bash."""
        self.bash.stdin.close()
        self.bash.wait(timeout=10)


@pytest.fixture(scope="session")
def bash_reader(pristine_folder, environment, tmp_path_factory):
    """lib/both/settings.sh of a folder, ready to read one settings.yml after another."""
    where = tmp_path_factory.mktemp("reader")
    reader = BashReader(
        Path(shutil.copytree(pristine_folder("least"), where / "folder", symlinks=True)), environment, where
    )
    yield reader
    reader.close()
