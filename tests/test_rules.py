"""The rules of the repository that no other tool knows."""

import ast
import importlib
import re
import subprocess
import sys

import jinja2
import pytest
import yaml
from conftest import LANGUAGES, REPOSITORY, TEMPLATE

SCRIPTS = sorted(path for path in TEMPLATE.rglob("*.sh"))
# what a shell runs for lab in a sub-folder
SHIM = TEMPLATE / "shell/bin/lab"
CODE = sorted([TEMPLATE / "lab", SHIM, *(path for kind in ["*.sh", "*.ps1", "*.py"] for path in TEMPLATE.rglob(kind))])
PYTHON = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for path in CODE
    if path.suffix == ".py" or path == TEMPLATE / "lab"
}
CATALOGUES = {
    language: yaml.safe_load((TEMPLATE / f"lib/texts/{language}/messages.yml").read_text(encoding="utf-8"))
    for language in LANGUAGES
}
NAMES = [
    line.split(":")[0].removesuffix("_example")
    for line in (TEMPLATE / "lib/both/rules.yml").read_text(encoding="utf-8").split("\n")
    if re.match("[a-z_]+_example: ", line)
]


def name_of(path):
    """Return a path as the repository spells it."""
    return str(path.relative_to(REPOSITORY))


def code_of(path):
    """Return a file's text without comments that have a line of their own, nor docstrings."""
    text = path.read_text(encoding="utf-8")
    if path in PYTHON:
        tree = ast.parse(text)
        for node in ast.walk(tree):
            for statement in getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else []:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    statement.value = ast.Constant(...)
        return ast.unparse(tree)
    return re.sub(r"(?m)^\s*#.*$", "", re.sub(r"(?s)<#.*?#>", "", text))


def constant(module, name):
    """Return a constant of a module of lib."""
    for node in PYTHON[TEMPLATE / f"lib/{module}.py"].body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise KeyError(name)


def plain_files():
    """Return the template's files that are copied as they are."""
    return [
        path
        for path in sorted(TEMPLATE.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.suffix not in (".jinja", ".pyc", ".png")
    ]


# --- Copier ---------------------------------------------------------------------------------------------------------


def test_exactly_one_file_is_rendered():
    assert [name_of(path) for path in TEMPLATE.rglob("*.jinja")] == ["template/settings.yml.jinja"]


@pytest.mark.parametrize("path", plain_files(), ids=name_of)
def test_what_is_copied_as_it_is_has_no_jinja(path):
    # "${#list[@]}" is bash: a number of elements
    assert re.findall(r"\{\{|\{%|(?<!\$)\{#", path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "path",
    [
        *sorted((TEMPLATE / "plugins").glob("*/*.*")),
        TEMPLATE / "lib/both/rules.yml",
        *sorted(REPOSITORY.glob("questions/*.yml")),
    ],
    ids=name_of,
)
def test_what_the_questions_include_means_itself_to_jinja(path):
    text = path.read_text(encoding="utf-8")
    jinja = jinja2.Environment(keep_trailing_newline=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    assert jinja.from_string(text).render() == text


def test_copying_asks_for_no_trust():
    settings = yaml.safe_load((REPOSITORY / "copier.yml").read_text(encoding="utf-8"))
    assert not {"_tasks", "_jinja_extensions", "_migrations"} & set(settings)


def test_no_test_hides_that_trust_would_be_asked_for():
    places = [REPOSITORY / "noxfile.py", *REPOSITORY.glob("tests/**/*.py"), *REPOSITORY.glob(".ci/*")]
    hidden = re.compile("unsafe *=" + " *True|--tr" + "ust|--UN" + "SAFE")
    assert [
        name_of(path) for path in places if path.is_file() and hidden.search(path.read_text(encoding="utf-8"))
    ] == []


# --- messages -------------------------------------------------------------------------------------------------------


def placeholders(text):
    """Return the {names} in a text."""
    return set(re.findall(r"\{([a-z_]+)\}", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_catalogues_say_the_same_things(language):
    assert list(CATALOGUES["en"]) == sorted(CATALOGUES["en"])
    assert list(CATALOGUES[language]) == list(CATALOGUES["en"])
    for key, text in CATALOGUES["en"].items():
        assert placeholders(CATALOGUES[language][key]) == placeholders(text), key


def test_english_and_french_are_among_the_languages():
    assert {"en", "fr"} <= set(LANGUAGES)


@pytest.mark.parametrize("language", CATALOGUES)
def test_bash_reads_from_a_catalogue_what_yaml_reads(pristine_folder, environment, language):
    folder = pristine_folder("least", language=language)
    ask = 'FOLDER=$1; shift; source "$FOLDER/lib/both/messages.sh"; for key; do message "$key"; printf "\\0"; done'
    keys = list(CATALOGUES[language])
    done = subprocess.run(
        ["bash", "-c", ask, "bash", str(folder), *keys],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert dict(zip(keys, done.stdout.split("\n\0"), strict=False)) == CATALOGUES[language]


def messages_said():
    """Return (file, keys, names given, names that come by themselves) for every message that the code says.

    Names given are None where they cannot be read from the code.
    """
    said = []
    for path in CODE:
        code = code_of(path).replace("\\\n", " ")
        if path.suffix == ".sh" or path == SHIM:
            for key, rest in re.findall(r'\b(?:say|warn|die|misuse|message) "?([a-z]\w*\$?\w*)"?([^\n]*)', code):
                said.append((name_of(path), [key], set(re.findall(r"(?<=\s)([a-z_]+)=", rest)), set()))
        elif path.suffix == ".ps1":
            for key, rest in re.findall(r"(?:Stop-Here|Get-Message) '([a-z_]+)'(?: @\{([^}]*)\})?", code):
                said.append((name_of(path), [key], set(re.findall(r"(\w+) = ", rest)), set()))
    return said + messages_in_python()


def messages_in_python():
    """Return the same for the Python files."""
    said, known = [], sayers()
    for path, tree in PYTHON.items():
        for function, call in calls_in(tree):
            if call.args and called(call) in known and (keys := keys_in(call.args[0], function)):
                given = {keyword.arg for keyword in call.keywords}
                said.append((name_of(path), keys, None if None in given else given, known[called(call)]))
            said += [
                (name_of(path), [keyword.value.value], None, set())
                for keyword in call.keywords
                if keyword.arg == "key" and isinstance(keyword.value, ast.Constant)
            ]
        # those of a table
        for table in tree.body:
            for node in ast.walk(table) if isinstance(table, ast.Assign) else []:
                if isinstance(node, ast.Constant) and re.match("(check|step)_", str(node.value)):
                    said.append((name_of(path), [node.value], None, set()))
    return said


def calls_in(tree):
    """Return (function, call) for every call; not those of an exception that has words of its own."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.Module)):
            functions = (ast.FunctionDef, ast.AsyncFunctionDef)
            methods = {item.name: item for item in node.body if isinstance(item, functions)}
            for function in methods.values() if "__str__" not in methods else []:
                yield from ((function, call) for call in ast.walk(function) if isinstance(call, ast.Call))


def called(call):
    """Return the name of what is called: "say", and "show" for self.waiting.show(...)."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def sayers():
    """Return what says the message of a `key` (functions, and exceptions), each with the names that it adds itself."""
    found = {}
    for tree in PYTHON.values():
        for node in ast.walk(tree):
            name, function = getattr(node, "name", ""), node
            if isinstance(node, ast.ClassDef):
                function = next((item for item in node.body if getattr(item, "name", "") == "__init__"), None)
            if isinstance(function, ast.FunctionDef) and "key" in [argument.arg for argument in function.args.args]:
                inner = [call for call in ast.walk(function) if isinstance(call, ast.Call)]
                found[name] = {
                    keyword.arg
                    for call in inner
                    if call.args and getattr(call.args[0], "id", "") == "key"
                    for keyword in call.keywords
                } - {None}
    return found


def keys_in(node, function):
    """Return the keys that an argument stands for, as "hint_$" for f"hint_{state}"; none for one that is handed on."""
    if isinstance(node, ast.Constant):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return keys_in(node.body, function) + keys_in(node.orelse, function)
    if isinstance(node, ast.JoinedStr):
        return [node.values[0].value + "$"]
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
        return [key for value in node.value.values for key in keys_in(value, function)]
    if isinstance(node, ast.Name):
        assigned = [item.value for item in ast.walk(function) if isinstance(item, ast.Assign) if same(item, node)]
        loops = [item.iter for item in ast.walk(function) if isinstance(item, ast.For) if named_in(item.target, node)]
        words = [item.value for loop in loops for item in ast.walk(loop) if isinstance(item, ast.Constant)]
        return [key for value in assigned for key in keys_in(value, function)] + [
            word for word in words if word in CATALOGUES["en"]
        ]
    return []


def named_in(target, name):
    """Return whether a loop's target has that name in it."""
    return name.id in {item.id for item in ast.walk(target) if isinstance(item, ast.Name)}


def same(assignment, name):
    """Return whether an assignment is to that name alone."""
    return [getattr(target, "id", "") for target in assignment.targets] == [name.id]


def keys_for(key):
    """Return the keys that a key in the code stands for: itself, or all that begin like "reach_$FACT_reach"."""
    start, variable, _ = key.partition("$")
    return [known for known in CATALOGUES["en"] if known.startswith(start)] if variable else [key]


def test_every_message_that_is_said_exists_with_the_names_that_it_is_given():
    said = messages_said()
    assert len([place for place, *_ in said if place.endswith(".sh")]) > 50
    assert len([place for place, *_ in said if place.endswith(".py")]) > 50
    for place, keys, given, added in said:
        wanted = set()
        for key in keys:
            assert keys_for(key), f"{place}: {key}"
            for known in keys_for(key):
                assert known in CATALOGUES["en"], f"{place}: {known}"
                if given is not None:
                    assert placeholders(CATALOGUES["en"][known]) <= given | added, f"{place}: {known}"
                wanted |= placeholders(CATALOGUES["en"][known])
        if len(keys) == 1:
            assert (given or set()) <= wanted, f"{place}: {keys}"


def test_no_message_is_left_that_nobody_says():
    said = {known for _, keys, *_ in messages_said() for key in keys for known in keys_for(key)}
    assert set(CATALOGUES["en"]) - said == set()


def test_every_state_that_ends_a_job_has_its_hint():
    assert {key for key in CATALOGUES["en"] if key.startswith("hint_")} == {
        f"hint_{state.lower()}" for state in (*constant("both/job_states", "ENDED"), "forgotten")
    }


def test_a_message_calls_a_cluster_by_the_name_that_people_know():
    """The id of a cluster whose login host is asked stands for many; of a retired one it is never asked."""
    given = {
        (key, value)
        for path in SCRIPTS
        for key, rest in re.findall(r"\b(?:say|warn|die|misuse) (\w+)([^\n]*)", code_of(path).replace("\\\n", " "))
        for value in re.findall(r'(?<=\s)cluster="?(\S+?)"?(?=\s|$)', rest)
    }
    assert len(given) > 10
    assert {(key, value) for key, value in given if value != "$CLUSTER_NAME"} == {("retired", "$SETTING_cluster")}
    windows = code_of(TEMPLATE / "tunnel_ssh.ps1")
    assert set(re.findall(r"@\{ cluster = (.*?) \}", windows)) == {"$clusterName"}


def test_what_an_address_looks_like_stands_in_one_place():
    """lab, the tunnel scripts and PowerShell take the same from lib/both/rules.yml."""
    files = [path for path in TEMPLATE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    pattern = re.compile(r"\?\]?token=\(*\[")
    assert [name_of(path) for path in files if pattern.search(path.read_text(encoding="utf-8"))] == [
        "template/lib/both/rules.yml"
    ]
    # which PowerShell reads as every other line of lib/both; the others run elsewhere among these tests
    windows = code_of(TEMPLATE / "tunnel_ssh.ps1")
    for file, start in re.findall(r"Read-Shared '(.*?)' '(.*?)'", windows):
        rest = re.findall(f"(?m)^{start}([^\r\n]+)", (TEMPLATE / "lib/both" / file).read_text(encoding="utf-8"))
        assert len(rest) == 1, start
    assert "Read-Shared 'rules.yml' 'address: '" in windows


# --- the help of lab ------------------------------------------------------------------------------------------------

sys.path[:0] = [str(TEMPLATE / "lib/laptop"), str(TEMPLATE / "lib")]
COMMANDS = importlib.import_module("lab.cli").COMMANDS


def lab_help(language, name):
    """Return one help of lab."""
    return (TEMPLATE / f"lib/texts/{language}/help/{name}.txt").read_text(encoding="utf-8")


def options_in(text):
    """Return the options that a help explains."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - {"--help"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_command_and_script_has_its_help_in_every_language(language):
    names = {"lab.txt", *(f"lab-{command}.txt" for command in COMMANDS)}
    if language != "en":
        # a script's own header is its help in English
        names |= {f"{path.name}.txt" for kind in ["*.sh", "*.ps1"] for path in TEMPLATE.glob(kind)}
    assert {path.name for path in (TEMPLATE / f"lib/texts/{language}/help").iterdir()} == names


# what stands after a command's name, where it is not a colon alone
COLON = {"fr": "\u00a0: "}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_help_of_lab_names_every_command(language):
    text = lab_help(language, "lab")
    assert text.startswith(f"lab{COLON.get(language, ': ')}")
    named = re.findall(r"(?m)^  \./lab ([a-z]+)", text)
    assert named == list(COMMANDS)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_explains_what_it_takes_in_every_language(command, language):
    texts = [lab_help("en", f"lab-{command}"), lab_help(language, f"lab-{command}")]
    assert texts[1].startswith(f"lab {command}{COLON.get(language, ': ')}")
    assert options_in(texts[0]) == options_in(texts[1])
    assert texts[0].count(f"./lab {command}") == texts[1].count(f"./lab {command}")
    taken = COMMANDS[command]
    options = {*taken.flags, *taken.values}
    for text in texts:
        assert f"  ./lab {command} --help " in text
        # sbatch's and Copier's own come as examples
        assert options <= options_in(text)
        assert options == options_in(text) or taken.more in ("sbatch", "copier")
        assert all(re.search(f"{name}[= ][A-Z]", text) for name in taken.values)
        assert bool(re.search(rf"\./lab {command} [A-Z]", text)) == bool(taken.word)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_table_of_commands_names_a_function_that_takes_what_it_is_given(command):
    module, function = COMMANDS[command].runs.split(".")
    (found,) = [
        item.args.args
        for item in PYTHON[TEMPLATE / f"lib/laptop/lab/{module}.py"].body
        if getattr(item, "name", "") == function
    ]
    given = {"channel": ["settings", "channel"], "connection": ["settings", "connection"], "nothing": []}
    assert [argument.arg for argument in found] == [*given[COMMANDS[command].given], "taken"]


# --- how wide ---------------------------------------------------------------------------------------------------------


def helps():
    """Return (place, text) for every help that people read: texts, and the comments at the head of the scripts."""
    texts = [(name_of(path), path.read_text(encoding="utf-8")) for path in sorted(TEMPLATE.glob("lib/texts/*/help/*"))]
    for path in sorted(TEMPLATE.glob("*.sh")):
        head = re.match(r"#!.*\n((?:#.*\n)+)", path.read_text(encoding="utf-8"))[1]
        texts.append((name_of(path), re.sub("(?m)^# ?", "", head)))
    for path in sorted(TEMPLATE.glob("*.ps1")):
        texts.append((name_of(path), re.match(r"(?s)<#\n(.*?)#>", path.read_text(encoding="utf-8"))[1]))
    return texts


@pytest.mark.parametrize(("place", "text"), helps(), ids=[place for place, _ in helps()])
def test_a_line_of_help_fits_a_terminal_of_80_columns(place, text):
    assert text.count("\n") >= 5
    assert [line for line in text.split("\n") if len(line) > 80] == []


@pytest.mark.parametrize("language", CATALOGUES)
def test_the_expected_start_of_a_job_stands_before_the_80th_column(language):
    values = {"time": "12:34:56", "job": "12345678", "start": "2026-11-26 00:13", "reason": "Priority"}
    line = re.sub(r"\{(\w+)\}", lambda name: values[name[1]], CATALOGUES[language]["waiting_pending"])
    # a terminal's last column stays free
    assert values["start"] in line[:79]


# --- French ---------------------------------------------------------------------------------------------------------


def french_texts():
    """Return (place, text) for every French text of the template and its questions, without what is code in it."""
    texts = [(f"lib/texts/fr/messages.yml: {key}", text) for key, text in CATALOGUES["fr"].items()]
    questions = yaml.safe_load((REPOSITORY / "questions/fr.yml").read_text(encoding="utf-8"))
    texts += [(f"questions/fr.yml: {key}", text) for key, text in questions.items()]
    for path in [*sorted((TEMPLATE / "lib/texts/fr/help").iterdir()), TEMPLATE / "LISEZMOI.md"]:
        texts.append((name_of(path), path.read_text(encoding="utf-8")))
    return [(place, without_code(text)) for place, text in texts]


def without_code(text):
    """Return a text without commands, paths, options, names of settings and placeholders."""
    text = re.sub(r"`[^`\n]*`", "`", text)
    # "./setup_env.sh --add NOYAU", as far as the explanation that follows it
    text = re.sub(r"(?m)^ {2,}\S+( \S+)*( {2,}|$)", "", text)
    text = re.sub(r"copier (update|copy)|lab update|pip install \S+|module spider|ssh \{login\}", "", text)
    text = re.sub(rf"\b({'|'.join(NAMES)}|nom): [\w{{\[]\S*", "", text)
    text = re.sub(r"\{\w+\}", "X", text)
    # paths, options, addresses and files
    return re.sub(r"\S*(?:[_/=$@~]|--|\.\w|\w:\w)\S*", "Y", text)


def test_what_is_code_in_a_text_is_told_from_what_is_french():
    assert without_code("Écrivez cluster: {successor}, ou exécutez : copier update") == "Écrivez  ou exécutez : "
    assert without_code("Un cluster : voyez plugins/kernels.") == "Un cluster : voyez Y"


def french_pages():
    """Return (place, text) for every French page of the documentation, without markup, code and quoted English."""
    found = []
    for path in sorted((REPOSITORY / "docs").rglob("*.fr.md")):
        text = re.sub(r"(?m)(?<=\n\n)(    .*\n+)+", "", path.read_text(encoding="utf-8"))
        text = re.sub(r"(?m)\{\{.*?\}\}|\{ #.*?\}|\]\([^)]*\)|^!!! .*$|^:   |(?<!\*)\*[^*\n]+\*(?!\*)", "", text)
        found.append((name_of(path), without_code(text)))
    return found


FRENCH = french_texts() + french_pages()


@pytest.mark.parametrize(("place", "text"), FRENCH, ids=[place for place, _ in FRENCH])
def test_french_is_set_as_french_is(place, text):
    nbsp = "\u00a0"
    wrong = {
        "a plain space before : ; ? ! or »": r" [:;?!»]",
        "no space before ; ? ! or »": rf"[^\s{nbsp}][;?!»]",
        "no space before :": rf"[^\s{nbsp}]:(?:\s|$)",
        "no no-break space after «": rf"«(?!{nbsp})",
        "another narrow space": "[\u2009\u202f]",
        "oe instead of œ": r"(?i)\b(noeud|coeur|oeuvre|soeur)",
        "a capital without its accent": r"\b(A|Ecri\w+|Etes|Etat|Etape\w*|Executez|Echec\w*)\b",
        "tu": r"(?i)\b(tu|ton|ta|tes|toi)\b",
        "English quotes": r"[“”\"]",
    }
    assert {what: re.findall(pattern, text) for what, pattern in wrong.items() if re.search(pattern, text)} == {}


# what the glossary has another word for
ENGLISH = (
    "cluster clusters job jobs laptop login node nodes kernel kernels walltime template browser tab package packages "
    "library wrapper settings prompt update home token array batch memory core"
)


@pytest.mark.parametrize(("place", "text"), FRENCH, ids=[place for place, _ in FRENCH])
def test_french_has_one_word_for_one_thing(place, text):
    assert re.findall(rf"(?i)(?<![\w-])(?:{'|'.join(ENGLISH.split())})(?![\w-])", text) == []
    # a "module d'extension", for a module is something else
    assert re.findall(r"(?i)(?<!d['’])\bextensions?\b", text) == []


# --- scripts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_no_code_knows_a_cluster_by_its_name(path):
    clusters = {cluster.stem for cluster in (TEMPLATE / "plugins/clusters").glob("*.yml")} - {"other", "local"}
    assert re.findall(rf"(?i)\b(?:{'|'.join(sorted(clusters))})\b", code_of(path)) == []


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_host_keys_are_verified_and_agents_stay_at_home(path):
    text = code_of(path)
    if path.stem == "host_key":
        # it asks for the key, and logs nobody in: what is accepted is kept in a file that only it reads
        assert len(re.findall("accept-new", text)) == len(re.findall("PreferredAuthentications='?none", text)) == 1
    else:
        assert re.findall(r"(?i)StrictHostKeyChecking|UserKnownHostsFile", text) == []
    assert re.findall(r"(?i)ForwardAgent|\bssh -A\b|\beval\b", text) == []


@pytest.mark.parametrize("path", sorted(TEMPLATE.glob("*.sh")), ids=name_of)
def test_a_script_begins_as_all_do(path):
    text = path.read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    if path.name.startswith("tunnel_"):
        assert text.startswith(f"#!/usr/bin/env bash\n# {path.name}: ")
    else:
        # it also runs on the cluster: nobody's own settings come with it
        assert text.startswith(f"#!/bin/bash -p\n# {path.name}: ")
        assert lines.pop(0) == '[[ $- == *p* ]] || exec "$BASH" -p "$0" "$@"'
        # a job is on the node's own disk even before that
        lines = [line for line in lines if not line.startswith('[[ $0 != /* ]] || cd "${SLURM_TMPDIR')]
        assert lines[2:4] == ['source "$FOLDER/lib/cluster/clean.sh"', 'begin_clean "$@"']
    assert lines[0] == "set -euo pipefail"
    assert text.count("\n") <= 150


# what bash 3.2 (macOS) does not know, each with an example of it
NEWER_THAN_BASH_3_2 = {
    r"\b(declare|local|typeset) -\w*[Anu]": "declare -A names",
    r"\b(mapfile|readarray|coproc)\b": "mapfile -t lines",
    r"\$\{\w+(\[[^]]*\])?(,,?|\^\^?)": "${answer,,}",
    r"&>>": "command &>>log",
    r"\|&": "command |& cat",
    r"%\([^)]*\)T": "printf '%(%s)T' -1",
    r"\$\{\w+:[^}-]*: ?-": "${name:0:-1}",
    r"\$\{\w+\[-": "${list[-1]}",
    r"\bwait -\w*[np]": "wait -n",
    r"\$\{\w+(\[[^]]*\])?@[A-Za-z]\}": "${name@Q}",
    r";;&|;&": "a) b ;;&",
    r"\[\[ (! )?-v ": "[[ -v name ]]",
    r"exec \{\w+\}[<>]": "exec {file}<name",
    r"\bread [^|;\n]*-\w*[Ni]\b": "read -N 1 key",
    r"\bread [^|;\n]*-t 0?\.[0-9]": "read -t 0.5 line",
    r"\$'[^']*\\u": "echo $'\\u00e9'",
    # ${EPOCHSECONDS:-...} knows what to do without it
    r"\b(EPOCHSECONDS(?!:-)|EPOCHREALTIME|BASHPID|SRANDOM|BASH_ARGV0)\b": "echo $EPOCHSECONDS",
    r"shopt -s (?!inherit_errexit 2>/dev/null|nullglob)": "shopt -s globstar",
    r"\bprintf -v \S*\[": "printf -v list[0] x",
}
# a folder's name says where its files run
ON_THE_LAPTOP = [
    *sorted(path.name for path in TEMPLATE.glob("tunnel_*.sh")),
    *sorted(
        str(path.relative_to(TEMPLATE)) for side in ["both", "laptop"] for path in TEMPLATE.glob(f"lib/{side}/*.sh")
    ),
]
IN_A_SHELL = ["shell/bin/lab", "shell/complete.sh", "shell/lab.bash", "shell/project.sh"]


@pytest.mark.parametrize("name", ON_THE_LAPTOP + IN_A_SHELL)
def test_what_runs_on_a_laptop_needs_no_newer_bash_than_macos_has(name):
    code = code_of(TEMPLATE / name)
    assert {pattern: found.group() for pattern in NEWER_THAN_BASH_3_2 if (found := re.search(pattern, code))} == {}


def test_what_runs_on_a_laptop_is_all_looked_at():
    """What these two scripts source, and what that sources."""
    sourced = {"tunnel_ssh.sh", "tunnel_sshuttle.sh"}
    for _ in range(4):
        for name in list(sourced):
            sourced |= set(
                re.findall(r'source "\$FOLDER/(lib/\w+/\w+\.sh)"', (TEMPLATE / name).read_text(encoding="utf-8"))
            )
    assert sourced == set(ON_THE_LAPTOP)


@pytest.mark.parametrize(("pattern", "example"), NEWER_THAN_BASH_3_2.items())
def test_what_is_newer_than_bash_3_2_would_be_found(pattern, example):
    assert re.search(pattern, example)


def test_plugins_define_what_the_scripts_call_and_nothing_misspelt(environment):
    contract = set(
        re.findall(r"(?m)^  (plugin_\w+)\(\) \{", (TEMPLATE / "lib/cluster/environment.sh").read_text(encoding="utf-8"))
    )
    assert len(contract) >= 6
    for path in sorted((TEMPLATE / "plugins").glob("*/*.sh")):
        ask = 'source "$1"; declare -F'
        done = subprocess.run(
            ["bash", "-c", ask, "bash", str(path)], env=environment, capture_output=True, encoding="utf-8"
        )
        defined = re.findall(r"declare -f (\w+)", done.stdout)
        assert {name for name in defined if name.startswith("plugin_")} <= contract, name_of(path)
        assert any(name.startswith("plugin_") for name in defined), name_of(path)
        assert done.stderr == "", name_of(path)


def test_every_file_that_the_readmes_name_is_there():
    for readme in ["README.md", "LISEZMOI.md"]:
        named = re.findall(r"\./([\w.]+)", (TEMPLATE / readme).read_text(encoding="utf-8"))
        assert named
        assert [name for name in named if not (TEMPLATE / name).exists()] == [], readme


# --- the clusters' facts --------------------------------------------------------------------------------------------

# a source with its date
SOURCE = r"(https://\S+|github\.com/[\w.-]+/[\w.-]+|public notes|live) \((\d{4}-\d{2}(-\d{2})?|undated)\)"
CLUSTERS = sorted((TEMPLATE / "plugins/clusters").glob("*.yml"))


@pytest.mark.parametrize("path", CLUSTERS, ids=name_of)
def test_a_comment_of_a_cluster_is_a_source_with_its_date_or_a_remark_in_every_language(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    sources = re.compile(
        rf"# (Facts from {SOURCE} where a line names no other source\.|(Source: )?{SOURCE}(, {SOURCE})*)"
    )
    for block in re.findall(r"(?m)(?:^#.*\n)+", "\n".join(lines) + "\n"):
        remarks = [line for line in block.splitlines() if not sources.fullmatch(line)]
        in_french = [line for line in remarks if line.startswith("# fr: ")]
        assert len(remarks) == 2 * len(in_french), block
        # a source is known by its line alone
        assert not [
            line for line in remarks if re.search(r"https://docs|github\.com|\(\d{4}", line) and "retired" not in block
        ], block
        assert not [line for line in in_french if re.search(r" [:;?!»]|« | 's ", line[5:])], block


def test_every_fact_is_read_by_somebody():
    """What the questions, the scripts and lab read, and what the table of all clusters shows."""
    code = [code_of(path) for path in CODE]
    code += [path.read_text(encoding="utf-8") for path in [REPOSITORY / "copier.yml", *REPOSITORY.glob("questions/*")]]
    overview = re.search(r"(?s)OVERVIEW = \[(.*?)\]", (REPOSITORY / "docs/reference.py").read_text(encoding="utf-8"))[1]
    text = "\n".join(code)
    names = {name for path in CLUSTERS for name in yaml.safe_load(path.read_text(encoding="utf-8"))}
    unread = {
        name
        for name in names
        if not re.search(rf"\bFACT_{name}\b|\bfacts\.{name}\b|facts(\.get\(|\[)['\"]{name}['\"]", text)
    }
    # "gpu_node_cores" is put together from its parts
    assert "facts['gpu_node_' ~ what]" in text and "facts['node_' ~ what]" in text
    assert unread - {"gpu_node_cores", "gpu_node_memory_mb", "node_cores", "node_memory_mb"} == {"web"}
    assert '"web"' in overview


# --- what is read where the repository lies -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_a_reader_of_the_repository_is_led_to_shows_as_it_is(name):
    """The pages in docs/ are sources of a site: they have placeholders, and links that only the site has."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#][^)]*)\)", text) if not link.startswith("https://")]
    for link in links:
        target = REPOSITORY / link
        assert target.exists(), link
        assert "{{" not in target.read_text(encoding="utf-8"), link
        # a page shows as it is built, a picture as it lies there
        assert not link.startswith("docs/") or link.startswith("docs/images/"), link
    assert "{{" not in text


def test_every_text_says_how_long_what_is_replaced_is_kept():
    limits = (TEMPLATE / "lib/both/limits.sh").read_text(encoding="utf-8")
    days = re.search(r"(?m)^REPLACED_DAYS=(\d+)$", limits)[1]
    texts = [*TEMPLATE.rglob("help/*.txt"), *(REPOSITORY / "docs").rglob("*.md")]
    found = [path for path in texts if ".lab/replaced" in path.read_text(encoding="utf-8")]
    assert len(found) >= 10
    assert [
        path for path in found if not re.search(rf"\b{days}\s(days|jours)\b", path.read_text(encoding="utf-8"))
    ] == []
