"""`lab shell`: what a shell's startup file has to run for lab's command, completion and prompt (shell/)."""

import shlex

from both.messages import FOLDER, MISUSE, Trouble


def for_fish(path):
    """Return a path as fish reads it, which knows backslashes within quotes."""
    return "'" + path.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS = {
    "bash": ("source {}", "lab.bash", shlex.quote),
    "zsh": ("source {}", "lab.plugin.zsh", shlex.quote),
    "fish": ("source {}", "conf.d/lab.fish", for_fish),
    "xonsh": ("import sys\nsys.path.append({})\nxontrib load lab", "", ascii),
}
"""For each shell: its code, the file of shell/ that it names, and how the shell reads a path."""


def print_code(taken):
    """Print one shell's code, and nothing else; raises Trouble for a shell that is not known."""
    if taken["shell"] not in SHELLS:
        raise Trouble("no_such_shell", MISUSE, shell=taken["shell"], known=" ".join(SHELLS))
    code, file, quoted = SHELLS[taken["shell"]]
    print(code.format(quoted(str(FOLDER / "shell" / file))))
