"""People's own settings of Jupyter, and where a session begins: real JupyterLab on this computer, without Slurm."""

import contextlib
import hashlib
import hmac
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from types import SimpleNamespace

import pytest
from conftest import edit

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
NONCE = "0123456789abcdef" * 4
END = 300
"""Seconds after which a session that has neither begun nor ended is a failure."""


def get(url, token="", **data):
    """Return status, body and headers of an answer; with data, to a POST."""
    headers = {"Authorization": f"token {token}"} if token else {}
    request = urllib.request.Request(url, json.dumps(data).encode() if data else None, headers)
    try:
        with OPENER.open(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


class Person:
    """Somebody with a home of their own, settings of Jupyter in it, and an environment."""

    def __init__(self, home, environment):
        self.home = home
        self.environment = {**environment, "HOME": str(home), "TMPDIR": str(home.parent)}
        (home / "jupyter_py3").mkdir(parents=True)
        # nothing is written there
        for part in ("bin", "share"):
            (home / "jupyter_py3" / part).symlink_to(f"{sys.prefix}/{part}")

    def write(self, files):
        """Write texts into files of the home."""
        for name, text in files.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def session(self, folder, **variables):
        """Run jupyterlab.sh, until it says that JupyterLab answers, or to its end; the value is what it has said."""
        log = self.home.parent / "log"
        command = [shutil.which("timeout"), str(END), str(folder / "jupyterlab.sh")]
        with log.open("w") as error:
            process = subprocess.Popen(
                command, env={**self.environment, **variables}, stdout=subprocess.PIPE, stderr=error, encoding="utf-8"
            )
        shown = []
        for line in process.stdout:
            shown.append(line)
            if line == "Ctrl-C stops it.\n":
                break
        found = re.search(r"(?m)^    (http://127\.0\.0\.1:\d+)/lab\?token=([0-9a-f]{48})$", "".join(shown))
        said = [line.removeprefix("jupyterlab.sh: ") for line in self.said(log)]
        session = SimpleNamespace(base="", token="", said=said, log=log, status=None)
        if found:
            session.base, session.token = found.groups()
        try:
            yield session
        finally:
            process.terminate()
            rest, _ = process.communicate()
            session.status, session.last = process.returncode, ("".join(shown) + rest).splitlines()[-1:]

    @staticmethod
    def said(log):
        """Return our own lines."""
        lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("jupyterlab.sh: ")]
        return [line for line in lines if "is not what settings.yml asks for" not in line]


@pytest.fixture
def person(environment, tmp_path):
    """Somebody new."""
    return Person(tmp_path / "home", environment)


def is_safe(session):
    """A session that has begun asks strangers for its token, proves that it knows it, and has a page."""
    assert session.base, session.log.read_text()
    assert get(session.base + "/api/contents")[0] == 403
    assert "Password or token" in get(session.base + "/lab")[1]
    shown = hmac.new(session.token.encode(), f"passerelle {NONCE}".encode(), hashlib.sha256).hexdigest()
    assert get(f"{session.base}/passerelle/{NONCE}")[:2] == (200, shown)
    status, page, _ = get(session.base + "/lab", session.token)
    assert (status, '"baseUrl": "/"' in page) == (200, True)
    assert get(session.base + "/api/kernelspecs", session.token)[0] == 200
    return page


EVIL = {
    "ip": "'0.0.0.0'", "port": "1", "port_retries": "0", "sock": "'/tmp/sock'", "base_url": "'/me/'",
    "websocket_url": "'ws://elsewhere'", "custom_display_url": "'http://elsewhere'", "certfile": "'/dev/null'",
    "keyfile": "'/dev/null'", "client_ca": "'/dev/null'", "ssl_options": "{'certfile': '/dev/null'}",
    "local_hostnames": "[]", "allow_remote_access": "False", "token": "''", "password": "'argon2:x'",
    "password_required": "True", "allow_unauthenticated_access": "True", "authenticate_prometheus": "False",
    "identity_provider_class": "'nosuch.Provider'", "login_handler_class": "'nosuch.Handler'",
    "cookie_secret_file": "'/dev/null'", "cookie_options": "{'domain': 'elsewhere'}", "disable_check_xsrf": "True",
    "allow_origin": "'*'", "allow_credentials": "True", "root_dir": "'/nonexistent'", "notebook_dir": "'/nonexistent'",
    "preferred_dir": "'/nonexistent'", "file_to_run": "'/nonexistent.ipynb'", "show_config": "True",
    "generate_config": "True", "log_level": "'nonsense'", "log_format": "'%(nosuch)s'",
}  # fmt: skip
"""Values that end a server, hide it, or open it."""
OVERRULED = (
    "HOME/{}: these have no effect, because the session sets them itself: {}. Your other settings there stay in force."
)
VARIABLE = "The environment variable {} has no effect, because the session sets that itself."
CONFIG = ".jupyter/jupyter_server_config"
CASES = {
    "all of them": (
        {CONFIG + ".py": "\n".join(f"c.ServerApp.{name} = {value}" for name, value in EVIL.items())},
        {},
        [(CONFIG + ".py", ", ".join(f"ServerApp.{name}" for name in EVIL))],
    ),
    "other sections": (
        {
            CONFIG + ".py": "\n".join(
                f"c.{section} = ''"
                for section in (
                    "IdentityProvider.token", "PasswordIdentityProvider.token", "ServerApp.IdentityProvider.token",
                    "PasswordIdentityProvider.hashed_password", "ExtensionApp.open_browser", "Application.log_level",
                    "FileContentsManager.root_dir", "ContentsManager.preferred_dir", "MappingKernelManager.root_dir",
                )
            ),
            ".jupyter/jupyter_lab_config.py": "c.LabApp.ip = c.ServerApp.ip = '0.0.0.0'\nc.LabApp.app_dir = '/nonexistent'",
            ".jupyter/jupyter_config.py": "c.NotebookApp.token = ''\nc.JupyterApp.config_file = '/nonexistent'",
        },
        {},
        [
            (".jupyter/jupyter_config.py", "NotebookApp.token, JupyterApp.config_file"),
            (
                CONFIG + ".py",
                "IdentityProvider.token, PasswordIdentityProvider.token, PasswordIdentityProvider.hashed_password, "
                "ServerApp.IdentityProvider.token, ExtensionApp.open_browser, Application.log_level, "
                "FileContentsManager.root_dir, ContentsManager.preferred_dir, MappingKernelManager.root_dir",
            ),
            (".jupyter/jupyter_lab_config.py", "LabApp.ip, LabApp.app_dir, ServerApp.ip"),
        ],
    ),
    "other ways to say it": (
        {
            CONFIG + ".py": "load_subconfig('mine.py')\n"
            "c.ServerApp.tornado_settings.update({'token': '', 'allow_unauthenticated_access': True})\n"
            "c.ServerApp.local_hostnames.append('elsewhere')\nget_config()['ServerApp']['ip'] = '0.0.0.0'\n",
            ".jupyter/mine.py": "c.ServerApp.token = ''",
            CONFIG + ".json": '{"ServerApp": {"base_url": "/me/", "jpserver_extensions": {"jupyterlab": false}}}',
            CONFIG + ".d/mine.json": '{"ServerApp": {"jpserver_extensions": {"jupyterlab": false}}}',
            "more/jupyter_server_config.py": "c.ServerApp.tornado_settings = {'identity_provider': None}",
        },
        {"JUPYTER_CONFIG_PATH": "HOME/more"},
        [
            (".jupyter/mine.py", "ServerApp.token"),
            (
                CONFIG + ".py",
                "ServerApp.tornado_settings['token'], ServerApp.tornado_settings['allow_unauthenticated_access'], "
                "ServerApp.local_hostnames, ServerApp.ip",
            ),
            (CONFIG + ".json", "ServerApp.base_url"),
            ("more/jupyter_server_config.py", "ServerApp.tornado_settings['identity_provider']"),
        ],
    ),
    "variables": (
        {"token": "a b"},
        {
            "JUPYTER_TOKEN": "a b", "JUPYTER_TOKEN_FILE": "HOME/token", "JUPYTER_PORT": "1", "JUPYTER_PORT_RETRIES": "0",
            "JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS": "yes", "JUPYTERLAB_DIR": "/nonexistent",
            "TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR": "nonsense",
        },
        [
            "JUPYTER_TOKEN", "JUPYTER_TOKEN_FILE", "JUPYTER_PORT", "JUPYTER_PORT_RETRIES",
            "JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS", "JUPYTERLAB_DIR", "TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR",
        ],
    ),
    "variables that stay": (
        {"mine/jupyter_server_config.py": "c.ServerApp.token = ''"},
        {"JUPYTER_CONFIG_DIR": "HOME/mine", "JUPYTER_DATA_DIR": "/proc/nonexistent", "JUPYTER_PREFER_ENV_PATH": "no",
         "XDG_DATA_HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent", "JUPYTER_RUNTIME_DIR": "/nonexistent"},
        [("mine/jupyter_server_config.py", "ServerApp.token")],
    ),
    "no settings at all": ({CONFIG + ".py": "c.ServerApp.token = ''"}, {"JUPYTER_NO_CONFIG": "1"}, []),
    "files that cannot be read": (
        {
            ".jupyter/jupyter_config.py": "exit()",
            ".jupyter/jupyter_config.json": "[1]",
            CONFIG + ".py": "c.ServerApp.token = ''\nc.ServerApp.ip = (\n",
            CONFIG + ".json": '{"ServerApp": ',
            ".jupyter/jupyter_lab_config.py": "c.LabApp.ip = ''\nraise OSError('a\\tb\\nc')",
        },
        {},
        {
            ".jupyter/jupyter_config.py:1": "SystemExit",
            ".jupyter/jupyter_config.json": "TypeError",
            CONFIG + ".py:2": "SyntaxError",
            CONFIG + ".json": "JSONDecodeError",
            ".jupyter/jupyter_lab_config.py:2": "OSError: a b c",
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_no_setting_of_a_persons_own_opens_hides_or_ends_a_session_and_one_line_says_which_have_no_effect(
    person, make_folder, case
):
    files, variables, expected = CASES[case]
    person.write(files)
    variables = {name: value.replace("HOME", str(person.home)) for name, value in variables.items()}
    with person.session(make_folder("local"), **variables) as session:
        is_safe(session)
    said = [line.replace(str(person.home), "HOME") for line in session.said]
    if isinstance(expected, dict):
        begins = [f"Your Jupyter settings in HOME/{file} cannot be read and have no effect: {words}" for file, words in
                  expected.items()]  # fmt: skip
        assert [line[: len(begin)] for line, begin in zip(said, begins, strict=True)] == begins
    else:
        assert said == [VARIABLE.format(one) if isinstance(one, str) else OVERRULED.format(*one) for one in expected]
    assert (session.status, session.last) == (0, ["The session has ended."])


ENDS = {
    "a value that is none": (
        "c.ServerApp.max_body_size = 'x'",
        {},
        "JupyterLab could not start (TraitError: The 'max_body_size' trait of a ServerApp instance expected an int, not "
        "the str 'x'.): see its messages above. Your Jupyter settings that were read: HOME/" + CONFIG + ".py",
    ),
    "a folder that cannot be": (
        "",
        {"JUPYTER_CONFIG_DIR": "/proc/nonexistent"},
        "JupyterLab could not start (FileNotFoundError: [Errno 2] No such file or directory: '/proc/nonexistent'): see its "
        "messages above. Your Jupyter settings that were read: -",
    ),
    "a program that ends all": (
        "import os; os._exit(0)", {}, "JupyterLab ended before it answered: see its messages above."
    ),
    "a program without token": (
        "from jupyter_server.auth.identity import PasswordIdentityProvider as P; P.token = ''",
        {},
        "JupyterLab was not started, because your Jupyter settings (HOME/" + CONFIG + ".py) run code that changes what "
        "keeps a session safe: token",
    ),
    "a program that lets everybody in": (
        "from jupyter_server.auth.identity import IdentityProvider as P; P.get_user = lambda *_: 'anybody'",
        {},
        "JupyterLab was not started, because your Jupyter settings (HOME/" + CONFIG + ".py) run code that changes what "
        "keeps a session safe: /lab: 200",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ENDS)
def test_what_cannot_be_a_session_ends_at_once_in_a_line(person, make_folder, case):
    text, variables, expected = ENDS[case]
    # with a folder of IPython's, Jupyter wants to write into that of its settings
    person.write({CONFIG + ".py": text, ".ipython/README": ""})
    with person.session(make_folder("local"), **variables) as session:
        assert session.base == ""
    assert [line.replace(str(person.home), "HOME") for line in session.said] == [expected]
    assert (session.status, session.last) == (1, ["The session has ended."])


def test_an_environment_that_lacks_a_package_is_named_with_what_to_do(person, make_folder):
    place = person.home / "jupyter_py3"
    (place / "bin").unlink()
    person.write({
        "jupyter_py3/bin/activate": f"VIRTUAL_ENV={place}\n",
        "jupyter_py3/bin/jupyter-lab": "",
        "jupyter_py3/bin/python": f'#!/bin/sh\nPYTHONPATH={place}/gone exec {sys.executable} "$@"\n',
        "jupyter_py3/gone/tornado.py": "raise ModuleNotFoundError('No module named tornado')\n",
    })  # fmt: skip
    for name in ("jupyter-lab", "python"):
        (place / "bin" / name).chmod(0o755)
    with person.session(make_folder("local")) as session:
        assert session.base == ""
    assert session.said == [
        f"JupyterLab in {place} does not start (ModuleNotFoundError: No module named tornado); rebuild the environment on a "
        "login node: ./setup_env.sh --rebuild"
    ]
    assert (session.status, session.last) == (1, ["The session has ended."])


def test_a_file_that_waits_for_ever_is_given_up_and_so_is_a_server(person, make_folder):
    person.write({CONFIG + ".py": "import time\ntime.sleep(1000)"})
    folder = make_folder("local")
    edit(folder / "lib/both/limits.sh", "JUPYTER_FILE=60", "JUPYTER_FILE=2")
    with person.session(folder) as session:
        is_safe(session)
    place = f"{person.home}/{CONFIG}.py"
    assert session.said == [f"Your Jupyter settings in {place}:2 cannot be read and have no effect: TimeoutError: 2 s"]
    edit(folder / "lib/both/limits.sh", "JUPYTER_FILE=2", "JUPYTER_FILE=1000")
    edit(folder / "lib/both/limits.sh", "SERVER_START=600", "SERVER_START=1")
    with person.session(folder) as session:
        assert session.base == ""
    assert session.said == ["JupyterLab has not answered for 0 minutes, so the session ends: see the messages above."]
    assert (session.status, session.last) == (1, ["The session has ended."])


# writes down what the server asks of others
LISTENS = """
from tornado.httpclient import AsyncHTTPClient
def fetch(client, url, *rest, really=AsyncHTTPClient.fetch, **more):
    with open("HOME/asked", "a") as file:
        file.write(f"{url}\\n")
    return really(client, url, *rest, **more)
AsyncHTTPClient.fetch = fetch
"""
DEAD = '{"argv": ["/nonexistent/python"], "display_name": "Dead", "language": "python"}'


def test_a_persons_other_settings_stay_and_the_environments_kernel_comes_before_theirs(person, make_folder):
    person.write(
        {
            CONFIG + ".py": "c.ServerApp.tornado_settings = {'headers': {'X-Mine': 'yes'}}\n"
            "c.ContentsManager.untitled_notebook = 'Mine'\nc.ServerApp.terminals_enabled = False\n"
            + LISTENS.replace("HOME", str(person.home)),
            CONFIG + ".d/mine.json": '{"ServerApp": {"jpserver_extensions": {"jupyter_lsp": false}}}',
            ".jupyter/labconfig/page_config.json": '{"disabledExtensions": {"@jupyterlab/mine": true}}',
            # all but this
            ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings": (
                '{"fetchNews": "true", "checkForUpdates": true}'
            ),
            ".local/share/jupyter/kernels/python3/kernel.json": DEAD,
            ".local/share/jupyter/kernels/mine/kernel.json": DEAD,
        }
    )
    folder = make_folder("local")
    # as in a class, whose environment is somebody else's
    with person.session(folder, JUPYTER_PREFER_ENV_PATH="0") as session:
        page = is_safe(session)
        kernels = json.loads(get(session.base + "/api/kernelspecs", session.token)[1])["kernelspecs"]
        # the folder is outside the home, so the server's is "/"
        get(f"{session.base}/api/contents{urllib.parse.quote(str(folder))}", session.token, type="notebook")
        assert get(session.base + "/lab", session.token)[2]["X-Mine"] == "yes"
        assert get(session.base + "/lab/api/news", session.token)[:2] == (200, '{"news": []}')
        assert get(session.base + "/lab/api/update", session.token)[:2] == (200, '{"notification": null}')
        assert get(session.base + "/lsp/status", session.token)[0] == 404
        assert get(session.base + "/api/terminals", session.token)[0] == 404
    # itself alone: not for news or a newer version, which a node may not be able to reach
    assert {url[: len(session.base)] for url in (person.home / "asked").read_text().splitlines()} == {session.base}
    assert "@jupyterlab/mine" in page
    assert (folder / "Mine.ipynb").exists()
    assert (kernels["python3"]["spec"]["display_name"], kernels["mine"]["spec"]["display_name"]) == (
        "Python 3 (ipykernel)",
        "Dead",
    )
    assert session.said == []


@pytest.mark.parametrize(
    ("place", "root", "begins"),
    [
        ("home/work/Mon été à l’école", "~", "work/Mon été à l’école"),
        ("elsewhere/it's mine", "/", "{}/elsewhere/it's mine"),
        ("home/.hidden/mine", "~/.hidden/mine", "/"),
    ],
)
def test_the_page_begins_in_the_folder_and_the_home_can_be_reached_from_there(
    person, make_folder, tmp_path, place, root, begins
):
    folder = tmp_path / place
    folder.parent.mkdir(parents=True, exist_ok=True)
    make_folder("local").rename(folder)
    with person.session(folder) as session:
        page = is_safe(session)
    config = json.loads(
        re.search(r'<script id="jupyter-config-data" type="application/json">(.*?)</script>', page, re.S)[1]
    )
    assert config["serverRoot"] in (root, str(person.home) if root == "~" else root)
    assert config["preferredPath"] == begins.format(str(tmp_path).lstrip("/"))
    assert config["workspacesDir"] == f"{folder}/.lab/workspaces/my-project"


def test_a_computer_that_does_not_know_its_own_name_is_asked_for_it_only_where_that_is_needed(
    person, make_folder, plain_path, tmp_path
):
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in plain_path.iterdir():
        (tools / tool.name).symlink_to(tool)
    (tools / "hostname").unlink()
    (tools / "hostname").write_text("#!/bin/sh\necho 'hostname: Name or service not known' >&2\nexit 1\n")
    (tools / "hostname").chmod(0o755)
    folder = make_folder("local")
    with person.session(folder, PATH=str(tools)) as session:
        is_safe(session)
    facts = folder / "plugins/clusters/local.yml"
    for reach in ("node", "jump"):
        facts.write_text(re.sub("(?m)^reach: .*$", f"reach: {reach}", facts.read_text()))
        with person.session(folder, PATH=str(tools)) as session:
            assert session.base == ""
        name = subprocess.run(["uname", "-n"], capture_output=True, encoding="utf-8").stdout.strip()
        assert session.said == [
            f"This node does not know its own name (hostname -f fails; it is called {name}), so nobody could reach the "
            "session. Try another node, and tell the cluster's support."
        ]
        assert session.status == 1


def test_where_the_server_cannot_keep_anything_one_line_says_so(person, make_folder):
    with person.session(make_folder("local"), SLURMD_NODENAME="node1", SLURM_TMPDIR="/proc/nonexistent") as session:
        assert session.base == ""
    assert session.said == ["/proc/nonexistent/jupyter cannot be written: No such file or directory"]
    assert session.status == 1
