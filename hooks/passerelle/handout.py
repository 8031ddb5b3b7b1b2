"""`passerelle handout`: one page for the students of a course, from the folder's settings, to print and as Markdown."""

from pathlib import Path

import markdown
import yaml
from jinja2 import Environment, StrictUndefined
from plumbum import cli

from .cli import Command
from .meeting import clusters
from .probe import fits, rules
from .texts import HERE, MISUSE, Trouble, message, say, speak, warn

PAGE = """<!DOCTYPE html>
<html lang="{language}"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 11pt/1.4 sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em }}
h1 {{ font-size: 1.4em }} h2 {{ font-size: 1.1em; margin-bottom: .3em }}
pre {{ background: #f3f3f3; padding: .5em 1em; white-space: pre-wrap }}
td, th {{ border: 1px solid #bbb; padding: .3em .6em; text-align: left }} table {{ border-collapse: collapse }}
@page {{ size: letter; margin: 15mm }} @media print {{ body {{ margin: 0; font-size: 10pt }} }}
</style></head><body>
{body}
</body></html>
"""


SETTINGS = ["language", "project_name", "cluster", "account", "hours", "cores", "gpus", "gpu_model", "environment_path"]
"""What the page says, beside what a cluster has not always."""


class Handout(Command):
    """Make the page."""

    DESCRIPTION = message("help_handout")
    USAGE = message("usage_handout")
    sponsor = cli.SwitchAttr("--sponsor", str, default="", argname="NAME", help=message("help_sponsor"))
    number = cli.SwitchAttr("--ccri", str, default="", argname="CCRI", help=message("help_ccri"))
    help_at = cli.SwitchAttr("--help-at", str, default="", argname="WORDS", help=message("help_help_at"))

    def main(self, folder="."):
        """Write handout.md and handout.html into the folder; return the exit status."""
        folder = Path(folder).resolve()
        settings = settings_of(folder)
        text = filled(settings, self.sponsor, self.number, self.help_at)
        if (self.sponsor or self.number) and not settings["facts"]["account_prefixes"]:
            warn("handout_without_sponsor")
        html = PAGE.format(
            language=message("language_code"),
            title=text.partition("\n")[0].lstrip("# "),
            body=markdown.markdown(text, extensions=["tables"]),
        )
        for name, content in (("handout.md", text), ("handout.html", html)):
            (folder / name).write_text(content, encoding="utf-8")
        say("handout_made", folder=folder, html=folder / "handout.html")


def settings_of(folder):
    """Return the folder's settings; raises Trouble for a folder that is none of ours."""
    try:
        settings = {"reservation": "none", **yaml.safe_load((folder / "settings.yml").read_text(encoding="utf-8"))}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError):
        raise Trouble("no_project", MISUSE, folder=folder) from None
    for name in SETTINGS:
        # each was edited by hand, perhaps
        if not fits(name, str(settings.get(name, ""))):
            example = f"{name}: {rules()[f'{name}_example']}"
            raise Trouble("handout_needs", MISUSE, place=folder / "settings.yml", example=example)
    if settings["cluster"] not in clusters():
        raise Trouble("no_such_cluster", MISUSE, cluster=settings["cluster"], known=", ".join(clusters()))
    return {**settings, "facts": clusters()[settings["cluster"]]}


def filled(settings, sponsor, number, help_at):
    """Return the page as Markdown, in the folder's language."""
    speak(settings["language"])
    facts = settings["facts"]
    if facts["scheduler"] != "slurm":
        raise Trouble("handout_without_cluster", MISUSE)
    login = settings.get("login_host", facts["login_host"])
    text = (HERE / "handout" / f"{message('language_code')}.md").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)  # noqa: S701
    return environment.from_string(text).render(
        {
            **settings,
            "project": settings["project_name"],
            "cluster": login if facts["login_host"] == "asked" else facts["title"],
            "login": login,
            # a shared one is the teacher's
            "builds": not settings["environment_path"].startswith(("/", "$PROJECT")),
            "alliance": bool(facts["account_prefixes"]),
            "sponsor": sponsor,
            "sponsor_number": number,
            "help": help_at,
        }
    )
