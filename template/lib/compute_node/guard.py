"""What is ours of Jupyter's settings: what makes a session safe, reachable and stoppable. All others are people's own.

Command-line options win over files, but not everywhere: Jupyter merges files of several names, sections of base classes
and of extensions (LabApp.ip), and defaults from variables. So what is ours is taken out of each file as it is read.
Source: traitlets 5.16 (config/application.py, config/configurable.py), jupyter_server 2.21, notebook_shim 0.2
"""

import contextlib
import functools
import os
import re
import signal
import sys
import traceback

_WHERE_IT_ANSWERS = """
    ip port port_retries sock sock_mode base_url websocket_url custom_display_url certfile keyfile client_ca ssl_options
    trust_xheaders local_hostnames allow_remote_access"""
_WHO_MAY_COME_IN = """
    token password password_required allow_password_change allow_unauthenticated_access authenticate_prometheus
    identity_provider_class login_handler_class logout_handler_class cookie_secret cookie_secret_file cookie_options
    get_secure_cookie_kwargs disable_check_xsrf allow_origin allow_origin_pat allow_credentials allow_root"""
_WHAT_IT_DOES_AT_ITS_START = """
    root_dir notebook_dir preferred_dir file_to_run app_dir open_browser browser use_redirect_file no_browser_open_file
    show_config show_config_json generate_config config_file config_file_name answer_yes subcommand
    log_level log_format log_datefmt logging_config raise_config_file_errors"""
APPLICATION = frozenset((_WHERE_IT_ANSWERS + _WHO_MAY_COME_IN + _WHAT_IT_DOES_AT_ITS_START).split())
"""Of the server, and of every application that hands settings on to it."""
FOLDERS = frozenset(["root_dir", "preferred_dir"])
HARMLESS = frozenset(["headers"])
"""Of ServerApp.tornado_settings, which replace any of the server's own, tokens among them."""
VARIABLES = (
    "JUPYTER_TOKEN", "JUPYTER_TOKEN_FILE", "JUPYTER_PORT", "JUPYTER_PORT_RETRIES",
    "JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS", "JUPYTERLAB_DIR", "TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR",
)  # fmt: skip
OUR_FILES = os.path.dirname(os.path.abspath(__file__)) + os.sep


@functools.cache
def limit(name):
    """Return one of the time limits of lib/both/limits.sh, in seconds."""
    with open(os.path.join(OUR_FILES, "../both/limits.sh"), encoding="utf-8") as file:
        return int(re.search(rf"(?m)^{name}=(\d+)$", file.read())[1])


@functools.cache
def names_in(folder):
    """Return the names of the files in a folder; None where they cannot be known."""
    try:
        return frozenset(os.listdir(folder))
    except FileNotFoundError:
        return frozenset()
    except OSError:
        return None


def may_be(name, folder):
    """Return whether a file may be there: most that Jupyter asks for are nowhere, and a folder is looked into once."""
    if os.sep in name or not folder or (names := names_in(folder)) is None:
        return True
    return name in names


class Notes:
    """Lines for jupyterlab.sh, which says them in the folder's language: a message's key and its values."""

    def __init__(self, path):
        """Path: the file."""
        self._path, self._noted = path, set()

    def note(self, key, **values):
        """Add a line, once."""
        words = [key, *(f"{name}={' '.join(str(value).split())[:2000]}" for name, value in values.items())]
        if (line := "\t".join(words) + "\n") not in self._noted:
            self._noted.add(line)
            with open(self._path, "a", encoding="utf-8", errors="replace") as file:
                file.write(line)


def drop_variables(notes):
    """Take out of the environment what is ours; to be called before traitlets is imported, which reads one of them."""
    for name in VARIABLES:
        if os.environ.pop(name, ""):
            notes.note("overruled_variable", name=name)


def is_ours(section, name):
    """Return whether a trait of a section, or of what is nested in it, is ours."""
    if section.endswith("IdentityProvider"):
        return True
    if section.endswith(("App", "Application", "Configurable")):
        return name in APPLICATION
    return name in FOLDERS and section.endswith(("ContentsManager", "KernelManager", "FileManagerMixin"))


def take_out(config, path=""):
    """Remove from a Config what is ours, and return what was removed, as ServerApp.token."""
    from traitlets.config import Config, LazyConfigValue

    removed, section = [], path.rpartition(".")[2]
    for name, value in list(config.items()):
        place = f"{path}.{name}".lstrip(".")
        if isinstance(value, Config) and name[0].isupper():
            removed += take_out(value, place)
        elif is_ours(section, name):
            del config[name]
            removed.append(place)
        elif name == "tornado_settings" and section.endswith("App"):
            given = value.get_value({}) if isinstance(value, LazyConfigValue) else value
            if isinstance(given, dict) and not set(given) <= HARMLESS:
                config[name] = {key: given[key] for key in HARMLESS & set(given)}
                removed += [f"{place}[{key!r}]" for key in given if key not in HARMLESS]
    return removed


@contextlib.contextmanager
def at_most(seconds):
    """Raise TimeoutError within, after so many seconds."""

    def end(number, frame):
        raise TimeoutError(f"{seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Guard:
    """Stands between people's files of settings and Jupyter; see install and wrong."""

    def __init__(self, notes):
        """Notes: where it is said what has no effect, and which files cannot be read."""
        self.notes, self.files = notes, []

    def install(self):
        """Have every application of this process read its files through here."""
        from traitlets.config import Application

        for kind in ("python_config_loader_class", "json_config_loader_class"):
            setattr(Application, kind, self._guarded(getattr(Application, kind)))

    def _guarded(self, loader):
        """Return a loader of files that hands on what is not ours."""
        from traitlets.config import Config, ConfigFileNotFound

        guard = self

        class Guarded(loader):
            def load_config(self):
                if not may_be(self.filename, self.path):
                    raise ConfigFileNotFound(self.filename)
                try:
                    with at_most(limit("JUPYTER_FILE")):
                        config = super().load_config()
                        removed = take_out(config)
                except ConfigFileNotFound:
                    raise
                # a file that calls exit() ends no session
                except (Exception, SystemExit) as error:
                    # exit() closes it, and the server looks at it
                    sys.stdin = None
                    guard.notes.note("bad_jupyter_file", file=guard.place(self.full_filename, error), words=what(error))
                    return Config()
                if self.full_filename not in guard.files and not self.full_filename.startswith(OUR_FILES):
                    guard.files.append(self.full_filename)
                if removed:
                    guard.notes.note("overruled", file=self.full_filename, names=", ".join(removed))
                return config

        return Guarded

    @staticmethod
    def place(path, error):
        """Return the file, and the line in it where that is known."""
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        if isinstance(error, SyntaxError) and error.filename == path:
            lines = [error.lineno]
        return f"{path}:{lines[-1]}" if lines else path

    @staticmethod
    def wrong(server, ip):
        """Return what of the server that is about to start is not as it must be, whatever has made it so."""
        from jupyter_server.auth.identity import PasswordIdentityProvider

        settings, provider = server.web_app.settings, server.identity_provider
        right = {
            "ip": server.ip == ip,
            "sock": not server.sock,
            "base_url": server.base_url == settings["base_url"] == "/",
            "certfile": not server.ssl_options,
            "identity_provider": type(provider) is PasswordIdentityProvider is type(settings["identity_provider"]),
            "token": bool(re.fullmatch("[0-9a-f]{48}", str(getattr(provider, "token", "")))),
            "password": not getattr(provider, "hashed_password", ""),
            "disable_check_xsrf": not settings["disable_check_xsrf"],
        }
        return [name for name, holds in right.items() if not holds]


def what(error):
    """Return an error in a line."""
    return f"{type(error).__name__}: {error}".removesuffix(": None").removesuffix(": ")
