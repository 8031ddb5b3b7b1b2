"""Reads the folder's flat YAML files as lib/settings.sh does: ``name: value`` or ``name: [a, b]``, one a line."""

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2]

_WORD = r"[A-Za-z0-9/$][A-Za-z0-9_./:+@%=<>!~*-]*"
_ONE = re.compile(rf"([a-z][a-z0-9_]*): +({_WORD}) *( #.*)?")
_LIST = re.compile(rf"([a-z][a-z0-9_]*): +\[ *({_WORD}(?: *, *{_WORD})*)? *\] *( #.*)?")
# Copier's own lines have an underscore in front
_IGNORED = re.compile(r""" *(#.*)?|_[a-z_]+: "([^"\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*" *""")
# YAML 1.1 reads these words as true, false or nothing
_YAML_WORDS = {"yes", "no", "y", "n", "true", "false", "on", "off", "null"}
# what YAML refuses or takes for the end of a line, even in a comment
_STRANGE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")


class SettingsError(Exception):
    """A line that cannot be read; the text says which file and line, and what to write instead."""


def read_rules(folder=FOLDER):
    """Answers lib/rules.yml as a dictionary: a name's regular expression, NAME_example, and "lists".

    Raises OSError when the file is not there.
    """
    lines = (folder / "lib/rules.yml").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line[:1].isalpha())


def read_flat(path, rules=None):
    """Answers the names and values of one file; every value is a string or a list of strings.

    path: settings.yml, personal.yml or a file of plugins/clusters
    rules: what read_rules() answers, to hold names and values to it; None for a file of facts
    Raises SettingsError for the first line that bash would refuse, too, and OSError when there is no such file.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name}: not UTF-8 ({error.reason})") from None
    values = {}
    for number, line in enumerate(text.split("\n"), start=1):
        place = f"{path.name}:{number}"
        line = line.removesuffix("\r")
        if _STRANGE.search(line):
            raise SettingsError(f"{place}: a character that does not show")
        if _IGNORED.fullmatch(line):
            continue
        if match := _LIST.fullmatch(line):
            name, value = match[1], re.split(r" *, *", match[2]) if match[2] else []
        elif match := _ONE.fullmatch(line):
            name, value = match[1], match[2]
        else:
            raise SettingsError(f"{place}: “{line}” cannot be read; write for example account: def-yourpi")
        if name in values:
            raise SettingsError(f"{place}: {name} is set twice")
        if rules is not None:
            _check(place, name, value, rules)
        values[name] = value
    return values


def _check(place, name, value, rules):
    """Raises SettingsError unless lib/rules.yml allows the value."""
    if f"{name}_example" not in rules:
        raise SettingsError(f"{place}: no setting is called “{name}”")
    file = "personal.yml" if name in rules["personal"].split() else "settings.yml"
    if place.split(":")[0] != file:
        raise SettingsError(f"{place}: “{name}” belongs into {file}")
    example = f"{name}: {rules[f'{name}_example']}"
    many = isinstance(value, list)
    fitting = many == (name in rules["lists"].split()) and all(
        re.fullmatch(rules[name], item) and item.lower() not in _YAML_WORDS for item in (value if many else [value])
    )
    if not fitting:
        raise SettingsError(f"{place}: “{value}” is not possible here; write for example {example}")
