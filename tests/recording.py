"""The pictures of docs/images, from a run on the test cluster in each language: nox -s recording.

alice types `passerelle new` and `./lab open` at her laptop; her browser takes a picture of the page that it is given.
What she sees becomes an animation (animation.py), in which nothing is waited for longer than PAUSE, and no step of what
lab sends, builds and starts longer than HASTE.
"""

import contextlib
import re
import shutil
import subprocess
import textwrap
import time

import animation
import nbformat
import pytest
import yaml
from conftest import LANGUAGES, REPOSITORY
from life import CODE, Life
from terminals import Terminal

IMAGES = REPOSITORY / "docs/images"
PAUSE, HASTE = 1.5, 0.04
"""The longest idle time of the recording, and the same where lab waits: seconds."""
UP, DOWN, ERASED = "\x1b[A", "\x1b[B", "\x15"
PREPARE = """
set -e
python3 -m venv copier
copier/bin/pip install --quiet --no-index --find-links=wheels ./passerelle
printf '#!/bin/sh\\nbrowser --screenshot ~/half.png "$1" >~/show.log 2>&1 && mv ~/half.png ~/launcher.png\\n' >show
chmod +x show
"""
SHELL = ["env", "PATH=/opt/laptop/bin:/usr/local/bin:/usr/bin:/bin:/home/alice/copier/bin", "PS1=$ "]
SHELL += ["BROWSER=/home/alice/show %s", "bash", "--norc"]
"""A shell with a short prompt, in which `passerelle` is installed; the page goes to a browser that takes a picture."""
NO_NEWS = ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
"""Where JupyterLab keeps the answer to what it asks once, in a popup."""


class Recorder(Terminal):
    """A terminal at alice's laptop that keeps what it shows, and when."""

    def __init__(self, cluster):
        """Start her shell."""
        self.output, self.clock, self.before, self.pause = [], 0, time.monotonic(), PAUSE
        environment = {**cluster.env, "TERM": "xterm-256color"}
        super().__init__(cluster.argv("laptop", "alice", *SHELL, tty=True), "/", environment, rows=24, columns=80)

    def show(self, text):
        """Keep it, too."""
        now = time.monotonic()
        self.clock += min(now - self.before, self.pause)
        self.before = now
        self.output.append((self.clock, text))
        super().show(text)

    def wait_for(self, words, limit=120):
        """Wait until the screen shows these words, or those before what is to be filled in, however they are broken."""
        wanted = re.sub(r"\s", "", words.split("{")[0])
        self.wait(lambda: wanted in re.sub(r"\s", "", "".join(self.screen.display)), words, limit)

    def read(self, seconds):
        """Look at the screen for so long, as whoever looks at the recording will."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end, "")

    def command(self, line):
        """Type a command at the prompt."""
        self.wait(lambda: self.rows[-1:] == ["$"], "$")
        self.enter(line)

    def answer(self, question, keys):
        """Type an answer, once the question is there."""
        self.wait_for(question)
        self.enter(keys)

    def enter(self, keys):
        """Type keys, one after another, then Enter."""
        self.read(0.6)
        for key in re.findall(r"\x1b\[.|.", keys):
            self.type(key)
            self.read(0.07)
        self.read(0.2)
        self.type("\r")


# --- in a home that has its environment already: the cluster is cleaned for those below -------------------------------

ANALYSIS = [
    "# The mean of a sample\n\nHow far from zero is the mean of a thousand numbers?",
    "import random, statistics\nrandom.seed(7)\nnumbers = [random.gauss(0, 1) for _ in range(1000)]\nlen(numbers)",
    "for size in (10, 100, 1000):\n    print(f'{size:5} {statistics.fmean(numbers[:size]):+.3f}')",
]
PHOTOGRAPH = """
chromium --headless --disable-gpu --hide-scrollbars --window-size=1000,620 --screenshot=report.png \
  lab/results/*/analysis.html
"""
# minutes are seconds
FASTER = """
sed -i 's/^MINUTE = .*/MINUTE = 1/' lab/lib/compute_node/idle.py
sed -i 's/^IDLE_LOOK=.*/IDLE_LOOK=1/' lab/lib/both/limits.sh
"""


def take(cluster, name):
    """Keep a picture that was taken at alice's laptop."""
    shutil.copyfile(cluster.state / "laptop-home/alice" / name, IMAGES / name)


def test_report(lab):
    """Make the picture of a report, of a notebook that has run on the cluster."""
    cells = [nbformat.v4.new_markdown_cell(ANALYSIS[0]), *map(nbformat.v4.new_code_cell, ANALYSIS[1:])]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    lab.cluster.write("laptop", "alice", "lab/analysis.ipynb", nbformat.writes(made))
    assert lab.run_lab("submit", "analysis.ipynb", "--execute").returncode == 0
    lab.on_login("while [[ $(squeue --me --noheader) ]]; do sleep 0.5; done")
    assert lab.run_lab("sync").returncode == 0
    lab.cluster.run("laptop", "alice", "bash", "-c", PHOTOGRAPH, check=True)
    take(lab.cluster, "report.png")


def test_notice(lab):
    """Make the picture of what JupyterLab says before a session ends in which nothing is done."""
    for side, person in (("laptop", "alice"), ("login", "student")):
        lab.cluster.run(side, person, "bash", "-c", FASTER, check=True)
    lab.open_session()
    lab.cluster.write("login", "student", "lab/notes.md", "# What to do tomorrow\n\nThe other half of the sample.\n")
    page = ["browser", lab.run_lab("url").stdout.strip(), "--text", "lab/notes.md"]
    warned = ["--until", "Unless you go on working", "--screenshot", "notice.png"]
    browser = lab.cluster.spawn("laptop", "alice", *page, *warned)
    assert browser.wait() == 0, browser.output
    take(lab.cluster, "notice.png")


# --- on the first day -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheels(pristine_template, tmp_path_factory):
    """The packages with which `passerelle` is installed, for the laptop's Python: its network has none."""
    folder = tmp_path_factory.mktemp("wheels")
    # pip builds where the source is
    source = shutil.copytree(pristine_template, tmp_path_factory.mktemp("source") / "passerelle", symlinks=True)
    wheel = ["/usr/bin/python3", "-m", "pip", "wheel", "--quiet", "--wheel-dir", folder]
    subprocess.run([*wheel, "setuptools", source], check=True)
    return folder


@pytest.fixture
def laptop(clean, wheels, pristine_template):
    """A cluster on its first day, with a laptop on which `passerelle` is installed from a clone."""
    for what, name in ((wheels, "wheels"), (pristine_template, "passerelle")):
        clean.put("laptop", "alice", what, name)
    clean.run("laptop", "alice", "bash", "-c", PREPARE, check=True)
    clean.write("login", "student", NO_NEWS, '{"fetchNews": "false"}')
    return clean


@pytest.mark.parametrize("language", LANGUAGES)
def test_recording(laptop, language):
    """Make the recording in one language; with the first one, the picture of JupyterLab, too."""
    texts = {}
    for path in ("template/lib/texts/{}/messages.yml", "hooks/passerelle/texts/{}.yml", "questions/{}.yml"):
        texts |= yaml.safe_load((REPOSITORY / path.format(language)).read_text(encoding="utf-8"))
    project = {"fr": "mon-projet"}.get(language, "my-project")
    with contextlib.closing(Recorder(laptop)) as terminal:
        terminal.command(f"passerelle new {project}")
        for question, keys in {
            "which_language": DOWN * LANGUAGES.index(language), "cluster": UP * 2, "login_host": CODE,
            "which_user": ERASED + "student",
        }.items():  # fmt: skip
            terminal.answer(texts[question], keys)
        terminal.answer("Passcode or option", laptop.totp())
        for question, keys in {
            "project_name": "", "modules_first": "", "pip_source": "", "account_offered": "", "hours_unlimited": "",
            "gpus": "", "cores": "", "memory_per_core_mb": "", "python_module_offered": "",
            "kernels": DOWN + " ", "extensions": "",
        }.items():  # fmt: skip
            terminal.answer(texts[question], keys)
        terminal.command(f"cd {project}")
        terminal.command("./lab open")
        terminal.pause = HASTE
        terminal.wait_for(texts["staying"], limit=900)
        terminal.pause = PAUSE
        terminal.read(PAUSE)
        # not between two of its lines
        terminal.wait_for(texts["staying"])
        picture = animation.draw(animation.frames(terminal.output), f"passerelle new {project}; ./lab open")
        (IMAGES / f"session.{language}.svg").write_text(picture, encoding="utf-8")
        taken = laptop.state / "laptop-home/alice/launcher.png"
        terminal.wait(taken.exists, taken)
    if language == LANGUAGES[0]:
        shutil.copyfile(taken, IMAGES / taken.name)


def test_dashboard(clean, pristine_folder):
    """Make the picture of Dask's dashboard: the documentation's example, with a sixth of its array."""
    life = Life(clean, pristine_folder("vcluster-dask", name="my-project"), name="my-project")
    clean.write("login", "student", NO_NEWS, '{"fetchNews": "false"}')
    assert life.on_login("./setup_env.sh", timeout=900).returncode == 0
    _, address = life.start_session()
    _, url = life.tunnel(address)
    page = (REPOSITORY / "docs/how-to/dask.en.md").read_text(encoding="utf-8")
    example = re.search(r"(?ms)^## Example.*?(?=^## )", page)[0]
    cells = [textwrap.dedent(cell).strip() for cell in re.findall(r"(?m)(?:^    .*\n|^\n(?=    ))+", example)]
    cells[0] = cells[0].replace("wait_for_workers(1)", "wait_for_workers(4)")
    cells[2] = cells[2].replace("50_000", "20_000")
    run = [word for cell in cells for word in ("--run", cell)]
    taken = ["--frame", ".bk-Figure", "--screenshot", "dask.png", "--timeout", "600"]
    clean.browse(url, "--kernel", "Python 3 (ipykernel)", *run, *taken, timeout=1200)
    take(clean, "dask.png")
