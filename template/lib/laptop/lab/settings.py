"""Read the folder's flat YAML files as lib/both/settings.sh does: ``name: value`` or ``name: [a, b]``, one a line."""

import re
from typing import NamedTuple

from both.messages import FOLDER, LIB, MISUSE, Trouble

PERSONAL = FOLDER / "personal.yml"
"""What belongs to one person; git ignores it."""
_WORD = r"[A-Za-z0-9/$][A-Za-z0-9_./:+@%=<>!~*-]*"
_ONE = re.compile(rf"([a-z][a-z0-9_]*): +({_WORD}) *( #.*)?")
_LIST = re.compile(rf"([a-z][a-z0-9_]*): +\[ *({_WORD}(?: *, *{_WORD})*)? *\] *( #.*)?")
# Copier's own lines have an underscore in front
_IGNORED = re.compile(r""" *(#.*)?|_[a-z_]+: "([^"\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*" *""")
# what YAML refuses or takes for the end of a line, even in a comment
_STRANGE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")


class SettingsError(Trouble):
    """A line that cannot be read; the text says which file and line, and what to write instead."""

    def __init__(self, key, **values):
        super().__init__(key, MISUSE, **values)


def read_rules():
    """Return lib/both/rules.yml as a dictionary: a name's regular expression, NAME_example, NAME_allowed, and "lists".

    Raises OSError when the file is not there.
    """
    lines = (LIB / "both/rules.yml").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line[:1].isalpha())


def read_flat(path, rules=None):
    """Return the names and values of one file; every value is a string or a list of strings.

    path: settings.yml, personal.yml or a file of plugins/clusters
    rules: what read_rules() answers, to hold names and values to it; None for a file of facts
    Raises SettingsError for the first line that bash would refuse, too, and OSError when there is no such file.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise SettingsError("strange_character", place=path.name) from None
    values = {}
    for number, line in enumerate(text.split("\n"), start=1):
        place = f"{path.name}:{number}"
        line = line.removesuffix("\r")
        if _STRANGE.search(line):
            raise SettingsError("strange_character", place=place)
        if _IGNORED.fullmatch(line):
            continue
        if match := _LIST.fullmatch(line):
            name, value = match[1], re.split(r" *, *", match[2]) if match[2] else []
        elif match := _ONE.fullmatch(line):
            name, value = match[1], match[2]
        else:
            raise _unreadable(place, line, rules)
        if name in values:
            raise SettingsError("set_twice", place=place, name=name)
        if rules is not None:
            _check(place, name, value, rules)
        values[name] = value
    return values


def _unreadable(place, line, rules):
    """Return what there is to say about a line that cannot be read, with a right one to write instead."""
    known = rules or read_rules()
    # what is meant, in spite of a space, a dash or a capital letter
    found = re.match(r"[ -]*([A-Za-z][A-Za-z0-9_-]*)( *:)?", line)
    name = found[1].lower().replace("-", "_") if found else ""
    if f"{name}_example" not in known:
        if rules and found and found[2]:
            return SettingsError("no_such_setting", place=place, name=found[1])
        name = "user" if place.startswith("personal.yml") else "account"
    return SettingsError("unreadable_line", place=place, text=line, example=f"{name}: {known[f'{name}_example']}")


def _check(place, name, value, rules):
    """Raise SettingsError unless lib/both/rules.yml allows the value."""
    if f"{name}_example" not in rules:
        raise SettingsError("no_such_setting", place=place, name=name)
    file = "personal.yml" if name in rules["personal"].split() else "settings.yml"
    if place.split(":")[0] != file:
        raise SettingsError("wrong_file", place=place, name=name, file=file)
    many = isinstance(value, list)
    items = value if many else [value]
    wrong = [item for item in items if not re.fullmatch(rules[name], item) or re.fullmatch(rules["yaml_word"], item)]
    if many != (name in rules["lists"].split()):
        wrong = [" ".join(items)]
    if wrong:
        example, allowed = f"{name}: {rules[f'{name}_example']}", rules.get(f"{name}_allowed")
        if allowed and not many:
            raise SettingsError(
                "value_not_allowed", place=place, name=name, value=wrong[0], allowed=allowed, example=example
            )
        raise SettingsError("bad_value", place=place, value=wrong[0], example=example)


class Settings(NamedTuple):
    """The answers of settings.yml and personal.yml, with the cluster's facts; see load."""

    answers: dict
    personal: dict
    facts: dict

    @property
    def place(self):
        """Return what messages call the cluster: its id, or the login host where that is asked."""
        asked = self.answers.get("login_host")
        return asked if asked and asked == self.facts["login_host"] else self.answers["cluster"]

    @property
    def project(self):
        """Return the project's name: the folder's name on the cluster, and the first session's."""
        return self.answers["project_name"]

    @property
    def idle_minutes(self):
        """Return after how many minutes in which nothing is done a session ends, as text; "0" for never."""
        return self.answers.get("idle_minutes", read_rules()["idle_minutes_example"])

    @property
    def is_for_a_course(self):
        """Return whether the folder is seen to be a course's: by a reservation, or an account as only courses have."""
        prefixes = self.facts.get("account_prefixes")
        usual = not prefixes or self.answers.get("account", "").split("-")[0] in prefixes
        return self.answers.get("reservation", "none") != "none" or not usual

    @property
    def login(self):
        """Return whom ssh logs in where, as login_name of login.sh; None when the user's name is not known."""
        host = self.facts["login_host"]
        if self.answers["gpus"] != "0":
            host = self.facts.get("gpu_login_host", host)
        user = self.personal.get("user")
        return self.personal.get("ssh_host") or (f"{user}@{host}" if user else None)

    @property
    def login_place(self):
        """Return where it is set to which host that is."""
        if "ssh_host" in self.personal:
            return "personal.yml: ssh_host"
        if "login_host" in self.answers:
            return "settings.yml: login_host"
        return f"plugins/clusters/{self.answers['cluster']}.yml: login_host"


def load():
    """Return the folder's Settings.

    Only what lab itself needs is checked here; the scripts on the cluster hold the rest against its facts.
    Raises SettingsError for the first line that cannot be read, and for what is missing.
    """
    rules = read_rules()
    if not (FOLDER / "settings.yml").exists():
        raise SettingsError("no_settings", folder=FOLDER)
    answers = read_flat(FOLDER / "settings.yml", rules)
    personal = read_flat(PERSONAL, rules) if PERSONAL.exists() else {}
    for name in ["project_name", "cluster", "gpus"]:
        _need(name, answers, rules)
    cluster, folder = answers["cluster"], "plugins/clusters"
    plugin = FOLDER / folder / f"{cluster}.yml"
    if not plugin.exists():
        known = " ".join(sorted(path.stem for path in plugin.parent.glob("*.yml")))
        raise SettingsError("no_such_plugin", place=_place("cluster"), folder=folder, name=cluster, known=known)
    facts = read_flat(plugin)
    if facts["status"] == "retired":
        successor = facts["successor"]
        raise SettingsError(
            "retired", place=_place("cluster"), cluster=cluster, successor=successor, command="./lab update"
        )
    least = facts.get("gpus_min", "0")
    if int(answers["gpus"]) < int(least):
        model = facts["gpu_requests"][0].split(":")[0]
        raise SettingsError("gpus_needed", place=_place("gpus"), cluster=cluster, least=least, model=model)
    for name in [name for name, value in facts.items() if value == "asked"]:
        facts[name] = _need(name, answers, rules)
    return Settings(answers, personal, facts)


def _need(name, answers, rules):
    """Return the value of a name that has to be in settings.yml."""
    if name not in answers:
        raise SettingsError("missing_setting", name=name, example=f"{name}: {rules[f'{name}_example']}")
    return answers[name]


def _place(name):
    """Return where in settings.yml a name is set."""
    lines = (FOLDER / "settings.yml").read_text(encoding="utf-8").splitlines()
    return f"settings.yml:{[line.split(':')[0] for line in lines].index(name) + 1}"


def keep_user(name):
    """Keep the user's name on the cluster in personal.yml, which git ignores; raises SettingsError for a bad one."""
    _check("personal.yml", "user", name, read_rules())
    before = PERSONAL.read_text(encoding="utf-8") if PERSONAL.exists() else ""
    if before and not before.endswith("\n"):
        before += "\n"
    PERSONAL.write_text(f"{before}user: {name}\n", encoding="utf-8")
