"""The folder's scripts on a laptop and on a login node that is none: what they show, refuse and say."""

import contextlib
import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pexpect
import pytest
from conftest import LANGUAGES, TEMPLATE, edit, french, read_answers, set_answer

SCRIPTS = sorted(path.name for path in TEMPLATE.glob("*.sh"))
# a port that nothing else is likely to have taken on the developer's computer
URL = "http://nc10101.int:48731/lab?token=0123abcd"
# what stands on the wiki's page, with the folder's own settings first
SSH = "ssh -F lib/laptop/ssh_config -N"
SLURM = {"SLURMD_NODENAME": "node1", "SLURM_JOB_ID": "7", "SLURM_TMPDIR": "/tmp"}


def place_of(folder, name):
    """Return FILE:LINE of the line that sets a name."""
    rows = (folder / "settings.yml").read_text(encoding="utf-8").split("\n")
    return f"settings.yml:{next(number for number, row in enumerate(rows, start=1) if row.startswith(f'{name}:'))}"


def a_notebook(folder, name="analysis.ipynb"):
    """Write an empty notebook and return its path."""
    path = folder / name
    path.write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def command(tmp_path, plain_path):
    """Make a command for PATH that prints a text and ends with a status: what another computer would answer."""
    folder = tmp_path / "commands"
    folder.mkdir()

    def make(name, prints="", status=0):
        (folder / "answer").write_text(prints)
        path = folder / name
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{folder}/{name}.calls\ncat {folder}/answer\nexit {status}\n')
        path.chmod(0o755)
        return {"PATH": f"{folder}:{plain_path}"}

    make.calls = lambda name: (folder / f"{name}.calls").read_text()
    return make


# --- help -----------------------------------------------------------------------------------------------------------


def header(name):
    """Return the comment at the head of a script, which is its help."""
    lines = (TEMPLATE / name).read_text(encoding="utf-8").split("\n")[1:]
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "".join(f"{line.removeprefix('#').removeprefix(' ')}\n" for line in lines[:end])


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_the_scripts_own_header(pristine_folder, script, name):
    done = script(pristine_folder("least") / name, "--help")
    assert (done.returncode, done.stdout, done.stderr) == (0, header(name), "")
    assert done.stdout.startswith(f"{name}: ")


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_help_in_every_language_explains_the_same_options(pristine_folder, script, name, language):
    done = script(pristine_folder("class", language=language) / name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{name}\u00a0: " if language == "fr" else f"{name}: ")
    options = re.compile(r"(?<![\w-])--[a-z][a-z=0-9:]*")
    assert sorted(options.findall(done.stdout)) == sorted(options.findall(header(name)))
    assert done.stdout.count(f"./{name}") == header(name).count(f"./{name}")


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_comes_whatever_is_wrong_with_the_settings(make_folder, script, name):
    folder = make_folder("least")
    (folder / "settings.yml").write_text("account = def-yourpi\n")
    done = script(folder / name, "--print", "--help")
    assert (done.returncode, done.stdout, done.stderr) == (0, header(name), "")


# --- what is shown instead of run -----------------------------------------------------------------------------------

TO_PRINT = {
    "jupyterlab.sh": [],
    "setup_env.sh": [],
    "start_salloc.sh": [],
    "submit_notebook.sh": ["analysis.ipynb"],
    "submit_session.sh": [],
    "tunnel_ssh.sh": [URL],
    "tunnel_sshuttle.sh": [],
}


def everything_in(*folders):
    """Return every path in these folders with its size and time."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for folder in folders for path in folder.rglob("*")
    }


@pytest.mark.parametrize("answers", ["least", "trillium-gpu", "everything"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_print_shows_the_same_in_both_languages_and_does_nothing(make_folder, script, tmp_path, name, answers):
    shown = []
    for language in ["en", "fr"]:
        folder = make_folder(answers, name=language, language=language, project_name="ours")
        a_notebook(folder)
        home = tmp_path / f"home-{language}"
        home.mkdir()
        before = everything_in(folder, home)
        done = script(folder / name, *TO_PRINT[name], "--print", HOME=home, SCRATCH=tmp_path / "scratch")
        assert (done.returncode, done.stderr) == (0, "")
        assert everything_in(folder, home) == before
        shown.append(done.stdout.replace(str(home), "HOME").replace(str(folder), "FOLDER"))
    assert re.sub(r"\d{8}-\d{6}", "TIME", shown[0]) == re.sub(r"\d{8}-\d{6}", "TIME", shown[1])
    assert shown[0]


def test_the_environment_is_built_as_the_wiki_page_says(pristine_folder, script, environment):
    done = script(pristine_folder("least") / "setup_env.sh", "--print")
    wiki = [
        "module load python",
        rf"virtualenv --no-download {environment['HOME']}/jupyter_py3\S*",
        rf"source {environment['HOME']}/jupyter_py3\S*/bin/activate",
        "pip install --no-index --upgrade pip",
        "pip install --no-index jupyterlab.*",
        r"echo -e '#!/bin/bash\\nunset XDG_RUNTIME_DIR\\njupyter lab --ip \$\(hostname -f\) --no-browser' > "
        r"\$VIRTUAL_ENV/bin/jupyterlab.sh",
        r"chmod u\+x \$VIRTUAL_ENV/bin/jupyterlab.sh",
    ]
    lines = iter(done.stdout.split("\n"))
    for step in wiki:
        assert any(re.fullmatch(step, line) for line in lines), f"{step} is missing, or too early, in:\n{done.stdout}"


def test_rstudio_is_loaded_before_python_and_the_kernels_after_it(pristine_folder, script):
    for name in ["setup_env.sh", "jupyterlab.sh"]:
        done = script(pristine_folder("everything") / name, "--print", SCRATCH="/scratch/prof")
        loaded = re.findall(r"(?m)^module load (.+)$", done.stdout)
        assert loaded[0].split() == [
            *["rstudio-server", "python/3.11", "r", "julia", "ipython-kernel/3.11", "ir-kernel", "ijulia-kernel"]
        ]


def test_a_session_is_served_as_the_wiki_page_says(pristine_folder, script, environment):
    done = script(pristine_folder("least") / "jupyterlab.sh", "--print")
    lines = done.stdout.split("\n")
    assert lines[0] == "module load python"
    assert lines[1] == f"source {environment['HOME']}/jupyter_py3/bin/activate"
    assert "unset XDG_RUNTIME_DIR" in lines
    assert "umask 077" in lines
    folders = f"--ServerApp.root_dir=/ --FileContentsManager.preferred_dir={pristine_folder('least')}"
    assert re.fullmatch(rf"jupyter-lab --ip \$\(hostname -f\) --no-browser {folders}( --allow-root)?", lines[-2])


def test_where_only_ssh_passes_the_server_listens_on_its_own_node_alone(pristine_folder, script):
    done = script(pristine_folder("gpu") / "jupyterlab.sh", "--print")
    assert re.search(r"(?m)^jupyter-lab --ip 127\.0\.0\.1 --no-browser", done.stdout)


def test_what_is_shown_can_be_typed_and_means_the_same(pristine_folder, script, environment):
    done = script(pristine_folder("least") / "jupyterlab.sh", "--print")
    exports = "\n".join(line for line in done.stdout.split("\n") if line.startswith("export "))
    typed = f'{exports}\nprintf %s "$JUPYTER_RUNTIME_DIR"'
    answer = subprocess.run(
        ["bash", "-c", typed],
        env={**environment, "SLURM_TMPDIR": "/localscratch"},
        capture_output=True,
        encoding="utf-8",
    )
    assert answer.stdout == "/localscratch/jupyter"


def test_what_is_shown_of_trillium_on_a_laptop_can_be_typed_there(pristine_folder, script, environment, tmp_path):
    done = script(pristine_folder("trillium") / "start_salloc.sh", "--print")
    change, _ = done.stdout.split("\n", 1)
    answer = subprocess.run(
        ["bash", "-c", f"{change}; pwd"],
        env={**environment, "SCRATCH": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
    )
    assert answer.stdout == f"{tmp_path}\n"


@pytest.mark.parametrize("name", SCRIPTS)
def test_print_needs_nothing_of_the_cluster(make_folder, script, name):
    folder = make_folder("trillium")
    a_notebook(folder)
    done = script(folder / name, *TO_PRINT[name], "--print")
    assert (done.returncode, done.stderr) == (0, "")


# --- tunnels --------------------------------------------------------------------------------------------------------


def test_sshuttle_is_called_as_on_the_wiki_page_with_settings_of_its_own(pristine_folder, script):
    done = script(pristine_folder("least") / "tunnel_sshuttle.sh", "--print")
    expected = f"sshuttle --dns -Nr USER@narval.alliancecan.ca -e '{SSH[:-3]}'\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("least", f"{SSH} -L 127.0.0.1:48731:nc10101.int:48731 USER@narval.alliancecan.ca"),
        ("gpu", f"{SSH} -J USER@nibi.alliancecan.ca -L 127.0.0.1:48731:127.0.0.1:48731 USER@nc10101.int"),
        ("trillium", f"{SSH} -L 127.0.0.1:48731:nc10101.int:48731 USER@trillium.alliancecan.ca"),
        ("trillium-gpu", f"{SSH} -L 127.0.0.1:48731:nc10101.int:48731 USER@trillium-gpu.alliancecan.ca"),
        ("other", f"{SSH} -L 127.0.0.1:48731:nc10101.int:48731 USER@login.example.org"),
    ],
)
def test_ssh_is_called_as_on_the_wiki_page_with_settings_of_its_own(pristine_folder, script, answers, expected):
    done = script(pristine_folder(answers) / "tunnel_ssh.sh", "--print", URL)
    page = "http://127.0.0.1:48731/lab?token=0123abcd\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{expected}\n{page}", "")


@pytest.mark.parametrize(
    ("answers", "personal", "expected"),
    [
        ("least", "user: alice", f"{SSH} -L 127.0.0.1:48731:nc10101.int:48731 alice@narval.alliancecan.ca"),
        ("least", "ssh_host: narval-as-me", f"{SSH} -L 127.0.0.1:48731:nc10101.int:48731 narval-as-me"),
        ("least", "user: alice\nport: 9101", f"{SSH} -L 127.0.0.1:9101:nc10101.int:48731 alice@narval.alliancecan.ca"),
        (
            "gpu",
            "user: alice",
            f"{SSH} -J alice@nibi.alliancecan.ca -L 127.0.0.1:48731:127.0.0.1:48731 alice@nc10101.int",
        ),
        ("gpu", "ssh_host: nibi", f"{SSH} -J nibi -L 127.0.0.1:48731:127.0.0.1:48731 nc10101.int"),
        # ssh's alias is for the login node; on the node itself the name is still needed
        ("gpu", "ssh_host: nibi\nuser: alice", f"{SSH} -J nibi -L 127.0.0.1:48731:127.0.0.1:48731 alice@nc10101.int"),
    ],
)
def test_what_is_personal_counts(make_folder, script, answers, personal, expected):
    folder = make_folder(answers)
    (folder / "personal.yml").write_text(f"{personal}\n")
    done = script(folder / "tunnel_ssh.sh", "--print", URL)
    assert (done.returncode, done.stdout.split("\n")[0], done.stderr) == (0, expected, "")
    port = re.search("-L 127.0.0.1:([0-9]+):", expected)[1]
    assert done.stdout.split("\n")[1] == f"http://127.0.0.1:{port}/lab?token=0123abcd"


def test_sshuttle_takes_the_personal_name_too(make_folder, script):
    folder = make_folder("least")
    (folder / "personal.yml").write_text("ssh_host: narval-as-me\n")
    assert (
        script(folder / "tunnel_sshuttle.sh", "--print").stdout == f"sshuttle --dns -Nr narval-as-me -e '{SSH[:-3]}'\n"
    )


@pytest.fixture
def taken_port():
    """A port of this computer where something listens, while the next is free."""
    # below those that the system itself gives to others at any moment
    for port in random.sample(range(10000, 32000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            socket.create_server(("127.0.0.1", port + 1)).close()
            break
    with socket.create_server(("127.0.0.1", port)):
        yield port


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_port_that_is_taken_is_not_used_and_people_are_told(make_folder, script, taken_port, language):
    folder = make_folder("least", language=language)
    done = script(folder / "tunnel_ssh.sh", "--print", URL.replace("48731", str(taken_port)))
    assert done.stdout == (
        f"{SSH} -L 127.0.0.1:{taken_port + 1}:nc10101.int:{taken_port} USER@narval.alliancecan.ca\n"
        f"http://127.0.0.1:{taken_port + 1}/lab?token=0123abcd\n"
    )
    words = {
        "en": f"Port {taken_port} of this computer is in use; using {taken_port + 1} instead.\n",
        "fr": french(f"Le port {taken_port} de cet ordinateur est occupé ; le port {taken_port + 1} le remplace.\n"),
    }
    assert (done.returncode, done.stderr) == (0, words[language])


def test_a_personal_port_that_is_taken_is_not_used_either(make_folder, script, taken_port):
    folder = make_folder("least")
    (folder / "personal.yml").write_text(f"port: {taken_port}\n")
    done = script(folder / "tunnel_ssh.sh", "--print", URL)
    assert done.stdout.startswith(f"{SSH} -L 127.0.0.1:{taken_port + 1}:nc10101.int:48731 ")
    assert done.stderr == f"Port {taken_port} of this computer is in use; using {taken_port + 1} instead.\n"


@pytest.mark.parametrize(
    ("tried", "status", "said"),
    [
        (2, 0, "Port {first} of this computer is in use; using {next} instead.\n"),
        (
            1,
            1,
            "tunnel_ssh.sh: No port from {first} to {first} is free on this computer; set another one in personal.yml, for example: port: 9800\n",
        ),
    ],
)
def test_ports_are_tried_as_far_as_the_limits_say(make_folder, script, taken_port, tried, status, said):
    folder = make_folder("least")
    edit(folder / "lib/both/limits.sh", "LOCAL_PORTS=50", f"LOCAL_PORTS={tried}")
    done = script(folder / "tunnel_ssh.sh", "--print", URL.replace("48731", str(taken_port)))
    assert (done.returncode, done.stderr) == (status, said.format(first=taken_port, next=taken_port + 1))
    assert bool(done.stdout) == (status == 0)


BAD_ADDRESSES = [
    "http://-oProxyCommand=touch:1/lab?token=a",
    "http://-v:48731/lab?token=a",
    "http://.:48731/lab?token=a",
    "-oProxyCommand=touch",
    "nc10101:48731",
    "https://nc10101:48731/lab?token=a",
    "http://nc10101/lab?token=a",
    "http://nc10101:48731/lab",
    "http://nc10101:48731/lab?token=",
    "http://nc10101:48731/lab?token=$(touch canary)",
    "http://nc10101:48731/../lab?token=a",
    "http://nc10101 x:48731/lab?token=a",
    "http://alice@nc10101:48731/lab?token=a",
    "http://nc10101:48731/lab?token=a b",
    "http://nc10101:48731/lab?token=a\nb",
    "http://nc10101:0/lab?token=a",
    "http://nc10101:08888/lab?token=a",
    "http://nc10101:65536/lab?token=a",
    "http://nc10101:18446744073709551617/lab?token=a",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
@pytest.mark.parametrize("name", ["tunnel_ssh.sh", "tunnel_sshuttle.sh"])
def test_what_is_not_the_address_of_a_session_is_refused(make_folder, script, command, name, address):
    folder = make_folder("least")
    (folder / "personal.yml").write_text("user: alice\n")
    variables = command("sshuttle" if name == "tunnel_sshuttle.sh" else "ssh")
    done = script(folder / name, address, **variables)
    words = (
        f"{name}: “{address}” is not the address of a session; copy the whole line that start_salloc.sh printed, in "
        "single quotes: 'http://node:8888/lab?token=...'\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (64, "", words)
    assert not (folder / "canary").exists()


@pytest.mark.parametrize("address", BAD_ADDRESSES[:2])
def test_it_is_refused_in_french_too(make_folder, script, address):
    folder = make_folder("least", language="fr")
    done = script(folder / "tunnel_ssh.sh", "--print", address)
    words = (
        f"tunnel_ssh.sh : « {address} » n'est pas l'adresse d'une session ; copiez toute la ligne affichée par "
        "start_salloc.sh, entre apostrophes : 'http://noeud:8888/lab?token=...'\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (64, "", french(words))


@pytest.mark.parametrize("name", ["tunnel_ssh.sh", "tunnel_sshuttle.sh"])
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "the session runs on this computer; open the printed address as it is."),
        ("fr", "la session est en cours sur cet ordinateur ; ouvrez l'adresse affichée telle quelle."),
    ],
)
def test_on_this_computer_itself_no_tunnel_is_needed(make_folder, script, name, language, words):
    folder = make_folder("local", language=language)
    done = script(folder / name, URL)
    place = place_of(folder, "cluster")
    expected = f"{name}: {place}: {words}\n" if language == "en" else french(f"{name} : {place} : {words}\n")
    assert (done.returncode, done.stdout, done.stderr) == (64, "", expected)


def test_sshuttle_is_not_offered_where_only_ssh_passes(pristine_folder, script):
    done = script(pristine_folder("gpu") / "tunnel_sshuttle.sh")
    words = (
        "tunnel_sshuttle.sh: On nibi the nodes can be reached by ssh only, so sshuttle cannot lead to the session; use "
        "./tunnel_ssh.sh\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (64, "", words)


def with_a_user(folder):
    """Return the folder, with alice's name kept in it."""
    (folder / "personal.yml").write_text("user: alice\n")
    return folder


def test_without_sshuttle_people_are_told_how_to_get_it(make_folder, script):
    done = script(with_a_user(make_folder("least")) / "tunnel_sshuttle.sh")
    words = (
        "tunnel_sshuttle.sh: sshuttle is not installed on this computer; install it with: python3 -m pip install sshuttle (or use "
        "./tunnel_ssh.sh, which needs ssh alone)\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", words)


@pytest.mark.parametrize(
    ("prints", "status", "words"),
    [
        (
            "",
            255,
            "No connection to alice@narval.alliancecan.ca: see ssh's messages above. Is the user name right (user or ssh_host "
            "in personal.yml)?",
        ),
        ("Welcome!\n", 0, "You have no running session on narval; start one there with ./start_salloc.sh"),
        (
            f"passerelle-session {URL}\nWelcome!\npasserelle-session {URL.replace('1.int', '2.int')}\n",
            0,
            f"You have several sessions; give the address of one:\n{URL}\n{URL.replace('1.int', '2.int')}",
        ),
        (
            "passerelle-session http://-oProxyCommand=x:1/lab?token=a\n",
            0,
            "“http://-oProxyCommand=x:1/lab?token=a” is not the address of a session; copy the whole line that "
            "start_salloc.sh printed, in single quotes: 'http://node:8888/lab?token=...'",
        ),
        (
            f"passerelle-session {URL}\npasserelle-session \x1b]0;x\x07\x9b2J\r\u202e {'a' * 300}\n",
            0,
            f"“^[]0;x^GM-BM-^[2J^MM-bM-^@M-. {'a' * 170}” is not the address of a session; copy the whole line that "
            "start_salloc.sh printed, in single quotes: 'http://node:8888/lab?token=...'",
        ),
        (
            "\x1b[31mWelcome" + 70000 * "!",
            0,
            f"What alice@narval.alliancecan.ca answered cannot be understood: ^[[31mWelcome{'!' * 187}. Does one of your "
            "startup files there (~/.bashrc; with zsh ~/.zshenv) print something in the background?",
        ),
    ],
)
def test_without_an_address_the_cluster_is_asked_and_not_believed(make_folder, script, command, prints, status, words):
    folder = with_a_user(make_folder("least"))
    done = script(folder / "tunnel_ssh.sh", **command("ssh", prints, status))
    assert done.stderr == f"Asking alice@narval.alliancecan.ca for your session...\ntunnel_ssh.sh: {words}\n"
    assert done.stdout == ""
    assert done.returncode in (1, 64)
    settings, asked = command.calls("ssh").splitlines()
    assert settings == f"{SSH[4:-3]} -G alice@narval.alliancecan.ca"
    assert asked == f"{SSH[4:-3]} alice@narval.alliancecan.ca /bin/bash --noprofile --norc -p -s"


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("exec yes", "What alice@narval.alliancecan.ca answered cannot be understood: y y "),
        ("exec yes >&2", "What alice@narval.alliancecan.ca answered cannot be understood: "),
        ("exec sleep 600", "alice@narval.alliancecan.ca does not answer as it should"),
    ],
    ids=["endless", "endless words", "mute"],
)
def test_a_login_node_without_an_end_is_given_up(make_folder, script, tmp_path, does, words):
    folder = with_a_user(make_folder("least"))
    limits = folder / "lib/both/limits.sh"
    limits.write_text(re.sub(r"(?m)^(LOGIN|LOGIN_SHELL)=.*$", r"\1=1", limits.read_text()))
    fake = tmp_path / "fake/ssh"
    fake.parent.mkdir()
    # 100 MB at most
    fake.write_text(f"#!/bin/bash\n[[ $* != *' -G '* ]] || exit\nulimit -f 100000\n{does}\n")
    fake.chmod(0o755)
    done = script(folder / "tunnel_ssh.sh", PATH=f"{fake.parent}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert f"tunnel_ssh.sh: {words}" in done.stderr


def test_the_session_that_the_cluster_names_is_connected_to(make_folder, script, command):
    folder = with_a_user(make_folder("least"))
    script(folder / "tunnel_ssh.sh", **command("ssh", f"passerelle-session {URL}\n"))
    connected = command.calls("ssh").splitlines()[2]
    assert connected == f"{SSH[4:]} -L 127.0.0.1:48731:nc10101.int:48731 alice@narval.alliancecan.ca"


def test_what_would_be_typed_can_be_seen_before_there_is_a_session(make_folder, script, command):
    variables = command("ssh", "", 255)
    done = script(with_a_user(make_folder("least")) / "tunnel_ssh.sh", "--print", **variables)
    assert re.fullmatch(
        rf"{SSH} -L 127\.0\.0\.1:(\d+):NODE:8888 alice@narval\.alliancecan\.ca\nhttp://127\.0\.0\.1:\1/lab\?token=TOKEN\n",
        done.stdout,
    )
    assert done.returncode == 0
    assert not Path(variables["PATH"].split(":")[0], "ssh.calls").exists()


def test_a_connection_that_is_closed_at_once_does_not_end_whoever_looks_whether_a_server_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_at_once():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    # by a reset, as ssh does where nothing listens behind it
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    connection.close()

        threading.Thread(target=close_at_once, daemon=True).start()
        look = f"for try in {{1..300}}; do answers 127.0.0.1 {server.getsockname()[1]} && exit 1; done; echo went on"
        done = subprocess.run(
            ["bash", "-c", f"SERVER_ANSWER=5; source lib/laptop/tunnel.sh; {look}"],
            cwd=TEMPLATE,
            capture_output=True,
            text=True,
        )
        server.shutdown(socket.SHUT_RDWR)
    assert (done.returncode, done.stdout) == (0, "went on\n")


def test_a_tunnel_that_ends_by_itself_is_a_failure(make_folder, script, command, taken_port):
    folder = with_a_user(make_folder("least"))
    done = script(folder / "tunnel_ssh.sh", URL, **command("ssh", "", 255))
    words = (
        "tunnel_ssh.sh: The tunnel has ended: see ssh's messages above. Is the session still running, and is "
        "alice@narval.alliancecan.ca right (user or ssh_host in personal.yml)?\n"
    )
    assert (done.returncode, done.stderr) == (1, words)
    assert done.stdout == (
        "Connecting to alice@narval.alliancecan.ca; ssh may ask questions (password, second factor). The address to "
        "open appears when the tunnel works.\n"
    )


@pytest.mark.parametrize("name", ["tunnel_ssh.sh", "tunnel_sshuttle.sh"])
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "You are on the cluster; run this on your computer, in your copy of this folder."),
        ("fr", "Vous êtes sur la grappe ; exécutez ceci sur votre ordinateur, dans votre copie de ce dossier."),
    ],
)
def test_a_tunnel_does_not_begin_on_the_cluster(make_folder, script, command, name, language, words):
    folder = with_a_user(make_folder("least", language=language))
    done = script(folder / name, URL, **command("sbatch"), CC_CLUSTER="narval")
    expected = french(f"{name} : {words}\n") if language == "fr" else f"{name}: {words}\n"
    assert (done.returncode, done.stdout, done.stderr) == (64, "", expected)


ON_THE_CLUSTER = "You are on the cluster; run this on your computer, in your copy of this folder."
NARVAL = {"cluster": "narval", "account": "def-yourpi"}
TRILLIUM = {"cluster": "trillium", "account": "def-yourpi"}
OTHER = {"cluster": "other", "login_host": "login.example.org", "account": "none"}
WHERE = {
    # a workstation with a Slurm of its own is a laptop
    "workstation": (NARVAL, {}, "tunnel_ssh.sh", None),
    "workstation with the Alliance's modules": (NARVAL, {"CC_CLUSTER": "computecanada"}, "tunnel_ssh.sh", None),
    "workstation, other cluster": (OTHER, {}, "tunnel_ssh.sh", None),
    "node, other cluster": (OTHER, {"SLURM_JOB_ID": "1"}, "tunnel_ssh.sh", ON_THE_CLUSTER),
    "login node, other cluster": (OTHER, {"SSH_CONNECTION": "x"}, "tunnel_ssh.sh", ON_THE_CLUSTER),
    "other is narval": (
        {**OTHER, "login_host": "narval.alliancecan.ca"},
        {"CC_CLUSTER": "narval", "SSH_CONNECTION": "x"},
        "tunnel_ssh.sh",
        ON_THE_CLUSTER,
    ),
    "wrong cluster": (
        NARVAL,
        {"CC_CLUSTER": "fir"},
        "tunnel_ssh.sh",
        "This is fir, and settings.yml:8 names narval; log in there: ssh alice@narval.alliancecan.ca",
    ),
    "wrong cluster, salloc": (
        NARVAL,
        {"CC_CLUSTER": "rorqual"},
        "start_salloc.sh",
        "This is rorqual, and settings.yml:8 names narval; log in there: ssh alice@narval.alliancecan.ca",
    ),
    "wrong cluster, batch": (
        OTHER,
        {"CC_CLUSTER": "fir"},
        "submit_session.sh",
        "This is fir, and settings.yml:8 names login.example.org; log in there: ssh alice@login.example.org",
    ),
    "wrong login node": (
        {**TRILLIUM, "gpus": 1},
        {"CC_CLUSTER": "trillium", "AT": "tri-login02"},
        "submit_session.sh",
        "This login node (tri-login02) is not the one for such jobs (see settings.yml:15); log in to the right one: ssh alice@trillium-gpu.alliancecan.ca",
    ),
    "wrong login node, no GPU": (
        TRILLIUM,
        {"CC_CLUSTER": "trillium", "AT": "trig-login01"},
        "setup_env.sh",
        "This login node (trig-login01) is not the one for such jobs (see settings.yml:15); log in to the right one: ssh alice@trillium.alliancecan.ca",
    ),
}
"""Where there is a Slurm: the folder's answers, the environment, and how the script ends; None: it goes on, and connects."""


@pytest.mark.parametrize(("answers", "variables", "name", "words"), WHERE.values(), ids=WHERE)
def test_slurm_alone_does_not_say_that_this_is_the_cluster(
    make_folder, script, command, answers, variables, name, words
):
    folder = with_a_user(make_folder(answers))
    for tool in ("sbatch", "salloc", "ssh", "getent"):
        variables = {**command(tool, "", 255), **variables}
    command("hostname", variables.pop("AT", "desk"))
    done = script(folder / name, *([URL] if name == "tunnel_ssh.sh" else []), **variables)
    if words:
        assert (done.returncode, done.stderr) == (64, f"{name}: {words}\n")
    else:
        assert done.stdout.startswith("Connecting to ")


def test_nobody_is_asked_who_they_are_where_nobody_can_answer(pristine_folder, script):
    done = script(pristine_folder("least") / "tunnel_ssh.sh", URL)
    words = (
        "tunnel_ssh.sh: Your user name on narval is not known; write it into personal.yml, for example: user: alice\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (64, "", words)


@pytest.mark.parametrize("typed", ["alice", "alice.smith-2"])
def test_people_are_asked_once_who_they_are(make_folder, script, command, environment, typed):
    folder = make_folder("least")
    variables = {**environment, **command("ssh", "", 255)}
    terminal = pexpect.spawn(
        str(folder / "tunnel_ssh.sh"), [URL], env=variables, encoding="utf-8", echo=False, dimensions=(24, 200)
    )
    terminal.expect_exact("What is your user name on narval? (kept in personal.yml)")
    terminal.sendline(typed)
    terminal.expect_exact(f"Connecting to {typed}@narval.alliancecan.ca")
    terminal.expect(pexpect.EOF)
    assert (folder / "personal.yml").read_text() == f"user: {typed}\n"
    again = script(folder / "tunnel_ssh.sh", "--print", URL)
    assert again.stdout.startswith(f"{SSH} -L 127.0.0.1:48731:nc10101.int:48731 {typed}@narval.alliancecan.ca\n"), (
        again.stderr
    )


def test_the_name_is_kept_beside_what_is_personal_already(make_folder, command, environment):
    folder = make_folder("least")
    # as an editor leaves it that ends no last line
    (folder / "personal.yml").write_text("port: 48777")
    terminal = pexpect.spawn(
        str(folder / "tunnel_ssh.sh"),
        [URL],
        env={**environment, **command("ssh", "", 255)},
        encoding="utf-8",
        echo=False,
    )
    terminal.expect_exact("What is your user name")
    terminal.sendline("alice")
    terminal.expect(pexpect.EOF)
    assert (folder / "personal.yml").read_text() == "port: 48777\nuser: alice\n"


def test_a_name_that_is_none_is_refused_and_not_kept(make_folder, environment, command):
    folder = make_folder("least")
    variables = {**environment, **command("ssh")}
    terminal = pexpect.spawn(
        str(folder / "tunnel_ssh.sh"), [URL], env=variables, encoding="utf-8", echo=False, dimensions=(24, 200)
    )
    terminal.expect_exact("What is your user name")
    terminal.sendline("-oProxyCommand=x")
    terminal.expect_exact(
        "tunnel_ssh.sh: personal.yml: “-oProxyCommand=x” is not possible here; write for example user: "
    )
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 64
    assert not (folder / "personal.yml").exists()


# --- the wrong computer ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def without_modules(environment):
    """What goes before a command so that even /etc/profile has no `module`: nothing on most computers."""
    there = ["bash", "-c", "source /etc/profile; type module"]
    if subprocess.run(there, env=environment, capture_output=True).returncode:
        return []
    hidden = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs none /etc/profile.d && exec "$@"',
        "sh",
    ]
    if subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("this computer has modules, and may not hide them")
    return hidden


@pytest.mark.parametrize("language", ["en", "fr"])
def test_without_modules_the_environment_is_not_built(make_folder, environment, without_modules, language, tmp_path):
    folder = make_folder("least", language=language)
    # what scp leaves
    (folder / ".copier-answers.yml").unlink()
    (folder / ".copier-answers.yml").write_text((folder / "settings.yml").read_text())
    home = tmp_path / "home"
    home.mkdir()
    before = everything_in(folder, home)
    done = subprocess.run(
        [*without_modules, str(folder / "setup_env.sh")],
        env={**environment, "HOME": str(home)}
        | ({"PATH": f"{environment['PATH']}:{os.environ['PATH']}"} if without_modules else {}),
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
    )
    words = {
        "en": "setup_env.sh: There is no command “module” here; run this on a login node of narval: ssh USER@narval.alliancecan.ca\n",
        "fr": french(
            "setup_env.sh : La commande « module » n'existe pas ici ; exécutez ceci sur un nœud de connexion de narval : "
            "ssh USER@narval.alliancecan.ca\n"
        ),
    }
    assert (done.returncode, done.stdout, done.stderr) == (64, "", words[language])
    assert everything_in(folder, home) == before


def test_on_a_computer_without_slurm_no_environment_of_a_cluster_without_modules_is_built(
    make_folder, script, tmp_path
):
    answers = {
        **read_answers("other"),
        "modules_first": [],
        "python_module": "none",
        "environment_path": "$HOME/deep/jupyter_py3",
    }
    folder = make_folder(answers)
    home = tmp_path / "home"
    home.mkdir()
    before = everything_in(folder, home)
    done = script(folder / "setup_env.sh", HOME=home)
    words = f"setup_env.sh: There is no sbatch here; run this on a login node of {answers['login_host']}: ssh USER@{answers['login_host']}\n"
    assert (done.returncode, done.stdout, done.stderr) == (64, "", words)
    assert everything_in(folder, home) == before


# which script, with what, in which folder, where: one line and a status
MISUSE = {
    "salloc on a laptop": (
        ("start_salloc.sh", [], "least", {}),
        64,
        "There is no salloc here; run this on a login node of narval: ssh USER@narval.alliancecan.ca",
        "La commande salloc n'existe pas ici ; exécutez ceci sur un nœud de connexion de narval : ssh "
        "USER@narval.alliancecan.ca",
    ),
    "salloc on a laptop, with a GPU of Trillium": (
        ("start_salloc.sh", [], "trillium-gpu", {}),
        64,
        "There is no salloc here; run this on a login node of trillium: ssh USER@trillium-gpu.alliancecan.ca",
        "La commande salloc n'existe pas ici ; exécutez ceci sur un nœud de connexion de trillium : ssh "
        "USER@trillium-gpu.alliancecan.ca",
    ),
    "salloc on a laptop, for a cluster that has no name here": (
        ("start_salloc.sh", [], "other", {}),
        64,
        "There is no salloc here; run this on a login node of login.example.org: ssh USER@login.example.org",
        "La commande salloc n'existe pas ici ; exécutez ceci sur un nœud de connexion de login.example.org : ssh "
        "USER@login.example.org",
    ),
    "somebody unknown on such a cluster": (
        ("tunnel_ssh.sh", [URL], "other", {}),
        64,
        "Your user name on login.example.org is not known; write it into personal.yml, for example: user: alice",
        "Votre nom d'utilisateur sur login.example.org n'est pas connu ; écrivez-le dans personal.yml, par exemple : "
        "user: alice",
    ),
    "sbatch on a laptop": (
        ("submit_notebook.sh", ["analysis.ipynb"], "least", {}),
        64,
        "There is no sbatch here; run this on a login node of narval: ssh USER@narval.alliancecan.ca",
        "La commande sbatch n'existe pas ici ; exécutez ceci sur un nœud de connexion de narval : ssh "
        "USER@narval.alliancecan.ca",
    ),
    "salloc within a job": (
        ("start_salloc.sh", [], "least", SLURM),
        64,
        "You are already inside a job; run this on a login node, or ./jupyterlab.sh here.",
        "Vous êtes déjà dans une tâche ; exécutez ceci sur un nœud de connexion, ou ./jupyterlab.sh ici.",
    ),
    "a server on a login node": (
        ("jupyterlab.sh", [], "least", {}),
        64,
        "This is not a compute node, and servers do not run on login nodes; start the session with ./start_salloc.sh",
        "Ceci n'est pas un nœud de calcul, et les serveurs ne s'exécutent pas sur les nœuds de connexion ; lancez la "
        "session avec ./start_salloc.sh",
    ),
    "a server before its environment": (
        ("jupyterlab.sh", [], "least", SLURM),
        1,
        "There is no environment at {home}/jupyter_py3 yet. To build it: ./setup_env.sh",
        "Il n'y a pas encore d'environnement dans {home}/jupyter_py3. Pour le construire : ./setup_env.sh",
    ),
    "a server with an option": (
        ("jupyterlab.sh", ["--port=80"], "least", SLURM),
        64,
        "“--port=80” is not understood; see --help",
        "« --port=80 » n'est pas reconnu ; voyez --help",
    ),
    "an environment on a node without internet": (
        ("setup_env.sh", [], "least", SLURM),
        64,
        "The compute nodes of narval have no internet access; run this on a login node: ssh USER@narval.alliancecan.ca",
        "Les nœuds de calcul de narval n'ont pas accès à Internet ; exécutez ceci sur un nœud de connexion : ssh "
        "USER@narval.alliancecan.ca",
    ),
    "an environment in a folder that this computer has not": (
        ("setup_env.sh", [], "everything", {}),
        1,
        "{environment_path}: $SCRATCH is not set on this computer; write a full path, or run this on the cluster.",
        "{environment_path} : $SCRATCH n'est pas défini sur cet ordinateur ; écrivez un chemin complet, ou exécutez "
        "ceci sur la grappe.",
    ),
    "an option that is none": (
        ("setup_env.sh", ["--frobnicate"], "least", {}),
        64,
        "“--frobnicate” is not understood; see --help",
        "« --frobnicate » n'est pas reconnu ; voyez --help",
    ),
    "a new environment and something else": (
        ("setup_env.sh", ["--rebuild", "numpy"], "least", {}),
        64,
        "“numpy” is not understood; see --help",
        "« numpy » n'est pas reconnu ; voyez --help",
    ),
    "packages for nobody": (
        ("setup_env.sh", ["--add", "python"], "least", {}),
        64,
        "Name the kernel and the packages to add, for example: ./setup_env.sh --add python numpy",
        "Indiquez le noyau et les paquets à ajouter, par exemple : ./setup_env.sh --add python numpy",
    ),
    "packages for a kernel that is none": (
        ("setup_env.sh", ["--add", "cobol", "numpy"], "least", {}),
        64,
        "There is no kernel “cobol”; available: ijulia-kernel ipython-kernel ir-kernel julia python r",
        "Il n'y a pas de noyau « cobol » ; disponibles : ijulia-kernel ipython-kernel ir-kernel julia python r",
    ),
    "a kernel that is a path": (
        ("setup_env.sh", ["--add", "../extensions/lmod", "numpy"], "least", {}),
        64,
        "There is no kernel “../extensions/lmod”; available: ijulia-kernel ipython-kernel ir-kernel julia python r",
        "Il n'y a pas de noyau « ../extensions/lmod » ; disponibles : ijulia-kernel ipython-kernel ir-kernel julia python r",
    ),
    "a package that is an option": (
        ("setup_env.sh", ["--add", "python", "--index-url=http://x"], "least", {}),
        64,
        "“--index-url=http://x” is not the name of a package; for example: numpy",
        "« --index-url=http://x » n'est pas le nom d'un paquet ; par exemple : numpy",
    ),
    "a package that is R code": (
        ("setup_env.sh", ["--add", "r", 'x"); system("touch canary'], "least", {}),
        64,
        '“x"); system("touch canary” is not the name of a package; for example: numpy',
        "« x\"); system(\"touch canary » n'est pas le nom d'un paquet ; par exemple : numpy",
    ),
    "an environment to register that is none": (
        ("setup_env.sh", ["--register", "/nonexistent", "mine"], "least", {}),
        64,
        "There is no Python environment at /nonexistent (it has no bin/python).",
        "Il n'y a pas d'environnement Python dans /nonexistent (il n'a pas de bin/python).",
    ),
    "an environment to register without a name": (
        ("setup_env.sh", ["--register", "/nonexistent"], "least", {}),
        64,
        "Name the environment and the kernel, for example: ./setup_env.sh --register ~/my_env my-kernel",
        "Indiquez l'environnement et le nom du noyau, par exemple : ./setup_env.sh --register ~/mon_env mon-noyau",
    ),
    "an environment to register under a name that is none": (
        ("setup_env.sh", ["--register", "/nonexistent", "my kernel"], "least", {}),
        64,
        "“my kernel” cannot be the name of a kernel; for example: my-kernel",
        "« my kernel » ne peut pas être le nom d'un noyau ; par exemple : mon-noyau",
    ),
    # its log would be a file with more letters than one can have
    "a session with a name that is too long": (
        ("submit_session.sh", ["--print", f"--name={'a' * 201}"], "least", {}),
        64,
        f"“{'a' * 201}” cannot be the name of a session: letters and digits, at most 200 in all, with single . _ - between them; "
        "for example: my-project",
        f"« {'a' * 201} » ne peut pas être le nom d'une session : des lettres et des chiffres, 200 au plus en tout, séparés par "
        "un seul . _ ou - ; par exemple : mon-projet",
    ),
    "no notebook": (
        ("submit_notebook.sh", [], "least", {}),
        64,
        "Name the notebook, for example: ./submit_notebook.sh analysis.ipynb",
        "Indiquez le notebook, par exemple : ./submit_notebook.sh analyse.ipynb",
    ),
    "two notebooks": (
        ("submit_notebook.sh", ["analysis.ipynb", "--time", "3:00:00"], "least", {}),
        64,
        "Give one notebook, not both “analysis.ipynb” and “3:00:00”; an option's value follows an equals sign: "
        "--time=3:00:00",
        "Donnez un seul notebook, pas « analysis.ipynb » et « 3:00:00 » ; la valeur d'une option suit un signe égal : "
        "--time=3:00:00",
    ),
    "a notebook that is not there": (
        ("submit_notebook.sh", ["nothing.ipynb"], "least", {}),
        64,
        "There is no notebook nothing.ipynb; give the path of a file that ends in .ipynb",
        "Il n'y a pas de notebook nothing.ipynb ; donnez le chemin d'un fichier qui se termine par .ipynb",
    ),
    "a notebook that is something else": (
        ("submit_notebook.sh", ["README.md"], "least", {}),
        64,
        "There is no notebook README.md; give the path of a file that ends in .ipynb",
        "Il n'y a pas de notebook README.md ; donnez le chemin d'un fichier qui se termine par .ipynb",
    ),
    "a notebook that is empty": (
        ("submit_notebook.sh", ["empty.ipynb"], "least", {}),
        64,
        "empty.ipynb is not a Jupyter notebook, or it is damaged; open it in JupyterLab, and save it from there.",
        "empty.ipynb n'est pas un notebook Jupyter, ou il est endommagé ; ouvrez-le dans JupyterLab, et enregistrez-le de là.",
    ),
    "a notebook that sbatch cannot name": (
        ("submit_notebook.sh", ['a"b.ipynb'], "least", {}),
        64,
        'The path of a"b.ipynb contains a double quote, a backslash or a newline, which sbatch cannot read; rename it.',
        'Le chemin de a"b.ipynb contient un guillemet droit, une barre oblique inverse ou un saut de ligne, que sbatch ne '
        "peut pas lire ; renommez-le.",
    ),
    "a notebook without Slurm": (
        ("submit_notebook.sh", ["analysis.ipynb"], "local", {}),
        64,
        "{cluster}: with cluster: local there is no Slurm; run the notebook in JupyterLab.",
        "{cluster} : avec cluster: local il n'y a pas de Slurm ; exécutez le notebook dans JupyterLab.",
    ),
    "a notebook where jobs cannot write": (
        ("submit_notebook.sh", ["analysis.ipynb"], "trillium", {"SCRATCH": "/usr/lib"}),
        64,
        "Jobs of trillium cannot write to /home; copy analysis.ipynb to /usr/lib and submit it from there.",
        "Les tâches de trillium ne peuvent pas écrire dans /home ; copiez analysis.ipynb dans /usr/lib et "
        "soumettez-le de là.",
    ),
    "the address that a browser opens": (
        ("tunnel_ssh.sh", ["--print", "http://localhost:48731/lab?token=a"], "least", {}),
        64,
        "“http://localhost:48731/lab?token=a” is the address to open in the browser; give the one with the node's "
        "name, which start_salloc.sh printed.",
        "« http://localhost:48731/lab?token=a » est l'adresse à ouvrir dans le navigateur web ; donnez celle qui "
        "contient le nom du nœud, affichée par start_salloc.sh.",
    ),
    "two addresses": (
        ("tunnel_ssh.sh", [URL, URL], "least", {}),
        64,
        "Give one address, in single quotes; see --help",
        "Donnez une seule adresse, entre apostrophes ; voyez --help",
    ),
}


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("wrong", MISUSE)
def test_what_cannot_be_is_said_in_one_line_before_anything_is_done(make_folder, script, environment, wrong, language):
    (name, arguments, answers, variables), status, english, in_french = MISUSE[wrong]
    folder = make_folder(answers, language=language)
    a_notebook(folder)
    a_notebook(folder, 'a"b.ipynb')
    (folder / "empty.ipynb").write_text("{}")
    words = f"{name}: {english}" if language == "en" else french(f"{name} : {in_french}")
    words = words.replace("{home}", environment["HOME"])
    for setting in ["cluster", "environment_path"]:
        words = words.replace(f"{{{setting}}}", place_of(folder, setting))
    before = everything_in(folder)
    done = script(folder / name, *arguments, **variables)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"{words}\n")
    assert everything_in(folder) == before


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("arguments", [[], ["--print"]])
def test_a_folder_without_settings_says_where_it_comes_from(make_folder, script, name, arguments):
    folder = make_folder("least")
    (folder / "settings.yml").unlink()
    done = script(folder / name, *arguments)
    words = f"{name}: There is no settings.yml in {folder}; such a folder is made with: copier copy\n"
    assert (done.returncode, done.stdout, done.stderr) == (64, "", words)


def test_an_environment_of_somebodys_own_is_left_alone(make_folder, script, tmp_path):
    folder = make_folder("least")
    (tmp_path / "jupyter_py3").mkdir()
    (tmp_path / "jupyter_py3/mine").touch()
    done = script(folder / "setup_env.sh", HOME=tmp_path)
    words = (
        f"setup_env.sh: {tmp_path}/jupyter_py3 already exists and was not built by setup_env.sh; move it away, or "
        f"change environment_path ({place_of(folder, 'environment_path')}).\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", words)
    assert os.listdir(tmp_path / "jupyter_py3") == ["mine"]


# --- wherever the folder is, and whoever runs it --------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_folder_may_be_called_anything_and_be_anywhere(make_folder, script, tmp_path, name):
    folder = make_folder("least").rename(tmp_path / "-mon projet d'été")
    a_notebook(folder)
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    arguments = [str(folder / word) if word.endswith(".ipynb") else word for word in TO_PRINT[name]]
    here = script(folder / name, *arguments, "--print")
    assert (here.returncode, here.stderr) == (0, "")
    there = script(f"../{folder.name}/{name}", *arguments, "--print", cwd=elsewhere)
    without_time = re.compile(r"\d{8}-\d{6}")
    assert (there.returncode, there.stderr) == (0, "")
    assert without_time.sub("", there.stdout) == without_time.sub("", here.stdout)
    if name == "start_salloc.sh":
        quoted = str(folder).replace("'", "'\\''")
        assert here.stdout.endswith(f" srun '{quoted}/jupyterlab.sh'\n")


@pytest.mark.parametrize("name", SCRIPTS)
def test_cdpath_leads_to_no_other_folder(make_folder, script, tmp_path, name):
    here = make_folder("least", name="here")
    a_notebook(here)
    (tmp_path / "elsewhere").mkdir()
    make_folder("class", name="there").rename(tmp_path / "elsewhere/here")
    variables = {"cwd": tmp_path, "CDPATH": tmp_path / "elsewhere"}
    arguments = [str(here / word) if word.endswith(".ipynb") else word for word in TO_PRINT[name]]
    assert script(f"here/{name}", "--help", **variables).stdout == header(name)
    done = script(f"here/{name}", *arguments, "--print", **variables)
    assert re.sub(r"\d{8}-\d{6}", "", done.stdout) == re.sub(
        r"\d{8}-\d{6}", "", script(here / name, *arguments, "--print").stdout
    )


def test_bash_may_be_named_instead_of_the_script(pristine_folder, script, plain_path):
    folder = pristine_folder("least")
    done = script(plain_path / "bash", "start_salloc.sh", "--print", cwd=folder)
    assert (done.returncode, done.stdout) == (0, script(folder / "start_salloc.sh", "--print").stdout)


@pytest.fixture
def has_locale(tmp_path):
    """Make a locale for this test; return the variables with which programs find it."""

    def make(name):
        language, _, charmap = name.partition(".")
        if not Path("/usr/share/i18n/locales", language).exists():
            pytest.skip(f"this computer has no {name}, nor what it is made of (Debian's package locales)")
        command = ["localedef", "--quiet", "-i", language, "-f", charmap, str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True)
        return {"LOCPATH": str(tmp_path), "LC_ALL": name}

    return make


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "fr_CA.UTF-8", "tr_TR.UTF-8"])
def test_the_locale_changes_nothing(make_folder, script, has_locale, locale):
    variables = {"LC_ALL": locale} if locale.startswith("C") else has_locale(locale)
    folder = make_folder("class")
    right = script(folder / "start_salloc.sh", "--print", **variables)
    assert (right.returncode, right.stderr) == (0, "")
    assert right.stdout == script(folder / "start_salloc.sh", "--print").stdout
    set_answer(folder, hours="huit")
    wrong = script(folder / "start_salloc.sh", "--print", **variables)
    words = "start_salloc.sh : {} : hours ne peut pas valoir « huit » ; valeurs possibles : 1-9999. Écrivez par exemple hours: 1\n"
    assert (wrong.returncode, wrong.stderr) == (64, french(words.format(place_of(folder, "hours"))))


def test_a_locale_that_the_cluster_has_not_changes_nothing_either(make_folder, script):
    """Ssh sends the laptop's LC_ALL along, and bash itself complains of it."""
    folder = make_folder("class")
    done = script(folder / "start_salloc.sh", "--print", LC_ALL="xx_YY.UTF-8")
    assert (done.returncode, done.stdout) == (0, script(folder / "start_salloc.sh", "--print").stdout)


def test_an_exported_name_of_a_setting_changes_nothing(make_folder, script):
    folder = make_folder("least")
    plain = script(folder / "start_salloc.sh", "--print")
    done = script(
        *[folder / "start_salloc.sh", "--print"],
        **{"SETTING_account": "def-other", "FACT_memory_option": "none", "SETTING_ssh_host": "evil", "PRINT": ""},
    )
    assert done.stdout == plain.stdout
    tunnel = script(
        folder / "tunnel_ssh.sh", "--print", URL, SETTING_user="mallory", SETTING_ssh_host="evil", SETTING_port="9"
    )
    assert tunnel.stdout.startswith(f"{SSH} -L 127.0.0.1:48731:nc10101.int:48731 USER@narval.alliancecan.ca\n")


def test_what_people_run_is_executable_and_the_rest_is_not(pristine_folder):
    folder = pristine_folder("least")
    executable = {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and os.access(path, os.X_OK)
    }
    assert executable == {*SCRIPTS, "lab", "shell/bin/lab", "shell/complete.sh"}


def test_what_ends_well_ends_with_0_and_nothing_else_does(make_folder, script, command):
    folder = with_a_user(make_folder("least"))
    a_notebook(folder)
    for name in SCRIPTS:
        assert script(folder / name, *TO_PRINT[name], "--print").returncode == 0, name
    for name in SCRIPTS:
        assert script(folder / name, *TO_PRINT[name], **command("ssh", "", 255)).returncode != 0, name


# --- Windows --------------------------------------------------------------------------------------------------------


def test_the_powershell_script_can_be_parsed():
    """No PowerShell can be had here: the script is parsed by tree-sitter, and people run it elsewhere."""
    tree_sitter = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip("tree_sitter_powershell")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    source = (TEMPLATE / "tunnel_ssh.ps1").read_bytes()

    def errors(node):
        own = [(node.start_point[0] + 1, node.type)] if node.type == "ERROR" or node.is_missing else []
        return own + [error for child in node.children for error in errors(child)]

    assert errors(parser.parse(source).root_node) == []
    # it does see what is wrong
    assert errors(parser.parse(source.replace(b"exit $LASTEXITCODE", b"if (")).root_node) != []


def test_windows_powershell_reads_the_script_as_text():
    """Windows PowerShell 5.1 takes a file without a byte order mark for the system's code page."""
    source = (TEMPLATE / "tunnel_ssh.ps1").read_bytes()
    assert source.startswith(b"\xef\xbb\xbf") or source.isascii()


def test_the_tools_of_these_tests_are_plain(plain_path):
    assert not any(
        (plain_path / name).exists() for name in ["salloc", "sbatch", "ssh", "sshuttle", "module", "virtualenv"]
    )
    assert Path(shutil.which("bash", path=str(plain_path))).parent == plain_path
    assert sys.platform != "win32"
