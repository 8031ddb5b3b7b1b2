"""settings.yml and the cluster files: bash, Python and YAML (as Copier reads it) see the same, or refuse the same."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml
from conftest import TEMPLATE, french, set_answer
from hypothesis import event, given, settings
from hypothesis import strategies as st

CLUSTERS = sorted(path.stem for path in (TEMPLATE / "plugins/clusters").glob("*.yml"))
FACTS = {
    name: yaml.safe_load((TEMPLATE / f"plugins/clusters/{name}.yml").read_text(encoding="utf-8")) for name in CLUSTERS
}
IN_SERVICE = [name for name in CLUSTERS if FACTS[name]["status"] == "in_service"]
RETIRED = [name for name in CLUSTERS if FACTS[name]["status"] == "retired"]

sys.path[:0] = [str(TEMPLATE / "lib/laptop"), str(TEMPLATE / "lib")]
python_reader = importlib.import_module("lab.settings")
RULES = python_reader.read_rules()
PLUGINS = {
    kind: sorted(path.stem for path in (TEMPLATE / "plugins" / kind).iterdir()) for kind in ["kernels", "extensions"]
}
PERSONAL = RULES["personal"].split()
NAMES = [name for name in RULES if f"{name}_example" in RULES and name not in PERSONAL]
LISTS = RULES["lists"].split()
# optional, or asked of other clusters only
NOT_NEEDED = [*RULES["optional"].split(), "login_host", "modules_first", "pip_source"]


# --- what the three readers see -------------------------------------------------------------------------------------


def as_text(values):
    """Return names and values with every value as a text, a list as its items with a space between."""
    return {
        name: " ".join(str(item) for item in value) if isinstance(value, list) else str(value)
        for name, value in values.items()
    }


def by_bash(reader, content):
    """What bash reads, or None; and then the place that it names. Any refusal is one line and status 64."""
    status, values, words = reader.ask("read", content)
    if status == 0:
        assert words == b""
        return {name.removeprefix("SETTING_"): value for name, value in values.items()}, None
    assert status == 64
    line = words.decode("utf-8")
    refusal = re.fullmatch(r"driver\.sh: (settings\.yml(?::[0-9]+)?)\u00a0?: [^\n]+\n", line)
    assert refusal, line
    return None, refusal[1]


def by_python(folder):
    """What Python reads, or None; and then the place that it names."""
    try:
        return as_text(python_reader.read_flat(folder / "settings.yml", RULES)), None
    except python_reader.SettingsError as error:
        refusal = re.match(r"(settings\.yml(?::[0-9]+)?): .", str(error))
        assert refusal, error
        assert "\n" not in str(error)
        return None, refusal[1]


def by_yaml(content):
    """What Copier reads: everything but its own names, which begin with an underscore."""
    return as_text({name: value for name, value in yaml.safe_load(content).items() if not name.startswith("_")})


# --- files to read --------------------------------------------------------------------------------------------------

shown = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufffe\uffff")
comment = st.builds(
    "#{}".format, st.one_of(st.text("ab #:[]{}'\"\\&*!|>%@`$", max_size=12), st.text(shown, max_size=4))
)
spaces = st.integers(0, 2).map(" ".__mul__)


def values(name):
    """Values that a name's rule allows: short ones, or Hypothesis takes longer than bash."""
    rule = RULES[name]
    for endless, short in [("]*", "]{0,4}"), ("]+", "]{1,4}"), (")*", "){0,2}"), (")+", "){1,2}")]:
        rule = rule.replace(endless, short)
    allowed = st.from_regex(re.compile(rule, re.ASCII), fullmatch=True)
    return allowed.filter(lambda text: not re.fullmatch(RULES["yaml_word"], text))


VALUES_OF = {name: values(name) for name in NAMES}


@st.composite
def lines(draw, name):
    """One line that sets a name, with a value that its rule allows, in any layout; and the value as text."""
    one = VALUES_OF[name]
    if name in LISTS:
        items = draw(st.lists(one, max_size=3))
        between = f"{draw(spaces)},{draw(spaces)}"
        written, value = f"[{draw(spaces)}{between.join(items)}{draw(spaces)}]", " ".join(items)
    else:
        written = value = draw(one)
    end = draw(spaces) + draw(st.one_of(st.just(""), comment.map(" {}".format)))
    return f"{name}: {draw(spaces)}{written}{end}", value


@st.composite
def files(draw):
    """A right settings.yml (bytes) and its values."""
    text, values = [], {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=8)):
        text += draw(st.lists(st.one_of(spaces, comment), max_size=1))
        line, values[name] = draw(lines(name))
        text.append(line)
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    return (newline.join(text) + draw(st.sampled_from([newline, newline, ""]))).encode("utf-8"), values


YAML_WORDS = (
    "yes no null ~ Null NO y N on OFF true False 0x10 0o17 010 1_0 1:30 1e3 .inf .nan 2026-11-22 [[a]] [a,[b]] {a:b} "
    "[] \"1\" '1' *a &a !!str !x | > >- - ? : % @ ` [a [a,] [,] ,"
)
BITS = [
    *(text.encode("utf-8") for text in "\"'\t\r\n\0#:-[]{}&*!|>%@`\\,?~$=<;()"),
    *(text.encode("utf-8") for text in "\ufeff\u00a0\u0085\u009b\u2028\u2029\ufffe\uffff\U0001fffeé…"),
    *(
        b"\x01",
        b"\x1b[31m",
        b"\x7f",
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x80",
        b"\xff\xfe",
    ),
    *(
        b" #",
        b"#x",
        b": ",
        b" ",
        b"  ",
        b"\r\n",
        b"\r\r\n",
        b"---\n",
        b"...\n",
        b"- ",
        b"? ",
        b"!!str ",
        b"&a ",
        b"*a ",
    ),
    *(
        b"$(touch canary)",
        b"`touch canary`",
        b";touch canary;",
        b"a[$(touch canary)]",
        b"../",
        b"..",
        b"$HOME/",
        b"--x",
    ),
    *(
        b"\nunknown: 1\n",
        b"\nACCOUNT: 1\n",
        b"\n  hours: 1\n",
        b"\nhours:1\n",
        b"\nhours: 1\nhours: 2\n",
        b'\n_x: "1"\n',
    ),
    *(b"\nlists: kernels\n", b"\nhours_example: 1\n", b"\nlists_example: 1\n"),
]


@st.composite
def hostile_files(draw):
    """A settings.yml that somebody, or some editor, has spoilt here and there: maybe still right."""
    content, _ = draw(files())
    for _ in range(draw(st.integers(1, 3))):
        rows = content.split(b"\n")
        row = draw(st.integers(0, len(rows) - 1))
        kind = draw(st.sampled_from(["insert", "insert", "word", "double", "drop", "unended", "byte"]))
        if kind == "insert":
            place = draw(st.integers(0, len(content)))
            content = content[:place] + draw(st.sampled_from(BITS)) + content[place:]
        elif kind == "byte":
            place = draw(st.integers(0, len(content)))
            content = content[:place] + draw(st.binary(min_size=1, max_size=2)) + content[place:]
        elif kind == "unended":
            content = content.rstrip(b"\r\n")
        else:
            if kind == "word":
                rows[row] = rows[row].split(b":")[0] + b": " + draw(st.sampled_from(YAML_WORDS.split())).encode()
            elif kind == "double":
                rows.insert(draw(st.integers(0, len(rows))), rows[row])
            else:
                del rows[row]
            content = b"\n".join(rows)
    return content


# --- properties -----------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(file=files())
def test_a_right_file_means_the_same_to_bash_python_and_yaml(bash_reader, file):
    content, values = file
    assert by_bash(bash_reader, content) == (values, None)
    assert by_python(bash_reader.folder) == (values, None)
    assert by_yaml(content) == values


def hold_together(reader, content):
    """Ask all three about one file: they refuse it at the same line (None), or read the same, which is answered."""
    bash, bash_place = by_bash(reader, content)
    python, python_place = by_python(reader.folder)
    assert (bash is None) == (python is None), f"bash: {bash or bash_place}, Python: {python or python_place}"
    if bash is None:
        # where the bytes are no text at all, Python cannot count lines; bash cannot see a NUL
        assert bash_place == python_place or b"\0" in content or not is_text(content)
    else:
        assert bash == python
        assert not bash or by_yaml(content) == bash
    assert not (reader.where / "canary").exists()
    return bash


@settings(max_examples=300)
@given(content=hostile_files())
def test_a_spoilt_file_is_refused_by_all_or_means_the_same_to_all(bash_reader, content):
    event("read" if hold_together(bash_reader, content) else "refused")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# only a comment",
        b"hours: 1\0",
        b"hours: 1\ncores: 2\n# \0\n",
        b"\0hours: 1\ncores: 2",
        b"hours: 1\r\ncores: 2\r\n",
        b"hours: 1\r\r\n",
        b"hours: 1 # \xf4\x90\x80\x80\n",
        b"hours: 1 # \xed\xa0\x80\n",
        b"\xef\xbb\xbfhours: 1\n",
        b"hours: 1 # \xef\xbb\xbf\n",
        b"hours: 1 # \xc0\x80\n",
        b"hours: 1\xff\n",
        b"# \xef\xbf\xbe\n",
        b"# \xef\xbf\xbf\n",
        b"# \xc2\x85\n",
        b"# \xc2\x9b\n",
        b"# \xe2\x80\xa8\n",
        b"# \x7f\n",
        b"# \x1b\n",
        b"# \tx\n",
        b"\t\n",
        b"hours:\t1\n",
        b"hours: 1\nhours: 2\n",
        b"hours: 1\nhours: 1\n",
        b"hours: 0x10\n",
        b"hours: 010\n",
        b"hours: 1_0\n",
        b"hours: 1e3\n",
        b"hours: 1:30\n",
        b"project_name: null\n",
        b"project_name: No\n",
        b"project_name: y\n",
        b"project_name: ON\n",
        b"project_name: nulls\n",
        b"packages: [numpy, Yes]\n",
        b"packages: numpy\n",
        b"hours: [1]\n",
        b"hours: 1\n...\n",
        b"packages: [a, , b]\n",
        b"packages: [a , b ]#c\n",
        b"packages: [ a,b>=1.*  ,c ] # c\n",
        # Copier's own lines: nobody reads their values, yet YAML must not find the next line in them
        b"_x: 1\n_y: 2\nhours: 5\n",
        b'_x: "a\nhours: 5\n_y: b"\n',
        b"_x: [\nhours: 5\n",
        b"_x: {a\nhours: 5\n",
        b"_x: |\n  # text of x\nhours: 5\n",
        b"_x: a: b\nhours: 5\n",
        b"_x: *a\nhours: 5\n",
        b"_x: !y z\nhours: 5\n",
        b"_x: @y\nhours: 5\n",
    ],
)
def test_this_file_is_refused_by_all_or_means_the_same_to_all(bash_reader, content):
    hold_together(bash_reader, content)


def is_text(content):
    """Return whether these bytes are UTF-8."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_clusters_facts_mean_the_same_to_bash_python_and_yaml(bash_reader, name):
    status, values, words = bash_reader.ask("facts", argument=f"plugins/clusters/{name}.yml")
    assert (status, words) == (0, b"")
    bash = {fact.removeprefix("FACT_"): value for fact, value in values.items() if fact.startswith("FACT_")}
    python = as_text(python_reader.read_flat(bash_reader.folder / f"plugins/clusters/{name}.yml"))
    assert bash == python == as_text(FACTS[name])


# --- what people are told -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["hours : 2", "hours 2", " hours: 2", "- hours: 2", "Hours: 2", "hours=2"])
def test_a_line_that_is_nearly_right_is_shown_with_its_own_name(bash_reader, line):
    content = f"cluster: narval\n{line}\n".encode()
    status, _, words = bash_reader.ask("read", content)
    with pytest.raises(python_reader.SettingsError) as raised:
        python_reader.read_flat(bash_reader.folder / "settings.yml", RULES)
    expected = f"settings.yml:2: “{line}” cannot be read; write for example hours: 1"
    assert status != 0
    assert words.decode().strip().endswith(expected)
    assert str(raised.value) == expected


@pytest.mark.parametrize("line", ["hour : 2", "hour: two hours", "- nodes: 1", "GPU-type: h100 or a100"])
def test_a_line_with_another_name_is_not_answered_with_the_accounts(bash_reader, line):
    status, _, words = bash_reader.ask("read", f"cluster: narval\n{line}\n".encode())
    with pytest.raises(python_reader.SettingsError) as raised:
        python_reader.read_flat(bash_reader.folder / "settings.yml", RULES)
    name = re.search(r"[\w-]+", line.lstrip("- "))[0]
    expected = f"settings.yml:2: no setting is called “{name}”; the names are in lib/both/rules.yml"
    assert (status, words.decode().strip(), str(raised.value)) == (64, f"driver.sh: {expected}", expected)


# what is wrong: the line (or none) that settings.yml has instead, in a folder for Narval, and what people are told;
# "{at}" is the place of that line
REFUSALS = {
    "no value": (
        {"account": ""},
        "{at}: “account: ” cannot be read; write for example account: def-yourpi",
        "{at} : « account:  » ne peut pas être lu ; écrivez par exemple account: def-yourpi",
    ),
    "quotes": (
        {"hours": '"3"'},
        '{at}: “hours: "3"” cannot be read; write for example hours: 1',
        '{at} : « hours: "3" » ne peut pas être lu ; écrivez par exemple hours: 1',
    ),
    "a comment without a space before it": (
        {"hours": "3# at most"},
        "{at}: “hours: 3# at most” cannot be read; write for example hours: 1",
        "{at} : « hours: 3# at most » ne peut pas être lu ; écrivez par exemple hours: 1",
    ),
    "a command": (
        {"environment_path": "$(touch canary)"},
        "{at}: “environment_path: $(touch canary)” cannot be read; write for example environment_path: "
        "$HOME/jupyter_py3",
        "{at} : « environment_path: $(touch canary) » ne peut pas être lu ; écrivez par exemple environment_path:"
        " $HOME/jupyter_py3",
    ),
    "braces as in the messages": (
        {"account": "{example} {place}"},
        "{at}: “account: {example} {place}” cannot be read; write for example account: def-yourpi",
        "{at} : « account: {example} {place} » ne peut pas être lu ; écrivez par exemple account: def-yourpi",
    ),
    "a list in a list": (
        {"kernels": "[[python]]"},
        "{at}: “kernels: [[python]]” cannot be read; write for example kernels: [python, r]",
        "{at} : « kernels: [[python]] » ne peut pas être lu ; écrivez par exemple kernels: [python, r]",
    ),
    "a control character": (
        {"account": "def-\x1byourpi"},
        "{at}: an invisible character (a control character, or not UTF-8); type the line again.",
        "{at} : un caractère invisible (caractère de contrôle, ou qui n'est pas en UTF-8) ; retapez la ligne.",
    ),
    "a word that YAML takes for true": (
        {"project_name": "Yes"},
        "{at}: “Yes” is not possible here; write for example project_name: my-project",
        "{at} : « Yes » n'est pas possible ici ; écrivez par exemple project_name: my-project",
    ),
    "half an hour": (
        {"hours": "0.5"},
        "{at}: hours cannot be “0.5”; possible: 1-9999. Write for example hours: 1",
        "{at} : hours ne peut pas valoir « 0.5 » ; valeurs possibles : 1-9999. Écrivez par exemple hours: 1",
    ),
    "minutes too few to think in": (
        {"idle_minutes": "4"},
        "{at}: idle_minutes cannot be “4”; possible: 0, 5-9999. Write for example idle_minutes: 60",
        "{at} : idle_minutes ne peut pas valoir « 4 » ; valeurs possibles : 0, 5-9999. Écrivez par exemple idle_minutes: 60",
    ),
    "a place that there is not": (
        {"environment_location": "scratch"},
        "{at}: environment_location cannot be “scratch”; possible: home, project, node. Write for example environment_location: node",
        "{at} : environment_location ne peut pas valoir « scratch » ; valeurs possibles : home, project, node. Écrivez par exemple "
        "environment_location: node",
    ),
    "a path with ..": (
        {"environment_path": "$HOME/../other"},
        "{at}: “$HOME/../other” is not possible here; write for example environment_path: $HOME/jupyter_py3",
        "{at} : « $HOME/../other » n'est pas possible ici ; écrivez par exemple environment_path: $HOME/jupyter_py3",
    ),
    "one value for a list": (
        {"kernels": "python"},
        "{at}: “python” is not possible here; write for example kernels: [python, r]",
        "{at} : « python » n'est pas possible ici ; écrivez par exemple kernels: [python, r]",
    ),
    "a list for one value": (
        {"account": "[def-yourpi, def-other]"},
        "{at}: “def-yourpi def-other” is not possible here; write for example account: def-yourpi",
        "{at} : « def-yourpi def-other » n'est pas possible ici ; écrivez par exemple account: def-yourpi",
    ),
    "an option among the packages": (
        {"packages": "[numpy, x--index-url=y]"},
        "{at}: “x--index-url=y” is not possible here; write for example packages: [numpy, pandas>=2]",
        "{at} : « x--index-url=y » n'est pas possible ici ; écrivez par exemple packages: [numpy, pandas>=2]",
    ),
    "a name that is none": (
        {"memory": "1024"},
        "{at}: no setting is called “memory”; the names are in lib/both/rules.yml",
        "{at} : aucun réglage ne s'appelle « memory » ; les noms sont dans lib/both/rules.yml",
    ),
    "a name of the list of rules": (
        {"lists": "[kernels]"},
        "{at}: no setting is called “lists”; the names are in lib/both/rules.yml",
        "{at} : aucun réglage ne s'appelle « lists » ; les noms sont dans lib/both/rules.yml",
    ),
    "a line that is missing": (
        {"cores": None},
        "settings.yml: cores is missing; add the line cores: 2",
        "settings.yml : il manque cores ; ajoutez la ligne cores: 2",
    ),
    "a kernel that is none": (
        {"kernels": "[python, cobol]"},
        f"{{at}}: there is no “cobol” in plugins/kernels; available: {' '.join(PLUGINS['kernels'])}",
        f"{{at}} : il n'y a pas de « cobol » dans plugins/kernels ; disponibles : {' '.join(PLUGINS['kernels'])}",
    ),
    "an extension that is none": (
        {"extensions": "[git]"},
        f"{{at}}: there is no “git” in plugins/extensions; available: {' '.join(PLUGINS['extensions'])}",
        f"{{at}} : il n'y a pas de « git » dans plugins/extensions ; disponibles : {' '.join(PLUGINS['extensions'])}",
    ),
    "a cluster that is none": (
        {"cluster": "atlantis"},
        f"{{at}}: there is no “atlantis” in plugins/clusters; available: {' '.join(CLUSTERS)}",
        f"{{at}} : il n'y a pas de « atlantis » dans plugins/clusters ; disponibles : {' '.join(CLUSTERS)}",
    ),
    "a retired cluster": (
        {"cluster": "cedar"},
        "{at}: cedar is retired; its successor is fir. Write cluster: fir, or run: copier update",
        "{at} : cedar n'est plus en service ; la grappe fir lui succède. Écrivez cluster: fir, ou exécutez : "
        "copier update",
    ),
    "a person instead of an account": (
        {"account": "alice"},
        "{at}: “alice” is not an account on narval, where accounts begin with def-, rrg-, rpp-, ctb-; write for "
        "example account: def-yourpi",
        "{at} : « alice » n'est pas un compte de narval, où les comptes commencent par def-, rrg-, rpp-, ctb- ; écrivez "
        "par exemple account: def-yourpi",
    ),
    "a prefix alone": (
        {"account": "def"},
        "{at}: “def” is not an account on narval, where accounts begin with def-, rrg-, rpp-, ctb-; write for "
        "example account: def-yourpi",
        "{at} : « def » n'est pas un compte de narval, où les comptes commencent par def-, rrg-, rpp-, ctb- ; écrivez "
        "par exemple account: def-yourpi",
    ),
    "more hours than a job may last": (
        {"hours": "169"},
        "{at}: hours is 169; on narval it can be 168 at most.",
        "{at} : hours vaut 169 ; sur narval, le maximum est 168.",
    ),
    "more cores than a node has": (
        {"cores": "65"},
        "{at}: cores is 65; on narval it can be 64 at most.",
        "{at} : cores vaut 65 ; sur narval, le maximum est 64.",
    ),
    "more memory than a node has": (
        {"memory_per_core_mb": "2057501"},
        "{at}: 2 cores with 2057501 MB each are 4115002 MB; a node of narval has 4115000. Lower memory_per_core_mb or "
        "cores.",
        "{at} : 2 cœurs avec 2057501 Mo chacun font 4115002 Mo ; un nœud de narval en a 4115000. Diminuez "
        "memory_per_core_mb ou cores.",
    ),
    "more GPUs than a node has": (
        {"gpu_model": "a100", "gpus": "5"},
        "{at}: narval does not offer “a100:5”; gpu_model:gpus can be: a100:1-4 a100_1g.5gb:1 a100_2g.10gb:1 "
        "a100_3g.20gb:1 a100_4g.20gb:1. Write for example gpu_model: a100 and gpus: 1",
        "{at} : narval n'offre pas « a100:5 » ; gpu_model:gpus peut être : a100:1-4 a100_1g.5gb:1 a100_2g.10gb:1 "
        "a100_3g.20gb:1 a100_4g.20gb:1. Écrivez par exemple gpu_model: a100 et gpus: 1",
    ),
    "a GPU of another cluster": (
        {"gpu_model": "h100", "gpus": "1"},
        "{at}: narval does not offer “h100:1”; gpu_model:gpus can be: a100:1-4 a100_1g.5gb:1 a100_2g.10gb:1 "
        "a100_3g.20gb:1 a100_4g.20gb:1. Write for example gpu_model: a100 and gpus: 1",
        "{at} : narval n'offre pas « h100:1 » ; gpu_model:gpus peut être : a100:1-4 a100_1g.5gb:1 a100_2g.10gb:1 "
        "a100_3g.20gb:1 a100_4g.20gb:1. Écrivez par exemple gpu_model: a100 et gpus: 1",
    ),
    "a GPU without a model": (
        {"gpus": "1"},
        "{at}: narval does not offer “none:1”; gpu_model:gpus can be: a100:1-4 a100_1g.5gb:1 a100_2g.10gb:1 "
        "a100_3g.20gb:1 a100_4g.20gb:1. Write for example gpu_model: a100 and gpus: 1",
        "{at} : narval n'offre pas « none:1 » ; gpu_model:gpus peut être : a100:1-4 a100_1g.5gb:1 a100_2g.10gb:1 "
        "a100_3g.20gb:1 a100_4g.20gb:1. Écrivez par exemple gpu_model: a100 et gpus: 1",
    ),
    "more cores than a node with the GPU has": (
        {"gpu_model": "a100", "gpus": "1", "cores": "65"},
        "{at}: cores is 65; on narval it can be 64 at most.",
        "{at} : cores vaut 65 ; sur narval, le maximum est 64.",
    ),
    "no GPU where every job has one": (
        {"cluster": "killarney", "account": "aip-yourpi", "gpus": "0"},
        "{at}: every job of killarney needs 1 GPU or more; write for example gpus: 1 and gpu_model: l40s",
        "{at} : chaque tâche de killarney demande au moins 1 GPU ; écrivez par exemple gpus: 1 et gpu_model: l40s",
    ),
}


def place_of(folder, name):
    """Return FILE:LINE of the line that sets a name."""
    rows = (folder / "settings.yml").read_text(encoding="utf-8").split("\n")
    found = [number for number, row in enumerate(rows, start=1) if row.startswith(f"{name}:")]
    return f"settings.yml:{found[0]}" if found else "settings.yml"


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("wrong", REFUSALS)
def test_what_is_wrong_is_said_in_one_line_in_both_languages(make_folder, bash_reader, wrong, language):
    answers, english, in_french = REFUSALS[wrong]
    folder = make_folder("least", language=language)
    set_answer(folder, **answers)
    status, _, words = bash_reader.ask("load", (folder / "settings.yml").read_bytes())
    expected = (f"driver.sh: {english}" if language == "en" else french(f"driver.sh : {in_french}")) + "\n"
    assert words.decode("utf-8") == expected.replace("{at}", place_of(folder, list(answers)[-1]))
    assert status == 64
    assert not (bash_reader.where / "canary").exists()


def test_lab_refuses_jobs_without_a_gpu_where_there_are_none_too(make_folder, script):
    folder = make_folder({"cluster": "killarney", "account": "aip-yourpi"})
    set_answer(folder, gpus=0)
    done = script(Path(sys.executable), folder / "lab", "status", cwd=folder)
    said = (
        f"lab: {place_of(folder, 'gpus')}: every job of killarney needs 1 GPU or more; write for example gpus: 1 and "
    )
    assert (done.returncode, done.stdout, done.stderr) == (64, "", said + "gpu_model: l40s\n")


def test_a_script_says_it_in_its_own_name_and_runs_nothing(make_folder, script):
    folder = make_folder("least")
    set_answer(folder, account="def-yourpi; touch canary")
    done = script(folder / "start_salloc.sh", "--print")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == (
        f"start_salloc.sh: {place_of(folder, 'account')}: “account: def-yourpi; touch canary” cannot be read; "
        "write for example account: def-yourpi\n"
    )
    assert not (folder / "canary").exists()


def test_a_name_set_twice_is_refused_with_the_second_place(make_folder, bash_reader):
    content = (make_folder("least") / "settings.yml").read_bytes() + b"hours: 2\n"
    status, _, words = bash_reader.ask("load", content)
    place = f"settings.yml:{content.count(bytes([10]))}"
    assert (status, words.decode()) == (64, f"driver.sh: {place}: hours is set twice; keep one of the lines.\n")


def test_a_nul_is_refused_although_bash_cannot_see_it(make_folder, bash_reader):
    content = (make_folder("least") / "settings.yml").read_bytes()
    for spoilt in [content.replace(b"hours: 1", b"hours: 1\0"), content + b"\0", content.rstrip(b"\n") + b"\0"]:
        status, _, words = bash_reader.ask("load", spoilt)
        assert (status, words.decode()) == (
            64,
            "driver.sh: settings.yml: an invisible character (a control character, or not UTF-8); "
            "type the line again.\n",
        )


@pytest.mark.parametrize("name", ["settings.yml", "personal.yml", "requirements.txt"])
def test_a_file_that_cannot_be_read_is_one_line(make_folder, script, name):
    folder = make_folder("least")
    (folder / name).unlink(missing_ok=True)
    # root may read all files
    (folder / name).mkdir()
    done = script(folder / "setup_env.sh", "--print")
    assert (done.returncode, done.stdout, done.stderr) == (
        *(64, ""),
        f"setup_env.sh: {name} is a folder, or you may not read it; make it a file that you may read (chmod u+r, or ask its "
        "owner).\n",
    )


def test_windows_line_endings_change_nothing(make_folder, script):
    folder = make_folder("class")
    before = script(folder / "start_salloc.sh", "--print").stdout
    content = (folder / "settings.yml").read_bytes()
    (folder / "settings.yml").write_bytes(content.replace(b"\n", b"\r\n"))
    done = script(folder / "start_salloc.sh", "--print")
    assert (done.returncode, done.stdout, done.stderr) == (0, before, "")


@pytest.mark.parametrize("line", ["user: alice", "ssh_host: narval-as-me", "port: 8890", "connection: separate"])
def test_what_belongs_to_one_person_is_read_from_personal_yml(make_folder, bash_reader, line):
    content = (make_folder("least") / "settings.yml").read_bytes()
    personal = bash_reader.folder / "personal.yml"
    personal.write_text(f"{line}\n")
    try:
        status, values, _ = bash_reader.ask("load", content)
    finally:
        personal.unlink()
    name, value = line.split(": ")
    assert (status, values[f"SETTING_{name}"]) == (0, value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("user: alice smith", "“user: alice smith” cannot be read; write for example user: alice"),
        ("user: -oProxyCommand=x", "“user: -oProxyCommand=x” cannot be read; write for example user: alice"),
        ("user: alice@host", "“alice@host” is not possible here; write for example user: alice"),
        ("ssh_host: a/b", "“a/b” is not possible here; write for example ssh_host: narval"),
        ("port: 80", "port cannot be “80”; possible: 1024-65535. Write for example port: 8890"),
        ("port: 99999", "port cannot be “99999”; possible: 1024-65535. Write for example port: 8890"),
        ("name: alice", "no setting is called “name”; the names are in lib/both/rules.yml"),
    ],
)
def test_what_is_wrong_in_personal_yml_is_said_with_its_place(make_folder, script, line, words):
    folder = make_folder("least")
    (folder / "personal.yml").write_text(f"# mine\n{line}\n")
    done = script(folder / "start_salloc.sh", "--print")
    assert (done.returncode, done.stdout, done.stderr) == (64, "", f"start_salloc.sh: personal.yml:2: {words}\n")


@pytest.mark.parametrize("language", ["en", "fr"])
def test_personal_yml_cannot_change_what_the_project_has_set(make_folder, script, language):
    folder = make_folder("least", language=language)
    (folder / "personal.yml").write_text("account: def-somebodyelse\n")
    done = script(folder / "start_salloc.sh", "--print")
    words = {
        "en": "start_salloc.sh: personal.yml:1: account belongs in settings.yml.\n",
        "fr": french("start_salloc.sh : personal.yml:1 : account doit se trouver dans settings.yml.\n"),
    }
    assert (done.returncode, done.stdout, done.stderr) == (64, "", words[language])


@pytest.mark.parametrize("line", ["user: alice", "ssh_host: narval", "port: 8890", "connection: shared"])
def test_settings_yml_keeps_nothing_that_belongs_to_one_person(make_folder, bash_reader, line):
    content = (make_folder("least") / "settings.yml").read_bytes() + f"{line}\n".encode()
    status, _, words = bash_reader.ask("load", content)
    name, place = line.split(":")[0], f"settings.yml:{content.count(bytes([10]))}"
    assert (status, words.decode()) == (64, f"driver.sh: {place}: {name} belongs in personal.yml.\n")
    hold_together(bash_reader, content)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_NEEDED])
def test_a_setting_that_is_missing_is_asked_for_with_its_line(make_folder, bash_reader, name):
    folder = make_folder("least")
    set_answer(folder, **{name: None})
    status, _, words = bash_reader.ask("load", (folder / "settings.yml").read_bytes())
    line = f"{name}: {RULES[f'{name}_example']}"
    # in the language that is no longer set
    assert (status, words.decode()) == (64, f"driver.sh: settings.yml: {name} is missing; add the line {line}\n")


def test_a_cluster_that_asks_needs_its_answers(make_folder, bash_reader):
    folder = make_folder("other")
    set_answer(folder, login_host=None)
    status, _, words = bash_reader.ask("load", (folder / "settings.yml").read_bytes())
    expected = "settings.yml: login_host is missing; add the line login_host: login.example.org\n"
    assert (status, words.decode()) == (64, f"driver.sh: {expected}")


def test_the_answers_of_another_cluster_count_as_its_facts(make_folder, bash_reader):
    status, values, _ = bash_reader.ask("load", (make_folder("other") / "settings.yml").read_bytes())
    facts = {name: values[f"FACT_{name}"] for name in ["login_host", "modules_first", "pip_source"]}
    expected = {"login_host": "login.example.org", "modules_first": "gcc StdEnv/2023", "pip_source": "wheelhouse"}
    assert (status, facts) == (0, expected)


def test_what_a_refusal_says_is_possible_is_what_the_rule_allows():
    for name in NAMES + PERSONAL:
        allowed = RULES.get(f"{name}_allowed")
        # numbers have bounds, and where only a few words are possible, these are said
        assert bool(allowed) == (re.search("[A-Za-z]", RULES[name]) is None or "[" not in RULES[name]), name
        for part in allowed.split(", ") if allowed else []:
            least, _, most = part.partition("-")
            inside = {least, most or least}
            assert all(re.fullmatch(RULES[name], word) for word in inside), name
            if least.isdigit():
                outside = {str(int(least) - 1), str(int(most or least) + 1)} - {*allowed.split(", ")}
                assert not any(re.fullmatch(RULES[name], word) for word in outside), name
        if allowed and not allowed[0].isdigit():
            assert RULES[name] == f"({allowed.replace(', ', '|')})"


def test_every_example_of_the_rules_follows_its_rule():
    for name in NAMES + PERSONAL:
        shown_value = yaml.safe_load(RULES[f"{name}_example"])
        assert isinstance(shown_value, list) == (name in LISTS)
        for item in shown_value if name in LISTS else [shown_value]:
            assert re.fullmatch(RULES[name], str(item)), name


# --- the clusters' facts --------------------------------------------------------------------------------------------

HOST = r"[a-z0-9-]+(\.[a-z0-9-]+)+"
NUMBER_OR_UNKNOWN = re.compile("[1-9][0-9]*|unknown")
OF_A_MODEL = re.compile("[a-z0-9_.]+:([1-9][0-9]*|unknown)")
VALUES = {
    "status": re.compile("in_service"),
    "scheduler": re.compile("slurm|none"),
    "login_host": re.compile(f"{HOST}|localhost|asked"),
    "gpu_login_host": re.compile(HOST),
    "host_keys": re.compile("SHA256:[A-Za-z0-9+/]{43}"),
    "host_keys_page": re.compile(rf"https://{HOST}/\S*"),
    "gpu_login_nodes": re.compile("[a-z]+"),
    "reach": re.compile("node|jump|local"),
    "account_prefixes": re.compile("[a-z][a-z0-9]*"),
    "hours_max": NUMBER_OR_UNKNOWN,
    "interactive_hours_max": NUMBER_OR_UNKNOWN,
    "node_cores": NUMBER_OR_UNKNOWN,
    "node_memory_mb": NUMBER_OR_UNKNOWN,
    "gpus_min": re.compile("[1-9][0-9]*"),
    "gpu_requests": re.compile(r"[a-z0-9_.]+:[1-9][0-9]?(-[1-9][0-9]?)?"),
    "gpu_by_gres": re.compile("[a-z0-9_.]+"),
    "gpu_node_cores": OF_A_MODEL,
    "gpu_node_memory_mb": OF_A_MODEL,
    "gpu_cores": OF_A_MODEL,
    "gpu_memory_gb": OF_A_MODEL,
    "max_jobs": NUMBER_OR_UNKNOWN,
    "allocation": re.compile("core|node"),
    "memory_option": re.compile("per_core|none"),
    "submit_from": re.compile("any|not_home|scratch"),
    "jobs_from_jobs": re.compile("refused"),
    "home_on_compute": re.compile("writable|read_only"),
    "node_disk": re.compile("memory"),
    "modules_first": re.compile(RULES["modules_first"]),
    "pip_source": re.compile("wheelhouse|pypi|asked"),
    "internet_on_compute": re.compile("none|direct|proxy|unknown"),
    "kernel_modules": re.compile("|".join(name for name in PLUGINS["kernels"] if name.endswith("-kernel"))),
    "web": re.compile(rf"https://{HOST}(/\S*)?|none"),
}
OPTIONAL = {
    *["gpu_login_host", "gpu_login_nodes", "gpus_min", "gpu_by_gres", "host_keys", "host_keys_page", "node_disk"],
    "jobs_from_jobs",
}


@pytest.mark.parametrize("name", IN_SERVICE)
def test_a_cluster_in_service_states_every_fact_and_no_other(name):
    assert set(VALUES) - OPTIONAL <= set(FACTS[name]) <= set(VALUES)
    for fact, value in FACTS[name].items():
        for item in value if isinstance(value, list) else [value]:
            assert VALUES[fact].fullmatch(str(item)), f"{fact}: {item}"


@pytest.mark.parametrize("name", IN_SERVICE)
def test_a_clusters_facts_agree_with_each_other(name):
    facts = FACTS[name]
    assert ("host_keys" in facts) == ("host_keys_page" in facts)
    if "unknown" not in (facts["hours_max"], facts["interactive_hours_max"]):
        assert facts["interactive_hours_max"] <= facts["hours_max"]
    models = [request.split(":")[0] for request in facts["gpu_requests"]]
    # no number of GPUs of a model is said twice
    requests = [
        (model, number)
        for model, _, numbers in (request.partition(":") for request in facts["gpu_requests"])
        for number in range(int(numbers.split("-")[0]), int(numbers.split("-")[-1]) + 1)
    ]
    assert len(requests) == len(set(requests))
    for numbers in ["gpu_node_cores", "gpu_node_memory_mb", "gpu_cores", "gpu_memory_gb"]:
        described = [entry.split(":")[0] for entry in facts[numbers]]
        assert not described or all(model.startswith(tuple(described)) for model in models), numbers
        # the first that fits counts: no other stands behind it in vain
        assert [name for place, name in enumerate(described) if name.startswith(tuple(described[:place]))] == []
    if facts["allocation"] == "node":
        assert not [entry for entry in facts["gpu_cores"] if entry.endswith(":unknown")]
    assert set(facts.get("gpu_by_gres", [])) <= set(models)


@pytest.mark.parametrize("name", RETIRED)
def test_a_retired_cluster_names_a_successor_that_is_in_service(name):
    assert set(FACTS[name]) == {"status", "successor"}
    assert FACTS[name]["successor"] in IN_SERVICE


# what would hurt most if it were wrong, as the sources had it on 2026-11-26: login host, the longest job and the
# longest interactive one in hours, how a laptop reaches a node, accounts, what GPUs can be asked for
# https://docs.alliancecan.ca/wiki/ Narval/en, Fir, Nibi, Rorqual/en, Trillium_Quickstart, TamIA/en, Killarney, Vulcan;
# interactive limits: live captures of 2026; the ssh -J form: .../wiki/VNC (2026-01-16)
GENERAL = ["def", "rrg", "rpp", "ctb"]
CRUCIAL = {
    "narval": (
        "narval.alliancecan.ca",
        168,
        8,
        "node",
        GENERAL,
        {"a100", "a100_1g.5gb", "a100_2g.10gb", "a100_3g.20gb", "a100_4g.20gb"},
    ),
    "fir": (
        "fir.alliancecan.ca",
        168,
        "unknown",
        "node",
        GENERAL,
        {"h100", *(f"nvidia_h100_80gb_hbm3_{part}" for part in ["1g.10gb", "2g.20gb", "3g.40gb"])},
    ),
    "nibi": ("nibi.alliancecan.ca", 168, 8, "jump", GENERAL, {"h100", "h100_1g.10gb", "mi300a", "a100", "t4"}),
    "rorqual": ("rorqual.alliancecan.ca", 168, 8, "node", GENERAL, {"h100", "h100_1g.10gb"}),
    "trillium": ("trillium.alliancecan.ca", 24, 24, "node", ["def", "rrg", "rpp"], {"h100", "h200"}),
    "tamia": ("tamia.alliancecan.ca", 24, 6, "node", ["aip"], {"h100", "h200"}),
    "killarney": ("killarney.alliancecan.ca", 168, 3, "node", ["aip"], {"l40s", "h100"}),
    "vulcan": ("vulcan.alliancecan.ca", 168, 8, "node", ["aip"], {"l40s", "l40s.2", "l40s.3", "l40s.4"}),
}


@pytest.mark.parametrize("name", CRUCIAL)
def test_the_crucial_facts_are_those_of_the_sources(name):
    host, hours, interactive, reach, prefixes, models = CRUCIAL[name]
    facts = FACTS[name]
    assert (facts["login_host"], facts["hours_max"], facts["interactive_hours_max"]) == (host, hours, interactive)
    assert (facts["reach"], facts["account_prefixes"]) == (reach, prefixes)
    assert models <= {request.split(":")[0] for request in facts["gpu_requests"]}


def test_these_are_in_service_and_the_two_that_stand_for_others():
    assert {*CRUCIAL, "other", "local"} <= set(IN_SERVICE)


@pytest.mark.parametrize("name", sorted(set(IN_SERVICE) - {"other", "local"}))
def test_a_cluster_has_a_login_host_of_its_own_and_sources_with_their_dates(name):
    hosts = [FACTS[other]["login_host"] for other in IN_SERVICE]
    assert hosts.count(FACTS[name]["login_host"]) == 1
    title, sources, *rest = (TEMPLATE / f"plugins/clusters/{name}.yml").read_text(encoding="utf-8").split("\n")
    assert re.match("# [^:]+, [^:]+", title)
    # where a line names no other source, the first one counts
    assert re.match(r"# Facts from https://\S+ \(\d{4}-\d{2}-\d{2}\)", sources), sources
    undated = [line for line in rest if line.startswith("# https://") and not re.search(r"\(\d{4}-\d{2}-\d{2}", line)]
    assert undated == []


def test_trillium_gives_gpus_by_one_or_four_on_nodes_of_their_own_login_host():
    facts = FACTS["trillium"]
    assert facts["gpu_requests"] == ["h100:1", "h100:4", "h200:4"]
    assert facts["gpu_login_host"] == "trillium-gpu.alliancecan.ca"
