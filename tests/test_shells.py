"""lab in people's shells: the command in a sub-folder, completion, the prompt; in real shells at a real terminal."""

import contextlib
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from conftest import LANGUAGES, PYTHON, REPOSITORY, TEMPLATE, french
from terminals import Terminal

sys.path[:0] = [str(TEMPLATE / "lib/laptop"), str(TEMPLATE / "lib")]
COMMANDS = importlib.import_module("lab.cli").COMMANDS
# a project's lab that says what it was called with, and takes questions and Ctrl-C as ssh does
STAND_IN = """\
#!/bin/bash
trap 'echo "interrupted"; exit 130' INT
echo "lab of ${0%/*} in $PWD: $*"
[[ $1 != ask ]] || { IFS= read -r -s -p "password: " word </dev/tty; echo; echo "heard $word"; }
[[ $1 != wait ]] || { echo waiting; sleep 60 & wait; }
"""
HOUR = 3600
NAME = 'l\'été à "vélo"'
"""What the folder is called: whatever a shell could trip over."""


@pytest.fixture(scope="module")
def project(pristine_folder, tmp_path_factory):
    """A folder with notebooks, sessions and a stand-in for lab."""
    folder = Path(
        shutil.copytree(pristine_folder("least"), tmp_path_factory.mktemp("shells").resolve() / NAME, symlinks=True)
    )
    (folder / "lab").rename(folder / "real-lab")
    (folder / "lab").write_text(STAND_IN)
    (folder / "lab").chmod(0o755)
    for path in ["nb/x.ipynb", "nb/data.csv", "été 1.ipynb", "a=b:c.ipynb", "a dir/y.ipynb", "a dir/more/z.ipynb"]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    (folder / ".lab").mkdir(exist_ok=True)
    (folder / ".lab/sessions").write_text(f"essay\t{int(time.time()) + 100 * HOUR}\nlater\t\n")
    # as in a folder that a group shares, where somebody can be in more than a group of one's own
    for path in [folder, folder / "shell"]:
        path.chmod(0o775)
        if os.geteuid() == 0:
            shutil.chown(path, group="users")
    return folder


@pytest.fixture(scope="module")
def laptop(own_home, tmp_path_factory):
    """The environment of a shell, in which ssh, and Python for lab, say that they were called; and where they say so."""
    folder = tmp_path_factory.mktemp("stubs")
    for name, words in {"ssh": "*", "python3": "*vélo*"}.items():
        (folder / name).write_text(f'#!/bin/sh\ncase "$*" in {words}) touch {folder}/called ;; esac\n')
        (folder / name).chmod(0o755)
    home = tmp_path_factory.mktemp("home")
    (home / "project").mkdir()
    (home / "project/q.ipynb").touch()
    environment = {"HOME": str(home), "PATH": f"{folder}:/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "xterm"}
    return environment, folder / "called"


def need(shell):
    """Return where a shell is; skips the test where there is none."""
    # Debian 12's starship comes from elsewhere (packages.sh)
    return shutil.which(shell, path="/usr/bin:/bin:/usr/local/bin") or pytest.skip(f"this machine has no {shell}")


def completed(folder, *words, **variables):
    """Return what complete.sh finds, each with what it means, in a folder."""
    # the last ".." that leads to one
    top = next(path for path in [folder, *folder.parents] if (path / "shell").is_dir())
    done = subprocess.run(
        [top / "shell/complete.sh", *words],
        cwd=folder,
        # it starts nothing but itself
        env={"PATH": "/nowhere", "LANG": "C.UTF-8", **variables},
        capture_output=True,
        encoding="utf-8",
    )
    assert (done.returncode, done.stderr) == (0, "")
    return dict(line.split("\t") for line in done.stdout.splitlines())


def in_language(pristine_folder, language):
    """Return a folder in that language; English is what comes without a word."""
    return pristine_folder("least", **({} if language == "en" else {"language": language}))


def in_one_line(text):
    """Return a text without the ends of its lines; the no-break spaces of French stay."""
    return re.sub("[ \n]+", " ", text)


# --- what there is to choose from -------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_completion_offers_what_lab_takes_and_explains_it_in_the_folder_s_language(pristine_folder, language):
    folder = in_language(pristine_folder, language)
    found = completed(folder, "lab", "")
    assert list(found) == [*COMMANDS, "--help"]
    for name, command in COMMANDS.items():
        text = (folder / f"lib/texts/{language}/help/lab-{name}.txt").read_text(encoding="utf-8")
        assert found[name] == text.split("\n")[0].split(": ", 1)[1]
        offered = completed(folder, "lab", name, "--")
        taken = {*command.flags, *(f"{option}=" for option in command.values), "--help"}
        # what others take is in the help
        assert taken <= set(offered) <= taken | set(re.findall(r"(?<= )--[a-z-]+=?", text))
        assert command.more == "sbatch" or set(offered) == taken
        for option, meaning in offered.items():
            assert meaning and meaning in in_one_line(text), option


@pytest.mark.parametrize("language", LANGUAGES)
def test_completion_offers_the_options_of_the_scripts_as_their_helps_have_them(pristine_folder, script, language):
    folder = in_language(pristine_folder, language)
    for path in folder.glob("*.sh"):
        text = script(path, "--help").stdout
        options = re.findall(rf"(?m)^ +\./{path.name}.*? (--[a-z-]+=?)", text)
        offered = completed(folder, f"./{path.name}", "--")
        assert list(offered) == list(dict.fromkeys(options))
        assert all(meaning and meaning in in_one_line(text) for meaning in offered.values())


@pytest.mark.parametrize(
    ("where", "words", "found"),
    [
        (".", ["lab", "s"], ["status", "stop", "submit", "sync", "shell"]),
        ("nb", ["lab", "sta"], ["status"]),
        # sessions, in words of their own or behind "="
        ("nb", ["lab", "open", "--name="], ["--name=my-project", "--name=essay", "--name=later"]),
        (".", ["lab", "open", "--name", "e"], ["essay"]),
        (".", ["lab", "attach", "l"], ["later"]),
        (".", ["lab", "attach", "later", ""], ["--no-browser", "--help"]),
        (".", ["lab", "attach", "--no-browser", ""], ["my-project", "essay", "later"]),
        # notebooks, also in sub-folders, and no other files
        ("nb", ["lab", "submit", ""], ["x.ipynb"]),
        ("nb", ["lab", "stop", ""], ["my-project", "essay", "later", "x.ipynb"]),
        ("nb", ["lab", "submit", "../a"], ["../a dir/", "../a=b:c.ipynb"]),
        (".", ["lab", "submit", "a dir/"], ["a dir/more/", "a dir/y.ipynb"]),
        (".", ["lab", "submit", "é"], ["été 1.ipynb"]),
        (".", ["lab", "submit", "~/p"], ["~/project/"]),
        ("nb", ["lab", "submit", "--time=9:00:00", ""], ["x.ipynb"]),
        (".", ["lab", "submit", "x.ipynb", "--re"], ["--resume", "--requeue="]),
        ("nb", ["lab", "submit", "x.ipynb", "--parameters=d"], ["--parameters=data.csv"]),
        # any file
        ("nb", ["lab", "sync", "--mine", ""], ["data.csv", "x.ipynb"]),
        ("nb", ["lab", "sync", "--mine", "data.csv", "x"], ["x.ipynb"]),
        ("nb", ["lab", "sync", "--theirs=d"], ["--theirs=data.csv"]),
        # what an answer can be
        (".", ["lab", "update", "--data=cluster=n"], [f"--data=cluster={name}" for name in ["narval", "niagara", "nibi"]]),
        (".", ["lab", "update", "--data=l"], ["--data=language="]),
        (".", ["lab", "update", "--data=language="], [f"--data=language={name}" for name in LANGUAGES]),
        (".", ["lab", "shell", ""], ["bash", "zsh", "fish", "xonsh"]),
        # the scripts
        ("nb", ["../setup_env.sh", "--re"], ["--rebuild", "--register"]),
        (".", ["./setup_env.sh", "--add", ""], ["python"]),
        (".", ["./setup_env.sh", "--register", "a"], ["a dir/", "a=b:c.ipynb"]),
        (".", ["./submit_session.sh", "--name=e"], ["--name=essay"]),
        ("nb", ["../submit_notebook.sh", "--print", ""], ["x.ipynb"]),
        # nothing that is there already, and nothing for what nobody knows
        (".", ["lab", "open", "--no-browser", "--no"], []),
        (".", ["lab", "start", ""], []),
        (".", ["/usr/bin/lab", ""], []),
        (".", ["./nothing.sh", ""], []),
        ("..", ["lab", ""], []),
    ],
)  # fmt: skip
def test_what_can_stand_at_the_end_of_a_line(project, laptop, where, words, found):
    folder = project / where
    if where == "..":
        done = subprocess.run(
            [project / "shell/complete.sh", *words], cwd=folder, env=laptop[0], capture_output=True, encoding="utf-8"
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    else:
        assert list(completed(folder, *words, HOME=laptop[0]["HOME"])) == found


def test_settings_are_read_with_remarks_behind_them_and_windows_ends_of_lines(pristine_folder, tmp_path):
    folder = Path(shutil.copytree(pristine_folder("least"), tmp_path / "edited", symlinks=True))
    settings = (folder / "settings.yml").read_text(encoding="utf-8")
    for name in ["language", "project_name", "kernels"]:
        settings = re.sub(rf"(?m)^({name}: .*)", r"\1  # mine", settings)
    for text in [settings, settings.replace("\n", "\r\n")]:
        (folder / "settings.yml").write_text(text, newline="")
        assert list(completed(folder, "lab", "stop", "")) == ["my-project"]
        assert list(completed(folder, "../edited/setup_env.sh", "--add", "")) == ["python"]


def test_what_somebody_has_written_into_a_folder_is_not_run_and_steers_no_terminal(make_folder):
    folder = make_folder("least")
    (folder / "x\x1b[2J.ipynb").touch()
    (folder / "$(touch ran).ipynb").touch()
    (folder / "lib/laptop/commands").write_text("open x nothing 1 [NAME] --a=$(touch\tran) `touch ran`\n")
    (folder / "lib/texts/en/help/lab-open.txt").write_text("lab open: \x1b[2J\n\n  ./lab open --help  $(touch ran)\n")
    (folder / ".lab").mkdir()
    (folder / ".lab/sessions").write_text("a[$(touch ran)]\t9\nb\x1b[2J\t1\n$(touch ran)\t2\nfine\ta[$(touch ran)]\n")
    assert completed(folder, "lab", "o") == {"open": ""}
    assert list(completed(folder, "lab", "open", "")) == ["my-project", "fine"]
    assert list(completed(folder, "lab", "open", "--")) == ["--a=", "--help"]
    assert list(completed(folder, "./submit_notebook.sh", "")) == ["$(touch ran).ipynb"]
    assert list(folder.rglob("ran")) == []


# --- the command in a sub-folder --------------------------------------------------------------------------------------


def lab_from(folder, *words, shim=None, **how):
    """Return status, output and errors of shell/bin/lab, run in a folder."""
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nowhere"}
    done = subprocess.run([shim, *words], cwd=folder, env=environment, capture_output=True, encoding="utf-8", **how)
    return done.returncode, done.stdout, done.stderr


def test_lab_is_that_of_the_project_one_stands_in_with_the_words_as_they_are(project, pristine_folder, tmp_path):
    shim = pristine_folder("least") / "shell/bin/lab"
    words = ["status", "a b", "", "*", "--x=é"]
    for folder in [project, project / "nb", project / "a dir/more"]:
        said = f"lab of {project} in {folder}: {' '.join(words)}\n"
        assert lab_from(folder, *words, shim=shim) == (0, said, "")
    # by a link to a folder, and by links to the command
    (tmp_path / "link").symlink_to(project / "nb")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/one").symlink_to(shim)
    (tmp_path / "bin/lab").symlink_to("one")
    assert lab_from(tmp_path / "link", shim=tmp_path / "bin/lab") == (0, f"lab of {project} in {project}/nb: \n", "")


@pytest.mark.parametrize("language", ["en", "fr"])
def test_outside_of_every_project_lab_says_where_to_go(pristine_folder, tmp_path, language):
    shim = in_language(pristine_folder, language) / "shell/bin/lab"
    (tmp_path / "lab").touch()
    said = {
        "en": f"lab: {tmp_path} is not in the folder of a project; go to one that copier copy has made, or below it.\n",
        "fr": french(
            f"lab : {tmp_path} n'est pas dans le dossier d'un projet ; allez dans un dossier créé par copier copy, ou dans l'un de ses sous-dossiers.\n"
        ),
    }
    assert lab_from(tmp_path, "status", shim=shim) == (64, "", said[language])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_what_somebody_else_has_written_is_not_run_only_because_one_stands_there(project):
    with tempfile.TemporaryDirectory() as top:
        folder = Path(shutil.copytree(project, f"{top}/theirs", symlinks=True)).resolve()
        shim, theirs = project / "shell/bin/lab", folder / "nb"
        said = (
            f"lab: {folder} belongs to nobody, whose code lab would run; work in a copy of your own (cp -R), "
            f"or, if you trust nobody, type {folder}/lab in full.\n"
        )
        for path in [folder, folder / "lab"]:
            shutil.chown(path, "nobody")
            assert lab_from(theirs, "status", shim=shim) == (64, "", said)
            shutil.chown(path, "root")
        # what is root's is everybody's
        Path(top).chmod(0o755)
        status, shown, errors = lab_from(theirs, "status", shim=folder / "shell/bin/lab", user="nobody")
        assert (status, shown, errors) == (0, f"lab of {folder} in {theirs}: status\n", "")


# --- what a shell's startup file runs ---------------------------------------------------------------------------------

# what runs a shell's code once, where nobody is there to see anything
ONCE = {
    "bash": ["bash", "-c", 'eval "$("$0" "$1" shell bash)"; lab status'],
    "zsh": ["zsh", "-fc", 'eval "$("$0" "$1" shell zsh)"; lab status'],
    "fish": ["fish", "-Nc", "$argv[1] $argv[2] shell fish | source; lab status"],
    "xonsh": ["xonsh", "--no-rc", "-c", "execx($(@($ARG1) @($ARG2) shell xonsh)); lab status"],
}


@pytest.mark.parametrize("shell", ONCE)
def test_the_code_that_lab_prints_is_read_whatever_the_folder_is_called_and_says_nothing_itself(project, laptop, shell):
    need(shell)
    environment = {**laptop[0], "ARG1": PYTHON, "ARG2": str(project / "real-lab")}
    done = subprocess.run(
        [*ONCE[shell], PYTHON, project / "real-lab"], cwd=project / "nb", env=environment, capture_output=True, encoding="utf-8"
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, f"lab of {project} in {project}/nb: status\n", "")


def test_lab_shell_needs_no_plumbum_and_names_the_shells_that_it_knows(pristine_folder, environment):
    lab = [PYTHON, "-I", "-X", "importtime", pristine_folder("least") / "lab", "shell"]
    done = subprocess.run([*lab, "bash"], env=environment, capture_output=True, encoding="utf-8", check=True)
    # what importlib is asked for is not among it
    imported = {line.split("|")[2].strip() for line in done.stderr.splitlines()}
    assert {name for name in imported if name.startswith(("lab.", "both."))} == {"lab.cli", "both.messages"}
    assert not imported & {"subprocess", "plumbum"}
    del lab[1:4]
    for words, said in [
        (["tcsh"], "lab does not know the shell “tcsh”; available: bash zsh fish xonsh"),
        ([], "SHELL is missing: ./lab shell SHELL"),
    ]:
        done = subprocess.run([*lab, *words], env=environment, capture_output=True, encoding="utf-8")
        assert (done.returncode, done.stdout, done.stderr) == (64, "", f"lab: {said}\n")


# --- the prompt -------------------------------------------------------------------------------------------------------

# what .lab/sessions says, seconds from now; and what the prompt shows
SESSIONS = [
    ("essay\t{3595}\n", "essay 0:59"),
    ("late\t{36000}\nsoon\t{7255}\nwaits\t\nover\t{-1}\n", "soon 2:00"),
    ("my.long_name-2\t{360055}\n", "my.long_name-2 100:00"),
    ("over\t{-5}\n", ""),
    ("waits\t\n", ""),
    ("", ""),
    # what lab does not write
    ("x\t99999999999999999999\na[$(touch ran)]\t{60}\ny\ta[$(touch ran)]\n%n`touch ran`\t{60}\n\x1b[2J\t{60}\nz\t0{60}\n", ""),
]  # fmt: skip

# prints what the prompt shows, with the status of the command before behind it; nothing can be started
PROMPTS = {
    "bash": ["-c", 'source "$1"; PATH=/nowhere; (exit 3); lab_prompt; printf "%s" "$LAB_PROMPT $?"', "bash"],
    "zsh": ["-fc", 'source "$1"; PATH=/nowhere; (exit 3); lab_prompt; printf "%s" "$LAB_PROMPT $?"', "zsh"],
    # it has no clock of its own
    "fish": ["-Nc", "source $argv[1]; sh -c 'exit 3'; set shown (lab_prompt); set kept $status; echo -n \"$shown $kept\""],
}  # fmt: skip
FILES = {"bash": "lab.bash", "zsh": "lab.plugin.zsh", "fish": "conf.d/lab.fish"}


@pytest.mark.parametrize("shell", PROMPTS)
def test_the_prompt_shows_the_session_that_ends_first_and_keeps_the_status(project, laptop, shell):
    command = [need(shell), *PROMPTS[shell], str(project / "shell" / FILES[shell])]
    folder = Path(tempfile.mkdtemp(dir=project))
    (folder / ".lab").mkdir()
    (folder / "lib/laptop").mkdir(parents=True)
    (folder / "sub").mkdir()
    for name in ["lab", "settings.yml"]:
        (folder / name).touch()

    def shown(where):
        environment = {**laptop[0], "HOME": str(folder)}
        done = subprocess.run(command, cwd=where, env=environment, capture_output=True, encoding="utf-8")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    for text, prompt in SESSIONS:
        now = int(time.time())
        text = re.sub(r"\{(-?\d+)\}", lambda found: str(now + int(found[1])), text)  # noqa: B023
        (folder / ".lab/sessions").write_text(text)
        assert shown(folder / "sub") == f"{prompt} 3", text
    assert list(folder.rglob("ran")) == []
    (folder / ".lab/sessions").write_text(f"essay\t{now + HOUR}\n")
    # elsewhere, and where somebody else has written it
    assert shown("/") == " 3"
    if os.geteuid() == 0:
        shutil.chown(folder / ".lab/sessions", "nobody")
        assert shown(folder) == " 3"
    (folder / ".lab/sessions").unlink()
    os.mkfifo(folder / ".lab/sessions")
    assert shown(folder) == " 3"
    shutil.rmtree(folder)


# --- in real shells at a real terminal --------------------------------------------------------------------------------


def documented(shell):
    """Return the lines that the documentation has for a shell's prompt, or for starship's there ("starship in bash")."""
    page = (REPOSITORY / "docs/how-to/shells.en.md").read_text(encoding="utf-8")
    name = re.sub(r"\w+$", r"\\*\\*\g<0>\\*\\*", shell)
    found = re.search(rf"- {name}.*?\n\n((?: +.*\n)+)", page[page.index("{ #the-time-left }") :])
    return textwrap.dedent(found[1])


def quoted(path):
    """Return a path as bash and zsh read it."""
    return shlex.quote(str(path))


def fish_quoted(path):
    """Return a path as fish reads it."""
    return "'" + str(path).replace("'", "\\'") + "'"


@contextlib.contextmanager
def at_terminal(command, cwd, laptop):
    """Start a shell at a terminal; when it is done with, neither ssh nor Python has been started."""
    environment, called = laptop
    terminal = Terminal(command, cwd, environment)
    try:
        yield terminal
    finally:
        terminal.close()
    assert not called.exists()


# what is typed before the Tab key, and the line afterwards
EVERYWHERE = [
    ("lab sta", "lab status "),
    ("lab open --name=es", "lab open --name=essay "),
    ("lab update --data=cluster=na", "lab update --data=cluster=narval "),
    ("lab submit ../a=", "lab submit ../a=b:c.ipynb "),
    ("lab submit ../a=b:", "lab submit ../a=b:c.ipynb "),
    ("lab submit ~/pro", "lab submit ~/project/"),
    ("../lab sta", "../lab status "),
    ("../setup_env.sh --reb", "../setup_env.sh --rebuild "),
    ("../setup_env.sh --add p", "../setup_env.sh --add python "),
]
WITH_BACKSLASHES = [
    ("lab submit ", "lab submit x.ipynb "),
    ("lab submit ../é", r"lab submit ../été\ 1.ipynb "),
    (r"lab submit ../a\ d", r"lab submit ../a\ dir/"),
    (r"lab submit ../a\ dir/y", r"lab submit ../a\ dir/y.ipynb "),
    (r"lab sync --mine=../a\ ", r"lab sync --mine=../a\ dir/"),
    ("true; lab sta", "true; lab status "),
]


def use(terminal, project, rows):
    """Do in a shell what people do: complete, see what there is, run lab, answer what it asks, interrupt it."""
    terminal.wait_for_line("")
    for typed, line in rows:
        terminal.type(typed + "\t")
        terminal.wait_for_line(line)
        terminal.clear()
    here = f"in {project}/nb"
    terminal.run("lab status", f"lab of {project} {here}: status")
    terminal.type("lab ask\r")
    terminal.wait(lambda: "password:" in terminal.rows[-1], "password:")
    terminal.type("secret\r")
    terminal.wait_for_row("heard secret")
    terminal.clear()
    terminal.type("lab wait\r")
    terminal.wait_for_row("waiting")
    terminal.type("\x03")
    terminal.wait(lambda: any(row.endswith("interrupted") for row in terminal.rows), "interrupted")
    terminal.clear()


# what a shell's startup file has before the line for lab, and what shows what that line may change
BASH_RC = """\
PS1=$'\\n> '; bind 'set enable-bracketed-paste off'
complete -W old lab
state() { echo "$PATH|${PROMPT_COMMAND-}"; complete -p lab setup_env.sh; declare -F; compgen -v | grep -i '^lab'; }
"""
BASHES = {
    "plain": "",
    "with bash-completion": ". /usr/share/bash-completion/bash_completion\n",
    "with set -u and failglob": "set -u; shopt -s failglob\n",
    "with another tool in front": "",
}


@pytest.mark.parametrize("variant", BASHES)
def test_bash(project, laptop, tmp_path, variant):
    if variant == "with bash-completion" and not Path("/usr/share/bash-completion/bash_completion").exists():
        pytest.skip("this machine has no bash-completion")
    rc = tmp_path / "rc"
    rc.write_text(
        # as when somebody reads ~/.bashrc again
        BASHES[variant]
        + BASH_RC
        + "before=$(state 2>&1)\n"
        + f"source {quoted(project / 'shell/lab.bash')}\n" * 2
        + documented("bash")
        # as direnv does
        + ('PROMPT_COMMAND=": own${PROMPT_COMMAND:+;$PROMPT_COMMAND}"\n' if "front" in variant else "")
    )
    with at_terminal(["bash", "--noprofile", "--rcfile", rc], project / "nb", laptop) as terminal:
        terminal.wait_for_row(r"(> +)?essay \d+:\d\d")
        use(terminal, project, EVERYWHERE + WITH_BACKSLASHES + [('lab submit "../é', 'lab submit "../été 1.ipynb"')])
        terminal.type("lab s\t\t")
        terminal.wait_for_row(r"status  \(shows your sessions and batch jobs\).*")
        terminal.clear()
        if "front" in variant:
            terminal.run('lab_unload; echo "<$PROMPT_COMMAND>"', "<: own;>")
            return
        terminal.run('lab_unload; [[ $(state 2>&1) == "$before" ]] && echo "as it was"', "as it was")
        assert terminal.rows == [">"]


def test_a_bash_that_ends_at_every_failure_outlives_loading_and_unloading(project):
    script = 'set -eu; source "$1"; source "$1"; lab_unload; echo "to the end"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", project / "shell/lab.bash"], capture_output=True, encoding="utf-8"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "to the end\n", "")


def test_bash_completion_finds_lab_in_its_own_folder(project, laptop, tmp_path):
    if not Path("/usr/share/bash-completion/bash_completion").exists():
        pytest.skip("this machine has no bash-completion")
    folder = tmp_path / ".local/share/bash-completion/completions"
    folder.mkdir(parents=True)
    (folder / "lab").symlink_to(project / "shell/lab.bash")
    rc = tmp_path / "rc"
    rc.write_text("PS1='> '; bind 'set enable-bracketed-paste off'; . /usr/share/bash-completion/bash_completion\n")
    laptop = {**laptop[0], "HOME": str(tmp_path)}, laptop[1]
    with at_terminal(["bash", "--noprofile", "--rcfile", rc], project / "nb", laptop) as terminal:
        use(terminal, project, [("lab sta", "lab status "), ("../lab sta", "../lab status ")])


ZSH_RC = """\
PS1='> '; unset zle_bracketed_paste
state() { print -l $path ${(ok)functions} $precmd_functions ${_comps[lab]-} ${(ok)parameters[(I)LAB*]} }
"""
# compinit before and after; in a folder that a group can write to, compinit asks whether that is meant if it is on fpath
ZSHES = {
    "compinit before": ("autoload -Uz compinit; compinit; compdef _files lab", "", ""),
    "compinit after": ("setopt nounset ksh_arrays sh_word_split", "", "autoload -Uz compinit; compinit"),
}


@pytest.mark.parametrize("variant", ZSHES)
def test_zsh(project, laptop, tmp_path, variant):
    before, _, after = ZSHES[variant]
    source = f"source {quoted(project / 'shell/lab.plugin.zsh')}"
    (tmp_path / ".zshrc").write_text(
        "\n".join([before, ZSH_RC, "before=$(state)", source, source, after, documented("zsh")])
    )
    laptop = {**laptop[0], "ZDOTDIR": str(tmp_path)}, laptop[1]
    with at_terminal([need("zsh"), "-d"], project / "nb", laptop) as terminal:
        terminal.wait_for_row(r"(> +)?essay \d+:\d\d")
        use(terminal, project, EVERYWHERE + WITH_BACKSLASHES + [('lab submit "../é', 'lab submit "../été 1.ipynb" ')])
        terminal.type("lab s\t\t")
        terminal.wait_for_row("status +-- shows your sessions and batch jobs.*")
        terminal.clear()
        if not after:
            terminal.run('lab_plugin_unload; [[ $(state) == "$before" ]] && echo "as it was"', "as it was")
        else:
            terminal.run("lab_plugin_unload; print -l ${(ok)parameters[(I)LAB*]} $path; echo gone", "gone")


def test_zsh_finds_lab_s_completion_on_fpath_too(project, laptop, tmp_path):
    shell = quoted(project / "shell")
    (tmp_path / ".zshrc").write_text(
        f"PS1='> '; unset zle_bracketed_paste; fpath=({shell} $fpath) path=({shell}/bin $path)\n"
        "autoload -Uz compinit; compinit -u\n"
    )
    laptop = {**laptop[0], "ZDOTDIR": str(tmp_path)}, laptop[1]
    with at_terminal([need("zsh"), "-d"], project / "nb", laptop) as terminal:
        use(terminal, project, [EVERYWHERE[0], EVERYWHERE[7]])


FISH_RC = """\
set -g fish_greeting
function fish_prompt; echo -n '> '; end
function state; string join '|' -- $PATH $fish_function_path (complete -c lab; complete -c setup_env.sh) (set -n | string match 'LAB*'); end
"""


@pytest.mark.parametrize("how", ["sourced", "by fisher"])
def test_fish(project, laptop, tmp_path, how):
    fish, config = need("fish"), tmp_path / ".config/fish"
    config.mkdir(parents=True)
    laptop = {**laptop[0], "HOME": str(tmp_path)}, laptop[1]
    (tmp_path / "project").mkdir()
    if how == "by fisher":
        # what it does with a plugin that is a folder
        subprocess.run([fish, "-c", "set -U _fisher_plugins $argv", project / "shell"], env=laptop[0], check=True)
        for name in ["conf.d", "completions", "functions"]:
            shutil.copytree(project / "shell" / name, config / name, dirs_exist_ok=True)
        line = ""
    else:
        # as somebody does who has two folders
        other = shutil.copytree(project / "shell", tmp_path / "other/shell")
        lines = [f"source {fish_quoted(shell / 'conf.d/lab.fish')}\n" for shell in (other, project / "shell")]
        line = "set -g before (state)\n" + "".join(lines)
    (config / "config.fish").write_text(FISH_RC + line + documented("fish"))
    with at_terminal([fish], project / "nb", laptop) as terminal:
        terminal.wait_for_row(r"(> +)?essay \d+:\d\d")
        use(terminal, project, EVERYWHERE + WITH_BACKSLASHES + [('lab submit "../é', 'lab submit "../été 1.ipynb" ')])
        terminal.type("lab s\t")
        terminal.wait_for_row(r"status +\(shows your sessions and batch jobs\).*")
        terminal.clear()
        if how == "sourced":
            terminal.run("lab_unload; echo unloaded", "unloaded")
            terminal.run("test (state) = $before; and echo as it was", "as it was")
        else:
            terminal.run(
                "emit lab_uninstall; set -n | string match 'LAB*'; string match '*shell*' $PATH; echo gone", "gone"
            )
    # nothing is left for the next fish
    left = [fish, "-c", "set -q fish_user_paths; or echo $PATH"]
    done = subprocess.run(left, env={**laptop[0], "HOME": str(tmp_path)}, capture_output=True, encoding="utf-8")
    if how == "sourced":
        (config / "config.fish").unlink()
        done = subprocess.run(left, env=laptop[0], capture_output=True, encoding="utf-8")
        assert done.stdout == laptop[0]["PATH"].replace(":", " ") + "\n"


@pytest.fixture(scope="session")
def xonsh(tmp_path_factory):
    """The newest xonsh, as variables for this Python, which has prompt_toolkit; Debian's is another one."""
    if sys.version_info < (3, 11):
        pytest.skip("the newest xonsh needs Python 3.11")
    folder = tmp_path_factory.mktemp("xonsh")
    # without what else it would bring into this environment
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
        "--target",
        folder,
        "xonsh",
    ]
    done = subprocess.run(install, capture_output=True, encoding="utf-8")
    if done.returncode:
        pytest.skip(f"xonsh could not be installed: {done.stderr.strip().splitlines()[-1]}")
    return {"PYTHONPATH": str(folder)}


XONSH_RC = """\
import sys
sys.path.append({shell!a})
xontrib load lab
$PROMPT = "\\n> "
"""
XONSHES = {"Debian's": "readline", "the newest": "prompt_toolkit"}


@pytest.mark.parametrize("variant", XONSHES)
def test_xonsh(project, laptop, tmp_path, request, variant):
    if variant == "Debian's":
        command, environment = [need("xonsh")], laptop[0]
    else:
        command = [sys.executable, "-m", "xonsh"]
        environment = {**laptop[0], **request.getfixturevalue("xonsh")}
    rc = tmp_path / "rc.xsh"
    rc.write_text(XONSH_RC.format(shell=str(project / "shell")) + documented("xonsh"))
    command += ["--shell-type", XONSHES[variant], "--rc", rc]
    rows = [*EVERYWHERE, ("lab submit ", "lab submit x.ipynb"), ("lab submit ../é", "lab submit '../été 1.ipynb' ")]
    with at_terminal(command, project / "nb", (environment, laptop[1])) as terminal:
        terminal.wait_for_row(r"(> +)?essay \d+:\d\d")
        use(terminal, project, rows)
        terminal.run("print($LAB_SESSION, 'in', $LAB_FOLDER)", f"essay in {project}")
        terminal.run("$PROMPT = '> '; print('plain')", "plain")
        terminal.run("xontrib unload lab and echo unloaded", "unloaded")
        terminal.run(
            "print('bin/lab' in str($PATH), [name for name in __xonsh__.env if name.startswith('LAB')])", "False []"
        )


# how each shell is started with a startup file, which for zsh and fish has a place of its own
STARSHIPS = {
    "bash": (["--noprofile", "--rcfile", "{}/rc"], "rc", 'eval "$(starship init bash)"', "source {}/lab.bash"),
    "zsh": (["-d"], ".zshrc", 'eval "$(starship init zsh)"', "source {}/lab.plugin.zsh"),
    "fish": ([], ".config/fish/config.fish", "starship init fish | source", "source {}/conf.d/lab.fish"),
    "xonsh": (["--rc", "{}/rc"], "rc", "execx($(starship init xonsh))", XONSH_RC.rpartition("$PROMPT")[0]),
}


@pytest.mark.parametrize("shell", STARSHIPS)
def test_starship_shows_the_time_left(project, laptop, tmp_path, shell):
    words, name, starship, lab = STARSHIPS[shell]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/starship").symlink_to(need("starship"))
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    where = {"xonsh": str, "fish": fish_quoted}.get(shell, quoted)(project / "shell")
    lines = [starship, lab.format(where, shell=where), "" if shell == "xonsh" else documented(f"starship in {shell}")]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    (tmp_path / ".config").mkdir(exist_ok=True)
    settings = 'format = "$env_var$status$character"\nadd_newline = false\nstatus.disabled = false\n'
    (tmp_path / ".config/starship.toml").write_text(settings + documented("starship"))
    command = [need(shell), *(word.format(tmp_path) for word in words)]
    path = f"{tmp_path}/bin:{laptop[0]['PATH']}"
    environment = {**laptop[0], "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "PATH": path}
    with at_terminal(command, project / "nb", (environment, laptop[1])) as terminal:
        terminal.wait_for_row(r"essay \d+:\d\d ❯")
        # the status is that of what was typed, not lab's
        terminal.type("sh -c 'exit 3'\r")
        terminal.wait_for_row(r"essay \d+:\d\d .*3.*❯")
        terminal.type("cd /\r")
        terminal.wait(lambda: terminal.rows[-1].startswith("❯"), "a prompt without lab's part")


def test_xonsh_s_own_fixtures_find_completion_facts_and_what_unloading_leaves(project, xonsh):
    """Its plugin for pytest costs every run seconds: it is off (pyproject.toml), but for this one."""
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-c", os.devnull, "-p", "no:cacheprovider"]
    environment = {**os.environ, **xonsh, "PROJECT": str(project), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [*command, "-p", "xonsh.pytest.plugin", "tests/in_xonsh.py"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"\b3 passed in ", done.stdout)
