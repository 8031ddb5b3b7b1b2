"""Keep which versions an environment has in requirements.lock, and their files' checksums in requirements.sha256.

lock.py FOLDER, by the environment's own Python. The pins are public versions, which a wheelhouse and PyPI have alike;
what this one adds (+computecanada) is a comment. The sums are in the form of sha256sum, from pip's reports of what it
has installed; they stay for each file of a version that is locked, since each cluster has wheels of its own. Prints two
lines: the versions in which the lock was another, and the files that had another sum.
"""

import json
import os
import re
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOCK, SUMS = "requirements.lock", "requirements.sha256"
HEADER = "# Made by ./setup_env.sh, which installs these versions again; --rebuild takes the newest."
OWN_SUMS = Path(sys.prefix, "passerelle.sha256")
"""The sums of all that was ever installed in this environment."""
TOOLS = {"pip", "setuptools", "wheel"}
"""What a virtual environment begins with; it is locked only where a package has asked for it."""


def plain(name):
    """Return a package's name as all spellings of it are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def of_file(name):
    """Return which package and public version a wheel or an archive of sources is, by its name."""
    words = name.split("-") if name.endswith(".whl") else re.sub(r"\.(tar\.\w+|zip)$", "", name).rsplit("-", 1)
    return (plain(words[0]), public(unquote(words[1]))) if len(words) > 1 else (name, "")


def public(version):
    """Return a version without what one place has added to it."""
    return version.partition("+")[0]


def read(path):
    """Return the lines of a text, none where there is none."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []


def sums_in(path):
    """Return {file: sum} of a text in the form of sha256sum."""
    found = (re.fullmatch(r"([0-9a-f]{64}) [ *]([\w.!+-]+)", line) for line in read(path))
    return {match[2]: match[1] for match in found if match}


def write(path, lines):
    """Put a text in its place in one step, unless it is there."""
    if read(path) != lines:
        new = path.with_name(path.name + ".new")
        new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        os.replace(new, path)


def take_reports():
    """Return {file: sum} of what pip has installed in this environment, and keep it there."""
    sums = sums_in(OWN_SUMS)
    for report in sorted(Path(sys.prefix).glob("passerelle.report-*")):
        for item in json.loads(report.read_text(encoding="utf-8"))["install"]:
            info = item["download_info"]
            if digest := info.get("archive_info", {}).get("hashes", {}).get("sha256"):
                sums[os.path.basename(unquote(urlsplit(info["url"]).path))] = digest
        report.unlink()
    write(OWN_SUMS, [f"{digest}  {name}" for name, digest in sorted(sums.items())])
    return sums


def installed(asked_for):
    """Yield name and version of each package; of the tools, those that are asked for."""
    # not what modules have on PYTHONPATH
    for package in distributions(path=[sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]):
        if (name := package.metadata["Name"]) and plain(name) not in TOOLS - asked_for:
            yield name, package.version


def differences(before, now):
    """Yield the versions in which two locks differ, each {name: version}; of none, nothing is another."""
    for name in sorted({**before, **now} if before else ()):
        if name not in now:
            yield f"-{name} {before[name]}"
        elif name not in before:
            yield f"+{name} {now[name]}"
        elif before[name] != now[name]:
            yield f"{name} {before[name]} > {now[name]}"


def main(folder):
    """Write both files, and what the environment itself keeps of them (other_pins in environment.sh)."""
    sums, kept = take_reports(), read(folder / LOCK)
    found = (re.fullmatch(r"([\w.-]+)==([\w.!+-]+)( *#.*)?", line) for line in kept)
    lines = {plain(match[1]): (match[2], match[0]) for match in found if match}
    before, now, pins = {name: version for name, (version, _) in lines.items()}, {}, {}
    for name, version in installed({of_file(file)[0] for file in sums}):
        pin, _, local = version.partition("+")
        now[plain(name)] = pin
        # what another place has written stays, as long as it is true
        same = before.get(plain(name)) == pin
        pins[plain(name)] = lines[plain(name)][1] if same else f"{name}=={pin}" + (f"  # +{local}" if local else "")
    comments = [line for line in kept if line.startswith("#")] or [HEADER]
    for path in (folder / LOCK, Path(sys.prefix, "passerelle.lock")):
        write(path, comments + [pins[name] for name in sorted(pins)])

    known = sums_in(folder / SUMS)
    locked = {file: digest for file, digest in {**known, **sums}.items() if of_file(file) in now.items()}
    write(folder / SUMS, [f"{digest}  {file}" for file, digest in sorted(locked.items())])
    print(", ".join(differences(before, now)))
    print(", ".join(sorted(file for file in locked if known.get(file, locked[file]) != locked[file])))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
