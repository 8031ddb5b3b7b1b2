"""What a cluster says of itself, as others have seen it said: what is taken, and what is not."""

import datetime
import re
import shutil
import subprocess

import pytest
import yaml
from conftest import REPOSITORY, TEMPLATE
from passerelle import cli, facts, probe

PROBE = REPOSITORY / "hooks/passerelle/probe.sh"
CLUSTERS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in (TEMPLATE / "plugins/clusters").glob("*.yml")
}
BOTH = {"cpu", "gpu"}


def labelled(source, text):
    """Return the lines of a source as probe.sh prints them."""
    return [f"{source}\t{line}" for line in text.splitlines()]


# --- accounts ---------------------------------------------------------------------------------------------------------

FILTER = """\
sbatch: error: You are associated with multiple _cpu allocations...
sbatch: error: Please specify one of the following accounts to submit this job:
sbatch: error:   RAS default accounts: def-a, def-b,
sbatch: error:           RAC accounts: rpp-c,
sbatch: error: Compute-Burst accounts:
sbatch: error: Other accounts:
sbatch: error: Use the parameter --account=desired_account when submitting your job
allocation failure: Unspecified error
"""
SSHARE = """\
Account                    User  RawShares  NormShares    RawUsage  EffectvUsage  FairShare
-------------------- ---------- ---------- ----------- ----------- ------------- ----------
def-prof_cpu                             1    0.066667           0      0.000000        inf
def-prof_cpu           student2          1    0.066667           0      0.000000   1.000000
rrg-prof_gpu           student2          1    1.000000           0      0.000000   1.000000
"""


@pytest.mark.parametrize(
    ("lines", "accounts"),
    [
        (labelled("sacctmgr", "rrg-x_cpu\nrrg-x_gpu\ndef-x_cpu\ndef-x_gpu"), {"rrg-x": BOTH, "def-x": BOTH}),
        # tamIA: without an ending
        (labelled("sacctmgr", "aip-x"), {"aip-x": set()}),
        (labelled("sacctmgr", "def-x_gpu"), {"def-x": {"gpu"}}),
        (labelled("sshare", SSHARE), {"def-prof": {"cpu"}, "rrg-prof": {"gpu"}}),
        (labelled("sshare", "def-prof_cpu|student2|1|0.066667|0|0.000000|1.000000"), {"def-prof": {"cpu"}}),
        (labelled("filter", FILTER), {"def-a": set(), "def-b": set(), "rpp-c": set()}),
        (
            labelled("filter", "\n".join(reversed(FILTER.splitlines()))),
            {"def-a": set(), "def-b": set(), "rpp-c": set()},
        ),
        # with a cluster of one's own, as the test cluster's filter says it
        (
            labelled(
                "filter", "Please specify one of the following accounts to submit this job:\n  def-prof\n  rrg-prof"
            ),
            {"def-prof": set(), "rrg-prof": set()},
        ),
        (labelled("filter", "sbatch: Job 2 to start at 2026-11-27T04:22:50 using 1 processors on nodes node1"), {}),
        (labelled("sacctmgr", "sacctmgr: error: slurmdbd: Connection refused"), {}),
        # what is no account is not taken for one
        (labelled("filter", "Other accounts: $(id)-x, def-\x1b[31m, ../def-x, def-é"), {}),
        (labelled("sacctmgr", "def-x;id\n$(id)\ndef-\x1b[31m\nno\ndef-\u202ex\n../def-x\n-x"), {}),
    ],
)
def test_accounts_are_found_in_whatever_names_them_and_without_their_endings(lines, accounts):
    assert probe.parse(lines).accounts == accounts


# --- nodes ------------------------------------------------------------------------------------------------------------

NARVAL = """\
64|249000|7-00:00:00|(null)
64|4115000|1-00:00:00|(null)
48|510000|3-00:00:00|gpu:a100:4(S:0-1)
48|510000|8:00:00|gpu:a100_3g.20gb:3(S:1,3,7),gpu:a100_4g.20gb:1(S:3),gpu:a100_2g.10gb:4(S:1,5,7),gpu:a100_1g.5gb:7(S:1,5,7)
"""
RORQUAL = """\
192|750000|infinite|(null)
64|498000|7-00:00:00|gpu:nvidia_h100_80gb_hbm3_3g.40gb:3(S:0-1),gpu:nvidia_h100_80gb_hbm3_2g.20gb:3(S:0-1),\
gpu:nvidia_h100_80gb_hbm3_1g.10gb:6(S:0-1)
64|498000|7-00:00:00|gpu:h100:4(S:0-1)
"""


def test_a_comma_within_a_gpus_sockets_parts_nothing():
    live = probe.parse(labelled("sinfo", NARVAL))
    assert live.gpus == {"a100": 4, "a100_3g.20gb": 3, "a100_4g.20gb": 1, "a100_2g.10gb": 4, "a100_1g.5gb": 7}
    assert (live.cores, live.memory, live.hours) == (64, 4115000, 168)
    assert (live.gpu_cores["a100"], live.gpu_memory["a100_1g.5gb"]) == (48, 510000)


@pytest.mark.parametrize(
    ("line", "cores", "memory", "gpus"),
    [
        ("32+|128000+|8:00:00|(null)", 32, 128000, {}),
        ("16-32|64000|8:00:00|gpu:4", 32, 64000, {}),
        ("16|64000|8:00:00|gpu:h100:4,nvme:3500", 16, 64000, {"h100": 4}),
        ("16|64000|8:00:00|gpu:h100:4,gpu:t4:2(S:0)", 16, 64000, {"h100": 4, "t4": 2}),
        # nothing of a line that has not the shape it should have
        ("slurm_load_node: Unable to contact slurm controller", 0, 0, {}),
        ("16|64000|8:00:00|gpu:h100:4|more", 0, 0, {}),
        ("many|64000|8:00:00|gpu:h100:4", 0, 0, {}),
        ("16|64000|8:00:00|gpu:h1\x1b[31m00:4,gpu:$(id):1,gpu:no:1", 16, 64000, {}),
        ("9999999999|64000|8:00:00|(null)", 0, 0, {}),
    ],
)
def test_nodes_are_taken_as_sinfo_writes_them(line, cores, memory, gpus):
    live = probe.parse([f"sinfo\t{line}"])
    assert (live.cores, live.memory, live.gpus) == (cores, memory, gpus)


@pytest.mark.parametrize(
    ("limit", "hours"),
    [("7-00:00:00", 168), ("8:00:00", 8), ("1-12:00:00", 36), ("30:00", 0), ("infinite", 0), ("n/a", 0)],
)
def test_a_time_limit_is_counted_in_whole_hours(limit, hours):
    assert probe.hours_of(limit) == hours


# --- modules, quotas, estimates ---------------------------------------------------------------------------------------


def test_versions_are_sorted_as_numbers_and_other_modules_left_out():
    said = "python/3.9.6\npython/3.13.2\npython/3.12.4\npython/\nr/4.5.0\nrstudio-server/4.3\nipython-kernel/3.11\npython/$(id)"
    modules = {"python": ["3.13.2", "3.12.4", "3.9.6"], "r": ["4.5.0"], "ipython-kernel": ["3.11"]}
    assert probe.parse(labelled("module", said)).modules == modules


@pytest.mark.parametrize(
    ("line", "quota"),
    [
        ("Home (username)                 280 kB/47 GB              25/500k", ("Home (username)", 0.0, 0.0)),
        ("   /project (group def-x)   971G/1000G          791k/1005k", ("/project (group def-x)", 0.97, 0.79)),
        # more than all
        ("/project (project kdf900)     1100G/1000G     10/1000k", ("/project (project kdf900)", 1.1, 0.0)),
        ("                             Description                Space           # of files", None),
        ("/project (\x1b[31m)   971G/1000G          791k/1005k", None),
        ("/project (group def-x)   971G/0G          791k/1005k", None),
        ("timeout: failed to run command", None),
    ],
)
def test_quotas_are_taken_in_each_of_their_shapes(line, quota):
    found = [(place, round(space, 2), round(files, 2)) for place, space, files in probe.quotas_of([line])]
    assert found == ([quota] if quota else [])


@pytest.mark.parametrize(
    ("words", "wait"),
    [
        ("sbatch: Job 3 to start at 1795757000 using 2 processors on nodes node1 in partition cpubase_bycore_b1", 3600),
        ("sbatch: Job 3 to start at 1795753300 using 2 processors on nodes node1", 0),
        (
            "sbatch: Job 1375 to start at 2026-11-27T05:22:53 using 64 processors on nodes a[1-2] in partition batch",
            3600,
        ),
        ("sbatch: Job 1375 to start at 2026-11-27T05:22:53 a using 8 processors on nodes a1", 3600),
        ("sbatch: Job 1375 on cluster X to start at 1795757000 using 8 processors on nodes a1", 3600),
        ("allocation failure: Invalid account or account/partition combination specified", None),
        ("allocation failure: Invalid qos specification", None),
        ("PASSED", None),
    ],
)
def test_an_estimate_is_seconds_from_the_login_nodes_own_clock(words, wait):
    lines = ["now\t1795753400 2026-11-27T04:22:53", "estimate 1\tPASSED all checks", f"estimate 1\t{words}"]
    assert probe.waits_of(lines) == ({} if wait is None else {1: wait})


# --- beside the catalogue ---------------------------------------------------------------------------------------------


def test_the_models_that_there_are_now_are_offered_each_by_one_name_that_the_catalogue_knows():
    rorqual = probe.narrowed(CLUSTERS["rorqual"], probe.parse(labelled("sinfo", RORQUAL)))
    assert rorqual["gpu_requests"] == ["h100:1-4", "h100_1g.10gb:1", "h100_2g.20gb:1", "h100_3g.40gb:1"]
    narval = probe.narrowed(CLUSTERS["narval"], probe.parse(labelled("sinfo", "\n".join(NARVAL.splitlines()[:3]))))
    assert narval == {"gpu_requests": ["a100:1-4"]}
    # several ranges of one model
    trillium = probe.narrowed(CLUSTERS["trillium"], probe.parse(["sinfo\t96|700000|1-00:00:00|gpu:h100:4"]))
    assert trillium == {"gpu_requests": ["h100:1", "h100:4"], "node_cores": 96, "node_memory_mb": 700000}


def test_of_another_cluster_the_live_nodes_count():
    live = probe.parse(["sinfo\t32|128000|8:00:00|(null)", "sinfo\t16|64000|8:00:00|gpu:h100:4,gpu:h100_1g.10gb:2"])
    assert probe.narrowed(CLUSTERS["other"], live) == {
        "gpu_requests": ["h100:1-4", "h100_1g.10gb:1"],
        "gpu_node_cores": ["h100:16"],
        "gpu_node_memory_mb": ["h100:64000"],
        "node_cores": 32,
        "node_memory_mb": 128000,
    }


def test_a_cluster_that_says_nothing_changes_nothing():
    live = probe.parse(["", "sinfo", "nonsense\t1", "sinfo\t"])
    assert live.missing == ["source_accounts", "source_nodes", "source_modules", "source_quotas"]
    assert probe.narrowed(CLUSTERS["narval"], live) == probe.measured(CLUSTERS["narval"], live) == {}


# --- passerelle facts -------------------------------------------------------------------------------------------------


class Says:
    """A cluster that says these lines."""

    def __init__(self, lines):
        self.lines = lines

    def live(self):
        """Return what they say; raises OSError for none."""
        if self.lines is None:
            raise OSError("no route to host")
        return probe.parse(self.lines)


def run_facts(monkeypatch, capsys, cluster, lines):
    """Return status, standard output and standard error."""
    monkeypatch.setattr(facts, "meet", lambda *_, **__: ({}, None if lines == "" else Says(lines)))
    status = cli.run(["passerelle", "facts", cluster])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_difference_is_a_change_that_git_takes(monkeypatch, capsys, tmp_path):
    lines = labelled("sinfo", NARVAL.replace("64|", "96|").replace("a100:4", "b200:8")) + [
        "module\tipython-kernel/3.11"
    ]
    status, change, said = run_facts(monkeypatch, capsys, "narval", lines)
    assert (status, said) == (0, "passerelle: narval says nothing of: accounts, quotas.\n")
    path = tmp_path / "template/plugins/clusters/narval.yml"
    path.parent.mkdir(parents=True)
    shutil.copy(TEMPLATE / "plugins/clusters/narval.yml", path)
    subprocess.run(["git", "apply"], cwd=tmp_path, input=change, encoding="utf-8", check=True)
    today = datetime.date.today().isoformat()
    text = path.read_text(encoding="utf-8").replace("\u00a0", " ")
    assert f"\n# live ({today})\nnode_cores: 96\n" in text
    # its remarks stay
    assert (
        f"""
# live ({today})
# a model will have to be named; one slice a job
# fr: il faudra nommer un modèle ; une seule tranche par tâche
gpu_requests: [a100_1g.5gb:1, a100_2g.10gb:1, a100_3g.20gb:1, a100_4g.20gb:1, b200:1-8]
"""
        in text
    )
    now = yaml.safe_load(text)
    assert (now["kernel_modules"], now["gpu_node_cores"]) == (["ipython-kernel"], ["a100:48", "b200:48"])
    changed = {name for name in now if now[name] != CLUSTERS["narval"][name]}
    assert changed == {
        *("node_cores", "gpu_requests", "gpu_node_cores", "gpu_node_memory_mb", "kernel_modules")
    }  # fmt: skip


def test_a_catalogue_that_is_right_is_said_to_be(monkeypatch, capsys):
    lines = labelled("sinfo", NARVAL.replace("48|510000|3-00", "64|1024000|3-00"))
    status, change, said = run_facts(monkeypatch, capsys, "narval", lines)
    assert (status, change) == (0, "")
    assert said.splitlines()[-1] == "passerelle: The catalogue says of narval what the cluster says itself."


NOTHING = "passerelle: Nothing is known from narval itself, so there is nothing to compare.\n"
KNOWN = "fir killarney narval nibi rorqual tamia trillium vulcan"


@pytest.mark.parametrize(
    ("cluster", "lines", "status", "said"),
    [
        ("narval", ["sinfo\tnonsense"], 1, NOTHING),
        ("narval", None, 1, f"passerelle: no route to host\n{NOTHING}"),
        # nobody logs in
        ("narval", "", 1, NOTHING),
        ("other", [], 64, f"passerelle: The catalogue has no cluster “other”; there are: {KNOWN}\n"),
    ],
)
def test_nothing_live_is_no_success(monkeypatch, capsys, cluster, lines, status, said):
    assert run_facts(monkeypatch, capsys, cluster, lines) == (status, "", said)


# --- probe.sh ---------------------------------------------------------------------------------------------------------


def run_probe(tmp_path, request, commands):
    """Run probe.sh with these commands on PATH, each a line of bash; return its lines."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, line in commands.items():
        (tools / name).write_text(f"#!/bin/bash\n{line}\n")
        (tools / name).chmod(0o755)
    script = f"PATH={tools}:$PATH\n{PROBE.read_text()}\nmodule() {{ echo python/3.12.4; echo git/2; }}\n{request}\n"
    done = subprocess.run(
        ["/bin/bash", "--norc", "-p", "-s"],
        input=script,
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    return done.stdout.splitlines()


def test_each_source_may_fail_or_hang_alone(tmp_path):
    commands = {
        "sacctmgr": "echo 'sacctmgr: error: no slurmdbd' >&2; exit 1",
        "sshare": "sleep 600",
        # it alone is not to be waited for here
        "timeout": 'shift 3; [[ $1 != sshare ]] || exec /usr/bin/timeout 0.1 "$@"; exec "$@"',
        "sbatch": "[[ ! $SBATCH_ACCOUNT ]] || exit 1; echo 'Please specify one of the following accounts' >&2; echo '  def-a' >&2; exit 1",
        "sinfo": "cat; yes '1|1|1:00:00|(null)'",
        "diskusage_report": "exit 1",
    }
    lines = run_probe(tmp_path, "export SBATCH_ACCOUNT=def-b; probe", commands)
    live = probe.parse(lines)
    assert (live.accounts, live.modules, live.cores) == ({"def-a": set()}, {"python": ["3.12.4"]}, 1)
    assert live.missing == ["source_quotas"]
    assert len("\n".join(lines)) < 400000


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[global]\nfind-links = /cvmfs/wheelhouse\n", True),
        # on lines of their own
        ("[wheel]\nprefer-binary = true\nfind-links =\n    /cvmfs/a\n    /cvmfs/b\n", True),
        ("[global]\nfind-links = file:///cvmfs/wheelhouse\n", True),
        ("[global]\nfind-links = https://wheels.example/\n", False),
        ("[global]\nindex-url = https://packages.example/simple\n", False),
        (None, False),
    ],
)
def test_a_wheelhouse_is_known_by_the_sites_own_settings_of_pip(tmp_path, text, found):
    (tmp_path / "pip.conf").write_text(text or "")
    request = f"export PIP_CONFIG_FILE={tmp_path}/pip.conf; probe" if text else "unset PIP_CONFIG_FILE; probe"
    assert probe.parse(run_probe(tmp_path, request, {})).wheelhouse == found


def test_an_estimate_is_asked_for_from_scratch_and_with_the_options_as_they_are(tmp_path):
    (tmp_path / "scratch").mkdir()
    # one that reads would take what follows
    commands = {
        "sbatch": 'cat; echo "sbatch: Job 1 to start at $(($(date +%s) + 90)) using 1 ($SLURM_TIME_FORMAT|$PWD|$*)"'
    }
    request = f"export SCRATCH={tmp_path}/scratch\nestimate 4 '--comment=a b'\nestimate 5"
    lines = run_probe(tmp_path, request, commands)
    assert set(probe.waits_of(lines)) == {4, 5}
    assert probe.waits_of(lines)[4] <= 90
    assert re.search(r"\((.*)\)", lines[1])[1] == f"%s|{tmp_path}/scratch|--test-only --comment=a b --wrap=true"
