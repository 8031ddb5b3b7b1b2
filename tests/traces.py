"""What a command looks up on a disk: the calls in a trace of strace's that name a path below a folder."""

import math
import os.path
import re

STRACE = ("strace", "-f", "-ttt", "-y", "-qq", "-s", "4096", "-e", "trace=%file", "-o")
"""Before the file of the trace and the command."""
CALL = re.compile(r'(\d+) +([\d.]+) +(\w+)\((?:(AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)+)"')
FOLDER = re.compile(r"(\d+) .*AT_FDCWD<([^>]*)>")


def below(trace, folder, until=math.inf):
    """Return the paths below a folder that the calls of a trace name, one for each call, in their order.

    until: what is called later does not count (seconds since 1970, by the same clock)
    """
    found, here = [], {}
    for line in trace.splitlines():
        if at := FOLDER.match(line):
            here[at[1]] = at[2]
        if not (call := CALL.match(line)):
            continue
        process, when, name, _, start, path = call.groups()
        if float(when) > until:
            break
        path = os.path.normpath(os.path.join(start or here.get(process, "/"), path))
        if name == "chdir":
            here[process] = path
        if path.startswith(folder + "/"):
            found.append(path)
    return found
