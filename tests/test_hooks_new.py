"""`passerelle new`: what is asked, what comes of it, and that nothing half-made is left behind."""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import copier
import pexpect
import pyte
import pytest
import yaml
from conftest import LANGUAGES, PLAIN_TOOLS, REPOSITORY, copied_from, french, git
from passerelle import cli, cluster, meeting, new, place, probe, sooner, source, texts
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

DOWN, ENTER, CTRL_C, ERASED = "\x1b[B", "\r", "\x03", "\x15"
CATALOGUES = {
    language: yaml.safe_load((REPOSITORY / f"hooks/passerelle/texts/{language}.yml").read_text(encoding="utf-8"))
    for language in LANGUAGES
}
NARVAL = [name for name in meeting.clusters() if name not in ("other", "local")].index("narval")
SAID = [
    *("sacctmgr\tdef-a_cpu", "sacctmgr\tdef-a_gpu", "sacctmgr\trrg-b_gpu"),
    *("sinfo\t64|4115000|7-00:00:00|(null)", "sinfo\t48|510000|7-00:00:00|gpu:a100:4(S:0-1)"),
    "sinfo\t48|510000|7-00:00:00|gpu:a100_3g.20gb:3(S:1,3,7),gpu:a100_1g.5gb:7(S:1,5,7)",
    *("module\tpython/3.11.5", "module\tpython/3.13.2", "module\tr/4.5.0", "module\tjulia/1.11.3"),
    "quota\t/project (group def-a)   971G/1000G   791k/1005k",
]
HAS = "narval has: def-a, rrg-b, a100, a100_3g.20gb, a100_1g.5gb, Python 3.13.2, R 4.5.0, Julia 1.11.3\n"
FULL = "passerelle: /project (group def-a) is nearly full: 97% of its space, 79% of its files.\n"
AT_ONCE = "Slurm would start such a session at once, by its own estimate.\n"


class Fake:
    """A cluster in place of a real one, whose words and estimates a test sets."""

    said, waiting, asked = SAID, {}, []

    def __init__(self, login, facts):
        self.asked.append(login)

    def live(self):
        """Return what it says; raises OSError for a cluster out of reach."""
        if self.said is None:
            raise OSError("no route to host")
        return probe.parse(self.said)

    def waits(self, requests):
        """Return the waits for these options, and that none is refused."""
        self.asked += requests
        waits = {
            number: next((wait for part, wait in self.waiting.items() if part in " ".join(options)), 0)
            for number, options in enumerate(requests)
        }
        return waits, ""


@pytest.fixture(scope="session")
def plain_template(pristine_template, tmp_path_factory):
    """The template as a folder that git does not know, with no more in it than it takes to ask and to print a job."""
    folder = tmp_path_factory.mktemp("plain") / "template"
    shutil.copytree(pristine_template, folder, symlinks=True, ignore=shutil.ignore_patterns(".git", "help"))
    for name in ("laptop", "login_node", "compute_node"):
        shutil.rmtree(folder / "template/lib" / name)
    return folder


@pytest.fixture
def copied(monkeypatch, pristine_folder):
    """Copier's part, which is not what the test is about: a folder that it has made before; the data it was given."""
    ready, given = pristine_folder("least"), []

    def copy(source, commit, made, data, defaults):
        given.append(data)
        shutil.copytree(ready, made, symlinks=True)

    monkeypatch.setattr(new, "copy", copy)
    return given


@pytest.fixture
def here(monkeypatch, plain_template, tmp_path):
    """An empty folder to stand in, on a laptop from which Fake is reached."""
    which = shutil.which
    tools = {"sbatch": None, "ssh": "/usr/bin/ssh"}
    monkeypatch.setattr(shutil, "which", lambda name, **more: tools.get(name, which(name, **more)))
    monkeypatch.setattr(new, "find_source", lambda: (str(plain_template), None))
    monkeypatch.setattr(new, "somebody", lambda: True)
    monkeypatch.setattr(meeting, "Cluster", Fake)
    monkeypatch.setattr(meeting, "ssh_says", lambda name, host: {"user": "prof"}.get(name, host))
    monkeypatch.setattr(meeting, "is_unknown", lambda host: host == "nowhere.invalid")
    for name, value in {"said": SAID, "waiting": {}, "asked": []}.items():
        monkeypatch.setattr(Fake, name, value)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    texts.speak("en")


@pytest.fixture
def converse(here, capsys):
    """Run `passerelle new` with options, type keys; return status, standard output and standard error."""

    def run(keys, *words):
        with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
            keyboard.send_text(keys)
            status = cli.run(["passerelle", "new", *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def settings(folder):
    """Return the answers of a folder."""
    return yaml.safe_load((folder / "settings.yml").read_text(encoding="utf-8"))


def words_after(folder, language="en", login="USER@narval.alliancecan.ca"):
    """Return what is said of the next steps, on Narval."""
    texts.speak(language)
    user = texts.wording("after_copy_user") if login.startswith("USER") else ""
    name = settings(folder)["project_name"]
    return texts.wording("after_copy_cluster", folder=folder, name=name, login=login, user=user) + "\n"


# the questions with what a cluster knows, in their order, and what is answered
TO_NARVAL = [ENTER, DOWN * NARVAL + ENTER, ENTER]
WITH_LIVE = [
    "project_name",
    "account",
    "hours",
    "gpus",
    "cores",
    "memory_per_core_mb",
    "python_module",
    "kernels",
    "extensions",
]


def answered(**keys):
    """Return the keys for Copier's questions on a cluster that has answered."""
    return [keys.get(name, "") + ENTER for name in WITH_LIVE]


# --- what is offered --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "fr"])
def test_what_the_cluster_has_is_offered_and_git_keeps_the_folder(converse, here, language):
    keys = [DOWN * LANGUAGES.index(language) + ENTER, DOWN * NARVAL + ENTER, ERASED + "alice" + ENTER]
    keys += answered(account=DOWN, python_module=DOWN)
    status, out, err = converse("".join(keys), "mine")
    folder = here / "mine"
    made = settings(folder)
    assert (made["account"], made["python_module"], made["cores"]) == ("rrg-b", "python/3.13.2", 2)
    assert (folder / "personal.yml").read_text() == "user: alice\n"
    assert Fake.asked[0] == "alice@narval.alliancecan.ca"
    assert git(folder, "status", "--porcelain") == ""
    assert git(folder, "log", "--format=%an %s") == f"Prof {texts.message('first_commit')}\n"
    assert "personal.yml" not in git(folder, "ls-files")
    expected = {
        "en": (HAS + AT_ONCE + f"git keeps {folder}, with a first commit.\n", FULL),
        "fr": (
            french(HAS.replace("narval has:", "narval offre :"))
            + "Selon sa propre estimation, Slurm lancerait une telle session tout de suite.\n"
            + f"git conserve {folder}, avec un premier commit.\n",
            french("passerelle : /project (group def-a) est presque plein : 97% de l'espace, 79% des fichiers.\n"),
        ),
    }
    expected_out = expected[language][0] + words_after(folder, language, "alice@narval.alliancecan.ca")
    assert (status, out, err) == (0, expected_out, expected[language][1])
    assert os.listdir(here) == ["mine"]


def test_what_is_not_listed_is_typed_and_of_the_gpus_those_are_listed_that_there_are(converse, here):
    # the account, then the module, each behind “another one”
    keys = answered(account=DOWN * 2 + ENTER + "def-class-wa", python_module=DOWN * 3 + ENTER + "python/3.10")
    # in the catalogue's order: a100, a100_1g.5gb, a100_3g.20gb
    keys[WITH_LIVE.index("gpus")] = "1" + ENTER + DOWN * 2 + ENTER
    assert converse("".join(TO_NARVAL + keys), "mine")[0] == 0
    made = settings(here / "mine")
    chosen = {"account": "def-class-wa", "python_module": "python/3.10", "gpu_model": "a100_3g.20gb"}
    assert {name: made[name] for name in chosen} == chosen


def test_answers_that_are_given_are_not_asked_for_nor_is_what_they_leave_out_of_the_choices(converse, here):
    words = ["-d", "language=en", "-d", "cluster=narval", "-d", "account=def-other", "-d", "gpus=1"]
    words += ["-d", "gpu_model=a100_4g.20gb", "-d", "python_module=python/3.9"]
    status, out, err = converse(ENTER * 20, *words, "mine")
    assert (status, err) == (0, FULL)
    made = settings(here / "mine")
    assert (made["account"], made["gpu_model"], made["python_module"]) == ("def-other", "a100_4g.20gb", "python/3.9")


def test_the_folder_is_asked_for_where_none_is_named(converse, here, copied):
    assert converse("".join([ENTER, ERASED + "été 2027" + ENTER, *TO_NARVAL[1:]]))[0] == 0
    assert os.listdir(here) == ["été 2027"]


def test_in_french_it_is_proposed_in_french(converse, here, copied):
    assert converse("".join([DOWN + ENTER, ENTER, *TO_NARVAL[1:]]))[0] == 0
    assert os.listdir(here) == ["mon-projet"]


def test_whoever_works_on_another_cluster_is_asked_for_its_host_first(converse, here, copied):
    keys = [
        ENTER,
        "login example" + ENTER,
        ERASED + "nowhere.invalid" + ENTER,
        ERASED + "login.example.org" + ENTER,
        ERASED + "bob" + ENTER,
    ]
    status, out, err = converse("".join(keys), "-d", "cluster=other", "mine")
    assert (status, Fake.asked[0], copied[0]["login_host"]) == (0, "bob@login.example.org", "login.example.org")
    assert out.startswith(HAS.replace("narval", "login.example.org"))
    # of it nothing was known
    assert copied[0]["live"]["pip_source"] == "pypi"
    live = copied[0]["live"]["facts"]
    assert (live["node_cores"], live["gpu_requests"]) == (64, ["a100:1-4", "a100_3g.20gb:1", "a100_1g.5gb:1"])


def test_a_wheelhouse_that_the_cluster_has_is_known_to_copier(converse, here, copied, monkeypatch):
    monkeypatch.setattr(Fake, "said", [*SAID, "pip\tfind-links = /cvmfs/wheels"])
    words = ["-d", "language=en", "-d", "cluster=other", "-d", "login_host=login.example.org", "mine"]
    assert converse(ERASED + "bob" + ENTER, *words)[0] == 0
    assert copied[0]["live"]["pip_source"] == "wheelhouse"


@pytest.mark.parametrize("name", ["wheelhouse", "pypi"])
def test_where_the_cluster_has_a_wheelhouse_that_is_where_packages_come_from(make_folder, name):
    words = {"cluster": "other", "login_host": "login.example.org", "live": {"pip_source": name}}
    folder = make_folder("least", **words)
    assert yaml.safe_load((folder / "settings.yml").read_text(encoding="utf-8"))["pip_source"] == name


def test_a_host_that_there_is_not_ends_it_in_one_line_where_it_was_given(converse, here, copied):
    words = ["-d", "language=fr", "-d", "cluster=other", "-d", "login_host=nowhere.invalid", "mine"]
    line = "passerelle : L'hôte nowhere.invalid n'existe pas : vérifiez son orthographe (login_host). Sans réseau : --offline\n"
    assert converse("", *words) == (1, "", line.replace(" :", "\u00a0:"))
    assert os.listdir(here) == []


def test_who_knows_no_name_or_cannot_be_asked_for_it_is_told_apart(monkeypatch):
    errors = {"nowhere.invalid": socket.EAI_NONAME, "login.example.org": socket.EAI_AGAIN}

    def look_up(host, port):
        raise socket.gaierror(errors[host], "")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert [cluster.is_unknown(host) for host in errors] == [True, False]


def test_a_name_of_somebodys_ssh_config_is_kept_as_one(converse, here, copied, monkeypatch):
    hosts = {("user", "narval.alliancecan.ca"): "prof", ("hostname", "nar"): "narval1.alliancecan.ca"}
    monkeypatch.setattr(meeting, "ssh_says", lambda name, host: hosts[name, host])
    status, out, err = converse("".join([*TO_NARVAL[:2], ERASED + "nar" + ENTER]), "mine")
    assert (status, err) == (0, FULL) and out.endswith(words_after(here / "mine", login="nar"))
    assert Fake.asked[0] == "nar" and (here / "mine/personal.yml").read_text() == "ssh_host: nar\n"


# --- when it would start ----------------------------------------------------------------------------------------------


@pytest.fixture
def look(here, pristine_folder, capsys):
    """Look for what starts sooner than eight hours on a GPU of Narval; return the answers to keep and what is said."""

    def run(keys, waiting):
        Fake.waiting = waiting
        made = here / "0/mine"
        answers = {"cluster": "narval", "account": "def-a", "hours": 8, "gpus": 1}
        shutil.copytree(pristine_folder(answers), made, symlinks=True)
        with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
            keyboard.send_text(keys)
            kept = sooner.look_for_sooner(Fake(None, {}), made, meeting.clusters()["narval"], defaults=not keys)
        return settings(kept), capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        (0, {"hours": 8, "gpu_model": "a100", "cores": 12, "memory_per_core_mb": 10581}),
        (1, {"hours": 3, "gpu_model": "a100", "cores": 12, "memory_per_core_mb": 10581}),
        (2, {"hours": 8, "gpu_model": "a100_4g.20gb", "cores": 6, "memory_per_core_mb": 10581}),
    ],
)
def test_where_slurm_would_let_wait_for_long_less_is_offered(look, chosen, kept):
    made, said = look(DOWN * chosen + ENTER, {"--time=3:": 600, "a100_4g": 300, "": 7500})
    assert said == "Slurm would start such a session in 2 h 05 min, by its own estimate.\n"
    assert {name: made[name] for name in kept} == kept
    whole = "--time=8:00:00 --ntasks=1 --cpus-per-task=12 --mem-per-cpu=10581M --account=def-a --gpus-per-node=a100:1"
    assert " ".join(Fake.asked[1]) == whole


@pytest.mark.parametrize(
    ("waiting", "lines"),
    [
        # no wait to speak of, nothing that would start much sooner, and nobody to be asked
        ({"--time=3:": 0, "": 1700}, "Slurm would start such a session in 28 min, by its own estimate.\n"),
        ({"--time=3:": 5000, "": 7500}, "Slurm would start such a session in 2 h 05 min, by its own estimate.\n"),
        (
            {"--time=3:": 0, "": 400000},
            "Slurm would start such a session in 4 days, by its own estimate.\n3 h: at once\n",
        ),
    ],
)
def test_nothing_is_offered_that_would_not_start_much_sooner(look, waiting, lines):
    made, said = look("", waiting)
    assert (said, made["hours"]) == (lines, 8)


def test_a_refused_request_is_no_estimate(look, monkeypatch):
    monkeypatch.setattr(Fake, "waits", lambda self, requests: ({}, ""))
    assert look("", {})[1] == "Slurm gives no estimate of when such a session would start.\n"


def test_why_slurm_would_refuse_the_session_is_said(look, monkeypatch, capsys):
    said = ["now\t1 x", "estimate 0\tallocation failure: Invalid account or account/partition combination specified"]
    monkeypatch.setattr(Fake, "waits", lambda self, requests: ({}, probe.refusal_in(said)))
    monkeypatch.setattr(sooner, "warn", lambda key, **values: print(texts.message(key, **values)))
    assert look("", {})[1] == (
        "Slurm would refuse such a session: Invalid account or account/partition combination specified. Change "
        "settings.yml before you open it.\n"
    )


def test_an_unusual_account_is_doubted_unless_the_cluster_has_named_it(capsys):
    facts = meeting.clusters()["narval"]
    new.doubt_account({"account": "wgssum-wa"}, facts, {"live": {"accounts": [["wgssum-wa (cpu)", "wgssum-wa"]]}})
    assert capsys.readouterr().err == ""
    new.doubt_account({"account": "wgssum-wa"}, facts, {})
    line = (
        "Accounts of this cluster usually begin with def-, rrg-, rpp-, ctb-; Slurm decides whether “wgssum-wa” is one."
    )
    assert capsys.readouterr().err == f"passerelle: {line}\n"


# --- without a cluster ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "lines"),
    [
        (
            None,
            "passerelle: no route to host\n"
            "passerelle: narval does not say what it has; the choices are those of the catalogue.\n",
        ),
        (["sinfo\tno"], "passerelle: narval does not say what it has; the choices are those of the catalogue.\n"),
    ],
)
def test_a_cluster_that_does_not_answer_is_said_and_the_catalogue_counts(converse, here, copied, said, lines):
    Fake.said = said
    status, out, err = converse("".join(TO_NARVAL), "mine")
    assert (status, err, copied) == (0, lines, [{"language": "en", "cluster": "narval"}])


def test_what_a_cluster_does_not_say_is_named_and_the_catalogue_counts_there(converse, here, copied):
    Fake.said = [line for line in SAID if not line.startswith(("sacctmgr", "quota"))]
    status, out, err = converse("".join(TO_NARVAL), "mine")
    line = "passerelle: narval says nothing of: accounts; there the choices are those of the catalogue.\n"
    assert (status, err, copied[0]["live"]["accounts"]) == (0, line, [])


@pytest.mark.parametrize(("words", "keys"), [(["--offline"], TO_NARVAL[:2]), ([], [*TO_NARVAL[:2], ERASED + ENTER])])
def test_nobody_need_ask_a_cluster(converse, here, copied, words, keys):
    status, out, err = converse("".join(keys), *words, "mine")
    folder = here / "mine"
    said = "" if words else "No cluster is asked; the catalogue counts.\n"
    kept = f"git keeps {folder}, with a first commit.\n"
    assert (status, out, err) == (0, said + kept + words_after(folder), "")
    assert Fake.asked == [] and not (folder / "personal.yml").exists()


def test_who_is_not_let_in_is_asked_again_for_the_name(converse, here, copied, monkeypatch):
    class Refusing(Fake):
        def live(self):
            if self.asked[-1].startswith("alcie@"):
                error = OSError("Permission denied")
                error.key = "no_connection"
                raise error
            return super().live()

    monkeypatch.setattr(meeting, "Cluster", Refusing)
    names = [ERASED + name + ENTER for name in ("alcie", "alice")]
    status, out, err = converse("".join([*TO_NARVAL[:2], *names]), "mine")
    assert (status, Fake.asked[:2]) == (0, ["alcie@narval.alliancecan.ca", "alice@narval.alliancecan.ca"])
    assert err.startswith("passerelle: Permission denied\n") and "catalogue" not in err
    assert (here / "mine/personal.yml").read_text() == "user: alice\n"


def test_an_update_keeps_an_answer_that_the_cluster_of_today_does_not_name(plain_template, tmp_path):
    answers = {"cluster": "narval", "account": "def-mine", "gpus": 1, "gpu_model": "a100_4g.20gb"}
    folder = copied_from(plain_template, tmp_path / "mine", answers)
    before = (folder / "settings.yml").read_text()
    live = {"accounts": [["def-a", "def-a"]], "python": ["3.13.2"], "facts": {"gpu_requests": ["a100:1-4"]}}
    # over what is there, as an update does it
    copier.run_copy(str(plain_template), folder, data={"live": live}, defaults=True, overwrite=True, quiet=True)
    assert (folder / "settings.yml").read_text() == before
    assert answers.items() <= settings(folder).items()


# --- on a login node --------------------------------------------------------------------------------------------------


def test_on_a_login_node_nobody_logs_in_and_the_one_account_is_taken(converse, here, monkeypatch):
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name, **more: "/bin/sbatch" if name == "sbatch" else which(name, **more)
    )
    monkeypatch.setenv("CC_CLUSTER", "narval")
    Fake.said = [line for line in SAID if "rrg-b" not in line and not line.startswith("quota")]
    status, out, err = converse("", "--defaults", "mine")
    assert (status, Fake.asked[0], settings(here / "mine")["account"]) == (0, None, "def-a")
    assert out.startswith("This is narval.\n" + HAS.replace("rrg-b, ", "") + AT_ONCE)


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


def test_a_ctrl_c_at_any_question_leaves_nothing(converse, here):
    Fake.waiting = {"--time=1:": 0, "": 7500}
    keys = [*TO_NARVAL, *answered(hours="2"), ENTER]
    assert len(keys) == 13
    for number in range(len(keys)):
        # a new folder, and one that exists
        name = ["new", "old"][number % 2]
        (here / "old").mkdir(exist_ok=True)
        (here / "old/notes.txt").write_text("mine")
        status, out, err = converse("".join(keys[:number]) + CTRL_C, name)
        assert (number, status, err.replace(FULL, "")) == (number, 130, "")
        assert (os.listdir(here), os.listdir(here / "old")) == (["old"], ["notes.txt"])
    # they were all there are
    assert converse("".join(keys), "new")[0] == 0


def test_a_ctrl_c_after_the_questions_leaves_nothing(converse, here, copied, monkeypatch):
    run, words = place.git, ["--defaults", "-d", "cluster=narval", "-d", "account=def-a"]

    def interrupted(folder, *command):
        if next(calls) == number:
            raise KeyboardInterrupt
        return run(folder, *command)

    monkeypatch.setattr(place, "git", interrupted)
    # which may be another disk, from where nothing is moved in one go
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    (here / "old").mkdir()
    for name in ("new", "old"):
        # the repository around, the two names, init, add, commit
        for number in range(6):  # noqa: B007 - it is interrupted there
            calls = iter(range(9))
            assert converse("", *words, name)[0] == 130
            assert (os.listdir(here), os.listdir(here / "old")) == (["old"], [])
    number, calls = -1, iter(range(9))
    assert converse("", *words, "new")[0] == 0
    assert next(calls) == 6


# --- the folder's place -----------------------------------------------------------------------------------------------

GIVEN = ["--defaults", "-d", "cluster=narval", "-d", "account=def-a"]


def test_a_folder_that_exists_keeps_what_is_in_it(converse, here, copied):
    (here / "mine").mkdir()
    (here / "mine/notes.txt").write_text("mine")
    assert converse("", *GIVEN, "mine")[0] == 0
    assert (here / "mine/notes.txt").read_text() == "mine" and settings(here / "mine")["cluster"] == "narval"
    assert sorted(path.name for path in here.iterdir()) == ["mine"]
    assert not [name for name in os.listdir(here / "mine") if name.startswith(".passerelle-")]


def test_folders_on_the_way_are_made(converse, here, copied):
    assert converse("", *GIVEN, "a/b/mine")[0] == 0
    assert os.listdir(here) == ["a"] and os.listdir(here / "a/b") == ["mine"]


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (["my own"], "{folder} is not a folder; give another one."),
        (["my own/README.md", "my own/lib/x"], "{folder} already has README.md, lib; give another folder."),
        (
            ["my own/settings.yml", "my own/lab"],
            "{folder} was made before; bring it up to date with: passerelle update '{folder}'",
        ),
    ],
)
def test_nothing_is_overwritten_nor_asked_before(converse, here, copied, files, line):
    for name in files:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("mine")
    # not even the first question
    status, out, err = converse("", "my own")
    assert (status, err) == (1, f"passerelle: {line.replace('{folder}', str(here / 'my own'))}\n")
    assert all((here / name).read_text() == "mine" for name in files) and copied == []


def test_what_is_no_folder_or_cannot_be_written_is_said_before_the_first_question(converse, here, copied, monkeypatch):
    (here / "file").write_text("mine")
    (here / "link").symlink_to("nowhere")
    for folder, lowest in [("file/a", "file"), ("link", "link"), ("link/a/b", "link")]:
        assert converse("", folder) == (1, "", f"passerelle: {here / lowest} is not a folder; give another one.\n")
    # root could
    monkeypatch.setattr(os, "access", lambda path, mode: path != here)
    said = f"passerelle: You cannot write into {here}; give another folder.\n"
    assert converse("", "a/b") == (1, "", said)
    assert copied == [] and sorted(os.listdir(here)) == ["file", "link"]


# --- git --------------------------------------------------------------------------------------------------------------


def test_the_first_commit_needs_no_name_of_gits_and_sets_none(converse, here, copied, monkeypatch):
    nobody = here.parent / "gitconfig"
    # as where git cannot guess
    nobody.write_text("[user]\n\tuseConfigOnly = true\n[commit]\n\tgpgSign = true\n[init]\n\tdefaultBranch = main\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(nobody))
    monkeypatch.setattr(place.getpass, "getuser", lambda: "alice")
    assert converse("", *GIVEN, "mine")[0] == 0
    assert git(here / "mine", "log", "--format=%an <%ae>") == "alice <alice@localhost>\n"
    assert "user" not in (here / "mine/.git/config").read_text()


@pytest.mark.parametrize("own", [False, True])
def test_inside_a_repository_there_is_no_second_one(converse, here, copied, own):
    top = here / "mine" if own else here
    top.mkdir(exist_ok=True)
    git(top, "init", "--quiet")
    status, out, err = converse("", *GIVEN, "mine")
    line = f"{here}/mine is inside the git repository {top}, so it got none of its own; add it there."
    assert (status, err) == (0, f"passerelle: {line}\n")
    assert (here / "mine/.git").exists() == own and git(top, "status", "--porcelain").startswith("??")


def test_git_that_fails_is_said_and_the_folder_is_there(converse, here, copied, monkeypatch):
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", "/proc/nowhere")
    status, out, err = converse("", *GIVEN, "mine")
    assert status == 1 and settings(here / "mine")["cluster"] == "narval"
    line = f"passerelle: {here}/mine is ready, but git could not keep it (WORDS); updates need that.\n"
    assert re.fullmatch(re.escape(line).replace("WORDS", ".+"), err)


# --- the command as it is installed -----------------------------------------------------------------------------------

BAD_LIST = "packages: Write for example [numpy, pandas>=2]; “[a” is not possible."
NAMES = (
    "language, project_name, cluster, account, reservation, hours, idle_minutes, cores, memory_per_core_mb, gpus, gpu_model, "
    "python_module, kernels, extensions, environment_location, environment_path, packages, login_host, modules_first, "
    "pip_source"
)
INSTALLED = pytest.mark.script_launch_mode("subprocess")


def test_without_git_the_folder_is_made_and_that_is_said(plain_template, tmp_path, environment):
    # PATH has the plain tools of a laptop, and git is not among them
    assert "git" not in PLAIN_TOOLS.split()
    prepared = f"from passerelle import new, cli; new.find_source = lambda: ({str(plain_template)!r}, None); cli.main()"
    command = [sys.executable, "-c", prepared, "new", *GIVEN, "mine"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8")
    line = f"There is no git here: {tmp_path}/mine is ready, but updates need git to keep it."
    assert (done.returncode, done.stderr) == (0, f"passerelle: {line}\n")
    assert not (tmp_path / "mine/.git").exists() and settings(tmp_path / "mine")["account"] == "def-a"


@pytest.mark.parametrize(
    ("words", "language", "status", "line"),
    [
        (["frobnicate"], "en", 64, "There is no command “frobnicate”; there are: new update facts handout"),
        (["frobnicate"], "fr", 64, "Il n'y a pas de commande « frobnicate » ; il y a : new update facts handout"),
        (["new", "-d", "x", "mine"], "en", 64, "“x” gives no answer; write NAME=VALUE, such as -d account=def-yourpi"),
        (
            ["new", *GIVEN, "-d", "acount=alice", "mine"],
            "en",
            64,
            f"“acount=alice” answers no question; the names are: {NAMES}",
        ),
        (
            ["new", "-d", "cluster=narwal", "mine"],
            "fr",
            64,
            f"Le catalogue n'a pas de grappe « narwal » ; il y a : {', '.join(meeting.clusters())}",
        ),
        (
            ["new", *GIVEN, "-d", "account=alice", "mine"],
            "en",
            1,
            "account: Write for example def-yourpi; accounts of this cluster begin with def-, rrg-, rpp-, ctb-",
        ),
        (
            ["new", *GIVEN, "-d", "cluster=beluga", "mine"],
            "fr",
            1,
            "cluster: cette grappe n'est plus en service : rorqual lui succède",
        ),
        (["new", *GIVEN, "-d", "packages=[a", "mine"], "en", 1, BAD_LIST),
        (["new", "--defaults", "mine"], "fr", 1, "cluster: à indiquer, par exemple : -d cluster=narval"),
    ],
)
def test_what_cannot_be_is_one_line(here, capsys, monkeypatch, words, language, status, line):
    monkeypatch.setenv("LANG", f"{language}_CA.UTF-8")
    texts.speak(language)
    assert cli.run(["passerelle", *words]) == status
    # what comes through Copier has lost its no-break spaces (questions/given.jinja)
    said = capsys.readouterr().err.replace("\u00a0", " ")
    assert said == f"passerelle{' ' if language == 'fr' else ''}: {line}\n"
    assert os.listdir(here) == []


@pytest.mark.parametrize(
    ("command", "words"), [("new", ["--frobnicate"]), ("new", ["a", "b"]), ("new", ["-d"]), ("facts", [])]
)
def test_misuse_is_one_line_that_names_the_help(here, capsys, command, words):
    assert cli.run(["passerelle", command, *words]) == 64
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(rf"passerelle: .+\. See: passerelle {command} --help\n", err)


COMMAND = str(Path(sys.executable).with_name("passerelle"))


@INSTALLED
def test_the_command_as_installed_makes_a_folder_and_where_nobody_is_asks_nobody(script_runner, tmp_path):
    stand = tmp_path / "stand"
    stand.mkdir()
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'(?m)^version = "(.+)"', project)[1]
    assert script_runner.run([COMMAND, "--version"], cwd=stand).stdout == f"passerelle {version}\n"
    done = script_runner.run([COMMAND, "new", *GIVEN, "mine"], cwd=stand)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("No cluster is asked; the catalogue counts.\n")
    # where it was installed from: this clone, as whoever installs it from one
    assert settings(stand / "mine")["_src_path"].endswith(REPOSITORY.name)
    done = script_runner.run([COMMAND, "new", "other"], cwd=stand, stdin=io.StringIO(""))
    line = "There is no terminal to ask at; give --defaults and the answers, such as -d cluster=narval -d account=def-yourpi"
    assert (done.returncode, done.stderr) == (1, f"passerelle: {line}\n")
    assert os.listdir(stand) == ["mine"]


HELP = """
Makes a folder: asks the cluster what there is, then Copier's questions; git keeps the folder.

Usage:
    passerelle new [--defaults] [--offline] [-d NAME=VALUE]... [FOLDER]

Options:
    -d, --data              an answer, as with `copier copy`
    -l, --defaults          ask nothing: what is not given is as proposed
    --offline               ask no cluster: the choices are those of the
                            catalogue
    -h, --help              this text
"""


def test_the_help_names_every_option_and_is_in_our_words(capsys):
    assert cli.run(["passerelle", "new", "--help"]) == 0
    assert capsys.readouterr().out == HELP[1:]


@pytest.mark.parametrize("command", ["", "new", "update", "facts", "handout"])
def test_the_help_is_in_one_language_also_where_the_system_has_not_heard_of_it(command):
    words = [sys.executable, "-c", "from passerelle import cli; cli.main()", *command.split(), "--help"]
    shown = {}
    for language in LANGUAGES:
        done = subprocess.run(
            words,
            env={**os.environ, "LC_ALL": f"{language}_CA.UTF-8", "PYTHONPATH": str(REPOSITORY / "hooks")},
            capture_output=True,
            encoding="utf-8",
        )
        assert (done.returncode, done.stderr) == (0, "")
        shown[language] = done.stdout.splitlines()
    said = [" ".join(lines) for lines in shown.values()]
    assert "Utilisation\u00a0:" in " ".join(shown["fr"]) and "Usage" not in " ".join(shown["fr"])
    assert not any(re.search("switch|Print|[.];", text) for text in said)


def test_the_dialogue_works_in_a_terminal(plain_template, tmp_path):
    prepared = f"from passerelle import new, cli; new.find_source = lambda: ({str(plain_template)!r}, None); cli.main()"
    screen = pyte.Screen(100, 50)
    stream = pyte.Stream(screen)
    terminal = pexpect.spawn(
        sys.executable,
        ["-c", prepared, "new", "--offline", "mine"],
        cwd=tmp_path,
        env={**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"},
        dimensions=(50, 100),
        encoding="utf-8",
        timeout=120,
    )

    def shown(words):
        """Wait until the screen shows these words."""
        while not any(words in line for line in screen.display):
            stream.feed(terminal.read_nonblocking(65536, timeout=120))

    for words, keys in [
        ("Which language do you prefer? / Quelle langue préférez-vous ?", ENTER),
        ("Which cluster do you work on?", DOWN * NARVAL + ENTER),
        ("What should the project be called?", ENTER),
        ("Which account are your sessions charged to, such as def-yourpi?", "def-a" + ENTER),
        ("How many hours may a session last", CTRL_C),
    ]:
        shown(words)
        terminal.send(keys)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert (terminal.exitstatus, os.listdir(tmp_path)) == (130, [])


# --- where the template comes from ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (
            {"url": "https://example.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            ("https://example.org/a.git", None),
        ),
        (
            {"url": "https://example.org/a", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            ("git+https://example.org/a", None),
        ),
        (
            {
                "url": "ssh://git@example.org/a",
                "vcs_info": {"vcs": "git", "commit_id": "abc", "requested_revision": "v1"},
            },
            ("git+ssh://git@example.org/a", "abc"),
        ),
        ({"url": REPOSITORY.as_uri(), "dir_info": {"editable": True}}, (str(REPOSITORY), None)),
        ({"url": REPOSITORY.as_uri(), "dir_info": {}}, (str(REPOSITORY), None)),
        (
            {"url": "file:///nowhere/a%20b", "dir_info": {}},
            "/nowhere/a b, from where passerelle was installed, has no template any more; install it again.",
        ),
        (
            {"url": "https://example.org/a.whl", "archive_info": {}},
            "passerelle does not know where its template is; install it from its repository: pip install git+ADDRESS",
        ),
        (
            None,
            "passerelle does not know where its template is; install it from its repository: pip install git+ADDRESS",
        ),
    ],
)
def test_the_template_comes_from_where_the_command_came_from(monkeypatch, said, found):
    class Distribution:
        """One that was installed from there."""

        def read_text(self, name):
            """Return what PEP 610 keeps."""
            return said and json.dumps(said)

    monkeypatch.setattr(source.metadata, "distribution", lambda name: Distribution())
    if isinstance(found, tuple):
        assert source.find_source() == found
        return
    with pytest.raises(texts.Trouble) as trouble:
        source.find_source()
    assert str(trouble.value) == found


def test_a_clone_that_git_does_not_read_is_named_and_no_folder_without_a_version_is_made(monkeypatch, tmp_path):
    class Distribution:
        """One that was installed from there."""

        def read_text(self, name):
            """Return what PEP 610 keeps."""
            return json.dumps({"url": tmp_path.as_uri(), "dir_info": {}})

    (tmp_path / "copier.yml").touch()
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(source.metadata, "distribution", lambda name: Distribution())
    assert source.find_source() == (str(tmp_path), None)
    # as where it belongs to somebody else (git's setup.c)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(texts.Trouble) as trouble:
        source.find_source()
    assert str(trouble.value) == (
        f"git does not read {tmp_path}, from where passerelle was installed, because it belongs to somebody else, so "
        f"updates would not work. If you trust it: git config --global --add safe.directory {tmp_path}"
    )


def test_lab_finds_the_python_that_the_command_is_installed_with(make_folder, environment, tmp_path):
    folder, tools = make_folder("least"), tmp_path / "installed/bin"
    tools.mkdir(parents=True)
    for name, words in {"passerelle": "", "python": 'echo "found: ${*:2}"'}.items():
        (tools / name).write_text(f"#!/bin/bash\n{words}\n")
        (tools / name).chmod(0o755)
    # as `uv tool install` and pipx put a command on PATH
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/passerelle").symlink_to(tools / "passerelle")
    path = f"{tmp_path}/bin:{environment['PATH']}"
    # without what is installed beside it, a Python has no plumbum
    command = [sys.executable, "-S", str(folder / "lab"), "status"]
    done = subprocess.run(command, env={**environment, "PATH": path}, capture_output=True, encoding="utf-8")
    assert (done.stdout, done.stderr) == ("found: status\n", "")


# --- its texts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_command_speaks_all_languages_alike(language):
    assert list(CATALOGUES[language]) == sorted(CATALOGUES["en"])
    for key, text in CATALOGUES["en"].items():
        assert set(re.findall(r"\{[a-z_]+\}", CATALOGUES[language][key])) == set(re.findall(r"\{[a-z_]+\}", text)), key


def test_every_text_of_the_command_is_said():
    code = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "hooks/passerelle").glob("*.py"))
    said = (
        {"colon"}
        | set(re.findall(r"\"([a-z_]+)\"", code))
        | {f"source_{name}" for name in ("accounts", "nodes", "modules", "quotas")}
    )
    assert set(CATALOGUES["en"]) - said == set()


def test_what_others_have_written_cannot_steer_a_terminal():
    assert (
        texts.message("live_found", cluster="x", found="a\x1b[31m\u202eb\u00a0c") == "x has: a\\x1b[31m\\u202eb\u00a0c"
    )
