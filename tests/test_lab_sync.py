"""`lab sync`, and what `lab open` sends by itself: what has changed on either side arrives, and no change is lost."""

import contextlib
import hashlib
import os
import signal
import stat
import time
from pathlib import Path

import pytest
from life import CODE, Life

LOGIN = "student@login.vcluster.example"
SAME = f"This folder and {LOGIN}:lab are the same already.\n"


def done_line(sent, brought, login=LOGIN):
    """Answers how `lab sync` ends: ("3", "12 kB") for either side."""
    return "Files sent to {}: {} ({}); files brought here: {} ({}).\n".format(login, *sent, *brought)


NOTHING = ("0", "0 B")


class Sides(Life):
    """Somebody's life with a folder on both sides; `here` and `there` are the two, seen from this machine."""

    @property
    def here(self) -> Path:
        return self.cluster.state / "laptop-home/alice" / self.name

    @property
    def there(self) -> Path:
        return self.cluster.state / "cluster/home" / self.user / self.name

    def on_laptop(self, command):
        """Runs one line of bash in the folder on the laptop."""
        line = f'cd "$1" && {command}'
        return self.cluster.run("laptop", "alice", "bash", "-c", line, "-", self.name, check=True)

    def write_here(self, path, text):
        """Makes a file in the folder on the laptop."""
        self.cluster.write("laptop", "alice", f"{self.name}/{path}", text)

    def write_there(self, path, text):
        """Makes a file in the folder on the cluster."""
        self.cluster.write("login", self.user, f"{self.name}/{path}", text)

    def sync(self, *words):
        """Runs `lab sync` once it is connected, so that its output is about files alone."""
        done = self.run_lab("sync", *words)
        lines = done.stdout.splitlines(keepends=True)
        if lines and lines[0].startswith("Connecting to "):
            done.stdout = "".join(lines[1:])
        return done

    def both_equal(self):
        assert everything(self.here) == everything(self.there)


def everything(folder):
    """Answers what is below a folder: type, executable or not, whole second of the last change, content."""
    found = {}
    for top, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".lab", "__pycache__")]
        for name in files:
            path = Path(top, name)
            status = path.lstat()
            what = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
            time = 0 if path.is_symlink() else int(status.st_mtime)
            found[str(path.relative_to(folder))] = (stat.S_IFMT(status.st_mode), status.st_mode & 0o100, time, what)
    found.pop("personal.yml", None)
    return found


@pytest.fixture
def sides(cluster, other_folder):
    """student's folder on the laptop, and nothing on the cluster."""
    sides = Sides(cluster, other_folder)
    cluster.run("login", "student", "rm", "-rf", "lab", check=True)
    return sides


@pytest.fixture
def agreed(cluster, other_folder):
    """student's folder on both sides, after a first `lab sync`."""
    sides = Sides(cluster, other_folder)
    assert (done := sides.sync()).returncode == 0, done
    return sides


# --- one side -------------------------------------------------------------------------------------------------------


def test_the_first_time_the_folder_is_there_as_it_is_here_and_its_scripts_run(sides):
    sides.on_laptop(
        "mkdir -p .git env/bin plugins/.ipynb_checkpoints && touch .git/x env/pyvenv.cfg env/bin/python plugins/.ipynb_checkpoints/x.sh"
    )
    done = sides.sync()
    sides.on_laptop("rm -r .git env plugins/.ipynb_checkpoints")
    count = len(everything(sides.here)) - 1
    size = sum(
        path.stat().st_size
        for path in sides.here.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and not {".lab", "__pycache__"} & set(path.parts)
        and path.name != "personal.yml"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Sending the folder to {LOGIN}:lab...\n" + done_line(
        (count, f"{size / 1000:.0f} kB"), NOTHING
    )
    sides.both_equal()
    assert os.readlink(sides.there / ".copier-answers.yml") == "settings.yml"
    assert not (sides.there / "personal.yml").exists()
    assert sides.on_login("./start_salloc.sh --print").stdout.startswith("salloc ")
    # the stage goes with its lab
    wait_until(lambda: not [*sides.there.glob(".lab*"), *sides.there.parent.glob(".lab*")])
    assert stat.S_IMODE((sides.here / ".lab").stat().st_mode) == 0o700
    assert (sides.here / ".lab/.gitignore").read_text() == "*\n"
    assert sides.sync().stdout == SAME


def test_what_has_changed_on_one_side_goes_to_the_other(agreed):
    agreed.on_laptop("printf more >>README.md; chmod +x LISEZMOI.md")
    agreed.write_here("my data/a b.csv", "1\n")
    agreed.on_login("sed -i 's/^hours: .*/hours: 7/' settings.yml")
    agreed.write_there("résultats d’été/à garder (1).csv", "12\n")
    os.utime(agreed.there / "résultats d’été/à garder (1).csv", ns=(0, 1580000000_789000000))
    strange = 'résultats d’été/-l\'été\t\\n\nà "vue"\r'
    agreed.write_there(strange, "123\n")
    (agreed.there / strange).chmod(0o755)
    done = agreed.sync()
    sent = 2 + sum((agreed.here / name).stat().st_size for name in ("README.md", "LISEZMOI.md"))
    brought = 3 + 4 + (agreed.here / "settings.yml").stat().st_size
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"settings.yml had changed on {LOGIN}: it is now the same here.\n" + done_line(
        (3, f"{sent / 1000:.1f} kB"), (3, f"{brought} B" if brought < 1000 else f"{brought / 1000:.1f} kB")
    )
    agreed.both_equal()
    assert (agreed.here / "résultats d’été/à garder (1).csv").stat().st_mtime_ns == 1580000000_789000000
    assert (agreed.here / strange).stat().st_mode & 0o100
    assert (agreed.there / "LISEZMOI.md").stat().st_mode & 0o100
    assert agreed.sync().stdout == SAME


def test_a_folder_that_was_copied_there_by_hand_is_taken_for_what_it_is(cluster, other_folder):
    sides = Sides(cluster, other_folder)
    # scp -r makes a file of a link
    sides.on_login(
        "rm .copier-answers.yml; cp settings.yml .copier-answers.yml; touch *.sh; mkdir .ipynb_checkpoints; touch .ipynb_checkpoints/x"
    )
    done = sides.sync()
    assert (done.returncode, done.stdout, done.stderr) == (0, SAME, "")


def test_results_that_have_not_changed_are_not_read_again(agreed):
    agreed.on_login("head -c 30000000 /dev/zero >result; touch -d yesterday result")
    assert agreed.sync().stdout == done_line(NOTHING, (1, "30 MB"))
    # it could not be read now
    agreed.on_login("chmod 0 result")
    agreed.on_laptop("chmod 0 result")
    assert agreed.sync().stdout == SAME


def test_startup_files_that_print_text_disturb_nothing(agreed):
    noisy = "sed -i '1i printf \"Welcome\\\\n passerelle\\\\t to us\"' ~/.bashrc ~/.bash_profile"
    agreed.cluster.run("login", "student", "bash", "-c", noisy, check=True)
    try:
        agreed.on_login("echo 1 >result")
        agreed.on_laptop("echo 2 >data")
        done = agreed.sync()
        assert (done.returncode, done.stdout, done.stderr) == (0, done_line((1, "2 B"), (1, "2 B")), "")
    finally:
        agreed.cluster.run("login", "student", "sed", "-i", "1d", ".bashrc", ".bash_profile", check=True)
    agreed.both_equal()


@pytest.mark.parametrize("user", ["fish", "xonsh"])
def test_a_login_shell_that_is_not_bash(user, cluster, other_folder):
    sides = Sides(cluster, other_folder, user=user)
    cluster.run("login", user, "rm", "-rf", "lab", check=True)
    assert (done := sides.sync()).returncode == 0, done
    sides.on_login("printf '\\0\\377\\r\\n' >result")
    assert sides.sync().stdout == done_line(NOTHING, (1, "4 B"), login=f"{user}@login.vcluster.example")
    sides.both_equal()


# --- both sides -----------------------------------------------------------------------------------------------------


def conflict(path):
    """Answers the line that names a file which has changed on both sides."""
    return (
        f"lab: {path} has changed here and on {LOGIN}, and neither is overwritten. "
        f"Keep yours: ./lab sync --mine {path}; or take the other: ./lab sync --theirs {path}\n"
    )


@pytest.fixture
def torn(agreed):
    """Two files that have changed on both sides, one of them to the same size, and one that has on one side alone."""
    for path, mine, theirs in (("README.md", "mine\n", "and theirs\n"), ("my data/a b.csv", "1\n", "2\n")):
        agreed.write_here(path, mine)
        agreed.write_there(path, theirs)
    agreed.write_there("result", "42\n")
    return agreed


def test_what_has_changed_on_both_sides_is_named_and_nothing_is_overwritten(torn):
    torn.write_here("same", "1\n")
    torn.write_there("same", "1\n")
    done = torn.sync()
    assert (done.returncode, done.stderr) == (1, conflict("README.md") + conflict("'my data/a b.csv'"))
    assert done.stdout == done_line(NOTHING, (1, "3 B"))
    assert [(side / "README.md").read_text() for side in (torn.here, torn.there)] == ["mine\n", "and theirs\n"]
    assert [(side / "my data/a b.csv").read_text() for side in (torn.here, torn.there)] == ["1\n", "2\n"]
    # and again, for they are as they were
    again = torn.sync()
    assert (again.returncode, again.stderr, again.stdout) == (1, done.stderr, done_line(NOTHING, NOTHING))


def test_the_user_chooses_for_each_file_whose_version_stays(torn):
    done = torn.sync("--mine", "README.md", "--theirs=my data")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"README.md: what was on {LOGIN} is overwritten with yours.\n"
        f"'my data/a b.csv': what was here is overwritten with that of {LOGIN}.\n"
    ) + done_line((1, "5 B"), (2, "5 B"))
    assert (torn.there / "README.md").read_text() == "mine\n"
    assert (torn.here / "my data/a b.csv").read_text() == "2\n"
    torn.both_equal()


def test_all_of_one_side_can_be_chosen_at_once_and_new_results_come_nevertheless(torn):
    assert torn.sync("--mine", ".").stdout.endswith(done_line((2, "7 B"), (1, "3 B")))
    torn.both_equal()
    assert (torn.there / "README.md").read_text() == "mine\n"


def test_code_that_was_changed_there_is_not_brought_unasked(agreed):
    before = (agreed.here / "lib/laptop/lab/messages.py").read_text()
    agreed.write_there("lib/laptop/lab/messages.py", "print('whoever writes here runs commands on the laptop')\n")
    agreed.write_there("result.txt", "42\n")
    done = agreed.sync()
    assert (done.returncode, done.stdout) == (1, done_line(NOTHING, (1, "3 B")))
    assert done.stderr == (
        f"lab: lib/laptop/lab/messages.py: changed on {LOGIN}, and run on this computer, so they are not brought unasked. Take "
        "them: ./lab sync --theirs lib/laptop/lab/messages.py; or send yours: ./lab sync --mine lib/laptop/lab/messages.py\n"
    )
    assert (agreed.here / "lib/laptop/lab/messages.py").read_text() == before
    done = agreed.run_lab("open", "--no-browser")
    assert done.returncode == 1 and "so they are not brought unasked" in done.stderr
    assert agreed.sync("--mine", "lib").returncode == 0
    agreed.both_equal()


def test_a_choice_that_is_none_is_one_clear_line(agreed):
    for words, line in (
        (["--mine", "nothing"], "There is nothing called nothing to send from here."),
        (["--theirs", "no thing"], f"There is nothing called 'no thing' to bring from {LOGIN}."),
        (["--mine", "../x"], "../x is not in /home/alice/lab; give a path as lab shows it."),
        (["--mine"], "--mine needs the path of a file or folder of this one, for example --mine settings.yml"),
        (["--theirs="], "--theirs needs the path of a file or folder of this one, for example --theirs settings.yml"),
        (["README.md"], "“README.md” is not understood; see --help"),
    ):
        done = agreed.sync(*words)
        assert (done.returncode, done.stdout, done.stderr) == (64, "", f"lab: {line}\n")


def test_what_is_deleted_on_one_side_stays_on_the_other_and_that_is_said_once(agreed):
    agreed.write_there("result", "42\n")
    agreed.sync()
    agreed.on_laptop("rm result")
    agreed.on_login("rm README.md LISEZMOI.md")
    done = agreed.sync()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"Deleted here, and left on {LOGIN}: result. To have it back: ./lab sync --theirs result\n"
        f"Deleted on {LOGIN}, and left here: LISEZMOI.md, README.md. To send it again: ./lab sync --mine LISEZMOI.md\n"
    ) + done_line(NOTHING, NOTHING)
    assert agreed.sync().stdout == done_line(NOTHING, NOTHING)
    assert (agreed.there / "result").exists() and not (agreed.there / "README.md").exists()
    # one is wanted back, one comes anew
    agreed.write_there("result", "43\n")
    agreed.sync("--mine", "README.md")
    assert (agreed.here / "result").read_text() == "43\n"
    assert (agreed.there / "README.md").exists() and not (agreed.there / "LISEZMOI.md").exists()


# --- trouble --------------------------------------------------------------------------------------------------------


BIG = "head -c 50000000 /dev/urandom >big; cp big big2; touch -d yesterday big big2"


def wait_until(condition, seconds=30):
    """Waits, looking all the time, until a function answers something; answers that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return found


def arriving(side):
    """Answers a half-written file of a transfer to a side."""
    for path in side.glob(".lab/incoming.*/**/*"):
        with contextlib.suppress(FileNotFoundError):
            if 10**6 < path.stat().st_size < 49 * 10**6:
                return path
    return None


@pytest.mark.parametrize("receiver", ["there", "here"])
def test_after_kill_9_in_the_middle_nothing_is_half_written_and_the_next_sync_goes_on(receiver, agreed):
    to = getattr(agreed, receiver)
    (agreed.on_laptop if receiver == "there" else agreed.on_login)(BIG)
    process = agreed.lab("sync", tty=False)
    wait_until(lambda: arriving(to))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (to / "big").exists() and not (to / "big2").exists()
    done = agreed.sync()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        done_line((2, "100 MB"), NOTHING) if to == agreed.there else done_line(NOTHING, (2, "100 MB"))
    )
    agreed.both_equal()
    # the login node's part went with its lab
    wait_until(lambda: not list(agreed.there.glob(".lab/incoming.*")))


@pytest.mark.parametrize("receiver", ["there", "here"])
def test_what_changes_in_the_meantime_is_not_overwritten(receiver, agreed):
    to = getattr(agreed, receiver)
    (agreed.on_laptop if receiver == "there" else agreed.on_login)(BIG + "; echo changed >README.md")
    process = agreed.lab("sync", tty=False)
    wait_until(lambda: arriving(to))
    (to / "README.md").write_text("changed, too\n")
    assert process.wait() == 1
    assert (
        "lab: README.md is not what lab compared: it has changed just now, or is a folder on one side. "
        "Nothing was overwritten; run ./lab sync again.\n"
    ) in process.output
    assert (to / "README.md").read_text() == "changed, too\n"
    done = agreed.sync()
    assert (done.returncode, done.stderr) == (1, conflict("README.md"))


def test_what_cannot_be_carried_is_named_and_all_else_goes_on(agreed):
    agreed.on_laptop(
        "echo 1 >secret; chmod 0 secret; mkdir locked clash; echo 1 >locked/x; echo 1 >clash/x; touch $'th\\xe9'"
    )
    agreed.on_login("echo 1 >secret2; chmod 0 secret2; mkdir -m 500 locked; echo 1 >clash; echo 2 >result")
    done = agreed.sync()
    agreed.on_login("chmod 700 locked")
    assert done.returncode == 1
    # the words of mkdir and mv, then ours
    assert [line.split(": ")[0] for line in done.stdout.splitlines()[:2]] in (["mkdir", "mv"], ["mv", "mkdir"])
    assert done.stdout.splitlines(keepends=True)[2:] == [done_line(NOTHING, (1, "2 B"))]
    assert done.stderr.splitlines() == [
        "lab: $'th\\xe9' is left out: not every computer can have a file of that name; rename it.",
        "lab: secret cannot be read.",
        f"lab: Could not be written on {LOGIN}: clash/x, locked/x; see the words above.",
        "lab: clash is not what lab compared: it has changed just now, or is a folder on one side. "
        "Nothing was overwritten; run ./lab sync again.",
        f"lab: {LOGIN}:lab/secret2 cannot be read.",
    ]


def test_links_are_not_followed_and_what_they_lead_to_is_not_overwritten(agreed):
    for run in (agreed.on_laptop, agreed.on_login):
        run("mkdir -p ../elsewhere; echo precious >../elsewhere/file; rm -f ../elsewhere/new")
    agreed.on_laptop(
        "ln -s ../elsewhere data; mkdir results; echo mine >results/file; echo mine >results/new; ln -s ../elsewhere/file alone"
    )
    agreed.on_login(
        "ln -s ../elsewhere results; mkdir data; echo theirs >data/file; echo theirs >data/new; echo theirs >alone"
    )
    done = agreed.sync()
    assert (done.returncode, done.stderr) == (0, "")
    left = "is a link {}, and links are not followed: what {} there{} is left out.\n"
    assert done.stdout == "".join((
        "alone " + left.format("here", LOGIN + " has", ""),
        "data " + left.format("here", LOGIN + " has", ""),
        "results " + left.format("on " + LOGIN, "is", " on this computer"),
    )) + done_line(NOTHING, NOTHING)  # fmt: skip
    for side in (agreed.here, agreed.there):
        outside = side.parent / "elsewhere"
        assert (sorted(os.listdir(outside)), (outside / "file").read_text()) == (["file"], "precious\n")


def test_a_full_disk_on_the_cluster_is_one_clear_line_and_nothing_is_half_written(agreed):
    place = f"/home/student/{agreed.name}"
    agreed.cluster.run(
        "login", "root", "mount", "-t", "tmpfs", "-o", "size=3m,uid=20001,mode=755", "tmpfs", place, check=True
    )
    try:
        agreed.on_login("mkdir lib && touch settings.yml")
        agreed.on_laptop("head -c 5000000 /dev/urandom >big")
        done = agreed.sync("--mine", ".")
        assert (done.returncode, done.stdout) == (1, "")
        assert (
            done.stderr
            == f"lab: The folder could not be sent to {LOGIN}: is there space left? (diskusage_report, there)\n"
        )
        assert agreed.on_login("find . -type f").stdout == "./settings.yml\n"
    finally:
        agreed.cluster.run("login", "root", "umount", place, check=True)


def test_a_folder_of_that_name_that_is_another_one_is_left_alone(sides):
    sides.cluster.write("login", "student", "lab/thesis.tex", "x")
    done = sides.sync()
    assert (done.returncode, done.stdout, done.stderr) == (
        1, "", f"lab: {LOGIN} has a folder ~/lab that is none of these; rename it there, or change project_name.\n"
    )  # fmt: skip
    assert os.listdir(sides.there) == ["thesis.tex"]


def test_on_the_login_node_there_is_nothing_to_sync(agreed):
    done = agreed.on_login("PYTHONPATH=$(ls /cvmfs/soft.vcluster.example/wheelhouse/plumbum-*.whl) ./lab sync")
    assert (done.returncode, done.stdout, done.stderr) == (
        64, "", "lab: You are on the cluster; run this on your computer, in your copy of this folder.\n"
    )  # fmt: skip


def test_sending_choosing_and_bringing_need_one_authentication(idle, other_folder):
    sides = Sides(idle, other_folder, host=CODE)
    idle.run("login", "student", "rm", "-rf", "lab", check=True)
    before = idle.auth_count("student")
    assert sides.sync().returncode == 0
    sides.write_there("result", "42\n")
    sides.write_here("README.md", "mine\n")
    sides.write_there("README.md", "theirs\n")
    assert [sides.sync().returncode, sides.sync("--theirs", "README.md").returncode] == [1, 0]
    sides.both_equal()
    assert idle.auth_count("student") - before == 1


# --- lab open -------------------------------------------------------------------------------------------------------


def opened(sides):
    """Runs `lab open` for a job that Slurm refuses; answers what it says before, and its last word."""
    done = sides.run_lab("open", "--no-browser", "--account=def-nobody")
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if not line.startswith(("Connecting to", "submit_session.sh: "))]
    return lines, done.stderr.splitlines()[-1]


REFUSED = "lab: submit_session.sh has failed on the cluster: see its words above."


def test_open_brings_the_scripts_together_and_leaves_results_alone(sides, built):
    sides.write_here("data/1.csv", "1\n")
    assert opened(sides) == ([f"Sending the folder to {LOGIN}:lab..."], REFUSED)
    sides.both_equal()
    # nothing has changed: nothing is said
    assert opened(sides) == ([], REFUSED)
    sides.write_there("result", "42\n")
    sides.write_there("plugins/.ipynb_checkpoints/x-checkpoint.sh", "x")
    sides.write_there("plugins/kernels/mine.sh", "# mine\n")
    sides.on_login("sed -i 's/^hours: .*/hours: 7/' settings.yml; rm tunnel_ssh.sh")
    sides.on_laptop("rm tunnel_sshuttle.sh; echo '# new' >>jupyterlab.sh; rm README.md")
    assert opened(sides) == (
        [
            f"plugins/kernels/mine.sh had changed on {LOGIN}: it is now the same here.",
            f"settings.yml had changed on {LOGIN}: it is now the same here.",
            f"tunnel_sshuttle.sh is no longer in your folder; on {LOGIN} it is out of the way now, in lab/.lab/removed",
        ],
        REFUSED,
    )
    assert "hours: 7\n" in (sides.here / "settings.yml").read_text()
    assert (sides.there / ".lab/removed/tunnel_sshuttle.sh").exists() and not (
        sides.there / "tunnel_sshuttle.sh"
    ).exists()
    assert (sides.there / "tunnel_ssh.sh").exists()
    assert not (sides.here / "result").exists() and (sides.there / "README.md").exists()
    assert opened(sides) == ([], REFUSED)


def test_open_stops_where_a_script_has_changed_on_both_sides(agreed, built):
    for name in ("settings.yml", "plugins/kernels/r.sh"):
        agreed.on_laptop(f"echo '# mine' >>{name}")
        agreed.on_login(f"echo '# theirs' >>{name}")
    done = agreed.run_lab("open", "--no-browser")
    assert (done.returncode, done.stdout, done.stderr) == (
        1, "", conflict("plugins/kernels/r.sh") + conflict("settings.yml")
    )  # fmt: skip
    assert agreed.jobs() == ""
    assert agreed.sync("--mine", "plugins", "--theirs", "settings.yml").returncode == 0
    assert opened(agreed) == ([], REFUSED)
