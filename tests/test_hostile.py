"""A login node that means harm: what it prints is data on the laptop, shown as text, and at worst ends in one line."""

import base64
import contextlib
import importlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from life import KEY, Life
from test_lab_seldom import jump  # noqa: F401 - a fixture

RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What steers a terminal: C0, C1, the directions of writing."""
STEERS = "\x1b]0;title\x07\x1b]52;c;cm0gLXI=\x1b\\\x1b[2J\x1b[31m\x9b31m\x85\x08\x7f\r\u202e\u2066\u2028"
SHOWN = (
    r"\x1b]0;title\x07\x1b]52;c;cm0gLXI=\x1b\\x1b[2J\x1b[31m\xc2\x9b31m\xc2\x85\x08\x7f\x0d\xe2\x80\xae\xe2\x81\xa6"
    r"\xe2\x80\xa8"
)
"""The same as lab shows it."""
ADDRESS = "http://node1.int.example:8888/lab?token=0123abcd"


def is_harmless(out, error, status):
    """Whatever has come, there is nothing raw and no traceback, and trouble ends in a line of lab's."""
    assert not (found := RAW.search(out + error)), f"{found[0]!r} in {(out + error)[found.start() - 50 :]!r}"
    assert "Traceback" not in out + error
    last = (error.splitlines() or [""])[-1]
    assert status == 0 or last.startswith("lab: ") or out.splitlines()[-1].startswith("FAILS  "), out + error


# --- lab alone, and a fake in the place of the login node -------------------------------------------------------------


class FakeConnection:
    """A fake: the login node is a process of this computer, which prints what it is told, whatever it is asked."""

    here, separate, login = True, False, "alice@cluster.example"

    def __init__(self, trouble, *command):
        self.trouble, self.command, self.opened = trouble, command, False

    def folder(self, _):
        return "/home/alice/lab"

    def open(self, waiting, heed):
        if self.opened:
            raise self.trouble("no_connection", login=self.login)
        self.opened = True

    def shell(self):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, start_new_session=True)
        return self.process

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def state(self):
        return "absent"

    def give_up(self):
        pass

    def is_full(self, shell):
        return False

    def reachable(self):
        return True


OURS = ("lab", "both")
"""What lab imports of its own."""


@pytest.fixture(scope="module")
def laptop(pristine_folder, tmp_path_factory):
    """Run a command of lab here, in this process, with a fake login node that prints so many bytes."""
    there = tmp_path_factory.mktemp("hostile")
    # lab keeps in its folder what it has seen
    folder = Path(shutil.copytree(pristine_folder("vcluster", name="lab"), there / "lab", symlinks=True))
    file = there / "printed"
    # other tests have imported the template's own, whose folder is another one
    others = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in OURS}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "lib")
        patch.syspath_prepend(folder / "lib/laptop")
        modules = {name: importlib.import_module(f"lab.{name}") for name in ("channel", "cli", "rsync", "tunnel")}
        modules["messages"] = importlib.import_module("both.messages")
        modules["open"], modules["settings"] = (importlib.import_module(f"lab.{name}") for name in ("open", "settings"))
        lab = SimpleNamespace(**modules)
        # what is sent to it, and whether its servers are there, is not the question here
        patch.setattr(lab.open, "Sync", lambda *_: SimpleNamespace(send_scripts=lambda: None))
        patch.setattr(lab.tunnel.Tunnel, "_ask_for_proof", lambda *_: "proved")
        notebook = folder / "notebook.ipynb"

        def run(words, printed=b"", command=None):
            file.write_bytes(printed)
            connection = FakeConnection(lab.messages.Trouble, *(command or ["cat", file]))
            patch.setattr(lab.cli, "start", lambda *_: (lab.settings.load(), connection))
            patch.setattr("pathlib.Path.is_file", lambda path: True)
            out, error = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
            # nobody is there to be asked
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
            handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
            try:
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                    status = lab.cli.main([word.replace("NOTEBOOK", str(notebook)) for word in words])
            finally:
                connection.end()
                for number, handler in handlers.items():
                    signal.signal(number, handler)
            return SimpleNamespace(
                status=status, out=out.buffer.getvalue().decode(), error=error.buffer.getvalue().decode()
            )

        yield SimpleNamespace(run=run, lab=lab)
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]
    sys.modules.update(others)


def said(*lines):
    """The bytes of a channel that says hello, and these lines with their tabs written as bars."""
    return b"".join(
        b"passerelle\t" + line.replace("|", "\t").encode("utf-8", "surrogateescape") + b"\n"
        for line in ("0|bash|5.2", "0|hello", *lines)
    )


STATE = "state|{}|None|1764000000|node1|"
WELL = {
    ("status",): said(
        "1|session|1764000000|77|RUNNING|None|1763999000|1764003600|node1|cpu=2,mem=2G|2|passerelle-lab",
        "1|session|1764000000|78|PENDING|Priority|N/A|N/A||cpu=2,mem=2G|2|passerelle-two",
        "1|batch|1764000000|79|RUNNING|None|1763999000|1764003600|node1|cpu=2,mem=2G|2|work/a.ipynb",
        "1|usage|77.0|3136K|1-02:03:04",
        "1|usage|77.extern|1.5G|02:03.456",
        "1|idle|76|three|60|1763999000",
        "1|ended|70|FAILED|1:0|1763999000|b.ipynb",
        "1|ended|71|COMPLETED|0:0|Unknown|b.ipynb",
        "1|end",
    ),
    ("stop", "70"): said("1|batch_job|70|b.ipynb", "2|stopped|70"),
    ("logs", "b.ipynb"): said("1|batch_job|70|b.ipynb") + b"one line\n" + said("2|logged|70"),
    ("stop",): said("1|found|77", f"2|record|{ADDRESS}|1764003600|1764000000", "3|stopped|77"),
    ("url",): said("1|found|77", f"2|record|{ADDRESS}|1764003600|1764000000"),
    ("logs",): said("1|found|77") + b"one line\na tab\there\n" + said("2|logged|77"),
    ("logs", "--follow"): said("1|found|77") + b"one line\n" + said("3|" + STATE.format("TIMEOUT"), "4|logged|"),
    ("submit", "NOTEBOOK"): said("1|folder|same") + b"submitted\n" + said("1|done"),
    ("open",): said(
        *["1|folder|same", "1|again", "1|submitted|77", "2|" + STATE.format("PENDING")],
        "2|trouble|slurm_load_jobs error",
        *[f"2|up|{ADDRESS}|1764003600|1764000000", "2|" + STATE.format("COMPLETED")],
    ),
    ("logs", "three"): said("1|found|", "2|logged|76", "3|last|76|COMPLETED|idle 60|1763999000|"),
    ("attach",): said("1|found|77", f"2|up|{ADDRESS}|1764003600|1764000000", "2|" + STATE.format("FAILED")),
    ("check",): said(
        "1|folder|same",
        "1|step|account|0|start=1764009000|now=1764000000",
        "1|step|quota|0|folders=/home/alice /scratch/alice",
        "1|step|modules|0|modules=python/3.11",
        "1|step|environment|0|path=/home/alice/jupyter_py3|version=4.5.0",
        *["2|found|77", "3|" + STATE.format("RUNNING"), f"4|record|{ADDRESS}|1764003600|1764000000", "5|node|idle"],
    ),
}
"""What each command is answered when all is well."""
HARM = [
    *[STEERS, "", "\t", "|", "passerelle", "-oProxyCommand=touch x", "None", "N/A", "RUNNING", "self=1", "0"],
    *["9" * 11, "9" * 12, "9" * 5000, "-1", "1e999", "nan", "٣", "²", "１２", "0:0:0:0", "1-", "1" + ":9" * 300],
    *["javascript:alert(1)", "http://node1:0/lab?token=a", "http://node1:99999/lab?token=a", 'http://n:1/?token="a'],
    *["http://-oProxyCommand=x:1/lab?token=a", "http://n:1/../lab?token=a", f"http://n:1/lab?token={STEERS}"],
    *["\udc9b2J\udcff\udcfe", "x" * 20000, "submit_session.sh", "same", "CANCELLED", "hello"],
]
"""What stands in the place of a word."""


@st.composite
def harmful(draw, lines):
    """What a login node prints that means harm: the lines that are right, changed in some places."""
    lines = [line.decode("utf-8", "surrogateescape").split("\t") for line in lines.splitlines()]
    word = st.sampled_from(HARM) | st.text(max_size=20)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        line = lines[place]
        field = draw(st.integers(0, len(line) - 1))
        match draw(st.integers(0, 6)):
            case 0:
                lines[place] = [*line[:field], draw(word), *line[field + 1 :]]
            case 1:
                lines[place] = [*line[:field], draw(word), *line[field:]]
            case 2:
                lines[place] = line[:field] or [draw(word)]
            case 3:
                lines.insert(place, [draw(word)])
            case 4:
                lines.insert(place, draw(st.sampled_from(lines)))
            case 5:
                kind = draw(st.sampled_from(["found", "folder", "step", "state", "up", "usage", "end", "node", "file"]))
                lines[place] = [*line[:2], kind, *line[3:]]
            case 6:
                lines[place] = ["passerelle", draw(st.sampled_from("0123456")), *line[2:]]
    printed = b"\n".join("\t".join(line).encode("utf-8", "surrogatepass") for line in lines)
    return printed + draw(st.sampled_from([b"\n", b"", b"\r\n", b"\xff"]))


@pytest.mark.parametrize("words", WELL, ids=" ".join)
def test_a_fake_login_node_that_says_what_it_should_is_understood(laptop, words):
    done = laptop.run(words, WELL[words])
    is_harmless(done.out, done.error, done.status)
    assert "cannot be understood" not in done.out + done.error
    # of a job that has failed
    assert done.status == (words == ("attach",)), done.out + done.error


@pytest.mark.parametrize("words", WELL, ids=" ".join)
def test_whatever_a_fake_login_node_says_ends_in_a_line_and_shows_nothing_raw(laptop, words, monkeypatch):
    # where an answer does not come
    monkeypatch.setattr(laptop.lab.open.LIMITS, "SILENCE", 1)
    monkeypatch.setattr(laptop.lab.open.LIMITS, "PING", 1)

    @settings(suppress_health_check=list(HealthCheck))
    @given(harmful(WELL[words]))
    @example(b"\n".join(b"passerelle\t0\thello\t"[:length] for length in range(20)))
    @example(WELL[words].replace(b"\n", b""))
    @example(WELL[words][:-3])
    @example(said() + b"passerelle\t1\t" + b"x" * 1000000 + b"\n")
    @example(said() + 1000000 * b"\x9b")
    def try_it(printed):
        done = laptop.run(words, printed)
        is_harmless(done.out, done.error, done.status)

    try_it()


@pytest.mark.parametrize("words", WELL, ids=" ".join)
def test_each_line_of_a_fake_login_node_is_cut_off_at_each_word(laptop, words):
    lines = WELL[words].splitlines()
    for place, line in enumerate(lines):
        for length in range(1, line.count(b"\t") + 1):
            cut = b"\t".join(line.split(b"\t")[:length])
            done = laptop.run(words, b"\n".join([*lines[:place], cut, *lines[place + 1 :]]) + b"\n")
            is_harmless(done.out, done.error, done.status)


@pytest.mark.parametrize("number", ["99999999999", "0", "00000000001"])
def test_times_and_numbers_that_no_clock_shows(laptop, number):
    session = f"1|session|{number}|77|RUNNING|None|{number}|{number}|node1|mem={'9' * 400}M|9999999|passerelle-lab"
    usage = f"1|usage|77.0|{'9' * 12}T|999999-{'9' * 12}:99:99"
    done = laptop.run(("status",), said(session, usage, usage, "1|end"))
    assert (done.status, done.error) == (0, "")
    assert re.fullmatch(r"NAME +JOB +STATE .*\nlab +77 +RUNNING +node1 .*\n", done.out)


def test_the_prompt_is_told_of_the_sessions_there_are_and_when_they_end(laptop):
    """By .lab/sessions, with this computer's clock, and with no name that could steer a terminal."""
    file = laptop.lab.messages.FOLDER / ".lab/sessions"
    nobody = f"1|session|1764000000|79|RUNNING|None|1|1764003600|node1|||passerelle-{STEERS}"
    before = int(time.time())
    end = b"passerelle\t1\tend\n"
    laptop.run(("status",), WELL[("status",)].replace(end, said(nobody).splitlines(keepends=True)[-1] + end))
    name, end = file.read_text().splitlines()[0].split("\t")
    assert (name, before + 3600 <= int(end) <= time.time() + 3600) == ("lab", True)
    assert file.read_text() == f"lab\t{end}\ntwo\t\n"
    for command, expected in [("stop", {"two"}), ("url", {"lab", "two"}), ("attach", {"two"}), ("open", {"two"})]:
        laptop.run((command,), WELL[(command,)])
        assert {line.split("\t")[0] for line in file.read_text().splitlines()} == expected
    laptop.run(("url",), WELL[("url",)])
    laptop.run(("url",), said("1|found|", "2|last||||||"))
    assert file.read_text() == "two\t\n"


@pytest.mark.parametrize("number", ["²", "٣", "-1", "9" * 5000, ""])
def test_what_is_no_number_is_not_counted_with(laptop, number):
    printed = WELL[("check",)].replace(b"start=1764009000", f"start={number}".encode())
    done = laptop.run(("check",), printed)
    assert (done.status, done.error) == (0, "")
    assert done.out.splitlines()[1] == "ok     account      Slurm accepts the job, and could start it now"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (b"\t2\tpasserelle-lab", b"\t0\tpasserelle-lab"),
        (b"passerelle-lab", b"passerelle-" + 20000 * b"x"),
    ],
    ids=["no core", "longer than a line"],
)
def test_a_line_with_what_cannot_be_is_not_understood(laptop, right, wrong):
    done = laptop.run(("status",), WELL[("status",)].replace(right, wrong))
    assert (done.status, done.out) == (1, "")
    assert done.error.startswith("lab: What alice@cluster.example answered cannot be understood: passerelle\\x091\\x09")


@pytest.mark.parametrize(
    "usage",
    [
        "|213503982334-14:25:51",
        "3136K|",
        "|00:00:01",
        "16E|00:00:01",
        "3136K|1-02:03:04:04",
        f"{'9' * 5000}K|{'9' * 5000}-02:03:04",
    ],
)
def test_what_slurm_does_not_know_of_a_step_is_left_out(laptop, usage):
    """sstat shows "no value" as 2^64 ms while a step begins, and nothing for its memory."""
    printed = WELL[("status",)]
    for known in (b"3136K\t1-02:03:04", b"1.5G\t02:03.456"):
        assert known in printed
        printed = printed.replace(known, usage.replace("|", "\t").encode())
    done = laptop.run(("status",), printed)
    assert (done.status, done.error) == (0, "")
    assert re.split("  +", done.out.splitlines()[1]) == ["lab", "77", "RUNNING", "node1", "1 h 00 min"]


def test_a_port_that_is_none_is_not_gone_to(laptop):
    done = laptop.run(("url",), WELL[("url",)].replace(b"8888", b"99999"))
    assert (done.status, done.out) == (1, "")
    assert done.error.startswith(
        "lab: “http://node1.int.example:99999/lab?token=...” is not the address of a session; "
    )


def test_a_session_is_stopped_whatever_its_address_is(laptop):
    done = laptop.run(("stop",), WELL[("stop",)].replace(b"token=0123abcd", b"token=a b"))
    assert (done.status, done.out) == (0, "The session lab has been stopped (job 77).\n")
    assert done.error.startswith("lab: “http://node1.int.example:8888/lab?token=...” is not the address of a session; ")


def test_what_comes_is_read_only_as_far_as_it_is_wanted(laptop):
    """A login node that prints without an end has to wait; else all that it prints would be kept in memory."""
    channel = laptop.lab.channel
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    held = channel.Channel(FakeConnection(laptop.lab.messages.Trouble, "yes", "x" * 100))
    try:
        held.open()
        deadline = time.monotonic() + 60
        while held._events.qsize() < channel.AHEAD:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.3)
        assert held._events.qsize() == channel.AHEAD
    finally:
        held.connection.end()
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("words", [("status",), ("open",)], ids=" ".join)
@pytest.mark.parametrize("noise", ["while sleep 0.1 && echo passerelle; do :; done", "yes | tr -d '\\n'"])
def test_a_login_node_that_says_much_and_never_hello_is_given_up(laptop, monkeypatch, words, noise):
    for limit in ("GREETING", "LOGIN_SHELL"):
        monkeypatch.setattr(laptop.lab.channel.LIMITS, limit, 1)
    done = laptop.run(words, command=["bash", "-c", noise])
    said = "lab: alice@cluster.example let you in, but no bash starts there: a startup file "
    assert (done.status, done.out, done.error.splitlines()[-1].startswith(said)) == (1, "", True), done.error


def test_a_login_shell_that_takes_long_is_said_and_waited_for(laptop, monkeypatch):
    monkeypatch.setattr(laptop.lab.channel.LIMITS, "GREETING", 0)
    bash = r"sleep 2; printf 'passerelle\t%b\n' '0\tbash\t5' '0\thello' '1\tend'; exec cat >/dev/null"
    done = laptop.run(("status",), command=["bash", "-c", bash])
    said = "The login shell on alice@cluster.example has not answered for "
    assert (done.status, done.out.splitlines()[-1]) == (
        0,
        "You have no session, waiting or running; start one with: ./lab open",
    )
    assert [said in line for line in done.error.splitlines()] == [True], done.error


def test_answers_without_an_end_are_given_up(laptop, monkeypatch):
    monkeypatch.setattr(laptop.lab.channel.LIMITS, "ANSWER_MEGABYTES", 1)
    answer = r"passerelle\t1\tsession\t1\t77\tRUNNING\t\t\t\t" + "x" * 5000 + r"\t\t1\tx\n"
    endless = f"printf 'passerelle\\t0\\tbash\\t5\\npasserelle\\t0\\thello\\n'; while printf '{answer}'; do :; done"
    done = laptop.run(("status",), command=["bash", "-c", endless])
    said = "lab: alice@cluster.example has answered more than 1 MB without an end; see what it does there: ssh "
    assert (done.status, done.out, done.error) == (1, "", said + "alice@cluster.example\n")


def test_an_answer_to_another_question_is_none(laptop):
    done = laptop.run(("status",), said("1|found|77"))
    words = (
        r"lab: What alice@cluster.example answered cannot be understood: found\x0977. Does one of your startup files there "
        "(~/.bashrc; with zsh ~/.zshenv) print something in the background?\n"
    )
    assert (done.status, done.out, done.error) == (1, "", words)


def test_answers_that_are_cut_off_by_the_end_are_not_believed(laptop):
    """Job 77 might be job 7 of 77."""
    done = laptop.run(("stop",), said("1|found|77")[:-1])
    assert (done.status, done.out) == (1, "")
    assert done.error == (
        "lab: alice@cluster.example does not answer as it should; see what a plain ssh says: ssh alice@cluster.example\n"
    )


# --- rsync, and a fake in its place or in the login node's ------------------------------------------------------------

PLOT = 'rsync: [sender] send_files failed to open "/home/alice/lab/plot (28).png": Permission denied (13)'
NO_SPACE = 'rsync: [receiver] write failed on "/home/alice/lab/plot.png": No space left on device (28)'
ENDLESS = "alice@cluster.example has answered more than {} MB without an end; "
NOT_SENT = "The folder could not be written on alice@cluster.example: "


@pytest.fixture
def fake_rsync(laptop, tmp_path, monkeypatch):
    """Send or bring a megabyte by a fake rsync, a script of bash; return the Trouble in which that ends, or None."""

    def run(script, out=True):
        (tmp_path / "rsync").write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / "rsync").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        connection = SimpleNamespace(login="alice@cluster.example", separate=False, shell_command=["bash", "-s"])
        waiting, deadline = laptop.lab.channel.Waiting(), time.monotonic() + 120

        def heed():
            assert time.monotonic() < deadline

        channel = SimpleNamespace(connection=connection, waiting=waiting, heed=heed, forgive=lambda: None)
        try:
            # more names than a pipe takes from who is not listened to
            laptop.lab.rsync.rsync(channel, "lab", ["data"] * 100000, out=out, size=1000000)
        except laptop.lab.messages.Trouble as trouble:
            return str(trouble)

    yield run
    (tmp_path / "rsync").unlink()


@pytest.mark.parametrize(
    ("script", "trouble"),
    [
        (f"echo '{PLOT}' >&2; exit 23", None),
        (f"echo '{NO_SPACE}' >&2; echo '{PLOT}' >&2; exit 23", NOT_SENT),
        # words of which there is no end
        ("exec timeout 60 yes >&2", ENDLESS.format(1)),
        # as many words as one may say, of which the first are kept
        (f"echo '{NO_SPACE}' >&2; yes | head -c 900000 >&2; exit 11", NOT_SENT),
        # somebody else has its standard error
        (
            f"(for i in {{1..600}}; do [[ -e $0 ]] || exit; sleep 0.1; done; touch ${{0%/*}}/over) & echo '{NO_SPACE}' >&2; exit 11",
            NOT_SENT,
        ),
    ],
    ids=["a name", "no space", "endless words", "many words", "a child"],
)
def test_what_rsync_says_is_read_as_far_as_it_is_wanted(laptop, fake_rsync, monkeypatch, tmp_path, script, trouble):
    monkeypatch.setattr(laptop.lab.rsync.LIMITS, "ANSWER_MEGABYTES", 1)
    monkeypatch.setattr(laptop.lab.rsync.LIMITS, "SSH_ANSWER", 1)
    said = fake_rsync(script)
    assert (said or "").startswith(trouble or "") and bool(said) == bool(trouble), said
    assert not (tmp_path / "over").exists()


def test_files_that_come_without_an_end_are_given_up_and_an_older_one_there_may_be_large(
    laptop, fake_rsync, monkeypatch
):
    monkeypatch.setattr(laptop.lab.rsync.LIMITS, "ANSWER_MEGABYTES", 1)
    assert fake_rsync("exec timeout 60 yes >/dev/fd/$LAB_COUNT", out=False).startswith(ENDLESS.format(3))
    # rsync there reads what is there, too
    assert fake_rsync("yes | head -c 200 >/dev/fd/$LAB_COUNT") is None


def test_while_nothing_has_passed_the_login_node_is_awaited(laptop, fake_rsync, monkeypatch, tmp_path):
    shown = []

    def show(_, key, **values):
        shown.append(key)
        (tmp_path / key).touch()

    monkeypatch.setattr(laptop.lab.channel.Waiting, "show", show)
    until = "until [[ -e ${{0%/*}}/{} ]]; do sleep 0.05; done"
    script = f"{until.format('waiting_for_answer')}; echo -n . >&$LAB_COUNT; {until.format('sync_sending')}"
    assert fake_rsync(script) is None
    assert list(dict.fromkeys(shown)) == ["waiting_for_answer", "sync_sending"]


@pytest.mark.parametrize("ends", ["exec sleep 100 >&-", "exec sleep 100"], ids=["closes", "says nothing"])
def test_a_login_side_that_does_not_end_is_given_up(laptop, ends):
    counter, counted = os.pipe()
    helper = subprocess.Popen(
        [sys.executable, "-I", laptop.lab.rsync.__file__.replace("rsync.py", "rsh.py"), "login", "bash", "-c", ends],
        env={**os.environ, "LAB_SHELL": "bash -s", "LAB_COUNT": str(counted), "LAB_PATIENCE": "9 2 1"},
        pass_fds=[counted], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    os.close(counted)
    try:
        # rsync waits with its end of both open
        assert helper.wait(60) == 0
    finally:
        helper.kill()
        helper.communicate()
        os.close(counter)


# --- the cluster ------------------------------------------------------------------------------------------------------

FORGED = (
    "\n".join(
        "passerelle\t" + "\t".join(words[:length])
        for number in "123456"
        for words in (
            [number, "found", "٣٣"],
            [number, "record", "http://-oProxyCommand=x:1/lab?token=a", "1", "1"],
            [number, "session", "1", "7", "RUNNING", STEERS, "²", "9" * 20, "", "", "0", STEERS],
            [number, "step", "account", "0", "self=1", "start=²"],
            [number, "state", "", "", "", "", ""],
        )
        for length in range(len(words) + 1)
    )
    + "\n"
)
SAID_BY_SLURM = {
    "control sequences": f"77\n{STEERS}|{STEERS}\t|\n",
    "nothing": "",
    "numbers that are none": (
        "9" * 5000 + "\n" + "|".join(["9" * 20] * 8) + "|passerelle-lab\n"
        "٣٣\n٣|RUNNING|²|²|²|²|²|²|passerelle-lab\nSubmitted batch job ²\n"
    ),
    "what is not UTF-8": "\udcff\udc9b2J\n77|RUNNING|\udcff\udc9b2J||||||passerelle-\udcff\udc9b2J\n",
    "a megabyte": "7" * 1000000,
    "answers of lab's own": FORGED,
}
COMMANDS = ["open --no-browser", "attach", "status", "stop", "logs", "url", "submit notebook.ipynb", "check"]


@pytest.fixture(scope="module")
def hostile(cluster, other_folder, built):
    """student's life, for tests that change the startup files and the commands of Slurm; all comes back as it was."""
    cluster.clean(homes=False)
    life = Life(cluster, other_folder)
    keep = "mkdir hostile && cp .bashrc hostile"
    cluster.run("login", "student", "bash", "-c", keep, check=True)
    notebook = '{"cells": [], "metadata": {"language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5}\n'
    cluster.write("laptop", "alice", "lab/notebook.ipynb", notebook)
    # the folder is there before anything goes wrong
    assert life.run_lab("sync").returncode == 0
    yield life
    back = "mv hostile/.bashrc .; rm -rf hostile .local/state/passerelle/*/*"
    cluster.run("login", "student", "bash", "-c", back, check=True)
    cluster.clean(homes=False)


@pytest.fixture
def student(hostile):
    """Make ~/.bashrc end with a line for who comes by ssh; ~/hostile/said is said."""

    def write(bashrc=":", said=""):
        encoded = base64.b64encode(said.encode("utf-8", "surrogateescape")).decode()
        change = """base64 -d >hostile/said
            { cat hostile/.bashrc && printf 'if [[ ${SSH_CONNECTION:-} ]]; then\\n%s\\nfi\\n' "$1"; } >.bashrc"""
        command = ["bash", "-c", change, "-", bashrc]
        hostile.cluster.run("login", "student", *command, input=encoded, check=True)

    yield write
    write()
    # lab may have submitted a job before it heard anything, and the next test counts on there being none, and on no log
    gone = (
        "scancel --me; until [[ ! $(squeue --me --noheader) ]]; do sleep 0.2; done; rm -rf .local/state/passerelle/*/*"
    )
    hostile.cluster.run("login", "student", "bash", "-c", gone, check=True)


@pytest.fixture
def slurm(hostile):
    """Have a script of bash in the place of all of Slurm's commands."""
    with contextlib.ExitStack() as stack:
        names = ("squeue", "sbatch", "sinfo", "sacct", "sstat", "scancel")
        yield lambda script: stack.enter_context(hostile.in_front(**dict.fromkeys(names, f"#!/bin/bash\n{script}\n")))


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "logs"])
@pytest.mark.parametrize("said", SAID_BY_SLURM)
def test_whatever_slurms_commands_say_ends_in_a_line_and_shows_nothing_raw(hostile, student, slurm, said, command):
    slurm("exec cat ~/hostile/said")
    student(said=SAID_BY_SLURM[said])
    done = hostile.run_lab(*command.split())
    is_harmless(done.stdout, done.stderr, done.returncode)


def test_the_words_of_a_job_are_shown_as_text(hostile, student, slurm):
    slurm(
        """case $* in
            *--Format=*) printf '77|PENDING|%s|N/A|N/A||mem=2G|2|77|passerelle-%s|a\\tb\\n' "$(<~/hostile/said)" "$(<~/hostile/said)" ;;
            *%T*) printf 'PENDING|%s|N/A|\\n' "$(<~/hostile/said)" ;;
            *%i*) echo 77 ;;
        esac""",
    )
    student(said=STEERS.replace("\r", "") + "\t")
    shown = SHOWN.replace(r"\x0d", "")
    done = hostile.run_lab("status")
    is_harmless(done.stdout, done.stderr, done.returncode)
    _, row, *more = done.stdout.splitlines()
    # so long a name is shown without its middle
    start, end = re.fullmatch("(.*)…(.*)  77   PENDING", row).groups()
    name = f"{shown} |a b"
    assert (done.returncode, len(row) <= 80, name.startswith(start), name.endswith(end)) == (0, True, True, True)
    assert "".join("".join(more).split()) == f"expectedstart:unknown({shown})"
    process = hostile.lab("attach", "--no-browser", tty=False)
    process.wait_for("job 77 is waiting; expected start: unknown \\(" + re.escape(shown) + " \\)\n")
    process.send_signal(signal.SIGINT)
    assert process.wait() == 0
    is_harmless(process.output, "", 0)
    assert process.output.splitlines()[-1].startswith("Job 77 keeps its place in the queue, ")


@pytest.mark.parametrize("command", COMMANDS)
def test_answers_that_a_startup_file_prints_in_the_background_end_in_a_line(hostile, student, command):
    student("(while cat ~/hostile/said; do :; done) 2>/dev/null &", said=FORGED)
    done = hostile.run_lab(*command.split())
    # it may be quicker than they are
    is_harmless(done.stdout, done.stderr, done.returncode)


def test_what_a_startup_file_prints_in_the_background_is_shown_as_text(hostile, student):
    student("(while cat ~/hostile/said; do sleep 0.05; done) 2>/dev/null &", said=f"\t{STEERS}\n")
    done = hostile.run_lab("status")
    is_harmless(done.stdout, done.stderr, done.returncode)
    *shown, last = done.stdout.splitlines()
    assert (done.returncode, last) == (0, "You have no session, waiting or running; start one with: ./lab open")
    assert set(shown) <= {8 * " " + SHOWN}


def test_ctrl_c_ends_lab_while_the_login_node_prints_without_an_end_and_answers_nothing(hostile, student, slurm):
    slurm("exec sleep 1000")
    student("yes 2>/dev/null &")
    line = "cd lab && exec ./lab status >/dev/null"
    process = hostile.cluster.spawn("laptop", "alice", "bash", "-c", line, tty=True)
    waits = "until pgrep -u student -x yes && pgrep -u student -f 'sleep 1000'; do sleep 0.1; done"
    hostile.cluster.run("login", "root", "bash", "-c", waits, check=True)
    process.type("\x03")
    assert process.wait() == 130
    hostile.cluster.run("login", "root", "pkill", "-u", "student", "-x", "sleep|yes")


@pytest.mark.parametrize("how", [[], ["--follow"]])
def test_a_log_is_shown_as_text_and_answers_nothing(hostile, student, how):
    said = f"token=0123 {STEERS}\nprogress\t50 %\rprogress\t100 %\npasserelle\t1\tlogged\tx\npasserelle\t1\tfound\n"
    student(said=said)
    copy = "mkdir -p .local/state/passerelle/logs && cp hostile/said .local/state/passerelle/logs/lab-7.log"
    hostile.cluster.run("login", "student", "bash", "-c", copy, check=True)
    process = hostile.lab("logs", *how, tty=False)
    assert process.wait() == 0
    shown = process.output.replace("\n\n", "\n")
    assert shown == (
        rf"token=... {SHOWN}"
        "\n"
        r"progress        50 %\x0dprogress        100 %"
        "\npasserelle 1    logged  x\npasserelle 1    found\n"
        "lab: This is the log of job 7, an earlier session lab, which has ended.\n"
    )


def test_a_session_whose_address_is_none_is_not_gone_to(hostile, student):
    done = hostile.on_login("./submit_session.sh --begin=now+1hour")
    job = done.stdout.split()[3]
    student()
    for address in [
        *["http://node1:0/lab?token=x", "http://node1:99999/lab?token=x", "http://-oProxyCommand=x:1/lab?token=x"],
        *[
            "javascript:alert(1)",
            "http://node1:80/../x?token=x",
            "http://node1:80/lab?token=\"x'",
            STEERS,
            "http://a b:1/",
        ],
    ]:
        hostile.cluster.write("login", "student", f".local/state/passerelle/sessions/{job}", f"{address}\n1\n")
        shown = re.sub("token=.*", "token=...", address.replace(STEERS, SHOWN))
        for command in ("attach", "url", "open --no-browser"):
            done = hostile.run_lab(*command.split())
            is_harmless(done.stdout, done.stderr, done.returncode)
            assert done.returncode == 1
            assert done.stderr.startswith(f"lab: “{shown}” is not the address of a session; ")
    # that keeps no job alive
    done = hostile.run_lab("stop")
    is_harmless(done.stdout, done.stderr, done.returncode)
    assert done.stderr.startswith(f"lab: “{shown}” is not the address of a session; ")
    assert done.returncode == 0
    assert hostile.jobs() == ""


def test_what_separate_connections_say_on_standard_error_is_shown_as_text(hostile, student):
    student("cat ~/hostile/said >&2", said=f"{STEERS}\n")
    personal = hostile.cluster.read("laptop", "alice", "lab/personal.yml")
    hostile.cluster.write("laptop", "alice", "lab/personal.yml", f"{personal}connection: separate\n")
    try:
        done = hostile.run_lab("status")
    finally:
        hostile.cluster.write("laptop", "alice", "lab/personal.yml", personal)
    is_harmless(done.stdout, done.stderr, done.returncode)
    # a carriage return is taken for the end of a line, as ssh means it
    assert done.returncode == 0
    assert done.stderr.splitlines()[:2] == SHOWN.split(r"\x0d")


def test_the_node_to_which_ssh_jumps_is_shown_as_text(jump, hostile, student):  # noqa: F811 - a fixture
    for node in ("node1", "node2"):
        # its key is known, so that nobody is asked
        at = ["-o", "StrictHostKeyChecking=accept-new", "-J", f"student@{KEY}", f"student@{node}.int.vcluster.example"]
        hostile.cluster.run("laptop", "alice", "ssh", *at, "true")
    student(bashrc="cat ~/hostile/said >&2", said=f"{STEERS}\n")
    process, _ = jump.open_session(tty=False)
    jump.run_lab("stop")
    process.wait()
    is_harmless(process.output, "", 0)
    assert SHOWN.split(r"\x0d")[0] in process.output


@pytest.mark.parametrize(
    "said", ["passerelle-session http://-oProxyCommand=x:1/lab?token=a\n", f"{STEERS}\n", STEERS * 9999 + "\n"]
)
def test_the_tunnel_script_shows_what_startup_files_say_as_text(hostile, student, said):
    student("cat ~/hostile/said; cat ~/hostile/said >&2", said=said)
    done = hostile.cluster.run("laptop", "alice", "lab/tunnel_ssh.sh")
    assert not RAW.search(done.stdout + done.stderr)
    assert done.returncode in (1, 64)
    assert done.stderr.splitlines()[-1].startswith("tunnel_ssh.sh: ")
