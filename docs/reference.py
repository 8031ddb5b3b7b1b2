"""Fill in, while MkDocs builds, what the template itself says; so no page can go stale.

MkDocs calls the functions on_... (mkdocs.yml, hooks). In a page,

    {{ settings }}  {{ personal }}          every setting, from copier.yml, questions/ and template/lib/both/rules.yml
    {{ commands }}                          every script's --help
    {{ lab }}                               lab's help, and that of each of its commands
    {{ overview }}  {{ clusters }}  {{ retired }}    the facts of template/plugins/clusters, with their sources
    {{ message KEY NAME=VALUE ... }}        what a script says, from template/lib/texts: its first line
    {{ screen KEY NAME=VALUE ... }}         all of it, as a terminal shows it
    {{ question KEY NAME=VALUE ... }}       what Copier says, from questions/
    {{ hook KEY NAME=VALUE ... }}           what the command `passerelle` says, from hooks/passerelle/texts/

are replaced in the page's language. It is a warning, and so an error with --strict (but not with --quiet, which counts
no warnings), when the page when-it-fails leaves out a message of trouble or has an entry that only points elsewhere,
when a fact has no word of explanation, when an example is cut at its right, and when a page lacks its other language.
"""

import ast
import glob
import html
import json
import logging
import os
import re
import shlex
import textwrap
from pathlib import Path

import jinja2
import yaml
from mkdocs.plugins import event_priority

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "template"
log = logging.getLogger("mkdocs.hooks.reference")

# the facts that the table of all clusters shows
OVERVIEW = [
    "account_prefixes",
    "gpu_requests",
    "interactive_hours_max",
    "hours_max",
    "submit_from",
    "internet_on_compute",
    "reach",
    "web",
]
# a source with its date, in a comment of a cluster's file, and a line of nothing else
SOURCE = re.compile(r"(https://\S+|github\.com/\S+|public notes|live) \((\d{4}-\d{2}(?:-\d{2})?|undated)\)")
SOURCES = re.compile(rf"{SOURCE.pattern}(?:, {SOURCE.pattern})*")
# what stands for a {name} in a message where the page gives nothing else
EXAMPLES = {
    "cluster": "narval",
    "host": "narval.alliancecan.ca",
    "job": "12345678",
    "login": "alice@narval.alliancecan.ca",
    "path": "/home/alice/jupyter_py3",
    "place": "settings.yml:9",
}
# what a line of code may be long
COLUMNS = 80
# the order in which the scripts are shown; others come after
SCRIPTS = ["setup_env", "start_salloc", "submit_session", "jupyterlab", "tunnel_ssh", "tunnel_sshuttle"]
# what lib/laptop/lab calls to say that something is wrong, and what else it calls with the key of a message
TROUBLE = ["Trouble", "SettingsError", "warn", "_warn", "_trouble", "__init__"]
WELL = ["_ok", "_nothing", "message", "show"]


def read(path):
    """Return a YAML file's content; values such as 1.10 in the facts stay words."""
    return yaml.load((ROOT / path).read_text(encoding="utf-8"), yaml.BaseLoader)


def words_of(language):
    """Return the words that stand around what the template says."""
    return read(f"docs/words/{language}.yml")


def questions():
    """Return copier.yml's questions, in order, as name: definition; what is typed in a field is no setting."""
    found = read("copier.yml")
    settings = [name for name in found if name[0] != "_" and not name.endswith("_typed")]
    return {name: {**found[name], **typed_in(found, name)} for name in settings if found[name].get("when") != "false"}


def typed_in(found, name):
    """Return what a field has that the setting has not: its question; and it is asked."""
    field = found.get(f"{name}_typed")
    return {"help": field["help"], "ask": "true"} if field else {}


def rendered(text, language):
    """Return a piece of copier.yml as it is for Narval in a new folder called my-project."""
    environment = jinja2.Environment(undefined=jinja2.ChainableUndefined, loader=jinja2.FileSystemLoader(ROOT))
    environment.filters["regex_replace"] = lambda value, old, new: re.sub(old, new, value)
    environment.filters["regex_search"] = lambda value, wanted: re.search(wanted, value)
    # questions/checks.jinja has them, too
    environment.filters |= {"from_yaml": yaml.safe_load, "realpath": os.path.realpath}
    environment.filters |= {"expanduser": os.path.expanduser, "fileglob": glob.glob}
    return environment.from_string(text).render(
        texts=read(f"questions/{language}.yml"),
        facts=read("template/plugins/clusters/narval.yml"),
        gpus="0",
        gpu_model="none",
        rules=read("template/lib/both/rules.yml"),
        UNSET="",
        _folder_name="my-project",
    )


def setting(name, definition, language):
    """Return one setting's heading, question and list."""
    words, rules = words_of(language), read("template/lib/both/rules.yml")
    texts = read(f"questions/{language}.yml")
    question = texts.get(name) or definition["help"]
    lines = [f"### {name}", "", "*" + question.replace("{limit}", "…") + "*", ""]

    def item(key, value):
        lines.append(f"- {words[key]}{words['colon']} {value}")

    default = definition.get("default", "")
    if isinstance(default, str):
        default = rendered(default, language)
    item("default", f"`{written(default)}`" if default != "" else words["must_answer"])
    item("example", f"`{name}: {written(rules[f'{name}_example'])}`")
    choices = definition.get("choices")
    if isinstance(choices, dict):
        plain = [value for value in choices.values() if isinstance(value, str)]
        item("many" if "multiselect" in definition else "choices", ", ".join(f"`{value}`" for value in plain))
    else:
        item("pattern", f"`{rules[name]}`")
    if definition.get("ask") == "false":
        lines.append(f"- {words['not_asked']}")
    elif "when" in definition:
        lines.append(f"- {words['sometimes']}")
    return "\n".join(lines)


def written(value):
    """Return a value or a list as settings.yml writes it."""
    return value if isinstance(value, str) else "[" + ", ".join(value) + "]"


def settings(language):
    """Return every question of copier.yml."""
    return "\n\n".join(setting(name, definition, language) for name, definition in questions().items())


def personal(language):
    """Return the names of personal.yml: those of lib/both/rules.yml that copier.yml does not ask."""
    rules, words = read("template/lib/both/rules.yml"), words_of(language)
    names = [name for name in rules if f"{name}_example" in rules and name not in questions()]
    return "\n".join(
        f"- `{name}`{words['colon']} {words['example'].lower()} `{name}: {rules[f'{name}_example']}`" for name in names
    )


def commands(language):
    """Return every script's help: its translation, or its header, which is in English."""
    paths = [*TEMPLATE.glob("*.sh"), *TEMPLATE.glob("*.ps1")]
    parts = []
    for path in sorted(paths, key=lambda path: [*SCRIPTS, path.stem].index(path.stem)):
        translation = TEMPLATE / f"lib/texts/{language}/help/{path.name}.txt"
        if translation.exists():
            text = translation.read_text(encoding="utf-8")
        elif path.suffix == ".ps1":
            header = re.search(r"<#\n(.*?)#>", path.read_text(encoding="utf-8"), re.S)[1]
            text = re.sub(r"(?m)^\.[A-Z]+\n", "", header)
        else:
            header = re.match(r"#!.*\n((#.*\n)+)", path.read_text(encoding="utf-8"))[1]
            text = re.sub(r"(?m)^# ?", "", header)
        parts.append(f"### {path.name}\n\n```text\n{text.strip()}\n```")
    return "\n\n".join(parts)


def lab(language):
    """Return lab's help, and its commands' in the order in which it names them."""
    help_of = {
        path.stem: path.read_text(encoding="utf-8").strip()
        for path in TEMPLATE.glob(f"lib/texts/{language}/help/lab*.txt")
    }
    names = ["lab", *(f"lab-{command}" for command in re.findall(r"(?m)^  \./lab ([a-z]+)", help_of["lab"]))]
    return "\n\n".join(f"### {name.replace('-', ' ')}\n\n```text\n{help_of[name]}\n```" for name in names)


def facts():
    """Return {id: (headings, {fact: (value, sources, remarks)})} from the clusters' files and their comments.

    A comment's line is one or more sources with their dates, or a remark: "fr: ..." in French, otherwise in English.
    headings and remarks are {language: [lines]}; what has no source of its own has that of the file's second line.
    """
    found = {}
    for path in sorted((TEMPLATE / "plugins/clusters").glob("*.yml")):
        values, rows, comment = read(path), {}, []
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                comment.append(line.removeprefix("# "))
            elif line:
                name = line.split(":")[0]
                if not rows:
                    headings = in_languages(line for line in comment if not SOURCE.search(line))
                    general, comment = [source for line in comment for source in SOURCE.findall(line)], []
                sources = [source for line in comment if SOURCES.fullmatch(line) for source in SOURCE.findall(line)]
                remarks = in_languages(line for line in comment if not SOURCES.fullmatch(line))
                rows[name] = values[name], sources or general, remarks
                comment = []
        found[path.stem] = headings, rows
    return found


def in_languages(lines):
    """Return {language: [lines]}; a line without a language is English."""
    found = {}
    for line in lines:
        language, colon, text = line.partition(": ")
        found.setdefault(language if colon and re.fullmatch("[a-z]{2}", language) else "en", []).append(
            text if colon and re.fullmatch("[a-z]{2}", language) else line
        )
    return found


def cited(sources, language):
    """Return the sources of a fact for a table: addresses as links, each with its date."""
    words = words_of(language)
    return ", ".join(f"{linked(words.get(source, source))} ({words.get(date, date)})" for source, date in sources)


def shown(value, language):
    """Return a fact's value for a table."""
    if value == "unknown":
        return words_of(language)["unknown"]
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value) or "–"
    return linked(value) if value.startswith("http") else f"`{value}`"


def linked(text):
    """Return the text with its addresses as links."""
    return re.sub(r"(?<![./\w])((?:https://|github\.com/)[^\s,;)]*[^\s,;:.)])", in_brackets, text)


def in_brackets(match):
    """Return an address as a Markdown link."""
    address = match[1]
    return f"[{address.removeprefix('https://')}]({address if address.startswith('https') else 'https://' + address})"


def overview(language):
    """Return one table of all clusters in service."""
    words = words_of(language)
    lines = ["| " + " | ".join(words[title] for title in ["cluster", *OVERVIEW]) + " |"]
    lines.append("|---" * (len(OVERVIEW) + 1) + "|")
    for name, (_, rows) in facts().items():
        if rows["status"][0] != "retired" and name not in ("other", "local"):
            found = {fact: rows[fact][0] for fact in OVERVIEW}
            # slices of a GPU make this table too wide; they are in the cluster's own
            found["gpu_requests"] = [entry for entry in found["gpu_requests"] if not re.search("[_.]", entry)]
            cells = [shown(value, language) for value in found.values()]
            lines.append(f"| [{name}](#{name}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def clusters(language):
    """Return a table for each cluster: fact, value, sources with their dates, remarks."""
    words, parts = words_of(language), []
    for name, (headings, rows) in facts().items():
        if rows["status"][0] == "retired":
            continue
        heading = headings.get(language, [])
        lines = [f"### {name} {{ #{name} }}", "", " ".join(f"{line.rstrip('.')}." for line in heading), ""]
        lines += [
            "| " + " | ".join(words[title] for title in ["fact", "value", "source", "remark"]) + " |",
            "|---" * 4 + "|",
        ]
        for fact, (value, sources, remarks) in rows.items():
            # nobody says what is unknown
            said = "" if value == "unknown" and sources == rows["status"][1] else cited(sources, language)
            cells = [f"`{fact}`", shown(value, language), said, "; ".join(remarks.get(language, []))]
            lines.append("| " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def retired(language):
    """Return the retired clusters, each with its successor."""
    lines = []
    for name, (headings, rows) in facts().items():
        if rows["status"][0] == "retired":
            successor, sources, _ = rows["successor"]
            heading = " ".join(headings.get(language, []))
            lines.append(f"- `{name}` → `{successor}`. {heading}. {cited(sources, language)}")
    return "\n".join(lines)


def untranslated(language):
    """Return the facts (narval: reach), and clusters, that have more or fewer remarks in English than in a language."""
    found = []
    for name, (headings, rows) in facts().items():
        every = {"": headings, **{f": {fact}": remarks for fact, (_, _, remarks) in rows.items()}}
        found += [name + fact for fact, said in every.items() if len(said.get(language, [])) != len(said.get("en", []))]
    return found


def catalogue(kind, language):
    """Return the texts of the scripts, of Copier's questions ("question") or of the command `passerelle` ("hook")."""
    paths = {"question": "questions/{}.yml", "hook": "hooks/passerelle/texts/{}.yml"}
    return read(paths.get(kind, "template/lib/texts/{}/messages.yml").format(language))


def quoted(kind, words, language):
    """Return one text with its names filled in, as code: its first line, or all of it as a terminal shows it."""
    key, *pairs = shlex.split(words)
    values = EXAMPLES | dict(pair.split("=", 1) for pair in pairs)
    text = catalogue(kind, language)[key].strip("\n")
    text = re.sub(r"{([a-z_]+)}", lambda match: values[match[1]], text)
    if kind != "screen":
        return f"`{text.strip().splitlines()[0]}`"
    wrap = textwrap.TextWrapper(COLUMNS, break_long_words=False, break_on_hyphens=False).wrap
    return "\n".join(["```text", *(part for line in text.splitlines() for part in wrap(line) or [""]), "```"])


def signposts(markdown):
    """Return the entries of a page of definitions that only send the reader elsewhere, and help with nothing."""
    entries = re.findall(r"(?m)^:   (.*(?:\n    .*)*)", markdown)
    plain = [re.sub(r"\s+", " ", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", entry)) for entry in entries]
    return [entry for entry in plain if re.fullmatch(r"(As|See|Comme|Voyez|Voir)\b[^.:;!?]*[.!?]?", entry)]


def troubles():
    """Return the keys of every message that says what is wrong, as the scripts use them."""
    code = [path.read_text(encoding="utf-8") for path in TEMPLATE.rglob("*") if path.suffix in (".sh", ".ps1")]
    used = set(re.findall(r"\b(?:die|misuse|warn|Stop-Here) '?([a-z_]+)", "\n".join(code)))
    for path in TEMPLATE.glob("lib/laptop/lab/*.py"):
        used |= troubles_in(ast.parse(path.read_text(encoding="utf-8")))
    # "said" hands on what a script of the login node has said, which is explained itself
    return used & set(catalogue("message", "en")) - {"said"}


def troubles_of_hooks():
    """Return the keys of what is wrong that the command `passerelle` says, but for others' words."""
    used = set()
    for path in (ROOT / "hooks/passerelle").glob("*.py"):
        used |= troubles_in(ast.parse(path.read_text(encoding="utf-8")))
    texts = catalogue("hook", "en")
    return {key for key in used & set(texts) if not re.match(r"{words}", texts[key])}


def troubles_in(tree):
    """Return those of one Python file: what it raises or warns of, and in lab's check all but what goes well."""

    def words(node):
        return {item.value for item in ast.walk(node) if isinstance(item, ast.Constant) and isinstance(item.value, str)}

    raised, well = set(), set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name in TROUBLE:
            raised |= words(call.args[0])
        elif name in WELL:
            well |= words(call.args[0])
    return raised | {word for word in words(tree) - well if word.startswith("check_")}


def on_page_markdown(markdown, page, config, **_):
    """MkDocs' hook: replace what stands in double braces, and warn of what is left without explanation."""
    language = page.file.locale
    name = page.file.src_uri
    if language != config.plugins["i18n"].current_language:
        log.warning("%s: not in the language %s", name, config.plugins["i18n"].current_language)
    explained = set(re.findall(r"{{ message ([a-z_]+)", markdown))
    if "when-it-fails" in name:
        # who pastes a message into the search box is to find this page first
        page.meta["search"] = {"boost": 4}
        hooks = set(re.findall(r"{{ hook ([a-z_]+)", markdown))
        for key in sorted((troubles() - explained) | (troubles_of_hooks() - hooks)):
            log.warning("%s: nothing is said about the message %s", name, key)
        for entry in signposts(markdown):
            log.warning("%s: an entry says nothing but “%s”", name, entry)
    if "reference/clusters" in name:
        for fact in sorted({fact for _, rows in facts().values() for fact in rows}):
            if f"`{fact}`" not in markdown:
                log.warning("%s: nothing is said about the fact %s", name, fact)
        for place in untranslated(language):
            log.warning("%s: the remarks in the language %s are not those in English: %s", name, language, place)
    for part in (settings, personal, commands, lab, overview, clusters, retired):
        marker = "{{ " + part.__name__ + " }}"
        if marker in markdown:
            markdown = markdown.replace(marker, part(language))

    def filled(match):
        try:
            return quoted(match[1], match[2], language)
        except KeyError as missing:
            log.warning("%s: %s has no %s", name, match[0], missing)
            return match[0]

    return re.sub(r"{{ (message|screen|question|hook) ([^}]*) }}", filled, markdown)


def on_page_content(content, page, **_):
    """MkDocs' hook: warn of lines of examples that a window of 1280 pixels does not show whole."""
    for example in re.findall(r"(?s)<pre.*?</pre>", content):
        for line in html.unescape(re.sub("<[^>]*>", "", example)).splitlines():
            # the scripts' helps are looked at where they are
            if len(line) > COLUMNS and "reference/commands" not in page.file.src_uri:
                log.warning("%s: more than %s columns: %s", page.file.src_uri, COLUMNS, line)


# --- the search box finds the pages of its own language ---------------------------------------------------------------


def on_post_page(output, page, config):
    """MkDocs' hook: have a page of another language than the first look for the index in its language's folder."""
    if page.file.locale == config.plugins["i18n"].default_language:
        return output
    return re.sub(r'(<script id="__config"[^>]*>[^<]*?"base": ")\.\./?([^"]*")', r"\1./\2", output)


# after the plugin i18n, which writes one index for all
@event_priority(-100)
def on_post_build(config):
    """MkDocs' hook: give each language an index of its own."""
    site = Path(config.site_dir)
    whole = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))
    rest = whole["docs"]
    for language in config.plugins["i18n"].build_languages:
        start = f"{language}/"
        if language != config.plugins["i18n"].default_language:
            own = [
                {**entry, "location": entry["location"].removeprefix(start)}
                for entry in rest
                if entry["location"].startswith(start)
            ]
            rest = [entry for entry in rest if not entry["location"].startswith(start)]
            write_index(site / language, whole, language, own)
    write_index(site, whole, config.plugins["i18n"].default_language, rest)


def write_index(folder, whole, language, entries):
    """Write the index of one language below its folder of the site."""
    path = folder / "search/search_index.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    index = {**whole, "config": {**whole["config"], "lang": [language]}, "docs": entries}
    path.write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")
