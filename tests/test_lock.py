"""requirements.txt, what the wheelhouse lacks, and requirements.lock: with small packages in wheelhouses made for it."""

import base64
import hashlib
import re
import subprocess
import zipfile

import pytest
from life import Life

PIP = "/cvmfs/soft.vcluster.example/wheelhouse/pip-*.whl"
EVERYTHING = ("jupyterlab", "nbconvert", "ipykernel")


def make_wheel(folder, name, version, *needs, note=""):
    """Put a wheel of nothing into a folder; jupyterlab brings the command that an environment is known by."""
    files = {
        f"{name}.py": f"# {note}\n",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if name == "jupyterlab":
        files[f"{name}-{version}.data/scripts/jupyter-lab"] = "#!/bin/sh\n"
    record = f"{name}-{version}.dist-info/RECORD"
    sums = {path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for path, text in files.items()}
    files[record] = "".join(f"{path},sha256={sums[path].decode().rstrip('=')},\n" for path in files) + f"{record},,\n"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            member = zipfile.ZipInfo(path)
            member.external_attr = 0o100755 << 16
            wheel.writestr(member, text)


@pytest.fixture(scope="module")
def wheelhouses(cluster, tmp_path_factory):
    """/srv/locked on the login node: two clusters' wheelhouses, one of some time later, and what PyPI has."""
    made = tmp_path_factory.mktemp("locked")
    places = {"one": "+one", "two": "", "later": "+one"}
    for place, local in places.items():
        for name in EVERYTHING:
            make_wheel(made / place, name, f"1.0{local}", *(["under"] if name == "nbconvert" else []))
        make_wheel(made / place, "under", "0.5", note=place)
        make_wheel(made / place, "shape", f"1.3{local}")
        if place != "later":
            make_wheel(made / place, "shape", f"1.2{local}")
    pypi = {"absent": ("2.0", "deep>=3"), "deep": ("3.1",), "shape": ("1.2",), "under": ("7.0",)}
    for name, (version, *needs) in pypi.items():
        make_wheel(made / "pypi" / name, name, version, *needs)
        (made / "pypi" / name / "index.html").write_text(f'<a href="{name}-{version}-py3-none-any.whl">{name}</a>')
    cluster.put("login", "root", made, "/srv/locked")
    links = f"chmod -R go+rX /srv/locked; for place in {' '.join(places)}; do ln -s {PIP} /srv/locked/$place/; done"
    cluster.run("login", "root", "bash", "-c", links, check=True)
    yield made
    cluster.run("login", "root", "rm", "-rf", "/srv/locked", check=True)


@pytest.fixture
def life(idle, pristine_folder, wheelhouses):
    """A folder of student's without an environment."""
    idle.run("login", "student", "bash", "-c", "rm -rf ~/locked*", check=True)
    return Life(
        idle,
        pristine_folder(
            "vcluster",
            name="lab",
            kernels=["python"],
            extensions=[],
            environment_path="$HOME/locked",
            packages=["shape"],
        ),
        "other",
    )


def on(place, words=""):
    """Return the command that builds where that wheelhouse is."""
    return f"PIP_FIND_LINKS=/srv/locked/{place} PIP_INDEX_URL=file:///srv/locked/pypi ./setup_env.sh {words}"


def installed(life):
    """Return {package: version} of the environment, without the tools."""
    shown = life.on_login("~/locked/bin/pip list --format=freeze").stdout
    found = dict(line.split("==") for line in shown.splitlines())
    return {name: version for name, version in found.items() if name not in ("pip", "setuptools", "wheel")}


def said(done):
    """Return our own lines of standard error."""
    return [
        line.removeprefix("setup_env.sh: ") for line in done.stderr.splitlines() if line.startswith("setup_env.sh: ")
    ]


LACKS = "The cluster's wheelhouse lacks: absent==2.0, under>=7 (there is 0.5)"
HOW = (
    "Nothing was installed. Check the names (on the Alliance's clusters, with: avail_wheels NAME). To have them fetched from "
    "PyPI, on a login node: ./setup_env.sh --fetch"
)


def test_what_the_wheelhouse_lacks_is_named_at_once_and_fetched_for_who_wants_it(life):
    life.cluster.write("login", "student", "other/requirements.txt", "# mine\nabsent == 2.0\nunder>=7  # new\n")
    refused = life.on_login(on("one"))
    assert (refused.returncode, said(refused)[-2:]) == (1, [LACKS, HOW])
    assert life.on_login("ls ~/locked ~/locked.builds/*").returncode != 0
    process = life.cluster.spawn("login", "student", "bash", "-c", f"cd other && {on('one')}", tty=True)
    process.wait_for(r"Fetch them from PyPI\?")
    process.type("y\r")
    # what these need in turn is not asked for again
    assert process.wait() == 0, process.output
    assert process.output.count("Fetch them") == 1
    assert {
        **dict.fromkeys(EVERYTHING, "1.0+one"),
        "shape": "1.3+one",
        "absent": "2.0",
        "deep": "3.1",
        "under": "7.0",
    } == (installed(life))
    # the next build has them, too, and so has who adds one of them
    rebuilt = life.on_login(on("one", "--rebuild"))
    assert (rebuilt.returncode, rebuilt.stderr) == (0, "")
    added = life.on_login(on("one", "--add python deep"))
    assert (added.returncode, added.stderr) == (0, "")


def lock_of(**versions):
    return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))


def test_a_second_cluster_gets_the_same_versions_or_hears_which_are_gone(life, wheelhouses):
    life.cluster.write("login", "student", "other/requirements.txt", "shape<1.3\n")
    first = life.on_login(on("one"))
    assert (first.returncode, first.stderr) == (0, "")
    assert "The versions are in requirements.lock" in first.stdout
    read = life.cluster.read
    header, _, lock = read("login", "student", "other/requirements.lock").partition("\n")
    assert header.startswith("# ")
    ours = "1.0  # +one"
    assert lock == lock_of(ipykernel=ours, jupyterlab=ours, nbconvert=ours, shape="1.2  # +one", under="0.5")
    names = [f"{name}-1.0+one" for name in sorted(EVERYTHING)] + ["shape-1.2+one", "under-0.5"]
    files = [wheelhouses / f"one/{name}-py3-none-any.whl" for name in names]
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    assert read("login", "student", "other/requirements.sha256") == "".join(sums)
    # what came since is not taken, on another cluster either
    life.on_login(
        "echo shape >requirements.txt; sed -i 's,^environment_path: .*,environment_path: $HOME/locked2,' settings.yml"
    )
    second = life.on_login(f"{on('two')} && mv ~/locked ~/locked1 && mv ~/locked2 ~/locked")
    assert second.returncode == 0, second.stderr
    assert said(second) == [
        "The same version, but another file than before, as requirements.sha256 shows: under-0.5-py3-none-any.whl"
    ]
    assert installed(life) == {**dict.fromkeys(EVERYTHING, "1.0"), "shape": "1.2", "under": "0.5"}
    assert read("login", "student", "other/requirements.lock") == f"{header}\n{lock}"
    # both clusters' files are kept
    assert {f"shape-1.2{local}-py3-none-any.whl" for local in ("", "+one")} <= set(
        read("login", "student", "other/requirements.sha256").split()
    )
    # where one is gone, that is said
    gone = life.on_login(f"mv ~/locked ~/locked3; {on('later')}")
    assert (gone.returncode, said(gone)[-2:]) == (
        1,
        [
            "The cluster's wheelhouse lacks: shape==1.2 (there is 1.3+one)",
            "Nothing was installed. To have them fetched from PyPI, on a login node: ./setup_env.sh --fetch. To do without the "
            "versions of requirements.lock, and take the newest: ./setup_env.sh --rebuild",
        ],
    )
    fetched = life.on_login(f"{on('later', '--fetch')} && readlink ~/locked2")
    assert fetched.returncode == 0, fetched.stderr
    assert read("login", "student", "other/requirements.lock") == f"{header}\n{lock}"
    newest = life.on_login(f"rm -r ~/locked2.wheels; {on('later', '--rebuild')}")
    assert newest.returncode == 0, newest.stderr
    assert "requirements.lock has changed: shape 1.2 > 1.3\n" in newest.stdout
    # a colleague's lock, edited on Windows
    life.on_login("sed -i 's/shape==1.3/shape==1.2/; s/$/\\r/' requirements.lock; echo 'shape >= 1' >requirements.txt")
    named = life.on_login("bash -p lib/login_node/check.sh environment")
    assert (named.returncode, named.stderr) == (
        3,
        "check.sh: /home/student/locked2 is not what settings.yml asks for: it lacks shape>=1; requirements.lock has shape==1.2. To "
        "bring it up to date: ./setup_env.sh\n",
    )
    again = life.on_login(f"{on('two')} && ~/locked2/bin/pip list")
    assert re.search(r"(?m)^shape +1\.2$", again.stdout), again.stderr
    # one that is no lock any more is refused before anything is done
    merged = life.on_login(f"sed -i '3i <<<<<<< HEAD' requirements.lock; echo under >>requirements.txt; {on('two')}")
    assert (merged.returncode, merged.stderr) == (
        64,
        "setup_env.sh: requirements.lock:3: “<<<<<<< HEAD” is not a package and its version, as setup_env.sh writes them; write for "
        "example numpy==1.26.4, or take the newest versions: ./setup_env.sh --rebuild\n",
    )


READ = """
    FOLDER=$1 PRINT=""; source "$1/lib/both/settings.sh"; load_settings; printf '%s\\n' "${SETTING_requirements:-none}"
"""


def words_of(folder, environment):
    return subprocess.run(["bash", "-euc", READ, "-", folder], env=environment, capture_output=True, text=True)


LINES = "# mine\n\n  numpy == 1.26.4   # exactly\nrequests [socks,use_chardet_on_py3] >=2, < 3\nPyYAML\ntomli;python_version < '3.11' and os_name == 'posix'\n\tnumpy!=1.*\n"
READS = (
    "numpy==1.26.4 requests[socks,use_chardet_on_py3]>=2,<3 PyYAML "
    "tomli;python_version%20<%20'3.11'%20and%20os_name%20==%20'posix' numpy!=1.*\n"
)


@pytest.mark.parametrize(
    "text",
    [
        LINES.encode(),
        LINES.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + LINES.encode(),
        # what PowerShell 5 writes by pip freeze > requirements.txt
        LINES.replace("\n", "\r\n").encode("utf-16"),
        LINES.rstrip().encode(),
    ],
    ids=["Linux", "Windows", "BOM", "UTF-16", "no end"],
)
def test_requirements_are_read_as_every_editor_writes_them(make_folder, environment, text):
    folder = make_folder("local")
    assert words_of(folder, environment).stdout == "none\n"
    (folder / "requirements.txt").write_bytes(text)
    done = words_of(folder, environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, READS, "")


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt",
        "--index-url=https://elsewhere.example",
        "numpy @ file:///home/conda/numpy",
        "git+https://github.com/a/b",
        "./mine",
        "numpy==1.26.4 \\",
        "numpy pandas",
        "numpy=1.26",
        "$(id)",
    ],
)
def test_a_line_of_requirements_that_names_no_package_is_refused(make_folder, environment, line):
    folder = make_folder("local")
    (folder / "requirements.txt").write_text(f"pandas\n{line}\n")
    done = words_of(folder, environment)
    assert (done.returncode, done.stdout, done.stderr) == (
        64,
        "",
        f"-: requirements.txt:2: “{line}” does not name a package; write one a line, for example numpy or pandas>=2. Options, "
        "addresses, files and hashes cannot stand here.\n",
    )
