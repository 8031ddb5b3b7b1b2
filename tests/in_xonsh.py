"""shell/xontrib/lab.py with xonsh's own fixtures; test_shells.py runs this, for their plugin costs pytest seconds."""

import os
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(os.environ["PROJECT"])


@pytest.fixture
def session(xession, monkeypatch):
    """A session of xonsh in a sub-folder, which can load the xontrib."""
    monkeypatch.syspath_prepend(PROJECT / "shell")
    monkeypatch.chdir(PROJECT / "nb")
    xession.env["PROMPT_FIELDS"] = {"user": "prof"}
    xession.env["PATH"] = ["/usr/bin", "/bin"]
    return xession


@pytest.fixture
def loaded(session, load_xontrib):
    """The same with the xontrib loaded."""
    load_xontrib("lab")
    return session


def state(session):
    """Return what loading may change; a variable of xonsh's own that is not set is none."""
    return (
        list(session.env["PATH"]),
        dict(session.completers),
        dict(session.env["PROMPT_FIELDS"]),
        {name: session.env[name] for name in list(session.env) if name.startswith("LAB")},
        [session.env.get(name) for name in ("PROMPT", "RIGHT_PROMPT")],
        list(session.builtins.events.on_pre_prompt_format),
        list(sys.path),
    )


def test_completions_say_what_they_mean(loaded, check_completer):
    values, found = check_completer("lab", prefix="sta", send_original=True)
    assert values == {"status"}
    assert [(completion.description, completion.append_space) for completion in found] == [
        ("shows your sessions and batch jobs", True)
    ]
    # a name with a space in quotes; what goes on has none behind it
    assert check_completer("lab submit", prefix="../é") == {"'../été 1.ipynb'"}
    assert check_completer("lab submit", prefix="../a") == {"'../a dir/", "../a=b:c.ipynb"}
    assert check_completer("lab open", prefix="--name=e") == {"--name=essay"}
    assert check_completer("../setup_env.sh", prefix="--reb") == {"--rebuild"}
    # a name of any bytes
    with open(os.fsencode(PROJECT / "nb") + b"/na\xefve.ipynb", "w"):
        assert check_completer("lab submit", prefix="na") == {r"'na\udcefve.ipynb'"}
    # what is not lab's is left to others
    assert "status" not in check_completer("ls", prefix="sta")


def test_the_session_s_facts_are_variables_and_a_field_of_the_prompt_while_one_stands_there(loaded, monkeypatch):
    loaded.builtins.events.on_pre_prompt_format.fire()
    assert loaded.env["LAB_FOLDER"] == str(PROJECT)
    assert loaded.env["LAB_SESSION"] == "essay"
    left = int(loaded.env["LAB_END"]) - time.time()
    assert 90 * 3600 < left <= 100 * 3600
    assert loaded.env["LAB_PROMPT"].startswith("essay 9")
    assert loaded.env["PROMPT_FIELDS"]["lab"]().startswith("essay 9")
    monkeypatch.chdir("/")
    loaded.builtins.events.on_pre_prompt_format.fire()
    assert [name for name in loaded.env if name.startswith("LAB")] == []
    assert loaded.env["PROMPT_FIELDS"]["lab"]() is None


def test_unloading_leaves_all_as_it_was(session, load_xontrib):
    from xonsh.xontribs import xontribs_unload

    session.env["PROMPT"], session.env["RIGHT_PROMPT"] = "{user}> ", "{user}"
    before = state(session)
    load_xontrib("lab")
    session.env["PROMPT"], session.env["RIGHT_PROMPT"] = "{lab:{} }{user}> ", "{user}{lab}"
    session.builtins.events.on_pre_prompt_format.fire()
    assert all(now != then for now, then in zip(state(session)[:6], before[:6], strict=True))
    xontribs_unload(["lab"])
    # the folder that `lab shell xonsh` has put there, too
    now = state(session)
    assert now[:6] == before[:6]
    assert [path for path in before[6] if path not in now[6]] == [str(PROJECT / "shell")]
    # what load_xontrib takes away at its end
    sys.modules.setdefault("xontrib.lab", None)
