"""`lab sync`, and what `lab open` and `lab submit` send: no change is lost, and what comes from the cluster is data."""

import contextlib
import hashlib
import os
import re
import signal
import stat
import time
from pathlib import Path

import pytest
from conftest import TEMPLATE
from life import CODE, Life

LOGIN = "student@login.vcluster.example"
SAME = f"This folder and {LOGIN}:lab are identical.\n"
REFUSED = "lab: submit_session.sh failed on the cluster: see its messages above."
WAITS = r"(?m)^(Connecting to|\d+:\d\d (waiting for|copying (to|from))) .*\n"
"""What is said only, or again, on a busy machine."""
INTERRUPTED = "lab: Interrupted; no file is half-written, and the next ./lab sync resumes where this one stopped.\n"


def sent(names, size, login=LOGIN):
    """Return the line of what was sent."""
    return f"Copied to {login}: {names} ({size})\n"


def brought(names, size, login=LOGIN):
    """Return the line of what was brought."""
    return f"Copied from {login}: {names} ({size})\n"


def conflict(path):
    """Return the line that names a file which has changed on both sides."""
    return (
        f"lab: {path} differs between this computer and {LOGIN}; neither was overwritten. "
        f"To keep the one on this computer: ./lab sync --mine {path}. To take the one on {LOGIN}: ./lab sync --theirs {path}. "
        "What is replaced is kept in .lab/replaced, there or here.\n"
    )


def code_there(names, path):
    """Return the line that names what would run on the laptop."""
    return (
        f"lab: Changed on {LOGIN}, but not copied here, because this computer would run it or read it as settings: {names}. "
        f"To see the difference and accept it: ./lab sync --theirs {path}. "
        f"To overwrite it with yours: ./lab sync --mine {path}\n"
    )


def changed_there(path):
    """Return the line of a `lab open` or `lab submit` that would have overwritten something."""
    return (
        f"lab: {path} differs from the one on {LOGIN} (the difference is shown above); nothing was overwritten. "
        f"To keep the one on this computer: ./lab sync --mine {path}. To take the one on {LOGIN}: ./lab sync --theirs {path}\n"
    )


def not_copied(path):
    """Return the line of a file that is not what lab compared."""
    return (
        f"lab: {path} was not copied: it has just changed, cannot be read, or is a folder on one side. "
        "Nothing was overwritten; run ./lab sync again.\n"
    )


def clash(path, here, there):
    """Return the line of what is a file on one side and a folder on the other."""
    return f"lab: {path} is a {here} here and a {there} on {LOGIN}; neither was copied. Rename one of them and run ./lab sync again.\n"


def written_now(names):
    """Return the line of what a job has written while it was copied."""
    return f"Left for the next ./lab sync, because it was written on {LOGIN} while being copied: {names}\n"


class Sides(Life):
    """Somebody's life with a folder on both sides; `here` and `there` are the two, seen from this machine."""

    @property
    def home(self) -> Path:
        return self.cluster.state / "laptop-home/alice"

    @property
    def here(self) -> Path:
        return self.home / self.name

    @property
    def there(self) -> Path:
        return self.cluster.state / "cluster/home" / self.user / self.name

    def on_laptop(self, command):
        """Run one line of bash in the folder on the laptop."""
        line = f'cd "$1" && {command}'
        return self.cluster.run("laptop", "alice", "bash", "-c", line, "-", self.name, check=True)

    def write_here(self, path, text):
        """Make a file in the folder on the laptop."""
        self.cluster.write("laptop", "alice", f"{self.name}/{path}", text)

    def write_there(self, path, text):
        """Make a file in the folder on the cluster."""
        self.cluster.write("login", self.user, f"{self.name}/{path}", text)

    def sync(self, *words):
        """Run `lab sync`; return how it ended, without the lines that say that it connects or waits."""
        done = self.run_lab("sync", *words)
        done.stdout = re.sub(WAITS, "", done.stdout)
        return done

    def both_equal(self):
        assert everything(self.here) == everything(self.there)

    @contextlib.contextmanager
    def command_there(self, name, text):
        """Have another command come before the system's on the login node."""
        with self.in_front(**{name: text}):
            yield
        self.cluster.run("login", self.user, "rm", "-rf", "held", check=True)

    def traffic(self):
        """Return how many bytes have come to the laptop and left it."""
        lines = self.cluster.run("laptop", "root", "cat", "/proc/net/dev", check=True).stdout.splitlines()
        fields = [line.split(":")[1].split() for line in lines if ":" in line and not line.lstrip().startswith("lo:")]
        return sum(int(field[0]) + int(field[8]) for field in fields)


def everything(folder):
    """Return what is below a folder: type, executable or not, whole second of the last change, content."""
    found = {}
    for top, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".lab", "__pycache__")]
        for name in files:
            path = Path(top, name)
            status = path.lstat()
            what = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
            changed = 0 if path.is_symlink() else int(status.st_mtime)
            found[str(path.relative_to(folder))] = (stat.S_IFMT(status.st_mode), status.st_mode & 0o100, changed, what)
    found.pop("personal.yml", None)
    return found


def all_of_home(sides):
    """Return all that is in the laptop's home: mode and content of each file, without what lab itself keeps."""
    found = {}
    for top, folders, files in os.walk(sides.home):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in [*files, *folders]:
            path = Path(top, name)
            relative, status = str(path.relative_to(sides.home)), path.lstat()
            if re.fullmatch(
                r"\.ssh/(passerelle-.*|known_hosts.*)|lab/\.lab/(lock|synced-.*|sessions|template-asked)", relative
            ):
                continue
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[relative] = (status.st_mode, content)
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
    # tar has kept whole seconds, which lab does not trust while they last
    for run in (sides.on_laptop, sides.on_login):
        run("find . -type f -exec touch -d 2026-01-01 {} +")
    assert (done := sides.sync()).returncode == 0, done
    return sides


# --- one side -------------------------------------------------------------------------------------------------------


def test_the_first_time_the_folder_is_there_as_it_is_here_and_its_scripts_run(sides):
    sides.on_laptop(
        "mkdir -p .git .idea .vscode .IDEA env/bin plugins/.ipynb_checkpoints && touch .git/x .idea/workspace.xml "
        ".vscode/settings.json .IDEA/x env/pyvenv.cfg env/bin/python plugins/.ipynb_checkpoints/x.sh"
    )
    done = sides.sync()
    sides.on_laptop("rm -r .git .idea .vscode .IDEA env plugins/.ipynb_checkpoints")
    count = len(everything(sides.here)) - 5
    size = sum(
        path.lstat().st_size
        for path in sides.here.rglob("*")
        if not path.is_dir() and not {".lab", "__pycache__"} & set(path.parts) and path.name != "personal.yml"
    )
    names = f".copier-answers.yml, .gitattributes, .gitignore, LISEZMOI.md, README.md (+{count})"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Sending the folder to {LOGIN}:lab...\n" + sent(names, f"{size / 1000:.0f} kB")
    sides.both_equal()
    assert os.readlink(sides.there / ".copier-answers.yml") == "settings.yml"
    assert not (sides.there / "personal.yml").exists()
    assert sides.on_login("./start_salloc.sh --print").stdout.startswith("salloc ")
    for side in (sides.here, sides.there):
        assert stat.S_IMODE((side / ".lab").stat().st_mode) == 0o700
    assert (sides.here / ".lab/.gitignore").read_text() == "*\n"
    done = sides.sync()
    assert (done.returncode, done.stdout, done.stderr) == (0, SAME, "")


def test_what_has_changed_on_one_side_goes_to_the_other_whatever_its_name(agreed):
    agreed.on_laptop("printf more >>README.md; chmod +x LISEZMOI.md")
    agreed.write_here("my data/a b.csv", "1\n")
    agreed.write_there("résultats d’été/à garder (1).csv", "12\n")
    os.utime(agreed.there / "résultats d’été/à garder (1).csv", ns=(0, 1580000000_789000000))
    strange = 'résultats d’été/-l\'été\t\\n\nà "vue"\r\x1b[2J'
    agreed.write_there(strange, "123\n")
    done = agreed.sync()
    size = 2 + sum((agreed.here / name).stat().st_size for name in ("README.md", "LISEZMOI.md"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == sent("LISEZMOI.md, README.md, 'my data/a b.csv'", f"{size / 1000:.1f} kB") + brought(
        r"""$'résultats d’été/-l\x27été\x09\x5cn\x0aà "vue"\x0d\x1b[2J', 'résultats d’été/à garder (1).csv'""", "7 B"
    )
    agreed.both_equal()
    assert (agreed.here / "résultats d’été/à garder (1).csv").stat().st_mtime_ns == 1580000000_789000000
    assert (agreed.there / "LISEZMOI.md").stat().st_mode & 0o100
    assert agreed.sync().stdout == SAME


def test_files_that_are_alike_are_found_to_be_so_whatever_their_names_beside_one_that_cannot_be_read(agreed):
    names = [" before", "after ", "line\n", "%s%%", "\\t", "]", "*", "-a", "  ", "été"]
    for name in [*names, "g-unread"]:
        agreed.write_here(name, f"in {name}\n")
        agreed.write_there(name, f"in {name}\n")
    agreed.on_login("chmod 0 g-unread")
    done = agreed.sync()
    assert (done.returncode, "g-unread" in done.stdout + done.stderr) == (1, True)
    agreed.on_login("chmod 600 g-unread")
    assert agreed.sync().stdout == SAME


def test_an_edit_of_the_same_size_within_the_same_second_is_seen_on_either_side(agreed):
    agreed.write_here("a", "1\n")
    agreed.write_there("b", "1\n")
    # as on a file system that counts whole seconds, and within one that lasts until lab has looked
    now = int(time.time()) + 3600
    for text in ("1\n", "2\n"):
        for path in (agreed.here / "a", agreed.there / "b"):
            path.write_text(text)
            os.utime(path, (now, now))
        if text == "1\n":
            agreed.sync()
    done = agreed.sync()
    assert (done.returncode, done.stdout, done.stderr) == (0, sent("a", "2 B") + brought("b", "2 B"), "")
    agreed.both_equal()


def test_what_is_older_than_the_other_sides_is_sent_nevertheless(agreed):
    agreed.write_here("data", "1\n")
    agreed.sync()
    agreed.on_laptop("echo 22 >data; touch -d '3 years ago' data")
    done = agreed.sync()
    assert (done.returncode, done.stdout, done.stderr) == (0, sent("data", "3 B"), "")
    assert (agreed.there / "data").read_text() == "22\n"


def test_the_right_to_run_is_sent_and_given_back_and_never_brought(agreed):
    agreed.write_here("tool", "1\n")
    agreed.write_there("result", "1\n")
    agreed.write_there("program", "1\n")
    agreed.on_laptop("chmod 755 tool")
    agreed.on_login("chmod 755 result; chmod 4755 program")
    agreed.sync()
    assert stat.S_IMODE((agreed.there / "tool").stat().st_mode) == 0o755
    agreed.on_laptop("chmod 644 tool; chmod 600 result")
    agreed.on_login("chmod 6755 result; echo 2 >>result")
    done = agreed.sync()
    assert (done.returncode, done.stdout, done.stderr) == (0, sent("tool", "2 B") + brought("result", "4 B"), "")
    modes = {name: stat.S_IMODE((agreed.here / name).stat().st_mode) for name in ("result", "program")}
    assert modes == {"result": 0o600, "program": 0o644}
    assert stat.S_IMODE((agreed.there / "tool").stat().st_mode) == 0o644
    # it stays what it is there when its content is sent
    agreed.write_here("result", "three\n")
    assert agreed.sync().stdout == sent("result", "6 B")
    assert (agreed.there / "result").stat().st_mode & 0o111 == 0o111


def test_a_folder_that_was_copied_there_by_hand_is_taken_for_what_it_is(cluster, other_folder):
    sides = Sides(cluster, other_folder)
    # scp -r makes a file of a link
    sides.on_login(
        "rm .copier-answers.yml; cp settings.yml .copier-answers.yml; touch *.sh; mkdir .ipynb_checkpoints; "
        "touch .ipynb_checkpoints/x"
    )
    done = sides.sync()
    assert (done.returncode, done.stdout, done.stderr) == (0, SAME, "")


def test_results_that_have_not_changed_are_not_read_again(agreed):
    agreed.on_login("head -c 30000000 /dev/zero >result; touch -d yesterday result")
    assert agreed.sync().stdout == brought("result", "30 MB")
    # it could not be read now
    agreed.on_login("chmod 0 result")
    agreed.on_laptop("chmod 0 result")
    assert agreed.sync().stdout == SAME


def test_five_thousand_files_come_and_go_at_once(agreed):
    agreed.on_laptop("mkdir many && cd many && for i in {1..5000}; do echo $i >$i; done")
    agreed.on_login("mkdir more && cd more && for i in {1..5000}; do echo $i >$i; done")
    done = agreed.sync()
    some = sorted(map(str, range(1, 5001)))
    # of what comes, more names
    names = {"many": ", ".join(f"many/{name}" for name in some[:5]) + " (+4995)"}
    names["more"] = ", ".join(f"more/{name}" for name in some[:20]) + " (+4980)"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(sent(names["many"], "24 kB") + brought(names["more"], "24 kB"))
    agreed.both_equal()
    assert agreed.sync().stdout == SAME
    # nothing is lost with the memory
    agreed.on_laptop("rm .lab/synced-*")
    assert agreed.sync().stdout.endswith(SAME)


def test_startup_files_that_print_text_disturb_nothing(agreed):
    noisy = "sed -i '1i printf \"Welcome\\\\n passerelle\\\\t to us\"' ~/.bashrc ~/.bash_profile"
    agreed.cluster.run("login", "student", "bash", "-c", noisy, check=True)
    try:
        agreed.on_login("echo 1 >result")
        agreed.on_laptop("echo 2 >data")
        done = agreed.sync()
        assert (done.returncode, done.stdout, done.stderr) == (0, sent("data", "2 B") + brought("result", "2 B"), "")
    finally:
        agreed.cluster.run("login", "student", "sed", "-i", "1d", ".bashrc", ".bash_profile", check=True)
    agreed.both_equal()


@pytest.mark.parametrize("user", ["fish", "xonsh"])
def test_a_login_shell_that_is_not_bash(user, cluster, other_folder):
    sides = Sides(cluster, other_folder, user=user)
    cluster.run("login", user, "rm", "-rf", "lab", check=True)
    assert (done := sides.sync()).returncode == 0, done
    sides.on_login("printf '\\0\\377\\r\\n' >result")
    assert sides.sync().stdout == brought("result", "4 B", login=f"{user}@login.vcluster.example")
    sides.both_equal()


# --- both sides -----------------------------------------------------------------------------------------------------


@pytest.fixture
def torn(agreed):
    """Two files that have changed on both sides, one of them to the same size, and one that has on one side alone."""
    for path, mine, theirs in (("README.md", "mine\n", "and theirs\n"), ("my data/a b.csv", "1\n", "2\n")):
        agreed.write_here(path, mine)
        agreed.write_there(path, theirs)
    agreed.write_there("result", "42\n")
    return agreed


def test_what_has_changed_on_both_sides_is_named_and_nothing_is_overwritten(torn):
    # these are equal, whatever their times
    torn.write_here("same", "1\n")
    torn.write_there("same", "1\n")
    done = torn.sync()
    conflicts = conflict("README.md") + conflict("'my data/a b.csv'")
    assert (done.returncode, done.stdout, done.stderr) == (1, brought("result", "3 B"), conflicts)
    assert [(side / "README.md").read_text() for side in (torn.here, torn.there)] == ["mine\n", "and theirs\n"]
    assert [(side / "my data/a b.csv").read_text() for side in (torn.here, torn.there)] == ["1\n", "2\n"]
    # and again, for they are as they were
    again = torn.sync()
    assert (again.returncode, again.stdout, again.stderr) == (1, "", conflicts)


def kept(side, why="replaced"):
    """Return what a side keeps of what was replaced, or removed."""
    folder = side / ".lab" / why
    return {
        "/".join(path.relative_to(folder).parts[1:]): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


def test_the_user_chooses_for_each_file_whose_version_stays_and_the_other_is_kept(torn):
    done = torn.sync("--mine", "README.md", "--theirs=my data")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == sent("README.md", "5 B") + brought("'my data/a b.csv', result", "5 B")
    torn.both_equal()
    assert (torn.there / "README.md").read_text() == "mine\n"
    assert (torn.here / "my data/a b.csv").read_text() == "2\n"
    assert (kept(torn.here), kept(torn.there)) == ({"my data/a b.csv": "1\n"}, {"README.md": "and theirs\n"})
    assert torn.sync().stdout == SAME


def test_all_of_one_side_can_be_chosen_at_once_with_exceptions_and_new_results_come_nevertheless(torn):
    done = torn.sync("--mine", ".", "--theirs", "my data/a b.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == sent("README.md", "5 B") + brought("'my data/a b.csv', result", "5 B")
    torn.both_equal()


def test_a_choice_that_is_none_is_one_clear_line(agreed):
    for words, line in (
        (["--mine", "nothing"], "There is nothing called nothing to send from here."),
        (["--theirs", "no thing"], f"There is nothing called 'no thing' to bring from {LOGIN}."),
        (["--mine", "../x"], "../x is not in /home/alice/lab; give a path as lab shows it."),
        (["--mine"], "--mine needs the path of a file or folder within this one, for example --mine settings.yml"),
        (
            ["--theirs="],
            "--theirs needs the path of a file or folder within this one, for example --theirs settings.yml",
        ),
        (["README.md"], "“README.md” is not understood; see --help"),
    ):
        done = agreed.sync(*words)
        assert (done.returncode, done.stdout, done.stderr) == (64, "", f"lab: {line}\n")


def test_a_path_is_meant_from_where_the_person_stands(torn):
    torn.cluster.run("laptop", "alice", "bash", "-c", "cd 'lab/my data' && ../lab sync --theirs 'a b.csv'")
    assert (torn.here / "my data/a b.csv").read_text() == "2\n"
    torn.cluster.run("laptop", "alice", "bash", "-c", "cd lab/lib && ../lab sync --mine ../README.md")
    assert (torn.there / "README.md").read_text() == "mine\n"
    # who stands elsewhere means the folder
    torn.write_here("README.md", "mine again\n")
    torn.write_there("README.md", "theirs again\n")
    torn.cluster.run("laptop", "alice", "lab/lab", "sync", "--theirs", "README.md", check=True)
    assert (torn.here / "README.md").read_text() == "theirs again\n"


def test_what_is_deleted_on_one_side_stays_on_the_other_and_that_is_said_once(agreed):
    agreed.write_there("result", "42\n")
    agreed.sync()
    agreed.on_laptop("rm result")
    agreed.on_login("rm README.md LISEZMOI.md")
    done = agreed.sync()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"Deleted here, but kept on {LOGIN}: result. To get it back: ./lab sync --theirs result\n"
        f"Deleted on {LOGIN}, but kept here: LISEZMOI.md, README.md. To send it again: ./lab sync --mine LISEZMOI.md\n"
    )
    assert agreed.sync().stdout == SAME
    assert (agreed.there / "result").exists() and not (agreed.there / "README.md").exists()
    # one is wanted back, one comes anew, one is edited
    agreed.write_there("result", "43\n")
    agreed.write_here("LISEZMOI.md", "edited\n")
    done = agreed.sync("--mine", "README.md")
    assert done.stdout.startswith("Copied to") and done.stdout.endswith(brought("result", "3 B"))
    assert (agreed.here / "result").read_text() == "43\n"
    agreed.both_equal()


def test_what_is_deleted_here_is_put_aside_there_by_its_name(agreed):
    agreed.write_there("old/result 1", "42\n")
    agreed.sync()
    agreed.on_laptop("rm -r old")
    agreed.sync()
    done = agreed.sync("--mine", "old/result 1")
    moved = f"'old/result 1' is no longer in your folder; on {LOGIN} it was moved to lab/.lab/removed, where it stays for 30 days.\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, moved, "")
    assert kept(agreed.there, "removed") == {"old/result 1": "42\n"}
    assert agreed.sync().stdout == SAME


def test_what_was_replaced_or_put_aside_is_removed_after_thirty_days_and_nothing_else_is(agreed):
    # of the same second on both sides: equal content is not sent, so its time stays
    before = """mkdir precious; echo 1 >precious/file; touch -d 2026-02-01 precious/file
    for place in .lab/replaced .lab/removed; do
        mkdir -p $place/20260101-000000/sub $place/20260102-000000 $place/mine
        touch $place/{20260101-000000,20260102-000000,mine}/file
        chmod 500 $place/20260101-000000/sub
        ln -s $PWD/precious $place/20260103-000000
        touch -h -d '32 days ago' $place/20260101-000000 $place/20260103-000000 $place/mine
        touch -d '29 days ago' $place/20260102-000000
    done"""
    agreed.on_laptop(before)
    agreed.on_login(before)
    agreed.write_here("data", "1\n")
    assert (done := agreed.sync()).returncode == 0, done
    made, left = (
        {"20260101-000000", "20260102-000000", "20260103-000000", "mine"},
        {"20260102-000000", "20260103-000000", "mine"},
    )
    # other tests may have replaced something today
    assert made & set(os.listdir(agreed.here / ".lab/replaced")) == left
    for place in ("replaced", "removed"):
        wait_until(lambda place=place: made & set(os.listdir(agreed.there / ".lab" / place)) == left)
    agreed.both_equal()
    assert (agreed.here / "precious/file").exists()


# --- what comes is data ---------------------------------------------------------------------------------------------

CODE_THERE = {
    "lib/both/messages.py": "print('whoever writes here runs commands on the laptop')\n",
    "plugins/kernels/mine.sh": "rm -rf ~\n",
    "settings.yml": "project_name: evil\n",
    "sub/.envrc": "rm -rf ~\n",
    "tool.sh": "rm -rf ~\n",
}


def test_code_that_was_changed_there_is_named_and_not_brought_whatever_folder_is_chosen(agreed):
    before = everything(agreed.here)
    for path, text in CODE_THERE.items():
        agreed.write_there(path, text)
    named = code_there(", ".join(CODE_THERE), "lib/both/messages.py")
    done = agreed.sync()
    assert (done.returncode, done.stdout, done.stderr) == (1, "", named)
    assert everything(agreed.here) == before
    # results that are chosen come, and nothing with them
    agreed.write_there("sub/result", "42\n")
    done = agreed.sync("--theirs", ".")
    assert (done.returncode, done.stdout, done.stderr) == (1, brought("sub/result", "3 B"), named)
    agreed.write_there("sub/result", "43\n")
    done = agreed.sync("--theirs", "sub")
    assert (done.returncode, done.stdout, done.stderr) == (1, brought("sub/result", "3 B"), named)
    # ours is what stays
    done = agreed.sync("--mine", ".")
    assert done.returncode == 0, done.stderr
    assert {path: kept(agreed.there)[path] for path in ("lib/both/messages.py", "settings.yml")} == {
        path: CODE_THERE[path] for path in ("lib/both/messages.py", "settings.yml")
    }
    assert kept(agreed.there, "removed")["sub/.envrc"] == "rm -rf ~\n"
    agreed.both_equal()


def test_code_is_taken_by_its_own_name_after_its_difference_was_shown(agreed):
    mine = (agreed.here / "plugins/kernels/r.sh").read_text()
    (agreed.there / "plugins/kernels/r.sh").write_text(mine + "# theirs \x1b]0;evil\x07\n")
    agreed.write_there("tool.sh", "".join(f"# {number}\n" for number in range(100)))
    done = agreed.sync("--theirs", "plugins/kernels/r.sh", "tool.sh")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"+++ {LOGIN}:plugins/kernels/r.sh\n" in done.stdout
    assert "\n+# theirs \\x1b]0;evil\\x07\n" in done.stdout
    # all of it is shown, as all of it is taken
    assert all(f"\n+# {number}\n" in done.stdout for number in range(100))
    last = r"^Copied from \S+: plugins/kernels/r.sh, tool.sh \(\S+ k?B\)\n\Z"
    assert re.search(last, done.stdout, re.MULTILINE), done.stdout
    assert (agreed.here / "plugins/kernels/r.sh").read_text().endswith("# theirs \x1b]0;evil\x07\n")
    assert kept(agreed.here) == {"plugins/kernels/r.sh": mine}
    assert not (agreed.here / "tool.sh").stat().st_mode & 0o111
    assert agreed.sync().stdout == SAME


def test_at_a_terminal_code_is_taken_only_after_a_yes(agreed):
    agreed.write_there("tool.sh", "echo theirs\n")
    for answer, taken in (("\n", False), ("n\n", False), ("\x03", False), ("y\n", True)):
        process = agreed.lab("sync", "--theirs", "tool.sh")
        process.wait_for(rf"Take tool.sh from {LOGIN}, as shown above\? \[y\]es, or \[n\]o \(default\)")
        assert "\n+echo theirs\n" in process.output
        process.type(answer)
        status = process.wait()
        assert (agreed.here / "tool.sh").exists() == taken
        if answer == "\x03":
            assert status == 130 and process.output.endswith(INTERRUPTED)
        elif taken:
            assert status == 0 and brought("tool.sh", "12 B") in process.output
        else:
            assert status == 1 and process.output.endswith(f"lab: Left on {LOGIN}: tool.sh\n")


EVIL_MODULE = "open('/home/alice/evil', 'a').write(__name__ + ' ')\n"


def test_modules_that_are_brought_are_never_imported_by_lab(agreed):
    names = ("copy.py", "pathlib.py", "plumbum.py", "queue.py", "shlex.py", "subprocess.py")
    for name in names:
        agreed.write_there(name, EVIL_MODULE)
    assert agreed.sync().stdout == brought(", ".join(names), "312 B")
    for line in (
        "cd lab && ./lab",
        "cd lab && python3 lab",
        "lab/lab",
        "cd lab/lib && ../lab",
        "PYTHONPATH=lab lab/lab",
    ):
        agreed.write_here("data", line)
        done = agreed.cluster.run("laptop", "alice", "bash", "-c", f"{line} sync")
        assert (done.returncode, done.stderr) == (0, ""), line
        assert done.stdout.endswith(sent("data", f"{len(line)} B"))
    assert not (agreed.home / "evil").exists()


def test_links_are_not_followed_and_what_they_lead_to_is_not_overwritten(agreed):
    for run in (agreed.on_laptop, agreed.on_login):
        run("mkdir -p ../elsewhere; echo precious >../elsewhere/file; rm -f ../elsewhere/new")
    agreed.on_laptop(
        "ln -s ../elsewhere data; mkdir results; echo mine >results/file; echo mine >results/new; "
        "ln -s ../elsewhere/file alone"
    )
    agreed.on_login(
        "ln -s ../elsewhere results; mkdir data; echo theirs >data/file; echo theirs >data/new; echo theirs >alone; "
        "ln -s /etc/passwd secret"
    )
    done = agreed.sync()
    assert (done.returncode, done.stderr) == (0, "")
    left = "is a link {}, and links are not followed: what {} there{} is left out.\n"
    assert done.stdout.replace(SAME, "") == "".join((
        "alone " + left.format("here", LOGIN + " has", ""),
        "data " + left.format("here", LOGIN + " has", ""),
        "results " + left.format("on " + LOGIN, "is", " on this computer"),
    ))  # fmt: skip
    for side in (agreed.here, agreed.there):
        outside = side.parent / "elsewhere"
        assert (sorted(os.listdir(outside)), (outside / "file").read_text()) == (["file"], "precious\n")
    assert not os.path.lexists(agreed.here / "secret")


# --- a login node that means harm -----------------------------------------------------------------------------------

FIND = """#!/bin/bash
[[ " $* " == *" -printf "* ]] || exec /usr/bin/find "$@"
while IFS= read -r name; do
  printf -v name %b "$name"
  printf 'f:4:1700000000.5:4755/%s\\0' "$name"
done <~/names
/usr/bin/find "$@"
"""
OUTSIDE = (
    "../../.ssh/rc", "../x", "/etc/x", "..", "./x", "a//b", "sub/../../x", "personal.yml", "PERSONAL.yml",
    ".git/hooks/pre-commit", ".GIT/hooks/pre-commit", ".g\u200cit/config", ".lab/python/bin/python", ".vscode/tasks.json",
    ".idea/workspace.xml",
)  # fmt: skip
"""What no file of the folder can be called."""
RUNS = (
    ".envrc", "sub/.envrc", "LIB/laptop/lab/cli.py", "li\u200cb/x", "Settings.yml", "pyproject.toml", "sub/uv.toml",
    "jupyter_server_config.py", "run.BAT", "plugins/x",
    *(f"sub/x.{end}" for end in ("ksh", "csh", "command", "tool", "Terminal", "scr", "pif", "msi", "vbs", "js", "hta")),
)  # fmt: skip
"""What would run on some laptop, or be read there as configuration."""


def test_names_that_lead_elsewhere_or_to_what_runs_are_refused_in_one_line(agreed):
    before = all_of_home(agreed)
    names = [*OUTSIDE, *RUNS]
    agreed.cluster.write("login", "student", "names", "".join(f"{name}\n" for name in names))
    with agreed.command_there("find", FIND):
        done = agreed.sync()
        assert done.returncode == 1
        lines = done.stderr.splitlines()
        assert len(lines) == 2, done.stderr
        assert lines[0] == (
            "lab: ../../.ssh/rc, ../x, /etc/x, .., ./x (+10): left out, because not every computer can have files of these "
            "names; rename them."
        )
        assert lines[1] + "\n" == code_there(
            rf".envrc, LIB/laptop/lab/cli.py, Settings.yml, jupyter_server_config.py, $'li\xe2\x80\x8cb/x' (+{len(RUNS) - 5})",
            ".envrc",
        )
        assert done.stdout == ""
        assert all_of_home(agreed) == before
        # not by a choice either; a folder is none of code
        for name in OUTSIDE:
            done = agreed.sync("--theirs", name)
            assert done.returncode in (1, 64) and "Traceback" not in done.stderr, name
        assert all_of_home(agreed) == before


def test_names_with_control_characters_are_spelt_out(agreed):
    agreed.cluster.write("login", "student", "names", "line\\\\nbreak\nx\\x1b]52;c;ZXZpbA==\\x07\n")
    with agreed.command_there("find", FIND):
        done = agreed.sync()
    assert (done.returncode, done.stdout) == (1, "")
    assert "\x1b" not in done.stderr
    assert done.stderr == not_copied(r"'line\nbreak'") + not_copied(r"$'x\x1b]52;c;ZXZpbA==\x07'")


# another folder than the one that was asked for is served, or other words than rsync's own
RSYNC = """#!/bin/bash
[[ " $* " == *" --sender "* ]] || exec /usr/bin/rsync "$@"
cd ~/served
exec /usr/bin/rsync "${@:1:$#-1}" ./
"""
CHANGED = """#!/usr/bin/python3
import os, subprocess, sys
words = sys.argv[1:]
if "--sender" not in words:
    os.execv("/usr/bin/rsync", ["rsync", *words])
rsync = subprocess.Popen(["/usr/bin/rsync", *words], stdout=subprocess.PIPE, bufsize=0)
while piece := rsync.stdout.read(65536):
    os.write(1, piece.replace({old!r}, {new!r}))
"""


@pytest.mark.parametrize(
    "made",
    [
        "ln -s /home/alice/.ssh/id_ed25519 result",
        "ln -s ../../.. sub; echo evil >result",
        "mkdir result; echo evil >result/authorized_keys",
        "mkfifo result",
        "echo evil, and more than was told >result",
    ],
)
def test_what_is_served_in_place_of_a_result_is_not_taken(made, agreed):
    agreed.write_there("result", "42\n")
    agreed.write_there("sub/result", "42\n")
    agreed.on_login("mkdir -p sub/.ssh; echo 43 >sub/.ssh2")
    before = all_of_home(agreed)
    agreed.cluster.run("login", "student", "bash", "-c", f"rm -rf served; mkdir served; cd served; {made}", check=True)
    with agreed.command_there("rsync", RSYNC):
        done = agreed.sync()
    # a file that is longer may have been written meanwhile
    later = written_now("result") if made.endswith(">result") else ""
    assert (done.returncode, done.stdout) == (1, later)
    expected = code_there("sub/.ssh2", "sub/.ssh2") + ("" if later else not_copied("result")) + not_copied("sub/result")
    assert done.stderr == expected
    assert all_of_home(agreed) == before
    assert not (agreed.here / ".lab/incoming").exists()


def test_what_is_served_with_rights_comes_without_them(agreed):
    agreed.write_there("result", "42\n")
    line = "rm -rf served; mkdir served; cp -p lab/result served; chmod 6777 served/result"
    agreed.cluster.run("login", "student", "bash", "-c", line, check=True)
    with agreed.command_there("rsync", RSYNC):
        done = agreed.sync()
    assert (done.returncode, done.stdout, done.stderr) == (0, brought("result", "3 B"), "")
    assert stat.S_IMODE((agreed.here / "result").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("QQ/x", b"QQ", b".."),
        ("Qtmp/evil", b"Qtmp", b"/tmp"),
        ("result", b"result", b"rEsult"),
    ],
)
def test_names_that_were_not_asked_for_end_the_transfer(name, old, new, agreed):
    agreed.write_there(name, "42\n")
    before = all_of_home(agreed)
    with agreed.command_there("rsync", CHANGED.format(old=old, new=new)):
        done = agreed.sync()
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"lab: rsync could not copy between .*; see its messages above\.", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr
    assert all_of_home(agreed) == {**before, **incoming(agreed)}
    assert not (agreed.home / "x").exists()


def incoming(sides):
    """Return what an ended transfer may have left in .lab/incoming."""
    return {path: known for path, known in all_of_home(sides).items() if path.startswith("lab/.lab/incoming")}


@pytest.mark.parametrize("words", ["exit 0", "echo hello; cat >/dev/null", "printf '\\x1b]0;evil\\x07' >&2; exit 3"])
def test_an_rsync_there_that_is_none_ends_in_one_line(words, agreed):
    agreed.write_there("result", "42\n")
    with agreed.command_there("rsync", f"#!/bin/bash\n{words}\n"):
        done = agreed.sync()
    assert (done.returncode, done.stdout) == (1, "")
    assert "\x1b" not in done.stderr and "Traceback" not in done.stderr
    assert re.fullmatch(r"lab: rsync could not copy between .*; see its messages above\.", done.stderr.splitlines()[-1])


def test_an_rsync_there_that_does_not_end_when_all_is_carried_is_not_waited_for(agreed):
    # for as long as lab waits here
    agreed.on_laptop("sed -i 's/^RSYNC_SILENCE=.*/RSYNC_SILENCE=5/' lib/both/limits.sh")
    agreed.sync()
    agreed.write_there("result", "42\n")
    agreed.write_here("data", "42\n")
    try:
        with agreed.command_there("rsync", '#!/bin/bash\n/usr/bin/rsync "$@"\nexec sleep 12345 >&- 2>&-\n'):
            done = agreed.sync()
    finally:
        agreed.cluster.run("login", "student", "pkill", "-u", "student", "-f", "sleep 12345")
    assert (done.returncode, done.stdout, done.stderr) == (0, sent("data", "3 B") + brought("result", "3 B"), "")
    agreed.both_equal()


# --- trouble --------------------------------------------------------------------------------------------------------

BIG = "head -c 50000000 /dev/urandom >big; cp big big2; touch -d yesterday big big2"
# lets so much through, and no more while there is ~/held
HELD = """#!/usr/bin/python3
import os, pathlib, subprocess, sys, threading, time
sends = "--sender" in sys.argv
pipes = {"stdout" if sends else "stdin": subprocess.PIPE}
rsync = subprocess.Popen(["/usr/bin/rsync", *sys.argv[1:]], bufsize=0, **pipes)
source, target = (rsync.stdout.fileno(), 1) if sends else (0, rsync.stdin.fileno())
def carry():
    home, left = pathlib.Path.home(), LIMIT
    while piece := os.read(source, 65536):
        left -= len(piece)
        while left < 0 and (home / "held").exists():
            (home / "reached").touch()
            time.sleep(0.05)
        try:
            while piece:
                piece = piece[os.write(target, piece):]
        except OSError:
            os._exit(1)
    os.close(target)
carrying = threading.Thread(target=carry, daemon=True)
carrying.start()
if sends:
    carrying.join()
os._exit(rsync.wait())
"""


@contextlib.contextmanager
def stopped_in_the_middle(sides, receiver, tty=False, files=BIG, limit=20_000_000):
    """Start `lab sync` with large files, and stop it when it has carried a part of the first; yield the process."""
    (sides.on_laptop if receiver == "there" else sides.on_login)(files)
    with sides.command_there("rsync", HELD.replace("LIMIT", str(limit))):
        sides.cluster.run("login", "student", "bash", "-c", "touch held; rm -f reached", check=True)
        process = sides.lab("sync", tty=tty)
        wait_until(lambda: (sides.there.parent / "reached").exists())
        yield process


def wait_until(condition, seconds=60):
    """Wait until a function returns something; return that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def no_rsync_runs(sides):
    """Return whether no rsync of the laptop's user is left."""
    return sides.cluster.run("laptop", "alice", "pgrep", "-u", "alice", "rsync").returncode == 1


@pytest.mark.parametrize("receiver", ["there", "here"])
@pytest.mark.parametrize("how", ["killed", "Ctrl-C"])
def test_after_an_end_in_the_middle_nothing_is_half_written_and_the_next_sync_goes_on(how, receiver, agreed):
    to = getattr(agreed, receiver)
    with stopped_in_the_middle(agreed, receiver, tty=how == "Ctrl-C") as process:
        if how == "killed":
            process.send_signal(signal.SIGKILL)
            process.wait()
        else:
            process.type("\x03")
            assert process.wait() == 130
            assert process.output.endswith(INTERRUPTED) and "Traceback" not in process.output
        wait_until(lambda: no_rsync_runs(agreed))
    assert not (to / "big").exists() and not (to / "big2").exists()
    # the login node's part ends when it notices
    wait_until(lambda: agreed.cluster.run("login", "student", "pgrep", "-u", "student", "rsync").returncode == 1)
    before = agreed.traffic()
    done = agreed.sync()
    passed = agreed.traffic() - before
    assert (done.returncode, done.stderr) == (0, "")
    line = (sent if receiver == "there" else brought)("big, big2", "100 MB")
    assert done.stdout.endswith(line)
    agreed.both_equal()
    # of the first file's 50 MB, a good part had passed
    assert passed < 90_000_000
    assert not list(to.rglob("*/.rsync-partial")) and not (to / ".rsync-partial").exists()


@pytest.mark.parametrize("receiver", ["there", "here"])
def test_what_changes_in_the_meantime_is_not_overwritten(receiver, agreed):
    to = getattr(agreed, receiver)
    change = "echo changed >README.md; touch -d 2026-02-01 README.md"
    with stopped_in_the_middle(agreed, receiver, files=change, limit=0) as process:
        (to / "README.md").write_text("changed, too\n")
        (agreed.there.parent / "held").unlink()
        assert process.wait() == 1
    assert not_copied("README.md") in process.output
    assert (to / "README.md").read_text() == "changed, too\n"
    done = agreed.sync()
    assert (done.returncode, done.stderr) == (1, conflict("README.md"))


def test_what_a_job_writes_in_the_meantime_is_left_for_the_next_time_and_no_trouble(agreed):
    made = "mkdir -p results/x; cd results/x; echo 1 >state; echo 2 >log; echo half >.state.part; echo '[]' >a.ipynb.journal"
    with stopped_in_the_middle(agreed, "here", files=made, limit=0) as process:
        agreed.write_there("results/x/state", "longer\n")
        (agreed.there.parent / "held").unlink()
        assert process.wait() == 0, process.output
    assert process.output.endswith(brought("results/x/log", "2 B") + written_now("results/x/state"))
    assert "lab:" not in process.output
    assert sorted(path.name for path in (agreed.here / "results/x").iterdir()) == ["log"]
    done = agreed.sync()
    assert (done.returncode, done.stdout, done.stderr) == (0, brought("results/x/state", "7 B"), "")


def test_a_connection_that_is_lost_in_the_middle_is_made_anew_and_the_transfer_goes_on(agreed):
    with stopped_in_the_middle(agreed, "here") as process:
        agreed.cluster.run("laptop", "alice", "kill", agreed.master(), check=True)
        (agreed.there.parent / "held").unlink()
        assert process.wait() == 0, process.output
    assert process.output.endswith(brought("big, big2", "100 MB"))
    agreed.both_equal()


def test_two_labs_at_once_carry_one_after_the_other(agreed):
    with stopped_in_the_middle(agreed, "here") as process:
        second = agreed.lab("sync", tty=False)
        second.wait_for(r"waiting for another lab to finish copying this folder")
        (agreed.there.parent / "held").unlink()
        assert (process.wait(), second.wait()) == (0, 0)
    assert process.output.endswith(brought("big, big2", "100 MB"))
    assert second.output.endswith(SAME)
    agreed.both_equal()


def test_what_cannot_be_carried_is_named_and_all_else_goes_on(agreed):
    agreed.on_laptop(
        "echo 1 >secret; chmod 0 secret; mkdir locked clash; echo 1 >locked/x; echo 1 >clash/x; touch $'th\\xe9'"
    )
    agreed.on_login("echo 1 >secret2; chmod 0 secret2; mkdir -m 500 locked; echo 1 >clash; echo 2 >result")
    done = agreed.sync()
    agreed.on_login("chmod 700 locked")
    assert (done.returncode, done.stdout) == (1, brought("result", "2 B"))
    assert sorted(done.stderr.splitlines(keepends=True)) == sorted([
        "lab: $'th\\xe9': left out, because not every computer can have files of these names; rename them.\n",
        clash("clash", "folder", "file"),
        *map(not_copied, ["secret2", "locked/x", "secret"]),
    ])  # fmt: skip
    assert [(side / "clash").is_dir() for side in (agreed.here, agreed.there)] == [True, False]


def test_a_folder_in_the_place_of_which_there_is_a_file_is_named_until_one_of_them_is_renamed(agreed):
    agreed.on_laptop("mkdir data results; echo 1 >data/a; echo 1 >results/a")
    agreed.sync()
    agreed.on_laptop("rm -r data; echo 22 >data")
    agreed.on_login("rm -r results; echo 22 >results")
    said = clash("data", "file", "folder") + clash("results", "folder", "file")
    # whatever is chosen: neither can be put in the other's place
    for words in ([], ["--mine", "data", "--theirs", "results"], ["--theirs", "data/a", "--mine", "results/a"]):
        done = agreed.sync(*words)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", said), words
    agreed.on_laptop("mv data data.csv; mv results old")
    assert (done := agreed.sync()).returncode == 0, done
    assert agreed.sync("--theirs", "data").stdout == brought("data/a", "2 B")
    agreed.both_equal()
    # no folder is made in the place of a link that has not been followed
    agreed.on_laptop("mv data elsewhere; ln -s elsewhere data")
    done = agreed.sync("--theirs", "data")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("data is a link here")


def small_disk(sides, host, user, place, size):
    """Put a small disk in the place of a folder."""
    number = sides.cluster.run(host, user, "id", "-u", check=True).stdout.strip()
    options = f"size={size},uid={number},mode=755"
    sides.cluster.run(host, "root", "mount", "-t", "tmpfs", "-o", options, "tmpfs", place, check=True)


def test_a_full_disk_on_the_cluster_is_one_clear_line_and_nothing_is_half_written(agreed):
    place = f"/home/student/{agreed.name}"
    small_disk(agreed, "login", "student", place, "3m")
    try:
        agreed.on_login("mkdir lib && touch settings.yml")
        agreed.on_laptop("head -c 5000000 /dev/urandom >big")
        done = agreed.sync("--mine", ".")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"lab: The folder could not be written on {LOGIN}: is there space left? (see diskusage_report there)\n"
        )
        assert agreed.on_login("ls").stdout.count("big") == 0
    finally:
        agreed.cluster.run("login", "root", "umount", place, check=True)


def test_a_full_disk_here_is_said_before_anything_is_brought(agreed):
    agreed.on_login("head -c 9000000 /dev/urandom >big")
    agreed.cluster.run("laptop", "alice", "cp", "-a", "lab", "lab.kept", check=True)
    small_disk(agreed, "laptop", "alice", "/home/alice/lab", "8m")
    try:
        agreed.cluster.run("laptop", "alice", "bash", "-c", "cp -a lab.kept/. lab/", check=True)
        done = agreed.sync()
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(
            r"lab: Copying needs 9\.0 MB, but only \S+ MB is free on this computer\. Make room, or keep large files out of the "
            r"folder \(a link is not followed\)\.\n",
            done.stderr,
        )
        assert agreed.cluster.run("laptop", "alice", "ls", "lab/big").returncode != 0
    finally:
        agreed.cluster.run("laptop", "root", "umount", "/home/alice/lab", check=True)
        agreed.cluster.run("laptop", "alice", "rm", "-rf", "lab.kept", check=True)


def test_where_there_is_no_rsync_one_line_says_so(agreed):
    agreed.write_here("data", "1\n")
    # a PATH without it
    line = "mkdir -p few; for tool in bash env ssh uname; do ln -sf $(command -v $tool) few/; done"
    agreed.cluster.run("laptop", "alice", "bash", "-c", line, check=True)
    done = agreed.cluster.run("laptop", "alice", "env", "PATH=/opt/laptop/bin:/home/alice/few", "lab/lab", "sync")
    assert (done.returncode, done.stderr) == (
        1, "lab: lab copies files with rsync, and this computer has none; install the package rsync (on Windows, run lab in WSL).\n"
    )  # fmt: skip
    agreed.cluster.run("login", "root", "mv", "/usr/bin/rsync", "/root/", check=True)
    try:
        for change, name in ((agreed.write_here, "data"), (agreed.write_there, "result")):
            change(name, "12\n")
            if name == "result":
                agreed.on_laptop("rm data")
            done = agreed.sync()
            assert (done.returncode, done.stdout, done.stderr) == (
                1,
                "",
                f"lab: lab copies files with rsync, and {LOGIN} has none; ask the cluster's support to install it, "
                "or copy the folder there with scp.\n",
            )
    finally:
        agreed.cluster.run("login", "root", "mv", "/root/rsync", "/usr/bin/", check=True)
        agreed.cluster.run("laptop", "alice", "rm", "-r", "few", check=True)


def test_an_rsync_here_that_would_write_outside_brings_nothing_and_one_without_partial_dir_sends(agreed):
    agreed.write_there("result", "42\n")
    agreed.write_here("data", "42\n")
    old = """#!/bin/bash
if [[ $1 == --version ]]; then echo "rsync  version 2.6.9  protocol version 29"; exit; fi
if [[ $1 == --help ]]; then echo "usage: rsync [--partial]"; exit; fi
[[ " $* " != *partial-dir* ]] || exit 1
exec /usr/bin/rsync "$@"
"""
    agreed.cluster.write("laptop", "alice", "old/rsync", old)
    agreed.cluster.run("laptop", "alice", "chmod", "+x", "old/rsync", check=True)
    done = agreed.cluster.run("laptop", "alice", "bash", "-c", "PATH=~/old:$PATH lab/lab sync")
    agreed.cluster.run("laptop", "alice", "rm", "-r", "old", check=True)
    assert (done.returncode, done.stderr) == (
        1,
        "lab: Nothing is brought: rsync 2.6.9 on this computer would let the cluster write outside this folder. Install a "
        "newer one (on a Mac: brew install rsync).\n",
    )
    assert (agreed.there / "data").read_text() == "42\n" and not (agreed.here / "result").exists()
    # what it has sent is known
    assert agreed.sync().stdout == brought("result", "3 B")


def test_a_folder_of_that_name_that_is_another_one_is_left_alone(sides):
    sides.cluster.write("login", "student", "lab/thesis.tex", "x")
    done = sides.sync()
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"lab: ~/lab on {LOGIN} is not a Passerelle folder; rename it there, or change project_name in settings.yml.\n",
    )
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


# --- lab open and lab submit ----------------------------------------------------------------------------------------


def opened(sides):
    """Run `lab open` for a job that Slurm refuses; return what it says before, and its last word."""
    done = sides.run_lab("open", "--no-browser", "--account=def-nobody")
    assert done.returncode == 1
    shown = re.sub(WAITS, "", done.stdout).splitlines()
    lines = [line for line in shown if not line.startswith("submit_session.sh: ")]
    return lines, done.stderr.splitlines()[-1]


def test_open_sends_the_scripts_and_brings_nothing(sides, built):
    sides.write_here("data/1.csv", "1\n")
    assert opened(sides) == ([f"Sending the folder to {LOGIN}:lab..."], REFUSED)
    sides.both_equal()
    # nothing has changed: nothing is said
    assert opened(sides) == ([], REFUSED)
    sides.write_there("result", "42\n")
    sides.write_there("data/1.csv", "2\n")
    sides.write_there("plugins/.ipynb_checkpoints/x-checkpoint.sh", "x")
    sides.on_login("rm tunnel_ssh.sh")
    sides.on_laptop("rm tunnel_sshuttle.sh; echo '# new' >>jupyterlab.sh; rm README.md")
    aside = f"tunnel_sshuttle.sh is no longer in your folder; on {LOGIN} it was moved to lab/.lab/removed, where it stays for 30 days."
    assert opened(sides) == ([aside], REFUSED)
    assert list(kept(sides.there, "removed")) == ["tunnel_sshuttle.sh"]
    assert not (sides.there / "tunnel_sshuttle.sh").exists()
    assert (sides.there / "tunnel_ssh.sh").exists()
    assert (sides.there / "jupyterlab.sh").read_text().endswith("# new\n")
    assert not (sides.here / "result").exists() and (sides.there / "README.md").exists()
    assert [(side / "data/1.csv").read_text() for side in (sides.here, sides.there)] == ["1\n", "2\n"]
    assert opened(sides) == ([], REFUSED)


def test_requirements_go_with_open_and_the_lock_comes_only_when_it_is_taken(agreed, built):
    lock_there = (
        f"The versions of the environment on {LOGIN} are not here yet. To see them and keep them in git: ./lab sync --theirs "
        "requirements.lock\n"
    )
    agreed.write_there("requirements.lock", "numpy==1.26.4\n")
    agreed.write_there("requirements.sha256", "0123  numpy\n")
    # the sums wait for what they are of
    done = agreed.sync()
    assert (done.returncode, done.stdout, done.stderr) == (0, lock_there, "")
    assert not (agreed.here / "requirements.sha256").exists()
    taken = agreed.sync("--theirs", "requirements.lock")
    assert (taken.returncode, taken.stderr) == (0, "")
    assert taken.stdout.endswith("+numpy==1.26.4\n" + brought("requirements.lock, requirements.sha256", "26 B"))
    agreed.both_equal()
    # a build there makes another one: open leaves that to sync, and sends what is asked for
    agreed.write_there("requirements.lock", "numpy==2.1.0\n")
    agreed.write_here("requirements.txt", "numpy\n")
    assert opened(agreed) == ([], REFUSED)
    assert (agreed.there / "requirements.txt").read_text() == "numpy\n"
    assert (agreed.there / "requirements.lock").read_text() == "numpy==2.1.0\n"
    # a colleague's, from git, goes with what it was made for
    assert agreed.sync("--theirs", "requirements.lock").returncode == 0
    agreed.write_here("requirements.txt", "numpy\npandas\n")
    agreed.write_here("requirements.lock", "numpy==2.1.0\npandas==2.0\n")
    assert opened(agreed) == ([], REFUSED)
    agreed.both_equal()
    # what pip would take from elsewhere is not brought in silence
    agreed.write_there("requirements.txt", "--index-url=https://elsewhere.example\n")
    done = agreed.sync()
    assert (done.returncode, done.stderr) == (1, code_there("requirements.txt", "requirements.txt"))


def test_a_script_from_windows_is_not_sent_and_all_else_works_with_its_ends_of_lines(agreed, built):
    spoil = "sed -i 's/$/\\r/' start_salloc.sh settings.yml plugins/clusters/other.yml"
    agreed.on_laptop(spoil)
    agreed.write_here("requirements.txt", "numpy\r\n")
    refused = agreed.sync()
    words = (
        "lab: Not sent, because an editor on Windows has changed their line endings, and no shell can run them: "
        "start_salloc.sh. Save them with the line endings of Unix (LF), then run this again.\n"
    )
    assert (refused.returncode, refused.stderr) == (1, words)
    # it would not have run
    assert agreed.on_login("cp start_salloc.sh x.sh && sed -i 's/$/\\r/' x.sh && ./x.sh --help").returncode != 0
    agreed.on_login("rm x.sh")
    agreed.on_laptop("sed -i 's/\\r$//' start_salloc.sh")
    assert agreed.sync().returncode == 0
    assert b"\r\n" in (agreed.there / "settings.yml").read_bytes()
    assert opened(agreed) == ([], REFUSED)
    assert agreed.on_login("./start_salloc.sh --print").stdout.startswith("salloc --time=1:00:00 ")


def test_a_script_that_sync_has_said_to_be_gone_is_out_of_the_way_with_the_next_open(agreed, built):
    agreed.on_laptop("rm tunnel_sshuttle.sh")
    assert agreed.sync().stdout.startswith(f"Deleted here, but kept on {LOGIN}: tunnel_sshuttle.sh.")
    aside = f"tunnel_sshuttle.sh is no longer in your folder; on {LOGIN} it was moved to lab/.lab/removed, where it stays for 30 days."
    assert opened(agreed) == ([aside], REFUSED)


def test_open_goes_on_with_a_folder_that_is_not_all_there(sides, built):
    sides.write_here("data/1.csv", "1\n")
    opened(sides)
    # as after an end in the middle of the first time
    sides.on_login("rm -r data submit_session.sh plugins")
    sides.on_laptop("rm .lab/synced-*")
    assert opened(sides) == ([], REFUSED)
    sides.both_equal()


def test_open_shows_what_was_changed_there_and_the_user_chooses(agreed, built):
    agreed.on_login("sed -i 's/^hours: .*/hours: 7/' settings.yml; printf '# \\033[2Jtheirs\\n' >>plugins/kernels/r.sh")
    agreed.write_there("plugins/kernels/mine.sh", "".join(f"# {number}\n" for number in range(100)))
    agreed.on_laptop("echo '# mine' >>plugins/kernels/r.sh")
    before, theirs = all_of_home(agreed), everything(agreed.there)
    for word in ("open", "submit"):
        agreed.write_here("a.ipynb", "{}")
        done = agreed.run_lab(*([word, "--no-browser"] if word == "open" else [word, "a.ipynb"]))
        (agreed.here / "a.ipynb").unlink()
        assert done.returncode == 1
        names = ["plugins/kernels/r.sh", "plugins/kernels/mine.sh", "settings.yml"]
        assert done.stderr == "".join(map(changed_there, names))
        for line in ("-hours: 1", "+hours: 7", "-# mine", "+# \\x1b[2Jtheirs", "+# 0", f"+++ {LOGIN}:settings.yml"):
            assert line in done.stdout.splitlines(), done.stdout
        assert "+# 99" not in done.stdout.splitlines() and "\x1b" not in done.stdout
        assert (all_of_home(agreed), everything(agreed.there)) == (before | incoming(agreed), theirs)
    assert agreed.jobs() == ""
    done = agreed.sync("--mine", "plugins", "--theirs", "settings.yml")
    assert done.returncode == 0, done.stderr
    assert "hours: 7\n" in (agreed.here / "settings.yml").read_text()
    assert kept(agreed.there)["plugins/kernels/r.sh"].endswith("theirs\n")
    assert "plugins/kernels/mine.sh" in kept(agreed.there, "removed")
    assert opened(agreed) == ([], REFUSED)


def test_submit_does_not_run_another_notebook_than_the_one_here(agreed, built):
    agreed.write_here("work/a.ipynb", '{"mine": 1}\n')
    agreed.write_here("work/b.ipynb", "{}\n")
    agreed.sync()
    agreed.write_there("work/a.ipynb", '{"theirs": 1}\n')
    agreed.write_there("work/b.ipynb", '{"theirs": 1}\n')
    agreed.write_there("result", "42\n")
    done = agreed.run_lab("submit", "work/a.ipynb")
    assert (done.returncode, done.stderr) == (1, changed_there("work/a.ipynb"))
    assert done.stdout.splitlines()[-2:] == ['-{"mine": 1}', '+{"theirs": 1}']
    assert agreed.jobs() == ""
    # a notebook that is not submitted, and a result, stay what they are on either side
    assert agreed.sync("--mine", "work/a.ipynb").returncode == 0
    agreed.write_there("work/b.ipynb", '{"theirs": 2}\n')
    line = "cd lab/work && ../lab submit a.ipynb"
    done = agreed.cluster.run("laptop", "alice", "bash", "-c", line)
    assert done.stdout.startswith("submit_notebook.sh: work/a.ipynb is not a Jupyter notebook"), done
    assert (agreed.there / "work/b.ipynb").read_text() == '{"theirs": 2}\n'


# --- what is left out -----------------------------------------------------------------------------------------------


def test_git_leaves_out_what_lab_leaves_out():
    source = (TEMPLATE / "lib/laptop/lab/paths.py").read_text()
    left_out = set(re.findall(r'"([^"]+)"', source.split("LEFT_OUT = (")[1].split("\n)")[0].split("# editors")[0]))
    left_out |= set(re.findall(r'"([^"]+)"', source.split("# editors")[1].split(")  # fmt")[0].split("\n", 1)[1]))
    ignored = [
        line.rstrip("/") for line in (TEMPLATE / ".gitignore").read_text().splitlines() if line[:1] not in ("#", "")
    ]
    # what nodes print stays on the cluster's side of git, and comes with sync; git never has .git
    assert sorted({*ignored} - {"*.out", "personal.yml"}) == sorted(left_out - {".git"})
