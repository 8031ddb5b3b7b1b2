"""`passerelle facts`: what a cluster says of itself, as a change to its file of plugins/clusters."""

import datetime
import difflib
import re
import sys
from contextlib import redirect_stdout

from .ask import somebody
from .cli import Command
from .cluster import troubles
from .meeting import clusters, meet
from .probe import measured
from .texts import MISUSE, Trouble, complain, message, part, warn

SOURCE = "live"
"""What stands for a fact's source where the cluster itself has said it; docs/reference.py spells it out."""


class Facts(Command):
    """Compare a cluster with the catalogue."""

    DESCRIPTION = message("help_facts")
    USAGE = message("usage_facts")

    def main(self, cluster):
        """Print the difference, as `git apply` and `patch -p1` take it; return the exit status."""
        facts = {name: known for name, known in clusters().items() if known["login_host"] not in ("asked", "localhost")}
        if cluster not in facts:
            raise Trouble("no_such_cluster", MISUSE, cluster=cluster, known=" ".join(facts))
        # the change alone is on standard output
        with redirect_stdout(sys.stderr):
            live = asked(cluster, facts[cluster])
        if not live or not (found := measured(facts[cluster], live)):
            raise Trouble("nothing_live", cluster=cluster)
        if live.missing:
            warn("facts_partly", cluster=cluster, names=", ".join(map(message, live.missing)))
        path = part("template") / f"plugins/clusters/{cluster}.yml"
        before = path.read_text(encoding="utf-8")
        after = updated(before, facts[cluster], found)
        if after == before:
            complain(message("facts_agree", cluster=cluster))
        name = f"template/plugins/clusters/{cluster}.yml"
        lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{name}", f"b/{name}")
        print("".join(lines), end="")
        return 0


def asked(cluster, facts):
    """Return what the cluster says, None where it does not answer."""
    _, way = meet(facts, {"cluster": cluster}, defaults=not somebody())
    try:
        return way and way.live()
    except troubles() as error:
        complain(error)
        return None


def updated(text, facts, found):
    """Return a cluster's file with those facts that are others now, each with its source and date; remarks stay."""
    today = datetime.date.today().isoformat()
    for name, value in found.items():
        if value == facts[name]:
            continue
        value = f"[{', '.join(value)}]" if isinstance(value, list) else value
        block = re.search(rf"(?m)((?:^#.*\n)*)^{name}: .*$", text)
        remarks = [
            line for line in block[1].splitlines() if not re.search(r" \((\d{4}-\d{2}(-\d{2})?|undated)\)", line)
        ]
        changed = "\n".join([f"# {SOURCE} ({today})", *remarks, f"{name}: {value}"])
        text = text[: block.start()] + changed + text[block.end() :]
    return text
