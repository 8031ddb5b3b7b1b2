"""`lab check` on the cluster, guarantee 11: the first step that fails, named, with what to do, for one connection."""

import contextlib
import re

import moments
import pytest
from cluster.api import WITH_CODE
from life import CODE, Life

LOGIN = "student@login.vcluster.example"
ASKED = f"Connecting to {LOGIN}; answer ssh's questions (password, second factor)."
WELL = {
    "name": "login.vcluster.example has the address 10.77.0.10",
    "key": "the host key is the one that this computer knows; ssh can offer your keys: ~/.ssh/id_ed25519",
    "connection": f"logged in to {LOGIN}",
    "folder": "the scripts and settings of lab are identical on both sides",
    "account": "Slurm accepts the job, and could start it now",
    "quota": "there is room in /home/student, /home/student/jupyter_py3.builds",
    "modules": "rstudio-server/4.1 python/{version} r/4.1",
    "environment": "/home/student/jupyter_py3 has JupyterLab {version}",
    "session": "lab is job {job}",
    "node": "the server on node1.int.vcluster.example answers",
    "port": "port 8888 on this computer is free",
}
NO_SESSION = "--     session      none is called lab; start it with: ./lab open"


@pytest.fixture(scope="module", autouse=True)
def version(cluster, built):
    """The versions of Python and of JupyterLab that the cluster has."""
    WELL["modules"] = f"rstudio-server/4.1 python/{cluster.python_version} r/4.1"
    done = cluster.run("login", "student", "jupyter_py3/bin/jupyter-lab", "--version", check=True)
    WELL["environment"] = f"/home/student/jupyter_py3 has JupyterLab {done.stdout.strip()}"


def well_until(step, shared=False, **words):
    """Return the lines of the steps before that one, when all is well; words: what a step says instead."""
    said = dict(WELL)
    if shared:
        said["key"] = "not needed: a connection is already open"
        said["connection"] = f"{LOGIN} answers through the connection that is already open"
    said.update(words)
    names = list(said)
    lines = [f"ok     {name:<12} {said[name]}" for name in names[: names.index(step) if step in said else None]]
    return lines if shared else [lines[0], ASKED, *lines[1:]]


def fails(step, words):
    return f"FAILS  {step:<12} {words}"


def lines_of(done):
    """Return the lines, without those that say that a step takes its time, and how a session of an earlier test ended."""
    lines = [line for line in done.stdout.splitlines() if not re.match(r"\d+:\d\d ", line)]
    return [NO_SESSION if line.startswith("--     session      No session lab is waiting") else line for line in lines]


def on_both_sides(life, command):
    assert life.on_login(command).returncode == 0
    at = ["bash", "-c", f'cd "$1" && {command}', "-", life.name]
    life.cluster.run("laptop", "alice", *at, check=True)


@contextlib.contextmanager
def changed(life, expression):
    """For the time being settings.yml is another one, on both sides."""
    on_both_sides(life, f"sed -i.kept '{expression}' settings.yml")
    try:
        yield
    finally:
        on_both_sides(life, "mv settings.yml.kept settings.yml")


def line_of(life, setting):
    return life.on_login(f"grep -n '^{setting}:' settings.yml").stdout.split(":")[0]


@pytest.fixture(scope="class")
def there(cluster, other_folder, built):
    """student's life with the folder "lab", for tests that leave nothing behind: they follow each other in a class."""
    cluster.clean(homes=False)
    yield Life(cluster, other_folder)
    cluster.clean(homes=False)


@pytest.fixture(scope="class")
def connected(there):
    """The same, with a connection."""
    assert there.run_lab("check").returncode == 0
    return there


@pytest.fixture
def config(cluster):
    """Write alice's ~/.ssh/config for the login node."""

    def write(*lines):
        cluster.write("laptop", "alice", ".ssh/config", "Host login.vcluster.example\n" + "".join(lines))

    yield write
    cluster.run("laptop", "alice", "rm", "-f", ".ssh/config", check=True)


# --- all is well ------------------------------------------------------------------------------------------------------


def test_11_all_is_well_and_a_code_is_typed_once(idle, other_folder, built):
    life = Life(idle, other_folder, host=CODE)
    before = idle.auth_count("student")
    process = idle.spawn("laptop", "alice", "lab/lab", "check", tty=True)
    process.wait_for(r"option \(1-1\): ")
    process.type(idle.totp() + "\r")
    process.wait_for(r"^ok     connection   logged in to student@mfa\.vcluster\.example$")
    process.wait_for("^--     session      (none is called lab|No session lab is waiting)")
    assert process.wait() == 0
    assert idle.auth_count("student") - before == 1
    again = life.run_lab("check")
    assert (again.returncode, again.stderr) == (0, "")
    mfa = {"name": "mfa.vcluster.example has the address 10.77.0.11"}
    expected = [*well_until("session", shared=True, **mfa), NO_SESSION]
    assert lines_of(again) == [line.replace("@login.", "@mfa.") for line in expected]
    assert idle.auth_count("student") - before == 1


def test_11_a_session_its_server_and_its_port_and_an_open_tunnel_is_left_alone(lab):
    lab.want_port(8888)
    process, address = lab.open_session()
    job = lab.jobs().split()[0]
    listening = ["bash", "-c", "ss -Hltn | sort; ls -A lab/.lab; cat lab/.lab/tunnel-*"]
    before = lab.cluster.run("laptop", "alice", *listening).stdout
    assert "tunnel-" in before
    done = lab.run_lab("check")
    steps = well_until(
        "time left", shared=True, session=f"lab is job {job}", port="port 8888 on this computer leads to the server"
    )
    assert lines_of(done)[:-1] == steps
    left = re.fullmatch(rf"ok     time left    (5\d min|1 h 00 min), until ({moments.SAID})", lines_of(done)[-1])
    assert 50 <= moments.minutes_until(left[2]) <= 60
    assert (done.returncode, done.stderr) == (0, "")
    assert lab.cluster.run("laptop", "alice", *listening).stdout == before
    status = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", address.replace("/lab", "/api")]
    assert lab.cluster.run("laptop", "alice", *status).stdout == "200"
    # without its lab there is no tunnel, and afterwards there is none either
    process.type("\x03")
    process.wait_for("or .s.top")
    process.type("\r")
    assert process.wait() == 0
    before = lab.cluster.run("laptop", "alice", *listening).stdout
    assert "tunnel-" not in before
    stranger = lab.cluster.spawn("laptop", "root", "/usr/bin/python3", "-m", "http.server", "8888")
    lab.cluster.run("laptop", "alice", "bash", "-c", "until exec 3<>/dev/tcp/localhost/8888; do :; done")
    taken = lab.run_lab("check", job)
    assert lines_of(taken)[-2] == "ok     port         port 8888 on this computer is in use; ./lab open takes port 8889"
    stranger.stop()
    free = lab.run_lab("check")
    assert lines_of(free)[:-1] == well_until("time left", shared=True, session=f"lab is job {job}")
    assert lab.cluster.run("laptop", "alice", *listening).stdout == before


def test_11_nothing_is_changed(lab):
    places = {"login": "~ /scratch/student /tmp", "laptop": "~ /tmp"}
    people = {"login": "student", "laptop": "alice"}
    for host, person in people.items():
        lab.cluster.run(host, person, "bash", "-c", "touch ~/before; until [[ ~ -nt ~/before ]]; do touch ~; done")
    assert lab.run_lab("check").returncode == 0
    for host, person in people.items():
        look = f"find {places[host]} -newer ~/before ! -type d 2>/dev/null | grep -v -e __pycache__ -e .ssh/passerelle-"
        assert lab.cluster.run(host, person, "bash", "-c", look).stdout == ""
        lab.cluster.run(host, person, "rm", "before", check=True)


def test_11_on_the_login_node_itself(lab):
    plumbum = "PYTHONPATH=$(ls /cvmfs/soft.vcluster.example/wheelhouse/plumbum-*.whl)"
    done = lab.on_login(f"{plumbum} ./lab check")
    here = ["ok     connection   this is the login node login"]
    assert lines_of(done) == [*here, *well_until("session")[5:], NO_SESSION]
    assert (done.returncode, done.stderr) == (0, "")


# --- the way to the login node ----------------------------------------------------------------------------------------

UNPUBLISHED = (
    "The host key of login.vcluster.example is not known to this computer, and no published one is at hand: ssh may ask "
    "about it now. Before you answer yes, compare the fingerprint with the one in the cluster's documentation."
)


class TestTheWayToTheLoginNode:
    @pytest.mark.parametrize(
        ("setting", "step", "words", "of_ssh"),
        [
            (
                "HostName nowhere.vcluster.example",
                "name",
                "There is no host called nowhere.vcluster.example: check its spelling (~/.ssh/config).",
                "",
            ),
            (
                "Port abc",
                "name",
                "ssh cannot read its configuration: /home/alice/.ssh/config line 2: Bad port 'abc'.",
                "",
            ),
            (
                "Port 2222",
                "connection",
                "login.vcluster.example refuses ssh on port 2222: is the port right (~/.ssh/config), or is the cluster "
                "under maintenance (for the Alliance: https://status.alliancecan.ca)?",
                "ssh: connect to host login.vcluster.example port 2222: Connection refused\n",
            ),
            (
                "HostKeyAlias unheard.of",
                "key",
                "The host key of login.vcluster.example is not known to this computer and was not confirmed; nothing was "
                f"sent. Connect once by hand (ssh {LOGIN}) and compare the key with the fingerprint that the cluster "
                "publishes.",
                "Host key verification failed.\n",
            ),
            (
                "IdentitiesOnly yes\nIdentityFile ~/nobodys",
                "key",
                "login.vcluster.example lets student in with an SSH key only, and accepted none of those offered "
                "(~/nobodys). Is the user name right (user or ssh_host in personal.yml)? Is your public key registered (on "
                "https://ccdb.alliancecan.ca for the Alliance, otherwise in ~/.ssh/authorized_keys there)?",
                f"{LOGIN}: Permission denied (publickey).\n",
            ),
            (
                "IdentitiesOnly yes\n" + "\n".join(f"IdentityFile ~/nobodys{number}" for number in range(1, 8)),
                "key",
                "ssh offered more keys than login.vcluster.example allows "
                f"({', '.join(f'~/nobodys{number}' for number in range(1, 8))}); name the right one in ~/.ssh/config, "
                "with IdentityFile and IdentitiesOnly yes",
                "Received disconnect from 10.77.0.10 port 22:2: Too many authentication failures\n"
                "Disconnected from 10.77.0.10 port 22\n",
            ),
        ],
        ids=["name", "ssh-settings", "port", "new-host-key", "key", "too-many-keys"],
    )
    def test_11_what_fails_on_the_way_to_the_login_node(self, setting, step, words, of_ssh, there, config):
        make = 'for key in ~/nobodys{,{1..7}}; do [[ -e $key ]] || ssh-keygen -q -t ed25519 -N "" -f "$key"; done'
        if "nobodys" in setting:
            there.cluster.run("laptop", "alice", "bash", "-c", make, check=True)
        config(setting + "\n")
        before = there.cluster.auth_count("student")
        done = there.run_lab("check")
        way = [] if step == "name" else well_until("key")
        way += [UNPUBLISHED] if setting.startswith(("Port 2", "HostKeyAlias")) else []
        assert lines_of(done) == [*way, fails(step, words)]
        assert (done.returncode, done.stderr) == (1, of_ssh)
        assert there.cluster.auth_count("student") == before

    def test_every_command_says_in_one_line_that_there_is_no_such_host_and_where_it_is_set(self, there, config):
        config("HostName nowhere.vcluster.example\n")
        words = "lab: There is no host called nowhere.vcluster.example: check its spelling ({}).\n"
        for command in ("status", "open"):
            done = there.run_lab(command)
            assert (done.returncode, done.stdout, done.stderr) == (1, "", words.format("~/.ssh/config"))
        config("")
        there.cluster.run(
            "laptop", "alice", "sed", "-i.kept", "s/: login[.]/: nowhere./", "lab/settings.yml", check=True
        )
        try:
            for connection in ("shared", "separate"):
                personal = f"user: student\nconnection: {connection}\n"
                there.cluster.write("laptop", "alice", f"{there.name}/personal.yml", personal)
                done = there.run_lab("status")
                assert (done.returncode, done.stdout, done.stderr) == (1, "", words.format("settings.yml: login_host"))
        finally:
            there.cluster.run("laptop", "alice", "mv", "lab/settings.yml.kept", "lab/settings.yml", check=True)
            there.cluster.write("laptop", "alice", f"{there.name}/personal.yml", "user: student\n")

    def test_11_a_contradicting_host_key_is_named_before_anything_is_sent(self, there):
        false = (
            "[[ -e ~/false ]] || ssh-keygen -q -t ed25519 -N '' -f ~/false; cp ~/.ssh/known_hosts ~/true_hosts; "
            "printf 'login.vcluster.example %s\\n' \"$(cut -d ' ' -f 1,2 ~/false.pub)\" >~/.ssh/known_hosts"
        )
        there.cluster.run("laptop", "alice", "bash", "-c", false, check=True)
        log = there.cluster.logs("login") / "sshd.log"
        before = log.stat().st_size
        try:
            done = there.run_lab("check")
        finally:
            there.cluster.run("laptop", "alice", "bash", "-c", "mv ~/true_hosts ~/.ssh/known_hosts", check=True)
        words = (
            "login.vcluster.example presents another host key than the one that this computer knows; nothing was sent. Ask "
            "the cluster's support whether the key has changed, and only if it has: ssh-keygen -R login.vcluster.example"
        )
        assert lines_of(done) == [*well_until("key"), fails("key", words)]
        assert done.returncode == 1
        assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
        # sshd has not even heard who wanted to log in
        heard = log.read_bytes()[before:]
        assert b"Connection from 10.76.0.2" in heard and b"student" not in heard


def test_11_a_refused_second_factor(idle, other_folder, built):
    Life(idle, other_folder, host=CODE)
    wrong = ["env", "SSH_ASKPASS=/bin/true", *WITH_CODE[2:]]
    done = idle.run("laptop", "alice", *wrong, "lab/lab", "check")
    assert lines_of(done)[-1] == fails(
        "connection",
        "mfa.vcluster.example refused to log student in: is the user name right (user or ssh_host in personal.yml), the "
        "password, the second factor? (At the Alliance, access to each system is requested first: "
        "https://ccdb.alliancecan.ca/me/access_systems)",
    )
    assert done.returncode == 1


def test_11_a_host_in_between_is_said_and_no_failure(lab, config):
    config(
        "ProxyJump student@login\n", "Host login\nHostName %h.vcluster.example\nHostKeyAlias login.vcluster.example\n"
    )
    done = lab.run_lab("check")
    words = (
        "login.vcluster.example is reached through another host (ProxyJump or ProxyCommand in ~/.ssh/config), which "
        "looks up its address"
    )
    assert lines_of(done) == [*well_until("session", name=words), NO_SESSION]
    assert done.returncode == 0


UNREACHABLE = (
    "login.vcluster.example does not answer: is this computer connected to the network, does it need a VPN, or is the "
    "cluster down (for the Alliance: https://status.alliancecan.ca)?"
)
NO_REACTION = f"The open connection to {LOGIN} is not responding. The next ./lab open replaces it; ssh may ask you to log in again."


def test_11_no_network(lab):
    with lab.cluster.network("laptop").cut():
        done = lab.run_lab("check")
    words = "The address of login.vcluster.example cannot be looked up: is this computer connected to the network?"
    assert (done.returncode, lines_of(done)) == (1, [fails("name", words)])


def test_11_the_login_node_is_out_of_reach_before_and_after_the_login(lab):
    with lab.cluster.network("login").cut():
        done = lab.run_lab("check")
    assert (done.returncode, lines_of(done)) == (1, [*well_until("key"), fails("connection", UNREACHABLE)])
    assert lab.run_lab("check").returncode == 0
    with lab.cluster.network("login").cut():
        done = lab.run_lab("check")
    assert (done.returncode, lines_of(done)) == (
        1,
        [*well_until("connection", shared=True), fails("connection", UNREACHABLE)],
    )


def test_11_a_frozen_connection(lab):
    assert lab.run_lab("check").returncode == 0
    lab.cluster.run("laptop", "alice", "kill", "-STOP", lab.master(), check=True)
    done = lab.run_lab("check")
    assert (done.returncode, lines_of(done)) == (
        1,
        [well_until("key")[0], fails("connection", NO_REACTION)],
    )


# --- on the login node ------------------------------------------------------------------------------------------------


class TestOnTheLoginNode:
    @pytest.mark.parametrize(
        ("setting", "value", "step", "words"),
        [
            (
                "account",
                "def-nobody",
                "account",
                "Slurm refused the job: Invalid account or account/partition combination specified"
                "; look at settings.yml:{line}",
            ),
            (
                "hours",
                "900",
                "account",
                "Slurm refused the job: Requested time limit is invalid (missing or exceeds some limit)"
                "; look at settings.yml:{line}",
            ),
            (
                "python_module",
                r"python\/9.9",
                "modules",
                "settings.yml:{line}: module not found: python/9.9. See what there is with: module spider NAME",
            ),
        ],
    )
    def test_11_what_fails_on_the_login_node(self, setting, value, step, words, connected):
        line = line_of(connected, setting)
        with changed(connected, f"s/^{setting}: .*/{setting}: {value}/"):
            done = connected.run_lab("check")
        assert lines_of(done) == [*well_until(step, shared=True), fails(step, words.format(line=line))]
        assert (done.returncode, done.stderr) == (1, "")

    @pytest.mark.parametrize(
        ("setting", "value", "said", "other"),
        [
            (
                "environment_path",
                r"$HOME\/nothing_py3",
                "There is no environment at /home/student/nothing_py3 yet. To build it: ./lab open",
                # nothing is built there, so no versions are known
                {"quota": "there is room in /home/student", "modules": "rstudio-server python r"},
            ),
            (
                "packages",
                "[numpy]",
                "/home/student/jupyter_py3 is not what settings.yml asks for: it lacks numpy. To bring it up to date: ./lab open",
                {},
            ),
        ],
    )
    def test_11_what_the_next_open_builds_is_no_failure(self, setting, value, said, other, connected):
        with changed(connected, f"s/^{setting}: .*/{setting}: {value}/"):
            done = connected.run_lab("check")
        steps = well_until("environment", shared=True, **other)
        assert lines_of(done) == [*steps, f"--     environment  {said}", NO_SESSION]
        assert (done.returncode, done.stderr) == (0, "")

    def test_11_en_francais(self, connected):
        with changed(connected, "s/^language: .*/language: fr/; s/^account: .*/account: def-nobody/"):
            done = connected.run_lab("check")
        assert lines_of(done) == [
            "ok     nom            login.vcluster.example a l'adresse 10.77.0.10",
            "ok     clé            inutile\u00a0: une connexion est déjà ouverte",
            f"ok     connexion      {LOGIN} répond par la connexion déjà ouverte",
            "ok     dossier        les scripts et les réglages de lab sont identiques des deux côtés",
            "ÉCHEC  compte         Slurm a refusé la tâche\u00a0: Invalid account or account/partition combination specified"
            f"\u00a0; voyez settings.yml:{line_of(connected, 'account')}",
        ]
        assert done.returncode == 1


def test_11_a_full_disk(idle, pristine_folder, built):
    folder = pristine_folder("vcluster", name="lab", environment_path="/srv/full/jupyter_py3")
    lab = Life(idle, folder)
    idle.run("login", "root", "mkdir", "-p", "/srv/full", check=True)
    idle.run("login", "root", "mount", "-t", "tmpfs", "-o", "size=64k,mode=1777", "tmpfs", "/srv/full", check=True)
    try:
        done = lab.run_lab("check")
        words = (
            "Cannot write to /srv/full: No space left on device. Free some space or delete some files (diskusage_report shows your "
            "quotas)."
        )
        assert lines_of(done) == [*well_until("quota"), fails("quota", words)]
        assert done.returncode == 1
        assert lab.on_login("ls -A /srv/full").stdout == ""
    finally:
        idle.run("login", "root", "umount", "/srv/full", check=True)


def test_11_a_folder_that_is_missing_or_not_the_same_is_said_and_not_touched(lab):
    lab.on_login("mv ~/lab ~/lab.away")
    try:
        done = lab.run_lab("check")
        words = (
            f"lab is not on {LOGIN} yet; ./lab open sends it. Account, quota, modules and environment are looked at once it is "
            "there."
        )
        assert (done.returncode, lines_of(done)) == (
            0,
            [*well_until("folder"), f"--     folder       {words}", NO_SESSION],
        )
        assert lab.cluster.run("login", "student", "ls", "-d", "lab").returncode == 2
    finally:
        lab.cluster.run("login", "student", "mv", "lab.away", "lab", check=True)
    lab.on_login("sed -i 's/^hours: .*/hours: 2/' settings.yml")
    done = lab.run_lab("check")
    words = (
        f"lab on {LOGIN} differs from the one here; the next ./lab open sends it. What follows is about the one there."
    )
    before, after = well_until("folder", shared=True), well_until("session", shared=True)[4:]
    assert (done.returncode, lines_of(done)) == (0, [*before, f"--     folder       {words}", *after, NO_SESSION])
    assert lab.on_login("grep ^hours settings.yml").stdout == "hours: 2\n"


def test_11_what_other_settings_there_ask_for_is_no_failure_but_the_same_settings_are_one(lab):
    differs = (
        f"--     folder       lab on {LOGIN} differs from the one here; the next ./lab open sends it. What follows is about "
        "the one there."
    )
    before = well_until("folder")
    refused = (
        "Slurm refused the job: Invalid account or account/partition combination specified; look at settings.yml:{}"
    )
    line = line_of(lab, "account")
    lab.on_login("sed -i 's/^account: .*/account: def-nobody/' settings.yml")
    done = lab.run_lab("check")
    there = f"as settings.yml on {LOGIN} has it, which differs from the one here: {refused.format(line)}"
    assert (done.returncode, lines_of(done)) == (0, [*before, differs, f"--     account      {there}", NO_SESSION])
    # the same settings with other scripts: the next session would not be taken either
    lab.cluster.run(
        "laptop", "alice", "sed", "-i", "s/^account: .*/account: def-nobody/", "lab/settings.yml", check=True
    )
    lab.cluster.run("laptop", "alice", "bash", "-c", "echo '# newer' >>lab/setup_env.sh", check=True)
    done = lab.run_lab("check")
    before = well_until("folder", shared=True)
    assert (done.returncode, lines_of(done)) == (1, [*before, differs, fails("account", refused.format(line))])


def test_11_an_environment_that_does_not_start_or_takes_for_ever(lab):
    # the wrong one in the place of the right one, built from the same settings
    python = "echo 'cannot import' >&2; exit 1"
    broken = (
        "rm -rf ~/broken_py3; mkdir -p ~/broken_py3/bin; cp ~/jupyter_py3/passerelle.* ~/broken_py3/; "
        "touch ~/broken_py3/bin/jupyter-lab; chmod +x ~/broken_py3/bin/jupyter-lab; "
        f"printf '#!/bin/sh\\n{python}\\n' >~/broken_py3/bin/python; chmod +x ~/broken_py3/bin/python"
    )
    assert lab.on_login(broken.replace("'cannot import'", '"cannot import"')).returncode == 0
    on_both_sides(lab, r"sed -i 's/^environment_path: .*/environment_path: $HOME\/broken_py3/' settings.yml")
    done = lab.run_lab("check")
    there = {"quota": "there is room in /home/student"}
    words = (
        "JupyterLab in /home/student/broken_py3 does not start (cannot import); rebuild the environment on a login node: "
        "./setup_env.sh --rebuild"
    )
    assert lines_of(done) == [*well_until("environment", **there), fails("environment", words)]
    on_both_sides(lab, "sed -i 's/^CHECK_STEP=.*/CHECK_STEP=3/' lib/both/limits.sh")
    lab.on_login("printf '#!/bin/sh\\nsleep 600\\n' >~/broken_py3/bin/python")
    done = lab.run_lab("check")
    words = f"{LOGIN} is taking too long; Slurm or the file systems there may be overloaded. Try again later."
    assert lines_of(done) == [*well_until("environment", shared=True, **there), fails("environment", words)]
    assert done.returncode == 1
    # and nothing of it is left
    assert lab.cluster.run("login", "student", "pgrep", "--full", "slee[p] 600").stdout == ""
    lab.on_login("rm -r ~/broken_py3")


# --- the session ------------------------------------------------------------------------------------------------------


def test_11_a_session_that_waits_is_no_failure(lab):
    lab.on_login("./submit_session.sh --hold")
    job = lab.jobs().split()[0]
    done = lab.run_lab("check")
    waits = f"--     session      lab (job {job}) is waiting (PENDING: JobHeldUser); expected start: unknown"
    assert (done.returncode, lines_of(done)) == (0, [*well_until("session"), waits])
    # one that never could have started, too; Slurm's accounts may hear of it later
    lab.on_login(f"scancel {job}")
    with lab.in_front(sacct="#!/bin/bash\n"):
        done = lab.run_lab("check")
    assert re.fullmatch(
        rf"--     session      No session lab is waiting or running\. The last one \(job {job}, {moments.SAID}\) has ended: "
        r"CANCELLED( by \d+)?\. Start it again with: ./lab open --name=lab",
        done.stdout.splitlines()[-1],
    )
    assert done.returncode == 0


def submitted(lab, *options):
    """Start a session on the login node and wait for its server; return the job."""
    lab.on_login(" ".join(["./submit_session.sh", *options]))
    job = lab.jobs().split()[0]
    up = f"until [[ -e ~/.local/state/passerelle/sessions/{job} ]]; do sleep 0.1; done"
    assert lab.on_login(up).returncode == 0
    return job


def test_11_a_dead_node_no_free_port_and_too_little_time(lab):
    job = submitted(lab, "--time=4")
    lab.want_port(8888)
    cluster = lab.cluster
    done = lab.run_lab("check")
    words = rf"FAILS  time left    Only [1-4] min left, until ({moments.SAID}): save your work\. When the session has ended, \./lab open starts a new one\."
    assert lines_of(done)[:-1] == well_until("time left", session=f"lab is job {job}")
    assert 1 <= moments.minutes_until(re.fullmatch(words, lines_of(done)[-1])[1]) <= 4
    assert done.returncode == 1
    cluster.write("laptop", "alice", "lab/personal.yml", "user: student\nport: 65535\n")
    stranger = cluster.spawn("laptop", "root", "/usr/bin/python3", "-m", "http.server", "65535")
    cluster.run("laptop", "alice", "bash", "-c", "until exec 3<>/dev/tcp/localhost/65535; do :; done")
    done = lab.run_lab("check")
    stranger.stop()
    words = (
        "No port from 65535 to 65535 is free on this computer; set another one in personal.yml, for example: port: 9800"
    )
    assert lines_of(done) == [*well_until("port", shared=True, session=f"lab is job {job}"), fails("port", words)]
    assert done.returncode == 1
    with cluster.network("node1").cut():
        done = lab.run_lab("check")
    words = (
        "The server on node1.int.vcluster.example does not answer (node state in Slurm: {}). See ./lab logs lab, end "
        "the session with ./lab stop lab, then start it again with ./lab open --name=lab"
    )
    steps = well_until("node", shared=True, session=f"lab is job {job}")
    # with an asterisk as soon as Slurm has missed it, too, and down some time later
    states = ("mixed", "mixed*", "down*")
    assert lines_of(done) in [[*steps, fails("node", words.format(state))] for state in states]
    assert done.returncode == 1
