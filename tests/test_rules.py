"""The rules of the repository that no other tool knows."""

import re
import subprocess

import jinja2
import pytest
import yaml
from conftest import REPOSITORY, TEMPLATE

SCRIPTS = sorted(path for path in TEMPLATE.rglob("*.sh"))
CODE = sorted(path for kind in ["*.sh", "*.ps1", "*.py", "lab"] for path in TEMPLATE.rglob(kind))
CATALOGUES = {
    language: yaml.safe_load((TEMPLATE / f"lib/messages/{language}.yml").read_text(encoding="utf-8"))
    for language in ["en", "fr"]
}
NAMES = [
    line.split(":")[0].removesuffix("_example")
    for line in (TEMPLATE / "lib/rules.yml").read_text(encoding="utf-8").split("\n")
    if re.match("[a-z_]+_example: ", line)
]


def name_of(path):
    """Answers a path as the repository spells it."""
    return str(path.relative_to(REPOSITORY))


def code_of(path):
    """Answers a file's text without comments that have a line of their own."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"(?m)^\s*#.*$", "", re.sub(r"(?s)<#.*?#>", "", text))


def plain_files():
    """Answers the template's files that are copied as they are."""
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
        TEMPLATE / "lib/rules.yml",
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
    """Answers the {names} in a text."""
    return set(re.findall(r"\{([a-z_]+)\}", text))


def test_both_catalogues_say_the_same_things():
    assert list(CATALOGUES["en"]) == list(CATALOGUES["fr"])
    assert list(CATALOGUES["en"]) == sorted(CATALOGUES["en"])
    for key, text in CATALOGUES["en"].items():
        assert placeholders(text) == placeholders(CATALOGUES["fr"][key]), key


@pytest.mark.parametrize("language", CATALOGUES)
def test_bash_reads_from_a_catalogue_what_yaml_reads(pristine_folder, environment, language):
    folder = pristine_folder("least", language=language)
    ask = 'FOLDER=$1; shift; source "$FOLDER/lib/messages.sh"; for key; do message "$key"; printf "\\0"; done'
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
    """Answers (file, key, names given) for every message that the code says."""
    said = []
    for path in CODE:
        code = code_of(path).replace("\\\n", " ")
        if path.suffix == ".sh":
            for key, rest in re.findall(r'\b(?:say|warn|die|misuse|message) "?([a-z]\w*\$?\w*)"?([^\n]*)', code):
                said.append((name_of(path), key, set(re.findall(r"(?<=\s)([a-z_]+)=", rest))))
        elif path.suffix == ".ps1":
            for key, rest in re.findall(r"(?:Stop-Here|Get-Message) '([a-z_]+)'(?: @\{([^}]*)\})?", code):
                said.append((name_of(path), key, set(re.findall(r"(\w+) = ", rest))))
    return said


def keys_for(key):
    """Answers the keys that a key in the code stands for: itself, or all that begin like "reach_$FACT_reach"."""
    start, variable, _ = key.partition("$")
    return [known for known in CATALOGUES["en"] if known.startswith(start)] if variable else [key]


def in_python(key):
    """Answers whether some Python file names this key."""
    return any(
        f'"{key}"' in path.read_text(encoding="utf-8") for path in CODE if path.suffix == ".py" or path.name == "lab"
    )


def test_every_message_that_is_said_exists_with_the_names_that_it_is_given():
    said = messages_said()
    assert len(said) > 50
    for place, key, names in said:
        assert keys_for(key), f"{place}: {key}"
        for known in keys_for(key):
            assert known in CATALOGUES["en"], f"{place}: {known}"
            assert placeholders(CATALOGUES["en"][known]) <= names, f"{place}: {known}"
            if known == key:
                assert names <= placeholders(CATALOGUES["en"][known]), f"{place}: {known}"


def test_no_message_is_left_that_nobody_says():
    said = {known for _, key, _ in messages_said() for known in keys_for(key)}
    assert {key for key in CATALOGUES["en"] if key not in said and not in_python(key)} == set()


# --- French ---------------------------------------------------------------------------------------------------------


def french_texts():
    """Answers (place, text) for every French text of the template and its questions, without what is code in it."""
    texts = [(f"lib/messages/fr.yml: {key}", text) for key, text in CATALOGUES["fr"].items()]
    questions = yaml.safe_load((REPOSITORY / "questions/fr.yml").read_text(encoding="utf-8"))
    texts += [(f"questions/fr.yml: {key}", text) for key, text in questions.items()]
    for path in [*sorted((TEMPLATE / "lib/help/fr").iterdir()), TEMPLATE / "LISEZMOI.md"]:
        texts.append((name_of(path), path.read_text(encoding="utf-8")))
    return [(place, without_code(text)) for place, text in texts]


def without_code(text):
    """Answers a text without commands, paths, options, names of settings and placeholders."""
    text = re.sub(r"`[^`\n]*`", "`", text)
    # "./setup_env.sh --add NOYAU", as far as the explanation that follows it
    text = re.sub(r"(?m)^ {2,}\S+( \S+)*( {2,}|$)", "", text)
    text = re.sub(r"copier (update|copy)|pip install \S+|module spider|ssh \{login\}", "", text)
    text = re.sub(rf"\b({'|'.join(NAMES)}|nom): [\w{{\[]\S*", "", text)
    text = re.sub(r"\{\w+\}", "X", text)
    # paths, options, addresses and files
    return re.sub(r"\S*(?:[_/=$@~]|--|\.\w|\w:\w)\S*", "Y", text)


def test_what_is_code_in_a_text_is_told_from_what_is_french():
    assert without_code("Écrivez cluster: {successor}, ou exécutez : copier update") == "Écrivez  ou exécutez : "
    assert without_code("Un cluster : voyez plugins/kernels.") == "Un cluster : voyez Y"


@pytest.mark.parametrize(("place", "text"), french_texts(), ids=[place for place, _ in french_texts()])
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


@pytest.mark.parametrize(("place", "text"), french_texts(), ids=[place for place, _ in french_texts()])
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
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"(?i)StrictHostKeyChecking|UserKnownHostsFile|ForwardAgent|\bssh -A\b|\beval\b", text) == []


@pytest.mark.parametrize("path", sorted(TEMPLATE.glob("*.sh")), ids=name_of)
def test_a_script_begins_as_all_do(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"#!/usr/bin/env bash\n# {path.name}: ")
    assert [line for line in text.split("\n") if line and not line.startswith("#")][0] == "set -euo pipefail"
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
    r"\b(EPOCHSECONDS|EPOCHREALTIME|BASHPID|SRANDOM|BASH_ARGV0)\b": "echo $EPOCHSECONDS",
    r"shopt -s (?!inherit_errexit 2>/dev/null)": "shopt -s globstar",
    r"\bprintf -v \S*\[": "printf -v list[0] x",
}
ON_THE_LAPTOP = [
    "tunnel_ssh.sh",
    "tunnel_sshuttle.sh",
    *(f"lib/{name}.sh" for name in ["settings", "messages", "command", "login"]),
]


@pytest.mark.parametrize("name", ON_THE_LAPTOP)
def test_what_runs_on_a_laptop_needs_no_newer_bash_than_macos_has(name):
    code = code_of(TEMPLATE / name)
    assert {pattern: found.group() for pattern in NEWER_THAN_BASH_3_2 if (found := re.search(pattern, code))} == {}


def test_what_runs_on_a_laptop_is_all_looked_at():
    """What these two scripts source, and what that sources."""
    sourced = {"tunnel_ssh.sh", "tunnel_sshuttle.sh"}
    for _ in range(4):
        for name in list(sourced):
            sourced |= set(
                re.findall(r'source "\$FOLDER/(lib/\w+\.sh)"', (TEMPLATE / name).read_text(encoding="utf-8"))
            )
    assert sourced == set(ON_THE_LAPTOP)


@pytest.mark.parametrize(("pattern", "example"), NEWER_THAN_BASH_3_2.items())
def test_what_is_newer_than_bash_3_2_would_be_found(pattern, example):
    assert re.search(pattern, example)


def test_plugins_define_what_the_scripts_call_and_nothing_misspelt(environment):
    contract = set(
        re.findall(r"(?m)^  (plugin_\w+)\(\) \{", (TEMPLATE / "lib/environment.sh").read_text(encoding="utf-8"))
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
