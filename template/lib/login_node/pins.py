"""Compare what is asked for with requirements.lock, and with what there is, by the environment's own Python.

pins.py keep LOCK WANTED...: prints those lines of LOCK that nothing of WANTED contradicts.
pins.py lacking LOCK FETCHED WANTED...: prints which of both neither the wheelhouse has nor the folder FETCHED, each
with the versions that there are, after a tab.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

# pip is there, and packaging need not be
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.tags import sys_tags
from pip._vendor.packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from pip._vendor.packaging.version import InvalidVersion, Version


def pins_in(lock):
    """Return the lines of a lock as Requirements."""
    lines = Path(lock).read_text(encoding="utf-8").splitlines() if lock else []
    return [Requirement(pin) for line in lines if (pin := line.partition("#")[0].strip())]


def keep(lock, wanted):
    """Print the pins that are among the versions that are wanted."""
    for pin in pins_in(lock):
        (version,) = (specifier.version for specifier in pin.specifier)
        if all(
            want.specifier.contains(version, prereleases=True)
            for want in wanted
            if canonicalize_name(want.name) == canonicalize_name(pin.name)
        ):
            print(pin)


def folders():
    """Yield the folders in which pip looks for wheels, as its settings say."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    for value in re.findall(r"(?m)^(?:global|install|:env:)\.find-links=(.*)$", listed):
        for place in ast.literal_eval(value).split():
            # an address elsewhere is not looked at
            yield Path(unquote(urlsplit(place).path) if place.startswith("file:") else place)


def wheels(fetched):
    """Return {name: {Version, ...}} of the wheels that this Python can use."""
    found, tags = {}, set(sys_tags())
    for folder in [*folders(), Path(fetched)]:
        for path in folder.glob("*.whl"):
            try:
                name, version, _, of_file = parse_wheel_filename(path.name)
            except (InvalidWheelFilename, InvalidVersion):
                continue
            if not tags.isdisjoint(of_file):
                found.setdefault(name, set()).add(Version(str(version)))
    return found


def lacking(lock, wanted, fetched):
    """Print what there is no wheel of."""
    there = wheels(fetched)
    # what is asked for in two places is said once
    for want in dict.fromkeys([*wanted, *pins_in(lock)]):
        versions = sorted(there.get(canonicalize_name(want.name), ()))
        if not any(want.specifier.contains(version, prereleases=None) for version in versions):
            print(f"{str(want).replace(' ', '')}\t{', '.join(map(str, versions[-3:]))}")


if __name__ == "__main__":
    command, lock, *words = sys.argv[1:]
    fetched = [words.pop(0)] if command == "lacking" else []
    wanted = [want for want in map(Requirement, words) if not want.marker or want.marker.evaluate({"extra": ""})]
    {"keep": keep, "lacking": lacking}[command](lock, wanted, *fetched)
