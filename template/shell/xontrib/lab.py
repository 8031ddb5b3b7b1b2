"""lab in xonsh: the command in every folder of a project, completion, and what is known of the project's session.

`xontrib load lab` once this file's folder's parent is on sys.path; `xontrib unload lab` takes all of it back.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from xonsh.completers.completer import add_one_completer, remove_completer
from xonsh.completers.tools import RichCompletion, contextual_command_completer

SHELL = Path(__file__).resolve().parents[1]
BIN = str(SHELL / "bin")
COMMANDS = {"lab", *(path.name for path in SHELL.parent.glob("*.sh"))}
FACTS = ("LAB_FOLDER", "LAB_SESSION", "LAB_END", "LAB_PROMPT")
"""The project, its session that ends first, when that is (seconds since 1970), and both as a prompt shows them."""


def find_folder():
    """Return the project that the current folder is in, or None."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "lab").is_file() and (folder / "settings.yml").is_file() and (folder / "lib/laptop").is_dir():
            return folder
    return None


def find_facts():
    """Return the FACTS that are known, from files alone."""
    try:
        folder = find_folder()
    except OSError:
        folder = None
    if not folder:
        return {}
    facts, running, file = {"LAB_FOLDER": str(folder)}, [], folder / ".lab/sessions"
    # what is somebody else's is not read: the folder may be anybody's
    if file.is_file() and (os.name == "nt" or file.stat().st_uid == os.geteuid()):
        text = file.read_text(encoding="utf-8", errors="replace")
        running = [(int(end), name) for name, end in re.findall(r"(?m)^([A-Za-z0-9._-]+)\t([1-9][0-9]{0,10})$", text)]
    now = int(time.time())
    if still := [(end, name) for end, name in running if end > now]:
        end, name = min(still)
        minutes = (end - now) // 60
        facts |= {"LAB_SESSION": name, "LAB_END": str(end), "LAB_PROMPT": f"{name} {minutes // 60}:{minutes % 60:02}"}
    return facts


def lab_prompt():
    """Return the prompt's field lab."""
    return find_facts().get("LAB_PROMPT")


@contextual_command_completer
def complete_lab(context):
    """Return what can stand in the place of the word that is being typed; None for other commands."""
    if not context.arg_index or os.path.basename(context.args[0].value) not in COMMANDS:
        return None
    words = [argument.value for argument in context.args[: context.arg_index]]
    command = [SHELL / "complete.sh", *words, context.prefix]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    # a file's name can be any bytes, which Python has its own way to keep
    lines = os.fsdecode(done.stdout).split("\n")[:-1]
    return {as_completion(*line.split("\t"), context) for line in lines}


def as_completion(word, meaning, context):
    """Return a completion as xonsh inserts it; what needs quotes gets them."""
    # behind an empty word, xonsh's readline shell takes a completion with a space for an empty one
    whole, space = not word.endswith(("/", "=")), bool(context.prefix)
    if context.opening_quote or re.fullmatch(r"[\w@%+=:,./~-]+", word):
        return RichCompletion(word, description=meaning, append_space=space and whole)
    return RichCompletion(repr(word) if whole else repr(word)[:-1], description=meaning, append_space=space and whole)


def _load_xontrib_(xsh, **_):
    def tell_facts(**_):
        facts = find_facts()
        for name in FACTS:
            if name in facts:
                xsh.env[name] = facts[name]
            else:
                xsh.env.pop(name, None)

    # no alias: as a command, lab has the terminal for ssh's questions, Ctrl-C and pipes; and xonsh puts what an alias
    # stands for into the line that it completes, without quotes around its spaces
    if BIN not in xsh.env["PATH"]:
        xsh.env["PATH"].insert(0, BIN)
    add_one_completer("lab", complete_lab, "start")
    xsh.env["PROMPT_FIELDS"]["lab"] = lab_prompt
    # not on_pre_prompt, which comes when the prompt is made, perhaps of these
    xsh.builtins.events.on_pre_prompt_format(tell_facts)
    _load_xontrib_.tell_facts = tell_facts


def _unload_xontrib_(xsh, **_):
    if BIN in xsh.env["PATH"]:
        xsh.env["PATH"].remove(BIN)
    remove_completer("lab")
    xsh.env["PROMPT_FIELDS"].pop("lab", None)
    # a field that nobody knows would stand there as it is written
    for name in ("PROMPT", "RIGHT_PROMPT"):
        if isinstance(xsh.env.get(name), str):
            xsh.env[name] = re.sub(r"\{lab(:([^{}]|\{\})*)?\}", "", xsh.env[name])
    xsh.builtins.events.on_pre_prompt_format.discard(_load_xontrib_.tell_facts)
    for name in FACTS:
        xsh.env.pop(name, None)
    if str(SHELL) in sys.path:
        sys.path.remove(str(SHELL))
